"""The systems that answer single calls of one model: one file each, as a service would use it.

Each of these modules has

- ``PACKAGES``: what has to be installed, the system's own package first,
- ``ways(folder, x)``: one or more ways to answer for x, of shape (1, n_0), with the model in that
  folder: ``model.safetensors``, and the same network as ``model.onnx``. All are checked; the
  fastest that is right is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

Names = dict[str, Any]

#: In the order of the tables.
NAMES = ("chainrule", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Way:
    """One way to answer: an expression to time, and what its names are.

    Every thread calls `make` for names of its own; they share the model, and nothing that a call
    writes. `answer` takes the value of the expression and the names, and returns a^L.
    """

    name: str
    expression: str
    make: Callable[[], Names]
    answer: Callable[[Any, Names], Any]


def load(name: str) -> Any:
    """Return the module of a system."""
    return import_module(f".{name}_", __name__)


def missing(name: str) -> list[str]:
    """Return the packages of a system that are not installed."""
    return [package for package in load(name).PACKAGES if find_spec(package) is None]
