"""The same mathematics in NumPy alone: what the demo compares with, and a text to learn from.

A network with relu layers, a softmax output and the cross-entropy cost, trained by gradient
descent. Rows are samples, so z = a Wᵀ + b. Arrays are allocated once and written in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Arrays = list[NDArray[Any]]


class NumpyNetwork:
    """Weights and biases, and the arrays that a batch needs."""

    def __init__(self, weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> None:
        # C-contiguous (n_out, n_in), as BLAS likes it.
        self.weights = [np.array(w, order="C") for w in weights]
        self.biases = [b.copy() for b in biases]
        self.dw = [np.empty_like(w) for w in self.weights]
        self.db = [np.empty_like(b) for b in self.biases]
        self.workspace: dict[int, Arrays] = {}

    def forward(self, x: NDArray[Any]) -> Arrays:
        """Return a⁰ = x, a¹, …, a^L; the arrays are used again at the next call."""
        n = len(x)
        if n not in self.workspace:
            self.workspace[n] = [np.empty((n, len(b)), b.dtype) for b in self.biases]
        a = [x, *self.workspace[n]]
        last = len(self.weights) - 1
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = np.matmul(a[i], w.T, out=a[i + 1])
            z += b
            if i < last:
                np.maximum(z, 0, out=z)
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        return a

    def step(self, x: NDArray[Any], labels: NDArray[Any], learning_rate: float) -> float:
        """Do one update, and return the cost before it."""
        n = len(x)
        rows = np.arange(n)
        a = self.forward(x)
        cost = -float(np.log(a[-1][rows, labels]).mean())

        delta = a[-1]  # softmax and cross-entropy together: δ^L = a^L - y
        delta[rows, labels] -= 1
        delta /= n
        for i in reversed(range(len(self.weights))):
            np.matmul(delta.T, a[i], out=self.dw[i])
            delta.sum(axis=0, out=self.db[i])
            if i > 0:
                delta = delta @ self.weights[i]
                delta *= a[i] > 0
        for w, dw in zip(self.weights + self.biases, self.dw + self.db, strict=True):
            dw *= learning_rate
            w -= dw
        return cost

    def epoch(
        self,
        x: NDArray[Any],
        labels: NDArray[Any],
        order: NDArray[np.int64],
        batch_size: int,
        learning_rate: float,
    ) -> float:
        """Train on all samples in the given order; return the mean cost."""
        total = 0.0
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            total += len(rows) * self.step(x[rows], labels[rows], learning_rate)
        return total / len(x)
