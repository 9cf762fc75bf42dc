"""The history of a run: its tables, its copies, and where it is found after an exception."""

from __future__ import annotations

import copy
import json
import pickle
import sys

import pytest

import chainrule as cr
from chainrule.metrics import evaluate
from support import random_network, says

N = 50


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 8, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")


@pytest.fixture
def data(rng):
    return rng.normal(size=(N, 5)), rng.integers(0, 3, N)


@pytest.fixture
def history(net, data):
    return net.fit(
        *data,
        epochs=4,
        batch_size=16,
        learning_rate=lambda step: 0.1 / (1 + step),
        validation_data=data,
        metrics=["accuracy", "f1"],
        early_stopping=9,
    )


COLUMNS = ["cost", "validation_cost", "validation_accuracy", "validation_f1"]


def test_the_columns_are_costs_and_metrics(history):
    assert list(history.columns()) == COLUMNS
    assert all(len(values) == 4 for values in history.columns().values())
    assert history.latest()["validation_f1"] == history.validation_metrics["f1"][-1]


def test_metrics_of_the_training_data_are_columns_too(net, data):
    history = net.fit(*data, epochs=2, learning_rate=0.1, metrics=["f1"])
    assert list(history.columns()) == ["cost", "f1"]


def test_what_is_monitored(history):
    assert history.monitored() == history.monitored("cost") == history.validation_cost[-1]
    assert history.monitored("f1") == history.validation_metrics["f1"][-1]
    assert history.monitored("validation_f1") == history.validation_metrics["f1"][-1]
    with pytest.raises(ValueError, match=says("r2", "validation_f1")):
        history.monitored("r2")


def test_the_learning_rate_is_that_of_the_last_update(history):
    assert history.learning_rate == [0.1 / 4, 0.1 / 8, 0.1 / 12, 0.1 / 16]


def test_a_data_frame_has_a_row_an_epoch(history):
    pytest.importorskip("pandas")
    frame = history.to_pandas()
    assert list(frame.columns) == [*COLUMNS, "learning_rate", "seconds"]
    assert frame.index.tolist() == [1, 2, 3, 4]
    assert frame.index.name == "epoch"
    assert frame["validation_f1"].tolist() == history.validation_metrics["f1"]


def test_without_pandas_the_error_says_what_to_install(history, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=says("pandas", "pip install")):
        history.to_pandas()


def test_json_holds_all_of_it(history):
    found = cr.History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert vars(found) == vars(history)


def test_a_dict_of_a_history_is_a_copy(history):
    history.to_dict()["cost"].clear()
    history.to_dict()["validation_metrics"]["f1"].clear()
    assert len(history.cost) == len(history.validation_metrics["f1"]) == 4


@pytest.mark.parametrize(
    "change", [{"extra": 1}, {"cost": [1.0]}, {"validation_metrics": {"f1": [1.0]}}], ids=str
)
def test_a_dict_of_something_else_is_refused(history, change):
    with pytest.raises(ValueError, match="entries|as long"):
        cr.History.from_dict({**history.to_dict(), **change})


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))])
def test_a_history_is_copied_and_pickled(history, copied):
    assert vars(copied(history)) == vars(history)


def test_its_text_gives_the_last_epoch(history):
    text = repr(history)
    assert text.startswith("History(epochs=4, cost=")
    assert f"validation_f1={history.validation_metrics['f1'][-1]:.6g}" in text
    assert f"best_epoch={history.best_epoch}" in text


def test_the_network_keeps_the_history_of_its_last_fit(net, data):
    assert net.history is None
    history = net.fit(*data, epochs=2, learning_rate=0.1)
    assert net.history is history
    assert vars(pickle.loads(pickle.dumps(net)).history) == vars(history)


def test_the_history_survives_an_exception(net, data):
    def interrupt(network, history):
        assert network.history is history
        if len(history) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.fit(*data, epochs=9, learning_rate=0.1, callbacks=[interrupt])
    assert len(net.history) == len(net.history.cost) == 3


def test_an_interrupted_validation_leaves_whole_epochs(net, data, monkeypatch):
    def interrupted(network, *args):
        if len(network.history) == 2:
            raise KeyboardInterrupt
        return evaluate(network, *args)

    monkeypatch.setattr("chainrule.training.measures.evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.fit(*data, epochs=9, learning_rate=0.1, validation_data=data)
    assert len(net.history) == len(net.history.cost) == len(net.history.validation_cost) == 2
    assert net.epoch == 2


def test_divergence_carries_the_history(net, data):
    def schedule(step):
        return 1e-3 if step < 8 else 1e38

    with pytest.raises(cr.DivergenceError) as caught:
        net.fit(*data, epochs=5, batch_size=16, learning_rate=schedule)
    assert caught.value.history is net.history
    assert len(net.history) == caught.value.epoch - 1 >= 2
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
