"""The numbers and the elementary functions of docs/arithmetic.md, for tests/specification.py.

The tables of coefficients are the normative ones. A number is a Python float that its format,
Float32 or Float64, can hold; every operation rounds once. Python's own + - * / and math.sqrt are
those of IEEE 754 in double precision. Their results, rounded once more, are correctly rounded in
single precision too, as 53 >= 2 * 24 + 2; so does C's conversion. fma is exact in integers, then
rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from ctypes import c_float

# --- numbers ----------------------------------------------------------------------------------


def dyadic(x):
    """(n, e) with x = n 2^e."""
    n, d = x.as_integer_ratio()
    return n, 1 - d.bit_length()


def rounded(T, n, e):
    """The number of T nearest to n 2^e, n not 0: ties to even, subnormal numbers, infinities."""
    sign, n = (-1.0, -n) if n < 0 else (1.0, n)
    lost = max(n.bit_length() - T.digits, T.least - e)
    if lost > 0:
        rest, half = n & ((1 << lost) - 1), 1 << (lost - 1)
        n, e = n >> lost, e + lost
        n += rest > half or (rest == half and n % 2 == 1)
    return math.copysign(math.inf if n.bit_length() + e > T.limit else math.ldexp(n, e), sign)


def operation(name):
    of_floats = getattr(float, name)

    def apply(self, other):
        T = type(self)
        return T(of_floats(self, other if type(other) is T else T(other)))

    return apply


class Real(float):
    """A number of a binary format. What meets it in + - * / is rounded to that format first."""

    digits: int  # of the significand
    least: int  # 2^least is the smallest subnormal number
    limit: int  # 2^limit is too large
    lanes: int  # of a sum over outputs
    nearest: Callable[[float], float]  # the value of the format

    def __new__(cls, x):
        return x if type(x) is cls else float.__new__(cls, cls.nearest(x))

    __add__, __radd__ = operation("__add__"), operation("__radd__")
    __sub__, __rsub__ = operation("__sub__"), operation("__rsub__")
    __mul__, __rmul__ = operation("__mul__"), operation("__rmul__")
    __truediv__, __rtruediv__ = operation("__truediv__"), operation("__rtruediv__")

    def __neg__(self):
        return type(self)(float.__neg__(self))

    def __abs__(self):
        return type(self)(float.__abs__(self))


def fma(a, b, c):
    """a b + c, rounded once."""
    T = type(a)
    b = b if type(b) is T else T(b)
    c = c if type(c) is T else T(c)
    if not (math.isfinite(a) and math.isfinite(b)):
        return T(float(a) * float(b) + float(c))
    if not math.isfinite(c):
        return c
    if a == 0 or b == 0:
        return a * b + c
    (p, f), (q, g), (r, h) = dyadic(a), dyadic(b), dyadic(c)
    e = min(f + g, h)
    n = (p * q << (f + g - e)) + (r << (h - e))
    return float.__new__(T, rounded(T, n, e)) if n else T(0)


def sqrt(x):
    return type(x)(math.sqrt(x))


def copysign(x, s):
    return type(x)(math.copysign(x, s))


def maximum(a, b):
    """a where a > b, else b, so also where a or b is NaN."""
    return type(b)(a) if a > b else b


def minimum(a, b):
    return type(b)(a) if a < b else b


def power_of_two(T, n):
    return T(n) if math.isnan(n) else T(math.ldexp(1, int(n)))


# --- constants and coefficients ---------------------------------------------------------------


class Float32(Real):
    digits, least, limit, lanes = 24, -149, 128, 16
    nearest = staticmethod(lambda x: c_float(x).value)
    log2_e = float.fromhex("0x1.715476p+0")
    ln2_high = float.fromhex("0x1.62e43p-1")
    ln2_low = float.fromhex("-0x1.05c61p-29")
    sqrt_half = float.fromhex("0x1.6a09e6p-1")
    pdf_0 = float.fromhex("0x1.988454p-2")  # 1 / sqrt(2 pi)
    exp_high, exp_low, expm1_low = 89, -104, -20
    logistic_end, normal_end, tanh_end = 112, 15, 10
    scale = 64
    exp = (0.49999997, 0.166665465, 0.0416674428, 8.36625788e-3, 1.38697925e-3)
    log = (0.666669488, 0.399576604, 0.303643972)
    mills = (
        *(0.755285144, -0.607896626, 0.387136281, -0.186522171, 0.0604108907, -7.53396004e-3),
        *(-3.540884e-3, 1.58747134e-3, 2.24381147e-4, -1.39354481e-4, -2.04523385e-5),
    )
    erf = (
        *(0.128379166, -0.37612626, 0.112835787, -0.0268533472, 5.1871622e-3, -7.9978531e-4),
        7.80690316e-5,
    )


class Float64(Real):
    digits, least, limit, lanes = 53, -1074, 1024, 8
    nearest = float
    log2_e = float.fromhex("0x1.71547652b82fep+0")
    ln2_high = float.fromhex("0x1.62e42fefa39efp-1")
    ln2_low = float.fromhex("0x1.abc9e3b39803fp-56")
    sqrt_half = float.fromhex("0x1.6a09e667f3bcdp-1")
    pdf_0 = float.fromhex("0x1.9884533d43651p-2")
    exp_high, exp_low, expm1_low = 710, -746, -40
    logistic_end, normal_end, tanh_end = 760, 39, 20
    scale = 512
    exp = (
        *(0.50000000000000056, 0.16666666666666649, 0.041666666666576299, 8.333333333360466e-3),
        *(1.3888888931378057e-3, 1.9841269769298059e-4, 2.4801505626808115e-5),
        *(2.7557370450586292e-6, 2.7625881219026821e-7, 2.5063705066475156e-8),
    )
    log = (
        *(0.6666666666667268, 0.39999999996175872, 0.28571429393062231, 0.22222138662948729),
        *(0.18186350145776589, 0.15250295645390294, 0.15367433956834547),
    )
    mills = (
        *(0.75528513041575152, -0.60789664197189208, 0.38713740074221242, -0.18652185795965934),
        *(0.060396574890927202, -7.5401889666207042e-3, -3.4796923656072575e-3),
        *(1.6308184554894166e-3, 1.333442810286915e-4, -2.3109491659067014e-4),
        *(-1.908000841650159e-6, 3.5144608279646109e-5, 7.1545036267467011e-7),
        *(-5.9200615614710792e-6, -6.2614514148121073e-7, 1.0218383346355748e-6),
        *(2.6526302430733377e-7, -1.5645001247646431e-7, -7.799610913989316e-8),
        *(1.5906429127709233e-8, 1.4894889787536929e-8, -2.7596688947511955e-10),
        -1.2242678773074049e-9,
    )
    erf = (
        *(0.12837916709551256, -0.37612638903183343, 0.11283791670936949, -0.026866170641958603),
        *(5.2239775967283806e-3, -8.5483254844743669e-4, 1.2055280475630522e-4),
        *(-1.4924465132367094e-5, 1.644414298589982e-6, -1.6183922863883358e-7),
        *(1.3616359770046063e-8, -7.607097610271288e-10),
    )


# --- elementary functions ---------------------------------------------------------------------


def horner(x, c):
    total = type(x)(c[-1])
    for coefficient in reversed(c[:-1]):
        total = fma(total, x, coefficient)
    return total


def polynomial(x, c):
    """c_0 + c_1 x + ...; in a long one, all but the first two terms are summed as even + x odd."""
    if len(c) < 8:
        return horner(x, c)
    square = x * x
    rest = fma(horner(square, c[3::2]), x, horner(square, c[2::2]))
    return fma(fma(rest, x, c[1]), x, c[0])


def reduced_exp(x, correction=0.0):
    """(n, p) with e^(x + correction) = 2^n (1 + p)."""
    T = type(x)
    shift = 1.5 * 2 ** (T.digits - 1)  # adding it rounds to an integer
    n = fma(x, T.log2_e, shift) - shift
    r = fma(n, -T.ln2_high, x)
    low = fma(n, -T.ln2_low, correction)
    y = r + low
    return n, r + fma(y * y, polynomial(y, T.exp), low)


def exp(x):
    T = type(x)
    n, p = reduced_exp(minimum(T.exp_high, maximum(T.exp_low, x)))
    half = n // 2
    s = power_of_two(T, half)
    return fma(s, p, s) * power_of_two(T, n - half)


def expm1(x):
    T = type(x)
    n, p = reduced_exp(minimum(T.exp_high, maximum(T.expm1_low, x)))
    half = power_of_two(T, n - 1)
    return x if abs(x) < 2.0 ** (-T.digits - 1) else fma(half, p, half - 0.5) * 2


def split(x):
    """(k, m) with x = 2^k m and sqrt(1/2) <= m < sqrt(2), for x > 0."""
    T = type(x)
    m, k = math.frexp(x)
    return (T(k), T(m)) if m >= T.sqrt_half else (T(k - 1), T(2 * m))


def log_reduced(k, f, correction=0.0):
    """k ln 2 + log(1 + f) + correction."""
    T = type(f)
    s = f / (2 + f)
    z = s * s
    half_square = 0.5 * f * f
    inner = fma(z, polynomial(z, T.log), half_square)
    low = fma(k, T.ln2_low, correction)
    return fma(k, T.ln2_high, f - (half_square - fma(s, inner, low)))


def log(x):
    if not 0 < x < math.inf:
        return x if x > 0 else type(x)(-math.inf if x == 0 else math.nan)
    k, m = split(x)
    return log_reduced(k, m - 1)


def log1p(x):
    if not -1 < x < math.inf:
        return x if x > -1 else type(x)(-math.inf if x == -1 else math.nan)
    u = 1 + x
    k, m = split(u)
    if k == 0:
        return copysign(log_reduced(k, x), x)
    lost = (x - (u - 1)) * power_of_two(type(x), 2 - k) * (0.515 - 0.25 * m)
    return copysign(log_reduced(k, m - 1, lost), x)


def scaled_exp(x, offset, correction=0.0):
    """(s, p) with e^(x + correction) = s (1 + p) 2^-offset."""
    n, p = reduced_exp(x, correction)
    return power_of_two(type(x), n + offset), p


def down(x):
    """2^-scale, in the format of x."""
    return power_of_two(type(x), -x.scale)


def tanh(x):
    s, p = scaled_exp(-2 * minimum(x.tanh_end, abs(x)), 0)
    return copysign(fma(-s, p, 1 - s) / fma(s, p, 1 + s), x)


def one_plus_exp(x):
    """(1 + e^x) 2^-scale."""
    s, p = scaled_exp(x, -x.scale)
    return s + fma(s, p, down(x))


def sigmoid(x):
    return down(x) / one_plus_exp(minimum(x.logistic_end, maximum(-40, -x)))


def softplus(x):
    s, p = scaled_exp(-minimum(x.logistic_end, abs(x)), x.scale)
    e = fma(down(x), p, down(x)) * s
    zero = type(x)(0)
    return maximum(x, zero) + (
        log_reduced(zero + 1, 0.5 * e - 0.5) if e > 0.5 else log_reduced(zero, e)
    )


def silu(x):
    t = minimum(x.logistic_end, abs(x))
    return maximum(-0.0, x) - t / one_plus_exp(t) * down(x)


def silu_derivative(x):
    t = minimum(x.logistic_end, abs(x))
    w = 1 / one_plus_exp(t)
    at_minus_t = w * fma(-t, 1 - w * down(x), 1) * down(x)
    return at_minus_t if x < 0 else 1 - at_minus_t


def gaussian(t):
    """(s, p) with e^(-t^2 / 2) = s (1 + p) 2^-scale."""
    square = t * t
    return scaled_exp(-0.5 * square, t.scale, -0.5 * fma(t, t, -square))


def times_gaussian(t, factor, low):
    """(factor + low) e^(-t^2 / 2)."""
    s, p = gaussian(t)
    return (factor + fma(factor, p, fma(low, p, low))) * s * down(t)


def normal_tail(t):
    """(m, m_low) with Phi(-t) = (m + m_low) e^(-t^2 / 2), for t >= 0."""
    d = t + 4
    w = 1 / d
    w_lost = fma(-w, t - (d - 4), fma(-w, d, 1))
    y = fma(w, -8, 1)
    q = polynomial(y, t.mills[1:])
    p = fma(y, q, t.mills[0])
    p_low = fma(y, q, t.mills[0] - p)
    a = fma(y, -1.09, 1.89)
    m = w * p
    return m, fma(m, w_lost * a, fma(w, p_low, fma(w, p, -m)))


def normal_cdf(x):
    t = minimum(x.normal_end, abs(x))
    at_minus_t = times_gaussian(t, *normal_tail(t))
    return 1 - at_minus_t if x > 0 else at_minus_t


def erf(x):
    if abs(x) < 1:
        return fma(x, polynomial(x * x, x.erf), x)
    t = minimum(x.normal_end, abs(x * math.sqrt(2)))
    return copysign(1 - 2 * times_gaussian(t, *normal_tail(t)), x)


def gelu(x):
    t = minimum(x.normal_end, abs(x))
    m, m_low = normal_tail(t)
    tm = t * m
    tm_low = fma(t, m_low, fma(t, m, -tm))
    return maximum(-0.0, x) - times_gaussian(t, tm, tm_low)


def gelu_derivative(x):
    t = minimum(x.normal_end, abs(x))
    m, m_low = normal_tail(t)
    s, p = gaussian(t)
    factor = fma(t, -x.pdf_0, m) + m_low
    at_minus_t = fma(factor, p, factor) * s * down(x)
    return at_minus_t if x < 0 else 1 - at_minus_t


FUNCTIONS = [exp, expm1, log, log1p, tanh, sigmoid, softplus, erf, normal_cdf]
FUNCTIONS += [gelu, gelu_derivative, silu, silu_derivative]


# --- hardswish: no elementary function, but two formulas of several operations ----------------


def hardswish(z):
    t = maximum(-3, z)
    return t * (minimum(6, t + 3) / 6)


def hardswish_derivative(z):
    if z <= -3:
        return 0
    return 1 if z >= 3 else fma(z, 2, 3) / 6


ELEMENTARY = {f.__name__: f for f in FUNCTIONS}
