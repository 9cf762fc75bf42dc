"""Gradients in float64 against central differences, for everything the constructor permits.

Kinks are excluded by the rule stated at support.MARGIN: data are redrawn, from a fixed sequence
of seeds, until every pre-activation and residual keeps that distance to the nearest kink.
"""

from __future__ import annotations

import numpy as np
import pytest

from support import HIDDEN, OUTPUT_PAIRS, flat, relative, smooth_problem


def architecture(output, depth):
    """`depth` layers; hidden ones like the output, or all in turn where it is softmax."""
    sizes = [4, 3, 5, 4, 3][:depth] + [3]
    if output == "softmax":
        return sizes, [*(HIDDEN * 2)[2 * depth : 3 * depth - 1], output]
    return sizes, [output] * depth


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_check_gradients(output, loss, depth, bias):
    sizes, activations = architecture(output, depth)
    net, x, y = smooth_problem(depth, sizes, activations, loss, 3, bias=bias)
    assert net.check_gradients(x, y) < 1e-7


@pytest.mark.parametrize("hidden", HIDDEN)
def test_check_gradients_of_mixed_activations(hidden):
    activations = [hidden, "tanh", hidden, "softmax"]
    net, x, y = smooth_problem(7, [3, 4, 4, 4, 3], activations, "cross_entropy", 3)
    assert net.check_gradients(x, y) < 1e-7


def test_check_gradients_of_a_float32_network_is_evaluated_in_float64():
    net, x, y = smooth_problem(0, [3, 4, 2], ["tanh"] * 2, "half_mse", 3, dtype="float32")
    assert net.check_gradients(x, y) < 1e-7


def test_check_gradients_changes_nothing():
    net, x, y = smooth_problem(0, [3, 4, 2], ["tanh"] * 2, "half_mse", 3)
    before = net.get_parameters()
    net.check_gradients(x, y)
    assert net.get_parameters().tobytes() == before.tobytes()


@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_gradients_equal_differences_of_the_cost_taken_here(output, loss):
    sizes, activations = architecture(output, 3)
    net, x, y = smooth_problem(11, sizes, activations, loss, 3)
    theta, numeric = net.get_parameters(), []
    for i in range(theta.size):
        h = 6e-6 * max(1.0, abs(theta[i]))  # about the cube root of the unit roundoff
        costs = []
        for sign in (1, -1):
            shifted = theta.copy()
            shifted[i] += sign * h
            net.set_parameters(shifted)
            costs.append(net.cost(x, y))
        numeric.append((costs[0] - costs[1]) / (2 * h))
    net.set_parameters(theta)
    assert relative(flat(net.gradients(x, y)), numeric) < 1e-7


def test_a_wrong_gradient_would_be_seen():
    """The measure itself can fail: a gradient off by one part in 10^5 exceeds the bound."""
    net, x, y = smooth_problem(3, [3, 4, 2], ["tanh"] * 2, "half_mse", 3)
    g = flat(net.gradients(x, y))
    assert relative(g * (1 + 1e-5), g) > 1e-7
    assert np.linalg.norm(g) > 0
