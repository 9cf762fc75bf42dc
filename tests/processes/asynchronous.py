"""Exceptions that another thread sends into a thread that trains: python asynchronous.py CASE N.

With ``PyThreadState_SetAsyncExc``, as notebooks and time limits do it.
"""

from __future__ import annotations

import ctypes
import random
import signal
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
from problem import SECONDS, main

import chainrule as cr
from chainrule.training.history import by_name

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(24, 5)).astype(np.float32), rng.integers(0, 3, 24)


class Stop(BaseException):
    """What is sent."""


class Target:
    """Calls a function without end in a thread, and goes on after each exception."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call, self.done = call, False
        self.entered = self.stopped = 0
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        try:
            while not self.done:
                try:
                    self.entered += 1
                    while not self.done:
                        self.call()
                except Stop:
                    self.stopped += 1
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        """Send one exception, and wait until it has come."""
        self.wait_for(lambda: self.entered > self.stopped)  # in the try, until an exception comes
        time.sleep(draw.uniform(0, 5e-4))
        sent, thread = self.stopped, ctypes.c_ulong(self.thread.ident)
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Stop)) == 1
        self.wait_for(lambda: self.stopped > sent)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self.failure is not None:
                raise self.failure
            time.sleep(0)


draw = random.Random(0)


def interrupt(call: Callable[[], object], times: int) -> None:
    target = Target(call)
    for _ in range(times):
        target.stop()
    target.done = True
    target.thread.join(SECONDS)
    assert not target.thread.is_alive()
    assert target.failure is None, target.failure
    assert target.stopped == times


def network() -> cr.Network:
    return cr.Network([5, 7, 3], ["tanh", "softmax"], "cross_entropy", seed=0)


def same_steps(net: cr.Network, steps: int) -> None:
    """The network is where so many steps lead to."""
    twin, optimizer = network(), cr.SGD(0.01, momentum=0.5)
    for step in range(steps):
        i = step * 4 % len(X)
        twin.train_step(X[i : i + 4], Y[i : i + 4], optimizer=optimizer)
    assert net.get_parameters().tobytes() == twin.get_parameters().tobytes()


def fit(times: str) -> None:
    """Every fit is another network's, so that its steps are known."""
    pair = None

    def work() -> None:
        nonlocal pair
        pair = net, optimizer = network(), cr.SGD(0.01, momentum=0.5)
        net.fit(X, Y, batch_size=4, shuffle=False, optimizer=optimizer, epochs=3)

    for _ in range(int(times)):
        pair = network(), cr.SGD(0.01, momentum=0.5)  # where the exception comes before a fit
        interrupt(work, 1)
        net, optimizer = pair
        if net.history is not None:
            assert {len(values) for values in by_name(net.history).values()} <= {0, net.epoch}
        same_steps(net, optimizer.step)
        net.fit(X, Y, batch_size=4, optimizer=optimizer)


def train_step(times: str) -> None:
    net, optimizer = network(), cr.SGD(0.01, momentum=0.5)

    def work() -> None:
        i = optimizer.step * 4 % len(X)
        net.train_step(X[i : i + 4], Y[i : i + 4], optimizer=optimizer)

    interrupt(work, int(times))
    same_steps(net, optimizer.step)


if __name__ == "__main__":
    sys.setswitchinterval(1e-5)  # the threads take turns quickly
    signal.alarm(SECONDS)
    main(globals())
