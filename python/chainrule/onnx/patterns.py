"""Activations and outputs that exporters write as several nodes.

GELU comes as x · (1 + erf(x/√2)) · ½ in any order of the factors, SiLU as x · σ(x), softplus with
a guard against overflow, and a classifier of two classes as [1 - p, p] with p = σ(z).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from chainrule.stack import Layer, Stack

# Steps on the way to GELU: no network has them when it is complete.
ERF = "Erf"
TWICE_GELU = "Erf times its argument"

# From here on softplus(x) is x in float32, and within 2.1e-9 of it in any case.
SOFTPLUS_GUARD = 20.0


@dataclass(frozen=True)
class Above:
    """Where x > threshold."""

    x: Stack
    threshold: float


def product(first: Stack, second: Stack) -> Stack:
    """Return z · g(z) where that is an activation: SiLU, or a part of GELU."""
    for z, factor in ((first, second), (second, first)):
        if z.matrix is None or factor.matrix is not None or factor.layers[:-1] != z.layers:
            continue
        inner = factor.layers[-1]
        plain = factor.scale is None and factor.shift is None
        if inner.activation == "sigmoid" and plain and _is_multiple(z, inner, 1.0):
            return z.activation("silu")
        if inner.activation == ERF:
            for part in (1.0, 0.5):  # of the argument x: z = part · x
                if _is_multiple(z, inner, part * sqrt(2)):
                    return _gelu(z.affine(1 / part), part, factor)
    raise ValueError("multiplies rows with each other")


def _gelu(x: Stack, part: float, factor: Stack) -> Stack:
    """Return part · x · factor, with factor = 1 + erf(x/√2) or half of it."""
    if factor.scale is None and _all(factor.shift, 1.0):
        return x.activation("gelu" if part == 0.5 else TWICE_GELU)
    if part == 1 and _all(factor.scale, 0.5) and _all(factor.shift, 0.5):
        return x.activation("gelu")
    raise ValueError("multiplies rows with each other")


def halved(x: Stack) -> Stack:
    """Return x / 2, which may complete GELU."""
    if x.matrix is x.scale is x.shift is None and x.layers:
        *before, last = x.layers
        if last.activation == TWICE_GELU:
            return replace(x, layers=(*before, last._replace(activation="gelu")))
    return x.affine(0.5)


def greater(operands: list[Any], attributes: dict[str, Any]) -> Above:
    """Compare rows with a number."""
    x, threshold = operands
    if not isinstance(x, Stack) or not isinstance(threshold, np.ndarray) or threshold.size != 1:
        raise ValueError("does not compare rows with a number")
    return Above(x, float(threshold.reshape(())))


def where(operands: list[Any], attributes: dict[str, Any]) -> Stack:
    """Return softplus(x), written as x where it is above the guard."""
    condition, x, softplus = operands
    if (
        isinstance(condition, Above)
        and condition.threshold >= SOFTPLUS_GUARD
        and isinstance(softplus, Stack)
        and x is condition.x
        and softplus.matrix is softplus.scale is softplus.shift is None
        and softplus.layers[-1:]
        and softplus.layers[-1].activation == "softplus"
        and softplus.layers[-1].w is x.matrix
    ):
        return softplus
    raise ValueError("chooses between rows")


def concatenated(operands: list[Any], attributes: dict[str, Any]) -> Stack:
    """[1 - σ(z), σ(z)] as softmax([0, z])."""
    if len(operands) == 2 and attributes.get("axis") in (1, -1):
        rest, p = operands
        if isinstance(rest, Stack) and isinstance(p, Stack) and p.width == 1 and p.layers:
            last = p.layers[-1]
            if (
                rest.layers == p.layers
                and p.matrix is p.scale is p.shift is rest.matrix is None
                and last.activation == "sigmoid"
                and _all(rest.scale, -1.0)
                and _all(rest.shift, 1.0)
            ):
                w = np.vstack([np.zeros_like(last.w), last.w])
                b = None if last.b is None else np.append(0.0, last.b)
                return Stack(2, (*p.layers[:-1], Layer(w, b, "softmax")))
    raise ValueError("joins rows")


def _all(values: np.ndarray | None, number: float) -> bool:
    return values is not None and bool((values == number).all())


def _is_multiple(z: Stack, inner: Layer, factor: float) -> bool:
    """Tell whether z is the argument of `inner` times `factor`, within float32's rounding."""
    assert z.matrix is not None
    pairs = [(z.matrix, inner.w)]
    if (z.shift is None) != (inner.b is None):
        return False
    if z.shift is not None and inner.b is not None:
        pairs.append((z.shift, inner.b))
    return all(np.allclose(left, right * factor, rtol=1e-6, atol=0) for left, right in pairs)
