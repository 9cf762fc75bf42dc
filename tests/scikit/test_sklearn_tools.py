"""The estimators among scikit-learn's tools, and what they have beyond scikit-learn's own."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._test_common.instance_generator import PER_ESTIMATOR_XFAIL_CHECKS
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import chainrule as cr
from chainrule.sklearn import MLPClassifier, MLPRegressor
from chainrule.sklearn.data import thread_limit

BOTH = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.unsanitized,
]

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
NAMES = np.array(["setosa", "versicolor", "virginica"])
FAST = {
    "hidden_layer_sizes": 8,
    "max_iter": 30,
    "random_state": 0,
    "learning_rate_init": 0.02,
    "batch_size": 25,
}


@pytest.fixture(autouse=True)
def one_thread():
    """BLAS's threads would only wait for each other on products this small."""
    with threadpool_limits(1):
        yield


def granted(estimator):
    """The checks that scikit-learn grants its own estimator of that name not to pass."""
    own = getattr(sklearn.neural_network, type(estimator).__name__)
    return PER_ESTIMATOR_XFAIL_CHECKS.get(own, {})


@parametrize_with_checks(
    [
        MLPClassifier(max_iter=100),
        MLPRegressor(max_iter=100),
        MLPClassifier(max_iter=20, solver="lbfgs"),
        MLPRegressor(max_iter=100, solver="sgd", learning_rate_init=0.01),
    ],
    expected_failed_checks=granted,
)
def test_every_check_that_scikit_learn_passes_is_passed(estimator, check):
    check(estimator)


# Tools


def test_grid_search():
    search = GridSearchCV(
        MLPClassifier(**FAST),
        {"alpha": [1e-4, 1e-2], "activation": ["tanh", "relu"]},
        cv=3,
    ).fit(X, NAMES[Y])
    assert search.best_score_ > 0.9
    assert set(search.predict(X)) == set(NAMES)


def test_parallel_workers_give_the_same_bits():
    scores = [cross_val_score(MLPRegressor(**FAST), X, Y, n_jobs=n_jobs) for n_jobs in (1, 2)]
    np.testing.assert_array_equal(*scores)


def test_randomized_search():
    search = RandomizedSearchCV(
        MLPRegressor(**FAST),
        {"alpha": [1e-4, 1e-2, 1], "solver": ["adam", "adamw"]},
        n_iter=3,
        cv=2,
        random_state=0,
    ).fit(X, Y)
    assert search.best_params_["solver"] in ("adam", "adamw")


def test_pipeline_with_named_columns():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), MLPClassifier(**FAST))
    model.fit(frame, NAMES[Y])
    assert model[-1].feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert cross_val_score(model, frame, NAMES[Y], cv=3).mean() > 0.9
    with pytest.raises(ValueError, match="feature names"):
        model[-1].predict(frame[["b", "a", "c", "d"]])


def test_calibration():
    model = CalibratedClassifierCV(MLPClassifier(**FAST), cv=3).fit(X, NAMES[Y])
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_cross_validated_probabilities():
    p = cross_val_predict(MLPClassifier(**FAST), X, NAMES[Y], method="predict_proba")
    assert (NAMES[p.argmax(axis=1)] == NAMES[Y]).mean() > 0.9


def test_several_multiclass_targets_are_refused_with_the_way_to_fit_them():
    targets = np.stack([Y, (Y + 1) % 3], axis=1)
    with pytest.raises(ValueError, match="MultiOutputClassifier"):
        MLPClassifier().fit(X, targets)
    model = MultiOutputClassifier(MLPClassifier(**FAST)).fit(X, targets)
    assert model.predict(X).shape == (150, 2)


def test_metadata_routing_hands_sample_weights_on():
    weight = np.where(Y == 0, 0.0, 1.0)  # the first class is never seen
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPClassifier(**FAST).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        scores = cross_validate(model, X, Y, cv=3, params={"sample_weight": weight})
        plain = cross_validate(MLPClassifier(**FAST), X, Y == 0, cv=3)
    assert scores["test_score"].mean() > 0.85
    assert plain["test_score"].mean() > 0.9


@BOTH
def test_a_clone_has_the_parameters_and_nothing_else(Estimator):
    model = Estimator(**FAST, solver=cr.SGD(0.1, momentum=0.5), init="he_normal").fit(X, Y)
    twin = clone(model)
    assert str(twin.get_params()) == str(model.get_params())
    assert set(vars(twin)) == set(twin.get_params())


@BOTH
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_answers_and_goes_on_with_the_same_bits(Estimator, duplicate):
    model = Estimator(**FAST).fit(X, Y)
    twin = duplicate(model)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    model.partial_fit(X, Y)
    np.testing.assert_array_equal(
        twin.partial_fit(X, Y).network_.get_parameters(), model.network_.get_parameters()
    )


# Attributes


def test_coefs_are_views_into_the_network():
    model = MLPClassifier(**FAST).fit(X, Y)
    assert [w.shape for w in model.coefs_] == [(4, 8), (8, 3)]
    assert [b.shape for b in model.intercepts_] == [(8,), (3,)]
    for w in model.coefs_:
        w[...] = 0
    model.intercepts_ = [np.zeros(8), [0, 5, 0]]
    assert set(model.predict(X)) == {1}
    with pytest.raises(ValueError, match=re.escape("shapes [(4, 8), (8, 3)], got [(4, 8)]")):
        model.coefs_ = [np.zeros((4, 8))]


def test_the_network_explains_and_serves():
    model = MLPClassifier(**FAST).fit(X.astype(np.float32), Y)
    assert model.network_.dtype == np.float32
    serve = model.network_.freeze()
    np.testing.assert_array_equal(serve(X.astype(np.float32)), model.predict_proba(X))


@BOTH
def test_there_are_no_results_before_fit(Estimator):
    for name in ("coefs_", "intercepts_", "n_layers_", "out_activation_", "network_"):
        assert not hasattr(Estimator(), name)


# Beyond scikit-learn


def test_an_activation_a_layer():
    model = MLPClassifier((6, 5), ["tanh", "gelu"], max_iter=3).fit(X, Y)
    assert model.network_.activations == ("tanh", "gelu", "softmax")
    with pytest.raises(ValueError, match="one a hidden layer: 2"):
        MLPClassifier((6, 5), ["tanh"]).fit(X, Y)
    with pytest.raises(ValueError, match="activation must be one of logistic.*'softmax'"):
        MLPClassifier((6, 5), "softmax").fit(X, Y)


def test_no_hidden_layer_is_a_linear_model():
    model = MLPClassifier((), max_iter=200, learning_rate_init=0.05).fit(X, Y)
    assert model.network_.sizes == (4, 3)
    assert model.score(X, Y) > 0.9


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        ("adamw", "AdamW"),
        ("rmsprop", "RMSprop"),
        ("adagrad", "Adagrad"),
        (cr.SGD(0.1, momentum=0.9), "SGD"),
    ],
)
def test_other_optimizers(solver, expected):
    model = MLPClassifier(**FAST | {"learning_rate_init": 0.05}, solver=solver).fit(X, Y)
    assert type(model._optimizer).__name__ == expected
    assert model.score(X, Y) > 0.9


def test_an_optimizer_given_is_not_changed():
    optimizer = cr.Adam(0.01)
    model = MLPClassifier(**FAST | {"solver": optimizer}).fit(X, Y)
    assert optimizer.step == 0
    np.testing.assert_array_equal(model.predict_proba(X), clone(model).fit(X, Y).predict_proba(X))


def test_a_schedule_sets_the_rate_of_every_step():
    steps = []

    def schedule(step):
        steps.append(step)
        return 0.01 / (1 + step)

    MLPClassifier(4, learning_rate=schedule, batch_size=50, max_iter=2).fit(X, Y)
    assert steps == list(range(6))
    several = make_multilabel_classification(n_samples=40, n_classes=3, random_state=0)
    model = MLPClassifier(4, solver="sgd", learning_rate=schedule, max_iter=1).fit(*several)
    assert model._optimizer.rate_at(1) == 3 * 0.005  # the mean over labels, where theirs is a sum


@pytest.mark.parametrize("balance", ["balanced", {"setosa": 1, "versicolor": 5, "virginica": 0.1}])
def test_class_weights_are_sample_weights_by_label(balance, rng):
    keep = np.r_[:20, 50:90, 100:150]
    weight = rng.random(len(keep))
    y = NAMES[Y[keep]]
    one = MLPClassifier(**FAST, class_weight=balance).fit(X[keep], y, weight)
    by_hand = weight * compute_sample_weight(balance, y)
    other = MLPClassifier(**FAST).fit(X[keep], y, by_hand)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_balanced_weights_need_all_labels_at_once():
    with pytest.raises(ValueError, match="class_weight='balanced' depends on all of y"):
        MLPClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


def test_a_schedule_that_follows_the_cost_is_given_a_fresh_start_by_fit_alone():
    rate = cr.schedules.ReduceOnPlateau(0.01, factor=0.5, patience=0, threshold=0.9)
    model = MLPClassifier(**FAST | {"max_iter": 4}, learning_rate=rate).fit(X, Y)
    assert rate.rate == 0.01
    assert model._optimizer.rate_at(0) == 0.01 * 0.5**3  # the first epoch is an improvement
    model.partial_fit(X, Y)
    assert model._optimizer.rate_at(0) == 0.01 * 0.5**4
    assert model.fit(X, Y)._optimizer.rate_at(0) == 0.01 * 0.5**3


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "mse", "sse"])
def test_other_losses_of_regression(loss):
    model = MLPRegressor(loss, 8, max_iter=300, learning_rate_init=0.02, random_state=0).fit(X, Y)
    assert model.score(X, Y) > 0.8
    assert model.network_.loss == {"absolute_error": "mae"}.get(loss, loss)


@pytest.mark.parametrize("loss", ["half_mse", "sse"])
@pytest.mark.parametrize("y", [Y, Y == 1, np.stack([Y > 0, Y > 1], axis=1)])
def test_other_losses_of_classification(loss, y):
    model = MLPClassifier(**FAST | {"max_iter": 200, "early_stopping": True}, loss=loss)
    model.set_params(n_iter_no_change=50).fit(X, y.astype(int))
    assert model.network_.loss == loss
    assert model.score(X, y) > 0.85


def test_label_smoothing_is_the_networks():
    model = MLPClassifier(**FAST | {"max_iter": 1, "batch_size": 150}, label_smoothing=0.2)
    model.fit(X, Y)
    sharp = MLPClassifier(**FAST | {"max_iter": 1, "batch_size": 150}).fit(X, Y)
    before = MLPClassifier(**FAST | {"max_iter": 1, "learning_rate_init": 1e-300}).fit(X, Y)
    smoothed = before.network_.cost(X, np.eye(3)[Y] * 0.8 + 0.2 / 3)
    assert model.loss_ - smoothed == pytest.approx(sharp.loss_ - before.network_.cost(X, Y))
    with pytest.raises(ValueError, match="label_smoothing"):
        MLPClassifier(label_smoothing=0.1, loss="mse").fit(X, Y)


def test_dropout_changes_training_alone():
    model = MLPClassifier(**FAST, dropout=0.5).fit(X, Y)
    assert model.loss_ > MLPClassifier(**FAST).fit(X, Y).loss_
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="dropout=0.5 needs a stochastic solver"):
        MLPClassifier(dropout=0.5, solver="lbfgs").fit(X, Y)


def test_initial_weights_by_name_come_from_chainrule():
    model = MLPClassifier(4, max_iter=1, init="he_normal", shuffle=False)
    model.fit(X, Y)
    twin = cr.Network(
        [4, 4, 3],
        ["relu", "softmax"],
        "cross_entropy",
        dtype="float64",
        init="he_normal",
        seed=model.network_.seed,
    )
    twin.fit(X, Y, batch_size=150, shuffle=False, optimizer=cr.Adam(l2=1e-4 / 150))
    np.testing.assert_array_equal(model.network_.get_parameters(), twin.get_parameters())


def test_callbacks_see_every_epoch_and_may_end_training():
    seen = []

    def watch(network, history):
        seen.append(history.cost[-1])
        return len(seen) == 4

    model = MLPClassifier(**FAST | {"max_iter": 50}, callbacks=[watch]).fit(X, Y)
    assert len(seen) == model.n_iter_ == 4


def test_progress_is_shown(capsys):
    MLPClassifier(**FAST | {"max_iter": 3}, progress=True).fit(X, Y)
    assert "3/3" in capsys.readouterr().err


def test_an_interrupted_fit_keeps_what_it_has():
    def interrupt(network, history):
        if len(history) == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        model = MLPClassifier(**FAST, callbacks=[interrupt]).fit(X, Y)
    assert model.n_iter_ == 3
    assert model.score(X, Y) > 0.5


def test_several_labels_given_sparse_are_answered_sparse():
    x, y = make_multilabel_classification(n_samples=50, random_state=0)
    model = MLPClassifier(**FAST).fit(x, sparse.csr_matrix(y))
    assert sparse.issparse(model.predict(x))
    np.testing.assert_array_equal(
        model.predict(x).toarray(), MLPClassifier(**FAST).fit(x, y).predict(x)
    )


def test_one_class_alone_is_always_the_answer():
    model = MLPClassifier(**FAST).fit(X, ["yes"] * 150)
    assert set(model.predict(X)) == {"yes"}
    np.testing.assert_array_equal(model.predict_proba(X), np.ones((150, 1)))


# Bad input


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("hidden_layer_sizes", (4, 0), "hidden_layer_sizes must be integers > 0, got (4, 0)"),
        ("hidden_layer_sizes", 2.5, "hidden_layer_sizes must be integers > 0, got 2.5"),
        ("solver", "newton", "solver of MLPClassifier must be one of lbfgs, adam, sgd"),
        ("alpha", -1, "alpha of MLPClassifier must be a number in [0, inf), got -1"),
        ("alpha", np.nan, "alpha of MLPClassifier must be a number in [0, inf), got nan"),
        ("batch_size", 0, "batch_size of MLPClassifier must be an integer >= 1, or 'auto', got 0"),
        ("learning_rate", "linear", "must be one of constant, invscaling, adaptive, or a function"),
        ("momentum", 1, "momentum of MLPClassifier must be a number in [0, 1), got 1"),
        ("n_iter_no_change", 2.5, "must be an integer >= 1, or inf, got 2.5"),
        ("early_stopping", "yes", "early_stopping of MLPClassifier must be True or False"),
        ("loss", "hinge", "loss of MLPClassifier must be one of log_loss, squared_error"),
        ("init", "ones", "init of MLPClassifier must be one of sklearn, auto, glorot_uniform"),
        ("threads", 0, "threads of MLPClassifier must be an integer >= 1, or None, got 0"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_it_must_be(parameter, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MLPClassifier(**{parameter: value}).fit(X, Y)


def test_a_failed_fit_leaves_the_estimator_as_it_was():
    model = MLPClassifier(**FAST).fit(X, Y)
    before = dict(vars(model))
    for bad in (X[:, :2], X[:10]):
        with pytest.raises(ValueError, match="features|inconsistent"):
            model.set_params(warm_start=True).fit(bad, Y)
    model.set_params(warm_start=False)
    assert vars(model) == before


def test_a_batch_size_above_the_samples_is_clipped_with_a_warning():
    with pytest.warns(UserWarning, match="batch_size=1000 is greater than .* 150"):
        MLPClassifier(**FAST | {"batch_size": 1000}).fit(X, Y)


@pytest.mark.parametrize(
    ("weight", "message"),
    [(np.zeros(150), "zero for every sample"), (-np.ones(150), ">= 0"), (np.ones(3), "shape")],
)
def test_sample_weights_that_make_no_sense_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier().fit(X, Y, weight)


def test_joblibs_workers_share_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert thread_limit() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert thread_limit() == cr.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert thread_limit() is None


def test_the_import_names_the_extra_where_scikit_learn_is_missing():
    code = "import sys; sys.modules['sklearn'] = None; import chainrule.sklearn"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "chainrule[sklearn]"' in run.stderr
    assert run.returncode == 1


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_inputs_are_never_made_dense(monkeypatch, solver, early_stopping):
    digits, labels = load_digits(return_X_y=True)
    given = sparse.csr_matrix(digits / 16)

    def refuse(self, *arguments):
        raise AssertionError("made dense")

    for name in ("toarray", "todense", "__array__"):
        monkeypatch.setattr(sparse.csr_matrix, name, refuse, raising=False)
    model = MLPClassifier(8, solver=solver, early_stopping=early_stopping, max_iter=2)
    model.fit(given, labels)
    assert model.predict(given).shape == labels.shape
