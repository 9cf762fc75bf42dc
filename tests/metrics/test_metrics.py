"""Metrics against scikit-learn's, and what fit and evaluate report."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics
from chainrule.inputs import arrays
from support import random_network, says

sklearn = pytest.importorskip("sklearn.metrics")

N = 400


@pytest.fixture
def weight(rng):
    return rng.random(N) + 0.1


@pytest.fixture
def classes(rng):
    """Labels of five classes of which one never appears, and outputs that are often right."""
    y = rng.choice(5, N, p=[0.4, 0.3, 0.2, 0.1, 0.0])
    a = rng.dirichlet(np.ones(5), N) + 0.3 * np.eye(5)[y]
    return y, a / a.sum(1, keepdims=True)


@pytest.fixture
def yes_or_no(rng):
    y = rng.integers(0, 2, N)
    return y, np.clip(0.5 * rng.random(N) + 0.35 * y + 0.1, 0, 1)


def theirs(name, y, answer, weight, average):
    function = {
        "accuracy": sklearn.accuracy_score,
        "balanced_accuracy": sklearn.balanced_accuracy_score,
        "precision": partial(sklearn.precision_score, average=average, zero_division=0),
        "recall": partial(sklearn.recall_score, average=average, zero_division=0),
        "f1": partial(sklearn.f1_score, average=average, zero_division=0),
    }[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(y, answer, sample_weight=weight)


OF_CLASSES = ["accuracy", "balanced_accuracy", "precision", "recall", "f1"]


@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "rows", "answers"])
def test_metrics_of_classes(classes, weight, name, weighted, kind):
    y, a = classes
    w = weight if weighted else None
    targets = np.eye(5)[y] if kind == "rows" else y
    outputs = a.argmax(1) if kind == "answers" else a
    expected = theirs(name, y, a.argmax(1), w, "macro")
    assert getattr(metrics, name)(targets, outputs, w) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize("shape", [(N,), (N, 1)], ids=str)
def test_metrics_of_a_yes_or_no(yes_or_no, weight, name, shape):
    y, a = yes_or_no
    expected = theirs(name, y, a >= 0.5, weight, "binary")
    actual = getattr(metrics, name)(y.reshape(shape), a.reshape(shape), weight)
    assert actual == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_metrics_of_several_yeses_and_noes(rng, weight, name):
    y, a = rng.integers(0, 2, (N, 4)), rng.random((N, 4))
    expected = theirs(name, y, a >= 0.5, weight, "macro")
    actual = getattr(metrics, name)(y, a, weight, multilabel=True)
    assert actual == pytest.approx(expected, rel=1e-12)


def test_the_accuracy_of_several_outputs_is_the_share_of_right_ones(rng):
    y, a = rng.integers(0, 2, (N, 4)), rng.random((N, 4))
    expected = ((a >= 0.5) == y).mean()
    assert metrics.accuracy(y, a, multilabel=True) == pytest.approx(expected, rel=1e-12)
    balanced = np.mean(
        [theirs("balanced_accuracy", y[:, j], a[:, j] >= 0.5, None, "") for j in range(4)]
    )
    assert metrics.balanced_accuracy(y, a, multilabel=True) == pytest.approx(balanced, rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_accuracy(classes, weight, k):
    y, a = classes
    expected = (
        sklearn.top_k_accuracy_score(y, a, k=k, sample_weight=weight, labels=range(5))
        if k < 5
        else 1
    )
    assert metrics.top_k_accuracy(y, a, weight, k=k) == pytest.approx(expected, rel=1e-12)


def test_confusion_matrix(classes, weight):
    y, a = classes
    expected = sklearn.confusion_matrix(y, a.argmax(1), labels=range(5))
    actual = metrics.confusion_matrix(y, a)
    assert actual.dtype == np.int64
    assert (actual == expected).all()
    weighted = sklearn.confusion_matrix(y, a.argmax(1), labels=range(5), sample_weight=weight)
    np.testing.assert_allclose(metrics.confusion_matrix(y, a, weight), weighted, rtol=1e-12)
    assert (metrics.confusion_matrix(y, a.argmax(1)) == expected).all()


def test_confusion_matrix_of_a_yes_or_no(yes_or_no):
    y, a = yes_or_no
    assert (metrics.confusion_matrix(y, a) == sklearn.confusion_matrix(y, a >= 0.5)).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("digits", [1, 17], ids=["with ties", "without ties"])
def test_roc_auc(yes_or_no, weight, weighted, digits):
    y, a = yes_or_no
    a, w = a.round(digits), weight if weighted else None
    expected = pytest.approx(sklearn.roc_auc_score(y, a, sample_weight=w), rel=1e-12)
    assert metrics.roc_auc(y, a, w) == expected
    assert metrics.roc_auc(y, np.stack([1 - a, a], 1), w) == expected


@pytest.mark.parametrize("name", ["mae", "mse", "rmse", "r2"])
@pytest.mark.parametrize("shape", [(N,), (N, 3)], ids=str)
def test_metrics_of_values(rng, weight, name, shape):
    y, a = rng.normal(size=(2, *shape))
    function = {
        "mae": sklearn.mean_absolute_error,
        "mse": sklearn.mean_squared_error,
        "rmse": lambda *args, **kw: np.sqrt(sklearn.mean_squared_error(*args, **kw)),
        "r2": sklearn.r2_score,
    }[name]
    expected = function(y, a, sample_weight=weight)
    assert getattr(metrics, name)(y, a, weight) == pytest.approx(expected, rel=1e-12)


def test_nan_is_no_answer():
    y, a = np.array([0, 1, 1]), np.array([[0.9, 0.1], [np.nan, 0.5], [0.2, 0.8]])
    assert metrics.accuracy(y, a) == pytest.approx(2 / 3)
    assert metrics.recall(y, a) == pytest.approx((1 + 1 / 2) / 2)
    assert metrics.precision(y, a) == 1
    assert metrics.confusion_matrix(y, a).tolist() == [[1, 0], [0, 1]]
    assert metrics.top_k_accuracy(y, a, k=2) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", [*OF_CLASSES, "top_2_accuracy", "mae", "mse", "rmse", "r2"])
def test_slices_do_not_change_a_metric(classes, weight, name, monkeypatch):
    y, a = classes
    function = getattr(metrics, name, partial(metrics.top_k_accuracy, k=2))
    y = np.eye(5)[y]
    whole = function(y, a, weight)
    monkeypatch.setattr(arrays, "SLICE_SIZE", 35)
    assert function(y, a, weight) == pytest.approx(whole, rel=1e-12)


REFUSED = {
    "another number of rows": (np.zeros(3, int), np.zeros((4, 2)), "(4,)"),
    "another width": (np.zeros((4, 3)), np.zeros((4, 2)), "(4, 2)"),
    "labels out of range": (np.array([0, 2]), np.zeros((2, 2)), "labels"),
    "labels that are no integers": (np.array([0.0, 1.0]), np.zeros((2, 2)), "integers"),
    "nothing": (np.zeros(0), np.zeros(0), "above 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_belong_together_is_refused(case):
    y, a, message = REFUSED[case]
    with pytest.raises(ValueError, match=says(message)):
        metrics.accuracy(y, a)


def test_errors_of_labels_are_refused():
    with pytest.raises(ValueError, match=says("labels", "(n, 2)")):
        metrics.mse(np.array([0, 1]), np.zeros((2, 2)))


# --- evaluate ---------------------------------------------------------------------------------


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 8, 3], ["tanh", "softmax"], "cross_entropy")


@pytest.fixture
def data(rng):
    return rng.normal(size=(N, 5)), rng.integers(0, 3, N)


def test_evaluate_gives_the_metrics_asked_for_in_their_order(net, data, weight):
    x, y = data
    names = ["f1", "top_2_accuracy", "accuracy"]
    found = net.evaluate(x, y, weight, metrics=names)
    assert list(found) == ["cost", *names]
    a = net.predict(x)
    assert found["cost"] == pytest.approx(net.cost(x, y, weight), rel=1e-12)
    assert found["f1"] == pytest.approx(metrics.f1(y, a, weight), rel=1e-12)
    assert found["top_2_accuracy"] == pytest.approx(
        metrics.top_k_accuracy(y, a, weight, k=2), rel=1e-12
    )


def test_a_function_sees_all_targets_and_outputs(net, data, monkeypatch):
    x, y = data
    monkeypatch.setattr(arrays, "SLICE_SIZE", 100)
    seen = []

    def largest(targets, outputs):
        seen.append((targets, outputs.copy()))
        return outputs.max()

    found = net.evaluate(x, y, metrics=[largest, "accuracy"])
    ((targets, outputs),) = seen
    assert (targets == y).all()
    np.testing.assert_array_equal(outputs, net.predict(x))
    assert found["largest"] == net.predict(x).max()


def test_roc_auc_is_a_metric_of_evaluate(rng):
    net = random_network(rng, [5, 1], "sigmoid", "binary_cross_entropy")
    x, y = rng.normal(size=(N, 5)), rng.integers(0, 2, N)
    expected = metrics.roc_auc(y, net.predict(x))
    assert net.evaluate(x, y, metrics="roc_auc")["roc_auc"] == expected


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (["acuracy"], ValueError, "balanced_accuracy"),
        (["f1", "f1"], ValueError, "two metrics"),
        ([7], TypeError, "7"),
        ([lambda y, a: y], TypeError, "real number"),
    ],
    ids=["unknown", "twice", "no name", "no number"],
)
def test_wrong_metrics_are_refused(net, data, wrong, error, message):
    with pytest.raises(error, match=says(message)):
        net.evaluate(*data, metrics=wrong)


def test_fit_measures_on_validation_data(net, data):
    history = net.fit(*data, epochs=3, learning_rate=0.1, validation_data=data, metrics=["f1"])
    assert list(history.validation_metrics) == ["f1"]
    assert history.metrics == {}
    assert history.validation_metrics["f1"][-1] == net.evaluate(*data, metrics=["f1"])["f1"]


def test_fit_measures_on_training_data_where_there_is_no_other(net, data):
    history = net.fit(*data, epochs=3, learning_rate=0.1, metrics=["accuracy", "f1"])
    assert list(history.metrics) == ["accuracy", "f1"]
    assert history.metrics["f1"][-1] == net.evaluate(*data, metrics=["f1"])["f1"]
    assert history.validation_metrics == {}


def test_metrics_of_a_stream_need_validation_data(net, data):
    with pytest.raises(ValueError, match=says("validation_data")):
        net.fit([data], learning_rate=0.1, metrics=["accuracy"])


def test_early_stopping_may_monitor_a_metric_that_rises(net, data):
    """The metric falls from the first epoch on, whatever the cost does."""
    falling = iter(range(100, 0, -1))
    history = net.fit(
        *data,
        epochs=20,
        learning_rate=0.1,
        metrics=[lambda y, a: next(falling)],
        early_stopping=cr.EarlyStopping(patience=3, monitor="<lambda>", mode="max"),
    )
    assert len(history) == 4
    assert history.best_epoch == 1


@pytest.mark.parametrize("monitor", ["accuracy", "validation_accuracy"])
def test_early_stopping_knows_that_accuracy_rises(net, data, monitor):
    stopping = cr.EarlyStopping(patience=2, monitor=monitor)
    assert stopping.mode == "max"
    history = net.fit(
        *data, epochs=30, learning_rate=0.5, validation_data=data, early_stopping=stopping
    )
    best = int(np.argmax(history.validation_metrics["accuracy"]))
    assert history.best_epoch == best + 1
    assert net.evaluate(*data)["accuracy"] == history.validation_metrics["accuracy"][best]


def test_a_monitored_metric_must_be_measured(net, data):
    stopping = cr.EarlyStopping(monitor="accuracy")
    with pytest.raises(ValueError, match=says("accuracy", "metrics", "validation_data")):
        net.fit(*data, learning_rate=0.1, early_stopping=stopping)


def test_a_metric_of_ones_own_needs_a_mode():
    with pytest.raises(ValueError, match=says("mode")):
        cr.EarlyStopping(monitor="profit")
