"""A graph, run once with symbols in place of numbers.

Constants stay arrays, and what depends on the input is rows of a stack of layers. A node that fits
neither becomes the reason why what it feeds cannot be had, and is told only if the chosen output
depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.onnx import rules
from chainrule.onnx.constants import FLOATS, Budget, array_of, fold
from chainrule.onnx.patterns import Above
from chainrule.onnx.rows import Rows
from chainrule.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

# Of which operators mean what the rules say. Before 7, broadcasting was an attribute.
FIRST_OPSET = 7
DOMAINS = {domain for domain, _ in rules.RULES}
# Every value has a tuple of the layers behind it; all of them together may have so many entries,
# 128 MB: a model of 4000 layers.
MOST_LINKS = 2**24


@dataclass(frozen=True)
class Refusal:
    """What a node gave that is no part of a multilayer perceptron."""

    reason: str


Value = np.ndarray | Rows | Above | Refusal


class Graph:
    """What a model computes, checked as far as every output depends on it.

    Attributes
    ----------
    onnx : module
    model : onnx.ModelProto
    opsets : dict of str to int
        By domain.
    functions : set of (str, str)
        Domains and names of the operators that the model defines itself.
    constants : dict of str to (ndarray or Refusal)
        By name, what the model's tensors hold.
    input : onnx.ValueInfoProto
    outputs : list of str
    """

    def __init__(self, onnx: Any, model: Any) -> None:
        self.onnx, self.model = onnx, model
        self.opsets = _opsets(onnx, model)
        self.functions = {(f.domain, f.name) for f in model.functions}
        self.constants = _constants(onnx, model.graph)
        inputs = [entry for entry in model.graph.input if entry.name not in self.constants]
        if len(inputs) != 1:
            names = [entry.name for entry in inputs]
            raise ValueError(f"the model must have one input, got {names}")
        self.input = inputs[0]
        known = {self.input.name, *self.constants}
        for node in model.graph.node:
            for name in filter(None, node.output):
                _check_new(name, known)
                known.add(name)
        self.outputs = [entry.name for entry in model.graph.output]
        if not self.outputs:
            raise ValueError("the model has no output")
        for i, name in enumerate(self.outputs):
            _check_new(name, self.outputs[:i])

    @property
    def n_elements(self) -> int:
        """How many numbers the model holds: in tensors, and in attributes, eight bytes each."""
        tensors = sum(a.size for a in self.constants.values() if isinstance(a, np.ndarray))
        attributes = (a for node in self.model.graph.node for a in node.attribute)
        return tensors + sum(int(a.ByteSize()) for a in attributes) // 8

    def needed(self, outputs: Iterable[str]) -> list[Any]:
        """Return the nodes that these outputs depend on, in order."""
        wanted, found = set(outputs), []
        for node in reversed(self.model.graph.node):
            if not wanted.isdisjoint(filter(None, node.output)):
                wanted.update(node.input)
                found.append(node)
        return found[::-1]


class Interpretation:
    """What the tensors of a graph are, if its input is these rows.

    Attributes
    ----------
    graph : Graph
    start : Rows
        What the input is.
    nodes : list of onnx.NodeProto
        Those that were read, in order.
    values : dict of str to Value
        By name, what the tensors are.
    """

    def __init__(self, graph: Graph, start: Rows, nodes: list[Any]) -> None:
        self.graph, self.start, self.nodes = graph, start, nodes
        self.values: dict[str, Value] = {**graph.constants, graph.input.name: start}
        self._budget, self._n_links = Budget(graph.n_elements), 0
        self._context = _context(graph)
        for node in nodes:
            try:
                result = self._result(node)
            except ValueError as error:
                name = repr(node.name or node.output[0])
                result = Refusal(f"node {name} ({node.op_type}) {error}")
            several = Refusal(f"it is not the first output of a {node.op_type}")
            self.values.update(dict.fromkeys(filter(None, node.output), several))
            if node.output[0]:
                self.values[node.output[0]] = result

    def refused_or_rows(self, name: str) -> Rows | str:
        """Return what an output is, or the reason why it is no perceptron's."""
        value = self.values.get(name)
        if isinstance(value, Refusal):
            return value.reason
        if value is None:
            return "no node computes it"
        if isinstance(value, Above):
            return "it compares rows with a number"
        return value if isinstance(value, Rows) else "does not depend on the input"

    def _result(self, node: Any) -> Any:
        """Return the first output of `node`; ValueError, completing "node …", if it is not ours."""
        missing = [name for name in node.input if name and name not in self.values]
        if missing:
            raise ValueError(f"takes {missing[0]!r}, which nothing before it computes")
        operands: list[Any] = [self.values[name] if name else None for name in node.input]
        for operand in operands:
            if isinstance(operand, Refusal):
                return operand
        self._check(node)
        if not any(isinstance(operand, (Rows, Above)) for operand in operands):
            opsets = self.graph.model.opset_import
            return fold(self.graph.onnx, node, operands, opsets, self._budget)
        return self._of_rows(node, operands)

    def _check(self, node: Any) -> None:
        """See to the presence and types of what the operator needs, and to whose operator it is."""
        if (node.domain, node.op_type) in self.graph.functions:
            raise ValueError(
                "is a function: apply onnx.inliner.inline_local_functions to the model"
            )
        if node.domain not in {*DOMAINS, "ai.onnx"}:
            raise ValueError(f"is not understood: it is of the domain {node.domain!r}")
        checker = self.graph.onnx.checker
        try:
            checker.check_node(node, self._context)
        except checker.ValidationError as error:
            raise ValueError(f"is no valid node: {str(error).splitlines()[0]}") from error
        if len([*filter(None, node.output)]) > 1 and node.op_type != "Dropout":
            raise ValueError("has several outputs, of which no rule knows")

    def _of_rows(self, node: Any, operands: list[Any]) -> Value:
        """Return what a rule makes of rows."""
        kind = node.op_type
        domain = "" if node.domain == "ai.onnx" else node.domain
        rule = rules.RULES.get((domain, kind))
        unchecked = domain == "com.microsoft" and (len(operands) != 1 or len(node.attribute) > 0)
        if rule is None or unchecked:
            raise ValueError("is not understood")
        for operand in operands:
            other = isinstance(operand, Rows) and operand.kind not in FLOATS
            if other and (kind not in rules.OF_INTEGERS or operand.kind == "maps"):
                raise ValueError(f"is not understood of {operand.kind}")
        self._charge(kind, operands)
        helper = self.graph.onnx.helper
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if kind == "Softmax":
            attributes.setdefault("axis", -1 if self.graph.opsets[""] >= 13 else 1)
        result: Value = rule(operands, attributes)
        return result

    def _charge(self, kind: str, operands: list[Any]) -> None:
        """Count what a rule copies: vectors, tuples of layers, and some the matrices too."""
        n = 0
        for operand in operands:
            if isinstance(operand, Rows):
                n += operand.width
                self._n_links += len(operand.stack.layers)
                if self._n_links > MOST_LINKS:
                    depth = len(operand.stack.layers)
                    raise ValueError(
                        f"is behind {depth} layers: the model is deeper, or has more branches, "
                        "than from_onnx reads; run it with ONNX Runtime"
                    )
            if kind in rules.COPYING and isinstance(operand, np.ndarray):
                n += operand.size
            elif kind in rules.COPYING and isinstance(operand, Rows):
                n += _open_size(operand.stack)
        self._budget.charge(n)

    def tensors(self, output: str) -> dict[str, Stack]:
        """Return what can be compared: the scaled input, what closes a layer, and the output."""
        scaled, closed = {}, {}
        for node in self.nodes:
            value = self.values.get(node.output[0])
            if not isinstance(value, Rows) or value.kind not in FLOATS:
                continue
            if not value.stack.layers and value.stack.matrix is None:
                scaled = {node.output[0]: value.stack}
            elif value.stack.closed:
                closed[node.output[0]] = value.stack
        rows = self.values[output]
        assert isinstance(rows, Rows)
        closed.pop(output, None)
        return {**scaled, **closed, output: rows.stack}


def starts(graph: Graph, nodes: list[Any]) -> Iterator[Rows]:
    """Yield what the input may be: a row is all but the first axis, or the last axis."""
    entry = graph.input
    if entry.type.WhichOneof("value") != "tensor_type":
        raise ValueError(f"input {entry.name!r} is no tensor")
    try:
        dtype = graph.onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    except (KeyError, TypeError) as error:
        raise ValueError(f"input {entry.name!r} has elements of no known type") from error
    name = dtype.name
    if dtype.kind not in "iub" and name not in FLOATS:
        raise ValueError(f"input {entry.name!r} holds no real numbers but {name}")
    if not entry.type.tensor_type.HasField("shape"):
        width = _width(entry, graph, nodes)
        yield Rows(Stack(width), None, (width,), name)
        return
    lengths = [d.dim_value if d.dim_value > 0 else None for d in entry.type.tensor_type.shape.dim]
    if not lengths:
        raise ValueError(f"input {entry.name!r} is a number, and must be rows of numbers")
    lead = tuple(n or f"axis {i}" for i, n in enumerate(lengths))
    splits = dict.fromkeys((min(1, len(lengths) - 1), len(lengths) - 1))
    for split in splits:
        row = _row(entry, graph, nodes, lengths[split:])
        if row is not None:
            yield Rows(Stack(int(np.prod(row, dtype=object))), lead[:split], row, name)


def _row(
    entry: Any, graph: Graph, nodes: list[Any], lengths: list[int | None]
) -> tuple[int, ...] | None:
    """Return the lengths of a row's axes; one that is not stated follows from the weights."""
    if None not in lengths:
        return tuple(n for n in lengths if n is not None)
    known = int(np.prod([n for n in lengths if n is not None], dtype=object))
    width = _width(entry, graph, nodes)
    if lengths.count(None) > 1 or width % known:
        return None
    return tuple(n or width // known for n in lengths)


def _width(entry: Any, graph: Graph, nodes: list[Any]) -> int:
    """Return the number of inputs of the first layer's weights, for an input that has none."""
    for node in nodes:
        if node.op_type in ("Gemm", "MatMul") and len(node.input) > 1:
            w = graph.constants.get(node.input[1])
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            if isinstance(w, np.ndarray) and w.ndim == 2 and w.size:
                return int(w.shape[1 if transposed else 0])
    raise ValueError(f"the shape of input {entry.name!r} must be (batch, a known number)")


def _open_size(stack: Stack) -> int:
    """Return how many weights the layer has that is open, or was closed last."""
    if stack.matrix is not None:
        return stack.matrix.size
    return stack.layers[-1].w.size if stack.layers else 0


def _constants(onnx: Any, graph: Any) -> dict[str, np.ndarray | Refusal]:
    """Return the tensors of a graph by name, as arrays or as the reasons why they are none."""
    found: dict[str, np.ndarray | Refusal] = {}
    for tensor in graph.initializer:
        _check_new(tensor.name, found)
        try:
            found[tensor.name] = array_of(onnx, tensor)
        except ValueError as error:
            found[tensor.name] = Refusal(f"tensor {tensor.name!r} {error}")
    for sparse in graph.sparse_initializer:
        _check_new(sparse.values.name, found)
        found[sparse.values.name] = Refusal(f"tensor {sparse.values.name!r} is sparse")
    return found


def _check_new(name: str, known: Container[str]) -> None:
    if name in known:
        raise ValueError(f"the model is damaged: two tensors of it have the name {name!r}")


def _opsets(onnx: Any, model: Any) -> dict[str, int]:
    opsets: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if domain not in DOMAINS:
            continue
        if opsets.setdefault(domain, entry.version) != entry.version:
            raise ValueError(f"the model states two opsets of the domain {domain!r}")
        if not 0 < entry.version < 2**31:
            raise ValueError(f"the model states the opset {entry.version} of {domain!r}")
    if not 0 < model.ir_version < 2**31:
        raise ValueError(f"the model states the IR version {model.ir_version}")
    last = onnx.defs.onnx_opset_version()
    found = opsets.get("")
    if found is None:
        raise ValueError("the model does not state its opset: set opset_import")
    if found < FIRST_OPSET:
        raise ValueError(
            f"the model is of opset {found}, and from_onnx reads {FIRST_OPSET} to {last}: apply "
            f"onnx.version_converter.convert_version(model, {last})"
        )
    if found > last:
        raise ValueError(
            f"the model is of opset {found}, and the package onnx that is installed knows none "
            f"beyond {last}: pip install -U onnx"
        )
    return opsets


def _context(graph: Graph) -> Any:
    context = type(graph.onnx.checker.DEFAULT_CONTEXT)()
    context.ir_version = graph.model.ir_version
    context.opset_imports = graph.opsets
    return context
