"""A network, a classifier and their data, for arrays of every kind."""

from __future__ import annotations

import pytest

from hostile import DTYPES, N
from support import random_network


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def net(rng, dtype):
    return random_network(rng, [5, 9, 3], loss="mse", dtype=dtype)


@pytest.fixture
def classifier(rng):
    return random_network(rng, [5, 9, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")


@pytest.fixture
def data(rng, dtype):
    return {
        "x": rng.normal(size=(N, 5)).astype(dtype),
        "y": rng.normal(size=(N, 3)).astype(dtype),
        "sample_weight": rng.random(N).astype(dtype),
    }
