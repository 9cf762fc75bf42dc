"""chainrule's ``fit``, which draws the order of the samples itself."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..peers.chainrule_ import network, start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem
    from . import Learner

__all__ = ["PACKAGES", "learners", "start"]

PACKAGES = ("chainrule",)


def learners(problem: Problem) -> list[Learner]:
    """Return the one way there is."""
    return [_Fit(problem)]


class _Fit:
    name = "fit"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.reset()

    def reset(self) -> None:
        self.network = network(self.problem)
        self.adam = import_module("chainrule").Adam(self.problem.cell.learning_rate)

    def epoch(self, order: NDArray[Any]) -> None:
        # Its own order is the one given: a check before the rounds would find another one.
        problem = self.problem
        self.network.fit(
            problem.x, problem.labels, batch_size=problem.cell.batch, optimizer=self.adam
        )

    def labels(self, x: NDArray[Any]) -> Any:
        return self.network.predict(x).argmax(axis=1)

    def parameters(self) -> list[Any]:
        net = self.network
        return [p for pair in zip(net.weights, net.biases, strict=True) for p in pair]
