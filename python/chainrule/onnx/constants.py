"""Constants of a graph: tensors as arrays, and the nodes that compute with them alone.

Nothing is allocated before its size is known and within the budget: a model of a few bytes can
ask for any size (ConstantOfShape, Expand, Tile, Range), or for the same work any number of times.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Opsets = Sequence[Any]  # of OperatorSetIdProto
    Size = Callable[[Sequence[Any], Mapping[str, Any]], int]

#: Types of numbers that stand for reals.
FLOATS = ("float16", "bfloat16", "float32", "float64")

# Elements that may be made: so many times those that the model holds, and so many more.
TIMES, MORE = 8, 2**20

# Where a TensorProto may have its numbers, beside raw_data.
DATA = "float_data int32_data int64_data double_data uint64_data string_data".split()

# Numbers that exporters write in the precision of the model, but stand for themselves (GELU).
ROOTS = (math.sqrt(2), math.sqrt(0.5))


class Budget:
    """How many elements may still be made for a model that holds `n_elements`."""

    def __init__(self, n_elements: int) -> None:
        self.limit = TIMES * n_elements + MORE
        self.left = self.limit

    def charge(self, n: int) -> None:
        """Count n elements more; ValueError, completing "node …", beyond the limit."""
        if n > self.left:
            raise ValueError(
                f"would make arrays of {n} elements more, beyond the {self.limit} that a model of "
                "this size may take in all: compute its constants before the export"
            )
        self.left -= n


def array_of(onnx: Any, tensor: Any) -> Array:
    """Return the numbers of a TensorProto; ValueError, completing "tensor …", if there are none."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError("has its data in another file")
    # Eight elements of the smaller types may share a byte or a number.
    given = len(tensor.raw_data) + sum(len(getattr(tensor, field)) for field in DATA)
    if any(n < 0 for n in tensor.dims) or math.prod(tensor.dims) > 8 * given:
        raise ValueError(f"has the shape {tuple(tensor.dims)}, but not as many numbers")
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # whatever NumPy, or the helper of a type, says
        raise ValueError(f"cannot be read: {type(error).__name__}: {error}") from error
    if array.dtype.hasobject or array.dtype.kind in "SU":
        raise ValueError("holds text, not numbers")
    return array


def exact(value: Array) -> Array:
    """Return a constant in float64 if it is real, with √2 and √½ in place of their roundings."""
    if value.dtype.name not in FLOATS:
        return value
    if value.size == 1 and value.dtype != np.float64:
        for root in ROOTS:
            if value.reshape(-1)[0] == np.asarray(root).astype(value.dtype):
                return np.full(value.shape, root)
    return value.astype(np.float64)


def fold(
    onnx: Any, node: Any, operands: Sequence[Array | None], opsets: Opsets, budget: Budget
) -> Array:
    """Return the first output of a node whose inputs are all constants."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Constant":
        return _constant(onnx, attributes)
    size = SIZES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if size is None:
        raise ValueError("is not understood, not even of constants")
    given = [a.size for a in operands if a is not None]
    try:
        made = size(operands, attributes)
    except (TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"does not fit its constants: {error}") from error
    budget.charge(max(made, *given, 1))
    return evaluator(onnx, node, opsets)(*operands)


def _constant(onnx: Any, attributes: Mapping[str, Any]) -> Array:
    for name, value in attributes.items():
        if name == "value":
            return array_of(onnx, value)
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
    raise ValueError(f"holds no numbers but {', '.join(attributes) or 'nothing'}")


def evaluator(onnx: Any, node: Any, opsets: Opsets) -> Callable[..., Array]:
    """Return a node as a function of arrays, computed by ONNX's reference implementation."""
    names = list(dict.fromkeys(name for name in node.input if name))
    outputs = [node.output[0]]
    try:
        # As a function, which says of which opsets the node is.
        function = onnx.helper.make_function("chainrule", "node", names, outputs, [node], opsets)
        reference = require("onnx.reference", "onnx").ReferenceEvaluator(function)
    except Exception as error:  # whatever the package raises
        raise ValueError(f"cannot be evaluated: {type(error).__name__}: {error}") from error

    def run(*operands: Array | None) -> Array:
        feeds = {name: a for name, a in zip(node.input, operands, strict=True) if name}
        try:
            return np.asarray(reference.run(None, feeds, attributes={})[0])
        except Exception as error:  # whatever NumPy, or the implementation of an operator, raises
            raise ValueError(f"cannot be evaluated: {type(error).__name__}: {error}") from error

    return run


def _broadcast(operands: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    return math.prod(np.broadcast_shapes(*(a.shape for a in operands if a is not None)))


def _none(operands: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    """Of what gives a part or another view of its inputs, which are counted in any case."""
    return 0


def _sum(operands: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    return sum(a.size for a in operands)


def _shape(operands: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    return math.prod(int(n) for n in operands[0].reshape(-1))


def _expand(operands: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    shape = tuple(int(n) for n in operands[1].reshape(-1))
    # NumPy would refuse lengths beyond its own limits by other errors.
    return math.prod(max(n, 1) for n in (*shape, *operands[0].shape))


def _tile(operands: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    return int(operands[0].size) * math.prod(int(n) for n in operands[1].reshape(-1))


def _range(operands: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    start, limit, delta = (float(a.reshape(())) for a in operands)
    count = (limit - start) / delta if delta else math.inf
    return max(0, math.ceil(count)) if math.isfinite(count) else 2**63


def _gather(operands: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    x, indices = operands
    return int(x.size // max(x.shape[attributes.get("axis", 0)], 1) * indices.size)


def _product(operands: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    first, second = operands[:2]
    inner = first.shape[0 if attributes.get("transA", 0) else -1] or 1
    return int(first.size // inner * (second.size // inner))


# What is computed with constants alone, and the elements it makes.
SIZES: dict[str, Size] = {
    **dict.fromkeys(
        "Constant Identity Cast CastLike Reshape Flatten Squeeze Unsqueeze Transpose Slice Shape "
        "Size Neg Abs Sqrt Exp Log Reciprocal Floor Ceil Round Sign Not Sigmoid Tanh Relu "
        "LeakyRelu Elu Selu Softplus Softmax Clip ReduceSum ReduceMean ReduceProd ReduceMax "
        "ReduceMin ReduceL2 ArgMax".split(),
        _none,
    ),
    **dict.fromkeys(
        "Add Sub Mul Div Pow Mod Min Max Sum Mean Where Equal Greater GreaterOrEqual Less "
        "LessOrEqual And Or DequantizeLinear".split(),
        _broadcast,
    ),
    "Concat": _sum,
    "ConstantOfShape": _shape,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
    "Gather": _gather,
    "MatMul": _product,
    "Gemm": _product,
}
