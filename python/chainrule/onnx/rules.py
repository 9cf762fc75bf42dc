"""What the operators of ONNX do to rows: one rule for each that a perceptron can have.

A rule takes the node's operands (None where an optional input is absent) and its attributes, whose
presence and types the checker of the package onnx has seen to, and returns what the node's first
output is. It raises ValueError, completing "node …", if that is nothing of a perceptron.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.activations import ACTIVATIONS
from chainrule.onnx import patterns
from chainrule.onnx.constants import FLOATS
from chainrule.onnx.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Attributes = Mapping[str, Any]
    Rule = Callable[[Sequence[Any], Attributes], Any]

# The activations of one operator, whose attributes have our values unless the node says otherwise.
OPERATORS = {
    row.onnx[0].operator: name
    for name, row in ACTIVATIONS.items()
    if len(row.onnx) == 1 and name != "softmax"
} | {"Erf": patterns.ERF}
ATTRIBUTES = {
    row.onnx[0].operator: row.onnx[0].attributes for row in ACTIVATIONS.values() if row.onnx
}
# The types of TensorProto that a Cast may lead to.
CASTS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
# Rules that copy the matrix of the layer that is open.
COPYING = ("MatMul", "Gemm", "Mul", "Div", "Sub", "BatchNormalization", "Scaler", "Concat")


def _activation(kind: str) -> Rule:
    def rule(operands: Sequence[Any], attributes: Attributes) -> Rows:
        x = _rows(operands[0])
        for name, ours in ATTRIBUTES.get(kind, {}).items():
            value = attributes.get(name, ours)
            value = value.decode() if isinstance(value, bytes) else value
            # An attribute is a float32.
            if value != ours and not (isinstance(value, float) and np.float32(ours) == value):
                raise ValueError(f"has {name} {value!r}, expected {ours!r}")
        return x.holding(x.stack.activation(OPERATORS[kind]))

    return rule


def _softmax(operands: Sequence[Any], attributes: Attributes) -> Rows:
    """Softmax over the elements of each row.

    Before opset 13 it went over all axes from `axis` on; over the last one both mean the same.
    """
    x, axis = _rows(operands[0]), attributes["axis"]
    if not x.axis_of_row(axis):
        raise ValueError(f"has axis {axis}, which is not all of a row in the shape {x.shape}")
    return x.holding(x.stack.activation("softmax"))


def _rows(value: Any) -> Rows:
    if not isinstance(value, Rows):
        raise ValueError("does not take rows of the input")
    return value


def _of_type(kinds: Sequence[str], *values: Any) -> bool:
    return all(isinstance(v, np.ndarray) and v.dtype.name in kinds for v in values)


def _matmul(operands: Sequence[Any], attributes: Attributes) -> Rows:
    x, w = operands
    if not isinstance(x, Rows) or not _of_type([x.kind], w):
        raise ValueError("does not multiply rows by constant weights")
    return x.multiplied(x.stack.linear(w.T))


def _gemm(operands: Sequence[Any], attributes: Attributes) -> Rows:
    x, w, *rest = operands
    rest = [value for value in rest if value is not None]
    if not isinstance(x, Rows) or not _of_type([x.kind], w, *rest) or attributes.get("transA", 0):
        raise ValueError("does not multiply rows by constant weights")
    x = x.matrix()
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    w = w if attributes.get("transB", 0) else w.T
    if alpha != 1:
        w = w.astype(np.float64) * alpha
    b = None
    if rest and beta != 0:
        b = rest[0].astype(np.float64) * beta
        if w.ndim != 2 or b.ndim > 2 or b.shape not in ((), (1,), (1, 1), (len(w),), (1, len(w))):
            raise ValueError(f"has a constant of shape {b.shape} for rows of {len(w)}")
        b = b.reshape(-1)
    return x.multiplied(x.stack.linear(w, b))


def _add(operands: Sequence[Any], attributes: Attributes) -> Rows:
    x, constant = _with_constant(operands)
    return x.holding(x.stack.affine(shift=constant))


def _sub(operands: Sequence[Any], attributes: Attributes) -> Rows:
    x, constant = _with_constant(operands)
    if isinstance(operands[0], Rows):
        return x.holding(x.stack.affine(shift=-constant))
    return x.holding(x.stack.affine(-1.0, constant))


def _mul(operands: Sequence[Any], attributes: Attributes) -> Rows:
    first, second = operands
    if isinstance(first, Rows) and isinstance(second, Rows):
        return patterns.product(first, second)
    x, constant = _with_constant(operands, roots=True)
    if (constant == 0.5).all():
        return x.holding(patterns.halved(x.stack))
    return x.holding(x.stack.affine(constant))


def _div(operands: Sequence[Any], attributes: Attributes) -> Rows:
    x, constant = _with_constant(operands, roots=True)
    if not isinstance(operands[0], Rows) or not constant.all():
        raise ValueError("does not divide rows by constants other than 0")
    return x.holding(x.stack.affine(1 / constant))


def _with_constant(
    operands: Sequence[Any], *, roots: bool = False
) -> tuple[Rows, NDArray[np.float64]]:
    """Return the rows and the constant, whichever comes first."""
    x, constant = operands if isinstance(operands[0], Rows) else operands[::-1]
    if not isinstance(x, Rows) or not isinstance(constant, np.ndarray):
        raise ValueError("does not combine rows with a constant")
    return x.with_constant(constant, roots=roots)


def _batch_norm(operands: Sequence[Any], attributes: Attributes) -> Rows:
    x, *constants = operands
    if not isinstance(x, Rows) or attributes.get("training_mode", 0):
        raise ValueError("does not normalise rows by constants")
    # From opset 15 on the constants of halves may be wider.
    if not _of_type(FLOATS if "16" in x.kind else [x.kind], *constants):
        raise ValueError("does not normalise rows by constants")
    if x.lead is None or len(x.lead) != 1 or attributes.get("spatial", 1) != 1:
        raise ValueError(f"does not normalise the elements of rows in the shape {x.shape}")
    if any(value.shape != x.row[:1] for value in constants):
        raise ValueError(f"has other constants than {x.row[0]} for each of its four")
    scale, shift, mean, variance = (value.astype(np.float64) for value in constants)
    scale = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    times = x.width // x.row[0]
    shift = np.repeat(shift - mean * scale, times)
    return x.holding(x.stack.affine(np.repeat(scale, times), shift))


def _scaler(operands: Sequence[Any], attributes: Attributes) -> Rows:
    """(x - offset) · scale, of the domain ai.onnx.ml."""
    x = _rows(operands[0])
    scale, offset = (np.asarray(attributes.get(k, []), np.float64) for k in ("scale", "offset"))
    if x.kind not in ("float32", "float64", "int32", "int64"):
        raise ValueError(f"is not understood of {x.kind}")
    if len(x.row) != 1 or not {scale.size, offset.size} <= {1, x.width}:
        raise ValueError(f"has {offset.size} offsets and {scale.size} scales for {x.shape}")
    return replace(x.holding(x.stack.affine(scale, -offset * scale)), kind="float32")


def _same(operands: Sequence[Any], attributes: Attributes) -> Rows:
    return _rows(operands[0])


def _dropout(operands: Sequence[Any], attributes: Attributes) -> Rows:
    ratio, training = (*operands[1:], None, None)[:2]
    if ratio is not None and (not isinstance(ratio, np.ndarray) or ratio.ndim > 0):
        raise ValueError("does not have a number as its ratio")
    if training is not None and (not isinstance(training, np.ndarray) or training.any()):
        raise ValueError("drops elements: export the model in evaluation mode")
    return _rows(operands[0])


def _zip_map(operands: Sequence[Any], attributes: Attributes) -> Rows:
    return replace(_rows(operands[0]), kind="maps")


def _cast(operands: Sequence[Any], attributes: Attributes) -> Rows:
    kind = CASTS.get(attributes["to"])
    if kind is None:
        raise ValueError("casts to a type that is no float's")
    x = _rows(operands[0])
    # Whoever casts the input feeds a model of halves; in the midst, what is lost is the model's.
    s = x.stack
    is_input = not s.layers and s.matrix is s.scale is s.shift is None
    if "16" in kind and kind != x.kind and not is_input:
        raise ValueError(f"rounds {x.kind} to {kind} between layers: export it in float32 alone")
    return replace(x, kind=kind)


def _flatten(operands: Sequence[Any], attributes: Attributes) -> Rows:
    return _rows(operands[0]).flattened(attributes.get("axis", 1))


def _reshape(operands: Sequence[Any], attributes: Attributes) -> Rows:
    x, shape = operands
    if not isinstance(x, Rows) or not isinstance(shape, np.ndarray) or shape.dtype != np.int64:
        raise ValueError("does not reshape rows to a constant shape")
    return x.reshaped(shape.reshape(-1).tolist(), bool(attributes.get("allowzero", 0)))


RULES: dict[tuple[str, str], Rule] = {
    **{("", kind): _activation(kind) for kind in OPERATORS},
    ("com.microsoft", "Gelu"): _activation("Gelu"),
    ("", "Softmax"): _softmax,
    ("", "MatMul"): _matmul,
    ("", "Gemm"): _gemm,
    ("", "Add"): _add,
    ("", "Sub"): _sub,
    ("", "Mul"): _mul,
    ("", "Div"): _div,
    ("", "BatchNormalization"): _batch_norm,
    ("ai.onnx.ml", "Scaler"): _scaler,
    ("", "Cast"): _cast,
    ("", "Identity"): _same,
    ("", "Dropout"): _dropout,
    ("ai.onnx.ml", "ZipMap"): _zip_map,
    ("", "Flatten"): _flatten,
    ("", "Reshape"): _reshape,
    ("", "Greater"): patterns.greater,
    ("", "Where"): patterns.where,
    ("", "Concat"): patterns.concatenated,
}
# Operators that take rows of integers too; the others mean something else by them.
OF_INTEGERS = ("Cast", "Scaler", "Identity", "Flatten", "Reshape")
