"""Targets, weights, learning rates, optimisers and arguments of fit that are refused.

Messages are matched loosely: the shapes, dtypes or names that they must contain, in any order.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from calls import REFUSED, TRAINING

import chainrule as cr
from support import assert_same_bits, random_network, says, unchanged

# --- targets ----------------------------------------------------------------------------------


@pytest.fixture(params=TRAINING)
def train(request):
    return TRAINING[request.param]


BAD_TARGETS = {
    "too few rows": np.zeros((5, 3)),
    "one row": np.ones((1, 3)),
    "one column": np.ones((6, 1)),
    "wrong width": np.zeros((6, 4)),
    "a row": np.zeros(3),
    "a scalar": np.float64(1),
    "extra axis": np.zeros((6, 3, 1)),
    "float labels": np.zeros(6),
    "too few labels": np.zeros(5, int),
    "columns of labels": np.zeros((6, 1), int),
    "negative label": np.array([0, 1, 2, -1, 0, 0]),
    "label too large": np.array([0, 1, 2, 3, 0, 0]),
    "complex": np.zeros((6, 3), complex),
    "object": np.zeros((6, 3), object),
    "string": np.zeros((6, 3), "U1"),
    "string labels": np.array(list("abcabc")),
    "None": None,
}


@pytest.mark.parametrize("kind", BAD_TARGETS)
def test_targets_are_never_broadcast_nor_guessed(net, train, x, kind):
    with unchanged(net), pytest.raises(REFUSED):
        train(net, x, BAD_TARGETS[kind])


@pytest.mark.parametrize("kind", ["one row", "one column", "wrong width", "a row", "extra axis"])
def test_targets_of_the_wrong_shape_are_a_value_error_that_gives_both(net, x, kind):
    y = BAD_TARGETS[kind]
    with pytest.raises(ValueError, match=says("(6, 3)", y.shape)):
        net.cost(x, y)


def test_a_label_out_of_range_is_named(net, x):
    with pytest.raises(ValueError, match=says("3")):
        net.cost(x, BAD_TARGETS["label too large"])


def test_labels_belong_to_cross_entropy_only(rng):
    net = random_network(rng, [5, 3], "softmax", "mse")
    with unchanged(net), pytest.raises(ValueError, match=says("(6, 3)", "(6,)")):
        net.cost(np.zeros((6, 5)), np.array([0, 1, 2, 0, 1, 2]))


def test_a_flat_target_needs_one_output(rng):
    net = random_network(rng, [5, 3], "identity", "mse")
    with pytest.raises(ValueError, match=says("(3, 3)", "(3,)")):
        net.cost(np.zeros((3, 5)), np.zeros(3))


def test_no_samples_have_no_mean(net):
    for call in TRAINING.values():
        with unchanged(net), pytest.raises(ValueError):
            call(net, np.zeros((0, 5), np.float32), np.zeros((0, 3)))


# --- sample weights ---------------------------------------------------------------------------

BAD_WEIGHTS = {
    "too few": np.ones(5),
    "a column": np.ones((6, 1)),
    "a scalar": 1.0,
    "negative": np.array([1, 1, -1, 1, 1, 1]),
    "nan": np.array([1, 1, np.nan, 1, 1, 1]),
    "infinite": np.array([1, 1, np.inf, 1, 1, 1]),
    "all zero": np.zeros(6),
    "complex": np.ones(6, complex),
    "string": ["1"] * 6,
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
@pytest.mark.parametrize("name", ["cost", "gradients", "train_step", "fit", "stream"])
def test_sample_weights_that_are_none_are_refused(net, x, y, name, kind):
    weight = BAD_WEIGHTS[kind]
    calls = {
        "cost": lambda: net.cost(x, y, weight),
        "gradients": lambda: net.gradients(x, y, weight),
        "train_step": lambda: net.train_step(x, y, learning_rate=0.1, sample_weight=weight),
        "fit": lambda: net.fit(x, y, learning_rate=0.1, sample_weight=weight),
        "stream": lambda: net.fit([(x, y, weight)], learning_rate=0.1),
    }
    with unchanged(net), pytest.raises(REFUSED, match=says("weight")):
        calls[name]()


def test_a_batch_whose_weights_sum_to_zero_is_refused_or_skipped_never_nan(net, x, y):
    weight = np.array([0, 0, 0, 1, 1, 1.0])
    try:
        history = net.fit(
            x, y, batch_size=3, shuffle=False, learning_rate=0.1, sample_weight=weight
        )
    except ValueError as error:
        assert re.search("weight", str(error))
    else:
        assert np.isfinite(history.cost).all()
    assert np.isfinite(net.get_parameters()).all()


# --- learning rates and optimisers ------------------------------------------------------------

UPDATES = {
    "fit": lambda net, x, y, **how: net.fit(x, y, **how),
    "stream": lambda net, x, y, **how: net.fit([(x, y)], **how),
    "train_step": lambda net, x, y, **how: net.train_step(x, y, **how),
}


@pytest.fixture(params=UPDATES)
def update(request):
    return UPDATES[request.param]


def test_neither_learning_rate_nor_optimizer_is_refused(net, x, y, update):
    with unchanged(net), pytest.raises(ValueError, match=says("learning_rate", "optimizer")):
        update(net, x, y)


def test_both_learning_rate_and_optimizer_are_refused(net, x, y, update):
    with unchanged(net), pytest.raises(ValueError, match=says("learning_rate", "optimizer")):
        update(net, x, y, learning_rate=0.1, optimizer=cr.SGD(0.1))


@pytest.mark.parametrize("rate", [np.nan, np.inf, -np.inf, -0.1], ids=str)
def test_a_learning_rate_that_is_no_rate_is_refused(net, x, y, update, rate):
    with unchanged(net), pytest.raises(ValueError, match=says("learning_rate", rate)):
        update(net, x, y, learning_rate=rate)
    for optimizer in (cr.SGD, cr.Adam):
        with pytest.raises(ValueError, match=says("learning_rate", rate)):
            optimizer(rate)


@pytest.mark.parametrize("rate", ["0.1", 1j, [0.1]], ids=str)
def test_a_learning_rate_that_is_no_number_is_refused(net, x, y, update, rate):
    with unchanged(net), pytest.raises(REFUSED):
        update(net, x, y, learning_rate=rate)


@pytest.mark.parametrize("rate", [np.nan, -1.0])
def test_a_schedule_that_gives_no_rate_is_refused_before_its_step(net, x, y, update, rate):
    with unchanged(net), pytest.raises(ValueError):
        update(net, x, y, optimizer=cr.SGD(lambda step: rate))


def test_an_exception_in_a_schedule_passes_through(net, x, y, update):
    def broken(step):
        raise KeyError("schedule")

    with unchanged(net), pytest.raises(KeyError, match="schedule"):
        update(net, x, y, optimizer=cr.Adam(broken))


@pytest.mark.parametrize(
    "optimizer", ["adam", cr.SGD, 0.1, object()], ids=lambda one: type(one).__name__
)
def test_an_optimizer_must_be_one(net, x, y, update, optimizer):
    with unchanged(net), pytest.raises(REFUSED):
        update(net, x, y, optimizer=optimizer)


@pytest.mark.parametrize(
    "make",
    [
        lambda: cr.SGD(0.1, momentum=-0.1),
        lambda: cr.SGD(0.1, momentum=np.nan),
        lambda: cr.SGD(0.1, nesterov=True),
        lambda: cr.SGD(0.1, weight_decay=-1),
        lambda: cr.Adam(betas=(1.0, 0.9)),
        lambda: cr.Adam(betas=(0.9, -0.1)),
        lambda: cr.Adam(betas=(0.9, np.nan)),
        lambda: cr.Adam(betas=0.9),
        lambda: cr.Adam(eps=-1e-8),
        lambda: cr.Adam(eps=np.inf),
        lambda: cr.Adam(weight_decay=-1),
        lambda: cr.AdamW(weight_decay=-1),
        lambda: cr.RMSprop(alpha=1.0),
        lambda: cr.RMSprop(eps=0),
        lambda: cr.RMSprop(momentum=1.0),
        lambda: cr.Adagrad(eps=0),
        lambda: cr.Adagrad(lr_decay=-0.1),
        lambda: cr.Adagrad(initial_accumulator_value=-0.1),
        lambda: cr.SGD(0.1, l1=-0.1),
        lambda: cr.Adam(l2=np.nan),
        lambda: cr.RMSprop(clip_value=0),
        lambda: cr.Adagrad(clip_norm=-1),
        lambda: cr.AdamW(clip_norm=np.inf),
    ],
)
def test_hyperparameters_out_of_range_are_refused(make):
    with pytest.raises(REFUSED):
        make()


@pytest.mark.parametrize("make", [lambda: cr.SGD(0.1), lambda: cr.Adam()], ids=["SGD", "Adam"])
def test_an_optimizer_serves_one_network_only(net, x, y, update, make, rng):
    optimizer = make()
    update(net, x, y, optimizer=optimizer)
    other = random_network(rng, net.sizes, net.activations, net.loss, dtype="float32")
    with unchanged(other), pytest.raises(ValueError, match=says("network")):
        update(other, x, y, optimizer=optimizer)
    with unchanged(other), pytest.raises(ValueError, match=says("network")):
        other.apply(other.gradients(x, y), optimizer)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: (g.weights[:1], g.biases),
        lambda g: (g.weights, g.biases[:1]),
        lambda g: (g.weights, ()),
        lambda g: ([w.T for w in g.weights], g.biases),
        lambda g: ([w[:, :1] for w in g.weights], g.biases),
        lambda g: ([w.astype(complex) for w in g.weights], g.biases),
        lambda g: ([w.astype(str) for w in g.weights], g.biases),
        lambda g: (g.weights, [b[:, None] for b in g.biases]),
    ],
    ids=["layer", "bias", "no biases", "transposed", "broadcast", "complex", "string", "column"],
)
def test_gradients_of_other_shapes_or_kinds_are_refused(net, x, y, change):
    weights, biases = change(net.gradients(x, y))
    with unchanged(net), pytest.raises(REFUSED):
        net.apply(cr.Gradients(None, tuple(weights), tuple(biases)), cr.SGD(0.1))


# --- fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": -1},
        {"epochs": 1.5},
        {"epochs": "2"},
        {"batch_size": 0},
        {"batch_size": -3},
        {"batch_size": 2.5},
        {"threads": 0},
        {"callbacks": 3},
        {"callbacks": [None]},
        {"early_stopping": "soon"},
        {"validation_data": 3},
        {"validation_data": (np.zeros((2, 5)),)},
    ],
    ids=str,
)
def test_arguments_of_fit_are_checked_before_anything_moves(net, x, y, arguments):
    with unchanged(net), pytest.raises(REFUSED):
        net.fit(x, y, learning_rate=0.1, **arguments)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("where", ["x", "y"])
def test_data_in_memory_must_be_finite(net, x, bad, where):
    y = np.full((6, 3), 1 / 3)
    {"x": x, "y": y}[where][4, 1] = bad
    with unchanged(net), pytest.raises(ValueError, match=says(where, "4")):
        net.fit(x, y, learning_rate=0.1, batch_size=2)


def test_numbers_beyond_the_dtype_of_the_network_are_not_finite(net, x, y):
    x = x.astype(np.float64)
    x[3, 2] = 1e300
    with unchanged(net), pytest.raises((ValueError, cr.DivergenceError)):
        net.fit(x, y, learning_rate=0.1)


def test_a_stream_is_checked_batch_by_batch_and_keeps_completed_steps(net, x, y):
    other = random_network(
        np.random.default_rng(0), net.sizes, net.activations, net.loss, dtype="float32"
    )
    other.set_parameters(net.get_parameters())
    bad = x.copy()
    bad[2, 2] = np.nan
    with pytest.raises(ValueError, match=says("x")):
        net.fit([(x, y), (bad, y), (x, y)], learning_rate=0.1)
    other.train_step(x, y, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_a_one_shot_iterator_has_one_epoch(net, x, y):
    batches = iter([(x, y)])
    with unchanged(net), pytest.raises(ValueError, match=says("iterator")):
        net.fit(batches, epochs=2, learning_rate=0.1)
    assert next(batches) is not None  # nothing was taken from it


@pytest.mark.parametrize("stream", [3, [3], [()], [(1, 2, 3, 4)], [None], []], ids=str)
def test_a_stream_must_yield_batches(net, stream):
    with unchanged(net), pytest.raises(REFUSED):
        net.fit(stream, learning_rate=0.1)


def test_an_array_without_targets_is_refused(net, x):
    with unchanged(net), pytest.raises(REFUSED):
        net.fit(x, learning_rate=0.1)


def test_x_and_y_must_have_equally_many_rows(net, x, y):
    with unchanged(net), pytest.raises(ValueError, match=says("6", "5")):
        net.fit(x, y[:5], learning_rate=0.1)


# --- the rest ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 51, 53])
def test_a_flat_vector_of_the_wrong_length_is_refused(net, size):
    assert net.n_parameters == 66
    with unchanged(net), pytest.raises(ValueError, match=says("66", size)):
        net.set_parameters(np.zeros(size))


@pytest.mark.parametrize("vector", [np.zeros((66, 1)), np.zeros(66, complex), ["a"] * 66, None])
def test_a_flat_vector_of_another_kind_is_refused(net, vector):
    with unchanged(net), pytest.raises(REFUSED):
        net.set_parameters(vector)


@pytest.mark.parametrize(
    "name", ["sizes", "activations", "loss", "dtype", "weights", "biases", "seed", "n_parameters"]
)
def test_the_architecture_cannot_be_assigned_to(net, name):
    with unchanged(net), pytest.raises(AttributeError):
        setattr(net, name, getattr(net, name))


@pytest.mark.parametrize(
    "dC_da", [np.zeros((5, 3)), np.zeros((6, 4)), np.zeros(3), np.zeros((6, 3), complex), None]
)
def test_a_cotangent_of_another_shape_or_kind_is_refused(net, x, dC_da):
    _, pullback = net.vjp(x)
    with unchanged(net), pytest.raises(REFUSED):
        pullback(dC_da)


@pytest.mark.parametrize(
    "place", [(0, 0, 0), (3, 0, 0), (-1, 0, 0), (1, 7, 0), (1, 0, 5), (2, 3, 0), (2, 0, 7)], ids=str
)
def test_explain_refuses_a_weight_that_does_not_exist(net, x, place):
    layer, to, from_ = place
    with pytest.raises((ValueError, IndexError)):
        net.explain(x[0], [1, 0, 0], layer, to, from_)


def test_explain_takes_one_sample(net, x, y):
    with pytest.raises(ValueError):
        net.explain(x, y, 1, 0, 0)
