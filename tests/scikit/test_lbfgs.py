"""SciPy's L-BFGS over get_parameters and set_parameters."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from support import random_network


def minimized(net, x, y, **options):
    optimize = pytest.importorskip("scipy.optimize")

    def cost_and_gradient(v):
        net.set_parameters(v)
        g = net.gradients(x, y)
        return g.cost, g.flatten()

    result = optimize.minimize(
        cost_and_gradient, net.get_parameters(), jac=True, method="L-BFGS-B", options=options
    )
    net.set_parameters(result.x)
    return result


@pytest.mark.unsanitized
def test_lbfgs_finds_the_least_squares_solution(rng):
    x, y = rng.normal(size=(40, 4)), rng.normal(size=(40, 2))
    net = random_network(rng, [4, 2], ["identity"], "half_mse")
    minimized(net, x, y, ftol=1e-15, gtol=1e-10)
    solution, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(40)]), y, rcond=None)
    np.testing.assert_allclose(net.weights[0], solution[:4].T, atol=1e-6)
    np.testing.assert_allclose(net.biases[0], solution[4], atol=1e-6)


@pytest.mark.unsanitized
def test_lbfgs_trains_a_network_that_no_line_could_replace(rng):
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    net = cr.Network([2, 16, 2], ["tanh", "softmax"], "cross_entropy", dtype="float64", seed=0)
    result = minimized(net, x, y, maxiter=300)
    assert net.cost(x, y) == result.fun
    assert net.evaluate(x, y)["accuracy"] > 0.98
