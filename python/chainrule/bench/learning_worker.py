"""The process of one system that learns clothes: it trains epoch by epoch, when it is asked to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from . import learners, peers
from .cells import Cell
from .problem import Problem
from .worker import serve, settle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

TRIALS = 2


class Worker:
    """Answers the requests of the command, each by the method of that name."""

    def __init__(self, system: str, threads: int) -> None:
        self.module = learners.load(system)
        self.module.start(threads)

    def check(
        self, cell: dict[str, Any], pixels: Array, labels: Array, order: Array
    ) -> dict[str, list[Array]] | str:
        """Return the parameters of every way to train after an epoch, or why there is none."""
        problem = Problem(Cell(**cell), (learners.scaled(pixels), labels))
        try:
            found = self.module.learners(problem)
        except peers.UnsupportedError as reason:
            return str(reason)
        for learner in found:
            learner.epoch(order)
        return {learner.name: [np.array(p) for p in learner.parameters()] for learner in found}

    def prepare(
        self, names: list[str], cell: dict[str, Any], pixels: Array, labels: Array, test: Array
    ) -> dict[str, Any]:
        """Keep that of these ways to train whose epochs a trial finds shortest.

        `first` are the seconds of its first epoch, in which it is compiled.
        """
        problem = Problem(Cell(**cell), (learners.scaled(pixels), labels))
        self.test = learners.scaled(test)
        order = np.arange(len(labels))
        right = {way.name: way for way in self.module.learners(problem) if way.name in names}
        first = {name: _seconds(way, order) for name, way in right.items()}
        trial = {
            name: min(_seconds(way, order) for _ in range(TRIALS)) for name, way in right.items()
        }
        best = min(trial, key=trial.__getitem__)
        self.learner = right[best]
        return {"variant": best, "first": first[best], "trial": trial}

    def reset(self) -> bool:
        """Start anew from the first weights."""
        self.learner.reset()
        return True

    def epoch(self, order: Array) -> tuple[float, Array]:
        """Train for an epoch; return its seconds, and then the most likely classes."""
        seconds = _seconds(self.learner, order)
        labels = np.array(self.learner.labels(self.test))
        settle()
        return seconds, labels


def _seconds(learner: learners.Learner, order: Array) -> float:
    start = time.perf_counter()
    learner.epoch(order)
    return time.perf_counter() - start


def main(system: str, threads: int) -> None:
    """Serve the command."""
    serve(lambda: Worker(system, threads), threads)
