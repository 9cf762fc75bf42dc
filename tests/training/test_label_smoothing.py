"""Label smoothing: targets mixed with what says nothing, in costs, gradients and training."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, flat, random_network, relative, says, unchanged

#: loss: (output, what a target that says nothing is, of three outputs)
FUSED = {"cross_entropy": ("softmax", 1 / 3), "binary_cross_entropy": ("sigmoid", 1 / 2)}

#: Costs that torch.nn.functional.cross_entropy(label_smoothing=0.1) of PyTorch 2 gives, and
#: binary_cross_entropy_with_logits of 0.9 y + 0.05, for these logits and these targets.
LOGITS = [[2.0, -1.0, 0.5], [-0.25, 0.75, 3.0]]
VALUES = [[0.2, 0.5, 0.3], [0.0, 0.9, 0.1]]
RECORDED = {
    "labels": 1.3671635566001796,
    "cross_entropy": 2.1434135566001795,
    "binary_cross_entropy": 1.1671940767181312,
}


@pytest.fixture(params=FUSED)
def loss(request):
    return request.param


@pytest.fixture
def net(rng, loss):
    return random_network(rng, [4, 6, 3], ["tanh", FUSED[loss][0]], loss)


@pytest.fixture
def data(rng):
    return rng.normal(size=(11, 4)), rng.dirichlet(np.ones(3), 11)


def of_logits(loss):
    """A network whose logits are its inputs."""
    net = cr.Network([3, 3], FUSED[loss][0], loss, dtype="float64", init="zeros")
    net.weights[0][...] = np.eye(3)
    return net


def smoothed(loss, y, smoothing):
    return (1 - smoothing) * y + smoothing * FUSED[loss][1]


# --- the formula ------------------------------------------------------------------------------


def test_costs_are_those_that_pytorch_gave(loss):
    net = of_logits(loss)
    assert net.cost(LOGITS, VALUES, label_smoothing=0.1) == pytest.approx(RECORDED[loss], rel=1e-14)


def test_costs_of_labels_are_those_that_pytorch_gave():
    cost = of_logits("cross_entropy").cost(LOGITS, [0, 1], label_smoothing=0.1)
    assert cost == pytest.approx(RECORDED["labels"], rel=1e-14)


@pytest.mark.parametrize("smoothing", [0.1, 0.75])
def test_costs_and_gradients_are_those_of_the_smoothed_targets(net, data, loss, smoothing, rng):
    (x, y), weight = data, rng.random(11)
    expected = net.gradients(x, smoothed(loss, y, smoothing), weight)
    actual = net.gradients(x, y, weight, label_smoothing=smoothing)
    assert actual.cost == pytest.approx(expected.cost, rel=1e-14)
    assert relative(flat(actual), flat(expected)) < 1e-13


def test_labels_are_smoothed_as_their_one_hot_rows(rng):
    net = random_network(rng, [4, 6, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")
    x, labels = rng.normal(size=(11, 4)), rng.integers(0, 3, 11)
    ours, theirs = (net.gradients(x, y, label_smoothing=0.2) for y in (labels, np.eye(3)[labels]))
    assert ours.cost == theirs.cost
    assert_same_bits(ours.flatten(), theirs.flatten())


def test_the_arrays_of_the_user_stay_as_they_are(net, data):
    before = data[1].copy()
    net.fit(*data, batch_size=None, learning_rate=0.1, label_smoothing=0.2)
    net.gradients(*data, label_smoothing=0.2)
    assert_same_bits(data[1], before)


# --- training ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, None])
@pytest.mark.parametrize("optimizer", [lambda: cr.SGD(0.1), lambda: cr.Adam(0.01)])
def test_fit_trains_on_the_smoothed_targets(net, data, loss, batch_size, optimizer):
    (x, y), other = data, copy.deepcopy(net)
    options = {"epochs": 3, "batch_size": batch_size}
    ours = net.fit(x, y, **options, optimizer=optimizer(), label_smoothing=0.2)
    theirs = other.fit(x, smoothed(loss, y, 0.2), **options, optimizer=optimizer())
    np.testing.assert_allclose(ours.cost, theirs.cost, rtol=1e-13)
    np.testing.assert_allclose(net.get_parameters(), other.get_parameters(), rtol=1e-11, atol=1e-13)


@pytest.mark.bits
@pytest.mark.parametrize("rule", [lambda: {"learning_rate": 0.1}, lambda: {"optimizer": cr.Adam()}])
def test_a_stream_steps_and_applied_gradients_give_the_bits_of_fit(net, data, rule):
    (x, y), ways = data, [copy.deepcopy(net) for _ in range(4)]
    batches = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 11, 4)]
    rules = [rule() for _ in ways]
    ways[0].fit(x, y, batch_size=4, shuffle=False, label_smoothing=0.2, **rules[0])
    ways[1].fit(batches, label_smoothing=0.2, **rules[1])
    swapped = x.astype(x.dtype.newbyteorder())
    ways[2].fit(swapped, y, batch_size=4, shuffle=False, label_smoothing=0.2, **rules[2])
    for batch in batches:
        ways[3].train_step(*batch, label_smoothing=0.2, **rules[3])
    for way in ways[1:]:
        assert_same_bits(way.get_parameters(), ways[0].get_parameters())


@pytest.mark.bits
def test_no_smoothing_changes_no_bits(net, data):
    other = copy.deepcopy(net)
    net.fit(*data, batch_size=4, learning_rate=0.1)
    other.fit(*data, batch_size=4, learning_rate=0.1, label_smoothing=0.0)
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_validation_and_evaluation_take_the_targets_as_they_are(net, data):
    history = net.fit(*data, learning_rate=0.1, validation_data=data, label_smoothing=0.5)
    assert history.validation_cost == [net.evaluate(*data)["cost"]]
    assert net.evaluate(*data)["cost"] == pytest.approx(net.cost(*data), rel=1e-14)


# --- what is refused --------------------------------------------------------------------------


def calls(net, x, y, smoothing):
    yield lambda: net.cost(x, y, label_smoothing=smoothing)
    yield lambda: net.gradients(x, y, label_smoothing=smoothing)
    yield lambda: net.train_step(x, y, learning_rate=0.1, label_smoothing=smoothing)
    yield lambda: net.fit(x, y, learning_rate=0.1, label_smoothing=smoothing)
    yield lambda: net.fit([(x, y)], epochs=0, learning_rate=0.1, label_smoothing=smoothing)


@pytest.mark.parametrize("smoothing", [-0.1, 1, 1.5, np.nan, np.inf, True])
def test_a_smoothing_outside_its_range_is_refused(net, data, smoothing):
    with unchanged(net):
        for call in calls(net, *data, smoothing):
            with pytest.raises(ValueError, match=says("label_smoothing", "[0, 1)", smoothing)):
                call()


@pytest.mark.parametrize("smoothing", ["a lot", None, [0.1, 0.2]])
def test_a_smoothing_that_is_no_number_is_refused(net, data, smoothing):
    with unchanged(net):
        for call in calls(net, *data, smoothing):
            with pytest.raises(TypeError, match=says("label_smoothing", "number", smoothing)):
                call()


def test_a_loss_whose_targets_are_no_probabilities_takes_none(rng, data):
    net = random_network(rng, [4, 3], "identity", "mse")
    with unchanged(net):
        for call in calls(net, *data, 0.1):
            with pytest.raises(ValueError, match=says("label_smoothing", "cross_entropy", "mse")):
                call()
