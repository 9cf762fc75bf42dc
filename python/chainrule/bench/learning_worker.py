"""The process of one peer that learns clothes: it trains epoch by epoch, when it is asked to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from .cells import Cell
from .peers import PEERS, Learner, UnsupportedError
from .problem import Problem, scaled
from .worker import serve, settle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

TRIALS = 2


class Worker:
    """Answers the requests of the command, each by the method of that name."""

    def __init__(self, peer: str, threads: int) -> None:
        self.module = PEERS[peer].load()
        self.module.start(threads)

    def check(
        self, cell: dict[str, Any], pixels: Array, labels: Array, order: Array
    ) -> dict[str, list[Array]] | str:
        """Return the parameters of every variant after an epoch, or why there is none."""
        problem = Problem(Cell(**cell), (scaled(pixels), labels))
        try:
            found = self.module.accuracy(problem)
        except UnsupportedError as reason:
            return str(reason)
        for learner in found:
            learner.epoch(order)
        return {learner.name: [np.array(p) for p in learner.parameters()] for learner in found}

    def prepare(
        self, names: list[str], cell: dict[str, Any], pixels: Array, labels: Array, test: Array
    ) -> dict[str, Any]:
        """Keep that of these variants whose epochs a trial finds shortest.

        `first` are the seconds of its first epoch, in which it is compiled.
        """
        problem = Problem(Cell(**cell), (scaled(pixels), labels))
        self.test = scaled(test)
        order = np.arange(len(labels))
        right = {v.name: v for v in self.module.accuracy(problem) if v.name in names}
        first = {name: _seconds(learner, order) for name, learner in right.items()}
        trial = {
            name: min(_seconds(learner, order) for _ in range(TRIALS))
            for name, learner in right.items()
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


def _seconds(learner: Learner, order: Array) -> float:
    start = time.perf_counter()
    learner.epoch(order)
    return time.perf_counter() - start


def main(peer: str, threads: int) -> None:
    """Serve the command."""
    serve(lambda: Worker(peer, threads), threads)
