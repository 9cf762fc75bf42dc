"""Which systems take part in a run, and what it ran on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from chainrule import __version__, _core

from . import peers, runner

EXTRA = 'pip install "chainrule[bench]"'


def choose_systems(
    listed: str | None, registry: ModuleType = peers, always: Sequence[str] = ("numpy",)
) -> tuple[list[str], list[str]]:
    """Return the systems that take part, and those that are not installed.

    ValueError if one that was asked for by name is unknown or not installed.
    """
    asked = list(registry.NAMES) if listed is None else [*always, *listed.split(",")]
    for name in asked:
        if name not in registry.NAMES:
            raise ValueError(f"no system {name!r}; there are {', '.join(registry.NAMES)}")
    names = [name for name in registry.NAMES if name in asked]
    absent = {name: packages for name in names if (packages := registry.missing(name))}
    if absent and listed is not None:
        name, packages = next(iter(absent.items()))
        raise ValueError(f"{name} needs {' and '.join(packages)}: {EXTRA}")
    return [name for name in names if name not in absent], list(absent)


def describe(
    names: Sequence[str], missing: Sequence[str], registry: ModuleType = peers
) -> dict[str, Any]:
    """Return what ran where, and when."""
    packages = {package: "" for name in names for package in registry.load(name).PACKAGES}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": runner.available_threads(),
        "platform": platform.platform(),
        "isa": _core.config()["isa"],
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in packages},
        "missing": missing,
    }


def _cpu() -> str:
    """Return the model name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(package: str) -> str:
    if package == "chainrule":
        return __version__
    try:
        return version({"sklearn": "scikit-learn"}.get(package, package))
    except PackageNotFoundError:
        return "of an unknown version"
