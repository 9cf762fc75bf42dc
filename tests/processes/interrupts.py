"""Trains until Ctrl-C, then compares with as many steps as were done: python interrupts.py CASE.

Prints "training" when the signal may come.
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterator

import numpy as np
from problem import SECONDS, main

import chainrule as cr

# Where the signal comes from a shell's background job, Python leaves it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.alarm(SECONDS)

rng = np.random.default_rng(0)
net = cr.Network([60, 200, 10], ["tanh", "softmax"], "cross_entropy", seed=0)
x = rng.normal(size=(2560, 60)).astype(np.float32)
y = rng.integers(0, 10, 2560)
FOREVER = 10**9


def train_until_interrupted(*data: object, **options: object) -> None:
    print("training", flush=True)
    try:
        net.fit(*data, **options)
    except KeyboardInterrupt:
        return
    raise AssertionError("nobody interrupted")


def compare(make: Callable[[], cr.Adam], batch_size: int) -> None:
    """Train as above, then do the same number of steps, and one more on both."""
    twin, optimizer, other = copy.deepcopy(net), make(), make()
    options = {"batch_size": batch_size, "shuffle": False}
    train_until_interrupted(x, y, epochs=FOREVER, optimizer=optimizer, threads=2, **options)
    batches = [slice(i, i + batch_size) for i in range(0, len(x), batch_size)]
    assert optimizer.step > 0
    for step in range(optimizer.step):
        batch = batches[step % len(batches)]
        twin.train_step(x[batch], y[batch], optimizer=other)
    assert twin.get_parameters().tobytes() == net.get_parameters().tobytes()
    for each, rule in ((net, optimizer), (twin, other)):
        each.fit(x, y, optimizer=rule, **options)
    assert twin.get_parameters().tobytes() == net.get_parameters().tobytes()


def batches_on_two_threads() -> None:
    compare(lambda: cr.SGD(0.01), 128)


def batches_with_momenta() -> None:
    compare(cr.Adam, 128)


def steps_of_many_chunks() -> None:
    compare(lambda: cr.SGD(0.01, momentum=0.9), len(x))


def stream() -> None:
    """The signal may come inside a step, or in the user's generator."""
    optimizer, other, twin = cr.Adam(), cr.Adam(), copy.deepcopy(net)
    batches = [(x[i : i + 512], y[i : i + 512]) for i in range(0, len(x), 512)]

    def endless() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            yield from batches

    train_until_interrupted(endless(), optimizer=optimizer, threads=2)
    assert optimizer.step > 0
    for step in range(optimizer.step):
        twin.train_step(*batches[step % len(batches)], optimizer=other)
    assert twin.get_parameters().tobytes() == net.get_parameters().tobytes()


def inside_a_long_step() -> None:
    """A full batch that takes half a minute: what it has summed up so far is dropped."""
    global net
    net = cr.Network([20, 400, 400, 10], ["tanh", "tanh", "softmax"], "cross_entropy", seed=0)
    n, start, optimizer = 6_000_000, net.get_parameters(), cr.Adam()
    long_x = np.broadcast_to(np.ones(20, np.float32), (n, 20))
    long_y = np.broadcast_to(np.int64(3), n)
    train_until_interrupted(long_x, long_y, batch_size=None, optimizer=optimizer, threads=2)
    assert optimizer.step == 0
    assert net.epoch == 0
    assert net.get_parameters().tobytes() == start.tobytes()


if __name__ == "__main__":
    main(globals())
