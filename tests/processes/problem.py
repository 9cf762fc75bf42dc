"""What the scripts of this folder share: work worth a team of threads, children, busy threads."""

from __future__ import annotations

import copy
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import chainrule as cr

#: A child that takes longer hangs.
SECONDS = 60


class Work:
    """A network and data, large enough that every call is worth a team of threads."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.net = cr.Network([120, 200, 10], ["tanh", "softmax"], "cross_entropy", seed=0)
        self.serve = self.net.freeze()
        self.x = rng.normal(size=(600, 120)).astype(np.float32)
        self.y = rng.integers(0, 10, 600)
        self.expected = self.bits(threads=1)

    def train(self, threads: int = 2, learning_rate: float = 0.0) -> cr.Network:
        """One epoch; the learning rate 0 changes nothing."""
        options = {"batch_size": 100, "shuffle": False, "threads": threads}
        self.net.fit(self.x, self.y, learning_rate=learning_rate, **options)
        return self.net

    def outputs(self, threads: int = 2) -> bytes:
        """Of the network and of its predictor."""
        pair = [each.predict(self.x, threads=threads) for each in (self.net, self.serve)]
        return b"".join(outputs.tobytes() for outputs in pair)

    def bits(self, threads: int = 2) -> bytes:
        """Of predictions and of a training run."""
        other = copy.copy(self)
        other.net = copy.deepcopy(self.net)
        trained = other.train(threads, learning_rate=0.1).get_parameters()
        return self.outputs(threads) + trained.tobytes()

    def is_right(self, threads: int = 2) -> bool:
        return self.bits(threads) == self.expected

    def predicts_right(self, threads: int = 2) -> bool:
        return self.expected.startswith(self.outputs(threads))


def fork(call: Callable[[], object]) -> int:
    """Start a child that exits with 0 if the call gives something true.

    One that crashes prints where.
    """
    child = os.fork()
    if child != 0:
        return child
    faulthandler.enable()
    signal.alarm(SECONDS)
    code = 2
    try:
        code = 0 if call() else 1
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def exit_code(child: int) -> int:
    """Wait for a child; a signal that ended it counts as negative."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def busy(call: Callable[[], object], threads: int = 1) -> Iterator[None]:
    """Call over and over in other threads, until the block ends."""
    stop = threading.Event()
    started = threading.Barrier(threads + 1)

    def run() -> None:
        started.wait()
        while not stop.is_set():
            call()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    started.wait()
    try:
        yield
    finally:
        stop.set()
        for thread in running:
            thread.join()


def thread_count() -> int:
    """Threads that the system counts in this process. Linux only."""
    return len(list(Path("/proc/self/task").iterdir()))


def main(cases: dict[str, Callable[..., object]]) -> None:
    """Run the case that the command line names, and print "ok" if it held."""
    name, *arguments = sys.argv[1:]
    cases[name](*arguments)
    print("ok")
