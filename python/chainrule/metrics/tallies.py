"""What metrics count: sums over samples, added slice by slice in a fixed order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ordered_sum(values: NDArray[Any]) -> NDArray[Any]:
    """Σ over rows, one after the other: BLAS and NumPy's own sums depend on the processor."""
    return np.asarray(values.cumsum(axis=0)[-1])


class ChunkedSum:
    """Σ over samples that come slice by slice, as the core sums the costs of a batch.

    Chunks of 256 samples are summed one after the other, in float64; the sums of the chunks in the
    binary tree that halves their range, larger half first (docs/arithmetic.md).
    """

    CHUNK = 256

    def __init__(self) -> None:
        self._sums: list[float] = []
        self._rest = np.zeros(0)

    def add(self, values: NDArray[Any]) -> None:
        """Add one number per sample."""
        values = np.concatenate([self._rest, values])
        whole = len(values) // self.CHUNK * self.CHUNK
        self._sums += self._sums_of(values[:whole].reshape(-1, self.CHUNK))
        self._rest = values[whole:]

    def total(self) -> float:
        """Return the sum of all samples so far."""
        return self._tree([*self._sums, *self._sums_of(self._rest[None])])

    def _sums_of(self, chunks: NDArray[Any]) -> list[float]:
        # From +0, which only the sign of zeros shows.
        sums: list[float] = (chunks.cumsum(axis=1)[:, -1:] + 0.0).ravel().tolist()
        return sums

    def _tree(self, sums: list[float]) -> float:
        if len(sums) < 2:
            return sum(sums)
        middle = -(-len(sums) // 2)
        return self._tree(sums[:middle]) + self._tree(sums[middle:])


class Tally(ABC):
    """Sums over samples, and the metrics that follow from them."""

    names: tuple[str, ...]

    @abstractmethod
    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        """Add some samples, of weights whose sum is above 0."""

    @abstractmethod
    def results(self) -> dict[str, float]:
        """Return the metrics by name."""


class Classes(Tally):
    """Right answers, and for each class (or output): how often true, answered, and both."""

    names = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")

    def __init__(self, multilabel: bool) -> None:
        self.multilabel = multilabel
        self.binary = False
        self.hits = self.total = 0.0
        self.true = self.answered = self.both = np.zeros(0)

    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        """Count answers and targets by class."""
        self.binary = a.shape[1] == 1 and not are_labels(a)
        if self.binary or self.multilabel:
            known = ~np.isnan(a)
            answer, truth = a >= 0.5, y.reshape(a.shape) >= 0.5
            right = (known & (answer == truth)).mean(axis=1)
            column = w[:, None]
            # Each output is two classes: the nos, then the yeses.
            self._count(
                *(
                    np.concatenate([ordered_sum(column * no), ordered_sum(column * yes)])
                    for no, yes in (
                        (~truth, truth),
                        (known & ~answer, answer),
                        (known & ~answer & ~truth, answer & truth),
                    )
                )
            )
        else:
            truth, answer = labels_of(y, a)
            right = (truth == answer).astype(np.float64)
            known = answer >= 0
            k = max(a.shape[1], len(self.true), int(truth.max()) + 1, int(answer.max()) + 1)
            self._count(
                np.bincount(truth, w, k),
                np.bincount(answer[known], w[known], k),
                np.bincount(truth[right == 1], w[right == 1], k),
            )
        self.hits += float(ordered_sum(w * right))
        self.total += float(ordered_sum(w))

    def _count(self, true: NDArray[Any], answered: NDArray[Any], both: NDArray[Any]) -> None:
        def plus(sums: NDArray[Any], more: NDArray[Any]) -> Any:
            return np.pad(sums, (0, len(more) - len(sums))) + more

        self.true = plus(self.true, true)
        self.answered = plus(self.answered, answered)
        self.both = plus(self.both, both)

    def results(self) -> dict[str, float]:
        """Return accuracy, and the means over classes of the others."""
        true, answered, both = self.true, self.answered, self.both
        found = _ratio(both, true)
        if self.binary or self.multilabel:
            # Both classes of an output, where both appear; then the yeses alone.
            nos, yeses = np.split(found, 2)
            appear = np.split(true > 0, 2)
            balanced = _ratio(nos + yeses, appear[0].astype(float) + appear[1])
            true, answered, both, found = (
                np.split(sums, 2)[1] for sums in (true, answered, both, found)
            )
            appears = np.ones(len(true), bool) if self.binary else true + answered > 0
        else:
            balanced = found[true > 0]
            appears = true + answered > 0
        each = {
            "balanced_accuracy": balanced,
            "precision": _ratio(both, answered)[appears],
            "recall": found[appears],
            "f1": _ratio(2 * both, true + answered)[appears],
        }
        means = {name: _mean(values) if len(values) else 0.0 for name, values in each.items()}
        return {"accuracy": self.hits / self.total, **means}


class TopK(Tally):
    """Samples of whose outputs fewer than k exceed that of the right class."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.names = (f"top_{k}_accuracy",)
        self.hits = self.total = 0.0

    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        """Count the samples whose class is among the k largest outputs."""
        if are_labels(a) or a.shape[1] == 1:
            raise ValueError(f"{self.names[0]} needs one output a class, got one output")
        truth, _ = labels_of(y, a)
        of_truth = np.take_along_axis(a, truth[:, None], axis=1)
        known = ~np.isnan(a).any(axis=1)
        right = known & ((a > of_truth).sum(axis=1) < self.k)
        self.hits += float(ordered_sum(w * right))
        self.total += float(ordered_sum(w))

    def results(self) -> dict[str, float]:
        """Return the share of them."""
        return {self.names[0]: self.hits / self.total}


class Errors(Tally):
    """Errors of each output, and the spread of its targets."""

    names = ("mae", "mse", "rmse", "r2")

    def __init__(self) -> None:
        self.total = 0.0
        self.absolute = self.squared = self.mean = self.spread = np.zeros(1)

    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        """Add errors, and the spread of the targets around their mean."""
        if y.ndim == 1 and a.shape[1] > 1:
            raise ValueError(
                f"errors need targets of shape (n, {a.shape[1]}), got labels of shape (n,)"
            )
        y = y.reshape(a.shape).astype(np.float64)
        amount, column = float(ordered_sum(w)), w[:, None]
        mean = ordered_sum(column * y) / amount
        # Two groups together: their spreads, and the square of the distance of their means
        # (Chan, Golub and LeVeque 1983), so that one pass over the data is enough.
        shift, total = mean - self.mean, self.total + amount
        self.spread = (
            self.spread
            + ordered_sum(column * (y - mean) ** 2)
            + shift**2 * (self.total * amount / total)
        )
        self.mean = self.mean + shift * (amount / total)
        self.absolute = self.absolute + ordered_sum(column * np.abs(y - a))
        self.squared = self.squared + ordered_sum(column * (y - a) ** 2)
        self.total = total

    def results(self) -> dict[str, float]:
        """Return the means over outputs."""
        constant = self.spread == 0
        exact = np.where(self.squared == 0, 1.0, 0.0)
        r2 = np.where(constant, exact, 1 - self.squared / np.where(constant, 1, self.spread))
        mse = _mean(self.squared / self.total)
        return {
            "mae": _mean(self.absolute / self.total),
            "mse": mse,
            "rmse": float(np.sqrt(mse)),
            "r2": _mean(r2),
        }


def _mean(values: NDArray[Any]) -> float:
    return float(ordered_sum(values) / len(values))


def _ratio(over: NDArray[Any], under: NDArray[Any]) -> NDArray[Any]:
    """Return over / under, and 0 for 0 / 0."""
    return np.asarray(np.divide(over, under, out=np.zeros(len(over)), where=under != 0))


def are_labels(a: NDArray[Any]) -> bool:
    """Tell whether outputs are predicted labels, not numbers."""
    return a.shape[1] == 1 and a.dtype.kind in "iu"


def labels_of(y: NDArray[Any], a: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return true and answered classes of shape (n,); -1 where there is no answer."""
    if are_labels(a):
        return y.reshape(len(a)), a[:, 0]
    if a.shape[1] == 1:
        known = ~np.isnan(a[:, 0])
        return (y.reshape(len(a)) >= 0.5).astype(np.intp), np.where(known, a[:, 0] >= 0.5, -1)
    truth = y if y.ndim == 1 else y.argmax(axis=1)
    return truth, np.where(np.isnan(a).any(axis=1), -1, a.argmax(axis=1))
