"""PyTorch with ``torch.compile``, on a few cells: compiling takes tens of seconds each."""

from __future__ import annotations

from importlib import import_module
from shutil import which
from typing import TYPE_CHECKING, Any

from . import Learner, UnsupportedError, Variant, torch_

if TYPE_CHECKING:
    from ..problem import Problem

CELLS = (
    "inference/policy-48-64-64-12/b1/float32/t1",
    "inference/policy-48-64-64-12/b16/float32/t1",
    "inference/digits-784-100-10/b32/float32/t1",
    "inference/ranking-300-500-200-1/b100/float32/t1",
)


def start(threads: int) -> None:
    """Use so many threads, and compile in this process."""
    torch_.start(threads)
    config = _config()
    config.compile_threads, config.cpp_wrapper = 1, True


def _config() -> Any:
    """Return the settings of PyTorch's compiler.

    They have no public module. ``options`` of ``torch.compile`` take effect after the tracing,
    which depends on `freezing`; variables of the environment set it for all models alike.
    """
    return import_module("torch._inductor.config")


def inference(problem: Problem) -> list[Variant]:
    """Compile the module as it is; or with its weights frozen in, and kernels tried out."""
    if problem.cell.name not in CELLS:
        raise UnsupportedError("not one of the cells that are compiled")
    _need_compiler()
    return [
        _compile(problem, "default", False),
        _compile(problem, "max-autotune-no-cudagraphs", True),
    ]


def accuracy(problem: Problem) -> list[Learner]:
    """Compile cost and gradients, for either size of a batch; Adam is PyTorch's fused one."""
    _need_compiler()
    return [_Compiled("fused", problem)]


def _need_compiler() -> None:
    if not any(map(which, ("c++", "g++", "clang++"))):
        raise UnsupportedError("needs a C++ compiler")


def _compile(problem: Problem, mode: str, freezing: bool) -> Variant:
    torch = import_module("torch")
    model = torch.compile(torch_.module(problem).eval(), mode=mode)
    with torch.inference_mode(), _config().patch(freezing=freezing):
        model(torch.from_numpy(problem.x))
    return torch_.prediction(mode, model, problem)


class _Compiled(torch_.Loop):
    def __init__(self, name: str, problem: Problem) -> None:
        super().__init__(name, problem)
        self.compiled = import_module("torch").compile(super().cost, dynamic=False)

    def cost(self, x: Any, y: Any) -> Any:
        """Return the mean cost of a batch."""
        return self.compiled(x, y)
