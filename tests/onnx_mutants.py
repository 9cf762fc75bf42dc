"""Good ONNX models as exporters write them, and damaged copies of these.

Run as a program it imports mutants in an address space of limited size, and prints as JSON how
many came in, were refused, were wrong, and raised something that is not documented.
"""

from __future__ import annotations

import collections
import contextlib
import json
import resource
import sys
import warnings

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx.helper import make_node

import chainrule as cr
from chainrule.onnx import from_onnx, to_onnx
from onnx_graphs import answer, largest_difference, runtime_answer

# Beyond what the process has when the packages are loaded.
MORE_BYTES = 2**29
DOCUMENTED = (ValueError,)
KINDS = "Gemm MatMul Add Mul Div Sub Relu Tanh Softmax Reshape Flatten Concat Where If".split()
KINDS += "Loop Constant ConstantOfShape Expand Tile Range Gather Cast Clip Erf Dropout".split()


def model_of(nodes, constants, outputs, *, shape=("n", 4), opset=17, ml=False):
    graph = helper.make_graph(
        nodes,
        "good",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid("ai.onnx.ml", 1)] * ml
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def torch_model(draw):
    """Return a model as PyTorch writes it, `draw(*shape)` being its parameters."""
    return model_of(
        [
            make_node("Flatten", ["x"], ["f"], name="/flatten"),
            make_node("Constant", [], ["mean"], value=numpy_helper.from_array(draw(4))),
            make_node("Sub", ["f", "mean"], ["c"], name="/Sub"),
            make_node("Gemm", ["c", "0.weight", "0.bias"], ["h"], name="/0/Gemm", transB=1),
            make_node("BatchNormalization", ["h", "g", "s", "m", "v"], ["n"], name="/1"),
            make_node("Relu", ["n"], ["a"], name="/2/Relu"),
            make_node("Gemm", ["a", "1.weight", "1.bias"], ["z"], name="/3/Gemm", transB=1),
            make_node("Softmax", ["z"], ["y"], name="/4/Softmax", axis=-1),
        ],
        {
            "0.weight": draw(5, 4),
            "0.bias": draw(5),
            **{name: draw(5) for name in "gsm"},
            "v": np.abs(draw(5)) + 1,
            "1.weight": draw(3, 5),
            "1.bias": draw(3),
        },
        {"y": TensorProto.FLOAT},
        shape=("n", 2, 2),
    )


def skl2onnx_model(draw):
    """Return a classifier of two classes as skl2onnx writes it."""
    scaler = {"offset": [0.1, 0.2, 0.3, 0.4], "scale": [1.0, 2.0, 3.0, 4.0]}
    return model_of(
        [
            make_node("Scaler", ["x"], ["variable"], domain="ai.onnx.ml", **scaler),
            make_node("Cast", ["variable"], ["cast_input"], to=TensorProto.FLOAT),
            make_node("MatMul", ["cast_input", "coefficient"], ["mul_result"]),
            make_node("Add", ["mul_result", "intercepts"], ["add_result"]),
            make_node("Tanh", ["add_result"], ["next_activations"]),
            make_node("MatMul", ["next_activations", "coefficient1"], ["mul_result1"]),
            make_node("Add", ["mul_result1", "intercepts1"], ["add_result1"]),
            make_node("Sigmoid", ["add_result1"], ["out_activations_result"]),
            make_node("Sub", ["unity", "out_activations_result"], ["negative_class_proba"]),
            make_node(
                "Concat",
                ["negative_class_proba", "out_activations_result"],
                ["probabilities"],
                axis=1,
            ),
            make_node("ArgMax", ["probabilities"], ["argmax_output"], axis=1),
            make_node(
                "ArrayFeatureExtractor",
                ["classes", "argmax_output"],
                ["array_feature_extractor_result"],
                domain="ai.onnx.ml",
            ),
            make_node("Reshape", ["array_feature_extractor_result", "shape"], ["reshaped_result"]),
            make_node("Cast", ["reshaped_result"], ["label"], to=TensorProto.INT64),
        ],
        {
            "coefficient": draw(4, 5),
            "intercepts": draw(1, 5),
            "coefficient1": draw(5, 1),
            "intercepts1": draw(1, 1),
            "unity": np.ones(1, np.float32),
            "classes": np.array([0, 1], np.int32),
            "shape": np.array([-1], np.int64),
        },
        {"label": TensorProto.INT64, "probabilities": TensorProto.FLOAT},
        ml=True,
        shape=(None, 4),
    )


def keras_model(draw):
    """Return a model as TensorFlow writes it, with GELU by its formula."""
    return model_of(
        [
            make_node("MatMul", ["x", "dense/MatMul/ReadVariableOp:0"], ["dense/MatMul:0"]),
            make_node("Add", ["dense/MatMul:0", "bias"], ["dense/BiasAdd:0"]),
            make_node("Div", ["dense/BiasAdd:0", "root"], ["d"]),
            make_node("Erf", ["d"], ["e"]),
            make_node("Add", ["e", "one"], ["s"]),
            make_node("Mul", ["dense/BiasAdd:0", "s"], ["p"]),
            make_node("Mul", ["p", "half"], ["g"]),
            make_node("MatMul", ["g", "dense_1"], ["m"]),
            make_node("Identity", ["m"], ["y"]),
        ],
        {
            "dense/MatMul/ReadVariableOp:0": draw(4, 6),
            "bias": draw(6),
            "root": np.float32(np.sqrt(2)),
            "one": np.float32(1),
            "half": np.float32(0.5),
            "dense_1": draw(6, 3),
        },
        {"y": TensorProto.FLOAT},
        opset=13,
    )


def good_models():
    """Return models as PyTorch, skl2onnx, TensorFlow and chainrule write them."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    own = [
        to_onnx(cr.Network([4, 5, 3], ["silu", "softmax"], "cross_entropy", seed=0)),
        to_onnx(cr.Network([4, 2], ["leaky_relu"], "huber", dtype="float64", bias=False, seed=1)),
    ]
    return [torch_model(draw), skl2onnx_model(draw), keras_model(draw), *own]


def damaged_bytes(rng, data):
    """Return bytes with a few places overwritten, cut out, doubled, or cut off."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at, n = int(rng.integers(len(data) + 1)), int(rng.integers(1, 9))
        match int(rng.integers(5)):
            case 0 if at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at : at + n] = rng.bytes(n)
            case 2:
                del data[at : at + n]
            case 3:
                data[at:at] = data[at : at + n]
            case 4 if rng.random() < 0.2:
                del data[at:]
    return bytes(data)


class Damage:
    """Ways to change a ModelProto, each a method that takes the model."""

    def __init__(self, rng):
        self.rng = rng

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def node(self, model):
        return self.pick(model.graph.node)

    def tensor(self, model):
        return self.pick(model.graph.initializer)

    def name(self, model):
        """Return the name of a tensor that there is, or of none."""
        names = ["x", "", "nowhere", *(t.name for t in model.graph.initializer)]
        return self.pick(names + [name for node in model.graph.node for name in node.output])

    def an_input(self, model):
        node = self.node(model)
        if node.input:
            node.input[int(self.rng.integers(len(node.input)))] = self.name(model)

    def inputs(self, model):
        node = self.node(model)
        match int(self.rng.integers(3)):
            case 0 if node.input:
                del node.input[-1]
            case 1:
                node.input.append(self.name(model))
            case _:
                del node.input[:]

    def outputs(self, model):
        node = self.node(model)
        match int(self.rng.integers(4)):
            case 0:
                del node.output[:]
            case 1:
                node.output.append("more")
            case 2:
                node.output[:] = [self.name(model)]
            case 3:
                node.output[:] = ["", *node.output]

    def order(self, model):
        nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
        self.rng.shuffle(nodes)
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    def remove(self, model):
        del model.graph.node[int(self.rng.integers(len(model.graph.node)))]

    def double(self, model):
        model.graph.node.insert(0, self.node(model))

    def kind(self, model):
        self.node(model).op_type = self.pick(KINDS)

    def domain(self, model):
        self.node(model).domain = self.pick(["ai.onnx", "ai.onnx.ml", "com.microsoft", "nowhere"])

    def function(self, model):
        node = self.node(model)
        function = model.functions.add(name=node.op_type, domain=node.domain)
        function.input.extend(node.input)
        function.output.extend(node.output)

    def attribute(self, model):
        node = self.node(model)
        names = ["axis", "alpha", "to", "value", "epsilon", "transB", "allowzero", "scale", "beta"]
        value = self.pick(
            [0, 1, -1, 2**40, 0.5, float("nan"), 1e30, "text", [1, 2], [0.5], [], ["a"]]
            + [numpy_helper.from_array(np.zeros(3)), helper.make_graph([], "inner", [], [])]
        )
        name = self.pick([a.name for a in node.attribute] or names)
        name = self.pick([name, self.pick(names)])
        for i, old in enumerate(node.attribute):
            if old.name == name and self.rng.random() < 0.9:
                del node.attribute[i]
                break
        if self.rng.random() < 0.8 and value != []:
            node.attribute.append(helper.make_attribute(name, value))
            if self.rng.random() < 0.1:
                node.attribute[-1].ref_attr_name = "outer"
            if self.rng.random() < 0.1:
                node.attribute[-1].type = int(
                    self.pick(list(AttributeProto.AttributeType.values()))
                )

    def element_type(self, model):
        self.tensor(model).data_type = int(self.pick([*range(24), 99]))

    def dims(self, model):
        dims = self.tensor(model).dims
        match int(self.rng.integers(4)):
            case 0:
                dims[:] = list(dims)[::-1]
            case 1:
                dims.append(int(self.pick([0, 1, -1, 2, 2**62])))
            case 2 if dims:
                dims[0] = int(self.pick([0, -1, 1, 2**31, 2**62]))
            case 3:
                del dims[:]

    def data(self, model):
        tensor = self.tensor(model)
        match int(self.rng.integers(5)):
            case 0:
                tensor.raw_data = tensor.raw_data[:-3]
            case 1:
                tensor.ClearField("raw_data")
            case 2:
                tensor.float_data.append(1)
            case 3:
                tensor.string_data.append(b"text")
                tensor.data_type = TensorProto.STRING
            case 4:
                tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2] * 2

    def external(self, model):
        tensor = self.tensor(model)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", self.pick([".env", "/etc/passwd", "../x"])),
            ("offset", "0"),
        ):
            tensor.external_data.add(key=key, value=value)

    def sparse(self, model):
        tensor = model.graph.sparse_initializer.add()
        tensor.values.CopyFrom(self.tensor(model))
        tensor.dims.extend([2**40])

    def swap_constants(self, model):
        a, b = self.tensor(model), self.tensor(model)
        a.name, b.name = b.name, a.name

    def rename(self, model):
        self.pick([self.tensor(model), self.node(model)]).name = self.name(model)

    def metadata(self, model):
        values = [
            "",
            "{",
            "[]",
            "3",
            '{"loss": 3}',
            '{"loss": "none"}',
            "[" * 5000,
            '{"loss": null}',
        ]
        model.metadata_props.add(key="chainrule", value=self.pick(values))

    def opset(self, model):
        if self.rng.random() < 0.2:
            del model.opset_import[:]
        else:
            entry = self.pick(model.opset_import)
            entry.version = int(self.pick([-1, 0, 1, 6, 7, 9, 11, 13, 18, 99, 2**40]))
        model.ir_version = int(self.pick([model.ir_version, 1, 3, 99]))

    def input_type(self, model):
        tensor = model.graph.input[0].type.tensor_type
        match int(self.rng.integers(5)):
            case 0:
                tensor.elem_type = int(self.pick(range(24)))
            case 1:
                tensor.ClearField("shape")
            case 2:
                tensor.shape.dim.add().dim_value = int(self.pick([0, 1, 2, 4, -1, 2**62]))
            case 3:
                self.pick(tensor.shape.dim).dim_value = int(self.pick([0, 1, 2, 4, -1, 2**40]))
            case 4:
                model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1

    def ends(self, model):
        match int(self.rng.integers(5)):
            case 0:
                del model.graph.input[:]
            case 1:
                model.graph.input.add().name = self.name(model)
            case 2:
                del model.graph.output[:]
            case 3:
                model.graph.output.add().name = self.name(model)
            case 4:
                model.graph.output[0].name = self.name(model)

    def bomb(self, model):
        """Put a constant of enormous size before a node."""
        huge = numpy_helper.from_array(np.array([2**31, 2**20], np.int64), "huge")
        ends = [("start", 0), ("limit", 2**60), ("delta", 1)]
        model.graph.initializer.extend(
            [huge, *(numpy_helper.from_array(np.int64(v), k) for k, v in ends)]
        )
        inputs = {
            "ConstantOfShape": ["huge"],
            "Expand": [self.tensor(model).name, "huge"],
            "Tile": [self.tensor(model).name, "huge"],
            "Range": [name for name, _ in ends],
        }
        kind = self.pick(list(inputs))
        node = self.node(model)
        node.input[:] = [*node.input[:1], "bomb"]
        model.graph.node.insert(0, helper.make_node(kind, inputs[kind], ["bomb"]))

    def subgraph(self, model):
        node = self.node(model)
        inner = helper.make_graph([node], "inner", [], [])
        node.op_type = self.pick(["If", "Loop", node.op_type])
        node.attribute.append(helper.make_attribute("then_branch", inner))


WAYS = [name for name in vars(Damage) if not name.startswith("_")]
WAYS = [name for name in WAYS if name not in ("pick", "node", "tensor", "name")]


def mutants(n, seed=0):
    """Yield n damaged models as bytes, and in what way; half of them are damaged as bytes."""
    goods = [model.SerializeToString() for model in good_models()]
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        data = goods[i % len(goods)]
        if i % 2:
            yield "bytes", damaged_bytes(rng, data)
            continue
        model, damage = onnx.ModelProto.FromString(data), Damage(rng)
        ways = [str(rng.choice(WAYS)) for _ in range(int(rng.integers(1, 3)))]
        for way in ways:
            try:
                getattr(damage, way)(model)
            except (IndexError, TypeError, ValueError):
                continue  # nothing left to damage in that way
        yield "+".join(ways), model.SerializeToString()


def calls(model, width):
    """Yield values of the input, in shapes that it may have, with the rows that they hold."""
    initialised = {tensor.name for tensor in model.graph.initializer}
    entry = next(entry for entry in model.graph.input if entry.name not in initialised)
    tensor = entry.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    drawn = np.random.default_rng(1).standard_normal((8, width))
    drawn = drawn if dtype.kind == "f" else np.round(np.abs(drawn))
    stated = [d.dim_value if 0 < d.dim_value < 100 else -1 for d in tensor.shape.dim]
    for shape in (stated, [8, -1], [8, 2, -1], [-1, width], [2, 4, -1], [-1]):
        if shape.count(-1) > 1:
            continue
        size = 8 * width if -1 in shape else int(np.prod(shape))
        with contextlib.suppress(ValueError):
            x = np.resize(drawn, size).reshape(shape).astype(dtype)
            yield x, x.reshape(-1, width)


def is_right(network, data):
    """Tell whether the network answers as some output of the model does, on fresh rows."""
    model = onnx.ModelProto.FromString(data)
    for x, rows in calls(model, network.sizes[0]):
        for output in {entry.name: None for entry in model.graph.output}:
            for run in (answer, runtime_answer):
                try:
                    given = run(model, output, x)
                except Exception:  # the other implementation may take it, or another shape
                    continue
                if given is not None and largest_difference(network, given, rows) < 1e-4:
                    return True
    return False


def main(n):
    models = good_models()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in models:  # loads what importing loads
            assert is_right(from_onnx(model), model.SerializeToString())
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MORE_BYTES, now + MORE_BYTES))
    count, bad = collections.Counter(), []
    warnings.simplefilter("ignore")
    for i, (way, data) in enumerate(mutants(n)):
        try:
            network = from_onnx(data)
        except DOCUMENTED as error:
            count["refused"] += 1
            if type(error) is not ValueError:
                bad.append((i, way, f"{type(error).__name__}: {error}"[:200]))
            continue
        except BaseException as error:
            count["undocumented"] += 1
            bad.append((i, way, f"{type(error).__name__}: {error}"[:200]))
            continue
        count["imported"] += 1
        if not is_right(network, data):
            count["wrong"] += 1
            bad.append((i, way, f"wrong: {network.sizes} {network.activations}"))
    print(json.dumps({"counts": count, "bad": bad[:20]}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
