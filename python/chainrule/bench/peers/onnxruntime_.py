"""ONNX Runtime."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Names, Variant, onnx_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem

_threads = 1


def start(threads: int) -> None:
    """Note the number of threads for the sessions to come."""
    global _threads
    _threads = threads


def inference(problem: Problem) -> list[Variant]:
    """Run a model of the cell's shape."""
    return _variants(onnx_model.build(problem), problem.x)


def latency(folder: str, x: NDArray[Any]) -> list[Variant]:
    """Run the model in the folder."""
    return _variants(f"{folder}/model.onnx", x)


def _variants(model: bytes | str, x: NDArray[Any]) -> list[Variant]:
    """Run with a dictionary of arrays, or with input and output bound once."""
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = _threads, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shape = session.get_outputs()[0].shape

    def dictionary() -> Names:
        return {"run": session.run, "outputs": ["a"], "inputs": {"x": x}}

    def bound() -> Names:
        out = np.empty(shape, x.dtype)
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
        binding.bind_output("a", "cpu", 0, x.dtype, out.shape, out.ctypes.data)
        return {"run": session.run_with_iobinding, "binding": binding, "out": out}

    return [
        Variant("run", "run(outputs, inputs)", dictionary, lambda outputs, _: outputs),
        Variant("io_binding", "run(binding)", bound, lambda _, names: [names["out"]]),
    ]
