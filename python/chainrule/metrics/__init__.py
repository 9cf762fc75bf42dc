"""Measures of how well outputs meet targets, for arrays and for ``fit`` and ``evaluate``."""

from chainrule.metrics.functions import (
    Metric,
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    evaluate,
    f1,
    mae,
    mse,
    precision,
    r2,
    recall,
    resolve,
    rises,
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
