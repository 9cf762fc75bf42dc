"""Run by test_memory.py: does one thing very often, and prints the bytes by which memory grew.

    grow_memory.py NAME

A tenth of the repetitions come first, so that what is allocated once and kept is there before.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import itertools
import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr

X = np.linspace(-1, 1, 80, dtype=np.float32).reshape(16, 5)
Y = np.arange(16) % 3


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def network() -> cr.Network:
    return cr.Network([5, 7, 3], ["tanh", "softmax"], "cross_entropy", seed=0)


NET = network()


def predict_into_out(n: int) -> None:
    predict, x, out = NET.predict, X[0], np.empty(3, np.float32)
    for _ in itertools.repeat(None, n):
        predict(x, out)


def predict(n: int) -> None:
    predict, x = NET.predict, X[0]
    for _ in itertools.repeat(None, n):
        predict(x)


def train_and_drop() -> None:
    network().train_step(X, Y, learning_rate=0.1)


def pull_back() -> None:
    a, pullback = NET.vjp(X)
    pullback(a)


def drop_pullback() -> None:
    network().vjp(X)


def freeze() -> None:
    network().freeze()(X)


def fit() -> None:
    NET.fit(X, Y, learning_rate=0.0, validation_data=(X, Y), early_stopping=1)


def optimize() -> None:
    optimizer = cr.Adam(0.0)
    NET.train_step(X, Y, optimizer=optimizer)
    optimizer.reset()
    NET.apply(NET.gradients(X, Y), optimizer)


def copy_and_pickle() -> None:
    pickle.loads(pickle.dumps(copy.deepcopy(NET)))


def save_and_load(n: int) -> None:
    net = cr.Network([60, 80, 10], seed=0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net")
        for _ in range(n):
            net.save(path)
            cr.Network.load(path)


def explain() -> None:
    NET.trace(X, Y)
    NET.explain(X[0], Y[0], layer=1, to=0, from_=1)


BAD = itertools.cycle(
    [
        lambda: NET.predict(X[:, :4]),
        lambda: NET.predict("text"),
        lambda: NET.predict(X, out=np.empty((16, 3))),
        lambda: NET.predict(X, threads=0),
        lambda: NET.cost(X, Y + 1),
        lambda: NET.gradients(X, Y, -np.ones(16)),
        lambda: NET.vjp(X)[1](X),
        lambda: NET.train_step(X * np.nan, Y, learning_rate=0.1),
        lambda: NET.set_parameters(X),
        lambda: NET.fit(X, Y),
        lambda: cr.Network([5, 0]),
        lambda: cr.Network([5, 3], "softmax", "mae", dtype="int8"),
    ]
)


def refuse() -> None:
    with contextlib.suppress(TypeError, ValueError):
        next(BAD)()


def keep_views() -> None:
    """Views of 8 MB outlive their network, and their memory goes with the last of them."""
    views = cr.Network([1000, 2000], init="zeros").weights
    views[0][...] = 1
    assert views[0].sum(dtype=float) == 2_000_000


def collect_cycles() -> None:
    net = network()
    net.callback = lambda *_, held=net: held is None
    net.fit(X, Y, learning_rate=0.1, callbacks=[net.callback])
    del net
    gc.collect(0)


WIDE = cr.Network([1, 20_000, 1], seed=0)
WIDE_X = np.zeros((60, 1), np.float32)


def end_thread() -> None:
    """A thread's workspace, here 8 MB, goes with it."""
    thread = threading.Thread(target=WIDE.predict, args=(WIDE_X,))
    thread.start()
    thread.join()


def repeated(call: Callable[[], Any]) -> Callable[[int], None]:
    def work(n: int) -> None:
        for _ in itertools.repeat(None, n):
            call()

    return work


WORK: dict[str, tuple[Callable[[int], None], int]] = {
    "predict into out": (predict_into_out, 10**7),
    "predict": (predict, 10**7),
    "networks trained and dropped": (repeated(train_and_drop), 10**4),
    "pullbacks": (repeated(pull_back), 2 * 10**4),
    "networks dropped before their pullback": (repeated(drop_pullback), 10**4),
    "predictors": (repeated(freeze), 10**4),
    "fits": (repeated(fit), 3000),
    "optimizers": (repeated(optimize), 10**4),
    "copies and pickles": (repeated(copy_and_pickle), 5000),
    "files": (save_and_load, 200),
    "traces and explanations": (repeated(explain), 5000),
    "refusals": (repeated(refuse), 10**5),
    "views that outlive their network": (repeated(keep_views), 100),
    "cycles through callbacks": (repeated(collect_cycles), 3000),
    "threads that end": (repeated(end_thread), 100),
}


def without_huge_pages() -> None:
    """The kernel may join pages to huge ones at any time: parts nobody uses would count, too."""
    pr_set_thp_disable = 41
    ctypes.CDLL(None).prctl(pr_set_thp_disable, 1, 0, 0, 0)


if __name__ == "__main__":
    without_huge_pages()
    work, n = WORK[sys.argv[1]]
    work(n // 10)
    gc.collect()
    before = resident()
    work(n)
    gc.collect()
    print(resident() - before)
