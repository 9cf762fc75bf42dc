"""Forks around threaded work: python forks.py CASE ..."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import numpy as np
from problem import SECONDS, Work, busy, exit_code, fork, main, thread_count

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
