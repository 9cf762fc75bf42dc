"""Fashion-MNIST: 60,000 real images, read where they lie as bytes."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.datasets import load_fashion_mnist
from support import assert_same_bits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(fashion_mnist):
    return load_fashion_mnist(fashion_mnist)


def network(dtype="float32"):
    return cr.Network([784, 32, 10], ["relu", "softmax"], "cross_entropy", dtype=dtype, seed=0)


def test_the_files_hold_what_they_are_known_to_hold(images):
    x, y, x_test, y_test = images
    assert (x.shape, y.shape) == ((60_000, 784), (60_000,))
    assert (x_test.shape, y_test.shape) == ((10_000, 784), (10_000,))
    assert np.bincount(y).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    assert (x.min(), x.max()) == (0, 255)


def test_one_epoch_learns_to_tell_clothes_apart(images):
    x, y, x_test, y_test = (a.astype(np.float32) / 255 if a.ndim == 2 else a for a in images)
    net = network()
    history = net.fit(x, y, batch_size=64, learning_rate=0.1, validation_data=(x_test, y_test))
    assert net.evaluate(x_test, y_test)["accuracy"] > 0.8
    assert history.validation_cost[0] < 0.6


@pytest.mark.bits
def test_bytes_train_as_the_floats_they_equal(images):
    x, y = images[0][:4000], images[1][:4000]
    nets = [network(), network()]
    nets[0].fit(x, y, learning_rate=1e-5)
    nets[1].fit(x.astype(np.float32), y, learning_rate=1e-5)
    assert_same_bits(nets[0].get_parameters(), nets[1].get_parameters())


def test_a_missing_folder_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        load_fashion_mnist(tmp_path)
