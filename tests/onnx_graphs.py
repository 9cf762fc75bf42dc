"""Random ONNX graphs, good and bad, and the answers of other implementations to them.

A graph starts at rows of two or three axes, with or without stated lengths, and goes on with
operators in any order: most as a perceptron has them, the others with any axis, shape or operand.
"""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

OPSETS = (11, 13, 17, 20)
WIDTHS = (1, 2, 3, 4, 5)
UNARY = ("Sigmoid", "Tanh", "Relu", "Elu", "Selu", "Softplus", "Identity", "LeakyRelu")
# The weights of the steps that `Drawn` can take.
STEPS = {
    "layer": 12,
    "unary": 8,
    "elementwise": 6,
    "softmax": 3,
    "reshape": 2,
    "flatten": 2,
    "gelu": 1,
    "silu": 1,
    "guarded_softplus": 1,
    "two_classes": 1,
    "batch_norm": 2,
    "two_tensors": 1,
    "bent_matmul": 0.5,
    "other": 2,
}
# Those that a perceptron takes behind weights alone.
ACTIVATIONS = ("unary", "softmax", "gelu", "silu", "guarded_softplus")


class Drawn:
    """A graph that is drawn step by step; `model` is the result."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = int(self.pick(OPSETS))
        self.dtype = np.dtype(self.pick(["float64", "float64", "float32"]))
        self.element = helper.np_dtype_to_tensor_dtype(self.dtype)
        self.nodes, self.tensors, self.names = [], [], ["x"]
        self.open = False  # whether weights came after the last activation
        self.width, shape, self.lengths = self._input()
        self.rank = len(self.lengths)
        steps = list(STEPS)
        chances = np.array([STEPS[step] for step in steps], float)
        for _ in range(int(self.rng.integers(1, 7))):
            step = steps[self.rng.choice(len(steps), p=chances / chances.sum())]
            if step in ACTIVATIONS and not self.open and self.rng.random() < 0.85:
                self.layer(self.source())
            getattr(self, step)(self.source())
        outputs = [self.names[-1]]
        if self.rng.random() < 0.15:
            more = self.rng.choice(self.names[1:], size=min(2, len(self.names) - 1), replace=False)
            outputs = list(dict.fromkeys([*outputs, *map(str, more)]))
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            [helper.make_tensor_value_info("x", self.element, shape)],
            [helper.make_tensor_value_info(name, self.element, None) for name in outputs],
            self.tensors,
        )
        # Labels are integers: a type that is not stated is taken from the operator.
        for entry in graph.output:
            entry.ClearField("type")
        opsets = [helper.make_opsetid("", self.opset)]
        self.model = helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _input(self):
        """Return the width of the last axis, the shape stated, and that of calls."""
        width = int(self.pick(WIDTHS))
        kind = self.rng.random()
        if kind < 0.6:
            return width, ["n", width], ["n", width]
        if kind < 0.7:
            return width, [4, width], [4, width]
        if kind < 0.78:
            return width, ["n", "m", width], ["n", "m", width]
        if kind < 0.86:
            middle = int(self.pick([1, 2, width]))
            return width, ["n", middle, width], ["n", middle, width]
        if kind < 0.9:
            return width, [2, 3, width], [2, 3, width]
        if kind < 0.94:
            return width, [width], [width]
        if kind < 0.97:
            return width, ["n", "w"], ["n", "w"]
        return width, None, ["n", "w"]

    def lengths_of(self, n, m, w):
        """Return a shape that the input may have; w is for a width that is not stated."""
        return [{"n": n, "m": m, "w": w}.get(length, length) for length in self.lengths]

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def source(self):
        """Return a tensor to go on from: mostly the last one; others leave dead branches."""
        return self.names[-1] if self.rng.random() < 0.95 else str(self.pick(self.names))

    def add(self, kind, inputs, **attributes):
        name = f"t{len(self.names)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [name], name=f"{kind}_{name}", **attributes)
        )
        self.names.append(name)
        return name

    def constant(self, value):
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def numbers(self, *shape):
        return self.constant(self.rng.standard_normal(shape).astype(self.dtype))

    # Steps

    def layer(self, x):
        self.open = True
        width = self.width if self.rng.random() < 0.98 else int(self.pick(WIDTHS))
        after = int(self.pick(WIDTHS))
        if self.rng.random() < (0.5 if self.rank == 2 else 0.1):
            transposed = int(self.rng.integers(2))
            w = self.numbers(*((after, width) if transposed else (width, after)))
            shapes = [(after,)] * 6 + [(1, after), (1,), (), (after, 1), (4, after)]
            inputs = [
                x,
                w,
                *([self.numbers(*self.pick(shapes))] if self.rng.random() < 0.8 else []),
            ]
            more = {"alpha": 0.5, "beta": float(self.pick([2.0, 0.0]))}
            more = more if self.rng.random() < 0.2 else {}
            if self.rng.random() < 0.03:
                more["transA"] = 1
            x = self.add("Gemm", inputs, transB=transposed, **more)
        else:
            x = self.add("MatMul", [x, self.numbers(width, after)])
            if self.rng.random() < 0.7:
                x = self.add("Add", [x, self.numbers(after)][:: self.pick([1, -1])])
        self.width = after
        if self.rng.random() < 0.6:
            self.unary(x)

    def unary(self, x):
        kind = self.pick(UNARY)
        self.open &= kind == "Identity"
        slope = {"alpha": float(self.pick([0.01] * 6 + [0.2]))} if kind == "LeakyRelu" else {}
        self.add(kind, [x], **slope)

    def elementwise(self, x):
        shapes = [(), (1,), (self.width,), (1, self.width), (1, 1, self.width), (self.width, 1)]
        shapes += [(4, 1), (4, self.width), (1, 1, 1), (3,)]
        chances = np.array([6, 3, 6, 3, 2, 1, 0.5, 0.5, 1, 0.5])
        shape = shapes[self.rng.choice(len(shapes), p=chances / chances.sum())]
        value = self.pick([0.5, -1.0, 2.0, np.sqrt(2), None, None, None])
        value = self.rng.standard_normal(shape) if value is None else np.full(shape, value)
        constant = self.constant(value.astype(self.dtype))
        kind = self.pick(["Add", "Sub", "Mul", "Div"])
        self.add(kind, [x, constant][:: self.pick([1] * (9 if kind == "Div" else 2) + [-1])])

    def softmax(self, x):
        axis = self.pick([None, None, -1, -1, 1, 1, 0, 2, -2])
        self.open = False
        kind = self.pick(["Softmax"] * 9 + ["LogSoftmax"])
        self.add(kind, [x], **({} if axis is None else {"axis": axis}))

    def reshape(self, x):
        w = self.width
        shapes = [
            (-1, w),
            (0, -1),
            (-1, 1, w),
            (1, -1, w),
            (4, w),
            (4, -1),
            (w, -1),
            (-1,),
            (-1, 2),
        ]
        shapes += [(0, 0, -1), (0, w), (-1, w, 1), (2, -1, w), (0, 1, w)]
        shape = self.pick(shapes)
        self.rank = len(shape)
        self.add("Reshape", [x, self.constant(np.array(shape, np.int64))])

    def flatten(self, x):
        self.rank = 2
        self.add("Flatten", [x], **self.pick([{}, {}, {"axis": -1}, {"axis": 0}, {"axis": 2}]))

    def gelu(self, x):
        self.open = False
        root = self.constant(np.asarray(self.pick([np.sqrt(2)] * 4 + [1.4]), self.dtype))
        one, half = (
            self.constant(np.asarray(v, self.dtype)) for v in (1, self.pick([0.5] * 4 + [2]))
        )
        e = self.add("Erf", [self.add("Div", [x, root])])
        if self.rng.random() < 0.5:
            self.add("Mul", [self.add("Mul", [x, self.add("Add", [e, one])]), half])
        else:
            self.add("Mul", [self.add("Mul", [x, half]), self.add("Add", [one, e])])

    def silu(self, x):
        self.open = False
        inner = self.add("Mul", [x, self.constant(np.asarray(1.702, self.dtype))])
        s = self.add("Sigmoid", [self.pick([x] * 4 + [inner])])
        self.add("Mul", [x, s][:: self.pick([1, -1])])

    def guarded_softplus(self, x):
        self.open = False
        threshold = self.constant(np.asarray(self.pick([20, 20, 1]), self.dtype))
        condition = self.add("Greater", [x, threshold])
        self.add("Where", [condition, self.pick([x, x, "x"]), self.add("Softplus", [x])])

    def two_classes(self, x):
        self.open = False
        p = self.add("Sigmoid", [self.add("MatMul", [x, self.numbers(self.width, 1)])])
        rest = self.add("Sub", [self.constant(np.ones(1, self.dtype)), p])
        self.add("Concat", [rest, p][:: self.pick([1, 1, 1, -1])], axis=int(self.pick([1, -1, 0])))
        self.width = 2
        if self.rng.random() < 0.5:
            self.add("ArgMax", [self.names[-1]], axis=1)
            self.names[-2:] = self.names[:-3:-1]  # the probabilities stay the last tensor

    def batch_norm(self, x):
        w = self.width
        parts = [self.numbers(w) for _ in range(3)]
        variance = self.constant((self.rng.random(w) + 0.5).astype(self.dtype))
        self.add("BatchNormalization", [x, *parts, variance])

    def two_tensors(self, x):
        other = str(self.pick(self.names))
        kind = self.pick(["Add", "Sub", "Mul", "Div", "MatMul", "Concat"])
        self.add(
            kind, [x, other], **({"axis": int(self.pick([1, -1]))} if kind == "Concat" else {})
        )

    def bent_matmul(self, x):
        w = self.width
        shape = self.pick([(w,), (1, w, 2), (2, w, 2), (w, w)])
        weights = self.numbers(*shape)
        self.add("MatMul", [x, weights] if self.rng.random() < 0.7 else [weights, x])

    def other(self, x):
        kind = self.pick(["Clip", "ArgMax", "Transpose", "Slice", "Squeeze", "Exp", "Sin", "Cast"])
        more = {
            "Clip": [
                self.constant(np.asarray(-1, self.dtype)),
                self.constant(np.asarray(1, self.dtype)),
            ],
            "Slice": [self.constant(np.array([n], np.int64)) for n in (0, 2, 1)],
        }.get(kind, [])
        attributes = {
            "ArgMax": {"axis": 1},
            "Transpose": {} if self.rng.random() < 0.7 else {"perm": [0, 1]},
            "Cast": {"to": int(self.pick([self.element, TensorProto.INT64]))},
        }.get(kind, {})
        self.add(kind, [x, *more], **attributes)


def needed(model, output):
    """Return the model with the nodes that `output` depends on, and that output alone."""
    wanted, nodes = {output}, []
    for node in reversed(model.graph.node):
        if wanted.intersection(filter(None, node.output)):
            wanted.update(node.input)
            nodes.append(node)
    pruned = onnx.ModelProto()
    pruned.CopyFrom(model)
    del pruned.graph.node[:], pruned.graph.output[:], pruned.graph.initializer[:]
    pruned.graph.node.extend(nodes[::-1])
    pruned.graph.initializer.extend(t for t in model.graph.initializer if t.name in wanted)
    pruned.graph.output.add().name = output
    return pruned


class BatchNormalization(OpRun):
    """Its inference in every opset: before 14, the reference takes statistics of the batch."""

    op_domain = ""

    def _run(self, x, scale, shift, mean, variance, epsilon=1e-5, **_):
        scale, shift, mean, variance = (
            v.reshape(-1, *[1] * (x.ndim - 2)) for v in (scale, shift, mean, variance)
        )
        return (((x - mean) / np.sqrt(variance + epsilon) * scale + shift).astype(x.dtype),)


def answer(model, output, x):
    """Return what ONNX's reference implementation computes; the graph's other parts do not run."""
    with np.errstate(all="ignore"):
        evaluator = ReferenceEvaluator(needed(model, output), new_ops=[BatchNormalization])
        return np.asarray(evaluator.run(None, {"x": x})[0])


def runtime_answer(model, output, x):
    """Return what ONNX Runtime computes, or None where it lacks a kernel for a type."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    pruned = needed(model, output)
    with contextlib.suppress(Exception):
        pruned = onnx.shape_inference.infer_shapes(pruned)
    try:
        session = ort.InferenceSession(
            pruned.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,
        )
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error) or "NotImplemented" in type(error).__name__:
            return None
        raise
    return session.run([output], {session.get_inputs()[0].name: x})[0]


def largest_difference(network, given, rows):
    """Return the difference from `given`, relative to its largest number, at least 1."""
    ours = network.predict(rows.astype(network.dtype))
    if given.size != ours.size:
        return np.inf
    given = given.reshape(ours.shape).astype(np.float64)
    # Damaged weights may overflow, and then by another formula in another way.
    finite = np.isfinite(given).all(axis=1)
    given, ours = given[finite], ours[finite]
    return float(np.abs(given - ours).max(initial=0) / np.abs(given).max(initial=1))
