"""What scikit-learn's tests ask of its multilayer perceptrons, asked of ours.

A larger alpha gives smaller weights; one update equals a hand-computed one; gradients equal finite
differences; all solvers and activations learn digits and a regression; max_fun and max_iter limit
lbfgs, with a warning (test_sklearn_numbers.py). Warm starts go on from the weights, keep or rescale
the rate, do max_iter epochs anew, refuse other classes. Several labels, by fit and by partial_fit;
several targets. partial_fit: the same as fit, classes that come later, wrong classes, none for
lbfgs, not with early stopping, goes on after joblib's dump. Parameters that are not finite are an
error. Probabilities and their logarithms of two, many and several classes. Shuffling matters;
sparse and dense inputs give the same; tol ends training; verbose prints. Early stopping: best
score, when it stops, attributes with and without it, two classes stratified, labels that are
strings, names of features, warm start, sample weights, scores that are not numbers, too small a
set. The adaptive rate falls below 1e-6; n_iter_no_change, infinite too. float32 and float64: of
parameters and answers. The Poisson loss equals a generalized linear model.
"""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from chainrule.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.unsanitized
BOTH = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
ACTIVATIONS = pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X_DIGITS, Y_DIGITS = load_digits(n_class=3, return_X_y=True)
X_DIGITS = X_DIGITS[:200] / 16
Y_DIGITS = Y_DIGITS[:200]
TWO = Y_DIGITS < 2
X_TWO, Y_TWO = X_DIGITS[TWO], Y_DIGITS[TWO]
X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_REG, Y_REG = make_regression(n_samples=200, n_features=10, bias=20, noise=30, random_state=7)
Y_REG = (Y_REG - Y_REG.mean()) / Y_REG.std()


@pytest.fixture(autouse=True)
def one_thread():
    """BLAS's threads would only wait for each other on products this small."""
    with threadpool_limits(1):
        yield


def labels(n_samples=60):
    return make_multilabel_classification(n_samples=n_samples, random_state=0)


# Steps and gradients


@unconverged
def test_a_larger_alpha_gives_smaller_weights():
    sums = [
        [
            np.abs(w).sum()
            for w in MLPClassifier(10, alpha=alpha, random_state=1).fit(X_TWO, Y_TWO).coefs_
        ]
        for alpha in (0, 1, 10)
    ]
    assert (np.diff(sums, axis=0) < 0).all()


def test_one_update_is_the_one_computed_by_hand():
    model = MLPClassifier(
        2, "tanh", solver="sgd", learning_rate_init=0.5, momentum=0, alpha=0.2, random_state=0
    )
    x, w1, b1 = np.array([1.0, -2.0]), np.array([[0.1, 0.4], [0.2, -0.3]]), np.array([0.3, 0.0])
    w2, b2 = np.array([[0.5], [-1.0]]), np.array([0.1])
    model.partial_fit([x], [1], classes=[0, 1])
    model.coefs_, model.intercepts_ = [w1, w2], [b1, b2]
    # z = (0.1 - 0.4 + 0.3, 0.4 + 0.6) = (0, 1), a = (0, tanh 1), the output's z = 0.1 - tanh 1
    a = np.array([0.0, 0.7615941559557649])
    p = 1 / (1 + np.exp(0.7615941559557649 - 0.1))
    error = p - 1
    hidden = error * w2[:, 0] * (1 - a**2)
    model.partial_fit([x], [1])
    np.testing.assert_allclose(model.coefs_[1][:, 0], w2[:, 0] - 0.5 * (error * a + 0.2 * w2[:, 0]))
    np.testing.assert_allclose(model.intercepts_[1], b2 - 0.5 * error)
    np.testing.assert_allclose(model.coefs_[0], w1 - 0.5 * (np.outer(x, hidden) + 0.2 * w1))
    np.testing.assert_allclose(model.intercepts_[0], b1 - 0.5 * hidden)
    np.testing.assert_allclose(model.loss_, -np.log(p) + 0.1 * ((w1**2).sum() + (w2**2).sum()))


@unconverged
@ACTIVATIONS
@pytest.mark.parametrize("n_classes", [2, 3])
def test_gradients_are_those_of_finite_differences(activation, n_classes, rng):
    X, y = rng.random((5, 4)), np.arange(5) % n_classes
    model = MLPClassifier(6, activation, max_iter=1, random_state=1).fit(X, y)
    assert model.network_.check_gradients(X, y) < 1e-7


# Solvers


@ACTIVATIONS
@pytest.mark.parametrize(("X", "y"), [(X_DIGITS, Y_DIGITS), (X_TWO, Y_TWO)])
def test_lbfgs_learns_digits(X, y, activation):
    model = MLPClassifier(20, activation, solver="lbfgs", max_iter=150, random_state=1)
    model.fit(X[:100], y[:100])
    answers = model.predict(X[100:])
    assert model.score(X[:100], y[:100]) > 0.95
    assert (len(answers), answers.dtype) == (len(X) - 100, y.dtype)


@unconverged
@pytest.mark.parametrize(
    ("activation", "least"), [("identity", 0.85), ("tanh", 0.98), ("relu", 0.98)]
)
def test_lbfgs_learns_a_regression(activation, least):
    model = MLPRegressor(
        hidden_layer_sizes=50, activation=activation, solver="lbfgs", max_iter=200, random_state=1
    )
    assert model.fit(X_REG, Y_REG).score(X_REG, Y_REG) > least


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_max_iter_is_kept_and_warned_of_at_every_warm_start(Estimator, solver):
    model = Estimator(
        hidden_layer_sizes=4,
        solver=solver,
        warm_start=True,
        max_iter=5,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    for limit in (5, 9):
        with pytest.warns(ConvergenceWarning):
            model.set_params(max_iter=limit).fit(X_IRIS, Y_IRIS)
        assert model.n_iter_ == limit


def test_a_warm_start_goes_on_from_the_weights():
    model = MLPClassifier(5, solver="lbfgs", warm_start=True, random_state=3, tol=1e-2)
    model.fit(X_IRIS, Y_IRIS)
    before = model.coefs_[0].copy()
    loss = model.loss_
    model.fit(X_IRIS, Y_IRIS)
    assert model.loss_ <= loss
    assert np.abs(model.coefs_[0] - before).max() < 0.5 * np.abs(before).max()


@unconverged
@pytest.mark.parametrize("schedule", ["constant", "invscaling"])
def test_a_warm_start_keeps_or_rescales_the_rate(schedule):
    X, y = [[3, 2], [1, 6], [5, 6], [-2, -4]], [1, 1, 1, 0]
    model = MLPClassifier(
        4, solver="sgd", learning_rate=schedule, power_t=0.25, max_iter=1, warm_start=True
    )
    model.fit(X, y).fit(X, y)
    rate = 0.001 if schedule == "constant" else 0.001 / 9**0.25
    assert model._optimizer.learning_rate == pytest.approx(rate, rel=1e-14)
    assert model.t_ == 8


@pytest.mark.parametrize(
    "y", [[0] * 75 + [1] * 75, [0] * 50 + [1] * 50 + [3] * 50, [0, 1, 2, 3] * 37 + [0, 1]]
)
def test_a_warm_start_refuses_other_classes(y):
    model = MLPClassifier(2, solver="lbfgs", warm_start=True, random_state=4, tol=1e-2)
    model.fit(X_IRIS, Y_IRIS).fit(X_IRIS, Y_IRIS[::-1])
    before = model.predict_proba(X_IRIS)
    with pytest.raises(ValueError, match=r"warm_start can only be used where `y` has the same cl"):
        model.fit(X_IRIS, y)
    np.testing.assert_array_equal(model.predict_proba(X_IRIS), before)


def test_a_warm_start_refuses_other_sizes():
    model = MLPClassifier(3, warm_start=True, max_iter=1000, tol=1e-2).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match=r"sizes \[4, 3, 3\].*ask for \[4, 5, 3\]"):
        model.set_params(hidden_layer_sizes=5).fit(X_IRIS, Y_IRIS)


# Kinds of targets


@unconverged
def test_several_labels_are_learnt_by_fit_and_by_partial_fit():
    X, Y = labels()
    model = MLPClassifier(
        50, "logistic", solver="lbfgs", alpha=1e-5, max_iter=150, random_state=0
    ).fit(X, Y)
    assert model.score(X, Y) > 0.97
    model = MLPClassifier(
        50, "logistic", solver="sgd", alpha=1e-5, learning_rate_init=0.2, random_state=0
    )
    for _ in range(150):
        model.partial_fit(X, Y, classes=[0, 1, 2, 3, 4])
    assert model.score(X, Y) > 0.9
    MLPClassifier(early_stopping=True, max_iter=3).fit(X, Y).predict(X)


@unconverged
def test_several_targets_are_learnt():
    X, Y = make_regression(n_samples=100, n_features=10, n_targets=4, random_state=11)
    model = MLPRegressor(hidden_layer_sizes=50, solver="lbfgs", max_iter=200, random_state=1).fit(
        X, Y
    )
    assert model.predict(X).shape == Y.shape
    assert model.score(X, Y) > 0.9


@unconverged
def test_probabilities_of_two_classes():
    model = MLPClassifier(5, "logistic", random_state=1).fit(X_TWO, Y_TWO)
    p, log_p = model.predict_proba(X_TWO), model.predict_log_proba(X_TWO)
    assert p.shape == (len(X_TWO), 2)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(log_p, np.log(p), rtol=1e-12)
    np.testing.assert_array_equal(p.argmax(axis=1), model.predict(X_TWO))
    assert roc_auc_score(Y_TWO, p[:, 1]) == 1


@unconverged
def test_probabilities_of_many_classes():
    model = MLPClassifier(5, random_state=1).fit(X_DIGITS, Y_DIGITS)
    p, log_p = model.predict_proba(X_DIGITS), model.predict_log_proba(X_DIGITS)
    assert p.shape == (200, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(log_p, np.log(p), rtol=1e-12)
    np.testing.assert_array_equal(p.argmax(axis=1), model.predict(X_DIGITS))


def test_probabilities_of_several_labels_do_not_add_up_to_one():
    X, Y = labels()
    model = MLPClassifier(30, solver="lbfgs", random_state=0).fit(X, Y)
    p = model.predict_proba(X)
    assert p.shape == Y.shape
    np.testing.assert_array_equal(p > 0.5, Y)
    assert np.abs(p.sum(axis=1) - 1).max() > 0.5


# partial_fit


@unconverged
@BOTH
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_epochs_of_partial_fit_are_those_of_fit_bit_for_bit(Estimator, momentum):
    settings = {"solver": "sgd", "random_state": 1, "momentum": momentum, "batch_size": 64}
    whole = Estimator(**settings, max_iter=20, tol=0).fit(X_IRIS, Y_IRIS)
    steps = Estimator(**settings)
    more = {"classes": [0, 1, 2]} if Estimator is MLPClassifier else {}
    for _ in range(20):
        steps.partial_fit(X_IRIS, Y_IRIS, **more)
    np.testing.assert_array_equal(steps.network_.get_parameters(), whole.network_.get_parameters())
    assert steps.loss_curve_ == whole.loss_curve_


def test_partial_fit_learns_classes_that_come_later():
    model = MLPClassifier(random_state=0)
    model.partial_fit([[1], [2], [3]], ["a", "b", "c"], classes=["a", "b", "c", "d"])
    model.partial_fit([[4]], ["d"])
    assert model.classes_.tolist() == ["a", "b", "c", "d"]
    assert model.score([[1], [2], [3], [4]], ["a", "b", "c", "d"]) > 0


@pytest.mark.parametrize(
    ("classes", "message"),
    [(None, "must be passed on the first call"), ([2], "not among classes_")],
)
def test_the_first_partial_fit_needs_every_class(classes, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(solver="sgd").partial_fit([[3, 2], [1, 6]], [1, 0], classes=classes)


def test_partial_fit_refuses_classes_that_change():
    model = MLPClassifier(solver="sgd").partial_fit([[3, 2]], [0], classes=[0, 1])
    with pytest.raises(ValueError, match="not the same as on last call"):
        model.partial_fit([[3, 2]], [0], classes=[1, 2])


@BOTH
def test_lbfgs_has_no_partial_fit(Estimator):
    assert hasattr(Estimator(solver="sgd"), "partial_fit")
    assert not hasattr(Estimator(solver="lbfgs"), "partial_fit")


@unconverged
@BOTH
def test_partial_fit_refuses_early_stopping(Estimator):
    model = Estimator(early_stopping=True, max_iter=2, random_state=0).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        model.partial_fit(X_IRIS, Y_IRIS)


@unconverged
def test_partial_fit_goes_on_after_joblib_with_the_same_bits(tmp_path):
    model = MLPRegressor(
        hidden_layer_sizes=42, random_state=42, learning_rate_init=0.01, max_iter=30
    ).fit([[2]], [4])
    joblib.dump(model, tmp_path / "model.pkl")
    loaded = joblib.load(tmp_path / "model.pkl")
    for _ in range(200):
        model.partial_fit([[2]], [1])
        loaded.partial_fit([[2]], [1])
    assert loaded.predict([[2]]) == pytest.approx(1, rel=1e-4)
    np.testing.assert_array_equal(loaded.predict([[2]]), model.predict([[2]]))


# Data


def test_parameters_that_are_not_finite_are_an_error_and_change_nothing(rng):
    X = np.finfo(float).max * rng.random((10, 2))
    model = MLPRegressor()
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        model.fit(X, rng.normal(size=10))
    assert set(vars(model)) == set(model.get_params())


@unconverged
def test_shuffling_matters_and_repeats():
    X, y = make_regression(n_samples=50, n_features=5, random_state=0)
    fitted = [
        MLPRegressor(
            hidden_layer_sizes=1, max_iter=1, batch_size=1, random_state=0, shuffle=shuffle
        )
        .fit(X, y)
        .coefs_[0]
        for shuffle in (True, True, False, False)
    ]
    np.testing.assert_array_equal(fitted[0], fitted[1])
    np.testing.assert_array_equal(fitted[2], fitted[3])
    assert not np.array_equal(fitted[0], fitted[2])


@unconverged
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix])
def test_sparse_inputs_give_the_bits_of_dense_ones(solver, container):
    weight = np.arange(len(X_DIGITS)) % 5
    model = MLPClassifier(15, solver=solver, max_iter=5, random_state=1, batch_size=64)
    dense = model.fit(X_DIGITS, Y_DIGITS, weight).predict_proba(X_DIGITS)
    given = container(X_DIGITS)
    again = model.fit(given, Y_DIGITS, weight).predict_proba(given)
    np.testing.assert_array_equal(again, dense)


@unconverged
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_counts_give_the_bits_of_dense_ones(solver):
    model = MLPRegressor(
        "poisson", hidden_layer_sizes=15, solver=solver, max_iter=5, random_state=1
    )
    dense = model.fit(X_DIGITS, Y_DIGITS).predict(X_DIGITS)
    given = sparse.csr_matrix(X_DIGITS)
    np.testing.assert_array_equal(model.fit(given, Y_DIGITS).predict(given), dense)


@unconverged
@BOTH
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_and_predictions_have_the_type_of_X(Estimator, solver, dtype):
    model = Estimator(hidden_layer_sizes=(5, 3), solver=solver, max_iter=10, random_state=1)
    model.fit(X_DIGITS.astype(dtype), Y_DIGITS)
    assert {part.dtype for part in (*model.coefs_, *model.intercepts_)} == {np.dtype(dtype)}
    answer = model.predict_proba if Estimator is MLPClassifier else model.predict
    assert answer(X_DIGITS).dtype == dtype


@unconverged
@BOTH
def test_both_types_of_X_give_alike_answers(Estimator):
    settings = {"hidden_layer_sizes": (5, 3), "random_state": 1, "max_iter": 100, "tol": 1e-3}
    wide = Estimator(**settings).fit(X_DIGITS, Y_DIGITS)
    narrow = Estimator(**settings).fit(X_DIGITS.astype(np.float32), Y_DIGITS)
    np.testing.assert_allclose(narrow.predict(X_DIGITS), wide.predict(X_DIGITS), rtol=1e-2)


# When training ends


def test_tol_ends_training():
    model = MLPClassifier(tol=0.5, max_iter=3000, solver="sgd").fit([[3, 2], [1, 6]], [1, 0])
    assert model.n_iter_ < 3000


@pytest.mark.parametrize("patience", [2, 10, 50])
def test_training_ends_after_more_epochs_than_n_iter_no_change_without_improvement(patience):
    model = MLPClassifier(tol=0.01, max_iter=3000, solver="sgd", n_iter_no_change=patience)
    model.fit(X_TWO, Y_TWO)
    assert model._no_improvement_count == patience + 1
    tail = np.array(model.loss_curve_[-patience - 1 :])
    assert (tail > min(model.loss_curve_[: -patience - 1]) - 0.01 * (patience + 1)).all()
    assert model.n_iter_ < 3000


@unconverged
def test_an_infinite_n_iter_no_change_never_ends_training():
    model = MLPClassifier(5, tol=1e9, max_iter=200, solver="sgd", n_iter_no_change=np.inf)
    model.fit(X_TWO, Y_TWO)
    assert model.n_iter_ == 200
    assert model._no_improvement_count == 199


def test_the_adaptive_rate_falls_below_a_millionth(capsys):
    model = MLPClassifier(
        tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive", verbose=True
    ).fit([[3, 2], [1, 6]], [1, 0])
    assert model.n_iter_ < 3000
    assert model._optimizer.learning_rate < 1e-6
    printed = capsys.readouterr().out
    assert "Setting learning rate to 0.000200" in printed
    assert printed.endswith("Learning rate too small. Stopping.\n")


@BOTH
def test_early_stopping_keeps_the_best_score(Estimator):
    model = Estimator(tol=0.2, max_iter=3000, solver="sgd", early_stopping=True, random_state=0)
    model.fit(X_TWO, Y_TWO)
    scores = model.validation_scores_
    assert isinstance(scores, list)
    assert len(scores) == len(model.loss_curve_) == model.n_iter_ < 3000
    assert model.best_loss_ is None
    assert model.best_validation_score_ == max(scores)
    assert model.best_validation_score_ + 0.2 > max(scores[-2:])


@BOTH
def test_without_early_stopping_there_are_no_scores(Estimator):
    model = Estimator(tol=0.2, max_iter=3000, solver="sgd").fit(X_TWO, Y_TWO)
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None
    assert model.best_loss_ == min(model.loss_curve_)


def test_early_stopping_takes_its_share_of_two_classes():
    with pytest.raises(ValueError, match="least populated class"):
        MLPClassifier(early_stopping=True).fit([[1, 2], [2, 3], [3, 4], [4, 5]], [0, 0, 0, 1])


@BOTH
def test_early_stopping_needs_two_samples_to_set_aside(Estimator):
    with pytest.raises(ValueError, match="The validation set is too small"):
        Estimator(early_stopping=True).fit(X_IRIS[:9], np.arange(9) % 3)


@unconverged
def test_early_stopping_takes_labels_that_are_strings():
    y = np.array(["setosa", "versicolor", "virginica"], dtype=object)[Y_IRIS]
    model = MLPClassifier(early_stopping=True, max_iter=20, random_state=42).fit(X_IRIS, y)
    assert np.isfinite(model.validation_scores_).all()
    assert set(model.predict(X_IRIS)) <= set(y)


@BOTH
def test_early_stopping_keeps_the_names_of_features(Estimator, rng):
    X = pd.DataFrame(rng.normal(size=(10, 2)), columns=["width", "length"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = Estimator(early_stopping=True, validation_fraction=0.2).fit(X, pd.Series([1] * 10))
    assert model.feature_names_in_.tolist() == ["width", "length"]


@unconverged
@BOTH
def test_early_stopping_goes_on_with_a_warm_start(Estimator):
    model = Estimator(max_iter=5, random_state=0, warm_start=True, early_stopping=True)
    first = model.fit(X_IRIS, Y_IRIS).validation_scores_
    model.set_params(max_iter=8).fit(X_IRIS, Y_IRIS)
    assert model.validation_scores_[:5] == first
    assert len(model.validation_scores_) == 13
    assert model.best_validation_score_ >= max(first)


def test_early_stopping_survives_a_loss_that_is_not_finite():
    model = MLPRegressor(
        hidden_layer_sizes=100,
        activation="identity",
        solver="sgd",
        learning_rate_init=1,
        early_stopping=True,
        max_iter=20,
        random_state=0,
    )
    with pytest.warns(ConvergenceWarning, match="training diverged"):
        model.fit(X_IRIS, Y_IRIS)
    assert np.isnan(model.validation_scores_[-1])
    assert isinstance(model.validation_scores_[-1], float)
    assert np.isfinite(model.predict(X_IRIS)).all()


def test_equal_sample_weights_change_nothing_with_early_stopping():
    settings = {"early_stopping": True, "tol": 1e-2, "learning_rate_init": 0.01, "random_state": 42}
    model = MLPRegressor(hidden_layer_sizes=10, **settings).fit(X_REG, Y_REG)
    weighted = MLPRegressor(hidden_layer_sizes=10, **settings).fit(X_REG, Y_REG, np.ones(200))
    np.testing.assert_allclose(weighted.predict(X_REG), model.predict(X_REG))


@unconverged
def test_verbose_prints_a_line_an_epoch(capsys):
    model = MLPClassifier(2, solver="sgd", max_iter=2, verbose=10).fit([[3, 2], [1, 6]], [1, 0])
    model.partial_fit([[3, 2], [1, 6]], [1, 0])
    lines = capsys.readouterr().out.splitlines()
    losses = [f"loss = {loss:.8f}" for loss in model.loss_curve_]
    assert lines == [f"Iteration {i}, {loss}" for i, loss in zip((1, 2, 1), losses, strict=True)]


@unconverged
def test_verbose_prints_scores_and_why_training_ends(capsys):
    MLPClassifier(
        3, early_stopping=True, verbose=True, tol=0.9, n_iter_no_change=1, random_state=0
    ).fit(X_TWO, Y_TWO)
    printed = capsys.readouterr().out
    assert "Validation score: " in printed
    assert printed.endswith(
        "Validation score did not improve more than tol=0.900000 for 1 consecutive epochs. "
        "Stopping.\n"
    )
    MLPClassifier(3, solver="lbfgs", verbose=True, max_iter=3).fit(X_TWO, Y_TWO)
    assert "Iteration 3, loss = " in capsys.readouterr().out


def counts(rng):
    X = np.linspace(0, 1, 100)[:, None]
    return X, rng.poisson(np.exp(X[:, 0] + 1))


def test_the_poisson_loss_of_one_linear_unit_is_the_generalized_linear_model(rng):
    X, y = counts(rng)
    settings = {"activation": "identity", "alpha": 0, "solver": "lbfgs", "random_state": 1}
    linear = PoissonRegressor(alpha=0, tol=1e-8).fit(X, y).predict(X)
    model = MLPRegressor("poisson", 1, tol=1e-8, **settings).fit(X, y)
    np.testing.assert_allclose(model.predict(X), linear, rtol=1e-4)
    assert model.out_activation_ == "exp"
    np.testing.assert_allclose(np.exp(model.network_.predict(X))[:, 0], linear, rtol=1e-4)
    squared = MLPRegressor(hidden_layer_sizes=1, tol=1e-8, **settings).fit(X, y)
    assert not np.allclose(squared.predict(X), linear, rtol=1e-3)


def test_the_poisson_loss_needs_counts(rng):
    X, y = counts(rng)
    with pytest.raises(ValueError, match="needs y >= 0, got -2"):
        MLPRegressor("poisson").fit(X, y - 2 - y.min())
    with pytest.raises(ValueError, match="neither dropout nor progress"):
        MLPRegressor("poisson", dropout=0.1).fit(X, y)


def test_the_poisson_loss_that_overflows_is_an_error_and_changes_nothing(rng):
    X, y = counts(rng)
    model = MLPRegressor("poisson", 5, solver="sgd", learning_rate_init=1e3, random_state=0)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        model.fit(X, y)
    assert set(vars(model)) == set(model.get_params())
