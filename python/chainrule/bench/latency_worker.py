"""The process of one system that answers single calls, each timed on its own."""

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

from . import servers
from .worker import serve, settle

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


class Caller:
    """A way to answer with names of its own, for one thread."""

    def __init__(self, way: servers.Way) -> None:
        self.way, self.names = way, way.make()
        scope: dict[str, Any] = {}
        exec(_LOOPS.format(names=", ".join(self.names), expression=way.expression), scope)
        self._measure, self._after_gaps = scope["measure"], scope["after_gaps"]
        self._repeat = scope["repeat"]

    def answer(self) -> Array:
        """Return a copy of a^L."""
        value = eval(self.way.expression, dict(self.names))
        return np.array(self.way.answer(value, self.names))

    def repeat(self, calls: int) -> None:
        """Call, and time nothing."""
        self._repeat(calls, **self.names)

    def measure(self, calls: int) -> array[int]:
        """Return the nanoseconds of so many calls, one by one."""
        times = array("q", bytes(8 * calls))
        self._measure(times, time.perf_counter_ns, **self.names)
        return times

    def after_gaps(self, calls: int, gap: float) -> array[int]:
        """Return the nanoseconds of calls before each of which the thread sleeps."""
        times = array("q", bytes(8 * calls))
        self._after_gaps(times, time.perf_counter_ns, time.sleep, gap, **self.names)
        return times


class Worker:
    """Answers the requests of the command, each by the method of that name."""

    def __init__(self, system: str) -> None:
        self.system = servers.load(system)

    def prepare(self, folder: str, x: Array) -> dict[str, list[Array]]:
        """Load the model; return what every way answers."""
        self.callers = {way.name: Caller(way) for way in self.system.ways(folder, x)}
        return {name: [caller.answer()] for name, caller in self.callers.items()}

    def choose(self, names: list[str]) -> dict[str, Any]:
        """Keep the way of these whose median call is the fastest in a short trial."""
        trial: dict[str, float] = {}
        for _ in range(TRIALS):
            for name in names:
                middle = float(np.median(self.callers[name].measure(TRIAL_CALLS))) * 1e-9
                trial[name] = min(middle, trial.get(name, middle))
        self.caller = self.callers[min(trial, key=trial.__getitem__)]
        way = self.caller.way
        return {"variant": way.name, "expression": way.expression, "trial": trial}

    def results(self) -> list[Array]:
        """Return the answer once more."""
        return [self.caller.answer()]

    def alone(self, calls: int) -> Answer:
        """Time calls of this thread, on the core that the process is pinned to."""
        self.caller.repeat(WARM_UP)
        return _timed(lambda: [self.caller.measure(calls)])

    def idle(self, calls: int, gap: float) -> Answer:
        """Time calls before each of which the process sleeps."""
        self.caller.repeat(WARM_UP)
        return _timed(lambda: [self.caller.after_gaps(calls, gap)])

    def threads(self, calls: int, count: int, cores: list[int]) -> Answer:
        """Time calls that so many threads make at once, on any of the cores."""
        callers = [Caller(self.caller.way) for _ in range(count)]
        times: list[array[int]] = []
        moments: list[float] = []
        together = threading.Barrier(count, lambda: moments.append(time.perf_counter()))

        def work(caller: Caller) -> None:
            try:
                caller.repeat(WARM_UP)
                together.wait()
                times.append(caller.measure(calls // count))
                moments.append(time.perf_counter())
            except BaseException:
                together.abort()  # nobody waits for this thread
                raise

        def all_at_once() -> list[array[int]]:
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(work, callers))
            return times

        with _pinned_to(cores):
            found, _ = _timed(all_at_once)
        return found, max(moments) - min(moments)

    def clock(self, calls: int) -> Answer:
        """Time nothing, in the same lines: what the clock itself takes."""
        nothing = Caller(servers.Way("nothing", "nothing", lambda: {"nothing": None}, _nothing))
        return _timed(lambda: [nothing.measure(calls)])

    def memory(self, calls: int) -> int | None:
        """Return the bytes by which the process grows with so many calls, where that is known."""
        if sys.platform != "linux":
            return None
        pr_set_thp_disable = 41  # pages joined to huge ones would count where nobody uses them
        ctypes.CDLL(None).prctl(pr_set_thp_disable, 1, 0, 0, 0)
        self.caller.repeat(calls // 10)
        before = _resident()
        self.caller.repeat(calls)
        return _resident() - before


def _nothing(*_: Any) -> None:
    return None


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


def main(system: str, threads: int) -> None:
    """Serve the command; the threads are those of the environment."""
    serve(lambda: Worker(system), threads)
