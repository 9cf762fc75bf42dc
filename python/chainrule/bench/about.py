"""Which peers take part in a run, and what it ran on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from chainrule import __version__, _core

from . import packages, peers, runner


def choose_peers(
    listed: str | None, benchmarks: Sequence[str], always: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Return the peers that take part, and those that are not installed.

    Parameters
    ----------
    listed : str or None
        What ``--systems`` names; None is everyone who is installed.
    benchmarks, always : sequence of str
        What the command measures, and who takes part whatever is listed.

    Raises
    ------
    ValueError
        If one that was asked for by name is unknown or not installed.
    """
    known = peers.names(*benchmarks)
    asked = known if listed is None else [*always, *listed.split(",")]
    for name in asked:
        if name not in known:
            raise ValueError(f"no system {name!r}; there are {', '.join(known)}")
    names = [name for name in known if name in asked]
    absent = {name: missing for name in names if (missing := peers.PEERS[name].missing)}
    if listed is not None:
        for name in absent:
            packages.require(*absent[name], what=name)
    return [name for name in names if name not in absent], list(absent)


def describe(names: Sequence[str], missing: Sequence[str]) -> dict[str, Any]:
    """Return what ran where, and when."""
    versions = packages.versions(p for name in names for p in peers.PEERS[name].packages)
    if "chainrule" in versions:
        versions["chainrule"] = __version__
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": runner.available_threads(),
        "platform": platform.platform(),
        "isa": _core.config()["isa"],
        "python": platform.python_version(),
        "versions": versions,
        "missing": missing,
    }


def _cpu() -> str:
    """Return the model name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
