"""The process of one system: it prepares cells, and measures when it is asked to."""

from __future__ import annotations

import gc
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from timeit import Timer
from typing import Any

import numpy as np

from . import peers
from .cells import Cell
from .problem import Problem

Array = np.ndarray[Any, Any]

TRIAL_SECONDS = 0.01
TRIALS = 3


class Worker:
    """Answers the requests of the runner, each by the method of that name."""

    def __init__(self, system: str, threads: int) -> None:
        self.system = peers.load(system)
        self.system.start(threads)
        self.variants: dict[str, peers.Variant] = {}

    def prepare(self, cell: dict[str, Any]) -> dict[str, list[Array]] | str:
        """Return the results of every variant, or why there is none."""
        self.variants.clear()
        self.cell = Cell(**cell)
        self.problem = Problem(self.cell)  # kept: libraries may have its addresses alone
        try:
            found = self.system.variants(self.problem)
        except peers.UnsupportedError as reason:
            return str(reason)
        self.variants = {variant.name: variant for variant in found}
        return {name: _results(variant) for name, variant in self.variants.items()}

    def choose(self, names: list[str]) -> dict[str, Any]:
        """Keep the variant of these that a short trial finds fastest."""
        best: dict[str, float] = {}
        timers = {name: self._timer(self.variants[name]) for name in names}
        for _ in range(TRIALS):
            for name, timer in timers.items():
                with self.variants[name].context():
                    once = timer.timeit(1)
                    calls = int(TRIAL_SECONDS / once)
                    seconds = timer.timeit(calls) / calls if calls else once
                best[name] = min(seconds, best.get(name, seconds))
        self.chosen = self.variants[min(best, key=best.__getitem__)]
        self.variants = {self.chosen.name: self.chosen}
        self.timer, self.estimate = timers[self.chosen.name], best[self.chosen.name]
        trial = {name: seconds / self.cell.steps for name, seconds in best.items()}
        return {"variant": self.chosen.name, "expression": self.chosen.expression, "trial": trial}

    def round(self, seconds: float) -> dict[str, Any]:
        """Return the seconds of a step, from as many calls as fill the time."""
        peak = getattr(self.system, "peak_seconds", None)
        bound = peak(self.cell) if peak else None
        with self.chosen.context():
            if self.estimate < seconds:
                self.timer.timeit(1)  # the caches were another system's
            calls = max(1, int(seconds / self.estimate))
            self.estimate = self.timer.timeit(calls) / calls
        settle()
        return {"seconds": self.estimate / self.cell.steps, "calls": calls, "bound": bound}

    def results(self) -> list[Array]:
        """Return the results of the chosen variant once more."""
        return _results(self.chosen)

    def latency(self, calls: int, seconds: float) -> bytes:
        """Return the nanoseconds of single calls, timed one by one."""
        calls = max(1, min(calls, int(seconds / self.estimate)))
        scope = dict(self.chosen.names)
        exec(_LATENCY.format(expression=self.chosen.expression), scope)
        with self.chosen.context():
            self.timer.timeit(min(calls, 100))
            gc.disable()
            try:
                times = scope["measure"](calls, time.perf_counter_ns)
            finally:
                gc.enable()
        settle()
        return np.array(times, np.int64).tobytes()

    @staticmethod
    def _timer(variant: peers.Variant) -> Timer:
        return Timer(variant.expression, timer=time.perf_counter, globals=dict(variant.names))


_LATENCY = """
def measure(calls, clock):
    times = [0] * calls
    for i in range(calls):
        start = clock()
        {expression}
        times[i] = clock() - start
    return times
"""


def _results(variant: peers.Variant) -> list[Array]:
    """Evaluate the expression, and return copies of its results."""
    with variant.context():
        value = eval(variant.expression, dict(variant.names))
        return [np.array(a) for a in variant.results(value)]


def settle() -> None:
    """Wait until no thread of this process spins any more: the next system needs the cores."""
    for _ in range(50):
        used = time.process_time()
        time.sleep(0.002)
        if time.process_time() - used < 0.0005:
            return
        time.sleep(0.01)


def serve(make: Callable[[], object], threads: int) -> None:
    """Answer requests (method, arguments) from stdin, until it ends, by methods of what is made."""
    # The answers have the old stdout for themselves: what libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    worker: object = None
    while True:
        try:
            method, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            worker = worker or make()
            answer = (True, getattr(worker, method)(*arguments))
        except Exception:
            answer = (False, traceback.format_exc())
        pickle.dump(answer, answers)
        answers.flush()


def main(system: str, threads: int) -> None:
    """Serve the runner."""
    serve(lambda: Worker(system, threads), threads)
