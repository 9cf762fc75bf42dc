"""scikit-learn's MLPClassifier, an epoch a ``partial_fit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..peers.sklearn_ import make_model, parameters, start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem
    from . import Learner

__all__ = ["PACKAGES", "learners", "start"]

PACKAGES = ("sklearn",)


def learners(problem: Problem) -> list[Learner]:
    """Return the one way there is."""
    return [_PartialFit(problem)]


class _PartialFit:
    name = "partial_fit"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.reset()

    def reset(self) -> None:
        self.model, self.y = make_model(self.problem)

    def epoch(self, order: NDArray[Any]) -> None:
        self.model.partial_fit(self.problem.x[order], self.y[order])

    def labels(self, x: NDArray[Any]) -> Any:
        return self.model.predict(x)

    def parameters(self) -> list[Any]:
        return parameters(self.model)
