"""An imported ONNX model is run beside the network: what differs is refused, with its name."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

import chainrule as cr
from support import relative

pytestmark = pytest.mark.unsanitized

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install .[test]")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from chainrule.onnx import from_onnx, patterns, rules, to_onnx, verify  # noqa: E402
from chainrule.onnx.rows import Rows  # noqa: E402

RNG = np.random.default_rng(0)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(nodes, shape=("n", 4), element=TensorProto.FLOAT, opset=17, **constants):
    graph = helper.make_graph(
        nodes,
        "handmade",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


TWO_LAYERS = [
    node("Gemm", "x w b", "z"),
    node("Tanh", "z", "hidden"),
    node("Gemm", "hidden v", "z2"),
    node("Sigmoid", "z2", "y"),
]
WEIGHTS = {"w": array(4, 5), "b": array(5), "v": array(5, 3)}


def wrong_bias(rule):
    def planted(operands, attributes):
        x = rule(operands, attributes)
        return x.holding(x.stack.affine(shift=1e-6)) if len(operands) == 3 else x

    return planted


def swapped_columns(rule):
    def planted(operands, attributes):
        x, w, *rest = operands
        return rule([x, w[::-1].copy(), *rest] if len(rest) else operands, attributes)

    return planted


@pytest.mark.parametrize("error", [wrong_bias, swapped_columns])
def test_the_first_tensor_that_differs_is_named(error, monkeypatch):
    monkeypatch.setitem(rules.RULES, ("", "Gemm"), error(rules.RULES["", "Gemm"]))
    with pytest.raises(ValueError, match=r"hidden and the network differ.*Nothing was imported"):
        from_onnx(model_of(TWO_LAYERS, **WEIGHTS))


def test_an_error_behind_the_last_activation_is_named_by_the_output(monkeypatch):
    rule = rules.RULES["", "Add"]
    monkeypatch.setitem(
        rules.RULES,
        ("", "Add"),
        lambda operands, attributes: rule(
            [operands[0], operands[1] + np.float32(1e-4)], attributes
        ),
    )
    nodes = [*TWO_LAYERS[:3], node("Add", "z2 c", "y")]
    with pytest.raises(ValueError, match="y and the network differ"):
        from_onnx(model_of(nodes, c=array(3), **WEIGHTS))


def test_an_activation_that_is_taken_for_another_is_refused(monkeypatch):
    monkeypatch.setitem(rules.OPERATORS, "Tanh", "sigmoid")
    with pytest.raises(ValueError, match="hidden and the network differ"):
        from_onnx(model_of(TWO_LAYERS, **WEIGHTS))


def test_a_pattern_that_is_found_where_it_is_not_is_refused(monkeypatch):
    monkeypatch.setattr(patterns, "_is_multiple", lambda z, inner, factor: True)
    nodes = [
        node("MatMul", "x w", "z"),
        node("Mul", "z c", "s"),
        node("Sigmoid", "s", "p"),
        node("Mul", "z p", "y"),
    ]
    with pytest.raises(ValueError, match="y and the network differ"):
        from_onnx(model_of(nodes, w=array(4, 5), c=np.float32(1.702)))


def test_what_cannot_be_run_is_a_warning(monkeypatch):
    def fails(*arguments):
        raise ValueError("no implementation")

    monkeypatch.setattr(verify, "evaluator", fails)
    monkeypatch.setattr(verify._Calls, "runtime", fails)
    with pytest.warns(UserWarning, match=r"could not be run .*no implementation.* not verified"):
        net = from_onnx(model_of(TWO_LAYERS, **WEIGHTS))
    assert net.sizes == (4, 5, 3)


def test_onnx_runtime_stands_in_for_the_reference(monkeypatch, caplog):
    pytest.importorskip("onnxruntime")

    def fails(*arguments):
        raise ValueError("no implementation")

    monkeypatch.setattr(verify, "evaluator", fails)
    caplog.set_level(logging.INFO, "chainrule")
    from_onnx(model_of(TWO_LAYERS, **WEIGHTS))
    assert "verified in float32" in caplog.text
    monkeypatch.setitem(rules.OPERATORS, "Tanh", "sigmoid")
    with pytest.raises(ValueError, match="y and the network differ"):
        from_onnx(model_of(TWO_LAYERS, **WEIGHTS))


@pytest.mark.parametrize("activation", sorted({*cr._core.ACTIVATIONS}))
def test_every_activation_is_verified_in_float64(activation, caplog):
    caplog.set_level(logging.INFO, "chainrule")
    hidden = "tanh" if activation == "softmax" else activation
    from_onnx(to_onnx(cr.Network([4, 5, 3], [hidden, activation], dtype="float64", seed=0)))
    record = caplog.records[-1]
    assert "verified in float64" in record.message
    assert record.args[-1] < 1e-9


SHAPES = {
    "a batch of fixed size": (5, 4),
    "one row": (1, 4),
    "a vector": (4,),
    "two free axes": ("n", "m", 4),
    "a free and a fixed axis": ("n", 3, 4),
    "no shape": None,
}


@pytest.mark.parametrize("case", SHAPES)
def test_models_of_any_input_shape_are_run(case, caplog):
    caplog.set_level(logging.INFO, "chainrule")
    nodes = [node("MatMul", "x w", "z"), node("Tanh", "z", "y")]
    from_onnx(model_of(nodes, SHAPES[case], w=WEIGHTS["w"]))
    assert "verified in float64 on 69 rows" in caplog.text


def test_a_batch_too_large_to_run_is_a_warning():
    nodes = [node("MatMul", "x w", "z"), node("Tanh", "z", "y")]
    with pytest.warns(UserWarning, match="is too large"):
        from_onnx(model_of(nodes, (2**40, 4), w=WEIGHTS["w"]))


def test_a_batch_normalisation_of_an_older_opset_is_run_as_it_answers():
    """ONNX's reference takes statistics of the batch before opset 14."""
    bn = node("BatchNormalization", "z g s m v", "y")
    stats = {"g": array(3), "s": array(3), "m": array(3), "v": np.abs(array(3)) + 1}
    net = from_onnx(model_of([node("MatMul", "x w", "z"), bn], opset=9, w=array(4, 3), **stats))
    assert net.activations == ("identity",)


def test_the_guard_of_softplus_is_no_difference():
    """Behind the guard a later layer makes 2e-6 of softplus(x) - x = 2e-9."""
    nodes = [
        node("MatMul", "x w", "z"),
        node("Greater", "z guard", "above"),
        node("Softplus", "z", "s"),
        node("Where", "above z s", "a"),
        node("MatMul", "a v", "y"),
    ]
    w, v = np.zeros((4, 2)), np.array([[1e3], [-1e3]])
    w[0] = 20.01, 19.99
    model = model_of(nodes, element=TensorProto.DOUBLE, w=w, v=v, guard=np.float64(20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_onnx(model).activations == ("softplus", "identity")


def test_integers_are_run_through_their_cast():
    nodes = [node("Cast", "x", "f", to=1), node("Gemm", "f w b", "y")]
    model = model_of(nodes, element=TensorProto.INT64, w=WEIGHTS["w"], b=WEIGHTS["b"])
    assert from_onnx(model).sizes == (4, 5)


def test_gelu_of_onnx_runtime_s_own_domain_is_read():
    nodes = [node("MatMul", "x w", "z"), node("Gelu", "z", "y", domain="com.microsoft")]
    model = model_of(nodes, w=WEIGHTS["w"])
    model.opset_import.add(domain="com.microsoft", version=1)
    assert from_onnx(model).activations == ("gelu",)


@pytest.mark.parametrize("seed", range(3))
def test_a_float32_model_of_large_inputs_comes_in(seed):
    """Rounding alone exceeds 1e-5 there."""
    net = cr.Network([784, 256, 128, 10], ["relu", "relu", "softmax"], "cross_entropy", seed=seed)
    scaled = net.with_input_scaling(np.full(784, 120.0), np.full(784, 0.01))
    np.testing.assert_array_equal(
        from_onnx(to_onnx(scaled)).get_parameters(), scaled.get_parameters()
    )


def test_the_dtype_can_be_chosen():
    model = model_of(TWO_LAYERS, **WEIGHTS)
    net = from_onnx(model, dtype="float64")
    assert net.dtype == np.float64
    x = RNG.standard_normal((9, 4))
    assert relative(from_onnx(model).predict(x), net.predict(x)) < 1e-6


def test_the_model_is_not_changed():
    model = model_of(TWO_LAYERS, **WEIGHTS)
    before = model.SerializeToString(deterministic=True)
    from_onnx(model)
    assert model.SerializeToString(deterministic=True) == before


def test_equal_shapes_do_not_make_two_tensors_alike():
    stack = Rows(None, ("rows",), (3,), "float32")
    assert not stack.alike(Rows(None, (1, "rows"), (3,), "float32"))
