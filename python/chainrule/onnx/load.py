"""An ONNX model as a network, if a multilayer perceptron is what it computes.

The graph is run once with symbols in place of numbers: constants stay arrays, and what depends on
the input is a stack of layers (``chainrule.stack``). A node that fits neither becomes the reason
why what it feeds cannot be had, and is told only if the chosen output depends on it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.extras import require
from chainrule.onnx import patterns
from chainrule.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from chainrule.network import Network

ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Selu": "selu",
    "Softplus": "softplus",
    "Gelu": "gelu",
    "Softmax": "softmax",
    "Erf": patterns.ERF,
}
# Attributes that change an activation: their default in ONNX, and the values that ours have.
ATTRIBUTES: dict[str, dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "LeakyRelu": {"alpha": (0.01, (0.01,))},
    "Elu": {"alpha": (1.0, (1.0,))},
    "Selu": {
        "alpha": (1.6732632423543772, (1.6732632423543772,)),
        "gamma": (1.0507009873554805, (1.0507009873554805,)),
    },
    "Gelu": {"approximate": (b"none", (b"none",))},
    "Softmax": {"axis": (-1, (1, -1))},
}


@dataclass(frozen=True)
class Refusal:
    """What a node gave that is no part of a multilayer perceptron."""

    reason: str


Value = np.ndarray | Stack | patterns.Above | Refusal


def from_onnx(model: Any, *, output: str | None = None, loss: str | None = None) -> Network:
    """Return the network that an ONNX model computes.

    Understood are Gemm and MatMul with Add, the activations of chainrule as PyTorch, Keras
    (tf2onnx) and skl2onnx write them (GELU through Erf, SiLU as x · Sigmoid(x) and the like),
    scalings by constants before, between and after layers, BatchNormalization and skl2onnx's
    Scaler, all folded into weights, and what leaves rows as they are (Cast, Identity, Dropout,
    Flatten, Reshape).

    Parameters
    ----------
    model : onnx.ModelProto, path or bytes
        Or what ``SerializeToString`` of a model gives.
    output : str, optional
        Which output to take; by default the one that is a network's, for instance the
        probabilities of a classifier of scikit-learn, not its labels.
    loss : str, optional
        The network's loss; by default the one that ``to_onnx`` noted, else cross_entropy after
        softmax, binary_cross_entropy after sigmoid, half_mse otherwise.

    Returns
    -------
    Network
        Of the dtype of the model's weights (float32 for halves). Its outputs equal the model's
        within rounding; a binary classifier of skl2onnx gets a softmax over its two classes.

    Raises
    ------
    ValueError
        If the model computes something else; the message names the first node in the way.
    TypeError, OSError, ImportError
        If `model` is no model, cannot be read, or the package onnx is missing.
    """
    onnx = require("onnx", "onnx")
    model = _model(onnx, model)
    values, dtypes = _run(onnx, model.graph)
    stack = _chosen(model.graph, values, output)
    noted = {entry.key: entry.value for entry in model.metadata_props}.get("chainrule")
    if loss is None and noted is not None:
        loss = json.loads(noted)["loss"]
    return stack.network("float64" if np.dtype(np.float64) in dtypes else "float32", loss)


def _model(onnx: Any, model: Any) -> Any:
    if isinstance(model, onnx.ModelProto):
        return model
    decode_error = require("google.protobuf.message", "onnx").DecodeError
    try:
        if isinstance(model, (str, os.PathLike)):
            return onnx.load(os.fsdecode(model))
        if isinstance(model, (bytes, bytearray, memoryview)):
            return onnx.load_from_string(bytes(model))
    except decode_error as error:
        what = "this" if not isinstance(model, (str, os.PathLike)) else repr(os.fsdecode(model))
        raise ValueError(f"{what} is no ONNX model: {error}") from error
    raise TypeError(
        f"model must be an onnx.ModelProto, a path or bytes, got {type(model).__name__}"
    )


def _chosen(graph: Any, values: dict[str, Value], output: str | None) -> Stack:
    names = [entry.name for entry in graph.output]
    if output is not None:
        if output not in names:
            raise ValueError(f"output must be one of {', '.join(names)}, got {output!r}")
        names = [output]
    found = [value for name in names if isinstance(value := values[name], Stack)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"the model has several outputs: say which of {', '.join(names)} to take")
    value = values[names[0]]
    reason = value.reason if isinstance(value, Refusal) else "does not depend on the input"
    raise ValueError(f"output {names[0]} is no multilayer perceptron's: {reason}")


def _run(onnx: Any, graph: Any) -> tuple[dict[str, Value], set[np.dtype[Any]]]:
    """Return the value of every name, and the dtypes of the weights."""
    values: dict[str, Value] = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in values]
    if len(inputs) != 1:
        raise ValueError(f"the model must have one input, got {[entry.name for entry in inputs]}")
    values[inputs[0].name] = Stack(_width(inputs[0], graph, values))
    dtypes: set[np.dtype[Any]] = set()
    for node in graph.node:
        operands = [values[name] for name in node.input if name]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        try:
            result = _apply(onnx, node, operands, attributes)
        except ValueError as error:
            name = repr(node.name or node.output[0])
            result = Refusal(f"node {name} ({node.op_type}) {error}")
        if node.op_type in ("Gemm", "MatMul"):
            dtypes.update(value.dtype for value in operands if isinstance(value, np.ndarray))
        values.update(dict.fromkeys(node.output, Refusal(f"{node.op_type} has several outputs")))
        values[node.output[0]] = result
    return values, dtypes


def _width(entry: Any, graph: Any, values: dict[str, Value]) -> int:
    """Return the number of inputs: stated, or else that of the first layer's weights."""
    shape = entry.type.tensor_type.shape.dim
    if len(shape) == 2 and shape[1].dim_value > 0:
        return int(shape[1].dim_value)
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul"):
            w = values.get(node.input[1])
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            if isinstance(w, np.ndarray) and w.ndim == 2:
                return int(w.shape[1 if transposed else 0])
    raise ValueError(f"the shape of input {entry.name!r} must be (batch, a known number)")


def _apply(onnx: Any, node: Any, operands: list[Value], attributes: dict[str, Any]) -> Value:
    """Return the first output of `node`; ValueError, completing "node …", if it is none of ours."""
    kind = node.op_type
    for operand in operands:
        if isinstance(operand, Refusal):
            return operand
    if all(isinstance(operand, np.ndarray) for operand in operands):
        try:
            feeds = dict(zip(filter(None, node.input), operands, strict=True))
            evaluator = require("onnx.reference", "onnx").ReferenceEvaluator(node)
            return np.asarray(evaluator.run(None, feeds)[0])
        except Exception as error:
            raise ValueError(f"cannot be evaluated: {error}") from error
    if kind in ACTIVATIONS and isinstance(operands[0], Stack):
        for name, (default, allowed) in ATTRIBUTES.get(kind, {}).items():
            value = attributes.get(name, default)
            close = [isinstance(a, float) and abs(value - a) <= 1e-6 * a for a in allowed]
            if value not in allowed and not any(close):
                raise ValueError(f"has {name} {value!r}, expected {allowed[-1]!r}")
        return operands[0].activation(ACTIVATIONS[kind])
    rule = RULES.get(kind)
    if rule is None:
        raise ValueError("is not understood")
    return rule(operands, attributes)


def _matmul(operands: list[Value], attributes: dict[str, Any]) -> Stack:
    x, w = operands
    if not isinstance(x, Stack) or not isinstance(w, np.ndarray):
        raise ValueError("does not multiply rows by constant weights")
    return x.linear(w.T)


def _gemm(operands: list[Value], attributes: dict[str, Any]) -> Stack:
    x, w, *rest = operands
    constant = all(isinstance(value, np.ndarray) for value in (w, *rest))
    if not isinstance(x, Stack) or not constant or attributes.get("transA", 0):
        raise ValueError("does not multiply rows by constant weights")
    w = np.asarray(w, np.float64) * attributes.get("alpha", 1.0)
    w = w if attributes.get("transB", 0) else w.T
    b = np.asarray(rest[0], np.float64) * attributes.get("beta", 1.0) if rest else None
    return x.linear(w, None if b is None else _row(b, len(w)))


def _row(value: NDArray[Any], width: int) -> NDArray[Any]:
    """Return a constant that is the same for every row, as one of them."""
    if value.size != 1 and value.shape != (1,) * (value.ndim - 1) + (width,):
        raise ValueError(f"has a constant of shape {value.shape} for rows of {width}")
    return value.reshape(-1)


def _add(operands: list[Value], attributes: dict[str, Any]) -> Stack:
    x, constant = _with_constant(operands)
    return x.affine(shift=constant)


def _sub(operands: list[Value], attributes: dict[str, Any]) -> Stack:
    x, constant = _with_constant(operands)
    if x is operands[0]:
        return x.affine(shift=-constant)
    return x.affine(-1.0, constant)


def _mul(operands: list[Value], attributes: dict[str, Any]) -> Stack:
    first, second = operands
    if isinstance(first, Stack) and isinstance(second, Stack):
        return patterns.product(first, second)
    x, constant = _with_constant(operands)
    return patterns.halved(x) if (constant == 0.5).all() else x.affine(constant)


def _div(operands: list[Value], attributes: dict[str, Any]) -> Stack:
    x, constant = _with_constant(operands)
    if x is not operands[0] or not constant.all():
        raise ValueError("does not divide rows by constants other than 0")
    return x.affine(1 / constant)


def _with_constant(operands: list[Value]) -> tuple[Stack, NDArray[np.float64]]:
    """Return the stack and the constant, whichever comes first."""
    x, constant = operands if isinstance(operands[0], Stack) else operands[::-1]
    if not isinstance(x, Stack) or not isinstance(constant, np.ndarray):
        raise ValueError("does not combine rows with a constant")
    return x, _row(constant.astype(np.float64), x.width)


def _batch_norm(operands: list[Value], attributes: dict[str, Any]) -> Stack:
    x, *constants = operands
    if not isinstance(x, Stack) or attributes.get("training_mode", 0):
        raise ValueError("does not normalise rows by constants")
    scale, shift, mean, variance = (np.asarray(value, np.float64) for value in constants)
    scale = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    return x.affine(scale, shift - mean * scale)


def _scaler(operands: list[Value], attributes: dict[str, Any]) -> Stack:
    """(x - offset) · scale, of the domain ai.onnx.ml."""
    (x,) = operands
    scale = np.asarray(attributes.get("scale", [1.0]), np.float64)
    offset = np.asarray(attributes.get("offset", [0.0]), np.float64)
    assert isinstance(x, Stack)
    return x.affine(scale, -offset * scale)


def _same(operands: list[Value], attributes: dict[str, Any]) -> Value:
    return operands[0]


def _cast(operands: list[Value], attributes: dict[str, Any]) -> Value:
    if attributes["to"] not in (1, 10, 11, 16):  # FLOAT, FLOAT16, DOUBLE, BFLOAT16
        raise ValueError("casts to a type that is no float's")
    return operands[0]


def _flatten(operands: list[Value], attributes: dict[str, Any]) -> Value:
    if attributes.get("axis", 1) not in (1, -1):
        raise ValueError("does not keep rows as they are")
    return operands[0]


def _reshape(operands: list[Value], attributes: dict[str, Any]) -> Value:
    x, shape = operands
    if not isinstance(x, Stack) or not isinstance(shape, np.ndarray):
        raise ValueError("does not keep rows as they are")
    if len(shape) != 2 or (shape[1] != x.width and (shape[0], shape[1]) != (0, -1)):
        raise ValueError(f"to {shape.tolist()} does not keep rows of {x.width} as they are")
    return x


RULES: dict[str, Callable[[list[Value], dict[str, Any]], Value]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Add": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "BatchNormalization": _batch_norm,
    "Scaler": _scaler,
    "Cast": _cast,
    "Identity": _same,
    "Dropout": _same,
    "ZipMap": _same,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Greater": patterns.greater,
    "Where": patterns.where,
    "Concat": patterns.concatenated,
}
