"""Axes of ONNX tensors: what is provably rows of one width is imported, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from support import relative

pytestmark = pytest.mark.unsanitized

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install .[test]")
ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from chainrule.onnx import from_onnx  # noqa: E402

RNG = np.random.default_rng(0)
MATRIX, CUBE = ("n", 4), ("n", "m", 4)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(nodes, shape=MATRIX, opset=17, element=TensorProto.FLOAT, **constants):
    constants = {"w": array(4, 3), "b": array(3), "w2": array(3, 4), **constants}
    graph = helper.make_graph(
        nodes,
        "handmade",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def assert_equals_runtime(model, x):
    """Compare with ONNX Runtime, rows with rows in C order."""
    net = from_onnx(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"x": x})[0]
    ours = net.predict(x.reshape(-1, net.sizes[0]).astype(np.float32))
    assert relative(ours, theirs.reshape(ours.shape)) < 1e-6


LAYER = node("MatMul", "x w", "z")


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [None, 1, 2, -1, -2, 0])
def test_softmax_of_three_axes(opset, axis):
    """Over the last axis alone it is one of each row, before opset 13 as well as from there on."""
    attributes = {} if axis is None else {"axis": axis}
    model = model_of([LAYER, node("Softmax", "z", "y", **attributes)], CUBE, opset)
    if axis in (2, -1) or (axis is None and opset == 13):
        assert_equals_runtime(model, array(5, 2, 4))
    else:
        with pytest.raises(ValueError, match=r"\(Softmax\) has axis"):
            from_onnx(model)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [None, 1, -1])
def test_softmax_of_two_axes(opset, axis):
    attributes = {} if axis is None else {"axis": axis}
    model = model_of([LAYER, node("Softmax", "z", "y", **attributes)], opset=opset)
    assert_equals_runtime(model, array(5, 4))


IMPORTED = {
    "layers over the last of three axes": ([LAYER, node("Add", "z b", "y")], CUBE, (5, 2, 4)),
    "a vector": ([LAYER, node("Add", "z b", "y")], (4,), (4,)),
    "an image": (
        [node("Flatten", "x", "f"), node("Gemm", "f w b", "y")],
        ("n", 1, 2, 2),
        (5, 1, 2, 2),
    ),
    "an image with a factor for each channel": (
        [node("Mul", "x channels", "s"), node("Flatten", "s", "f"), node("Gemm", "f w b", "y")],
        ("n", 2, 1, 2),
        (5, 2, 1, 2),
    ),
    "a batch of fixed size": (
        [node("Reshape", "x eight", "f"), node("Gemm", "f w b", "y")],
        (8, 2, 2),
        (8, 2, 2),
    ),
    "a batch that is copied": (
        [node("Reshape", "x copied", "f"), node("Gemm", "f w b", "y")],
        ("n", 2, 2),
        (5, 2, 2),
    ),
    "a width that follows from the weights": (
        [node("Flatten", "x", "f"), node("Gemm", "f w b", "y")],
        ("n", 2, "w"),
        (5, 2, 2),
    ),
    "constants of more axes": (
        [LAYER, node("Add", "z deep", "d"), node("Softmax", "d", "y", axis=2)],
        MATRIX,
        (5, 4),
    ),
    "a batch normalisation of channels": (
        [
            node("BatchNormalization", "x one two one two", "a"),
            node("Flatten", "a", "f"),
            node("Gemm", "f w b", "y"),
        ],
        ("n", 2, 2),
        (5, 2, 2),
    ),
}
CONSTANTS = {
    "channels": np.float32([[[2]], [[3]]]),
    "eight": np.array([8, -1]),
    "copied": np.array([0, -1]),
    "deep": array(1, 1, 3),
    "one": np.float32([1, 2]),
    "two": np.float32([3, 4]),
    "column": array(5, 1),
    "table": array(5, 3),
    "four": np.array([4, 4]),
    "halves": np.array([-1, 2]),
    "blocks": np.array([-1, 2, 2]),
    "square": array(4, 4),
    "flat": np.array([-1]),
    "stack": array(2, 4, 3),
}


@pytest.mark.parametrize("case", IMPORTED)
def test_rows_in_other_shapes_are_imported(case):
    nodes, shape, call = IMPORTED[case]
    assert_equals_runtime(model_of(nodes, shape, **CONSTANTS), array(*call))


REFUSED = {
    "a Gemm of three axes": ([node("Gemm", "x w b", "y")], CUBE, "takes matrices"),
    "axis 1, which a constant made the batch's": (
        [LAYER, node("Add", "z deep", "d"), node("Softmax", "d", "y", axis=1)],
        MATRIX,
        r"has axis 1, which is not all of a row in the shape \(1, axis 0, 3\)",
    ),
    "a layer over a part of a row": (
        [
            node("MatMul", "x square", "z"),
            node("Reshape", "z blocks", "r"),
            node("MatMul", "r half", "y"),
        ],
        MATRIX,
        "do not fit 4 inputs",
    ),
    "a constant for each row": ([LAYER, node("Add", "z column", "y")], MATRIX, "for rows of 3"),
    "a table of constants": ([LAYER, node("Add", "z table", "y")], MATRIX, "for rows of 3"),
    "a constant that widens rows": (
        [node("MatMul", "x thin", "z"), node("Add", "z b", "y")],
        MATRIX,
        "for rows of 1",
    ),
    "a matrix for each batch": ([node("MatMul", "x stack", "y")], MATRIX, "weights of shape"),
    "a flattened batch": (
        [LAYER, node("Flatten", "z", "y", axis=0)],
        MATRIX,
        "does not keep the rows",
    ),
    "halves of rows": (
        [node("Reshape", "x halves", "f"), node("MatMul", "f w", "y")],
        MATRIX,
        r"to \[-1, 2\] does not keep rows of 4",
    ),
    "rows without an axis": ([LAYER, node("Reshape", "z flat", "y")], MATRIX, "does not keep rows"),
    "a batch that the input leaves open": (
        [node("Reshape", "x four", "f"), node("MatMul", "f w", "y")],
        MATRIX,
        r"to \[4, 4\] does not keep rows",
    ),
    "Softmax over axis 1 of an unknown rank": (
        [LAYER, node("Softmax", "z", "y", axis=1)],
        None,
        r"in the shape \(…, 3\)",
    ),
    "Flatten of an unknown rank": (
        [node("Flatten", "x", "f"), node("MatMul", "f w", "y")],
        None,
        "state the shape of the input",
    ),
    "a batch normalisation of positions": (
        [
            node("MatMul", "x pair", "z"),
            node("BatchNormalization", "z one two one two", "y"),
        ],
        CUBE,
        "does not normalise the elements of rows",
    ),
    "a transposed matrix": ([LAYER, node("Transpose", "z", "y")], MATRIX, "is not understood"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_provably_rows_is_refused(case):
    nodes, shape, message = REFUSED[case]
    more = {"half": array(2, 3), "thin": array(4, 1), "pair": array(4, 2)}
    with pytest.raises(ValueError, match=message):
        from_onnx(model_of(nodes, shape, **CONSTANTS, **more))


@pytest.mark.parametrize("shape", [None, MATRIX, (None, None)])
def test_a_gemm_proves_two_axes(shape):
    model = model_of([node("Gemm", "x w b", "z"), node("Softmax", "z", "y", axis=1)], shape)
    assert_equals_runtime(model, array(5, 4))


def test_integers_become_rows_by_a_cast():
    nodes = [node("Cast", "x", "f", to=TensorProto.FLOAT), node("Gemm", "f w b", "y")]
    model = model_of(nodes, element=TensorProto.INT64)
    assert_equals_runtime(model, RNG.integers(-9, 9, (5, 4)))


@pytest.mark.parametrize("element", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_rounding_to_halves_between_layers_is_refused(element):
    """As 1e5 becomes infinite in float16; as the identity, the cast gave other outputs unsaid."""
    nodes = [
        node("Gemm", "x w b", "z"),
        node("Cast", "z", "h", to=element),
        node("Cast", "h", "f", to=TensorProto.FLOAT),
        node("Relu", "f", "y"),
    ]
    with pytest.raises(ValueError, match=r"\(Cast\) rounds float32 to .*float16 between layers"):
        from_onnx(model_of(nodes))


def test_a_model_of_many_layers_is_read():
    """Whose tuples of layers, as many numbers as depth², a budget of its numbers refused."""
    n = 1200
    weights = {f"w{i}": array(4, 4) for i in range(n)}
    nodes = []
    for i in range(n):
        nodes.append(node("MatMul", f"{'x' if i == 0 else f'a{i}'} w{i}", f"z{i}"))
        nodes.append(node("Tanh", f"z{i}", "y" if i == n - 1 else f"a{i + 1}"))
    assert len(from_onnx(model_of(nodes, **weights)).activations) == n


def test_arithmetic_of_integers_is_refused():
    nodes = [
        node("Div", "x seven", "q"),
        node("Cast", "q", "f", to=TensorProto.FLOAT),
        node("Gemm", "f w b", "y"),
    ]
    with pytest.raises(ValueError, match=r"\(Div\) is not understood of int64"):
        from_onnx(model_of(nodes, element=TensorProto.INT64, seven=np.int64(7)))


@pytest.mark.parametrize(("opset", "mend"), [(6, "convert_version"), (99, "pip install -U onnx")])
def test_an_opset_of_other_meanings_is_refused(opset, mend):
    with pytest.raises(ValueError, match=mend):
        from_onnx(model_of([node("Gemm", "x w b", "y")], opset=opset))


def test_an_operator_of_another_domain_is_not_taken_for_onnx_s_own():
    model = model_of([LAYER, node("Relu", "z", "y", domain="my.operators")])
    model.opset_import.add(domain="my.operators", version=1)
    with pytest.raises(ValueError, match=r"\(Relu\) is not understood"):
        from_onnx(model)


def test_a_function_of_the_model_is_not_taken_for_the_operator_of_its_name():
    model = model_of([LAYER, node("Relu", "z", "y")])
    model.functions.append(
        helper.make_function("", "Relu", ["a"], ["c"], [node("Neg", "a", "c")], model.opset_import)
    )
    with pytest.raises(ValueError, match="inline_local_functions"):
        from_onnx(model)


@pytest.mark.parametrize("missing", ["scale", "offset"])
def test_a_scaler_that_is_not_whole_is_refused(missing):
    """ONNX Runtime refuses it too."""
    both = {"scale": [2.0], "offset": [1.0]}
    del both[missing]
    model = model_of(
        [node("Scaler", "x", "s", domain="ai.onnx.ml", **both), node("Gemm", "s w b", "y")]
    )
    model.opset_import.add(domain="ai.onnx.ml", version=1)
    with pytest.raises(ValueError, match=rf"\(Scaler\) has {int(missing != 'offset')} offsets"):
        from_onnx(model)


def test_dropout_in_training_is_refused():
    model = model_of(
        [LAYER, node("Dropout", "z half training", "y")], half=np.float32(0.5), training=True
    )
    with pytest.raises(ValueError, match="export the model in evaluation mode"):
        from_onnx(model)


def test_a_batch_normalisation_that_gives_statistics_is_refused():
    bn = node("BatchNormalization", "z one two one two", "y", training_mode=1)
    bn.output.extend(["mean", "variance"])
    one, two = np.ones(3, np.float32), np.full(3, 2, np.float32)
    with pytest.raises(ValueError, match="has several outputs"):
        from_onnx(model_of([LAYER, bn], one=one, two=two))
