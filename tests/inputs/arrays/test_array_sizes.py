"""No rows, one neuron, a million of them, more rows than memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from hostile import LAYOUTS, WITH_COST, N, differing, run
from support import assert_same_bits, random_network, run_python, unchanged


def test_no_rows_give_no_rows(net):
    for x in (np.zeros((0, 5)), np.zeros((0, 10), np.int8)[:, ::2], np.zeros((4, 5), ">f4")[:0]):
        out = np.empty((0, 3), net.dtype)
        assert net.predict(x, out=out) is out
        assert_same_bits(net.predict(x), out)
        a, pull = net.vjp(x)
        sums, dC_dx = pull(np.zeros((0, 3)))
        assert_same_bits(a, out)
        assert dC_dx.shape == (0, 5)
        assert_same_bits(sums.flatten(), np.zeros(net.n_parameters, net.dtype))


def test_no_rows_have_no_cost(net):
    empty = {"x": np.zeros((0, 5)), "y": np.zeros((0, 3)), "sample_weight": None}
    for call in WITH_COST:
        with unchanged(net), pytest.raises(ValueError, match="no rows|at least one sample"):
            run(call, net, empty)


def test_one_feature_and_one_neuron(rng, dtype):
    net = random_network(rng, [1, 1], loss="mse", dtype=dtype)
    data = {name: rng.random((N, 1)).astype(dtype) for name in "xy"}
    data["sample_weight"] = rng.random(N)
    for layout in LAYOUTS.values():
        assert differing(net, data, layout) == []
    for call in WITH_COST:
        flat = {**data, "y": data["y"][:, 0]}
        assert_same_bits(run(call, net, flat), run(call, net, data))


@pytest.mark.unsanitized
@pytest.mark.parametrize("given", ["float32", "float16"])
def test_more_rows_than_memory_are_a_memory_error(classifier, given):
    """A broadcast view has the memory of one row, and claims terabytes."""
    x, y = (np.broadcast_to(np.ones((1, k), given), (2**41, k)) for k in (5, 3))
    for call in (classifier.predict, classifier.vjp, lambda x: classifier.trace(x, y)):
        with pytest.raises(MemoryError):
            call(x)


@pytest.mark.parametrize("sizes", [[10**6, 1], [1, 10**6]], ids=str)
def test_a_million_neurons(sizes):
    """Weights of 1/64 and inputs of 1 make every sum exact, in any order."""

    def weights(n_out, n_in, layer):
        return np.full((n_out, n_in), 1 / 64)

    net = cr.Network(sizes, "identity", "sse", init=weights, seed=0)
    x = np.ones((3, sizes[0]), np.float32)
    a = np.full((3, sizes[1]), sizes[0] / 64, np.float32)
    assert_same_bits(net.predict(x), a)
    gradient = net.gradients(x, a - 1)
    assert (gradient.weights[0] == 2).all()
    assert (gradient.biases[0] == 2).all()
    net.fit(x, a - 1, learning_rate=0.5, batch_size=None)
    assert (net.weights[0] == 1 / 64 - 1).all()
    assert (net.biases[0] == -1).all()


def test_a_thousand_layers(rng):
    net = cr.Network([3] * 1001, "identity", "mse", init=lambda *_: np.eye(3), seed=0)
    x = rng.normal(size=(7, 3)).astype(np.float32)
    assert_same_bits(net.predict(x), x)
    gradient = net.gradients(x, np.zeros((7, 3)))
    assert len(gradient.weights) == 1000
    for w in gradient.weights:
        assert_same_bits(w, gradient.weights[0])
    assert len(net.trace(x, x).delta) == 1000
    net.fit(x, x, learning_rate=0.1)
    assert_same_bits(net.predict(x), x)


LARGE_BATCH = """
import re, sys
import numpy as np
import chainrule as cr

n = 10**7
net = cr.Network([1, 1], "identity", init=lambda *_: np.ones((1, 1)), seed=0)
x = np.arange(n, dtype=sys.argv[1])[:, None]
result = net.predict(x)
assert result.shape == (n, 1)
assert (result[::1000, 0] == np.arange(0, n, 1000)).all()
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.unsanitized
@pytest.mark.parametrize("given", ["float32", "int32"])
def test_ten_million_rows_need_little_more_than_their_own_memory(given):
    """40 MB in, 40 MB out, and 40 MB for what has to be converted."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of the memory is read from /proc")
    assert int(run_python("-c", LARGE_BATCH, given)) * 1024 < 300e6
