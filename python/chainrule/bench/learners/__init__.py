"""The systems that learn clothes: one file each, written as a determined user of it would.

Each of these modules has

- ``PACKAGES``: what has to be installed, the system's own package first,
- ``start(threads)``: called once in a process,
- ``learners(problem)``: one or more ways to train, all checked; the fastest that is right is
  measured.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: In the order of the tables.
NAMES = ("chainrule", "torch", "torch.compile", "jax", "sklearn", "keras")


class Learner(Protocol):
    """A network and its optimiser, Adam, over the samples of one problem."""

    name: str

    def reset(self) -> None:
        """Go back to the first weights and a new optimiser; what is compiled stays."""

    def epoch(self, order: NDArray[Any]) -> None:
        """Train on all samples in this order, batch by batch, and return when it is done."""

    def labels(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the most likely class of every row."""

    def parameters(self) -> Sequence[Any]:
        """Return W^1, b^1, W^2, …."""


def scaled(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return bytes as numbers from 0 to 1."""
    return pixels.astype(np.float32) / np.float32(255)


def load(name: str) -> Any:
    """Return the module of a system."""
    return import_module(f".{name.replace('.', '_')}_", __name__)


def missing(name: str) -> list[str]:
    """Return the packages of a system that are not installed."""
    return [package for package in load(name).PACKAGES if find_spec(package) is None]
