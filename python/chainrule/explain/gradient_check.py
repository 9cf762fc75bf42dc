"""The test of back-propagation that needs no other program: central differences."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chainrule import _core
from chainrule.gradients import flatten
from chainrule.inputs.arrays import real_array
from chainrule.inputs.sparse import is_sparse, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from chainrule.inputs.sparse import CSR
    from chainrule.protocols import Sparse


# Steps relative to max(1, |w|). With ε = 2e-16 the first has a rounding error of about ε C/h =
# 1e-12 C and a truncation error of h⁴ C⁗'/30, far below 1e-7 of a gradient worth checking. The
# smaller ones are for parameters with a kink (relu, mae) or a sharp bend within reach.
STEPS = (1e-4, 1e-5, 1e-6)


def check_gradients(network: _core.Network, x: ArrayLike | Sparse, y: ArrayLike) -> float:
    """Return ‖g - ĝ‖₂ / (‖g‖₂ + ‖ĝ‖₂); see ``Network.check_gradients``."""
    samples = _as_float64(x)
    y = real_array(y, "y")
    if y.dtype.kind == "f":
        y = y.astype(np.float64)
    twin = _core.Network(
        network.sizes, network.activations, network.loss, "float64", network.has_bias
    )
    twin.set_parameters(network.get_parameters().astype(np.float64))

    _, weights, biases = _core.gradients(twin, samples, y)
    g = flatten(weights, biases)
    tolerance = 1e-8 * float(np.linalg.norm(g))

    def cost() -> float:
        return float(_core.sample_costs(twin, samples, y)[0].mean())

    def differentiate(parameter: NDArray[Any]) -> NDArray[Any]:
        derivatives = np.empty(parameter.shape)
        for at in np.ndindex(parameter.shape):
            derivatives[at] = _derivative(cost, parameter, at, tolerance)
        return derivatives

    g_hat = flatten(*([differentiate(p) for p in views] for views in (twin.weights, twin.biases)))
    norms = np.linalg.norm(g) + np.linalg.norm(g_hat)
    return float(np.linalg.norm(g - g_hat) / norms) if norms else 0.0


def _as_float64(x: ArrayLike | Sparse) -> NDArray[np.float64] | CSR:
    if not is_sparse(x):
        return real_array(cast("ArrayLike", x), "x").astype(np.float64)
    rows = rows_of(x)
    return replace(rows, data=rows.data.astype(np.float64))


def _derivative(
    cost: Callable[[], float], parameter: NDArray[Any], at: tuple[int, ...], tolerance: float
) -> float:
    """Return ∂C/∂w by the four-point formula, for one entry w of `parameter`.

    D(h) = (C(w + h) - C(w - h))/2h has an error of h² C‴/6, which (4 D(h) - D(2h))/3 cancels.
    Where D(h) and D(2h) differ by more than `tolerance`, the cost bends within the step, and
    smaller steps are tried; the one with the least difference counts.
    """
    w = parameter[at]
    best, least = 0.0, np.inf
    for step in STEPS:
        h = step * max(1.0, abs(w))
        near, far = (_slope(cost, parameter, at, distance) for distance in (h, 2 * h))
        if abs(near - far) < least:
            best, least = (4 * near - far) / 3, abs(near - far)
        if least <= tolerance:
            break
    return float(best)


def _slope(
    cost: Callable[[], float], parameter: NDArray[Any], at: tuple[int, ...], h: float
) -> float:
    w = parameter[at]
    parameter[at] = w + h
    above = cost()
    parameter[at] = w - h
    below = cost()
    parameter[at] = w
    return (above - below) / (2 * h)
