"""Gradients and vector-Jacobian products against JAX autograd on random architectures.

Float32 networks are compared with float64 autograd at the same (float32) parameters and data.
"""

from __future__ import annotations

import numpy as np
import pytest

import reference
from support import HIDDEN, OUTPUT_PAIRS, flat, relative, smooth_problem

pytestmark = pytest.mark.unsanitized

pytest.importorskip("jax")
jax_twin = pytest.importorskip("jax_twin")

#: Norm-wise: float64 leaves room for 2 to 5 layers of rounding, float32 for cancellation as well.
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}

#: Every output activation and every loss; all pairs are compared with the oracle elsewhere.
PAIRS = [*OUTPUT_PAIRS[::4], ("sigmoid", "binary_cross_entropy")]
OUTPUTS = [*list(reference.ACTIVATIONS)[::3], "softmax"]


def random_problem(seed, output, loss, dtype):
    rng = np.random.default_rng([1, seed])
    depth = int(rng.integers(1, 6))
    sizes = [int(n) for n in rng.integers(1, 25, depth + 1)]
    hidden = [str(g) for g in rng.choice(HIDDEN, depth - 1)]
    bias, n = bool(rng.integers(2)), int(rng.integers(1, 10))
    if output == "softmax":
        sizes[-1] += 1  # one class has no gradient
    net, x, y = smooth_problem(seed, sizes, [*hidden, output], loss, n, dtype=dtype, bias=bias)
    return net, x, y, rng


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("seed", "pair"), list(enumerate(PAIRS)), ids=str)
def test_gradients_equal_autograd(seed, pair, dtype):
    net, x, y, rng = random_problem(seed, *pair, dtype)
    weight = rng.random(len(x)) + 0.1
    ours = net.gradients(x, y, weight)
    cost, theirs = jax_twin.cost_and_gradients(
        jax_twin.parameters(net),
        x.astype(np.float64),
        y.astype(np.float64),
        weight,
        net.activations,
        net.loss,
    )
    assert ours.cost == pytest.approx(float(cost), rel=TOLERANCE[dtype])
    assert relative(flat(ours), jax_twin.flat(theirs)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("seed", "output"), list(enumerate(OUTPUTS)), ids=str)
def test_vjp_equals_autograd(seed, output, dtype):
    net, x, _, rng = random_problem(100 + seed, output, "sse", dtype)
    dC_da = rng.normal(size=(len(x), net.sizes[-1])).astype(dtype)
    a, pullback = net.vjp(x)
    ours, our_dC_dx = pullback(dC_da)

    theirs_a, theirs, their_dC_dx = jax_twin.outputs_and_vjp(
        jax_twin.parameters(net),
        x.astype(np.float64),
        dC_da.astype(np.float64),
        net.activations,
    )
    assert relative(a, theirs_a) < TOLERANCE[dtype]
    assert relative(flat(ours), jax_twin.flat(theirs)) < TOLERANCE[dtype]
    assert relative(our_dC_dx, their_dC_dx) < TOLERANCE[dtype]
    assert ours.cost is None
