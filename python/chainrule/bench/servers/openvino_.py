"""OpenVINO."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from . import Names, Way

PACKAGES = ("openvino", "onnx")


def ways(folder: str, x: Any) -> list[Way]:
    """Infer with the tensors of both ends set once, by one call or by two."""
    ov = import_module("openvino")
    core = ov.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(f"{folder}/model.onnx"), "CPU", options)
    shape = list(compiled.output(0).shape)

    def make() -> Names:
        out = np.empty(shape, x.dtype)
        request = compiled.create_infer_request()
        request.set_input_tensor(ov.Tensor(x, shared_memory=True))
        request.set_output_tensor(ov.Tensor(out, shared_memory=True))
        return {"request": request, "infer": request.infer, "out": out}

    return [
        Way("infer", "infer(share_outputs=True)", make, lambda _, names: names["out"][0]),
        Way(
            "start and wait",
            "request.start_async() or request.wait()",
            make,
            lambda _, names: names["out"][0],
        ),
    ]
