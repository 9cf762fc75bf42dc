"""Memory does not grow, whatever is repeated, and nothing keeps a network that nobody uses."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

import chainrule as cr
from grow_memory import WORK
from support import TESTS, run_python

MEGABYTE = 2**20


@pytest.mark.slow
@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
@pytest.mark.parametrize("name", WORK)
def test_memory_does_not_grow_with(name):
    assert int(run_python(str(TESTS / "grow_memory.py"), name, timeout=600)) < MEGABYTE


X, Y = np.ones((8, 3), np.float32), np.ones((8, 2), np.float32)


class Callback:
    """Holds the network that it is called for."""

    def __init__(self, network):
        self.network = network

    def __call__(self, network, history):
        self.history = history


def hold_callback(net):
    net.held = Callback(net)
    net.fit(X, Y, learning_rate=0.1, callbacks=[net.held])


def hold_stream(net):
    def batches():
        yield net.predict(X)[:, [0, 1, 0]], Y

    net.held = batches()
    net.fit(net.held, learning_rate=0.1)


def hold_method(net):
    net.held = net.predict


def hold_optimizer(net):
    net.held = cr.Adam()
    net.fit(X, Y, optimizer=net.held)


def hold_pullback(net):
    _, net.held = net.vjp(X)


CYCLES = [hold_callback, hold_stream, hold_method, hold_optimizer, hold_pullback]


@pytest.mark.parametrize("hold", CYCLES, ids=lambda hold: hold.__name__)
def test_a_network_that_holds_what_holds_it_is_collected(hold):
    class Mine(cr.Network):
        """What a user's class may keep in its attributes."""

    net = Mine([3, 4, 2], seed=0)
    hold(net)
    alive = weakref.ref(net)
    del net
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("bad", [X[:, :2], "text", None])
def test_a_refusal_keeps_no_network(bad):
    net = cr.Network([3, 4, 2], seed=0)
    alive = weakref.ref(net)
    for call in (net.predict, net.vjp, net.set_parameters):
        with pytest.raises((TypeError, ValueError)):
            call(bad)
    del net, call
    gc.collect()
    assert alive() is None


def test_a_failed_fit_keeps_no_network():
    def fail(network, history):
        raise KeyError("mine")

    net = cr.Network([3, 4, 2], seed=0)
    alive = weakref.ref(net)
    with pytest.raises(KeyError):
        net.fit(X, Y, learning_rate=0.1, callbacks=[fail])
    del net
    gc.collect()
    assert alive() is None
