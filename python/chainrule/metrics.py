"""What ``Network.evaluate`` reports beside the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays import as_batch, row_slices

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from chainrule import _core


def evaluate(
    network: _core.Network, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> dict[str, float]:
    """Return the cost and the metrics that fit the network's loss, in bounded memory."""
    x, y, weight = as_batch(x, y, sample_weight)
    metrics = _Hits(network.loss) if "cross_entropy" in network.loss else _Errors()
    cost = total = 0.0
    for part in row_slices(len(x), max(network.sizes)):
        w = None if weight is None else weight[part]
        amount = part.stop - part.start if w is None else float(_sum(w))
        if amount > 0:
            total += amount
            # A running mean: with one slice it is Network.cost to the last bit.
            cost += (network.cost(x[part], y[part], w) - cost) * (amount / total)
            a = network.predict(x[part]).astype(np.float64, copy=False)
            metrics.add(a, y[part], np.ones(len(a)) if w is None else w)
    if not total:
        raise ValueError("evaluate needs at least one sample")
    return {"cost": cost, **metrics.results()}


def _sum(values: NDArray[Any]) -> NDArray[Any]:
    """Σ over rows, one after the other: BLAS and NumPy's own sums depend on the processor."""
    return np.asarray(values.cumsum(axis=0)[-1])


class _Hits:
    """Accuracy: the share of right classes, or of outputs on the right side of 1/2."""

    def __init__(self, loss: str) -> None:
        self.binary = loss == "binary_cross_entropy"
        self.hits = self.total = 0.0

    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        known = ~np.isnan(a)  # NaN is no answer, hence no right one
        if self.binary:
            right = (known & ((a >= 0.5) == (y.reshape(a.shape) >= 0.5))).mean(axis=1)
        else:
            labels = y if y.ndim == 1 and y.dtype.kind in "iu" else y.reshape(a.shape).argmax(1)
            right = (known.all(axis=1) & (a.argmax(axis=1) == labels)).astype(np.float64)
        self.hits += float(_sum(w * right))
        self.total += float(_sum(w))

    def results(self) -> dict[str, float]:
        return {"accuracy": self.hits / self.total}


class _Errors:
    """Mean absolute error, and R² = 1 - Σ(y - a)² / Σ(y - ȳ)², both averaged over outputs.

    An output whose target does not vary has R² 1 if it is predicted exactly, else 0.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.absolute = self.squared = self.mean = self.spread = np.zeros(1)

    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        y = y.reshape(a.shape).astype(np.float64)
        amount, column = float(_sum(w)), w[:, None]
        mean = _sum(column * y) / amount
        # Two groups together: their spreads, and the square of the distance of their means
        # (Chan, Golub and LeVeque 1983), so that one pass over the data is enough.
        shift, total = mean - self.mean, self.total + amount
        self.spread = (
            self.spread + _sum(column * (y - mean) ** 2) + shift**2 * (self.total * amount / total)
        )
        self.mean = self.mean + shift * (amount / total)
        self.absolute = self.absolute + _sum(column * np.abs(y - a))
        self.squared = self.squared + _sum(column * (y - a) ** 2)
        self.total = total

    def results(self) -> dict[str, float]:
        constant = self.spread == 0
        exact = np.where(self.squared == 0, 1.0, 0.0)
        r2 = np.where(constant, exact, 1 - self.squared / np.where(constant, 1, self.spread))
        return {"mae": float(np.mean(self.absolute / self.total)), "r2": float(np.mean(r2))}
