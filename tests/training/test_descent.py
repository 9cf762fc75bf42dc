"""Batch, mini-batch and stochastic descent against an independent NumPy loop, step for step."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
import reference
from chainrule import _core
from support import assert_same_bits, random_network, relative

N = 23  # prime: every batch size but 1 leaves a smaller last batch

#: batch_size of fit, rows of a batch
KINDS = {
    "stochastic": (1, 1),
    "mini_batch": (5, 5),
    "larger_than_data": (64, N),
    "batch": (None, N),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def net(rng):
    return random_network(rng, [4, 6, 3], ["tanh", "softmax"], "cross_entropy")


@pytest.fixture
def data(rng):
    return rng.normal(size=(N, 4)), rng.dirichlet(np.ones(3), N)


def order_of(net, epoch, batch_size):
    """The rows of an epoch: permuted, except for the full batch, which keeps its order."""
    return np.arange(N) if batch_size is None else _core.permutation(net.seed, epoch, N)


# --- against NumPy ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_fit_follows_a_numpy_loop(net, data, kind, rule):
    batch_size, rows = kind
    twin, judge = reference.Net.of(net), getattr(reference, rule)(learning_rate=0.05)
    optimizer = getattr(cr, rule)(0.05)
    for epoch in range(6):
        history = net.fit(*data, batch_size=batch_size, optimizer=optimizer)
        order = order_of(net, epoch, batch_size)
        cost = reference.descend(twin, judge, *data, rows, order)
        assert history.cost[-1] == pytest.approx(cost, rel=1e-12)
        np.testing.assert_allclose(net.get_parameters(), twin.flat(), rtol=1e-12, atol=1e-12)


def test_every_single_step_follows_the_numpy_loop(net, data, kind):
    """A stream hands out one batch at a time: between two of them the weights can be read."""
    batch_size, rows = kind
    x, y = data
    order = order_of(net, 0, batch_size)
    twin, judge, steps = reference.Net.of(net), reference.SGD(0.1), []

    def stream():
        for start in range(0, N, rows):
            steps.append((start, net.get_parameters()))
            yield x[order[start : start + rows]], y[order[start : start + rows]]

    net.fit(stream(), learning_rate=0.1)
    steps.append((N, net.get_parameters()))
    assert len(steps) == -(-N // rows) + 1
    for start, parameters in steps:
        np.testing.assert_allclose(parameters, twin.flat(), rtol=1e-13, atol=1e-13)
        batch = order[start : start + rows]
        if len(batch):
            gradients = reference.interleave(twin.gradients(x[batch], y[batch]))
            judge.step(twin.parameters, gradients)


def test_shuffle_false_keeps_the_order(net, data):
    twin, judge = reference.Net.of(net), reference.SGD(0.1)
    net.fit(*data, epochs=2, batch_size=5, learning_rate=0.1, shuffle=False)
    for _ in range(2):
        reference.descend(twin, judge, *data, 5, np.arange(N))
    np.testing.assert_allclose(net.get_parameters(), twin.flat(), rtol=1e-12, atol=1e-12)


def test_the_smaller_last_batch_uses_its_own_mean(net, data):
    x, y = data[0][:7], data[1][:7]
    other = copy.deepcopy(net)
    net.fit(x, y, batch_size=5, learning_rate=0.1, shuffle=False)
    other.train_step(x[:5], y[:5], learning_rate=0.1)
    other.train_step(x[5:], y[5:], learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_weighted_descent_follows_a_numpy_loop(net, data, rng):
    x, y = data
    weight = rng.random(N) + 0.1
    twin, judge = reference.Net.of(net), reference.SGD(0.1)
    history = net.fit(x, y, batch_size=5, learning_rate=0.1, sample_weight=weight)
    order, total = _core.permutation(net.seed, 0, N), 0.0
    for start in range(0, N, 5):
        rows = order[start : start + 5]
        g = twin.gradients(x[rows], y[rows], weight[rows])
        total += g.cost * weight[rows].sum()
        judge.step(twin.parameters, reference.interleave(g))
    np.testing.assert_allclose(net.get_parameters(), twin.flat(), rtol=1e-12, atol=1e-12)
    assert history.cost[0] == pytest.approx(total / weight.sum(), rel=1e-12)


def test_weights_of_all_ones_train_as_none_do(net, data):
    other = copy.deepcopy(net)
    net.fit(*data, epochs=2, batch_size=5, learning_rate=0.1)
    other.fit(*data, epochs=2, batch_size=5, learning_rate=0.1, sample_weight=np.ones(N))
    np.testing.assert_allclose(net.get_parameters(), other.get_parameters(), rtol=1e-14, atol=1e-14)


@pytest.mark.bits
def test_train_step_returns_the_cost_before_its_update(net, data):
    before = net.cost(*data)
    assert net.train_step(*data, learning_rate=0.1) == before
    assert net.cost(*data) != before


# --- the permutation --------------------------------------------------------------------------


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**6), st.integers(1, 2000))
def test_a_permutation_holds_every_row_once(seed, epoch, n):
    assert sorted(_core.permutation(seed, epoch, n).tolist()) == list(range(n))


def test_a_permutation_is_a_function_of_seed_epoch_and_n():
    base = _core.permutation(1, 2, 1000)
    assert base.dtype == np.int64
    assert_same_bits(base, _core.permutation(1, 2, 1000))
    for other in (_core.permutation(2, 2, 1000), _core.permutation(1, 3, 1000)):
        assert (base != other).mean() > 0.9


def test_permutations_are_uniform():
    """Each of the 24 orders of four rows, 24,000 draws: chi squared below its 0.9999 quantile."""
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(24_000):
        order = tuple(_core.permutation(7, epoch, 4).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((c - 1000) ** 2 / 1000 for c in counts.values()) < 57.2


def test_two_epochs_use_two_orders(net, data):
    """The epoch counter lives in the network: the second call does not repeat the first."""
    x, y = data
    seen = []
    for _ in range(2):
        start = net.get_parameters()
        net.fit(x, y, batch_size=1, learning_rate=0.1)
        seen.append(net.get_parameters())
        net.set_parameters(start)
    assert seen[0].tobytes() != seen[1].tobytes()


# --- nothing lost to rounding -----------------------------------------------------------------


@pytest.mark.slow
def test_a_full_batch_of_60000_float32_samples_learns_as_its_float64_twin(rng):
    """A sum over 60,000 samples kept in float32 without chunks, or steps of 1/n added to w one by
    one, would be off by far more than these bounds."""
    n = 60_000
    x = rng.normal(size=(n, 16)).astype(np.float32)
    teacher = random_network(rng, [16, 8, 4], "tanh", dtype="float64", gain=2.0)
    y = teacher.predict(x).astype(np.float32)
    nets = [
        random_network(np.random.default_rng(1), [16, 12, 4], "tanh", dtype=d)
        for d in ("float32", "float64")
    ]
    nets[1].set_parameters(nets[0].get_parameters())
    start = nets[0].get_parameters().astype(np.float64)

    curves, moves = [], []
    for net in nets:
        history = net.fit(x, y, epochs=40, batch_size=None, learning_rate=0.3)
        curves.append(np.array(history.cost))
        moves.append(net.get_parameters() - start)
    assert curves[1][-1] < 0.5 * curves[1][0]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)
    assert relative(*moves) < 1e-5
