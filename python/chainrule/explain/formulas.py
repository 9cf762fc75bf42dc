"""The formulas of losses, in print and as functions, and what sums and prints their terms.

In print a subscript follows ``_`` and a superscript ``^``: ``w_jk``, ``a^2``. Superscripts are
layers; squares are written ``²``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[Any]:
    """Divide; 0/0 is 0 (a probability that is 0 and should be), and 1/0 is ±inf."""
    with np.errstate(divide="ignore", over="ignore"):
        safe = np.where((numerator == 0) & (denominator == 0), 1, denominator)
        return (numerator / safe).astype(numerator.dtype)


class Loss(NamedTuple):
    """What explanations need to know of a loss, for one sample with n_L outputs.

    Attributes
    ----------
    cost : str
        C in print.
    slope : str
        ∂C/∂a_j in print.
    dC_da : callable
        ∂C/∂a as a function of (a, y), whose last axis has the outputs.
    fused : str or None
        δ_j in print, where the loss and its output activation are derived as one, without a
        division.
    """

    cost: str
    slope: str
    dC_da: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    fused: str | None = None


LOSSES = {
    "half_mse": Loss(
        "1/n_L Σ_j ½ (a_j - y_j)²", "(a_j - y_j)/n_L", lambda a, y: (a - y) / a.shape[-1]
    ),
    "mse": Loss(
        "1/n_L Σ_j (a_j - y_j)²", "2 (a_j - y_j)/n_L", lambda a, y: 2 * (a - y) / a.shape[-1]
    ),
    "sse": Loss("Σ_j (a_j - y_j)²", "2 (a_j - y_j)", lambda a, y: 2 * (a - y)),
    "mae": Loss(
        "1/n_L Σ_j |a_j - y_j|",
        "sign(a_j - y_j)/n_L",
        lambda a, y: np.sign(a - y) / a.shape[-1],
    ),
    "huber": Loss(
        "1/n_L Σ_j (½ r_j² if |r_j| <= 1 else |r_j| - ½), r_j = a_j - y_j",
        "(a_j - y_j, cut to [-1, 1])/n_L",
        lambda a, y: np.clip(a - y, -1, 1) / a.shape[-1],
    ),
    "cross_entropy": Loss(
        "-Σ_j y_j ln a_j", "-y_j/a_j", lambda a, y: _ratio(-y, a), "a_j Σ_i y_i - y_j"
    ),
    "binary_cross_entropy": Loss(
        "-1/n_L Σ_j (y_j ln a_j + (1 - y_j) ln(1 - a_j))",
        "(a_j - y_j)/(a_j (1 - a_j))/n_L",
        lambda a, y: _ratio(a - y, a * (1 - a)) / a.shape[-1],
        "(a_j - y_j)/n_L",
    ),
}


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
