"""Which packages are installed, and what to type where one is not."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec

INSTALL = 'pip install "chainrule[bench]"'


def missing(packages: Iterable[str]) -> list[str]:
    """Return those that are not installed, without importing any."""
    return [package for package in packages if find_spec(package) is None]


def require(*packages: str, what: str) -> None:
    """Raise ValueError if `what` needs packages that are not installed."""
    if absent := missing(packages):
        raise ValueError(f"{what} needs {' and '.join(absent)}: {INSTALL}")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each, by the names that they are imported by."""
    distributions = packages_distributions()
    return {package: _version(distributions.get(package, [package])) for package in packages}


def _version(distributions: list[str]) -> str:
    try:
        return version(distributions[0])
    except PackageNotFoundError:
        return "of an unknown version"
