"""A model, run beside the network that was made from it: see ``chainrule.agreement``."""

from __future__ import annotations

import math
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.agreement import Original
from chainrule.onnx.constants import FLOATS, evaluator, exact
from chainrule.onnx.patterns import Above
from chainrule.onnx.rows import Rows
from chainrule.onnx.rules import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from chainrule.onnx.interpret import Interpretation

    Array = NDArray[Any]

# Numbers in a tensor of one call, for models that fix the size of their batch.
NUMBERS = 2**24

# By so much softplus(x) may exceed x above a guard; see ``patterns.SOFTPLUS_GUARD``.
GUARDED = 2.1e-9


def _unguarded(above: Array, x: Array, softplus: Array) -> Array:
    """Return softplus where its guard gives x, if they are as near as they have to be."""
    far = np.abs(x - softplus) > GUARDED
    return np.asarray(np.where(np.logical_and(above, far), x, softplus))


# Operators that the reference implementation lacks, computes in float32 or with constants of
# float32, by a formula that overflows, or with a step that is made for rounding.
erf = np.vectorize(math.erf, otypes=[np.float64])
EXACT: dict[str, Callable[..., Array]] = {
    "Erf": erf,
    "LeakyRelu": lambda x, alpha: np.where(x > 0, x, alpha * x),
    "Selu": lambda x, alpha, gamma: gamma * np.where(x > 0, x, alpha * np.expm1(x)),
    "Softplus": lambda x: np.logaddexp(0, x),
    "Where": _unguarded,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Gelu": lambda x, approximate: x * (1 + erf(x * math.sqrt(0.5))) / 2,
}
# What leaves numbers as they are, in float64.
TRANSPARENT = ("Identity", "Cast", "Dropout", "ZipMap")


def original(interpretation: Interpretation, output: str) -> Original:
    """Return the model in float64, by ONNX's reference implementation, and by ONNX Runtime."""
    calls = _Calls(interpretation, output)
    runs = {"float64": calls.reference}
    if find_spec("onnxruntime"):
        runs["float32"] = calls.runtime
    return Original(
        source="the model",
        runs=runs,
        mend="Report it with the model; until then run the model with ONNX Runtime",
    )


class _Calls:
    """The nodes that `output` depends on, as functions of rows."""

    def __init__(self, interpretation: Interpretation, output: str) -> None:
        self.interpretation, self.output = interpretation, output
        self.graph, self.start = interpretation.graph, interpretation.start
        self.names = {*interpretation.tensors(output), output}
        values = interpretation.values
        self.nodes = [
            node
            for node in interpretation.nodes
            if isinstance(values.get(node.output[0]), (Rows, Above))
        ]

    def reference(self, rows: Array) -> Mapping[str, Array]:
        """Return tensors by name for rows of float64; constants are widened."""
        steps = [self._step(node) for node in self.nodes]
        last = {name: i for i, node in enumerate(self.nodes) for name in node.input}

        def call(x: Array) -> dict[str, Array]:
            values, found = {self.graph.input.name: x}, {}
            for i, (node, step) in enumerate(zip(self.nodes, steps, strict=True)):
                value = step(*(values.get(name) for name in node.input))
                values[node.output[0]] = value
                if node.output[0] in self.names:
                    found[node.output[0]] = value
                for name in filter(None, node.input):
                    if last[name] == i:
                        values.pop(name, None)
            return found

        return self._batched(rows, call, self.names)

    def runtime(self, rows: Array) -> Mapping[str, Array]:
        """Return the output alone, in the types of the model."""
        ort = import_module("onnxruntime")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(
            self._needed().SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # which prints
        )
        element = self.graph.input.type.tensor_type.elem_type
        dtype = self.graph.onnx.helper.tensor_dtype_to_np_dtype(element)

        def call(x: Array) -> dict[str, Array]:
            feeds = {self.graph.input.name: x.astype(dtype)}
            return {self.output: session.run([self.output], feeds)[0]}

        return self._batched(rows, call, [self.output])

    def _needed(self) -> Any:
        """Return the model without what the output does not depend on."""
        helper, whole = self.graph.onnx.helper, self.graph.model
        nodes = self.interpretation.nodes
        taken = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "needed",
            [self.graph.input],
            [entry for entry in whole.graph.output if entry.name == self.output][:1],
            [tensor for tensor in whole.graph.initializer if tensor.name in taken],
        )
        opsets = whole.opset_import
        return helper.make_model(graph, opset_imports=opsets, ir_version=whole.ir_version)

    def _batched(
        self, rows: Array, call: Callable[[Array], dict[str, Array]], names: Iterable[str]
    ) -> dict[str, Array]:
        """Call with the batches that the model's input has room for, and join their rows."""
        lead = (len(rows),) if self.start.lead is None else self.start.lead
        named = [n for n in lead if isinstance(n, str)]
        # One axis takes as many rows as there are; a second one without a length is of length 2.
        others = math.prod(n for n in lead if isinstance(n, int)) * 2 ** max(len(named) - 1, 0)
        first = -(-len(rows) // others)
        lengths = [n if isinstance(n, int) else first if n == named[0] else 2 for n in lead]
        size = math.prod(lengths)
        if size * self.start.width > NUMBERS:
            raise ValueError(f"a batch of the shape {tuple(lengths)} is too large")
        found: dict[str, list[Array]] = {name: [] for name in names}
        for begin in range(0, len(rows), size):
            batch = rows[begin : begin + size]
            x = np.resize(batch, (size, self.start.width))
            values = call(x.reshape(*lengths, *self.start.row))
            for name, parts in found.items():
                parts.append(values[name].reshape(size, -1)[: len(batch)])
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _step(self, node: Any) -> Callable[..., Array]:
        """Return a node as a function of the tensors that depend on the input."""
        kind = node.op_type
        if kind in TRANSPARENT:
            return lambda x, *_: x
        if kind in EXACT:
            attributes = ATTRIBUTES.get(kind, {})
            return lambda *operands: EXACT[kind](*operands, **attributes)
        opsets = self.graph.model.opset_import
        if kind == "BatchNormalization":  # the older implementations take the batch's statistics
            opsets = [self.graph.onnx.helper.make_opsetid("", 15)]
        step = evaluator(self.graph.onnx, node, opsets)
        constants = [self._constant(name, kind) for name in node.input]

        def run(*operands: Array | None) -> Array:
            pairs = zip(operands, constants, strict=True)
            return step(*(value if constant is None else constant for value, constant in pairs))

        return run

    def _constant(self, name: str, kind: str) -> Array | None:
        value = self.interpretation.values.get(name) if name else None
        if not isinstance(value, np.ndarray) or value.dtype.name not in FLOATS:
            return value if isinstance(value, np.ndarray) else None
        return exact(value) if kind in ("Mul", "Div") else value.astype(np.float64, copy=False)
