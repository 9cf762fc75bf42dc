"""Updates against numbers that PyTorch gave, recorded so that it need not be installed."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
import given_updates


@pytest.mark.parametrize("name", given_updates.CASES)
def test_a_hundred_updates_give_the_recorded_parameters_of_pytorch(name):
    rule, options, treatment = given_updates.CASES[name]
    net = cr.Network([3, 4, 2], dtype="float64")
    net.set_parameters(np.concatenate([p.ravel() for p in given_updates.arrays(0)]))
    optimizer = getattr(cr, rule)(given_updates.LEARNING_RATE, **options, **treatment)
    for step in range(1, given_updates.STEPS + 1):
        w1, b1, w2, b2 = given_updates.arrays(step)
        net.apply(cr.Gradients(None, (w1, w2), (b1, b2)), optimizer)
    expected = given_updates.recorded()[name]
    np.testing.assert_allclose(net.get_parameters(), expected, rtol=1e-12, atol=1e-12)
