"""``Network.from_arrays``: bare weights, in one of two orientations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import chainrule as cr
from support import says


def pairs_of(rng, sizes, rows="outputs", bias=True):
    shapes = [(m, n) if rows == "outputs" else (n, m) for n, m in pairwise(sizes)]
    return [
        (rng.normal(size=shape).astype(np.float32), rng.normal(size=m) if bias else None)
        for shape, m in zip(shapes, sizes[1:], strict=True)
    ]


def by_hand(pairs, rows, x):
    for w, b in pairs:
        x = np.tanh(x @ (w.T if rows == "outputs" else w) + (0 if b is None else b))
    return x


@pytest.mark.parametrize("given", [True, False], ids=["stated", "found"])
@pytest.mark.parametrize("rows", ["outputs", "inputs"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_network_is_the_function_of_its_arrays(rng, rows, given, bias):
    pairs = pairs_of(rng, [4, 7, 3], rows, bias)
    net = cr.Network.from_arrays(pairs, "tanh", rows=rows if given else None, dtype="float64")
    x = rng.normal(size=(5, 4))
    assert net.sizes == (4, 7, 3) and net.has_bias is bias
    np.testing.assert_allclose(net.predict(x), by_hand(pairs, rows, x), rtol=1e-12)


def test_biases_decide_where_widths_do_not(rng):
    """4 x 4 weights fit either way; a layer of 4 x 6 behind them does not."""
    w, last = rng.normal(size=(4, 4)), rng.normal(size=(4, 6))
    net = cr.Network.from_arrays([(w, None), (last, None)], "tanh")
    assert net.sizes == (4, 4, 6)
    np.testing.assert_array_equal(net.weights[0], w.T)
    single = cr.Network.from_arrays([(last, np.zeros(4))], "tanh")
    assert single.sizes == (6, 4)


def test_square_weights_have_to_be_told(rng):
    pairs = pairs_of(rng, [4, 4, 4])
    with pytest.raises(
        ValueError, match=says("(4, 4), (4, 4) fit in both orientations: pass rows=")
    ):
        cr.Network.from_arrays(pairs, "tanh")
    net = cr.Network.from_arrays(pairs, "tanh", rows="inputs")
    np.testing.assert_array_equal(net.weights[1], pairs[1][0].T)


def test_square_weights_that_are_symmetric_need_not_be_told():
    net = cr.Network.from_arrays([([[2.0]], [1.0]), ([[3.0]], None)], "identity")
    assert net.predict([1.0]) == 9.0


def test_a_layer_without_a_bias_among_others_gets_zeros(rng):
    pairs = pairs_of(rng, [2, 3, 1])
    pairs[1] = pairs[1][0], None
    net = cr.Network.from_arrays(pairs, "tanh")
    assert net.has_bias and net.biases[1].tolist() == [0.0]


@pytest.mark.parametrize(
    ("output", "loss"),
    [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy"), ("identity", "half_mse")],
)
def test_the_loss_follows_from_the_output(rng, output, loss):
    pairs = pairs_of(rng, [2, 3])
    assert cr.Network.from_arrays(pairs, [output]).loss == loss
    assert cr.Network.from_arrays(pairs, [output], "sse").loss == "sse"


def test_the_dtype_is_that_of_the_arrays(rng):
    w = rng.normal(size=(3, 2))
    for kind, dtype, expected in (
        ("float64", None, "float64"),
        ("float16", None, "float32"),
        ("float64", "float32", "float32"),
    ):
        pairs = [(w.astype(kind), None)]
        net = cr.Network.from_arrays(pairs, "tanh", rows="outputs", dtype=dtype)
        assert net.dtype == expected


def test_the_arrays_are_copied(rng):
    pairs = pairs_of(rng, [2, 3])
    net = cr.Network.from_arrays(pairs, "tanh")
    before = net.get_parameters()
    pairs[0][0][...] = 0
    np.testing.assert_array_equal(net.get_parameters(), before)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "there are no weights: give one (W, b) per layer"),
        ([np.ones((2, 3))], "layer 1 must be (W, b), with None for no bias"),
        ([(np.ones(3), None)], "W of layer 1 must be a matrix, got shape (3,)"),
        ([(np.ones((3, 2)), np.ones((1, 3)))], "b of layer 1 must have one axis, got shape (1, 3)"),
        ([(np.ones((3, 2)), np.ones(4))], "layer 1 has 3 outputs and 4 biases; with rows='inputs'"),
        (
            [(np.ones((3, 2)), None), (np.ones((5, 4)), None)],
            "layer 2 has 4 inputs, and layer 1 3 outputs; with rows='inputs', layer 2 has 5 inputs",
        ),
        ([(np.full((3, 2), np.nan), np.ones(3))], "layer 1 has parameters that are not finite"),
        ([(np.full((3, 2), "a"), None)], "W of layer 1 must hold real numbers"),
    ],
)
def test_arrays_that_are_no_layers_are_refused(pairs, message):
    with pytest.raises((ValueError, TypeError), match=says(message)):
        cr.Network.from_arrays(pairs, "tanh")


def test_numbers_too_large_for_the_dtype_are_refused():
    with pytest.raises(ValueError, match="layer 1 has parameters that are not finite as float32"):
        cr.Network.from_arrays([([[1e300]], None)], "tanh", dtype="float32")


def test_the_orientation_is_one_of_two():
    with pytest.raises(ValueError, match="rows must be 'outputs', 'inputs' or None, got 'in'"):
        cr.Network.from_arrays([([[1.0]], None)], "tanh", rows="in")
