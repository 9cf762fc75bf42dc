"""A term of ±0 may be skipped: searched over every value of a tiny format.

The package's arithmetic is that of float32 and float64. Whether skipping shows depends on signs of
zeros, on results that underflow and on sums that cancel, not on how many digits there are: a format
of six bits has all of these cases, few enough to try every one. Chains of any length are covered,
as the search follows the pairs (sum with every term, sum where any zeros were skipped) that can
occur until no new pair appears.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from specification import SGD, Adagrad, in_chunks, normal_or_zero
from specification_functions import Real, dyadic, fma, rounded
from support import assert_same_bits


class Tiny(Real):
    """Three digits, four exponents of normal numbers, subnormal numbers, infinities."""

    digits = 3
    least = -5
    limit = 1
    lanes = 1

    @staticmethod
    def nearest(x):
        x = float(x)
        return x if x == 0 or not math.isfinite(x) else rounded(Tiny, *dyadic(x))


FINITE = sorted({Tiny(n * 2.0**e) for n in range(8) for e in range(Tiny.least, -1)})
FINITE = [v for v in FINITE if math.isfinite(v)] + [-v for v in FINITE if math.isfinite(v)]
ZEROS = [v for v in FINITE if v == 0]


def key(x):
    """A number with the sign of its zero; one key for every NaN."""
    return "nan" if math.isnan(x) else (float(x), math.copysign(1, x))


def end(x):
    """The last operation of a sum: + (+0)."""
    return x + 0


def reachable(starts):
    """Pairs (with all terms, with zeros skipped) of sums that chains of any length can reach.

    A factor that is not zero meets every other one: zeros of the other factor are never skipped.
    """
    products = {(key(a * w), key(w), key(a)): (w, a) for w in FINITE for a in FINITE if a != 0}
    terms = list(products.values())
    pairs = {(key(s), key(s)): (s, s) for s in starts}
    fresh = list(pairs.values())
    while fresh:
        found = []
        for every, some in fresh:
            steps = [(fma(w, a, every), fma(w, a, some)) for w, a in terms]
            for zero, w in itertools.product(ZEROS, FINITE):
                term = fma(w, zero, every)
                steps += [(term, some), (term, fma(w, zero, some))]
            for pair in steps:
                place = key(pair[0]), key(pair[1])
                if place not in pairs:
                    pairs[place] = pair
                    found.append(pair)
        fresh = found
    return list(pairs.values())


@pytest.fixture(scope="module")
def forward_pairs():
    """From a bias."""
    return reachable(FINITE)


@pytest.fixture(scope="module")
def zero_pairs():
    """From +0: the other chains of a layer, Wᵀδ, and the sums of a chunk."""
    return reachable([Tiny(0)])


def test_the_format_is_complete():
    assert len(ZEROS) == 2 and len({key(v) for v in FINITE}) == len(FINITE) == 40
    assert Tiny(2.0**-5) * Tiny(0.5) == 0 < Tiny(2.0**-5) < Tiny(2.0**-3)  # it underflows
    assert math.isinf(Tiny(1.75) + Tiny(1.75))


def test_chains(forward_pairs, zero_pairs):
    for pairs in (forward_pairs, zero_pairs):
        assert len(pairs) > 40
        for every, some in pairs:
            assert key(end(every)) == key(end(some))


def test_the_last_operation_is_needed(forward_pairs, zero_pairs):
    for pairs in (forward_pairs, zero_pairs):
        assert any(key(every) != key(some) for every, some in pairs)


def test_chains_that_are_joined(forward_pairs, zero_pairs):
    """Any two, joined before + (+0); more follow, as a joined pair is one that chains reach."""
    for (every, some), (more, fewer) in itertools.product(forward_pairs, zero_pairs):
        assert key(end(every + more)) == key(end(some + fewer))


def test_a_chunk_of_one_sample_needs_no_last_operation():
    for a, d in itertools.product(ZEROS, FINITE):
        assert key(fma(a, d, Tiny(0))) == key(Tiny(0))


def chunk_sums(zero_pairs):
    several = {key(end(every)): end(every) for every, _ in zero_pairs}
    single = {key(s): s for s in (fma(a, d, Tiny(0)) for a in FINITE for d in FINITE)}
    return list(several.values()), list(single.values())


def test_sums_of_chunks_never_show_a_zero(zero_pairs):
    """A chunk without the row adds +0, which leaves the sum of the others as it is."""
    several, single = chunk_sums(zero_pairs)
    zero = Tiny(0)
    assert all(key(s) != key(-zero) for s in several)
    for s in several:
        assert key(s + zero) == key(zero + s) == key(s)
        for one in single:  # the last chunk
            assert key(s + one) != key(-zero)


@pytest.mark.parametrize("rule", [SGD, Adagrad])
def test_a_step_without_a_gradient_changes_nothing(rule):
    """Plain SGD and Adagrad: a row that the batch does not touch stays as it is, to the bit."""
    for w, rate in itertools.product(FINITE, [v for v in FINITE if v >= 0 and key(v)[1] > 0]):
        if rule is SGD:
            assert key(*SGD(rate).update([w], [Tiny(0)])) == key(w)
            continue
        for initial in (v for v in FINITE if key(v)[1] > 0):
            step = Adagrad(rate, eps=0.25, initial_accumulator_value=initial)
            assert key(*step.update([w], [Tiny(0)])) == key(w)
            assert step.sums == [normal_or_zero(initial)]


# --- the package --------------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adagrad_begins_at_a_number_that_it_can_keep(dtype):
    tiny = float(np.finfo(dtype).tiny)
    for initial, kept in ((tiny / 2, 0.0), (tiny, tiny), (0.5, 0.5)):
        net = cr.Network([2, 1], dtype=dtype)
        adagrad = cr.Adagrad(initial_accumulator_value=initial)
        assert (adagrad.bind(net).get()["sum"] == kept).all()


def test_chunks_are_summed_as_a_tree():
    """Whoever has half of the chunks can sum them alone."""
    parts = [[0.1 * 3**i] for i in range(7)]
    expected = ((0.1 + 0.3) + (0.1 * 9 + 0.1 * 27)) + ((0.1 * 81 + 0.1 * 243) + 0.1 * 729)
    samples = [part for part in parts for _ in range(256)]
    assert in_chunks(samples, lambda chunk: chunk[0]) == [expected]


@pytest.mark.bits
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_in", [63, 64, 100, 1024, 1025, 2500])
@pytest.mark.parametrize("width", [9, 17, 100, 300])
def test_a_row_that_skips_its_zeros(rng, n_in, width, dtype):
    """Alone, where zeros are skipped, as in a batch, where they are not."""
    net = cr.Network([n_in, width, 40, 3], "relu", "mse", dtype=dtype, seed=1, bias=width != 100)
    for share in (0.0, 0.1, 0.3, 0.5, 0.8, 0.99, 1.0):
        x = rng.normal(size=(8, n_in)).astype(dtype)
        x[rng.random(x.shape) < share] = 0
        x[rng.random(x.shape) < share / 4] = -0.0
        expected = net.predict(x)
        for row, whole in zip(x, expected, strict=True):
            assert_same_bits(net.predict(row), whole)
