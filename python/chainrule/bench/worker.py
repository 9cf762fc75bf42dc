"""The process of one peer: it prepares cells, and measures when it is asked to."""

from __future__ import annotations

import gc
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from timeit import Timer
from typing import Any

import numpy as np

from .cells import Cell
from .peers import INFERENCE, PEERS, TRAINING, UnsupportedError, Variant
from .problem import Problem

Array = np.ndarray[Any, Any]

TRIAL_SECONDS = 0.01
TRIALS = 3


class Call:
    """A variant with names of its own, for one thread."""

    def __init__(self, variant: Variant) -> None:
        self.variant, self.names = variant, variant.names()

    def results(self) -> list[Array]:
        """Evaluate the expression, and return copies of its results."""
        with self.variant.context():
            value = eval(self.variant.expression, dict(self.names))
            return [np.array(a) for a in self.variant.results(value, self.names)]


class Worker:
    """Answers the requests of the runner, each by the method of that name."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer, self.module = PEERS[peer], PEERS[peer].load()
        self.module.start(threads)
        self.calls: dict[str, Call] = {}

    def prepare(self, cell: dict[str, Any]) -> dict[str, list[Array]] | str:
        """Return the results of every variant, or why there is none."""
        self.calls.clear()
        self.cell = Cell(**cell)
        self.problem = Problem(self.cell)  # kept: libraries may have its addresses alone
        try:
            self.calls = {variant.name: Call(variant) for variant in self._variants()}
        except UnsupportedError as reason:
            return str(reason)
        return {name: call.results() for name, call in self.calls.items()}

    def _variants(self) -> Sequence[Variant]:
        benchmark = TRAINING if self.cell.training else INFERENCE
        if benchmark not in self.peer.benchmarks:
            raise UnsupportedError(f"not measured in {benchmark}")
        measured = self.module.training if self.cell.training else self.module.inference
        return measured(self.problem)

    def choose(self, names: list[str]) -> dict[str, Any]:
        """Keep the variant of these that a short trial finds fastest."""
        best: dict[str, float] = {}
        timers = {name: _timer(self.calls[name]) for name in names}
        for _ in range(TRIALS):
            for name, timer in timers.items():
                with self.calls[name].variant.context():
                    once = timer.timeit(1)
                    calls = int(TRIAL_SECONDS / once)
                    seconds = timer.timeit(calls) / calls if calls else once
                best[name] = min(seconds, best.get(name, seconds))
        name = min(best, key=best.__getitem__)
        self.call, self.timer, self.estimate = self.calls[name], timers[name], best[name]
        self.calls = {name: self.call}
        trial = {name: seconds / self.cell.steps for name, seconds in best.items()}
        return {"variant": name, "expression": self.call.variant.expression, "trial": trial}

    def round(self, seconds: float) -> dict[str, Any]:
        """Return the seconds of a step, from as many calls as fill the time."""
        peak = getattr(self.module, "peak_seconds", None)
        bound = peak(self.cell) if peak else None
        with self.call.variant.context():
            if self.estimate < seconds:
                self.timer.timeit(1)  # the caches were another system's
            calls = max(1, int(seconds / self.estimate))
            self.estimate = self.timer.timeit(calls) / calls
        settle()
        return {"seconds": self.estimate / self.cell.steps, "calls": calls, "bound": bound}

    def results(self) -> list[Array]:
        """Return the results of the chosen variant once more."""
        return self.call.results()

    def latency(self, calls: int, seconds: float) -> bytes:
        """Return the nanoseconds of single calls, timed one by one."""
        calls = max(1, min(calls, int(seconds / self.estimate)))
        scope = dict(self.call.names)
        exec(_LATENCY.format(expression=self.call.variant.expression), scope)
        with self.call.variant.context():
            self.timer.timeit(min(calls, 100))
            gc.disable()
            try:
                times = scope["measure"](calls, time.perf_counter_ns)
            finally:
                gc.enable()
        settle()
        return np.array(times, np.int64).tobytes()


_LATENCY = """
def measure(calls, clock):
    times = [0] * calls
    for i in range(calls):
        start = clock()
        {expression}
        times[i] = clock() - start
    return times
"""


def _timer(call: Call) -> Timer:
    return Timer(call.variant.expression, timer=time.perf_counter, globals=dict(call.names))


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


def main(peer: str, threads: int) -> None:
    """Serve the runner."""
    serve(lambda: Worker(peer, threads), threads)
