"""A first layer that standardises raw features itself."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from support import relative

RNG = np.random.default_rng(0)
MEAN, SCALE = RNG.normal(size=5) * 100, RNG.uniform(0.1, 30, 5)
RAW = RNG.normal(size=(60, 5)) * SCALE + MEAN


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-13)])
def test_raw_features_give_what_scaled_ones_gave(dtype, bound, bias):
    net = cr.Network([5, 8, 3], activations="tanh", dtype=dtype, bias=bias, seed=3)
    scaled = net.with_input_scaling(MEAN, SCALE)
    assert relative(scaled.predict(RAW), net.predict((RAW - MEAN) / SCALE)) < bound
    assert (scaled.activations, scaled.loss, scaled.dtype) == (net.activations, net.loss, net.dtype)
    assert (scaled.seed, scaled.epoch) == (3, 0)


def test_the_parameters_are_those_of_the_formula():
    net = cr.Network([5, 2], dtype="float64", seed=0)
    net.biases[0][:] = [1, -2]
    scaled = net.with_input_scaling(MEAN, SCALE)
    np.testing.assert_allclose(scaled.weights[0], net.weights[0] / SCALE, rtol=1e-15)
    expected = net.biases[0] - net.weights[0] @ (MEAN / SCALE)
    np.testing.assert_allclose(scaled.biases[0], expected, rtol=1e-14)


def test_the_network_itself_is_left_as_it_was():
    net = cr.Network([5, 2], seed=0)
    before = net.get_parameters()
    net.with_input_scaling(MEAN, SCALE).weights[0][:] = 0
    np.testing.assert_array_equal(net.get_parameters(), before)


def test_nothing_to_scale_keeps_every_bit():
    net = cr.Network([5, 4, 2], seed=0)
    same = net.with_input_scaling(0.0, 1.0)
    np.testing.assert_array_equal(same.get_parameters(), net.get_parameters())


@pytest.mark.parametrize(
    ("mean", "scale", "message"),
    [
        (np.zeros(4), 1.0, r"mean must have shape \(5,\), got \(4,\)"),
        (0.0, np.ones((5, 1)), r"scale must have shape \(5,\), got \(5, 1\)"),
        (0.0, np.array([1, 1, 0, 1, 1.0]), "scale must not be 0"),
        (np.nan, 1.0, "mean must be finite"),
        (0.0, 1e-300, "not finite"),
    ],
)
def test_bad_scalings_are_refused(mean, scale, message):
    with pytest.raises(ValueError, match=message):
        cr.Network([5, 2], seed=0).with_input_scaling(mean, scale)
