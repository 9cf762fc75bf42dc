"""ONNX Runtime."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from . import Names, Way

PACKAGES = ("onnxruntime", "onnx")


def ways(folder: str, x: Any) -> list[Way]:
    """Run with a dictionary of arrays, or with input and output bound once."""
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"]
    )
    shape = session.get_outputs()[0].shape

    def dictionary() -> Names:
        return {"run": session.run, "outputs": ["a"], "inputs": {"x": x}}

    def binding() -> Names:
        out = np.empty(shape, x.dtype)
        bound = session.io_binding()
        bound.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
        bound.bind_output("a", "cpu", 0, x.dtype, out.shape, out.ctypes.data)
        return {"run": session.run_with_iobinding, "binding": bound, "out": out}

    return [
        Way("run", "run(outputs, inputs)", dictionary, lambda outputs, _: outputs[0][0]),
        Way("io_binding", "run(binding)", binding, lambda _, names: names["out"][0]),
    ]
