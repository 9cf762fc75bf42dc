"""The oracle itself, against JAX autograd and central differences: it needs no engine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import reference
from support import HIDDEN, OUTPUT_PAIRS, flat, random_targets, relative

SIZES = [3, 4, 5, 4]


def problem(output, loss, bias, seed=0):
    """A reference network whose hidden activations vary with the output's, and data for it."""
    for attempt in range(1000):
        rng = np.random.default_rng([seed, attempt])
        hidden = [HIDDEN[(attempt + 3 * i) % len(HIDDEN)] for i in range(2)]
        weights = [rng.normal(size=(n, m)) for m, n in pairwise(SIZES)]
        biases = [rng.normal(size=n) for n in SIZES[1:]] if bias else []
        net = reference.Net(weights, biases, [*hidden, output], loss)
        x, y = rng.normal(size=(6, SIZES[0])), random_targets(rng, 6, SIZES[-1], loss, output)
        if net.margin(x, y) > 1e-3 and np.linalg.norm(flat(net.gradients(x, y))) > 1e-3:
            return net, x, y, rng
    raise AssertionError("every draw lies on a kink")


@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_gradients_equal_central_differences(output, loss):
    net, x, y, _ = problem(output, loss, bias=True)
    numeric = []
    for p in net.parameters:
        for i in np.ndindex(p.shape):
            saved, h = p[i], 6e-6 * max(1.0, abs(p[i]))
            p[i] = saved + h
            upper = net.cost(x, y)
            p[i] = saved - h
            lower = net.cost(x, y)
            p[i] = saved
            numeric.append((upper - lower) / (2 * h))
    assert relative(flat(net.gradients(x, y)), numeric) < 1e-7


@pytest.mark.unsanitized
@pytest.mark.parametrize("loss", ["mae", "cross_entropy"])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_and_vjp_equal_autograd(loss, bias):
    pytest.importorskip("jax")
    import jax_twin

    net, x, y, rng = problem("softmax", loss, bias)
    weight, dC_da = rng.random(6), rng.normal(size=(6, SIZES[-1]))
    theta, activations = jax_twin.parameters(net), tuple(net.activations)
    cost, gradients = jax_twin.cost_and_gradients(theta, x, y, weight, activations, net.loss)
    ours = net.gradients(x, y, weight)
    assert ours.cost == pytest.approx(float(cost), rel=1e-13)
    assert relative(flat(ours), jax_twin.flat(gradients)) < 1e-12

    _, gradients, dC_dx = jax_twin.outputs_and_vjp(theta, x, dC_da, activations)
    ours, our_dC_dx = net.vjp(x, dC_da)
    assert relative(flat(ours), jax_twin.flat(gradients)) < 1e-12
    assert relative(our_dC_dx, dC_dx) < 1e-12
