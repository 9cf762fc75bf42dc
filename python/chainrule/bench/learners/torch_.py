"""PyTorch, eager: the usual loop."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..peers.torch_ import module, start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem
    from . import Learner

__all__ = ["PACKAGES", "Loop", "learners", "start"]

PACKAGES = ("torch",)


def learners(problem: Problem) -> list[Learner]:
    """Update with either implementation of Adam."""
    return [Loop(name, problem) for name in ("foreach", "fused")]


class Loop:
    """Batch by batch; `name` is the implementation of Adam."""

    def __init__(self, name: str, problem: Problem) -> None:
        self.torch = torch = import_module("torch")
        self.name, self.problem = name, problem
        self.x, self.y = torch.from_numpy(problem.x), torch.from_numpy(problem.labels)
        self.model = module(problem, logits=True)
        self.first = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.reset()

    def reset(self) -> None:
        """Go back to the first weights."""
        self.model.load_state_dict(self.first)
        self.optimizer = self.torch.optim.Adam(
            self.model.parameters(), self.problem.cell.learning_rate, **{self.name: True}
        )

    def cost(self, x: Any, y: Any) -> Any:
        """Return the mean cost of a batch."""
        return self.torch.nn.functional.cross_entropy(self.model(x), y)

    def epoch(self, order: NDArray[Any]) -> None:
        """Train on all samples in this order."""
        for rows in self.torch.from_numpy(order).split(self.problem.cell.batch):
            self.optimizer.zero_grad(set_to_none=True)
            self.cost(self.x[rows], self.y[rows]).backward()
            self.optimizer.step()

    def labels(self, x: NDArray[Any]) -> Any:
        """Return the most likely class of every row."""
        with self.torch.inference_mode():
            return self.model(self.torch.from_numpy(x)).argmax(dim=1).numpy()

    def parameters(self) -> list[Any]:
        """Return W^1, b^1, W^2, …."""
        return [p.detach().numpy() for p in self.model.parameters()]
