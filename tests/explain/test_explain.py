"""explain and trace: the chain rule for one weight, and every quantity of one pass."""

from __future__ import annotations

import numpy as np
import pytest

import reference
from support import HIDDEN, OUTPUT_PAIRS, assert_same_bits, random_network, relative, smooth_problem


def every_place(net):
    """(layer, to, from_) of every weight."""
    for layer, w in enumerate(net.weights, start=1):
        for to, from_ in np.ndindex(w.shape):
            yield layer, to, from_


# --- the lesson: from node 2 of six to node 1 of four, squared error, no bias --------------------


@pytest.fixture
def lesson(rng):
    """w_12 of the lesson: C = sum_j (a_j - y_j)^2, z_1 = sum_k w_1k a_k."""
    net = random_network(rng, [3, 6, 4], "sigmoid", "sse", bias=False)
    return net, rng.normal(size=3), rng.random(4)


def test_the_single_weight_of_the_lesson_is_the_entry_of_gradients_exactly(lesson):
    net, x, y = lesson
    explanation = net.explain(x, y, layer=2, to=1, from_=2)
    assert explanation.gradient == net.gradients(x, y).weights[1][1, 2]


def test_the_three_terms_of_the_lesson(lesson):
    net, x, y = lesson
    a1 = reference.sigmoid(net.weights[0] @ x)
    a2 = reference.sigmoid(net.weights[1] @ a1)
    explanation = net.explain(x, y, layer=2, to=1, from_=2)
    assert explanation.dC_da == pytest.approx(2 * (a2[1] - y[1]), rel=1e-12)
    assert explanation.da_dz == pytest.approx(a2[1] * (1 - a2[1]), rel=1e-12)
    assert explanation.dz_dw == pytest.approx(a1[2], rel=1e-12)
    product = explanation.dC_da * explanation.da_dz * explanation.dz_dw
    assert explanation.gradient == pytest.approx(product, rel=1e-12)


def test_a_weight_of_the_hidden_layer_sums_over_the_next(lesson):
    net, x, y = lesson
    trace = reference.Net.of(net).trace(x[None], y[None])
    explanation = net.explain(x, y, layer=1, to=4, from_=0)
    expected = sum(net.weights[1][q, 4] * trace.delta[1][0, q] for q in range(4))
    assert explanation.dC_da == pytest.approx(expected, rel=1e-12)
    assert explanation.da_dz == pytest.approx(trace.g_prime[0][0, 4], rel=1e-12)
    assert explanation.dz_dw == x[0]
    assert explanation.gradient == net.gradients(x, y).weights[0][4, 0]


# --- every weight of every kind of network ----------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_every_weight_explains_its_entry_of_gradients_exactly(output, loss, dtype):
    net, x, y = smooth_problem(2, [3, 4, 5, 3], ["gelu", "elu", output], loss, 1, dtype=dtype)
    gradients = net.gradients(x, y)
    for layer, to, from_ in every_place(net):
        explanation = net.explain(x, y, layer, to, from_)
        assert explanation.gradient == gradients.weights[layer - 1][to, from_]
        assert explanation.delta == pytest.approx(gradients.biases[layer - 1][to], rel=0, abs=0)


@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_the_factors_multiply_to_delta(output, loss):
    net, x, y = smooth_problem(3, [3, 4, 3], ["tanh", output], loss, 1)
    for layer, to, from_ in every_place(net):
        e = net.explain(x, y, layer, to, from_)
        # With a softmax output both are arrays over the outputs i: their dot product.
        product = np.dot(e.dC_da, e.da_dz)
        assert product == pytest.approx(e.delta, rel=1e-9, abs=1e-14)
        assert e.delta * e.dz_dw == pytest.approx(e.gradient, rel=1e-15)


def test_softmax_shows_the_whole_sum(rng):
    net = random_network(rng, [3, 4], "softmax", "sse")
    x, y = rng.normal(size=3), rng.random(4)
    a = reference.softmax(net.weights[0] @ x + net.biases[0])
    e = net.explain(x, y, layer=1, to=2, from_=1)
    np.testing.assert_allclose(e.dC_da, 2 * (a - y), rtol=1e-12)
    np.testing.assert_allclose(e.da_dz, a * ((np.arange(4) == 2) - a[2]), rtol=1e-12)


def test_a_label_is_explained_as_its_one_hot_row(rng):
    net = random_network(rng, [3, 4], "softmax", "cross_entropy")
    x = rng.normal(size=3)
    by_label, by_row = net.explain(x, 2, 1, 2, 1), net.explain(x, [0, 0, 1, 0], 1, 2, 1)
    assert by_label.gradient == pytest.approx(by_row.gradient, rel=1e-15)


def test_an_explanation_prints_its_terms(lesson):
    net, x, y = lesson
    explanation = net.explain(x, y, layer=2, to=1, from_=2)
    text = str(explanation)
    for number in (explanation.dC_da, explanation.da_dz, explanation.dz_dw, explanation.gradient):
        assert f"{number:.5}"[:6] in text
    for symbol in ("∂C/∂a", "∂a", "∂z", "∂w"):
        assert symbol in text


def test_explain_changes_nothing(lesson):
    net, x, y = lesson
    before = net.get_parameters()
    net.explain(x, y, 1, 0, 0)
    net.trace(x, y)
    assert_same_bits(net.get_parameters(), before)


# --- trace ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_trace_equals_the_oracle(output, loss, dtype):
    net, x, y = smooth_problem(4, [3, 6, 5, 4], ["softplus", "selu", output], loss, 7, dtype=dtype)
    trace, expected = net.trace(x, y), reference.Net.of(net).trace(x, y)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    assert [len(trace.a), len(trace.z), len(trace.g_prime), len(trace.delta)] == [4, 3, 3, 3]
    for name in ("a", "z", "g_prime", "delta"):
        for ours, theirs in zip(getattr(trace, name), getattr(expected, name), strict=True):
            assert ours.shape == theirs.shape
            assert relative(ours, theirs) < tolerance


@pytest.mark.parametrize("hidden", HIDDEN)
def test_g_prime_of_every_activation(rng, hidden):
    net = random_network(rng, [4, 50, 2], [hidden, "identity"], "mse")
    x = rng.normal(0, 2, (20, 4))
    z = x @ net.weights[0].T + net.biases[0]
    expected = reference.ACTIVATIONS[hidden][1](z)
    np.testing.assert_allclose(
        net.trace(x, np.zeros((20, 2))).g_prime[0], expected, rtol=1e-12, atol=1e-14
    )


def test_trace_holds_the_gradients_and_the_cost(lesson):
    net, x, y = lesson
    trace, gradients = net.trace(x, y), net.gradients(x, y)
    assert trace.cost == gradients.cost
    for ours, theirs in zip(trace.grad_weights, gradients.weights, strict=True):
        assert_same_bits(ours, theirs)
    assert tuple(trace.grad_biases) == ()


def test_gradients_are_the_mean_of_the_outer_products_of_a_trace(rng):
    net = random_network(rng, [4, 6, 3], "sigmoid", "half_mse")
    x, y = rng.normal(size=(9, 4)), rng.random((9, 3))
    trace = net.trace(x, y)
    for i, w in enumerate(net.weights):
        products = np.einsum("nj,nk->njk", trace.delta[i], trace.a[i])
        assert products.shape[1:] == w.shape
        np.testing.assert_allclose(trace.grad_weights[i], products.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(trace.grad_biases[i], trace.delta[i].mean(axis=0), rtol=1e-12)


def test_a_trace_of_a_vector_has_no_batch_axis(lesson):
    net, x, y = lesson
    trace, batch = net.trace(x, y), net.trace(x[None], y[None])
    assert [a.shape for a in trace.a] == [(3,), (6,), (4,)]
    for name in ("a", "z", "g_prime", "delta"):
        for one, row in zip(getattr(trace, name), getattr(batch, name), strict=True):
            assert_same_bits(one, row[0])


@pytest.mark.bits
def test_rows_of_a_trace_do_not_depend_on_the_batch(rng):
    net = random_network(rng, [20, 33, 7], ["silu", "softmax"], "cross_entropy", dtype="float32")
    x, y = rng.normal(size=(70, 20)).astype(np.float32), rng.integers(0, 7, 70)
    whole = net.trace(x, y)
    for start, stop in ((0, 1), (5, 38), (69, 70)):
        part = net.trace(x[start:stop], y[start:stop])
        for name in ("a", "z", "g_prime", "delta"):
            for ours, all_rows in zip(getattr(part, name), getattr(whole, name), strict=True):
                assert_same_bits(ours, all_rows[start:stop])


def test_arrays_of_a_trace_are_copies(lesson):
    net, x, y = lesson
    trace = net.trace(x, y)
    before = [a.copy() for a in trace.a]
    net.predict(-x)
    net.train_step(x, y, learning_rate=1.0)
    for kept, now in zip(before, trace.a, strict=True):
        assert_same_bits(now, kept)
