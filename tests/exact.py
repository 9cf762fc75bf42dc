"""Elementary functions to some 40 digits, on `decimal`: what test_elementary.py measures against.

Every function takes and returns a Decimal. `decimal` has correctly rounded exp and ln; the rest
follows from them and from two expansions of the normal distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import wraps

DIGITS = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
TINY = Decimal("1e-18")  # below this, three terms of a Taylor series give 50 digits

Function = Callable[[Decimal], Decimal]


def precisely(function: Function) -> Function:
    @wraps(function)
    def inner(x: Decimal) -> Decimal:
        with localcontext() as context:
            context.prec = DIGITS
            return +function(x)

    return inner


@precisely
def exp(x: Decimal) -> Decimal:
    return min(max(x, Decimal(-20_000)), Decimal(20_000)).exp()  # beyond any float either way


@precisely
def expm1(x: Decimal) -> Decimal:
    return x + x * x / 2 + x**3 / 6 if abs(x) < TINY else exp(x) - 1


@precisely
def log(x: Decimal) -> Decimal:
    return x.ln()


@precisely
def log1p(x: Decimal) -> Decimal:
    return x - x * x / 2 + x**3 / 3 if abs(x) < TINY else (1 + x).ln()


@precisely
def tanh(x: Decimal) -> Decimal:
    e = expm1(2 * x)
    return e / (e + 2)


@precisely
def sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + exp(-x))


@precisely
def softplus(x: Decimal) -> Decimal:
    return max(x, Decimal(0)) + log1p(exp(-abs(x)))


@precisely
def silu(x: Decimal) -> Decimal:
    return x * sigmoid(x)


@precisely
def silu_derivative(x: Decimal) -> Decimal:
    return sigmoid(x) * (1 + x * sigmoid(-x))


@precisely
def normal_pdf(x: Decimal) -> Decimal:
    return exp(-x * x / 2) / (2 * PI).sqrt()


@precisely
def normal_cdf(x: Decimal) -> Decimal:
    if x > 4:
        return 1 - normal_cdf(-x)
    if x < -4:  # Laplace's continued fraction: pdf(t) / (t + 1/(t + 2/(t + 3/(t + ...))))
        fraction = t = -x
        for k in range(300, 0, -1):
            fraction = t + k / fraction
        return normal_pdf(x) / fraction
    return Decimal("0.5") + normal_pdf(x) * odd_series(x)


def odd_series(x: Decimal) -> Decimal:
    """x + x^3/3 + x^5/(3 5) + x^7/(3 5 7) + ..."""
    term = total = x
    n = 1
    while term and abs(term) > abs(total).scaleb(-DIGITS):
        n += 2
        term = term * x * x / n
        total += term
    return total


@precisely
def erf(x: Decimal) -> Decimal:
    root = Decimal(2).sqrt()
    if abs(x) < 2:
        return 2 * normal_pdf(root * x) * odd_series(root * x)
    return 2 * normal_cdf(root * x) - 1


@precisely
def gelu(x: Decimal) -> Decimal:
    return x * normal_cdf(x)


@precisely
def gelu_derivative(x: Decimal) -> Decimal:
    return normal_cdf(x) + x * normal_pdf(x)


def condition_of(function: Function, x: Decimal) -> Decimal:
    """|x f'(x) / f(x)|: by how much f magnifies a relative error of x."""
    with localcontext() as context:
        context.prec = DIGITS
        h = Decimal("1e-20")
        value = function(x)
        return abs((function(x * (1 + h)) - value) / (h * value)) if x and value else Decimal(0)


FUNCTIONS: dict[str, Function] = {
    f.__name__: f
    for f in (
        exp,
        expm1,
        log,
        log1p,
        tanh,
        sigmoid,
        softplus,
        erf,
        normal_cdf,
        gelu,
        gelu_derivative,
        silu,
        silu_derivative,
    )
}
