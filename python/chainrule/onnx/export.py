"""A network as an ONNX graph: one Gemm per layer, and its activation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule._core import __version__
from chainrule.activations import ACTIVATIONS
from chainrule.extras import require

if TYPE_CHECKING:
    from chainrule.network import Network

# Gelu came with opset 20; runtimes read that IR version since 2024.
OPSET = 20
IR_VERSION = 9


def to_onnx(network: Network) -> Any:
    """Return `network` as an ONNX model, checked by ``onnx.checker``.

    Its input ``x`` has the shape (batch, n_0), its output ``a`` (batch, n_L), both of the
    network's dtype. The metadata name the loss and the seed, which ``from_onnx`` reads back.

    Parameters
    ----------
    network : Network

    Returns
    -------
    onnx.ModelProto
        Save it with ``onnx.save(model, path)``; ``model.SerializeToString()`` is what an
        ``onnxruntime.InferenceSession`` takes. ONNX Runtime has no float64 kernels for Elu, Selu,
        Softplus, LeakyRelu, Gelu and HardSwish: export a float32 network there.

    Raises
    ------
    ImportError
        Without the package onnx.
    """
    onnx = require("onnx", "onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    element = helper.np_dtype_to_tensor_dtype(network.dtype)
    nodes, tensors = [], []
    name = "x"
    for layer, activation in enumerate(network.activations, start=1):
        # k-major in memory: the transpose of W is what lies there.
        w = np.ascontiguousarray(network.weights[layer - 1].T)
        inputs = [name, f"W{layer}"]
        tensors.append(numpy_helper.from_array(w, inputs[1]))
        if network.has_bias:
            inputs.append(f"b{layer}")
            tensors.append(numpy_helper.from_array(network.biases[layer - 1].copy(), inputs[2]))
        last = layer == len(network.activations)
        z, a = f"z{layer}", "a" if last else f"a{layer}"
        if activation == "identity":
            z = a
        nodes.append(helper.make_node("Gemm", inputs, [z], name=f"layer{layer}"))
        nodes += _activation(helper, activation, z, a, layer)
        name = a
    graph = helper.make_graph(
        nodes,
        "chainrule",
        [helper.make_tensor_value_info("x", element, ["batch", network.sizes[0]])],
        [helper.make_tensor_value_info("a", element, ["batch", network.sizes[-1]])],
        tensors,
    )
    model = helper.make_model(
        graph,
        producer_name="chainrule",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(
        model, {"chainrule": json.dumps({"loss": network.loss, "seed": network.seed})}
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _activation(helper: Any, activation: str, z: str, a: str, layer: int) -> list[Any]:
    """Return the nodes from z to a, the first of several named after its operator."""
    rows = ACTIVATIONS[activation].onnx
    tensors, nodes = {"z": z}, []
    for number, row in enumerate(rows, start=1):
        last = number == len(rows)
        name = f"{activation if last else row.operator.lower()}{layer}"
        tensors[str(number)] = a if last else name
        inputs = [tensors[one] for one in row.inputs]
        output = [tensors[str(number)]]
        nodes.append(helper.make_node(row.operator, inputs, output, name=name, **row.attributes))
    return nodes
