"""One classifier with its data, for every refusal."""

from __future__ import annotations

import numpy as np
import pytest

from support import random_network


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 7, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")


@pytest.fixture
def x(rng):
    return rng.normal(size=(6, 5)).astype(np.float32)


@pytest.fixture
def y():
    return np.array([0, 1, 2, 0, 1, 2])
