"""Callbacks of epochs and of batches, and what an exception in one leaves."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, random_network, says, unchanged

N, BATCHES = 50, 4


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 8, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")


@pytest.fixture
def data(rng):
    return rng.normal(size=(N, 5)).astype(np.float32), rng.integers(0, 3, N)


class Recorder:
    """Sees everything; ends the training at a step or an epoch."""

    def __init__(self, at_step=None, at_epoch=None):
        self.at_step, self.at_epoch = at_step, at_epoch
        self.steps, self.epochs = [], []

    def on_batch_end(self, network, epoch, step, cost):
        self.steps.append((epoch, step, cost, network.get_parameters()))
        return len(self.steps) == self.at_step

    def on_epoch_end(self, network, history):
        self.epochs.append(len(history))
        return len(history) == self.at_epoch


def fit(net, data, callback, **options):
    settings = {"epochs": 3, "batch_size": 16, "learning_rate": 0.1, **options}
    return net.fit(*data, **settings, callbacks=[callback])


def test_a_batch_callback_sees_every_step_after_its_update(net, data):
    twin, recorder = copy.deepcopy(net), Recorder()
    fit(net, data, recorder, shuffle=False)
    assert [step[:2] for step in recorder.steps] == [
        (epoch, step) for epoch in (1, 2, 3) for step in (1, 2, 3, 4)
    ]
    x, y = data
    for number, (_, _, cost, parameters) in enumerate(recorder.steps):
        rows = slice(16 * (number % BATCHES), 16 * (number % BATCHES) + 16)
        assert cost == twin.train_step(x[rows], y[rows], learning_rate=0.1)
        assert_same_bits(parameters, twin.get_parameters())


def test_epochs_count_over_the_life_of_the_network(net, data):
    fit(net, data, Recorder())
    recorder = Recorder()
    fit(net, data, recorder)
    assert {step[0] for step in recorder.steps} == {4, 5, 6}


@pytest.mark.bits
@pytest.mark.parametrize("batch_size", [1, 7, None])
@pytest.mark.parametrize("optimizer", [lambda: cr.SGD(0.1), cr.Adam], ids=["SGD", "Adam"])
def test_to_be_watched_does_not_change_the_training(net, data, batch_size, optimizer):
    twin = copy.deepcopy(net)
    options = {"epochs": 2, "batch_size": batch_size}
    weight = np.linspace(0, 1, N)
    watched = net.fit(
        *data, **options, optimizer=optimizer(), sample_weight=weight, callbacks=[Recorder()]
    )
    free = twin.fit(*data, **options, optimizer=optimizer(), sample_weight=weight)
    assert_same_bits(net.get_parameters(), twin.get_parameters())
    assert watched.cost == free.cost


def test_a_batch_callback_ends_the_training_within_an_epoch(net, data):
    recorder = Recorder(at_step=6)
    history = fit(net, data, recorder)
    assert len(recorder.steps) == 6
    assert recorder.epochs == [1]
    assert len(history) == net.epoch == 1
    assert_same_bits(net.get_parameters(), recorder.steps[-1][3])


def test_an_epoch_ended_at_its_last_step_counts(net, data):
    recorder = Recorder(at_step=2 * BATCHES)
    history = fit(net, data, recorder)
    assert recorder.epochs == [1, 2]
    assert len(history) == net.epoch == 2


def test_an_epoch_callback_ends_the_training(net, data):
    recorder = Recorder(at_epoch=2)
    assert len(fit(net, data, recorder)) == 2


def test_every_callback_sees_the_last_epoch_and_step(net, data):
    first, second = Recorder(at_step=3), Recorder()
    net.fit(*data, batch_size=16, learning_rate=0.1, callbacks=[first, second])
    assert len(second.steps) == 3
    first, second = Recorder(at_epoch=1), Recorder()
    net.fit(*data, epochs=2, batch_size=16, learning_rate=0.1, callbacks=[first, second])
    assert second.epochs == [1]


def test_a_batch_callback_of_a_stream(net, data):
    recorder = Recorder()
    net.fit([data, data], epochs=2, learning_rate=0.1, callbacks=[recorder])
    assert [step[:2] for step in recorder.steps] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_batch_callback_may_call_anything_but_fit(net, data):
    class Callback:
        def on_batch_end(self, network, epoch, step, cost):
            network.predict(data[0])
            network.evaluate(*data)
            network.train_step(*data, learning_rate=0.01)
            with pytest.raises(RuntimeError, match="fit"):
                network.fit(*data, learning_rate=0.1)

    assert len(fit(net, data, Callback())) == 3


@pytest.mark.parametrize("where", ["step", "epoch"])
def test_an_exception_leaves_network_and_history_as_far_as_they_came(net, data, where):
    class Callback(Recorder):
        def on_batch_end(self, network, epoch, step, cost):
            super().on_batch_end(network, epoch, step, cost)
            if where == "step" and (epoch, step) == (2, 3):
                raise KeyError("mine")

        def on_epoch_end(self, network, history):
            if where == "epoch" and len(history) == 2:
                raise KeyError("mine")

    callback = Callback()
    with pytest.raises(KeyError, match="mine"):
        fit(net, data, callback, validation_data=data)
    completed = 1 if where == "step" else 2
    assert net.epoch == len(net.history) == completed
    assert len(net.history.cost) == len(net.history.validation_cost) == completed
    assert_same_bits(net.get_parameters(), callback.steps[-1][3])
    net.fit(*data, learning_rate=0.1)  # and it goes on
    assert net.epoch == completed + 1


def test_the_best_weights_come_back_after_a_callback_ended_the_training(net, data):
    costs = []

    def spoil(network, history):
        costs.append(network.cost(*data))
        if len(history) == 4:
            network.set_parameters(100 * network.get_parameters())
        return len(history) == 6

    options = {"validation_data": data, "early_stopping": 10, "batch_size": None}
    history = fit(net, data, spoil, epochs=20, **options)
    assert history.best_epoch == 4
    assert net.cost(*data) == costs[3]


@pytest.mark.parametrize(
    "wrong",
    [cr.EarlyStopping(), cr.Checkpoint("x"), Recorder, "f", 3, None],
    ids=["EarlyStopping", "Checkpoint", "class", "text", "number", "None"],
)
def test_what_cannot_be_called_is_refused(net, data, wrong):
    with unchanged(net), pytest.raises(TypeError, match=says("callbacks must be", "on_epoch_end")):
        net.fit(*data, learning_rate=0.1, callbacks=[wrong])
