"""state_dict and load_state_dict: a continuation has the bits of training never interrupted."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, random_network

SIZES = [5, 7, 3]

#: name: (optimiser, the buffers of its state)
RULES = {
    "sgd": (lambda: cr.SGD(0.05), set()),
    "momentum": (lambda: cr.SGD(0.05, momentum=0.9, nesterov=True), {"momentum_buffer"}),
    "adam": (lambda: cr.Adam(0.01), {"exp_avg", "exp_avg_sq"}),
    "adamw": (lambda: cr.AdamW(0.01), {"exp_avg", "exp_avg_sq"}),
    "rmsprop": (lambda: cr.RMSprop(), {"square_avg"}),
    "centered": (
        lambda: cr.RMSprop(momentum=0.9, centered=True),
        {"square_avg", "grad_avg", "momentum_buffer"},
    ),
    "adagrad": (lambda: cr.Adagrad(0.1, lr_decay=0.1, initial_accumulator_value=0.1), {"sum"}),
    "clipped": (lambda: cr.Adagrad(0.1, l1=0.01, clip_value=0.1, clip_norm=0.1), {"sum"}),
}


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def data(rng):
    return rng.normal(size=(20, SIZES[0])), rng.normal(size=(20, SIZES[-1]))


def trained(rng, make, data, dtype="float64"):
    """A network and its optimiser after a few steps."""
    net, optimizer = random_network(rng, SIZES, dtype=dtype), make()
    net.fit(*data, epochs=2, batch_size=8, optimizer=optimizer)
    return net, optimizer


@pytest.mark.bits
def test_a_loaded_state_goes_on_with_the_same_bits(rng, rule, data, dtype):
    make, _ = rule
    net, optimizer = trained(rng, make, data, dtype)
    twin, continued = copy.deepcopy(net), make()
    continued.load_state_dict(twin, optimizer.state_dict())
    assert continued.step == optimizer.step
    for model, with_state in ((net, optimizer), (twin, continued)):
        model.fit(*data, epochs=2, batch_size=8, optimizer=with_state)
    assert_same_bits(twin.get_parameters(), net.get_parameters())


def test_a_state_holds_its_buffers_flat_under_the_names_of_pytorch(rng, rule, data, dtype):
    make, buffers = rule
    net, optimizer = trained(rng, make, data, dtype)
    state = optimizer.state_dict()
    vectors = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    assert set(vectors) == buffers
    for vector in vectors.values():
        assert vector.shape == (net.n_parameters,)
        assert vector.dtype == np.dtype(dtype)
    rest = {key: value for key, value in state.items() if key not in buffers}
    assert json.loads(json.dumps(rest)) == rest
    assert rest["step"] == 6


def test_the_first_moment_is_the_mean_gradient_in_the_order_of_the_parameters(rng, data):
    net, optimizer = random_network(rng, SIZES), cr.Adam(0.01)
    gradient = net.gradients(*data).flatten()
    net.train_step(*data, optimizer=optimizer)
    state = optimizer.state_dict()
    np.testing.assert_allclose(state["exp_avg"], 0.1 * gradient, rtol=1e-14)
    np.testing.assert_allclose(state["exp_avg_sq"], 0.001 * gradient**2, rtol=1e-13)
    assert (state["beta1_power"], state["beta2_power"]) == (0.9, 0.999)


def test_the_vectors_of_a_state_are_copies(rng, data):
    net, optimizer = trained(rng, lambda: cr.Adam(0.01), data)
    state = optimizer.state_dict()
    before = state["exp_avg"].copy()
    net.train_step(*data, optimizer=optimizer)
    assert_same_bits(state["exp_avg"], before)
    other = cr.Adam(0.01)
    other.load_state_dict(net, state)
    state["exp_avg"][:] = 0
    assert_same_bits(other.state_dict()["exp_avg"], before)


def test_a_state_without_updates_makes_an_optimizer_as_new(rng, rule, data):
    make, _ = rule
    net, optimizer = trained(rng, make, data)
    assert make().state_dict() == {"optimizer": type(optimizer).__name__, "step": 0}
    twin = copy.deepcopy(net)
    optimizer.load_state_dict(net, make().state_dict())
    assert optimizer.step == 0
    net.train_step(*data, optimizer=optimizer)
    twin.train_step(*data, optimizer=make())
    assert_same_bits(net.get_parameters(), twin.get_parameters())


def test_a_loaded_state_belongs_to_its_network(rng, data):
    net, optimizer = trained(rng, lambda: cr.Adam(0.01), data)
    other = random_network(rng, SIZES)
    optimizer.load_state_dict(other, optimizer.state_dict())
    with pytest.raises(ValueError, match="another network"):
        net.train_step(*data, optimizer=optimizer)


def test_a_state_is_rounded_to_the_dtype_of_the_network(rng, data):
    _, optimizer = trained(rng, lambda: cr.Adam(0.01), data, "float64")
    state = optimizer.state_dict()
    narrower = cr.Adam(0.01)
    narrower.load_state_dict(random_network(rng, SIZES, dtype="float32"), state)
    assert_same_bits(narrower.state_dict()["exp_avg"], state["exp_avg"].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"optimizer": "SGD"}, "expected the state of Adam, got that of 'SGD'"),
        ({"optimizer": None}, "expected the state of Adam"),
        ({"step": -1}, "step must be an integer >= 0, got -1"),
        ({"step": 2.5}, "step must be an integer"),
        ({"step": True}, "step must be an integer"),
        ({"step": 2**64}, "step must be an integer"),
        ({"beta1_power": 1.5}, r"beta1_power must lie in \[0, 1\], got 1.5"),
        ({"beta2_power": float("nan")}, "beta2_power must be finite"),
        ({"exp_avg": np.zeros(3)}, r"exp_avg has shape \(3,\), expected \(66,\)"),
        ({"exp_avg": np.zeros((1, 66))}, r"exp_avg has shape \(1, 66\), expected \(66,\)"),
        ({"momentum_buffer": np.zeros(66)}, "does not know.*momentum_buffer"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(rng, data, change, error):
    net, optimizer = trained(rng, lambda: cr.Adam(0.01), data)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=error):
        optimizer.load_state_dict(net, {**before, **change})
    after = optimizer.state_dict()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("missing", ["exp_avg", "exp_avg_sq", "beta1_power", "step", "optimizer"])
def test_a_state_that_lacks_something_is_refused(rng, data, missing):
    net, optimizer = trained(rng, lambda: cr.Adam(0.01), data)
    state = optimizer.state_dict()
    del state[missing]
    with pytest.raises(ValueError, match=missing if missing != "optimizer" else "got that of None"):
        cr.Adam(0.01).load_state_dict(net, state)


def test_the_state_of_momentum_does_not_fit_plain_descent(rng, data):
    net, optimizer = trained(rng, lambda: cr.SGD(0.1, momentum=0.9), data)
    with pytest.raises(ValueError, match="momentum_buffer"):
        cr.SGD(0.1).load_state_dict(net, optimizer.state_dict())


@pytest.mark.parametrize(("network", "state"), [(None, {}), ("net", [])])
def test_load_state_dict_takes_a_network_and_a_dict(rng, network, state):
    given = random_network(rng, SIZES) if network else network
    with pytest.raises(TypeError, match=r"must be a"):
        cr.Adam().load_state_dict(given, state)
