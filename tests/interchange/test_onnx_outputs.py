"""Which output of an ONNX model is taken: never one of several that could be meant."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

from support import relative

pytestmark = pytest.mark.unsanitized

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install .[test]")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from chainrule.onnx import from_onnx  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.standard_normal((9, 4)).astype(np.float32)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def actor_critic(*head, outputs=("action", "value"), shape=None):
    """A policy and a value over shared layers, as agents are exported for a robot or a game."""
    nodes = [
        node("Gemm", "obs w1 b1", "/shared/z"),
        node("Tanh", "/shared/z", "/shared/a"),
        node("Gemm", "/shared/a wp bp", "logits"),
        node("Gemm", "/shared/a wv bv", "value"),
        *head,
    ]
    constants = {
        **{"w1": array(4, 6), "b1": array(6), "wp": array(6, 3), "bp": array(3)},
        **{"wv": array(6, 1), "bv": array(1), "low": np.float32(-1), "high": np.float32(1)},
    }
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answer_of(model, output):
    return ReferenceEvaluator(model).run([output], {"obs": X})[0]


HEADS = {
    "argmax": node("ArgMax", "logits", "action", axis=1, keepdims=0),
    "clamp": node("Clip", "logits low high", "action", name="/Clip"),
}


@pytest.mark.parametrize("head", HEADS)
def test_the_critic_beside_an_actor_is_not_taken_unasked(head):
    model = actor_critic(HEADS[head])
    with pytest.raises(ValueError, match=r"several outputs.*pass output='…'") as refusal:
        from_onnx(model)
    lines = str(refusal.value).splitlines()
    kind = HEADS[head].op_type
    assert re.match(rf"  'action' \(.*\): node '.*' \({kind}\) is not understood", lines[1])
    assert lines[2] == "  'value' (width 1): can be taken"


@pytest.mark.parametrize("head", HEADS)
def test_the_critic_is_taken_if_it_is_named(head):
    model = actor_critic(HEADS[head])
    net = from_onnx(model, output="value")
    assert net.sizes == (4, 6, 1)
    assert relative(net.predict(X), answer_of(model, "value")) < 1e-6
    with pytest.raises(ValueError, match="output action is no multilayer perceptron's"):
        from_onnx(model, output="action")


def test_an_actor_that_is_a_network_beside_a_critic_is_not_taken_unasked():
    model = actor_critic(outputs=("logits", "value"))
    with pytest.raises(ValueError, match="several outputs") as refusal:
        from_onnx(model)
    assert "'logits' (width 3): can be taken" in str(refusal.value)
    assert "'value' (width 1): can be taken" in str(refusal.value)
    assert from_onnx(model, output="logits").sizes == (4, 6, 3)


def test_a_width_that_the_model_states_is_told_of_an_output_that_cannot_be_taken():
    model = actor_critic(HEADS["clamp"], shape=["batch", 3])
    with pytest.raises(ValueError, match=r"'action' \(width 3\): node"):
        from_onnx(model)


LABELS = {
    "the label": [node("ArgMax", "p", "label", axis=1)],
    "the label of the logits' copy": [
        node("Identity", "p", "same"),
        node("ArgMax", "same", "best", axis=1),
        node("Gather", "classes best", "label"),
    ],
    "a threshold": [node("Greater", "p half", "label")],
}


@pytest.mark.parametrize("labels", LABELS)
def test_labels_of_the_output_that_is_taken_are_dropped(labels):
    head = [node("Softmax", "logits", "p"), *LABELS[labels]]
    model = actor_critic(*head, outputs=("label", "p"))
    for name, value in {"classes": np.arange(3) + 10, "half": np.float32(0.5)}.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    net = from_onnx(model)
    assert net.activations == ("tanh", "softmax")
    assert relative(net.predict(X), answer_of(model, "p")) < 1e-6


def test_an_output_of_the_taken_one_and_of_the_input_is_not_dropped():
    head = [node("Softmax", "logits", "p"), node("Max", "p value", "m")]
    with pytest.raises(ValueError, match="several outputs"):
        from_onnx(actor_critic(*head, outputs=("p", "m")))


def test_an_output_of_the_layer_before_the_taken_one_is_not_dropped():
    """A function of the logits is none of the probabilities: other logits have the same ones."""
    head = [node("Softmax", "logits", "p"), node("ReduceMax", "logits", "best")]
    with pytest.raises(ValueError, match="several outputs"):
        from_onnx(actor_critic(*head, outputs=("p", "best")))


def test_an_output_of_an_inner_graph_that_may_take_the_input_is_not_dropped():
    """The value is taken within the graph of the If, and is none of its inputs."""
    inner = [
        helper.make_graph(
            [node("Neg", "value", name)],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("yes", "no")
    ]
    branch = node("If", "always", "other", then_branch=inner[0], else_branch=inner[1])
    model = actor_critic(node("Softmax", "logits", "p"), branch, outputs=("p", "other"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    with pytest.raises(ValueError, match="several outputs"):
        from_onnx(model)


def test_what_is_taken_and_dropped_is_logged(caplog):
    caplog.set_level(logging.INFO, "chainrule")
    head = [node("Softmax", "logits", "p"), node("ArgMax", "p", "label", axis=1)]
    from_onnx(actor_critic(*head, outputs=("label", "p")))
    assert "took the output p of the model, dropped ['label']" in caplog.text


def test_names_of_outputs_are_text():
    with pytest.raises(TypeError, match="output must be a str, got int"):
        from_onnx(actor_critic(), output=3)


def test_the_answer_of_a_dead_branch_is_in_nobodys_way():
    model = actor_critic(node("Sin", "logits", "dead"), outputs=("value",))
    assert relative(from_onnx(model).predict(X), answer_of(model, "value")) < 1e-6
