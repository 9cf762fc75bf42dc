"""Metrics as functions of targets and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.inputs.arrays import real_array, row_slices, weight_array
from chainrule.metrics.tallies import Classes, Errors, Tally, TopK, are_labels, labels_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


# --- classes ----------------------------------------------------------------------------------


def accuracy(
    y: ArrayLike,
    a: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    multilabel: bool = False,
) -> float:
    """Return the share of right answers; with `multilabel`, the mean share over outputs."""
    return _over(Classes(multilabel), y, a, sample_weight)["accuracy"]


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
    return _over(Classes(multilabel), y, a, sample_weight)["balanced_accuracy"]


def top_k_accuracy(
    y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None, *, k: int = 5
) -> float:
    """Return the share of samples of whose outputs fewer than k exceed that of the right class.

    As a name for ``fit`` and ``evaluate``: "top_5_accuracy", or any other k.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return _over(TopK(k), y, a, sample_weight)[f"top_{k}_accuracy"]


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
    return _over(Classes(multilabel), y, a, sample_weight)["precision"]


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
    return _over(Classes(multilabel), y, a, sample_weight)["recall"]


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
    return _over(Classes(multilabel), y, a, sample_weight)["f1"]


def confusion_matrix(
    y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None
) -> NDArray[Any]:
    """Return how many samples of each class (row) are taken for each (column).

    Counts are int64, or float64 sums of weights. Samples without an answer are in no column.
    """
    y, a, weight = _checked(y, a, sample_weight)
    k = max(2, a.shape[1])
    if are_labels(a):
        k = max(2, *(int(labels.max()) + 1 for labels in (a, y)))
    counts = np.zeros(k * k)
    for part in row_slices(len(a), a.shape[1]):
        truth, answer = labels_of(y[part], a[part])
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
    return _over(Errors(), y, a, sample_weight)["mae"]


def mse(y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean of (y - a)² over samples and outputs."""
    return _over(Errors(), y, a, sample_weight)["mse"]


def rmse(y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the square root of `mse`."""
    return _over(Errors(), y, a, sample_weight)["rmse"]


def r2(y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean over outputs of 1 - Σ (y - a)² / Σ (y - ȳ)².

    An output whose target does not vary has 1 if it is predicted exactly, else 0.
    """
    return _over(Errors(), y, a, sample_weight)["r2"]


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
    if y.ndim == 1 and k > 1 or are_labels(a):
        limit = np.inf if k == 1 else k
        for labels in (y, a) if k == 1 else (y,):
            if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= limit:
                raise ValueError(f"labels must be integers in [0, {limit}), got {labels}")
    return y, a, weight_array(sample_weight, n)


def _over(
    tally: Tally, y: ArrayLike, a: ArrayLike, sample_weight: ArrayLike | None
) -> dict[str, float]:
    """Return the results of all samples, added slice by slice."""
    y, a, weight = _checked(y, a, sample_weight)
    for part in row_slices(len(a), a.shape[1]):
        w = np.ones(part.stop - part.start) if weight is None else weight[part]
        if w.any():
            tally.add(a[part], y[part], w)
    return tally.results()
