"""ONNX Runtime."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from . import UnsupportedError, Variant, onnx_model

if TYPE_CHECKING:
    from ..problem import Problem

PACKAGES = ("onnxruntime", "onnx")

_threads = 1


def start(threads: int) -> None:
    """Note the number of threads for the sessions to come."""
    global _threads
    _threads = threads


def variants(problem: Problem) -> list[Variant]:
    """Run with a dictionary of arrays, or with input and output bound once."""
    if problem.cell.training:
        raise UnsupportedError("does not train")
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = _threads, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        onnx_model.build(problem), options, providers=["CPUExecutionProvider"]
    )
    out = np.empty((problem.cell.batch, problem.cell.sizes[-1]), problem.dtype)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(problem.x))
    binding.bind_output("a", "cpu", 0, problem.dtype, out.shape, out.ctypes.data)
    names = {"run": session.run, "outputs": ["a"], "inputs": {"x": problem.x}}
    bound = {"run": session.run_with_iobinding, "binding": binding}
    return [
        Variant("run", "run(outputs, inputs)", names, lambda outputs: outputs),
        Variant("io_binding", "run(binding)", bound, lambda _: [out]),
    ]
