"""OpenVINO."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Names, UnsupportedError, Variant, onnx_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem

_threads = 1


def start(threads: int) -> None:
    """Note the number of threads for the models to come."""
    global _threads
    _threads = threads


def inference(problem: Problem) -> list[Variant]:
    """Infer with the tensors of both ends set once; or pass the array."""
    if problem.cell.dtype == "float64":
        raise UnsupportedError("computes float64 in float32")
    compiled = _compile(onnx_model.build(problem))
    names = {"compiled": compiled, "x": problem.x}
    array = Variant(
        "array",
        "compiled(x, share_outputs=True)",  # with the one request that the model has of its own
        lambda: names,
        lambda outputs, _: [outputs[0]],
    )
    return [*_requests(compiled, problem.x), array]


def latency(folder: str, x: NDArray[Any]) -> list[Variant]:
    """Infer with the tensors of both ends set once, a request for each thread."""
    return _requests(_compile(f"{folder}/model.onnx"), x)


def _compile(model: bytes | str) -> Any:
    core = import_module("openvino").Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": _threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return core.compile_model(core.read_model(model), "CPU", options)


def _requests(compiled: Any, x: NDArray[Any]) -> list[Variant]:
    """Infer by one call or by two."""
    tensor = import_module("openvino").Tensor
    shape = list(compiled.output(0).shape)

    def names() -> Names:
        out = np.empty(shape, x.dtype)
        request = compiled.create_infer_request()
        request.set_input_tensor(tensor(x, shared_memory=True))
        request.set_output_tensor(tensor(out, shared_memory=True))
        return {"request": request, "infer": request.infer, "out": out}

    expressions = {
        "infer": "infer(share_outputs=True)",
        "start and wait": "request.start_async() or request.wait()",
    }
    return [
        Variant(name, expression, names, lambda _, own: [own["out"]])
        for name, expression in expressions.items()
    ]
