"""fit: a run that diverges, and one that is interrupted."""

from __future__ import annotations

import copy
import math
import signal
from contextlib import contextmanager

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, random_network, unchanged

N = 50


# --- divergence -------------------------------------------------------------------------------


def diverging(rng, dtype="float32", scale=1.0):
    net = random_network(rng, [5, 8, 3], ["relu", "identity"], "sse", dtype=dtype)
    return net, rng.normal(size=(N, 5)), rng.normal(0, scale, (N, 3))


@pytest.mark.parametrize("batch_size", [1, 7, None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_names_its_place_and_restores_the_weights(rng, dtype, batch_size):
    net, x, y = diverging(rng, dtype, scale=1e4)  # one step is enough to overflow
    batches = 1 if batch_size is None else math.ceil(N / batch_size)
    with unchanged(net), pytest.raises(cr.DivergenceError) as caught:
        net.fit(x, y, batch_size=batch_size, learning_rate=np.finfo(dtype).max / 100)
    error = caught.value
    assert error.epoch == 1
    assert 1 <= error.batch <= batches
    assert error.layer in (1, 2)
    for number in (error.epoch, error.batch, error.layer):
        assert str(number) in str(error)
    assert "layer" in str(error)


def test_divergence_restores_the_weights_of_the_start_of_its_epoch(rng):
    """Two good epochs, then a learning rate that explodes: the two are kept."""
    net, x, y = diverging(rng)
    other = copy.deepcopy(net)

    def schedule(step):
        return 1e-3 if step < 2 * 8 else 1e30

    with pytest.raises(cr.DivergenceError) as caught:
        net.fit(x, y, epochs=5, batch_size=7, learning_rate=schedule)
    assert caught.value.epoch == 3
    other.fit(x, y, epochs=2, batch_size=7, learning_rate=1e-3)
    assert_same_bits(net.get_parameters(), other.get_parameters())


@pytest.mark.bits
@pytest.mark.parametrize(
    "make", [lambda rate: cr.SGD(rate, momentum=0.9), cr.Adam], ids=["momentum", "Adam"]
)
def test_divergence_restores_the_state_of_the_optimizer(rng, make):
    net, x, y = diverging(rng)
    other = copy.deepcopy(net)
    optimizer, spared = make(1e-3), make(1e-3)
    for each, rule in ((net, optimizer), (other, spared)):
        each.fit(x, y, batch_size=7, optimizer=rule)
    optimizer.learning_rate = 3e37
    with pytest.raises(cr.DivergenceError):
        net.fit(x, y, batch_size=7, optimizer=optimizer)
    optimizer.learning_rate = 1e-3
    for each, rule in ((net, optimizer), (other, spared)):
        each.fit(x, y, batch_size=7, optimizer=rule)
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_a_diverged_epoch_does_not_count(rng):
    net, x, y = diverging(rng)
    with pytest.raises(cr.DivergenceError):
        net.fit(x, y, learning_rate=1e38)
    assert net.epoch == 0


# --- Ctrl-C -----------------------------------------------------------------------------------


@contextmanager
def ctrl_c_after(seconds):
    """Raise KeyboardInterrupt after so much processor time, as the handler of Ctrl-C would."""
    previous = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


needs_timer = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this system has no interval timer"
)


@needs_timer
@pytest.mark.parametrize("kind", ["arrays", "stream"])
def test_ctrl_c_leaves_the_weights_of_the_last_completed_step(rng, kind):
    """The weights are those of some number of whole steps, found by doing the steps again."""
    net = random_network(rng, [40, 50, 10], ["tanh", "softmax"], "cross_entropy", dtype="float32")
    x = rng.normal(size=(64, 40)).astype(np.float32)
    y = rng.integers(0, 10, 64)
    twin = copy.deepcopy(net)
    source = ([(x, y)] * 50, None) if kind == "stream" else (x, y)
    with ctrl_c_after(0.3):
        net.fit(*source, epochs=10**7, batch_size=64, shuffle=False, learning_rate=0.01)

    target = net.get_parameters()
    assert np.isfinite(target).all()
    for _ in range(10**6):
        if np.array_equal(twin.get_parameters(), target):
            break
        twin.train_step(x, y, learning_rate=0.01)
    else:
        pytest.fail("these weights belong to no number of whole steps")
    net.fit(x, y, learning_rate=0.01)  # the network still works


@needs_timer
def test_ctrl_c_is_heard_within_a_long_epoch(rng):
    n = 20_000_000
    net = random_network(rng, [4, 4, 2], ["tanh", "softmax"], "cross_entropy", dtype="float32")
    x = np.broadcast_to(rng.normal(size=(1, 4)).astype(np.float32), (n, 4))
    y = np.broadcast_to(np.int64(0), (n,))
    with ctrl_c_after(0.5):
        net.fit(x, y, batch_size=1, shuffle=False, learning_rate=0.01)
    assert net.epoch == 0
    assert np.isfinite(net.get_parameters()).all()
