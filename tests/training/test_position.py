"""An epoch taken up where it was left gives the bits of one that was not."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from chainrule import _core
from support import assert_same_bits, random_network, says, unchanged

N = 50
RULES = {"plain": ("sgd", {}), "momentum": ("sgd", {"momentum": 0.9}), "adam": ("adam", {})}


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 8, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")


@pytest.fixture
def data(rng):
    return rng.normal(size=(N, 5)).astype(np.float32), rng.integers(0, 3, N)


def left_after(steps: int):
    """A poll that leaves an epoch as Ctrl-C would."""

    def poll(done):
        if done >= steps:
            raise KeyboardInterrupt

    return poll


@pytest.mark.bits
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("batch_size", [1, 7, N])
@pytest.mark.parametrize("shuffle", [None, (3, 1)], ids=["in order", "shuffled"])
def test_an_epoch_in_parts_has_the_bits_of_a_whole_one(net, data, rule, batch_size, shuffle):
    twin = copy.deepcopy(net)
    steps = -(-N // batch_size)
    rates = np.linspace(0.1, 0.01, steps)
    whole = _core.Position()
    state = _core.OptimizerState(net, *RULES[rule])
    cost, *_ = _core.train_epoch(
        net, *data, None, batch_size, shuffle, state, rates, position=whole
    )

    order = np.arange(N) if shuffle is None else _core.permutation(*shuffle, N)
    parts = _core.Position()
    state = _core.OptimizerState(twin, *RULES[rule])
    x, y = data
    for step in range(steps // 2):
        rows = order[step * batch_size : (step + 1) * batch_size]
        _core.step(twin, x[rows], y[rows], None, state, rates[step], position=parts)
    assert parts.steps == steps // 2
    start = _core.Position(parts.steps, parts.samples, parts.cost, parts.weight)
    rest = _core.train_epoch(
        twin, x, y, None, batch_size, shuffle, state, rates[steps // 2 :], position=start
    )
    assert rest == (cost, steps, 0)
    assert (start.steps, start.samples) == (whole.steps, whole.samples) == (steps, N)
    assert (start.cost, start.weight) == (whole.cost, whole.weight)
    assert_same_bits(twin.get_parameters(), net.get_parameters())


def test_an_epoch_at_its_end_trains_nothing(net, data):
    state = _core.OptimizerState(net, "sgd", {})
    end = _core.Position(steps=8, samples=N, cost=100.0, weight=50.0)
    with unchanged(net):
        result = _core.train_epoch(net, *data, None, 7, None, state, np.full(1, 0.1), position=end)
    assert result == (2.0, 8, 0)


def test_a_position_beyond_the_epoch_is_refused(net, data):
    state = _core.OptimizerState(net, "sgd", {})
    with unchanged(net), pytest.raises(ValueError, match=says("9 steps", "epoch of 8")):
        _core.train_epoch(
            net, *data, None, 7, None, state, np.full(1, 0.1), position=_core.Position(steps=9)
        )


@pytest.mark.bits
@pytest.mark.parametrize("batch_size", [1, 32])
def test_an_exception_leaves_the_position_of_the_last_completed_step(rng, batch_size):
    net = random_network(rng, [40, 500, 10], ["tanh", "softmax"], "cross_entropy", dtype="float32")
    twin = copy.deepcopy(net)
    n = 100_000
    x, y = rng.normal(size=(n, 40)).astype(np.float32), rng.integers(0, 10, n)
    rate = np.full(1, 0.01)
    position = _core.Position()
    state = _core.OptimizerState(net, "sgd", {})
    with pytest.raises(KeyboardInterrupt):
        _core.train_epoch(
            net, x, y, None, batch_size, (1, 2), state, rate, 1, left_after(1), position=position
        )
    assert 0 < position.steps < -(-n // batch_size)

    state = _core.OptimizerState(twin, "sgd", {})
    done = _core.permutation(1, 2, n)[: position.steps * batch_size]
    expected = _core.Position()
    _core.train_epoch(
        twin, x[done], y[done], None, batch_size, None, state, rate, position=expected
    )
    assert (position.steps, position.cost) == (expected.steps, expected.cost)
    assert position.samples == position.weight == len(done)
    assert_same_bits(twin.get_parameters(), net.get_parameters())


def test_an_update_from_gradients_is_a_step_without_weight(net):
    state = _core.OptimizerState(net, "sgd", {})
    position = _core.Position(1, 30, 2.0, 4.0)
    _core.update(net, net.weights, net.biases, state, 0.1, position, 20)
    assert (position.steps, position.samples) == (2, 50)
    assert (position.cost, position.weight) == (2.0, 4.0)
    assert position.mean == 0.5
