"""The estimators' numbers against scikit-learn's own multilayer perceptrons.

Both draw the same initial weights from the same ``random_state``; with ``shuffle=False`` they see
the same batches, so that everything that is meant to be the same can be compared to rounding.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import neural_network as theirs
from sklearn.datasets import load_digits, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits

from chainrule import sklearn as ours
from chainrule.sklearn.data import r2

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.unsanitized,
]

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS[:400] / 16
LABELS = LABELS[:400]
SGD = {"solver": "sgd", "shuffle": False, "random_state": 3, "learning_rate_init": 0.05}
# A penalty that shows, and batches that divide the samples: the penalty of a smaller last one
# is the one thing that differs.
PENALISED = SGD | {"alpha": 0.5, "batch_size": 100, "max_iter": 6}


@pytest.fixture(autouse=True)
def one_thread():
    """BLAS's threads would only wait for each other on products this small."""
    with threadpool_limits(1):
        yield


def fit_both(kind, X, y, sample_weight=None, **parameters):
    """Fit our estimator and scikit-learn's."""
    pair = getattr(ours, kind)(**parameters), getattr(theirs, kind)(**parameters)
    for model in pair:
        if sample_weight is None:
            model.fit(X, y)
        else:
            model.fit(X, y, sample_weight=sample_weight)
    return pair


def assert_same_course(mine, other, tolerance=1e-11):
    for a, b in zip(mine.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    for a, b in zip(mine.intercepts_, other.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(mine, name) == getattr(other, name), name


def regression(n_targets=1):
    X, y = make_regression(n_samples=200, n_features=6, n_targets=n_targets, random_state=2)
    return X, y / y.std(axis=0)


def multilabel():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 8))
    return X, (X @ rng.normal(size=(8, 4)) > 0.5).astype(int)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_initial_weights_are_scikit_learns_bit_for_bit(activation):
    parameters = {"activation": activation, "solver": "sgd", "learning_rate_init": 1e-300}
    mine, other = fit_both(
        "MLPClassifier",
        DIGITS,
        LABELS,
        hidden_layer_sizes=(7, 5),
        max_iter=1,
        random_state=42,
        **parameters,
    )
    theirs_ = other.coefs_ + other.intercepts_
    for a, b in zip((*mine.coefs_, *mine.intercepts_), theirs_, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_gradient_descent_takes_the_same_steps(activation, nesterov):
    mine, other = fit_both(
        "MLPClassifier",
        DIGITS,
        LABELS,
        activation=activation,
        hidden_layer_sizes=(12, 9),
        nesterovs_momentum=nesterov,
        **PENALISED,
    )
    assert_same_course(mine, other)
    np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=1e-3)


def test_the_loss_with_its_penalty_is_the_same_where_an_epoch_is_one_batch():
    mine, other = fit_both("MLPClassifier", DIGITS, LABELS, **PENALISED | {"batch_size": 400})
    np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=1e-11)
    np.testing.assert_allclose(mine.best_loss_, other.best_loss_, rtol=1e-11)
    assert mine.loss_ == mine.loss_curve_[-1]


def test_two_classes_are_one_sigmoid_output_and_take_the_same_steps():
    keep = np.flatnonzero(LABELS < 2)[:80]
    parameters = PENALISED | {"batch_size": 20}
    mine, other = fit_both("MLPClassifier", DIGITS[keep], LABELS[keep], **parameters)
    assert (mine.n_outputs_, mine.out_activation_) == (1, "logistic")
    assert_same_course(mine, other)
    np.testing.assert_allclose(
        mine.predict_log_proba(DIGITS), other.predict_log_proba(DIGITS), rtol=1e-9
    )


def test_several_labels_take_the_same_steps():
    mine, other = fit_both("MLPClassifier", *multilabel(), **PENALISED)
    assert_same_course(mine, other)
    np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=1e-3)


@pytest.mark.parametrize("n_targets", [1, 3])
def test_regression_takes_the_same_steps(n_targets):
    X, y = regression(n_targets)
    mine, other = fit_both("MLPRegressor", X, y, **PENALISED | {"learning_rate_init": 0.01})
    assert_same_course(mine, other)
    np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=1e-3)
    assert mine.predict(X).shape == other.predict(X).shape


@pytest.mark.parametrize("weighted", [False, True])
def test_the_poisson_loss_takes_the_same_steps(rng, weighted):
    X = rng.normal(size=(200, 4))
    y = rng.poisson(np.exp(X[:, :2]))
    weight = rng.random(200) if weighted else None
    parameters = PENALISED | {"loss": "poisson", "batch_size": 200, "learning_rate_init": 0.02}
    mine, other = fit_both("MLPRegressor", X, y, weight, **parameters)
    assert_same_course(mine, other)
    np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=1e-11)
    np.testing.assert_allclose(mine.predict(X), other.predict(X), rtol=1e-9)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_sample_weights_count_the_same(kind, rng):
    weight = rng.integers(0, 4, size=400).astype(float)
    mine, other = fit_both(
        kind, DIGITS, LABELS, weight, **PENALISED | {"batch_size": 400, "learning_rate_init": 1e-3}
    )
    assert_same_course(mine, other)
    np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=1e-11)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_adam_takes_the_same_steps_but_for_where_epsilon_stands(kind):
    parameters = PENALISED | {"solver": "adam", "learning_rate_init": 1e-3, "epsilon": 1e-12}
    mine, other = fit_both(kind, DIGITS, LABELS, activation="tanh", **parameters)
    assert_same_course(mine, other, tolerance=1e-5)


def test_adam_adds_up_the_losses_of_several_labels():
    parameters = PENALISED | {"solver": "adam", "learning_rate_init": 1e-3, "epsilon": 1e-12}
    mine, other = fit_both("MLPClassifier", *multilabel(), activation="tanh", **parameters)
    assert_same_course(mine, other, tolerance=1e-5)


def test_invscaling_lowers_the_rate_the_same():
    parameters = PENALISED | {"learning_rate": "invscaling", "power_t": 0.3, "momentum": 0}
    assert_same_course(*fit_both("MLPClassifier", DIGITS, LABELS, **parameters))


def test_adaptive_lowers_the_rate_at_the_same_epochs_and_ends_at_the_same():
    parameters = PENALISED | {
        "learning_rate": "adaptive",
        "momentum": 0,
        "tol": 0.02,
        "n_iter_no_change": 2,
        "max_iter": 500,
        "batch_size": 400,
    }
    mine, other = fit_both("MLPClassifier", DIGITS, LABELS, **parameters)
    assert mine.n_iter_ < 500
    assert_same_course(mine, other, tolerance=1e-9)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_early_stopping_sets_the_same_samples_aside_and_stops_at_the_same_epoch(kind):
    X, y = (DIGITS, LABELS) if kind == "MLPClassifier" else regression()
    parameters = PENALISED | {
        "early_stopping": True,
        "validation_fraction": 0.25,
        "batch_size": 50,
        "alpha": 1e-3,
        "n_iter_no_change": 3,
        "max_iter": 200,
        "learning_rate_init": 0.02,
    }
    mine, other = fit_both(kind, X, y, **parameters)
    assert mine.n_iter_ < 200
    np.testing.assert_allclose(mine.validation_scores_, other.validation_scores_, rtol=1e-8)
    np.testing.assert_allclose(mine.best_validation_score_, other.best_validation_score_)
    assert_same_course(mine, other, tolerance=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_validation_score_is_scikit_learns_accuracy(rng, weighted):
    weight = rng.random(400) if weighted else np.ones(400)
    model = ours.MLPClassifier(
        early_stopping=True, max_iter=3, random_state=0, validation_fraction=0.5
    ).fit(DIGITS, LABELS, weight)
    held_out = _held_out(model, weight)
    assert model.best_validation_score_ == pytest.approx(held_out, abs=1e-12)


def _held_out(model, weight):
    """The score of the best weights on what early stopping set aside, drawn as it is drawn."""
    rng = check_random_state(model.random_state)
    for n_in, n_out in zip(model.network_.sizes[:-1], model.network_.sizes[1:], strict=True):
        rng.random_sample((n_in + 1) * n_out)
    _, X, _, y, _, w = train_test_split(
        DIGITS,
        LABELS,
        weight,
        random_state=rng,
        test_size=model.validation_fraction,
    )
    return accuracy_score(y, model.predict(X), sample_weight=w)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_r2_is_scikit_learns(rng, weighted, n_outputs):
    y, outputs = rng.normal(size=(2, 50, n_outputs))
    y[:, -1] = 1.0  # a target that does not vary
    weight = rng.random(50) if weighted else None
    assert r2(outputs, y, weight) == pytest.approx(r2_score(y, outputs, sample_weight=weight))


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh"])
def test_lbfgs_reaches_the_same_minimum(kind, activation):
    parameters = {"solver": "lbfgs", "alpha": 5.0, "hidden_layer_sizes": 4, "random_state": 0}
    X, y = (DIGITS[:, 10:40], LABELS % 3) if kind == "MLPClassifier" else regression()
    mine, other = fit_both(kind, X, y, activation=activation, max_iter=3000, **parameters)
    assert mine.loss_ == pytest.approx(other.loss_, rel=1e-3)
    assert mine.score(X, y) == pytest.approx(other.score(X, y), abs=0.02)


def test_lbfgs_counts_sample_weights_as_repetitions(rng):
    weight = rng.integers(0, 3, size=200)
    X, y = regression()
    parameters = {"solver": "lbfgs", "alpha": 1.0, "random_state": 0, "hidden_layer_sizes": 5}
    one = ours.MLPRegressor(**parameters, max_iter=2000).fit(X, y, weight)
    other = ours.MLPRegressor(**parameters, max_iter=2000).fit(
        np.repeat(X, weight, axis=0), np.repeat(y, weight)
    )
    assert one.loss_ == pytest.approx(other.loss_, rel=1e-3)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_iterations_and_warnings_of_lbfgs_are_limited_alike(kind):
    for parameters in ({"max_iter": 4}, {"max_fun": 6}):
        for module in (ours, theirs):
            model = getattr(module, kind)(solver="lbfgs", random_state=0, **parameters)
            with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
                model.fit(DIGITS, LABELS)
            assert model.n_iter_ <= 6


def test_defaults_and_names_of_parameters_are_scikit_learns():
    for kind in ("MLPClassifier", "MLPRegressor"):
        mine, other = getattr(ours, kind)().get_params(), getattr(theirs, kind)().get_params()
        assert {name: mine[name] for name in other} == other


def test_scores_with_default_parameters_are_as_good():
    X, y = load_digits(return_X_y=True)
    mine, other = fit_both("MLPClassifier", X[:900], y[:900], random_state=0, max_iter=30)
    assert mine.score(X[900:], y[900:]) > other.score(X[900:], y[900:]) - 0.01


def test_no_warning_but_of_convergence_is_given():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        for kind in ("MLPClassifier", "MLPRegressor"):
            for solver in ("adam", "sgd", "lbfgs"):
                getattr(ours, kind)(solver=solver, max_iter=3).fit(DIGITS, LABELS)
