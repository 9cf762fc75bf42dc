"""Costs, gradients and targets: every loss against the oracle, and what the fused pairs promise."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
import reference
from support import (
    HIDDEN,
    OUTPUT_PAIRS,
    assert_same_bits,
    flat,
    random_network,
    relative,
    smooth_problem,
)

#: Norm-wise. Costs and gradients of the small networks here are well conditioned.
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


def classifier(rng, dtype="float64"):
    return random_network(rng, [6, 8, 4], ["tanh", "softmax"], "cross_entropy", dtype=dtype)


def one_logit_per_class(values, dtype="float64"):
    """A network without hidden layer whose logits, for x = 1, are `values`."""
    net = cr.Network([1, len(values)], "softmax", "cross_entropy", dtype=dtype, seed=0)
    net.weights[0][:, 0] = values
    return net


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_cost_and_gradients_equal_the_oracle(output, loss, dtype):
    net, x, y = smooth_problem(5, [6, 9, 4], ["silu", output], loss, 11, dtype=dtype)
    expected = reference.Net.of(net).gradients(x, y)
    gradients = net.gradients(x, y)
    assert net.cost(x, y) == pytest.approx(expected.cost, rel=TOLERANCE[dtype])
    assert gradients.cost == net.cost(x, y)
    assert relative(flat(gradients), flat(expected)) < TOLERANCE[dtype]
    assert [g.shape for g in gradients.weights] == [w.shape for w in net.weights]
    assert [g.shape for g in gradients.biases] == [b.shape for b in net.biases]
    assert all(g.dtype == net.dtype for g in (*gradients.weights, *gradients.biases))


@pytest.mark.parametrize("n", [1, 2, 31, 64, 257, 1000])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gradients_are_the_mean_over_any_number_of_samples(rng, dtype, n):
    net = random_network(rng, [20, 17, 5], ["tanh", "sigmoid"], "half_mse", dtype=dtype)
    x, y = rng.normal(size=(n, 20)).astype(dtype), rng.random((n, 5)).astype(dtype)
    expected = reference.Net.of(net).gradients(x, y)
    gradients = net.gradients(x, y)
    assert gradients.cost == pytest.approx(expected.cost, rel=TOLERANCE[dtype])
    assert relative(flat(gradients), flat(expected)) < TOLERANCE[dtype]


@pytest.mark.parametrize("sizes", [[1, 1], [2, 1, 2], [3, 100, 1], [130, 65, 33, 2]], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gradients_of_narrow_and_wide_layers(rng, dtype, sizes):
    net = random_network(rng, sizes, "tanh", "sse", dtype=dtype)
    x = rng.normal(size=(9, sizes[0])).astype(dtype)
    y = rng.uniform(-1, 1, size=(9, sizes[-1])).astype(dtype)
    expected = reference.Net.of(net).gradients(x, y)
    assert relative(flat(net.gradients(x, y)), flat(expected)) < TOLERANCE[dtype]


def test_flatten_has_the_order_of_the_flat_parameter_vector(rng):
    net = classifier(rng)
    gradients = net.gradients(rng.normal(size=(3, 6)), [0, 1, 3])
    parts = [p.ravel() for p in reference.interleave(gradients)]
    assert_same_bits(gradients.flatten(), np.concatenate(parts))
    assert gradients.flatten().shape == (net.n_parameters,)


# --- sample weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS[::7])
def test_weighted_cost_is_the_weighted_mean(rng, output, loss, dtype):
    net, x, y = smooth_problem(6, [6, 9, 4], ["tanh", output], loss, 10, dtype=dtype)
    weight = rng.random(10) * np.array([0, 1] * 5)
    expected = reference.Net.of(net).gradients(x, y, weight)
    gradients = net.gradients(x, y, sample_weight=weight)
    assert net.cost(x, y, weight) == pytest.approx(expected.cost, rel=TOLERANCE[dtype])
    assert relative(flat(gradients), flat(expected)) < TOLERANCE[dtype]


def test_a_weight_of_zero_leaves_the_sample_out(rng):
    net = classifier(rng)
    x, y = rng.normal(size=(6, 6)), rng.integers(0, 4, 6)
    kept = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    rows = kept > 0
    assert net.cost(x, y, kept) == pytest.approx(net.cost(x[rows], y[rows]), rel=1e-14)


def test_weights_are_relative(rng):
    net = classifier(rng)
    x, y, weight = rng.normal(size=(6, 6)), rng.integers(0, 4, 6), rng.random(6)
    assert net.cost(x, y, 8 * weight) == pytest.approx(net.cost(x, y, weight), rel=1e-14)


# --- targets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("integer", ["uint8", "int16", "int32", "int64", "uint64"])
def test_labels_equal_one_hot_rows(rng, integer):
    net = classifier(rng)
    x, labels = rng.normal(size=(9, 6)), rng.integers(0, 4, 9).astype(integer)
    by_label, by_row = net.gradients(x, labels), net.gradients(x, np.eye(4)[labels])
    assert by_label.cost == pytest.approx(by_row.cost, rel=1e-14)
    assert relative(flat(by_label), flat(by_row)) < 1e-14


def test_labels_may_be_a_list(rng):
    net, x = classifier(rng), rng.normal(size=(3, 6))
    assert net.cost(x, [0, 3, 1]) == net.cost(x, np.array([0, 3, 1]))


def test_a_flat_target_is_a_column_where_one_output_is(rng):
    net = random_network(rng, [3, 4, 1], "tanh", "mse")
    x, y = rng.normal(size=(8, 3)), rng.normal(size=8)
    assert net.cost(x, y) == net.cost(x, y[:, None])
    assert_same_bits(net.gradients(x, y).flatten(), net.gradients(x, y[:, None]).flatten())


def test_integers_are_values_where_the_loss_is_not_cross_entropy(rng):
    net = random_network(rng, [3, 4, 1], ["tanh", "sigmoid"], "binary_cross_entropy")
    x, y = rng.normal(size=(8, 3)), rng.integers(0, 2, 8)
    assert net.cost(x, y) == net.cost(x, y.astype(float)[:, None])


@pytest.mark.filterwarnings("ignore:row 0 of y sums to:UserWarning")
def test_fused_softmax_takes_targets_that_do_not_sum_to_one(rng):
    """delta_j = a_j sum(y) - y_j."""
    net = classifier(rng)
    x, y = rng.normal(size=(5, 6)), rng.random((5, 4))
    trace = net.trace(x, y)
    expected = trace.a[-1] * y.sum(axis=1, keepdims=True) - y
    np.testing.assert_allclose(trace.delta[-1], expected, rtol=0, atol=1e-14)
    assert relative(flat(net.gradients(x, y)), flat(reference.Net.of(net).gradients(x, y))) < 1e-13


# --- numbers at the edge ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("logit", [30.0, 1e3, 1e30])
def test_cross_entropy_of_huge_logits(dtype, logit):
    net = one_logit_per_class([logit, -logit, 0.0], dtype)
    assert net.cost([[1.0]], [0]) == pytest.approx(0, abs=1e-6)
    assert net.cost([[1.0]], [1]) == pytest.approx(2 * logit, rel=1e-6)
    wrong = net.gradients([[1.0]], [1]).weights[0]
    np.testing.assert_allclose(wrong, [[1], [-1], [0]], atol=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("logit", [30.0, 1e3, 1e30])
def test_binary_cross_entropy_of_huge_logits(dtype, logit):
    net = cr.Network([1, 1], "sigmoid", "binary_cross_entropy", dtype=dtype, seed=0)
    net.set_parameters([logit, 0.0])
    assert net.cost([[1.0]], [1.0]) == pytest.approx(0, abs=1e-12)
    assert net.cost([[1.0]], [0.0]) == pytest.approx(logit, rel=1e-6)
    assert net.cost([[-1.0]], [1.0]) == pytest.approx(logit, rel=1e-6)
    assert net.gradients([[1.0]], [0.0]).weights[0].item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("name", [*HIDDEN, "softmax"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_no_activation_turns_a_large_pre_activation_into_nan(name, dtype):
    net = cr.Network([1, 2], name, "half_mse", dtype=dtype, bias=False, seed=0)
    net.weights[0][...] = 1.0
    x = np.array([[1e4], [-1e4], [1e30], [-1e30], [0.0], [-0.0]], dtype)
    out = net.predict(x)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, reference.Net.of(net).predict(x), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("loss", reference.LOSSES)
def test_the_cost_of_the_right_answer_is_zero(rng, loss):
    net = random_network(rng, [3, 4, 2], "tanh", loss)
    x = rng.normal(size=(5, 3))
    gradients = net.gradients(x, net.predict(x))
    assert gradients.cost == 0
    assert not gradients.flatten().any()
