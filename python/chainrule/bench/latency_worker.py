"""The process of one peer that answers single calls, each timed on its own."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from .peers import PEERS, Variant
from .worker import Call, serve, settle

Array = np.ndarray[Any, Any]
Answer = tuple[bytes, float]

WARM_UP = 100
TRIAL_CALLS, TRIALS = 2000, 5

# The names are arguments, the fastest that Python has; all systems go through the same lines.
_LOOPS = """
def measure(times, clock, {names}):
    for i in range(len(times)):
        start = clock()
        {expression}
        times[i] = clock() - start

def after_gaps(times, clock, sleep, gap, {names}):
    for i in range(len(times)):
        sleep(gap)
        start = clock()
        {expression}
        times[i] = clock() - start

def repeat(calls, {names}):
    for _ in range(calls):
        {expression}
"""


class TimedCall(Call):
    """A call that is made many times, each of them timed."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(variant)
        scope: dict[str, Any] = {}
        exec(_LOOPS.format(names=", ".join(self.names), expression=variant.expression), scope)
        self._measure, self._after_gaps = scope["measure"], scope["after_gaps"]
        self._repeat = scope["repeat"]

    def repeat(self, calls: int) -> None:
        """Call, and time nothing."""
        with self.variant.context():
            self._repeat(calls, **self.names)

    def measure(self, calls: int) -> array[int]:
        """Return the nanoseconds of so many calls, one by one."""
        times = array("q", bytes(8 * calls))
        with self.variant.context():
            self._measure(times, time.perf_counter_ns, **self.names)
        return times

    def after_gaps(self, calls: int, gap: float) -> array[int]:
        """Return the nanoseconds of calls before each of which the thread sleeps."""
        times = array("q", bytes(8 * calls))
        with self.variant.context():
            self._after_gaps(times, time.perf_counter_ns, time.sleep, gap, **self.names)
        return times


class Worker:
    """Answers the requests of the command, each by the method of that name."""

    def __init__(self, peer: str, threads: int) -> None:
        self.module = PEERS[peer].load()
        self.module.start(threads)

    def prepare(self, folder: str, x: Array) -> dict[str, list[Array]]:
        """Load the model; return what every variant answers."""
        self.calls = {v.name: TimedCall(v) for v in self.module.latency(folder, x)}
        return {name: call.results() for name, call in self.calls.items()}

    def choose(self, names: list[str]) -> dict[str, Any]:
        """Keep the variant of these whose median call is the fastest in a short trial."""
        trial: dict[str, float] = {}
        for _ in range(TRIALS):
            for name in names:
                middle = float(np.median(self.calls[name].measure(TRIAL_CALLS))) * 1e-9
                trial[name] = min(middle, trial.get(name, middle))
        name = min(trial, key=trial.__getitem__)
        self.call = self.calls[name]
        return {"variant": name, "expression": self.call.variant.expression, "trial": trial}

    def results(self) -> list[Array]:
        """Return the answer once more."""
        return self.call.results()

    def alone(self, calls: int) -> Answer:
        """Time calls of this thread, on the core that the process is pinned to."""
        self.call.repeat(WARM_UP)
        return _timed(lambda: [self.call.measure(calls)])

    def idle(self, calls: int, gap: float) -> Answer:
        """Time calls before each of which the process sleeps."""
        self.call.repeat(WARM_UP)
        return _timed(lambda: [self.call.after_gaps(calls, gap)])

    def threads(self, calls: int, count: int, cores: list[int]) -> Answer:
        """Time calls that so many threads make at once, on any of the cores."""
        each = [TimedCall(self.call.variant) for _ in range(count)]
        times: list[array[int]] = []
        moments: list[float] = []
        together = threading.Barrier(count, lambda: moments.append(time.perf_counter()))

        def work(call: TimedCall) -> None:
            try:
                call.repeat(WARM_UP)
                together.wait()
                times.append(call.measure(calls // count))
                moments.append(time.perf_counter())
            except BaseException:
                together.abort()  # nobody waits for this thread
                raise

        def all_at_once() -> list[array[int]]:
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(work, each))
            return times

        with _pinned_to(cores):
            found, _ = _timed(all_at_once)
        return found, max(moments) - min(moments)

    def clock(self, calls: int) -> Answer:
        """Time nothing, in the same lines: what the clock itself takes."""
        nothing = TimedCall(Variant("nothing", "nothing", lambda: {"nothing": None}, _nothing))
        return _timed(lambda: [nothing.measure(calls)])

    def memory(self, calls: int) -> int | None:
        """Return the bytes by which the process grows with so many calls, where that is known."""
        if sys.platform != "linux":
            return None
        pr_set_thp_disable = 41  # pages joined to huge ones would count where nobody uses them
        ctypes.CDLL(None).prctl(pr_set_thp_disable, 1, 0, 0, 0)
        self.call.repeat(calls // 10)
        before = _resident()
        self.call.repeat(calls)
        return _resident() - before


def _nothing(*_: Any) -> list[Any]:
    return []


def _timed(work: Callable[[], list[array[int]]]) -> Answer:
    """Return all times as bytes, and the seconds that they took together."""
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    try:
        times = work()
    finally:
        seconds = time.perf_counter() - start
        gc.enable()
    settle()
    return b"".join(part.tobytes() for part in times), seconds


@contextmanager
def _pinned_to(cores: list[int]) -> Iterator[None]:
    """Let this thread, and those that it starts, run on these cores for a while."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(peer: str, threads: int) -> None:
    """Serve the command."""
    serve(lambda: Worker(peer, threads), threads)
