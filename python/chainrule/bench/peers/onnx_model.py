"""The network as an ONNX model, for the runtimes that read one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..problem import Problem

OPERATORS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax"}
OPSET, IR_VERSION = 17, 8  # what every runtime of the last years reads


def build(problem: Problem) -> bytes:
    """Return the serialized model: x of fixed shape, one Gemm per layer, its activation."""
    onnx, numpy_helper = import_module("onnx"), import_module("onnx.numpy_helper")
    helper = onnx.helper
    kind = helper.np_dtype_to_tensor_dtype(problem.dtype)
    nodes, initializers, a = [], [], "x"
    for layer, (w, b) in enumerate(zip(problem.weights, problem.biases, strict=True), start=1):
        initializers += [
            numpy_helper.from_array(w, f"w{layer}"),
            numpy_helper.from_array(b, f"b{layer}"),
        ]
        last = layer == problem.cell.depth
        name = problem.activation(layer - 1)
        out = "a" if last else f"a{layer}"
        z = out if name == "identity" else f"z{layer}"
        nodes.append(helper.make_node("Gemm", [a, f"w{layer}", f"b{layer}"], [z], transB=1))
        if name != "identity":
            nodes.append(helper.make_node(OPERATORS[name], [z], [out]))
        a = out
    ends = [
        helper.make_tensor_value_info(name, kind, [problem.cell.batch, n])
        for name, n in (("x", problem.cell.sizes[0]), ("a", problem.cell.sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], initializers)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())
