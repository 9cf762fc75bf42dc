"""Forks around threaded work: python forks.py CASE ..."""

from __future__ import annotations

import copy
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from problem import SECONDS, Work, busy, exit_code, fork, main, thread_count

import chainrule as cr
from chainrule.serving import Batcher

work = Work()


def children_one_after_another() -> None:
    assert exit_code(fork(work.is_right)) == 0  # the parent has had no team yet
    for _ in range(3):
        assert work.is_right()
        assert exit_code(fork(work.is_right)) == 0
    assert work.is_right()


def grandchildren() -> None:
    def descend(generations: int) -> bool:
        if generations and exit_code(fork(lambda: descend(generations - 1))) != 0:
            return False
        return work.is_right()

    assert work.is_right()
    assert descend(3)


def the_parent_goes_on() -> None:
    def work_for_a_while() -> bool:
        return all(work.is_right() for _ in range(5))

    children = []
    for _ in range(3):
        assert work.is_right()
        children.append(fork(work_for_a_while))
    for _ in range(5):
        assert work.is_right()
    assert [exit_code(child) for child in children] == [0, 0, 0]


def during(what: str) -> None:
    """At the fork the other thread holds the locks of `work.net`, or has the helpers."""
    busy_with = {
        "predict": lambda: work.net.predict(work.x, threads=2),
        "serve": lambda: work.serve(work.x, threads=2),
        "cost": lambda: work.net.cost(work.x, work.y),
        "gradients": lambda: work.net.gradients(work.x, work.y),
        "fit": work.train,
    }

    def child() -> bool:
        work.train()  # no claim is left from the parent's thread
        return work.is_right()

    assert work.is_right()
    with busy(busy_with[what]):
        for _ in range(10):
            assert exit_code(fork(child)) == 0
            assert work.predicts_right()
    assert work.is_right()


class Hook:
    """Calls a function once, after the first epoch or the third step of the second one."""

    def __init__(self, where: str, call: Callable[[], object]) -> None:
        self.call, self.done = call, False
        setattr(self, f"on_{where}_end", self.epoch if where == "epoch" else self.batch)

    def epoch(self, network: cr.Network, history: cr.History) -> None:
        self.once(True)

    def batch(self, network: cr.Network, epoch: int, step: int, cost: float) -> None:
        self.once((epoch, step) == (2, 3))

    def once(self, now: bool) -> None:
        if now and not self.done:
            self.done = True
            self.call()


def fit_around(where: str, optimizer: str, call: Callable[[cr.Network], object]) -> cr.Network:
    """Three epochs in which a callback is called with the network."""
    net = copy.deepcopy(work.net)
    hook = Hook(where, lambda: call(net))
    options = {"optimizer": getattr(cr, optimizer)(0.01), "batch_size": 100, "threads": 2}
    net.fit(work.x, work.y, epochs=3, callbacks=[hook], **options)
    assert hook.done
    return net


def trains_alone(net: cr.Network) -> bool:
    """Whether a network can do all that one can that no fit holds, with the bits of its copy."""
    twin, refusals = copy.deepcopy(net), []

    def fits_again(network: cr.Network, history: cr.History) -> None:
        try:
            network.fit(work.x, work.y, learning_rate=0.1)
        except RuntimeError as error:
            refusals.append(str(error))

    for each, callbacks in ((net, [fits_again]), (twin, [])):
        each.fit(work.x, work.y, optimizer=cr.Adam(), callbacks=callbacks, threads=2)
        each.train_step(work.x, work.y, learning_rate=0.1)
    assert len(refusals) == 1
    assert "already running" in refusals[0]
    with tempfile.TemporaryDirectory() as folder:
        net.save(Path(folder) / "net")
        loaded = cr.Network.load(Path(folder) / "net")
    outputs = {each.predict(work.x).tobytes() for each in (net, twin, loaded, net.freeze())}
    return len(outputs) == 1 and loaded.epoch == net.epoch == twin.epoch


def in_a_callback(where: str, optimizer: str) -> None:
    """The child fits the network that is in a fit there; the parent's has the bits of no fork."""
    codes = []

    def forks(net: cr.Network) -> None:
        codes.append(exit_code(fork(lambda: trains_alone(net))))

    expected = fit_around(where, optimizer, lambda net: None)
    net = fit_around(where, optimizer, forks)
    assert codes == [0]
    assert net.get_parameters().tobytes() == expected.get_parameters().tobytes()
    assert net.epoch == expected.epoch == 3
    assert trains_alone(net)


def children_go_on(where: str, optimizer: str) -> None:
    """A child that returns from the callback ends the fit as its parent does."""
    expected = fit_around(where, optimizer, lambda net: None).get_parameters().tobytes()
    children = []

    def forks(net: cr.Network) -> None:
        children.append(os.fork())
        if children[-1] == 0:
            signal.alarm(SECONDS)

    net = fit_around(where, optimizer, forks)
    same = net.get_parameters().tobytes() == expected
    if children == [0]:
        os._exit(0 if same and trains_alone(net) else 1)
    assert same
    assert trains_alone(net)
    assert exit_code(children[0]) == 0


def from_another_thread() -> None:
    """The forking thread is the child's only one; it has had helpers."""
    codes = []

    def run() -> None:
        for _ in range(3):
            assert work.is_right()
            codes.append(exit_code(fork(work.is_right)))

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        assert work.is_right()
    thread.join()
    assert codes == [0, 0, 0]


class Gate:
    """A predictor that answers only when it is let."""

    sizes = (120, 10)
    dtype = np.dtype("float32")

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.entered.set()
        assert self.open.wait(SECONDS)
        return x[..., :10]


def amid_a_batch() -> None:
    """A child starts with an empty queue: the thread that would have answered is not there."""
    gate = Gate()
    batcher = Batcher(gate)
    waiting = threading.Thread(target=batcher.predict, args=(work.x[0],))
    waiting.start()
    gate.entered.wait()

    def child() -> bool:
        gate.open.set()
        return batcher.predict(work.x[1]).shape == (10,)

    pid = fork(child)
    gate.open.set()
    waiting.join()
    assert exit_code(pid) == 0


def team_in_child() -> None:
    def child() -> bool:
        alone = thread_count()
        work.net.predict(work.x, threads=2)
        return thread_count() > alone

    work.net.predict(work.x, threads=2)
    assert exit_code(fork(child)) == 0


def team() -> None:
    alone = thread_count()
    work.net.predict(work.x, threads=2)
    assert thread_count() > alone


def idle_threads_end() -> None:
    """Python 3.12 warns of a fork in a process with several threads, counted after it."""
    for _ in range(20):
        alone = thread_count()
        work.net.predict(work.x, threads=3)
        assert thread_count() > alone
        child = fork(work.is_right)
        end = time.monotonic() + SECONDS  # the system counts a thread for a moment longer
        while thread_count() > alone and time.monotonic() < end:
            time.sleep(1e-3)
        assert thread_count() <= alone  # NumPy's threads end with the first fork, too
        assert exit_code(child) == 0


def child_ends(way: str, others: str) -> None:
    """With helpers of the child's own, and while `others` threads of the parent predict."""
    assert work.is_right()
    with busy(lambda: work.net.predict(work.x, threads=2), threads=int(others)):
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            assert work.is_right()
            if way == "os._exit":
                os._exit(7)
            if way == "sys.exit":
                sys.exit(7)
            if way == "exception":
                raise ValueError("not handled")
            return
        expected = {"os._exit": 7, "sys.exit": 7, "exception": 1, "end of the script": 0}
        assert exit_code(child) == expected[way]
    assert work.is_right()


if __name__ == "__main__":
    main(globals())
