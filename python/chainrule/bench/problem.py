"""The weights and data of a cell: the same numbers in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .cells import Cell


def scaled(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return bytes as numbers from 0 to 1."""
    return pixels.astype(np.float32) / np.float32(255)


class Problem:
    """A cell with numbers: drawn in float64 from one seed, then rounded to the cell's dtype.

    Parameters
    ----------
    cell : Cell
    data : (x, labels), optional
        Samples to use in place of drawn ones, where the loss is cross_entropy.

    Attributes
    ----------
    weights, biases : list of ndarray
        W^l of shape (n_l, n_{l-1}) and b^l of shape (n_l,).
    x : ndarray of shape (samples, n_0)
    y : ndarray of shape (samples, n_L)
        Targets; with cross_entropy the rows of the unit matrix that `labels` name.
    labels : ndarray of shape (samples,)
        Integers; used with cross_entropy alone.
    """

    def __init__(self, cell: Cell, data: tuple[NDArray[Any], NDArray[Any]] | None = None) -> None:
        self.cell = cell
        self.dtype = np.dtype(cell.dtype)
        rng = np.random.default_rng(0)
        gain = 2.0 if cell.hidden == "relu" else 1.0  # keeps activations of the order of 1
        self.weights: list[NDArray[Any]] = []
        self.biases: list[NDArray[Any]] = []
        for n_in, n_out in zip(cell.sizes, cell.sizes[1:], strict=False):
            limit = np.sqrt(gain * 6 / (n_in + n_out))
            self.weights.append(rng.uniform(-limit, limit, (n_out, n_in)).astype(self.dtype))
            self.biases.append(rng.uniform(-0.1, 0.1, n_out).astype(self.dtype))
        if data is None:
            x = rng.standard_normal((cell.samples, cell.sizes[0]))
            data = x, rng.integers(cell.sizes[-1], size=cell.samples)
        self.x = data[0].astype(self.dtype)
        self.labels = data[1].astype(np.int64)
        if cell.loss == "cross_entropy":
            self.y = np.eye(cell.sizes[-1], dtype=self.dtype)[self.labels]
        else:
            self.y = rng.random((cell.samples, cell.sizes[-1])).astype(self.dtype)

    @property
    def parameters(self) -> list[NDArray[Any]]:
        """W^1, b^1, W^2, …: the order in which systems return what they trained."""
        return [p for pair in zip(self.weights, self.biases, strict=True) for p in pair]

    def activation(self, layer: int) -> str:
        """Return the name of g^{layer+1}."""
        return self.cell.output if layer == self.cell.depth - 1 else self.cell.hidden

    def batches(self, *arrays: NDArray[Any]) -> list[tuple[NDArray[Any], ...]]:
        """Cut an epoch into the slices of its steps."""
        size = self.cell.batch
        return [tuple(a[i : i + size] for a in arrays) for i in range(0, self.cell.samples, size)]
