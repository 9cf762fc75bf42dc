"""The core's own elementary functions against 60-digit arithmetic, in units in the last place."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

import exact
from chainrule import _core
from support import assert_same_bits

DTYPES = ["float32", "float64"]

#: name: largest error in ulp. One correctly rounded operation costs 0.5; exp and log are single
#: polynomials, the next group adds a division or a second term, the last composes two functions.
BOUNDS = {
    "exp": 1.0,
    "log": 1.0,
    "expm1": 2.0,
    "log1p": 2.0,
    "tanh": 2.0,
    "sigmoid": 2.0,
    "erf": 2.0,
    "normal_cdf": 4.0,
    "softplus": 4.0,
    "silu": 4.0,
    "gelu": 4.0,
    "silu_derivative": 4.0,
    "gelu_derivative": 4.0,
}

#: These cross zero, where no fixed number of ulp can be asked for: the bound is multiplied by the
#: condition number |x f'(x) / f(x)| where that exceeds 1.
BY_CONDITION = {"silu_derivative", "gelu_derivative"}

LOWEST = {"log": 0.0, "log1p": -1.0}  # ends of the domains

INF, NAN = math.inf, math.nan

#: name: [(x, f(x))]; signs of zeros count
EDGES = {
    "exp": [(-INF, 0.0), (INF, INF), (0.0, 1.0), (-0.0, 1.0), (1e5, INF), (-1e5, 0.0)],
    "expm1": [(-INF, -1.0), (INF, INF), (0.0, 0.0), (-0.0, -0.0), (1e5, INF), (-1e5, -1.0)],
    "log": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log1p": [(-1.0, -INF), (0.0, 0.0), (-0.0, -0.0), (INF, INF), (-2.0, NAN), (-INF, NAN)],
    "tanh": [(-INF, -1.0), (INF, 1.0), (0.0, 0.0), (-0.0, -0.0), (1e5, 1.0), (-1e5, -1.0)],
    "sigmoid": [(-INF, 0.0), (INF, 1.0), (0.0, 0.5), (-0.0, 0.5), (1e5, 1.0), (-1e5, 0.0)],
    "erf": [(-INF, -1.0), (INF, 1.0), (0.0, 0.0), (-0.0, -0.0), (1e5, 1.0), (-1e5, -1.0)],
    "normal_cdf": [(-INF, 0.0), (INF, 1.0), (1e5, 1.0), (-1e5, 0.0)],
    "softplus": [(-INF, 0.0), (INF, INF), (1e5, 1e5), (-1e5, 0.0)],
    "silu": [(INF, INF), (0.0, 0.0), (-0.0, -0.0), (1e5, 1e5)],
    "gelu": [(INF, INF), (0.0, 0.0), (-0.0, -0.0), (1e5, 1e5)],
    "silu_derivative": [(INF, 1.0), (0.0, 0.5), (-0.0, 0.5), (1e5, 1.0)],
    "gelu_derivative": [(INF, 1.0), (0.0, 0.5), (-0.0, 0.5), (1e5, 1.0)],
}


@pytest.fixture(params=DTYPES)
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(params=BOUNDS)
def name(request):
    return request.param


def points(name, dtype, rng):
    """Every magnitude from the least subnormal to the largest number, and the usual range."""
    info = np.finfo(dtype)
    low, high = math.log(float(info.smallest_subnormal)), math.log(float(info.max))
    magnitudes = np.exp(rng.uniform(low, high, 120)) * rng.choice([-1.0, 1.0], 120)
    usual = np.concatenate([rng.normal(0, scale, 120) for scale in (0.1, 1, 5, 40)])
    edges = np.array(
        [1, -1, 0.5, math.sqrt(0.5), math.sqrt(2), -0.75, -1.2784645, 2, 88, -87, -103]
    )
    x = np.concatenate([magnitudes, usual, edges, info.tiny * np.array([0.5, 1, 2])]).astype(dtype)
    if name in LOWEST:
        x = np.concatenate([np.abs(x), -np.abs(x)])
    return x[np.isfinite(x) & (x != 0) & (x > LOWEST.get(name, -INF))]


def error_in_ulp(got, value, dtype):
    """|got - value| in units of the spacing of `dtype` at the exact value."""
    info = np.finfo(dtype)
    if abs(value) > Decimal(float(info.max)):
        return Decimal(0) if abs(got) == INF else Decimal(INF)
    if not math.isfinite(got):
        return Decimal(INF)
    exponent = max(math.frexp(float(value))[1] - 1, info.minexp)
    return abs(Decimal(float(got)) - value) / Decimal(2) ** (exponent - info.nmant)


def test_functions_keep_their_bounds(name, dtype, rng):
    function, worst = exact.FUNCTIONS[name], (Decimal(0), None)
    x = points(name, dtype, rng)
    for argument, got in zip(x.tolist(), _core.elementary(name, x).tolist(), strict=True):
        value = function(Decimal(argument))
        error = error_in_ulp(got, value, dtype)
        if name in BY_CONDITION:
            error /= max(Decimal(1), exact.condition_of(function, Decimal(argument)))
        worst = max(worst, (error, argument), key=lambda pair: pair[0])
    assert worst[0] <= BOUNDS[name], f"{float(worst[0]):.2f} ulp at x = {worst[1]!r}"


def test_edges_have_their_values(name, dtype):
    for x, expected in EDGES[name]:
        got = _core.elementary(name, np.array([x], dtype)).item()
        if math.isnan(expected):
            assert math.isnan(got), f"{name}({x}) = {got}"
        else:
            rounded = float(np.array(expected, dtype))
            same_sign = math.copysign(1, got) == math.copysign(1, expected)
            assert got == rounded and same_sign, f"{name}({x}) = {got}"


def test_nan_gives_nan(name, dtype):
    # Either sign: the processor's own NaN is negative.
    x = np.array([1.0, NAN, 2.0, -NAN], dtype)
    assert np.isnan(_core.elementary(name, x)).tolist() == [False, True, False, True]


@pytest.mark.bits
def test_results_do_not_depend_on_the_place_in_the_array(name, dtype, rng):
    """Whole vectors and tails run the same code."""
    x = np.abs(rng.normal(0, 2, 41)).astype(dtype)
    whole = _core.elementary(name, x)
    for n in range(1, 41):
        assert_same_bits(_core.elementary(name, np.ascontiguousarray(x[:n])), whole[:n])
        assert_same_bits(_core.elementary(name, np.ascontiguousarray(x[-n:])), whole[-n:])


def test_input_is_not_written(name, dtype):
    x = np.linspace(0.5, 3, 20, dtype=dtype)
    kept = x.copy()
    _core.elementary(name, x)
    assert_same_bits(x, kept)


def test_an_unknown_function_is_refused(dtype):
    with pytest.raises(ValueError):
        _core.elementary("sinh", np.ones(3, dtype))
