"""Activations and outputs that exporters write as several nodes.

GELU comes as x · (1 + erf(x/√2)) · ½ in any order of the factors, SiLU as x · σ(x), softplus with
a guard against overflow, and a classifier of two classes as [1 - p, p] with p = σ(z).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.onnx.rows import Rows
from chainrule.stack import Layer, Stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Steps on the way to GELU: no network has them when it is complete.
ERF = "Erf"
TWICE_GELU = "Erf times its argument"

# From here on softplus(x) is x in float32, and within 2.1e-9 of it in any case.
SOFTPLUS_GUARD = 20.0


@dataclass(frozen=True)
class Above:
    """Where x > threshold."""

    x: Rows
    threshold: float


def product(first: Rows, second: Rows) -> Rows:
    """Return z · g(z) where that is an activation: SiLU, or a part of GELU."""
    if first.alike(second):
        for z, factor in ((first.stack, second.stack), (second.stack, first.stack)):
            found = _times_own_function(z, factor)
            if found is not None:
                return first.holding(found)
    raise ValueError("multiplies rows with each other")


def _times_own_function(z: Stack, factor: Stack) -> Stack | None:
    if z.matrix is None or factor.matrix is not None or not factor.layers:
        return None
    if not _same(factor.layers[:-1], z.layers):
        return None
    inner = factor.layers[-1]
    plain = factor.scale is None and factor.shift is None
    if inner.activation == "sigmoid" and plain and _is_multiple(z, inner, 1.0):
        return z.activation("silu")
    if inner.activation == ERF:
        for part in (1.0, 0.5):  # of the argument x: z = part · x
            if _is_multiple(z, inner, part * sqrt(2)):
                return _gelu(z.affine(1 / part), part, factor)
    return None


def _gelu(x: Stack, part: float, factor: Stack) -> Stack | None:
    """Return part · x · factor, with factor = 1 + erf(x/√2) or half of it."""
    if factor.scale is None and _all(factor.shift, 1.0):
        return x.activation("gelu" if part == 0.5 else TWICE_GELU)
    if part == 1 and _all(factor.scale, 0.5) and _all(factor.shift, 0.5):
        return x.activation("gelu")
    return None


def halved(x: Stack) -> Stack:
    """Return x / 2, which may complete GELU."""
    if x.closed and x.layers:
        *before, last = x.layers
        if last.activation == TWICE_GELU:
            return replace(x, layers=(*before, last._replace(activation="gelu")))
    return x.affine(0.5)


def greater(operands: Sequence[Any], attributes: Mapping[str, Any]) -> Above:
    """Compare rows with a number."""
    x, threshold = operands
    if not isinstance(x, Rows) or not isinstance(threshold, np.ndarray) or threshold.size != 1:
        raise ValueError("does not compare rows with a number")
    x, number = x.with_constant(threshold)
    return Above(x, float(number[0]))


def where(operands: Sequence[Any], attributes: Mapping[str, Any]) -> Rows:
    """Return softplus(x), written as x where it is above the guard."""
    condition, x, result = operands
    if (
        isinstance(condition, Above)
        and condition.threshold >= SOFTPLUS_GUARD
        and isinstance(result, Rows)
        and isinstance(x, Rows)
        and x.stack is condition.x.stack
        and x.alike(condition.x)
        and result.alike(x)
        and result.stack.closed
        and result.stack.layers
        and _same(result.stack.layers[:-1], x.stack.layers)
        and _is_softplus(result.stack.layers[-1], x.stack)
    ):
        return result
    raise ValueError("chooses between rows")


def _is_softplus(layer: Layer, x: Stack) -> bool:
    return layer.activation == "softplus" and layer.w is x.matrix and layer.b is x.shift


def concatenated(operands: Sequence[Any], attributes: Mapping[str, Any]) -> Rows:
    """[1 - σ(z), σ(z)] as softmax([0, z])."""
    rest, p = operands if len(operands) == 2 else (None, None)
    if (
        isinstance(rest, Rows)
        and isinstance(p, Rows)
        and rest.alike(p)
        and p.row == (1,)
        and p.axis_of_row(attributes["axis"])
        and p.stack.closed
        and p.stack.layers
        and _same(rest.stack.layers, p.stack.layers)
        and rest.stack.matrix is None
        and _all(rest.stack.scale, -1.0)
        and _all(rest.stack.shift, 1.0)
    ):
        last = p.stack.layers[-1]
        if last.activation == "sigmoid":
            w = np.vstack([np.zeros_like(last.w), last.w])
            b = None if last.b is None else np.append(0.0, last.b)
            return p.multiplied(Stack(2, (*p.stack.layers[:-1], Layer(w, b, "softmax"))))
    raise ValueError("joins rows")


def _same(first: tuple[Layer, ...], second: tuple[Layer, ...]) -> bool:
    """Tell whether two stacks have the very same layers; equal weights alone do not count."""
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))


def _all(values: np.ndarray | None, number: float) -> bool:
    return values is not None and bool((values == number).all())


def _is_multiple(z: Stack, inner: Layer, factor: float) -> bool:
    """Tell whether z is the argument of `inner` times `factor`, within float64's rounding."""
    assert z.matrix is not None
    if (z.shift is None) != (inner.b is None):
        return False
    pairs = [(z.matrix, inner.w)]
    if z.shift is not None and inner.b is not None:
        pairs.append((z.shift, inner.b))
    return all(np.allclose(left, right * factor, rtol=1e-12, atol=0) for left, right in pairs)
