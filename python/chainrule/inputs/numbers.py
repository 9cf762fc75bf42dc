"""Checks of numbers that users pass."""

from __future__ import annotations

import math
from numbers import Real
from operator import index


def nonnegative(value: float, name: str) -> float:
    """Return `value` as a float, finite and >= 0."""
    if type(value) is float and 0 <= value < math.inf:  # most are: Real is slow to ask
        return value
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and >= 0, got {value}")
    return float(value)


def positive(value: float, name: str) -> float:
    """Return `value` as a float, finite and above 0."""
    if nonnegative(value, name) == 0:
        raise ValueError(f"{name} must be above 0")
    return float(value)


def fraction(value: float, name: str) -> float:
    """Return `value` as a float in [0, 1)."""
    if nonnegative(value, name) >= 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value}")
    return float(value)


def count(value: int, name: str, least: int = 1) -> int:
    """Return `value` as an int of at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if index(value) < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return index(value)
