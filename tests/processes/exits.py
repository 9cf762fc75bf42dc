"""A process that ends while its daemon threads work: python exits.py KIND END."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import threading
import time
from contextlib import suppress

import numpy as np
from problem import SECONDS, Work

import chainrule as cr
from chainrule import _core
from chainrule.serving import Batcher, loops

with suppress(ImportError):  # or the thread would still be importing it
    import tqdm.auto  # noqa: F401

work = Work()
net, x, y = work.net, work.x, work.y
doubles, one = x.astype(np.float64), x[:1]
wide = cr.Network([300, 4000, 1], "tanh", seed=0)
long = np.broadcast_to(np.ones(300, np.float32), (8_000_000, 300))  # minutes of work

# Epochs during which fit asks for signals, and shows how far it is, more than once.
many = np.broadcast_to(x[:1], (200_000, 120)), np.broadcast_to(y[:1], 200_000)


class NeverThere:
    """An array whose numbers are awaited for ever, as those of a stuck worker."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        return threading.Event().wait()


class Late:
    """An array that gives the GIL away and takes it again, over and over."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        take_a_while()
        return x


def take_a_while() -> None:
    for _ in range(200):
        time.sleep(0.001)


def train_with_a_slow_poll() -> None:
    """As `fit` does with a bar on a slow terminal."""
    state, rates = cr.SGD(0.01).bind(net), np.array([0.01])
    _core.train_epoch(net, *many, None, 32, None, state, rates, 1, lambda steps: take_a_while())


def pull_back() -> None:
    a, pullback = net.vjp(x)
    pullback(a)


def never(rows: np.ndarray) -> np.ndarray:
    threading.Event().wait()
    return rows


never.sizes, never.dtype = (120, 10), np.dtype("float32")  # type: ignore[attr-defined]
shared, stuck = Batcher(wide.freeze()), Batcher(never)


def await_long_batches() -> None:
    async def ask() -> None:
        await asyncio.gather(*map(shared, np.ones((64, 300), np.float32)))

    loops.INLINE_WORK = 0
    while True:
        asyncio.run(ask())


KINDS = {
    "predict on two threads": lambda: net.predict(x, threads=2),
    "predict for minutes": lambda: wide.predict(long, threads=1),
    "predict one row": lambda: net.predict(one),
    "predict with a conversion": lambda: net.predict(doubles),
    "predict what never comes": lambda: net.predict(NeverThere()),
    "predict what comes late": lambda: net.predict(Late()),
    "freeze": lambda: wide.freeze(),
    "cost": lambda: net.cost(x, y),
    "gradients": lambda: net.gradients(x, y),
    "vjp": pull_back,
    "get_parameters": lambda: wide.get_parameters(),
    "train_step": lambda: net.train_step(x, y, learning_rate=0.01),
    "fit": lambda: net.fit(x, y, learning_rate=0.01),
    "fit for long": lambda: net.fit(*many, learning_rate=0.01, threads=2),
    "fit a stream": lambda: net.fit(((x, y) for _ in range(100)), learning_rate=0.01),
    "fit with progress": lambda: net.fit(*many, learning_rate=0.01, progress=True),
    "fit with a slow poll": train_with_a_slow_poll,
    "share calls": lambda: shared.predict(np.ones((2, 300), np.float32)),
    "share a call that never ends": lambda: stuck.predict(one),
    "share calls of coroutines": await_long_batches,
    "fit with validation": lambda: net.fit(x, y, learning_rate=0.01, validation_data=(x, y)),
}

#: These refuse a second caller.
ALONE = ("train_step", "fit")


def leave_threads_working(kind: str) -> None:
    started = threading.Event()

    def run() -> None:
        started.set()
        while True:
            KINDS[kind]()

    for _ in range(1 if kind.startswith(ALONE) else 3):
        threading.Thread(target=run, daemon=True).start()
    started.wait()
    time.sleep(random.uniform(0, 0.2))


if __name__ == "__main__":
    kind, end = sys.argv[1:]
    signal.alarm(SECONDS // 2)
    leave_threads_working(kind)
    if end == "sys.exit":
        sys.exit(3)
    if end == "exception":
        raise ValueError("not handled")
