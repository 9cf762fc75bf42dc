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

#: Never falls where x grows; the others may, by a place or two.
MONOTONE = ["exp", "expm1", "log", "log1p", "tanh", "erf"]
ODD = ["tanh", "erf"]
#: The sign of the result is that of x, or never negative; that of a zero too.
SIGN_OF_X = ["expm1", "log1p", "tanh", "erf", "silu", "gelu"]
POSITIVE = ["exp", "sigmoid", "softplus", "normal_cdf"]

#: Where elementary.h takes another branch, a result saturates, or it leaves the normal numbers.
THRESHOLDS = [
    *(2.0**-54, 2.0**-25, math.log(2) / 2, 0.5, math.log(2), math.sqrt(0.5), 1, math.sqrt(2), 2, 4),
    *(5.42, 8.29, 10, 13.2, 14.2, 15, 20, 36.7, 37.52, 38.6, 39, 40, 87.33654475, 88.72283905),
    *(89, 103.9720770, 104, 112, 708.3964185322641, 709.782712893384, 710, 745.1332191019411),
    *(746, 760),
]

INF, NAN = math.inf, math.nan
MAX, MIN = math.nextafter(INF, 0), math.ulp(0)  # stand for those of the dtype
LN2 = math.log(2)

#: name: f(x) at each of EDGES, None where test_functions_keep_their_bounds says enough; signs of
#: zeros count
EDGES = [-INF, -MAX, -1e5, -MIN, -0.0, 0.0, MIN, 1e5, MAX, INF]
AT_EDGES = {
    "exp": [0.0, 0.0, 0.0, 1, 1, 1, 1, INF, INF, INF],
    "expm1": [-1, -1, -1, -MIN, -0.0, 0.0, MIN, INF, INF, INF],
    "log": [NAN, NAN, NAN, NAN, -INF, -INF, None, None, None, INF],
    "log1p": [NAN, NAN, NAN, -MIN, -0.0, 0.0, MIN, None, None, INF],
    "tanh": [-1, -1, -1, -MIN, -0.0, 0.0, MIN, 1, 1, 1],
    "sigmoid": [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1],
    "erf": [-1, -1, -1, -MIN, -0.0, 0.0, MIN, 1, 1, 1],
    "normal_cdf": [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1],
    "softplus": [0.0, 0.0, 0.0, LN2, LN2, LN2, LN2, 1e5, MAX, INF],
    "silu": [-0.0, -0.0, -0.0, None, -0.0, 0.0, None, 1e5, MAX, INF],
    "gelu": [-0.0, -0.0, -0.0, None, -0.0, 0.0, None, 1e5, MAX, INF],
    "silu_derivative": [-0.0, -0.0, -0.0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1],
    "gelu_derivative": [-0.0, -0.0, -0.0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1],
}
#: name: more of (x, f(x)), at the ends of the domains
ENDS = {
    "log": [(1, 0.0), (-1, NAN)],
    "log1p": [(-1, -INF), (-1 - 2.0**-23, NAN), (-2, NAN)],
}


@pytest.fixture(params=DTYPES)
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(params=BOUNDS)
def name(request):
    return request.param


def with_neighbours(x, places):
    """x, and the `places` numbers on either side of each."""
    bits = x.view(f"i{x.itemsize}")
    return (bits[:, None] + np.arange(-places, places + 1)).astype(bits.dtype).view(x.dtype).ravel()


def points(name, dtype, rng):
    """Every magnitude from the least subnormal to the largest number, and the usual range."""
    info = np.finfo(dtype)
    low, high = math.log(float(info.smallest_subnormal)), math.log(float(info.max))
    magnitudes = np.exp(rng.uniform(low, high, 120)) * rng.choice([-1.0, 1.0], 120)
    usual = np.concatenate([rng.normal(0, scale, 120) for scale in (0.1, 1, 5, 40)])
    edges = np.array(
        [1, -1, 0.5, math.sqrt(0.5), math.sqrt(2), -0.75, -1.2784645, 2, 88, -87, -103]
    )
    ends = np.array([info.smallest_subnormal, info.tiny / 2, info.tiny, 2 * info.tiny, info.max])
    branches = with_neighbours(np.concatenate([ends, THRESHOLDS]).astype(dtype), 1)
    x = np.concatenate([magnitudes, usual, edges, branches, -branches]).astype(dtype)
    if name in LOWEST:
        x = np.concatenate([np.abs(x), -np.abs(x)])
    return x[np.isfinite(x) & (x != 0) & (x > LOWEST.get(name, -INF))]


def error_in_ulp(got, value, dtype):
    """|got - value| in units of the spacing of `dtype` at the exact value."""
    info = np.finfo(dtype)
    if value.copy_abs() > Decimal(float(info.max)):  # abs() would round to 28 digits
        return Decimal(0) if abs(got) == INF else Decimal(INF)
    if not math.isfinite(got):
        return Decimal(INF)
    # What underflows float64 has the exponent 0 for frexp.
    exponent = max(math.frexp(float(value))[1] - 1, info.minexp) if float(value) else info.minexp
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
    info = np.finfo(dtype)
    own = {MAX: info.max, -MAX: -info.max}
    own |= {MIN: info.smallest_subnormal, -MIN: -info.smallest_subnormal}
    for x, expected in [*zip(EDGES, AT_EDGES[name], strict=True), *ENDS.get(name, [])]:
        if expected is None:
            continue
        x, expected = (np.array([own.get(v, v)], dtype) for v in (x, expected))
        got = _core.elementary(name, x)
        same_sign = np.isnan(expected) or np.signbit(got) == np.signbit(expected)
        assert np.array_equal(got, expected, equal_nan=True) and same_sign, f"{name}({x}) = {got}"


@pytest.mark.parametrize("name", MONOTONE)
def test_neighbours_are_in_order(name, dtype, rng):
    x = np.unique(with_neighbours(points(name, dtype, rng), 20))
    x = x[np.isfinite(x) & (x > LOWEST.get(name, -INF))]
    y = _core.elementary(name, x)
    falls = np.flatnonzero(~(y[1:] >= y[:-1]))
    assert falls.size == 0, f"{name} falls at {x[falls + 1][:5].tolist()}"


@pytest.mark.parametrize("name", ODD)
def test_odd_functions_are_odd(name, dtype, rng):
    x = points(name, dtype, rng)
    assert_same_bits(_core.elementary(name, -x), -_core.elementary(name, x))


@pytest.mark.parametrize("name", SIGN_OF_X + POSITIVE)
def test_signs_survive_underflow(name, dtype, rng):
    x = points(name, dtype, rng)
    negative = np.signbit(x) if name in SIGN_OF_X else np.zeros(x.shape, bool)
    assert np.signbit(_core.elementary(name, x)).tolist() == negative.tolist()


def test_exp_is_infinite_or_zero_only_where_the_rounded_result_is(dtype):
    info = np.finfo(dtype)
    least = Decimal(float(info.smallest_subnormal))
    first = Decimal(2) ** info.maxexp * (1 - Decimal(2) ** (-info.nmant - 2))  # rounds to infinity
    ends = np.array([float(first.ln()), float((least / 2).ln())], dtype)
    for x in with_neighbours(ends, 10):
        got, value = _core.elementary("exp", x.reshape(1))[0], exact.exp(Decimal(float(x)))
        assert (got == INF) == (value >= first), f"exp({x!r}) = {got}"
        assert (got == 0) == (value <= least / 2), f"exp({x!r}) = {got}"


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
