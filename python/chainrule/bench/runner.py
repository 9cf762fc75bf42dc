"""Runs cells: prepare, check, choose, then rounds in which the systems take turns."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .problem import Problem
from .processes import Process, WorkerError
from .reference import Reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .cells import Cell

ROUND_SECONDS = 0.03
LATENCY_CHUNKS = 5
QUANTILES = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}

Result = dict[str, Any]


class System(Protocol):
    """What the runner needs of a system, which is a peer in a process of its own."""

    def ask(self, method: str, *arguments: Any) -> Any:
        """Return the answer; raise WorkerError if there is none."""


class AnyReference(Protocol):
    """What tells right results from wrong ones."""

    tolerance: float

    def error(self, actual: Sequence[NDArray[Any]]) -> float:
        """Return how far results are off."""


class Entrant:
    """A system in one cell.

    The status of its result is right, wrong, failed or unsupported; times are taken of the first
    alone.
    """

    def __init__(self, system: System, reference: AnyReference) -> None:
        self.system, self.reference = system, reference
        self.result: Result = {"status": "right", "tolerance": reference.tolerance}

    @property
    def right(self) -> bool:
        """Whether it is still to be measured."""
        return bool(self.result["status"] == "right")

    def ask(self, method: str, *arguments: Any) -> Any:
        """Return the answer, or None from a system that fails and so drops out of the cell."""
        try:
            return self.system.ask(method, *arguments)
        except WorkerError as error:
            self.result.update(status="failed", reason=str(error))
            return None

    def prepare(self, *problem: Any) -> None:
        """Have the problem solved, and compare each variant's result with the reference."""
        self.enter(self.ask("prepare", *problem))

    def enter(self, results: dict[str, list[NDArray[Any]]] | str) -> None:
        """Compare each variant's result with the reference; text says why there are none."""
        if isinstance(results, str):
            self.result.update(status="unsupported", reason=results)
        elif self.right:
            self.judge({name: self.reference.error(a) for name, a in results.items()})

    def check_again(self, training: bool) -> None:
        """Compare once more, now that times have been taken; training need only be finite."""
        results = self.ask("results")
        if self.right and training:
            finite = all(np.isfinite(a).all() for a in results)
            self.judge({"after the rounds": 0.0 if finite else math.inf})
        elif self.right:
            self.judge({"after the rounds": self.reference.error(results)})

    def judge(self, errors: dict[str, float]) -> None:
        """Enter errors, and the names of those that are right: one at least has to be."""
        right = [name for name, error in errors.items() if error <= self.reference.tolerance]
        self.result.setdefault("errors", {}).update(errors)
        self.result.setdefault("right", right)
        if not right:
            self.result["status"] = "wrong"


@contextmanager
def processes(
    names: Iterable[str], threads: int, worker: str = "worker"
) -> Iterator[dict[str, Process]]:
    """Hold one process for every system; each starts when it is first asked."""
    held = {name: Process(name, threads, worker) for name in names}
    try:
        yield held
    finally:
        for process in held.values():
            process.close()


def available_threads() -> int:
    """Return how many cores a worker can be pinned to."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def clock_seconds() -> float:
    """Return what a measurement of nothing takes: part of the time of every single call."""
    clock = time.perf_counter_ns
    return statistics.median(-clock() + clock() for _ in range(10_000)) * 1e-9


def check(cell: Cell, systems: Mapping[str, System]) -> dict[str, Entrant]:
    """Let every system compute the cell once."""
    reference = Reference(Problem(cell))
    entrants = {name: Entrant(system, reference) for name, system in systems.items()}
    for entrant in entrants.values():
        entrant.prepare(asdict(cell))
    return entrants


def measure(
    cell: Cell,
    systems: Mapping[str, System],
    rounds: tuple[int, int],
    until: float,
) -> dict[str, Entrant]:
    """Check a cell and time it for at least and at most so many rounds.

    Between the two it ends at the time `until`, of ``time.monotonic``.
    """
    entrants = check(cell, systems)
    choose(entrants)
    for turn in range(rounds[1]):
        if turn >= rounds[0] and time.monotonic() > until:
            break
        for entrant in in_turn(entrants, turn):
            if answer := entrant.ask("round", ROUND_SECONDS):
                entrant.result.setdefault("rounds", []).append(answer)
    for entrant in in_turn(entrants):
        entrant.check_again(cell.training)
        if entrant.right:
            entrant.result |= _summary(entrant.result["rounds"])
    return entrants


def latency(
    cell: Cell, systems: Mapping[str, System], calls: int, seconds: float
) -> dict[str, Entrant]:
    """Time calls of a cell one by one, the systems taking turns: so many, or as many as fit."""
    entrants = check(cell, systems)
    choose(entrants)
    amount = calls // LATENCY_CHUNKS, seconds / LATENCY_CHUNKS
    times: dict[str, bytes] = dict.fromkeys(systems, b"")
    for _ in range(LATENCY_CHUNKS):
        for name, entrant in entrants.items():
            if entrant.right:
                times[name] += entrant.ask("latency", *amount) or b""
    for name, entrant in entrants.items():
        if entrant.right:
            each = np.frombuffer(times[name], np.int64) * 1e-9
            quantiles = np.percentile(each, list(QUANTILES.values())).tolist()
            entrant.result |= {"calls": len(each), **dict(zip(QUANTILES, quantiles, strict=True))}
    return entrants


def choose(entrants: dict[str, Entrant]) -> None:
    """Let each system keep the fastest of its variants that are right."""
    for entrant in in_turn(entrants):
        entrant.result |= entrant.ask("choose", entrant.result["right"]) or {}


def in_turn(entrants: dict[str, Entrant], turn: int = 0) -> list[Entrant]:
    """Return those to be measured; another one is first every turn, so that none always follows."""
    right = [entrant for entrant in entrants.values() if entrant.right]
    first = turn % max(len(right), 1)
    return right[first:] + right[:first]


def _summary(rounds: list[Result]) -> Result:
    """Return median and quartiles of a step's seconds, and the median share of the roofline."""
    low, median, high = np.percentile([r["seconds"] for r in rounds], [25, 50, 75]).tolist()
    found: Result = {"low": low, "median": median, "high": high}
    shares = [r["bound"] / r["seconds"] for r in rounds if r["bound"]]
    return found | ({"roofline": statistics.median(shares)} if shares else {})
