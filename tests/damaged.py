"""A small network, the parts of its file, and how a damaged one has to be refused."""

from __future__ import annotations

import pytest

import chainrule as cr
from support import random_network, says

WEIGHT, BIAS, LAST_BIAS = "layers.1.weight", "layers.1.bias", "layers.2.bias"


def small_network(rng, dtype="float32", bias=True):
    net = random_network(rng, [2, 3, 1], ["tanh", "identity"], dtype=dtype, bias=bias)
    net.fit(rng.normal(size=(4, 2)), rng.normal(size=4), epochs=12, learning_rate=0.1)
    return net


def refuses(path, *reasons):
    with pytest.raises(ValueError, match=says(path)) as caught:
        cr.Network.load(path)
    reason = str(caught.value).replace(str(path), "")
    for part in reasons:
        assert str(part) in reason
