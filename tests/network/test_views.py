"""`weights` and `biases`: writable views of the one buffer the kernels read."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import chainrule as cr
import reference
from support import assert_same_bits, random_network

#: Narrow layers share a 64-byte block between rows, wide ones are padded, each in its own way.
SIZES = [[1, 1], [5, 7, 3], [2, 3, 1, 16], [40, 33, 64, 10]]


@pytest.fixture(params=SIZES, ids=str)
def sizes(request):
    return request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def net(rng, sizes, dtype):
    return random_network(rng, sizes, dtype=dtype)


def test_views_have_the_mathematical_shapes(net, sizes, dtype):
    assert isinstance(net.weights, tuple)
    assert isinstance(net.biases, tuple)
    assert [w.shape for w in net.weights] == list(zip(sizes[1:], sizes[:-1], strict=True))
    assert [b.shape for b in net.biases] == [(n,) for n in sizes[1:]]
    assert {p.dtype for p in (*net.weights, *net.biases)} == {np.dtype(dtype)}


def test_views_share_one_memory(net):
    for first, second in zip((*net.weights, *net.biases), (*net.weights, *net.biases), strict=True):
        assert first.flags.writeable
        assert not first.flags.owndata
        assert np.shares_memory(first, second)


def test_views_do_not_overlap_each_other(net):
    views = (*net.weights, *net.biases)
    for i, view in enumerate(views):
        view[...] = i
    for i, view in enumerate(views):
        assert (view == i).all()


def test_a_write_is_seen_by_the_next_call(net, rng):
    x = rng.normal(size=(3, net.sizes[0])).astype(net.dtype)
    before = net.predict(x)
    net.weights[0][0, -1] += 1
    net.biases[-1][0] -= 1
    after = net.predict(x)
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(after, reference.Net.of(net).predict(x), rtol=1e-4, atol=1e-5)


def test_training_is_seen_through_views_taken_before(net, rng):
    weights, biases = net.weights, net.biases
    x = rng.normal(size=(4, net.sizes[0])).astype(net.dtype)
    y = rng.normal(size=(4, net.sizes[-1])).astype(net.dtype)
    before = [np.array(p) for p in (*weights, *biases)]
    net.fit(x, y, epochs=2, batch_size=2, learning_rate=0.1)
    for old, view, now in zip(
        before, (*weights, *biases), (*net.weights, *net.biases), strict=True
    ):
        assert not np.array_equal(old, view)
        assert_same_bits(view, now)


def test_views_outlive_their_network(rng, sizes, dtype):
    net = random_network(rng, sizes, dtype=dtype)
    weights, biases = net.weights, net.biases
    expected = [np.array(p) for p in (*weights, *biases)]
    del net
    gc.collect()
    churn = [cr.Network(sizes, dtype=dtype, seed=i) for i in range(20)]
    for view, value in zip((*weights, *biases), expected, strict=True):
        assert_same_bits(view, value)
        view[...] = 7
        assert (view == 7).all()
    assert not any((w == 7).any() for other in churn for w in other.weights)


def test_the_memory_is_freed_with_the_last_view():
    """A view keeps the network alive, and nothing else does."""
    net = cr.Network([3, 2], seed=0)
    alive = weakref.ref(net)
    view = net.weights[0]
    del net
    gc.collect()
    assert view.shape == (2, 3)
    del view
    gc.collect()
    assert alive() is None


def test_a_network_without_bias_has_none(rng):
    net = random_network(rng, [4, 3, 2], bias=False)
    assert net.biases == ()
    assert net.n_parameters == 4 * 3 + 3 * 2
    x = rng.normal(size=(5, 4))
    np.testing.assert_allclose(net.predict(x), reference.Net.of(net).predict(x), rtol=1e-13)


# --- the flat vector --------------------------------------------------------------------------


def test_get_parameters_has_the_documented_order(net):
    twin = reference.Net.of(net)
    assert_same_bits(net.get_parameters(), twin.flat().astype(net.dtype))
    assert net.get_parameters().shape == (net.n_parameters,)


def test_get_parameters_is_a_copy(net):
    copied = net.get_parameters()
    assert not np.shares_memory(copied, net.weights[0])
    copied[:] = 0
    assert net.weights[0].any()


def test_set_parameters_is_the_inverse_of_get_parameters(net, sizes, dtype):
    other = cr.Network(sizes, net.activations, dtype=dtype, seed=1)
    vector = net.get_parameters()
    other.set_parameters(vector)
    assert_same_bits(other.get_parameters(), vector)
    for ours, theirs in zip(net.weights, other.weights, strict=True):
        assert_same_bits(ours, theirs)
    vector[:] = 0
    assert other.weights[0].any()  # copied, not kept


def test_set_parameters_keeps_the_views_valid(net):
    weights = net.weights
    net.set_parameters(np.arange(net.n_parameters))
    assert weights[0].ravel().tolist() == list(range(weights[0].size))
