"""Measures of how well outputs meet targets, for arrays and for ``fit`` and ``evaluate``.

Every function takes targets y, outputs a as ``Network.predict`` gives them, and perhaps weights of
the samples. Sums go over slices of bounded size, one sample after the other, in float64: no more
memory for more samples, and the same bits on every processor.

Classes are told from outputs by their shape:

- (n, k) with k > 1: the class of a sample is its largest output, counted from 0; y holds labels of
  shape (n,), or rows of shape (n, k) whose largest entry counts. With ``multilabel=True`` every
  output is a yes (at least 1/2) or a no of its own, and so is every entry of y.
- (n,) or (n, 1): one yes or no a sample.
- integers of shape (n,): labels of predicted classes.

An output that is NaN is no answer, hence never a right one.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.inputs.arrays import as_batch, real_array, row_slices, weight_array
from chainrule.inputs.targets import joined

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from chainrule import _core
    from chainrule.inputs.targets import Found

Metric = str | Callable[[Any, Any], float]

# The metrics that rise as a network gets better; of the others, less is better.
RISING = {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "r2"}

TOP_K = re.compile(r"top_([1-9][0-9]*)_accuracy")


# --- classes ----------------------------------------------------------------------------------


def accuracy(
    y: ArrayLike,
    a: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    multilabel: bool = False,
) -> float:
    """Return the share of right answers; with `multilabel`, the mean share over outputs."""
    return _over(_Classes(multilabel), y, a, sample_weight)["accuracy"]


def balanced_accuracy(
    y: ArrayLike,
    a: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    multilabel: bool = False,
) -> float:
    """Return the mean over the classes in y of the share of their samples that are found.

    Of a yes or no these are the two classes; with `multilabel`, the mean over outputs of that.
    """
    return _over(_Classes(multilabel), y, a, sample_weight)["balanced_accuracy"]


def top_k_accuracy(
    y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None, *, k: int = 5
) -> float:
    """Return the share of samples of whose outputs fewer than k exceed that of the right class.

    As a name for ``fit`` and ``evaluate``: "top_5_accuracy", or any other k.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return _over(_TopK(k), y, a, sample_weight)[f"top_{k}_accuracy"]


def precision(
    y: ArrayLike,
    a: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    multilabel: bool = False,
) -> float:
    """Return tp / (tp + fp): of the samples said to be of a class, the share that are.

    Of a yes or no this is the yes; of more classes or outputs, the mean over those that appear in
    y or among the answers. 0/0 counts as 0, here and in `recall` and `f1`.
    """
    return _over(_Classes(multilabel), y, a, sample_weight)["precision"]


def recall(
    y: ArrayLike,
    a: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    multilabel: bool = False,
) -> float:
    """Return tp / (tp + fn): of the samples of a class, the share that are found.

    Means are taken as in `precision`.
    """
    return _over(_Classes(multilabel), y, a, sample_weight)["recall"]


def f1(
    y: ArrayLike,
    a: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    multilabel: bool = False,
) -> float:
    """Return 2 tp / (2 tp + fp + fn), the harmonic mean of precision and recall of each class.

    Means are taken as in `precision`.
    """
    return _over(_Classes(multilabel), y, a, sample_weight)["f1"]


def confusion_matrix(
    y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None
) -> NDArray[Any]:
    """Return how many samples of each class (row) are taken for each (column).

    Counts are int64, or float64 sums of weights. Samples without an answer are in no column.
    """
    y, a, weight = _checked(y, a, sample_weight)
    k = max(2, a.shape[1])
    if _are_labels(a):
        k = max(2, *(int(labels.max()) + 1 for labels in (a, y)))
    counts = np.zeros(k * k)
    for part in row_slices(len(a), a.shape[1]):
        truth, answer = _labels(y[part], a[part])
        w = np.ones(len(truth)) if weight is None else weight[part]
        known = answer >= 0
        counts += np.bincount((truth * k + answer)[known], w[known], k * k)
    table = counts.reshape(k, k)
    return table if weight is not None else table.astype(np.int64)


def roc_auc(y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the area under the ROC curve of a yes or no: outputs of shape (n,) or (n, 1).

    It is the probability that a random yes has a larger output than a random no, ties counted
    half (Hanley and McNeil 1982). Two outputs of softmax count as one, the second. All samples
    are sorted, which takes a few times their memory.
    """
    y, a, weight = _checked(y, a, sample_weight)
    if a.shape[1] == 2:
        a, y = a[:, 1:], y if y.ndim == 1 else y[:, 1:]
    if a.shape[1] != 1:
        raise ValueError(f"roc_auc needs one output, or two of softmax, got {a.shape[1]}")
    score, yes = a[:, 0].astype(np.float64), y.reshape(len(a)) >= 0.5
    w = np.ones(len(a)) if weight is None else weight
    if np.isnan(score).any():
        return float("nan")
    order = np.argsort(score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # of each group of equal outputs
    up_to_yes = (w * yes)[order].cumsum()[last]
    up_to_no = (w * ~yes)[order].cumsum()[last]
    total = up_to_yes[-1] * up_to_no[-1]
    if total == 0:
        raise ValueError("roc_auc needs samples of both classes")
    within_yes, below_no = np.diff(up_to_yes, prepend=0), np.append(0, up_to_no[:-1])
    return float((within_yes * (below_no + up_to_no) / 2).cumsum()[-1] / total)


# --- values -----------------------------------------------------------------------------------


def mae(y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean of |y - a| over samples and outputs."""
    return _over(_Errors(), y, a, sample_weight)["mae"]


def mse(y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean of (y - a)² over samples and outputs."""
    return _over(_Errors(), y, a, sample_weight)["mse"]


def rmse(y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the square root of `mse`."""
    return _over(_Errors(), y, a, sample_weight)["rmse"]


def r2(y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean over outputs of 1 - Σ (y - a)² / Σ (y - ȳ)².

    An output whose target does not vary has 1 if it is predicted exactly, else 0.
    """
    return _over(_Errors(), y, a, sample_weight)["r2"]


# --- of a network -----------------------------------------------------------------------------


def evaluate(
    network: _core.Network,
    x: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    metrics: Iterable[Metric] = (),
) -> tuple[dict[str, float], Found | None]:
    """Return the cost and metrics, and what is doubtful in y; see ``Network.evaluate``."""
    chosen = resolve(network, metrics)
    tallies = {name: tally for tally in _tallies(network, chosen) for name in tally.names}
    functions = {name: metric for name, metric in chosen.items() if name not in tallies}
    x, y, weight = as_batch(x, y, sample_weight)
    outputs = np.empty((len(x), network.sizes[-1]), network.dtype) if functions else None
    cost = total = 0.0
    found = None
    for part in row_slices(len(x), max(network.sizes)):
        w = None if weight is None else weight[part]
        amount = part.stop - part.start if w is None else float(_sum(w))
        if amount == 0 and outputs is None:
            continue
        a = network.predict(x[part])
        if outputs is not None:
            outputs[part] = a
        if amount > 0:
            total += amount
            # A running mean: with one slice it is Network.cost to the last bit.
            of_part, in_part = network._quiet_cost(x[part], y[part], w, part.start)
            cost += (of_part - cost) * (amount / total)
            found = joined(found, in_part)
            a = a.astype(np.float64, copy=False)
            for tally in dict.fromkeys(tallies.values()):
                tally.add(a, y[part], np.ones(len(a)) if w is None else w)
    if not total:
        raise ValueError("evaluate needs at least one sample")
    results = {name: tally.results()[name] for name, tally in tallies.items()}
    for name, function in functions.items():
        assert outputs is not None and callable(function)
        results[name] = _number(name, function(y, outputs))
    return {"cost": cost, **{name: results[name] for name in chosen}}, found


def resolve(network: _core.Network, metrics: Iterable[Metric]) -> dict[str, Metric]:
    """Return the metrics by name; those that fit the loss where there are none.

    Raises ValueError for a name that is unknown or twice there, TypeError for what is neither a
    name nor a function.
    """
    listed = (metrics,) if isinstance(metrics, str) or callable(metrics) else tuple(metrics)
    if not listed:
        listed = ("accuracy",) if "cross_entropy" in network.loss else ("mae", "r2")
    chosen: dict[str, Metric] = {}
    for metric in listed:
        name = metric if isinstance(metric, str) else _name_of(metric)
        if name in chosen or name == "cost":
            raise ValueError(f"two metrics have the name {name!r}: give each its own __name__")
        if metric == "roc_auc":
            metric = roc_auc
        elif isinstance(metric, str) and name not in KNOWN and not TOP_K.fullmatch(name):
            raise ValueError(
                f"unknown metric {name!r}, expected one of {', '.join(KNOWN)}, top_5_accuracy "
                "(or another k), or a function (y, a) -> float"
            )
        chosen[name] = metric
    return chosen


def rises(name: str) -> bool | None:
    """Tell whether more is better of what `fit` monitors; None where that is not known."""
    name = name.removeprefix("validation_")
    if name in RISING or TOP_K.fullmatch(name):
        return True
    return False if name in {*KNOWN, "cost"} else None


def _name_of(metric: object) -> str:
    if not callable(metric):
        raise TypeError(f"a metric must be a name or a function (y, a) -> float, got {metric!r}")
    while isinstance(metric, partial):
        metric = metric.func
    return str(getattr(metric, "__name__", type(metric).__name__))


def _number(name: str, value: Any) -> float:
    if np.ndim(value) or np.asarray(value).dtype.kind not in "biuf":
        raise TypeError(f"the metric {name} must return a real number, got {value!r}")
    return float(value)


def _tallies(network: _core.Network, names: Iterable[str]) -> Iterable[_Tally]:
    """Return what computes the metrics of these names, other than functions."""
    multilabel = network.loss == "binary_cross_entropy" and network.sizes[-1] > 1
    names = set(names)
    kinds: list[_Tally] = [_Classes(multilabel), _Errors()]
    kinds += [_TopK(int(found[1])) for found in map(TOP_K.fullmatch, sorted(names)) if found]
    for kind in kinds:
        wanted = tuple(name for name in kind.names if name in names)
        if wanted:
            kind.names = wanted
            yield kind


def _sum(values: NDArray[Any]) -> NDArray[Any]:
    """Σ over rows, one after the other: BLAS and NumPy's own sums depend on the processor."""
    return np.asarray(values.cumsum(axis=0)[-1])


class _Tally(ABC):
    """Sums over samples, and the metrics that follow from them."""

    names: tuple[str, ...]

    @abstractmethod
    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        """Add some samples, of weights whose sum is above 0."""

    @abstractmethod
    def results(self) -> dict[str, float]:
        """Return the metrics by name."""


class _Classes(_Tally):
    """Right answers, and for each class (or output): how often true, answered, and both."""

    names = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")

    def __init__(self, multilabel: bool) -> None:
        self.multilabel = multilabel
        self.binary = False
        self.hits = self.total = 0.0
        self.true = self.answered = self.both = np.zeros(0)

    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        self.binary = a.shape[1] == 1 and not _are_labels(a)
        if self.binary or self.multilabel:
            known = ~np.isnan(a)
            answer, truth = a >= 0.5, y.reshape(a.shape) >= 0.5
            right = (known & (answer == truth)).mean(axis=1)
            column = w[:, None]
            # Each output is two classes: the nos, then the yeses.
            self._count(
                *(
                    np.concatenate([_sum(column * no), _sum(column * yes)])
                    for no, yes in (
                        (~truth, truth),
                        (known & ~answer, answer),
                        (known & ~answer & ~truth, answer & truth),
                    )
                )
            )
        else:
            truth, answer = _labels(y, a)
            right = (truth == answer).astype(np.float64)
            known = answer >= 0
            k = max(a.shape[1], len(self.true), int(truth.max()) + 1, int(answer.max()) + 1)
            self._count(
                np.bincount(truth, w, k),
                np.bincount(answer[known], w[known], k),
                np.bincount(truth[right == 1], w[right == 1], k),
            )
        self.hits += float(_sum(w * right))
        self.total += float(_sum(w))

    def _count(self, true: NDArray[Any], answered: NDArray[Any], both: NDArray[Any]) -> None:
        def plus(sums: NDArray[Any], more: NDArray[Any]) -> Any:
            return np.pad(sums, (0, len(more) - len(sums))) + more

        self.true = plus(self.true, true)
        self.answered = plus(self.answered, answered)
        self.both = plus(self.both, both)

    def results(self) -> dict[str, float]:
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
        means = {
            name: float(values.cumsum()[-1] / len(values)) if len(values) else 0.0
            for name, values in each.items()
        }
        return {"accuracy": self.hits / self.total, **means}


class _TopK(_Tally):
    """Samples of whose outputs fewer than k exceed that of the right class."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.names = (f"top_{k}_accuracy",)
        self.hits = self.total = 0.0

    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        if _are_labels(a) or a.shape[1] == 1:
            raise ValueError(f"{self.names[0]} needs one output a class, got one output")
        truth, _ = _labels(y, a)
        of_truth = np.take_along_axis(a, truth[:, None], axis=1)
        known = ~np.isnan(a).any(axis=1)
        right = known & ((a > of_truth).sum(axis=1) < self.k)
        self.hits += float(_sum(w * right))
        self.total += float(_sum(w))

    def results(self) -> dict[str, float]:
        return {self.names[0]: self.hits / self.total}


class _Errors(_Tally):
    """Errors of each output, and the spread of its targets."""

    names = ("mae", "mse", "rmse", "r2")

    def __init__(self) -> None:
        self.total = 0.0
        self.absolute = self.squared = self.mean = self.spread = np.zeros(1)

    def add(self, a: NDArray[Any], y: NDArray[Any], w: NDArray[Any]) -> None:
        if y.ndim == 1 and a.shape[1] > 1:
            raise ValueError(
                f"errors need targets of shape (n, {a.shape[1]}), got labels of shape (n,)"
            )
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
        mse = float(np.mean(self.squared / self.total))
        return {
            "mae": float(np.mean(self.absolute / self.total)),
            "mse": mse,
            "rmse": float(np.sqrt(mse)),
            "r2": float(np.mean(r2)),
        }


KNOWN = (*_Classes.names, "roc_auc", *_Errors.names)


def _ratio(over: NDArray[Any], under: NDArray[Any]) -> NDArray[Any]:
    """Return over / under, and 0 for 0 / 0."""
    return np.asarray(np.divide(over, under, out=np.zeros(len(over)), where=under != 0))


def _are_labels(a: NDArray[Any]) -> bool:
    return a.shape[1] == 1 and a.dtype.kind in "iu"


def _labels(y: NDArray[Any], a: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return true and answered classes of shape (n,); -1 where there is no answer."""
    if _are_labels(a):
        return y.reshape(len(a)), a[:, 0]
    if a.shape[1] == 1:
        known = ~np.isnan(a[:, 0])
        return (y.reshape(len(a)) >= 0.5).astype(np.intp), np.where(known, a[:, 0] >= 0.5, -1)
    truth = y if y.ndim == 1 else y.argmax(axis=1)
    return truth, np.where(np.isnan(a).any(axis=1), -1, a.argmax(axis=1))


def _checked(
    y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64] | None]:
    """Return y, a of shape (n, k) and weights; ValueError unless they belong together."""
    y, a = real_array(y, "y"), real_array(a, "a")
    if a.ndim == 1:
        a = a[:, None]
    if a.ndim != 2 or 0 in a.shape:
        raise ValueError(f"a must have shape (n, k) or (n,), with n and k above 0, got {a.shape}")
    n, k = a.shape
    is_list = y.ndim == 1 or (k == 1 and y.ndim == 2 and y.shape[1] == 1)
    if len(y) != n if is_list else y.shape != a.shape:
        raise ValueError(f"y must have shape ({n},) or ({n}, {k}), as a has, got {y.shape}")
    if y.ndim == 1 and k > 1 or _are_labels(a):
        limit = np.inf if k == 1 else k
        for labels in (y, a) if k == 1 else (y,):
            if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= limit:
                raise ValueError(f"labels must be integers in [0, {limit}), got {labels}")
    return y, a, weight_array(sample_weight, n)


def _over(
    tally: _Tally, y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None
) -> dict[str, float]:
    """Return the results of all samples, added slice by slice."""
    y, a, weight = _checked(y, a, sample_weight)
    for part in row_slices(len(a), a.shape[1]):
        w = np.ones(part.stop - part.start) if weight is None else weight[part]
        if w.any():
            tally.add(a[part], y[part], w)
    return tally.results()
