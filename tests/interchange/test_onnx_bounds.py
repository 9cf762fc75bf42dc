"""ONNX models from anybody: damage is named, and what is made is bounded by the model's size."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

import chainrule as cr

pytestmark = pytest.mark.unsanitized

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install .[test]")

from onnx import AttributeProto, TensorProto, helper, numpy_helper  # noqa: E402

from chainrule.onnx import from_onnx, to_onnx  # noqa: E402
from chainrule.onnx.constants import MORE  # noqa: E402

RNG = np.random.default_rng(0)
# What a small model may take: the elements that are always allowed, in float64, and as many more.
MOST_BYTES = 2 * 8 * MORE


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(nodes, opset=17, outputs="y", **constants):
    constants = {"w": array(4, 3), "b": array(3), **constants}
    graph = helper.make_graph(
        nodes,
        "handmade",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def refusal(model):
    with pytest.raises(ValueError) as error:
        from_onnx(model)
    assert type(error.value) is ValueError
    return str(error.value)


def peak(model):
    """Return the bytes that refusing a model takes, beside the message."""
    from_onnx(to_onnx(cr.Network([2, 2], seed=0)))  # imports what importing needs
    tracemalloc.start()
    try:
        message = refusal(model)
        return tracemalloc.get_traced_memory()[1], message
    finally:
        tracemalloc.stop()


BIG = np.array([2**31, 2**20])
BOMBS = {
    "ConstantOfShape": (node("ConstantOfShape", "big", "c", name="bomb"), {"big": BIG}),
    "Expand": (node("Expand", "one big", "c", name="bomb"), {"big": BIG}),
    "Tile": (node("Tile", "row big", "c", name="bomb"), {"big": BIG}),
    "Range": (
        node("Range", "zero end unit", "c", name="bomb"),
        {"zero": np.int64(0), "end": np.int64(2**60), "unit": np.int64(1)},
    ),
    "an endless Range": (
        node("Range", "zero end nil", "c", name="bomb"),
        {"zero": np.float32(0), "end": np.float32(1), "nil": np.float32(0)},
    ),
    "an outer product": (
        node("MatMul", "column long", "c", name="bomb"),
        {"column": array(5000, 1), "long": array(1, 5000)},
    ),
    "a sum of a column and a row": (
        node("Add", "column long", "c", name="bomb"),
        {"column": array(5000, 1), "long": array(1, 5000)},
    ),
    "a Gather": (
        node("Gather", "long many", "c", name="bomb", axis=0),
        {"long": array(1, 5000), "many": np.zeros(5000, np.int64)},
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_constants_of_any_size_are_not_made(bomb):
    start, constants = BOMBS[bomb]
    one = {"one": np.float32(1), "row": np.float32([[1, 1]]), **constants}
    model = model_of([start, node("MatMul", "x w", "z"), node("Add", "z c", "y")], **one)
    n_bytes, message = peak(model)
    assert "node 'bomb'" in message
    assert "would make arrays of" in message and "before the export" in message
    assert n_bytes < MOST_BYTES


def test_many_small_constants_are_counted_together():
    doubling = [node("Concat", f"c{i} c{i}", f"c{i + 1}", axis=0) for i in range(60)]
    layers = [node("MatMul", "x w", "z"), node("Add", "z c60", "y")]
    n_bytes, message = peak(model_of([*doubling, *layers], c0=array(3)))
    assert "would make arrays of" in message
    assert n_bytes < MOST_BYTES


def test_a_scaling_of_many_outputs_is_refused_before_it_becomes_a_matrix():
    """A model of 0.6 MB asked for 6.7 GiB."""
    nodes = [node("Gemm", "x wide", "z"), node("Relu", "z", "a"), node("Mul", "a two", "y")]
    n_bytes, message = peak(model_of(nodes, wide=array(4, 30_000), two=np.float32(2)))
    assert "a scaling of 30000 outputs" in message and "leave the scaling out" in message
    assert n_bytes < 2**26


def test_the_matrix_of_one_layer_is_not_copied_for_every_factor():
    nodes = [node("MatMul", "x wide", "z0")]
    nodes += [node("Mul", f"z{i} two", f"z{i + 1}") for i in range(2000)]
    nodes += [node("Identity", "z2000", "y")]
    n_bytes, message = peak(model_of(nodes, wide=array(4, 30_000), two=np.float32(2)))
    assert "would make arrays of" in message
    assert n_bytes < 2**26


def test_an_input_of_enormous_width_makes_nothing():
    model = model_of([node("Mul", "x two", "s"), node("MatMul", "s w", "y")], two=np.float32(2))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**40
    n_bytes, message = peak(model)
    assert "would make arrays of" in message
    assert n_bytes < MOST_BYTES


def test_random_numbers_are_no_constants():
    nodes = [node("RandomNormal", "", "r", shape=[4, 3]), node("MatMul", "x r", "y")]
    assert "(RandomNormal) is not understood" in refusal(model_of(nodes))


LAYER = node("Gemm", "x w b", "z", name="layer")


def test_a_cycle_is_named():
    nodes = [
        node("Add", "z u", "t", name="first"),
        node("Gemm", "x w b", "z"),
        node("Relu", "t", "u"),
    ]
    nodes.append(node("Relu", "u", "y"))
    assert "node 'first' (Add) takes 'z', which nothing before it computes" in refusal(
        model_of(nodes)
    )


def test_a_missing_input_is_named():
    nodes = [LAYER, node("Relu", "nowhere", "y", name="lost")]
    assert "node 'lost' (Relu) takes 'nowhere'" in refusal(model_of(nodes))


def test_a_missing_output_is_named():
    assert "output y is no multilayer perceptron's: no node computes it" in refusal(
        model_of([LAYER])
    )


DAMAGED_NODES = {
    "too few inputs": node("Gemm", "x", "y", name="bad"),
    "too many inputs": node("Relu", "z z", "y", name="bad"),
    "an attribute of another type": node("Softmax", "z", "y", name="bad", axis=0.5),
    "an attribute that there is not": node("Relu", "z", "y", name="bad", slope=1),
    "a required attribute that is missing": node("Cast", "z", "y", name="bad"),
    "an operator that there is not": node("Perceptron", "z", "y", name="bad"),
    "an operator of a later opset": node("Gelu", "z", "y", name="bad"),
    "an empty name": helper.make_node("Relu", [""], ["y"], name="bad"),
}


@pytest.mark.parametrize("case", DAMAGED_NODES)
def test_a_node_that_is_damaged_is_named(case):
    message = refusal(model_of([LAYER, DAMAGED_NODES[case]]))
    assert "node 'bad'" in message and "is no valid node" in message


def test_a_node_without_outputs_is_in_nobodys_way():
    model = model_of([LAYER, helper.make_node("Relu", ["z"], []), node("Relu", "z", "y")])
    assert from_onnx(model).activations == ("relu",)


def test_an_optional_input_that_is_left_out_keeps_the_others_places():
    clip = helper.make_node("Clip", ["z", "", "one"], ["y"], name="bad")
    assert "'bad' (Clip) is not understood" in refusal(model_of([LAYER, clip], one=np.float32(1)))
    gemm = helper.make_node("Gemm", ["x", "w", ""], ["y"])
    assert not from_onnx(model_of([gemm])).has_bias


def test_a_reference_to_an_attribute_outside_of_a_function_is_refused():
    bad = node("Softmax", "z", "y", name="bad")
    bad.attribute.add(name="axis", ref_attr_name="outer", type=AttributeProto.INT)
    assert "'bad'" in refusal(model_of([LAYER, bad]))


def test_inner_graphs_are_refused():
    inner = helper.make_graph([node("Relu", "z", "i")], "inner", [], [])
    bad = node("If", "yes", "c", name="bad", then_branch=inner, else_branch=inner)
    model = model_of([LAYER, bad, node("Add", "z c", "y")], yes=np.array(True))
    assert "node 'bad' (If)" in refusal(model)


DAMAGED_TENSORS = {
    "too few bytes": (dict(data_type=1, dims=[4, 3], raw_data=b"abc"), "cannot be read"),
    "more numbers than bytes": (dict(data_type=1, dims=[2**40], raw_data=b"abcd"), "not as many"),
    "a negative length": (dict(data_type=1, dims=[-4, 3], raw_data=b"abcd"), "not as many"),
    "a type that there is not": (dict(data_type=99, dims=[4], raw_data=b"abcd"), "cannot be read"),
    "text": (dict(data_type=8, dims=[1], string_data=[b"text"]), "holds text"),
}


@pytest.mark.parametrize("case", DAMAGED_TENSORS)
def test_a_tensor_that_is_damaged_is_named(case):
    fields, message = DAMAGED_TENSORS[case]
    model = model_of([LAYER, node("MatMul", "x bad", "y")])
    model.graph.initializer.append(TensorProto(name="bad", **fields))
    assert "tensor 'bad'" in (found := refusal(model)) and message in found


def test_a_sparse_tensor_is_named():
    model = model_of([node("MatMul", "x bad", "y")])
    model.graph.sparse_initializer.add(dims=[4, 2**40]).values.name = "bad"
    assert "tensor 'bad' is sparse" in refusal(model)


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.float16, np.bool_])
def test_weights_of_another_type_than_the_rows_are_refused(kind):
    model = model_of([node("MatMul", "x v", "y", name="bad")], v=np.ones((4, 3), kind))
    assert "'bad' (MatMul) does not multiply rows by constant weights" in refusal(model)


def test_one_name_for_two_tensors_is_refused():
    message = "two tensors of it have the name 'z'"
    assert message in refusal(model_of([LAYER, node("Relu", "x", "z"), node("Relu", "z", "y")]))
    doubled = model_of([LAYER, node("Relu", "z", "y")])
    doubled.graph.initializer.append(doubled.graph.initializer[0])
    assert "two tensors of it have the name 'w'" in refusal(doubled)


def test_weights_that_only_look_alike_are_not_compared_as_truth_values():
    """x · σ of two layers whose weights are equal, but not the same: NumPy's error leaked."""
    nodes = [
        node("Gemm", "x w b", "z"),
        node("Tanh", "z", "t"),
        node("Gemm", "x w b", "z2"),
        node("Relu", "z2", "r"),
        node("MatMul", "t v", "p"),
        node("MatMul", "r v", "q"),
        node("Sigmoid", "q", "s"),
        node("Mul", "p s", "y", name="bad"),
    ]
    message = refusal(model_of(nodes, v=array(3, 3)))
    assert "node 'bad' (Mul) multiplies rows with each other" in message


def test_patterns_of_the_input_itself_are_none():
    """The input is the outputs of no layer."""
    square = array(4, 4)
    message = refusal(
        model_of([node("MatMul", "x s", "z"), node("Mul", "z x", "y", name="bad")], s=square)
    )
    assert "node 'bad' (Mul) multiplies rows with each other" in message
    nodes = [
        node("MatMul", "x s", "z"),
        node("Greater", "z guard", "c"),
        node("Where", "c z x", "y", name="bad"),
    ]
    message = refusal(model_of(nodes, s=square, guard=np.float32(20)))
    assert "node 'bad' (Where) chooses between rows" in message


METADATA = {
    "no JSON": "{",
    "no object": "[]",
    "no loss": "{}",
    "a loss that is no text": '{"loss": 3}',
    "nested without end": "[" * 10_000,
}


@pytest.mark.parametrize("case", METADATA)
def test_metadata_that_are_damaged_can_be_overruled(case):
    model = to_onnx(cr.Network([4, 3], "identity", seed=0))
    del model.metadata_props[:]
    model.metadata_props.add(key="chainrule", value=METADATA[case])
    assert "metadata entry 'chainrule'" in (message := refusal(model)) and "pass loss=" in message
    assert from_onnx(model, loss="huber").loss == "huber"


def test_a_loss_of_the_metadata_that_does_not_fit_is_refused():
    model = to_onnx(cr.Network([4, 3], "identity", seed=0))
    del model.metadata_props[:]
    model.metadata_props.add(key="chainrule", value=json.dumps({"loss": "cross_entropy"}))
    assert "what the model's metadata entry 'chainrule' states: pass loss='…'" in refusal(model)


def test_two_outputs_of_one_name_are_damage():
    said = refusal(model_of([node("Gemm", "x w b", "y")], outputs="y y"))
    assert said == "the model is damaged: two tensors of it have the name 'y'"


def test_a_loss_is_text():
    with pytest.raises(TypeError, match="loss must be a str, got int"):
        from_onnx(to_onnx(cr.Network([4, 3], seed=0)), loss=3)


@pytest.mark.parametrize("version", [-1, 0, 2**40])
def test_versions_that_there_are_not_are_refused(version):
    model = model_of([LAYER, node("Relu", "z", "y")])
    model.ir_version = version
    assert "IR version" in refusal(model)
    model = model_of([LAYER, node("Relu", "z", "y")], opset=version)
    assert "opset" in refusal(model)


def test_a_model_without_an_opset_is_refused():
    model = model_of([LAYER, node("Relu", "z", "y")])
    del model.opset_import[:]
    assert "set opset_import" in refusal(model)


def test_inputs_and_outputs_that_are_missing_are_named():
    model = model_of([LAYER, node("Relu", "z", "y")])
    del model.graph.output[:]
    assert "has no output" in refusal(model)
    model = model_of([LAYER, node("Relu", "z", "y")])
    del model.graph.input[:]
    assert "must have one input, got []" in refusal(model)


@pytest.mark.parametrize("element", [0, TensorProto.STRING, TensorProto.COMPLEX64, 99])
def test_inputs_of_other_than_real_numbers_are_refused(element):
    model = model_of([LAYER, node("Relu", "z", "y")])
    model.graph.input[0].type.tensor_type.elem_type = element
    assert "input 'x'" in refusal(model)
