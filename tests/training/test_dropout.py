"""Dropout: which units are left out, what that does to costs and gradients, and to nothing else."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr
import reference
from chainrule import _core
from support import HIDDEN, assert_same_bits, random_network, relative, says, unchanged

N = 23
RATES = [0.2, 0.0, 0.5]


@pytest.fixture
def net(rng):
    activations = ["tanh", "gelu", "sigmoid", "softmax"]
    return random_network(rng, [4, 9, 20, 70, 3], activations, "cross_entropy")


@pytest.fixture
def data(rng):
    return rng.normal(size=(N, 4)), rng.dirichlet(np.ones(3), N)


def factors_of(net, rates, epoch, places):
    """Those of all hidden layers, by an implementation of its own."""
    return [
        reference.dropout_factors(net.seed, epoch, places, layer, width, rate)
        for layer, (width, rate) in enumerate(zip(net.sizes[1:-1], rates, strict=True), start=1)
    ]


def used_factors(width, rate, *, seed=0, epoch=0, sample=0, layer=1, dtype="float64"):
    """The factors that a step of the core used, from the update of the weights above them."""
    sizes = [1] * layer + [width, 1]
    net = cr.Network(sizes, "identity", "sse", dtype=dtype, bias=False, init="zeros")
    for w in net.weights[:-1]:
        w[...] = 1
    rates = [0.0] * (layer - 1) + [rate]
    # a = 0 and y = -1/2: δ = 1, and W falls by what the layer above read.
    _core.step(net, [[1.0]], [[-0.5]], None, None, 1.0, dropout=(rates, seed, epoch, sample))
    return 0 - net.weights[-1][0]


# --- which units are left out -----------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 4, 5, 16, 31, 64, 65, 129, 1000])
def test_the_units_are_those_of_the_random_words(width, dtype):
    for seed, epoch, sample, layer in [
        (0, 0, 0, 1),
        (1, 2, 3, 2),
        (2**64 - 1, 2**33, 2**40 + 1, 1),
        (2**32, 1, 2**32, 3),
    ]:
        place = {"seed": seed, "epoch": epoch, "sample": sample, "layer": layer}
        expected = reference.dropout_factors(seed, epoch, [sample], layer, width, 0.3)[0]
        assert_same_bits(used_factors(width, 0.3, dtype=dtype, **place), expected.astype(dtype))


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_the_share_of_units_left_out_is_the_rate(rate):
    """Of 400,000 units, to five standard deviations."""
    n, factors = 400_000, used_factors(400_000, rate, seed=5)
    assert set(factors) == {0, 1 / (1 - rate)}
    assert abs((factors == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"sample": 1}, {"layer": 2}])
def test_units_are_left_out_independently(other):
    """Of another seed, epoch, sample or layer, and of the units beside them."""
    n = 100_000
    here, there = (used_factors(n, 0.5, **place) - 1 for place in ({}, other))
    for one, two in [(here, there), (here[1:], here[:-1]), (here[4:], here[:-4])]:
        assert abs((one * two).mean()) < 5 / np.sqrt(n)


# --- costs and gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_step_follows_the_oracle_with_the_same_factors(rng, hidden):
    """The derivative of an activation is that of the activation before units were left out."""
    net = random_network(rng, [4, 9, 8, 7, 3], [hidden] * 3 + ["softmax"], "cross_entropy")
    x, y = rng.normal(size=(N, 4)), rng.dirichlet(np.ones(3), N)
    twin, factors = reference.Net.of(net), factors_of(net, RATES, 0, range(N))
    gradients = twin.gradients(x, y, factors=factors)
    history = net.fit(x, y, batch_size=None, learning_rate=0.1, dropout=RATES)
    assert history.cost == [pytest.approx(gradients.cost, rel=1e-13)]
    reference.SGD(0.1).step(twin.parameters, reference.interleave(gradients))
    np.testing.assert_allclose(net.get_parameters(), twin.flat(), rtol=1e-12, atol=1e-13)


@pytest.mark.unsanitized
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_equal_autograd(net, data, dtype, rng):
    pytest.importorskip("jax")
    import jax_twin

    net, (x, y), weight = random_network(rng, net.sizes, "silu", "mse", dtype=dtype), data, None
    x, y, weight = x.astype(dtype), y.astype(dtype), rng.random(N)
    factors, before = factors_of(net, RATES, 0, range(N)), net.get_parameters()
    cost, gradients = jax_twin.cost_and_gradients(
        jax_twin.parameters(net), x, y, weight, net.activations, net.loss, factors
    )
    step = {"learning_rate": 1.0, "sample_weight": weight, "dropout": RATES}
    assert net.train_step(x, y, **step) == pytest.approx(float(cost), rel=1e-6)
    tolerance = {"float32": 1e-4, "float64": 1e-12}[dtype]
    assert relative(before - net.get_parameters(), jax_twin.flat(gradients)) < tolerance


@pytest.mark.parametrize("batch_size", [1, 5, 64, None])
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_fit_follows_a_numpy_loop(net, data, batch_size, rule):
    twin, judge = reference.Net.of(net), getattr(reference, rule)(learning_rate=0.05)
    optimizer, rows = getattr(cr, rule)(0.05), min(batch_size or N, N)
    for epoch in range(3):
        order = np.arange(N) if batch_size is None else _core.permutation(net.seed, epoch, N)
        history = net.fit(*data, batch_size=batch_size, optimizer=optimizer, dropout=RATES)

        def factors(places, epoch=epoch):
            return factors_of(net, RATES, epoch, places)

        cost = reference.descend(twin, judge, *data, rows, order, factors)
        assert history.cost == [pytest.approx(cost, rel=1e-12)]
        np.testing.assert_allclose(net.get_parameters(), twin.flat(), rtol=1e-11, atol=1e-12)


def test_one_rate_is_that_of_every_hidden_layer(net, data):
    other = copy.deepcopy(net)
    net.fit(*data, learning_rate=0.1, dropout=0.3)
    other.fit(*data, learning_rate=0.1, dropout=[0.3, 0.3, 0.3])
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_a_network_learns_with_dropout(rng):
    x = rng.normal(size=(500, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    net = cr.Network([2, 64, 2], ["relu", "softmax"], "cross_entropy", seed=0)
    net.fit(x, y, epochs=40, optimizer=cr.Adam(0.01), dropout=0.3, label_smoothing=0.1)
    assert net.evaluate(x, y)["accuracy"] > 0.95


def test_a_run_that_diverges_is_undone(rng, data):
    net = random_network(rng, [4, 9, 3], ["relu", "identity"], "sse")
    with unchanged(net), pytest.raises(cr.DivergenceError):
        net.fit(*data, epochs=50, batch_size=5, learning_rate=1e6, dropout=0.5)


# --- nothing else -----------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize("batch_size", [1, 5, None])
@pytest.mark.parametrize("none", [0, 0.0, [0, 0, 0], np.zeros(3)])
def test_rates_of_zero_change_no_bits(net, data, batch_size, none):
    other = copy.deepcopy(net)
    net.fit(*data, epochs=2, batch_size=batch_size, learning_rate=0.1)
    other.fit(*data, epochs=2, batch_size=batch_size, learning_rate=0.1, dropout=none)
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_predictions_costs_and_validation_leave_no_unit_out(net, data):
    history = net.fit(*data, learning_rate=0.1, validation_data=data, dropout=0.5)
    twin = reference.Net.of(net)
    np.testing.assert_allclose(net.predict(data[0]), twin.predict(data[0]), rtol=1e-12)
    assert history.validation_cost == [pytest.approx(twin.cost(*data), rel=1e-12)]
    assert net.cost(*data) == pytest.approx(twin.cost(*data), rel=1e-12)
    assert relative(net.gradients(*data).flatten(), reference_flat(twin, data)) < 1e-12


def reference_flat(twin, data):
    return np.concatenate([g.ravel() for g in reference.interleave(twin.gradients(*data))])


def test_a_later_step_without_dropout_leaves_no_unit_out(net, data):
    """Though it works in the same memory."""
    other = copy.deepcopy(net)
    parameters = net.get_parameters()
    net.train_step(*data, learning_rate=0.1, dropout=0.5)
    net.set_parameters(parameters)
    for one in (net, other):
        one.train_step(*data, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


# --- the same bits, whatever the way ----------------------------------------------------------

SHAPES = {
    "narrow": [3, 5, 2, 3],
    "middle": [40, 60, 33, 5],
    "columns shared": [700, 820, 300, 5],
}


@pytest.mark.bits
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch_size", [1, 256, 257])
def test_threads_change_no_bits(rng, shape, batch_size, dtype):
    sizes = SHAPES[shape]
    n = 3 if batch_size == 1 else 300
    start = random_network(rng, sizes, ["tanh", "relu", "softmax"], "cross_entropy", dtype=dtype)
    x, y = rng.normal(size=(n, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], n)
    nets = [copy.deepcopy(start) for _ in range(3)]
    for threads, net in enumerate(nets, start=1):
        net.fit(x, y, batch_size=batch_size, learning_rate=0.1, threads=threads, dropout=[0.5, 0.2])
    for net in nets[1:]:
        assert_same_bits(net.get_parameters(), nets[0].get_parameters())


def fit_an_epoch_a_call(net, x, y, batch_size, **options):
    for _ in range(2):
        net.fit(x, y, batch_size=batch_size, shuffle=False, **options)


def fit_converted(net, x, y, batch_size, **options):
    swapped = x.astype(x.dtype.newbyteorder())
    net.fit(swapped, y, epochs=2, batch_size=batch_size, shuffle=False, **options)


def fit_a_stream(net, x, y, batch_size, **options):
    parts = [slice(i, i + batch_size) for i in range(0, len(x), batch_size)]
    net.fit([(x[part], y[part]) for part in parts], epochs=2, **options)


def fit_the_rest_of_an_epoch(net, x, y, batch_size, **options):
    """As one that was interrupted after the first step."""
    net.fit(x, y, batch_size=batch_size, shuffle=False, **options)
    state = cr.SGD(0.1).bind(net)
    place = {"dropout": (options["dropout"], net.seed, 1, 0)}
    part, rate = slice(0, batch_size), np.array([0.1])
    _core.step(net, x[part], y[part], None, state, 0.1, **place)
    left = _core.Position(steps=1)
    _core.train_epoch(net, x, y, None, batch_size, None, state, rate, position=left, **place)


@pytest.mark.bits
@pytest.mark.parametrize("batch_size", [1, 5, 23])
@pytest.mark.parametrize(
    "way", [fit_an_epoch_a_call, fit_converted, fit_a_stream, fit_the_rest_of_an_epoch]
)
def test_every_way_to_train_gives_the_bits_of_fit(net, data, way, batch_size):
    other, options = copy.deepcopy(net), {"learning_rate": 0.1, "dropout": RATES}
    net.fit(*data, epochs=2, batch_size=batch_size, shuffle=False, **options)
    way(other, *data, batch_size, **options)
    assert_same_bits(other.get_parameters(), net.get_parameters())


@pytest.mark.bits
def test_a_sample_loses_the_same_units_in_a_batch_of_every_size(rng):
    """With a learning rate of 0, the epoch's cost is the mean over samples of their own."""
    net = random_network(rng, [4, 30, 3], ["tanh", "identity"], "sse")
    x, y = rng.normal(size=(600, 4)), rng.normal(size=(600, 3))
    costs = [
        copy.deepcopy(net).fit(x, y, batch_size=size, learning_rate=0.0, dropout=0.5).cost[0]
        for size in (1, 7, 256, 300, 599)
    ]
    np.testing.assert_allclose(costs, costs[0], rtol=1e-13)


# --- train_step -------------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize("rule", [lambda: {"learning_rate": 0.1}, lambda: {"optimizer": cr.Adam()}])
def test_train_steps_go_on_as_an_epoch_does(net, data, rule):
    (x, y), other = data, copy.deepcopy(net)
    net.fit(x, y, batch_size=5, shuffle=False, dropout=RATES, **rule())
    rules = rule()
    for start in range(0, N, 5):
        other.train_step(x[start : start + 5], y[start : start + 5], dropout=RATES, **rules)
    assert_same_bits(other.get_parameters(), net.get_parameters())


def test_every_train_step_leaves_other_units_out(net, data):
    costs = [net.train_step(*data, learning_rate=0.0, dropout=0.5) for _ in range(20)]
    assert len(set(costs)) == 20


def test_a_vector_counts_as_one_sample(net, data):
    (x, y), other = data, copy.deepcopy(net)
    for one, rows in ((net, (0, 1)), (other, ([0], [1]))):
        for i in rows:
            one.train_step(x[i], y[i], learning_rate=0.1, dropout=0.5)
    assert_same_bits(other.get_parameters(), net.get_parameters())


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
)
def test_copies_keep_count(net, data, copied):
    step = {"learning_rate": 0.1, "dropout": 0.5}
    net.train_step(*data, **step)
    other = copied(net)
    assert net.train_step(*data, **step) == other.train_step(*data, **step)
    assert_same_bits(other.get_parameters(), net.get_parameters())


def test_a_refused_step_does_not_count(net, data):
    other = copy.deepcopy(net)
    with pytest.raises(ValueError, match="NaN"):
        net.train_step(data[0] * np.nan, data[1], learning_rate=0.1, dropout=0.5)
    for one in (net, other):
        one.train_step(*data, learning_rate=0.1, dropout=0.5)
    assert_same_bits(other.get_parameters(), net.get_parameters())


# --- what is refused --------------------------------------------------------------------------


def calls(net, x, y, dropout):
    yield lambda: net.train_step(x, y, learning_rate=0.1, dropout=dropout)
    yield lambda: net.fit(x, y, learning_rate=0.1, dropout=dropout)
    yield lambda: net.fit([(x, y)], epochs=0, learning_rate=0.1, dropout=dropout)


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5, np.nan, np.inf, True, [0.1, 1.0, 0]])
def test_a_rate_outside_its_range_is_refused(net, data, dropout):
    with unchanged(net):
        for call in calls(net, *data, dropout):
            with pytest.raises(ValueError, match=says("dropout", "[0, 1)")):
                call()


@pytest.mark.parametrize("dropout", ["half", None, [0.1, "half", 0], [0.1, None, 0], {}.keys])
def test_rates_that_are_no_numbers_are_refused(net, data, dropout):
    with unchanged(net):
        for call in calls(net, *data, dropout):
            with pytest.raises(TypeError, match=says("dropout", "got")):
                call()


@pytest.mark.parametrize("dropout", [[], [0.1], [0.1] * 4, np.array([0.1, 0.2])])
def test_a_wrong_number_of_rates_is_refused(net, data, dropout):
    with unchanged(net):
        for call in calls(net, *data, dropout):
            with pytest.raises(ValueError, match=says("dropout", len(dropout), "3 hidden layers")):
                call()


def test_a_network_without_hidden_layers_has_nothing_to_leave_out(rng, data):
    net = random_network(rng, [4, 3], "softmax", "cross_entropy")
    for call in calls(net, *data, 0.2):
        with pytest.raises(ValueError, match=says("dropout", "hidden layers", "none")):
            call()
    net.fit(*data, learning_rate=0.1, dropout=0.0)


@pytest.mark.parametrize(
    "rates", [[0.5], [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 1.0], [0.5, 0.5, np.nan]]
)
def test_the_core_checks_rates_too(net, data, rates):
    """What it is given decides how far it reads."""
    with unchanged(net), pytest.raises(ValueError, match="dropout"):
        _core.step(net, *data, None, None, 0.1, dropout=(rates, 0, 0, 0))
