"""The worked example of the documentation, computed here by hand with nothing but math.exp.

Network 1-1-1, sigmoid, half_mse: W^1 = 0.5, b^1 = 0.1, W^2 = -0.3, b^2 = 0.2, x = 1, y = 1.
"""

from __future__ import annotations

import math

import pytest

import chainrule as cr

X, Y = [[1.0]], [[1.0]]

Z1 = 0.5 * 1.0 + 0.1
A1 = 1 / (1 + math.exp(-Z1))
Z2 = -0.3 * A1 + 0.2
A2 = 1 / (1 + math.exp(-Z2))
COST = (A2 - 1) ** 2 / 2
DELTA2 = (A2 - 1) * A2 * (1 - A2)
DELTA1 = -0.3 * DELTA2 * A1 * (1 - A1)

#: name: (by hand, the digits the documentation prints)
PRINTED = {
    "z1": (Z1, 0.6),
    "a1": (A1, 0.645656306),
    "z2": (Z2, 0.006303108),
    "a2": (A2, 0.501575772),
    "cost": (COST, 0.124213356),
    "delta2": (DELTA2, -0.124604819),
    "delta1": (DELTA1, 0.008552286),
    "dC_dw2": (DELTA2 * A1, -0.080451888),
}


def exactly(value: float):
    return pytest.approx(value, rel=0, abs=1e-12)


@pytest.fixture
def net():
    net = cr.Network([1, 1, 1], "sigmoid", "half_mse", dtype="float64", seed=0)
    net.set_parameters([0.5, 0.1, -0.3, 0.2])
    return net


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_digits_are_those_computed_by_hand(name):
    by_hand, printed = PRINTED[name]
    # One unit in the last of nine places: the printed dC/dw2 is not the nearest (…88745).
    assert by_hand == pytest.approx(printed, rel=0, abs=1e-9)


def test_parameters_are_where_the_example_puts_them(net):
    assert net.weights[0].tolist() == [[0.5]]
    assert net.biases[0].tolist() == [0.1]
    assert net.weights[1].tolist() == [[-0.3]]
    assert net.biases[1].tolist() == [0.2]


def test_trace_gives_every_quantity(net):
    trace = net.trace(X, Y)
    assert [a.item() for a in trace.a] == [1.0, exactly(A1), exactly(A2)]
    assert [z.item() for z in trace.z] == [exactly(Z1), exactly(Z2)]
    assert [g.item() for g in trace.g_prime] == [exactly(A1 * (1 - A1)), exactly(A2 * (1 - A2))]
    assert [d.item() for d in trace.delta] == [exactly(DELTA1), exactly(DELTA2)]
    assert [g.item() for g in trace.grad_weights] == [exactly(DELTA1), exactly(DELTA2 * A1)]
    assert [g.item() for g in trace.grad_biases] == [exactly(DELTA1), exactly(DELTA2)]
    assert trace.cost == exactly(COST)


def test_predict_and_cost(net):
    assert net.predict(X).item() == exactly(A2)
    assert net.cost(X, Y) == exactly(COST)


def test_gradients(net):
    gradients = net.gradients(X, Y)
    assert gradients.cost == exactly(COST)
    assert [g.item() for g in gradients.weights] == [exactly(DELTA1), exactly(DELTA2 * A1)]
    assert [g.item() for g in gradients.biases] == [exactly(DELTA1), exactly(DELTA2)]
    assert gradients.flatten().tolist() == [
        exactly(g) for g in (DELTA1, DELTA1, DELTA2 * A1, DELTA2)
    ]


def test_one_step_moves_every_parameter_against_its_gradient(net):
    cost = net.train_step(X, Y, learning_rate=0.25)
    assert cost == exactly(COST)
    assert net.get_parameters().tolist() == [
        exactly(0.5 - 0.25 * DELTA1),
        exactly(0.1 - 0.25 * DELTA1),
        exactly(-0.3 - 0.25 * DELTA2 * A1),
        exactly(0.2 - 0.25 * DELTA2),
    ]
