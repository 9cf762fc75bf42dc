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

from chainrule.metrics.evaluation import Metric, evaluate, resolve, rises
from chainrule.metrics.functions import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    f1,
    mae,
    mse,
    precision,
    r2,
    recall,
    rmse,
    roc_auc,
    top_k_accuracy,
)

__all__ = [
    "Metric",
    "accuracy",
    "balanced_accuracy",
    "confusion_matrix",
    "evaluate",
    "f1",
    "mae",
    "mse",
    "precision",
    "r2",
    "recall",
    "resolve",
    "rises",
    "rmse",
    "roc_auc",
    "top_k_accuracy",
]
