"""OpenVINO."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from . import UnsupportedError, Variant, onnx_model

if TYPE_CHECKING:
    from ..problem import Problem

PACKAGES = ("openvino", "onnx")

_threads = 1


def start(threads: int) -> None:
    """Note the number of threads for the models to come."""
    global _threads
    _threads = threads


def variants(problem: Problem) -> list[Variant]:
    """Infer with the tensors of both ends set once; or pass the array."""
    if problem.cell.training:
        raise UnsupportedError("does not train")
    if problem.cell.dtype == "float64":
        raise UnsupportedError("computes float64 in float32")
    ov = import_module("openvino")
    core = ov.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": _threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(onnx_model.build(problem)), "CPU", options)
    out = np.empty((problem.cell.batch, problem.cell.sizes[-1]), problem.dtype)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(problem.x, shared_memory=True))
    request.set_output_tensor(ov.Tensor(out, shared_memory=True))
    names = {"request": request}
    return [
        Variant(
            "tensors set once",
            "request.infer(share_outputs=True)",
            names,
            lambda _: [out],
        ),
        Variant(
            "start and wait",
            "request.start_async() or request.wait()",
            names,
            lambda _: [out],
        ),
        Variant(
            "array",
            "compiled(x, share_outputs=True)",
            {"compiled": compiled, "x": problem.x},
            lambda outputs: [outputs[0]],
        ),
    ]
