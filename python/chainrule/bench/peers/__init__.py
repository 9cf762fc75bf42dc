"""The systems: one file each, written as a determined user of that library would.

Each of these modules has

- ``PACKAGES``: what has to be installed, the system's own package first,
- ``start(threads)``: called once in a process,
- ``variants(problem)``: one or more ways to do a cell. All are checked; the fastest of those that
  are right is measured. `UnsupportedError` says why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

#: In the order of the tables.
NAMES = (
    "chainrule",
    "numpy",
    "numba",
    "torch",
    "torch.compile",
    "onnxruntime",
    "openvino",
    "jax",
    "sklearn",
)


class UnsupportedError(Exception):
    """The library cannot express a cell."""


@dataclass(frozen=True)
class Variant:
    """One way to do a cell: an expression to time, and what its result is.

    `results` takes the value of the expression, evaluated once, and returns [a^L] for inference;
    for training W^1, b^1, W^2, … as they are after that epoch.
    """

    name: str
    expression: str
    names: dict[str, Any]
    results: Callable[[Any], Sequence[Any]]
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


def load(name: str) -> Any:
    """Return the module of a system."""
    return import_module(f".{name.replace('.', '_')}_", __name__)


def missing(name: str) -> list[str]:
    """Return the packages of a system that are not installed."""
    return [package for package in load(name).PACKAGES if find_spec(package) is None]
