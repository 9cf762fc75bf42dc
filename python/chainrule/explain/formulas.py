"""The formulas of activations and losses, in print and, where a term needs it, as functions.

In print a subscript follows ``_`` and a superscript ``^``: ``w_jk``, ``a^2``. Superscripts are
layers; squares are written ``²``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# C of one sample with n_L outputs.
COSTS = {
    "half_mse": "1/n_L Σ_j ½ (a_j - y_j)²",
    "mse": "1/n_L Σ_j (a_j - y_j)²",
    "sse": "Σ_j (a_j - y_j)²",
    "mae": "1/n_L Σ_j |a_j - y_j|",
    "huber": "1/n_L Σ_j (½ r_j² if |r_j| <= 1 else |r_j| - ½), r_j = a_j - y_j",
    "cross_entropy": "-Σ_j y_j ln a_j",
    "binary_cross_entropy": "-1/n_L Σ_j (y_j ln a_j + (1 - y_j) ln(1 - a_j))",
}


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[Any]:
    """Divide; 0/0 is 0 (a probability that is 0 and should be), and 1/0 is ±inf."""
    with np.errstate(divide="ignore", over="ignore"):
        safe = np.where((numerator == 0) & (denominator == 0), 1, denominator)
        return (numerator / safe).astype(numerator.dtype)


# ∂C/∂a of one sample with n_L outputs: the formula in print, and as a function of (a, y), whose
# last axis has the outputs.
LOSSES: dict[str, tuple[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]]] = {
    "half_mse": ("(a_j - y_j)/n_L", lambda a, y: (a - y) / a.shape[-1]),
    "mse": ("2 (a_j - y_j)/n_L", lambda a, y: 2 * (a - y) / a.shape[-1]),
    "sse": ("2 (a_j - y_j)", lambda a, y: 2 * (a - y)),
    "mae": ("sign(a_j - y_j)/n_L", lambda a, y: np.sign(a - y) / a.shape[-1]),
    "huber": (
        "(a_j - y_j, cut to [-1, 1])/n_L",
        lambda a, y: np.clip(a - y, -1, 1) / a.shape[-1],
    ),
    "cross_entropy": ("-y_j/a_j", lambda a, y: _ratio(-y, a)),
    "binary_cross_entropy": (
        "(a_j - y_j)/(a_j (1 - a_j))/n_L",
        lambda a, y: _ratio(a - y, a * (1 - a)) / a.shape[-1],
    ),
}

# δ_j of an output layer whose activation and loss are derived as one, without a division.
FUSED = {"cross_entropy": "a_j Σ_i y_i - y_j", "binary_cross_entropy": "(a_j - y_j)/n_L"}


def targets_of(y: NDArray[Any], a: NDArray[Any]) -> NDArray[Any]:
    """Return the targets `y`, checked by the core, as an array like the outputs `a` (n, n_L)."""
    labels = y.ndim == 1 and a.shape[1] > 1
    values = y[:, None] == np.arange(a.shape[1]) if labels else y.reshape(a.shape)
    return values.astype(a.dtype, copy=False)


def through(weights: NDArray[Any], delta: NDArray[Any]) -> NDArray[Any]:
    """Return ∂C/∂a_j = Σ_q w_qj δ_q, summed in float64 for q = 0, 1, …, then rounded.

    `weights` has shape (n_q, …); the shape of `delta` without its last axis, n_q, is that of the
    result's first axes.
    """
    total = np.zeros(delta.shape[:-1] + weights.shape[1:])
    axes = tuple(range(delta.ndim - 1, total.ndim))
    with np.errstate(all="ignore"):
        for q, row in enumerate(weights.astype(np.float64)):
            # Not np.multiply.outer, which crashes where memory for its result is short.
            total += np.expand_dims(delta[..., q], axes).astype(np.float64) * row
        return total.astype(delta.dtype)


def number(value: Any) -> str:
    """Print nine significant digits, and -0 as 0."""
    return f"{float(value) + 0.0:.9g}"
