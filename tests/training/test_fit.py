"""fit: history, validation, early stopping, callbacks, progress, streams."""

from __future__ import annotations

import copy
import math
import sys
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import _core
from support import assert_same_bits, random_network, says, unchanged

N = 50


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 8, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")


@pytest.fixture
def data(rng):
    """Three clusters that a small network learns."""
    y = rng.integers(0, 3, N)
    centres = 2 * np.eye(3, 5)
    return (centres[y] + rng.normal(0, 0.5, (N, 5))).astype(np.float32), y


# --- history ----------------------------------------------------------------------------------


def test_history_has_one_entry_an_epoch(net, data):
    history = net.fit(*data, epochs=4, learning_rate=0.1)
    assert isinstance(history, cr.History)
    assert len(history.cost) == 4
    assert all(math.isfinite(c) for c in history.cost)
    assert history.cost[-1] < history.cost[0]


def test_the_cost_of_a_full_batch_is_the_cost_before_the_epoch(net, data):
    before = net.cost(*data)
    history = net.fit(*data, batch_size=None, learning_rate=0.1)
    assert history.cost == [pytest.approx(before, rel=1e-6)]


def test_the_cost_of_an_epoch_is_the_mean_of_its_batches_before_their_updates(net, data):
    x, y = data
    other, total = copy.deepcopy(net), 0.0
    for start in range(0, N, 16):
        rows = slice(start, start + 16)
        total += other.train_step(x[rows], y[rows], learning_rate=0.1) * len(y[rows])
    history = net.fit(x, y, batch_size=16, shuffle=False, learning_rate=0.1)
    assert history.cost == [pytest.approx(total / N, rel=1e-12)]


def test_training_learns(net, data):
    net.fit(*data, epochs=100, batch_size=8, optimizer=cr.Adam(0.01))
    assert net.evaluate(*data)["accuracy"] > 0.95


def test_the_network_counts_its_epochs(net, data):
    for epochs, count in ((2, 2), (3, 5)):
        net.fit(*data, epochs=epochs, learning_rate=0.1)
        assert net.epoch == count


# --- validation, early stopping, callbacks ----------------------------------------------------


def test_validation_costs_are_those_after_each_epoch(net, data):
    seen = []
    history = net.fit(
        *data,
        epochs=3,
        learning_rate=0.1,
        validation_data=data,
        callbacks=[lambda network, history: seen.append(network.cost(*data))],
    )
    assert history.validation_cost == [pytest.approx(c, rel=1e-6) for c in seen]


@pytest.mark.bits
def test_validation_does_not_change_the_training(net, data):
    other = copy.deepcopy(net)
    net.fit(*data, epochs=3, learning_rate=0.1)
    other.fit(*data, epochs=3, learning_rate=0.1, validation_data=data)
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_early_stopping_stops_and_goes_back_to_the_best_epoch(net, data):
    """After ten epochs a callback throws away what was learnt: none of the next three is better."""
    costs = []

    def spoil(network, history):
        costs.append(network.cost(*data))
        if len(history.cost) == 10:
            network.set_parameters(np.zeros(network.n_parameters))

    history = net.fit(
        *data,
        epochs=100,
        batch_size=None,
        learning_rate=0.2,
        validation_data=data,
        early_stopping=cr.EarlyStopping(patience=3),
        callbacks=[spoil],
    )
    assert len(history.cost) == 13
    assert int(np.argmin(history.validation_cost)) == 9
    assert net.cost(*data) == costs[9]


def test_without_improvement_beyond_min_delta_training_stops(net, data):
    stopping = cr.EarlyStopping(patience=2, min_delta=1e3)
    history = net.fit(*data, epochs=50, learning_rate=0.1, early_stopping=stopping)
    assert len(history.cost) == 3


def test_a_callback_sees_every_epoch_and_can_stop(net, data):
    seen = []

    def callback(network, history):
        assert network is net
        seen.append(len(history.cost))
        return len(seen) == 3

    history = net.fit(*data, epochs=10, learning_rate=0.1, callbacks=[callback])
    assert seen == [1, 2, 3]
    assert len(history.cost) == 3


def test_a_callback_may_call_anything_but_fit(net, data):
    def callback(network, history):
        network.predict(data[0])
        network.gradients(*data)
        network.train_step(*data, learning_rate=0.01)
        network.set_parameters(network.get_parameters() * 0.999)
        pickled = copy.deepcopy(network)
        assert pickled.cost(*data) == network.cost(*data)

    history = net.fit(*data, epochs=3, learning_rate=0.1, callbacks=[callback])
    assert len(history.cost) == 3


def test_fit_inside_fit_is_refused(net, data):
    def callback(network, history):
        with pytest.raises(RuntimeError, match=says("fit")):
            network.fit(*data, learning_rate=0.1)

    net.fit(*data, epochs=2, learning_rate=0.1, callbacks=[callback])
    net.fit(*data, learning_rate=0.1)  # and it works again afterwards


def test_fit_from_another_thread_is_refused(net, data):
    refused = []

    def attempt():
        try:
            net.fit(*data, learning_rate=0.1)
        except RuntimeError as error:
            refused.append(error)

    def callback(network, history):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    net.fit(*data, learning_rate=0.1, callbacks=[callback])
    assert len(refused) == 1


def test_an_exception_in_a_callback_passes_through(net, data):
    def callback(network, history):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        net.fit(*data, learning_rate=0.1, callbacks=[callback])
    net.fit(*data, learning_rate=0.1)


# --- progress ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tqdm", ["with tqdm", "without tqdm"])
def test_progress_goes_to_stderr_and_never_to_stdout(net, data, capfd, monkeypatch, tqdm):
    if tqdm == "without tqdm":
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    net.fit(*data, epochs=3, learning_rate=0.1, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "3" in captured.err
    assert "cost" in captured.err


def test_no_progress_prints_nothing(net, data, capfd):
    net.fit(*data, epochs=3, learning_rate=0.1)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.bits
def test_progress_does_not_change_the_training(net, data):
    other = copy.deepcopy(net)
    net.fit(*data, epochs=3, learning_rate=0.1, progress=True)
    other.fit(*data, epochs=3, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


# --- streams ----------------------------------------------------------------------------------


def test_a_stream_is_iterated_once_an_epoch(net, data):
    class Source:
        passes = 0

        def __iter__(self):
            self.passes += 1
            yield data
            yield data

    source = Source()
    net.fit(source, epochs=3, learning_rate=0.1)
    assert source.passes == 3


def test_a_generator_serves_one_epoch(net, data):
    history = net.fit((data for _ in range(4)), learning_rate=0.1)
    assert len(history.cost) == 1


@pytest.mark.bits
def test_a_stream_may_carry_weights(net, data, rng):
    weight = rng.random(N)
    other = copy.deepcopy(net)
    net.fit([(*data, weight)], learning_rate=0.1)
    other.train_step(*data, learning_rate=0.1, sample_weight=weight)
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_an_exception_in_a_stream_keeps_the_completed_steps(net, data):
    other = copy.deepcopy(net)

    def source():
        yield data
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        net.fit(source(), learning_rate=0.1)
    other.train_step(*data, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


# --- threads and shape of the data ------------------------------------------------------------


def test_a_batch_larger_than_the_data_is_the_whole_data(net, data):
    other = copy.deepcopy(net)
    net.fit(*data, batch_size=10**9, shuffle=False, learning_rate=0.1)
    other.train_step(*data, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_one_sample_is_enough(net, data):
    x, y = data
    net.fit(x[:1], y[:1], batch_size=32, learning_rate=0.1)
    assert np.isfinite(net.get_parameters()).all()


def test_no_epochs_change_nothing(net, data):
    with unchanged(net):
        history = net.fit(*data, epochs=0, learning_rate=0.1)
    assert history.cost == []


def test_permutations_follow_the_epoch_counter(net, data):
    """The second epoch of fit is the epoch 1 of `permutation`."""
    x, y = data
    net.fit(x, y, batch_size=1, learning_rate=0.1)
    other = copy.deepcopy(net)
    net.fit(x, y, batch_size=1, learning_rate=0.1)
    order = _core.permutation(net.seed, 1, N)
    other.fit(x[order], y[order], batch_size=1, learning_rate=0.1, shuffle=False)
    assert_same_bits(net.get_parameters(), other.get_parameters())
