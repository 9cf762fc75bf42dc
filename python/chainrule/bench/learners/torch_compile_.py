"""PyTorch with ``torch.compile``: cost and gradients are compiled, for either size of a batch."""

from __future__ import annotations

from importlib import import_module
from shutil import which
from typing import TYPE_CHECKING, Any

from ..peers import UnsupportedError
from ..peers.torch_compile_ import start
from .torch_ import Loop

if TYPE_CHECKING:
    from ..problem import Problem
    from . import Learner

__all__ = ["PACKAGES", "learners", "start"]

PACKAGES = ("torch",)


def learners(problem: Problem) -> list[Learner]:
    """Compile the cost; Adam is PyTorch's fused one."""
    if not any(map(which, ("c++", "g++", "clang++"))):
        raise UnsupportedError("needs a C++ compiler")
    return [_Compiled("fused", problem)]


class _Compiled(Loop):
    def __init__(self, name: str, problem: Problem) -> None:
        super().__init__(name, problem)
        self.compiled = import_module("torch").compile(super().cost, dynamic=False)

    def cost(self, x: Any, y: Any) -> Any:
        """Return the mean cost of a batch."""
        return self.compiled(x, y)
