"""Fit the polynomials of ``cpp/kernels/elementary.h`` and print them as its tables.

Every polynomial minimises the largest weighted error over its interval (the
Remez exchange on a dense grid); the weight makes that the relative error of
the function finally computed. Coefficients are then rounded one at a time,
the lowest order first, each time refitting those that are still free, so that
rounding to float or double costs almost nothing.

Run ``python bench/fit_polynomials.py`` (needs mpmath; a minute).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import mpmath as mp
from mpmath import mpf

mp.mp.dps = 100

MILLS_CENTRE = 4  # K in y = (t - K) / (t + K)
SIGNIFICANT_BITS = {"float": 24, "double": 53}


@dataclasses.dataclass(frozen=True)
class Fit:
    """One problem: sum_k c_k u^k close to ``target(u)``, where ``low <= u <= high``.

    ``weight(u)`` multiplies the error; ``degree`` is given for each type.
    """

    name: str
    target: Callable[[mpf], mpf]
    weight: Callable[[mpf], mpf]
    low: mpf
    high: mpf
    degree: dict[str, int]
    exact_at: mpf | None = None  # a point where the last coefficient makes the error zero


def exp_fit() -> Fit:
    """e^r = 1 + r + r^2 q(r), |r| <= ln 2 / 2, in relative error of e^r - 1."""
    high = mp.log(2) / 2 * mpf("1.0001")
    return Fit(
        "Exp",
        lambda r: (mp.expm1(r) - r) / r**2,
        lambda r: r**2 / abs(mp.expm1(r)),
        -high,
        high,
        {"float": 4, "double": 9},
    )


def log_fit() -> Fit:
    """log(1 + f) = 2s + s z p(z), s = f / (2 + f), z = s^2, 2/3 <= 1 + f <= 3/2, relative."""

    def target(z: mpf) -> mpf:
        s = mp.sqrt(z)
        return (2 * mp.atanh(s) / s - 2) / z

    return Fit(
        "Log",
        target,
        lambda z: z * mp.sqrt(z) / (2 * mp.atanh(mp.sqrt(z))),
        mpf(0),
        mpf("0.04") * mpf("1.0001"),
        {"float": 2, "double": 6},
    )


def mills_fit(kind: str, largest: int, degree: int) -> Fit:
    """Phi(-t) = exp(-t^2 / 2) P(y) / (t + K), y = (t - K) / (t + K), 0 <= t <= largest, relative.

    Phi(0) = 1/2 exactly. The header's compensated last step needs p_0 to be even in its last place.
    """
    k = MILLS_CENTRE

    def target(y: mpf) -> mpf:
        t = k * (1 + y) / (1 - y)
        return mp.erfc(t / mp.sqrt(2)) * mp.exp(t * t / 2) / 2 * (t + k)

    high = mpf(largest - k) / (largest + k)
    return Fit("Mills", target, lambda y: 1 / target(y), mpf(-1), high, {kind: degree}, mpf(-1))


def erf_fit() -> Fit:
    """erf(x) = x + x p(x^2), |x| <= 1, relative."""

    def target(z: mpf) -> mpf:
        x = mp.sqrt(z)
        return mp.erf(x) / x - 1

    degree = {"float": 6, "double": 11}
    return Fit("Erf", target, lambda z: 1 / (1 + target(z)), mpf(0), mpf(1), degree)


def remez(
    grid: Sequence[mpf], values: Sequence[mpf], weights: Sequence[mpf], degree: int
) -> list[mpf]:
    """Return the polynomial of least largest |weight * error| on the grid, lowest order first."""
    n = degree + 1
    # Points of alternation: at first Chebyshev's, as the grid is spaced like Chebyshev nodes.
    chosen = [round(i * (len(grid) - 1) / n) for i in range(n + 1)]
    while True:
        system = mp.matrix(n + 1, n + 1)
        for row, i in enumerate(chosen):
            for power in range(n):
                system[row, power] = grid[i] ** power
            system[row, n] = (-1) ** row / weights[i]
        solution = mp.lu_solve(system, mp.matrix([values[i] for i in chosen]))
        coefficients, level = list(solution)[:n], abs(solution[n])
        errors = [
            w * (v - mp.polyval(coefficients[::-1], u))
            for u, v, w in zip(grid, values, weights, strict=True)
        ]
        # The largest error of each run of one sign. Where there are too many runs, the smallest
        # goes with its smaller neighbour, so that signs still alternate, or an end goes alone.
        chosen = []
        for i, error in enumerate(errors):
            if not chosen or (error > 0) != (errors[chosen[-1]] > 0):
                chosen.append(i)
            elif abs(error) > abs(errors[chosen[-1]]):
                chosen[-1] = i
        while len(chosen) > n + 1:
            sizes = [abs(errors[i]) for i in chosen]
            least = min(range(len(sizes)), key=sizes.__getitem__)
            if len(chosen) == n + 2 or least in (0, len(sizes) - 1):
                del chosen[0 if sizes[0] < sizes[-1] else -1]
            else:
                first = least - 1 if sizes[least - 1] < sizes[least + 1] else least
                del chosen[first : first + 2]
        if max(abs(error) for error in errors) < level * mpf("1.001"):
            return coefficients


def round_to(value: mpf, bits: int) -> mpf:
    """Return the nearest number with that many significant bits."""
    with mp.workprec(bits):
        return +value


def fit(problem: Fit, kind: str) -> tuple[list[mpf], mpf]:
    """Return rounded coefficients, lowest order first, and the largest weighted error."""
    degree = problem.degree[kind]
    count = 40 * (degree + 2)
    middle, half = (problem.high + problem.low) / 2, (problem.high - problem.low) / 2
    # No point is an end of the interval or its middle, where a target or weight may be 0 / 0.
    grid = [middle - half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    targets = [problem.target(u) for u in grid]
    weights = [problem.weight(u) for u in grid]
    rounded: list[mpf] = []
    values, scaled = targets, weights
    for free in range(degree, -1, -1):
        rounded.append(round_to(remez(grid, values, scaled, free)[0], SIGNIFICANT_BITS[kind]))
        # What is left is u times a polynomial of one degree less.
        values = [(v - rounded[-1]) / u for u, v in zip(grid, values, strict=True)]
        scaled = [w * abs(u) for u, w in zip(grid, scaled, strict=True)]
    if problem.exact_at is not None:
        u = problem.exact_at
        wrong = problem.target(u) - mp.polyval(rounded[::-1], u)
        rounded[-1] = round_to(rounded[-1] + wrong / u**degree, SIGNIFICANT_BITS[kind])
    rows = zip(grid, targets, weights, strict=True)
    return rounded, max(abs(w * (v - mp.polyval(rounded[::-1], u))) for u, v, w in rows)


def split(value: mpf, bits: int) -> tuple[mpf, mpf]:
    """Return the nearest number and the nearest to what it leaves."""
    high = round_to(value, bits)
    return high, round_to(value - high, bits)


def main() -> None:
    """Print the constants and one table for each function and type."""
    problems = {
        "float": [exp_fit(), log_fit(), mills_fit("float", 15, 10), erf_fit()],
        "double": [exp_fit(), log_fit(), mills_fit("double", 39, 22), erf_fit()],
    }
    constants = {
        "log2_e": 1 / mp.log(2),
        "ln2": mp.log(2),
        "pdf_0": 1 / mp.sqrt(2 * mp.pi),
        "sqrt_half": mp.sqrt(mpf("0.5")),
    }
    for kind, fits in problems.items():
        bits = SIGNIFICANT_BITS[kind]
        for name, constant in constants.items():
            high, low = split(constant, bits)
            print(f"// {name}, {kind}: {float(high).hex()} + {float(low).hex()}")
        digits, suffix = (9, "f") if kind == "float" else (17, "")
        for problem in fits:
            coefficients, error = fit(problem, kind)
            leading = coefficients[0]
            if problem.name == "Mills" and round_to(leading, bits - 1) != leading:
                raise ValueError("p_0 is odd in its last place: move MILLS_CENTRE")
            print(f"// {problem.name}, {kind}: relative error {mp.nstr(error, 2)}")
            text = [mp.nstr(c, digits, min_fixed=-3, max_fixed=2) + suffix for c in coefficients]
            print("{" + ", ".join(text) + "}")


if __name__ == "__main__":
    main()
