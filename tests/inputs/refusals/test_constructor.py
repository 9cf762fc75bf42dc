"""What the constructor refuses, and what a network without one does.

Messages are matched loosely: the shapes, dtypes or names that they must contain, in any order.
"""

from __future__ import annotations

import numpy as np
import pytest
from calls import REFUSED

import chainrule as cr
from support import says

# --- the constructor --------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[], [3], [3, 0], [0, 3], [3, -1, 2]], ids=str)
def test_sizes_out_of_range_are_refused(sizes):
    with pytest.raises(ValueError, match=says("sizes")):
        cr.Network(sizes)


@pytest.mark.parametrize("sizes", [[3, 2.5], [3, "2"], [3, None], 3, None, "32"], ids=repr)
def test_sizes_that_are_not_integers_are_refused(sizes):
    with pytest.raises(REFUSED):
        cr.Network(sizes)


@pytest.mark.parametrize("sizes", [[2**62, 2**62], [2**33, 2**33], [2**40, 3, 2**62]], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_whose_product_overflows_are_refused(sizes, dtype):
    with pytest.raises(OverflowError):
        cr.Network(sizes, dtype=dtype)


def test_a_size_beyond_64_bits_is_refused():
    with pytest.raises((OverflowError, ValueError)):
        cr.Network([1, 10**30])


@pytest.mark.unsanitized
@pytest.mark.parametrize("sizes", [[2**24, 2**24], [2**22, 2**24, 2]], ids=str)
def test_sizes_beyond_the_address_space_are_refused(sizes):
    with pytest.raises((MemoryError, OverflowError)):
        cr.Network(sizes, init="zeros")


@pytest.mark.parametrize(
    "activations",
    ["", "Tanh", "swish", ["tanh", "nope"], ["tanh"], ["tanh"] * 3, []],
    ids=str,
)
def test_activations_are_refused(activations):
    with pytest.raises(ValueError, match=says("activation")):
        cr.Network([3, 4, 2], activations)


def test_an_unknown_activation_is_named_beside_those_that_exist():
    with pytest.raises(ValueError, match=says("swish", "silu")):
        cr.Network([3, 2], "swish")


@pytest.mark.parametrize("activations", [[3, 4], [None, None], 7, None], ids=str)
def test_activations_that_are_not_names_are_refused(activations):
    with pytest.raises(REFUSED):
        cr.Network([3, 4, 2], activations)


@pytest.mark.parametrize("output", ["softmax", "tanh"])
def test_softmax_in_a_hidden_layer_is_refused(output):
    with pytest.raises(ValueError, match=says("softmax", "last")):
        cr.Network([3, 4, 2], ["softmax", output])


@pytest.mark.parametrize("loss", ["", "MSE", "nll"])
def test_an_unknown_loss_is_refused(loss):
    with pytest.raises(ValueError, match=says("loss", "half_mse")):
        cr.Network([3, 2], loss=loss)


@pytest.mark.parametrize("output", ["identity", "sigmoid", "tanh", "relu", "softplus"])
def test_cross_entropy_needs_softmax(output):
    with pytest.raises(ValueError, match=says("cross_entropy", "softmax", output)):
        cr.Network([3, 4, 2], ["tanh", output], "cross_entropy")


@pytest.mark.parametrize("output", ["identity", "softmax", "tanh", "relu", "softplus"])
def test_binary_cross_entropy_needs_sigmoid(output):
    with pytest.raises(ValueError, match=says("binary_cross_entropy", "sigmoid", output)):
        cr.Network([3, 4, 2], ["tanh", output], "binary_cross_entropy")


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", "longdouble", "O", "no"])
def test_other_dtypes_of_a_network_are_refused(dtype):
    with pytest.raises(REFUSED, match=says("float32", "float64")):
        cr.Network([3, 2], dtype=dtype)


@pytest.mark.parametrize("init", ["", "xavier", "normal"])
def test_an_unknown_init_is_refused(init):
    with pytest.raises(ValueError, match=says("init", "glorot_uniform")):
        cr.Network([3, 2], init=init)


def test_an_init_function_must_return_the_shape():
    with pytest.raises(ValueError, match=says("(2, 3)", "(3, 2)")):
        cr.Network([3, 2], init=lambda fan_out, fan_in, layer: np.zeros((fan_in, fan_out)))


@pytest.mark.parametrize("seed", [-1, 1.5, "1", 2**64])
def test_a_seed_must_be_a_64_bit_unsigned_integer(seed):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        cr.Network([3, 2], seed=seed)


def test_everything_after_the_loss_is_keyword_only():
    with pytest.raises(TypeError):
        cr.Network([3, 2], "tanh", "mse", "float32")
