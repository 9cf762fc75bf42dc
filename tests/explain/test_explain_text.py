"""What a trace and an explanation print, and what a notebook shows of them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

import chainrule as cr
import reference
from chainrule.explain.lines import mathematics
from support import OUTPUT_PAIRS, random_network, random_targets, smooth_problem


@pytest.fixture
def worked_example():
    """1-1-1, sigmoid, half_mse: the numbers of test_worked_example.py."""
    net = cr.Network([1, 1, 1], "sigmoid", "half_mse", dtype="float64", seed=0)
    net.set_parameters([0.5, 0.1, -0.3, 0.2])
    return net


@pytest.fixture
def deep(rng):
    net = random_network(rng, [3, 4, 5, 2], ["tanh", "gelu", "sigmoid"], "half_mse")
    return net, rng.normal(size=3), rng.random(2)


def quantities(text: str) -> dict[str, str]:
    """The lines of a printed trace by their symbol."""
    return {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}


def html_of(thing) -> ElementTree.Element:
    """The fragment a notebook shows, which has to be well-formed."""
    return ElementTree.fromstring(f"<body>{thing._repr_html_()}</body>")


def words(element: ElementTree.Element) -> str:
    style = element.find("style")
    element.remove(style)
    return " ".join("".join(row.itertext()) for row in element.iter("tr"))


# --- trace ------------------------------------------------------------------------------------


def test_a_printed_trace_has_every_quantity_with_its_number(worked_example):
    lines = quantities(str(worked_example.trace([1.0], [1.0])))
    for symbol, number in {
        "a^0": "1.",
        "W^1": "0.5",
        "b^1": "0.1",
        "z^1": "0.6",
        "a^1": "0.645656",
        "W^2": "-0.3",
        "b^2": "0.2",
        "z^2": "0.006303",
        "a^2": "0.501576",
        "y": "1.",
        "C": "0.124213356",
        "∂C/∂a^2": "-0.498424",
        "g'(z^2)": "0.249998",
        "δ^2": "-0.124605",
        "∇W^2": "-0.080452",
        "∇b^2": "-0.124605",
        "∂C/∂a^1": "0.037381",
        "g'(z^1)": "0.228784",
        "δ^1": "0.008552",
        "∇W^1": "0.008552",
        "∇b^1": "0.008552",
    }.items():
        assert lines[symbol].rstrip("]").endswith(number), lines[symbol]


def test_a_printed_trace_states_shapes_and_formulas(rng):
    net = random_network(rng, [3, 4, 2], ["relu", "identity"], "mse")
    lines = quantities(str(net.trace(rng.normal(size=(6, 3)), rng.normal(size=(6, 2)))))
    assert re.search(r"W\^1 +4x3 ", lines["W^1"])
    assert re.search(r"= W\^2 a\^1 \+ b\^2 +6x2 ", lines["z^2"])
    assert re.search(r"= \(W\^2\)ᵀ δ\^2 +6x4 ", lines["∂C/∂a^1"])
    assert re.search(r"= mean of δ\^1 \(a\^0\)ᵀ +4x3 ", lines["∇W^1"])


def test_a_printed_trace_goes_forward_and_back(deep):
    headings = [line for line in str(deep[0].trace(*deep[1:])).splitlines() if line[0] != " "]
    order = [re.match(r"(\w+)(?:, layer (\d))?", line) for line in headings[1:]]
    assert [(m[1], m[2]) for m in order] == [
        *(("forward", str(layer)) for layer in range(4)),
        ("cost", None),
        *(("backward", str(layer)) for layer in (3, 2, 1)),
    ]


def test_a_trace_without_biases_names_none(rng):
    net = random_network(rng, [2, 3, 1], "tanh", "mse", bias=False)
    assert not re.search(r"b\^", str(net.trace(rng.normal(size=2), [0.5])))


def test_large_arrays_are_abridged(rng):
    net = random_network(rng, [300, 200, 10], ["tanh", "softmax"], "cross_entropy")
    trace = net.trace(rng.normal(size=(40, 300)), rng.integers(0, 10, 40))
    assert len(str(trace)) < 20_000
    assert len(trace._repr_html_()) < 100_000


@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_dC_da_of_a_trace(output, loss):
    net, x, y = smooth_problem(4, [3, 6, 4], ["softplus", output], loss, 5)
    trace = net.trace(x, y)
    a, targets = reference.Net.of(net).predict(x), np.asarray(y, float)
    expected = {
        "cross_entropy": lambda: -targets / a,
        "binary_cross_entropy": lambda: (a - targets) / (a * (1 - a)) / 4,
    }.get(loss, lambda: reference.LOSSES[loss][1](a, targets))()
    np.testing.assert_allclose(trace.dC_da[1], expected, rtol=1e-11)
    np.testing.assert_allclose(trace.dC_da[0], trace.delta[1] @ net.weights[1], rtol=1e-11)


def test_labels_are_one_hot_rows_of_y(rng):
    net = random_network(rng, [2, 3], "softmax", "cross_entropy")
    x = rng.normal(size=(2, 2))
    np.testing.assert_array_equal(net.trace(x, [2, 0]).y, [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(net.trace(x[0], 1).y, [0, 1, 0])


def test_weights_of_a_trace_are_copies(deep):
    net, x, y = deep
    trace = net.trace(x, y)
    before = [array.copy() for array in (*trace.weights, *trace.biases)]
    net.train_step(x, y, learning_rate=1.0)
    for kept, now in zip(before, (*trace.weights, *trace.biases), strict=True):
        np.testing.assert_array_equal(now, kept)


@pytest.mark.parametrize("shape", [(3,), (6, 3)])
def test_a_notebook_shows_the_whole_trace(rng, shape):
    net = random_network(rng, [3, 4, 2], ["relu", "identity"], "mse")
    y = rng.normal(size=(*shape[:-1], 2))
    trace = net.trace(rng.normal(size=shape), y)
    text = words(html_of(trace))
    for symbol in ("W1", "b2", "z1", "a0", "∂C/∂a1", "g'(z2)", "δ1", "∇W2", "∇b1"):
        assert symbol in text
    assert f"{trace.cost:.9g}" in text
    for value in (trace.weights[0][2, 1], trace.delta[0].flat[3], trace.z[1].flat[1]):
        assert f"{value:.4g}" in text


def test_a_notebook_shows_numbers_that_are_not_finite():
    net = cr.Network([1, 1], "identity", "mse", init="zeros", seed=0)
    net.weights[0][0, 0] = np.inf
    assert "inf" in words(html_of(net.trace([1.0], [0.0])))


# --- explain ----------------------------------------------------------------------------------


def test_a_bias_explains_its_entry_of_gradients_exactly(deep):
    net, x, y = deep
    gradients = net.gradients(x, y)
    for layer, b in enumerate(net.biases, start=1):
        for to in range(len(b)):
            explanation = net.explain(x, y, layer, to)
            assert explanation.gradient == gradients.biases[layer - 1][to]
            assert (explanation.w, explanation.dz_dw, explanation.from_) == (b[to], 1, None)
            assert "∂z_j/∂b_j" in str(explanation)


def test_a_network_without_biases_has_none_to_explain(rng):
    net = random_network(rng, [2, 3, 1], "tanh", "mse", bias=False)
    with pytest.raises(ValueError, match="no biases"):
        net.explain([1.0, 2.0], [0.5], 1, 0)


@pytest.mark.parametrize(
    ("depth", "layers"), [(0, []), (1, [2]), (2, [2, 3]), (7, [2, 3]), (None, [2, 3])]
)
def test_depth_says_how_many_layers_of_errors_are_explained(deep, depth, layers):
    net, x, y = deep
    explanation = net.explain(x, y, 1, 2, 0, depth=depth)
    widths = [None, 4, 5, 2]
    expected = [(layer, q) for layer in layers for q in range(widths[layer])]
    assert [(e.layer, e.neuron) for e in explanation.errors] == expected
    headings = re.findall(r"error of neuron (\d) of layer (\d)", str(explanation))
    assert [(int(layer), int(q)) for q, layer in headings] == expected


def test_every_error_is_that_of_the_trace_and_the_product_of_its_factors(deep):
    net, x, y = deep
    trace = net.trace(x, y)
    for error in net.explain(x, y, 1, 2, 0, depth=None).errors:
        assert error.delta == trace.delta[error.layer - 1][error.neuron]
        assert error.dC_da == pytest.approx(trace.dC_da[error.layer - 1][error.neuron], rel=1e-15)
        assert error.dC_da * error.da_dz == pytest.approx(error.delta, rel=1e-12)


def test_the_errors_of_the_sum_are_printed_with_their_factors(worked_example):
    text = str(worked_example.explain([1.0], [1.0], 1, 0, 0))
    unfolded = text[text.index("the error of neuron 0 of layer 2") :]
    for part in ("∂C/∂a_0", "(a_0 - y_0)/n_L", "∂a_0/∂z_0", "a_0 (1 - a_0)", "δ_0"):
        assert part in unfolded
    for number in ("-0.498424228", "0.249997517", "-0.124604819"):
        assert number in unfolded


def test_a_numbered_neuron_is_named_in_every_formula(rng):
    net = random_network(rng, [2, 3, 2], ["identity", "tanh"], "mse")
    text = str(net.explain(rng.normal(size=2), rng.normal(size=2), 1, 0, 0))
    unfolded = text[text.index("the error of neuron 0") :]
    assert "1 - a_0²" in unfolded and "1 - a_1²" in unfolded
    assert "_j" not in unfolded


def test_signs_stand_in_one_column(deep):
    net, x, y = deep
    lines = str(net.explain(x, y, 1, 2, 0, depth=None)).splitlines()
    calculations = [line for line in lines if re.match(r"  (∂|δ| {12}[=+])", line)]
    assert len(calculations) > 60
    assert {line[14] for line in calculations} == {"=", "+"}


def test_a_long_sum_shows_its_largest_terms_and_counts_the_rest(rng):
    net = random_network(rng, [2, 3, 40], ["tanh", "sigmoid"], "mse")
    x, y = rng.normal(size=2), rng.random(40)
    explanation = net.explain(x, y, 1, 1, 0)
    products = np.abs(net.weights[1][:, 1] * net.trace(x, y).delta[1])
    largest = np.argsort(-products)[:8]
    shown = [int(q) for q in re.findall(r"q = (\d+)", str(explanation))]
    assert shown == largest.tolist()
    assert "32 terms, none larger" in str(explanation)
    assert [e.neuron for e in explanation.errors] == sorted(largest)


def test_the_zeros_of_a_one_hot_target_are_not_listed(rng):
    net = random_network(rng, [2, 40], "softmax", "cross_entropy")
    text = str(net.explain(rng.normal(size=2), 7, 1, 3, 0))
    assert re.findall(r"i = (\d+)$", text, re.MULTILINE) == ["7"]
    assert "39 terms, none larger" in text


@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_every_kind_of_output_is_printed_and_shown(rng, output, loss):
    net = random_network(rng, [3, 4, 3], ["elu", output], loss)
    explanation = net.explain(
        rng.normal(size=3), random_targets(rng, 1, 3, loss, output)[0], 1, 2, 0
    )
    number = f"{explanation.gradient:.9g}"
    assert str(explanation).count(number) >= 1
    assert number in words(html_of(explanation))


def test_a_notebook_shows_the_calculation(worked_example):
    explanation = worked_example.explain([1.0], [1.0], 1, 0, 0)
    text = words(html_of(explanation))
    assert "∂C/∂wjk = ∂C/∂aj · ∂aj/∂zj · ∂zj/∂wjk".replace(" ", "") in text.replace(" ", "")
    assert "0.00855228569" in text
    assert "the error of neuron 0 of layer 2" in text


def test_mathematics_is_escaped_and_has_subscripts():
    assert mathematics("cross_entropy") == "cross_entropy"
    assert mathematics("w_jk a^12 < b_q,3") == "w<sub>jk</sub> a<sup>12</sup> &lt; b<sub>q,3</sub>"


@pytest.mark.parametrize("depth", [-1, 1.5, True, "all"])
def test_a_depth_that_is_none_is_refused(deep, depth):
    with pytest.raises((IndexError, TypeError), match="depth"):
        deep[0].explain(*deep[1:], 1, 0, 0, depth=depth)
