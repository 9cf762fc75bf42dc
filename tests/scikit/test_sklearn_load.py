"""Fitted perceptrons and the scaling around them, as networks: against scikit-learn's answers."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, relative, says

pytest.importorskip("sklearn", reason='no scikit-learn: pip install ".[sklearn]"')

from sklearn import neural_network  # noqa: E402
from sklearn.compose import TransformedTargetRegressor  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

import chainrule.sklearn  # noqa: E402
from chainrule.sklearn import from_sklearn  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 5)) * RNG.uniform(0.1, 30, 5) + RNG.normal(size=5) * 50
CLASSES = np.array(["cold", "mild", "hot"])
SCORES = (X - X.mean(0)) / X.std(0) @ RNG.normal(size=(5, 3))
MULTICLASS = CLASSES[SCORES.argmax(1)]
BINARY = np.where(SCORES[:, 0] > 0, "yes", "no")
LABELS = (SCORES > 0).astype(int)

PACKAGES = {"scikit-learn": neural_network, "chainrule": chainrule.sklearn}
SCALERS = {
    "standard": StandardScaler(),
    "standard without mean": StandardScaler(with_mean=False),
    "standard without scale": StandardScaler(with_std=False),
    "minmax": MinMaxScaler((-1, 2)),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust without centre": RobustScaler(with_centering=False),
    "robust without scale": RobustScaler(with_scaling=False),
}
SETTINGS = {"max_iter": 8, "random_state": 0, "hidden_layer_sizes": (9, 6), "tol": 0.0}

pytestmark = [
    pytest.mark.unsanitized,
    pytest.mark.filterwarnings("ignore:.*reached:sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture(params=PACKAGES)
def package(request):
    return PACKAGES[request.param]


def classifier(package=neural_network, **settings):
    return package.MLPClassifier(**SETTINGS | settings)


def regressor(package=neural_network, **settings):
    return package.MLPRegressor(**SETTINGS | settings)


def scaled(estimator):
    return make_pipeline(StandardScaler(), estimator)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (9,), (9, 6)], ids=str)
def test_outputs_are_the_probabilities_of_the_classes(package, activation, hidden):
    model = scaled(classifier(package, activation=activation, hidden_layer_sizes=hidden))
    net = from_sklearn(model.fit(X, MULTICLASS))
    assert net.sizes == (5, *hidden, 3)
    assert net.activations[-1] == "softmax"
    outputs = net.predict(X)
    assert relative(outputs, model.predict_proba(X)) < 1e-13
    np.testing.assert_array_equal(model.classes_[outputs.argmax(axis=1)], model.predict(X))


def test_the_output_for_two_classes_is_the_probability_of_the_second(package):
    model = scaled(classifier(package)).fit(X, BINARY)
    outputs = from_sklearn(model).predict(X)
    assert outputs.shape == (80, 1)
    assert relative(outputs[:, 0], model.predict_proba(X)[:, 1]) < 1e-13
    labels = model.classes_[(outputs[:, 0] > 0.5).astype(int)]
    np.testing.assert_array_equal(labels, model.predict(X))


def test_outputs_for_several_labels_are_their_probabilities(package):
    model = scaled(classifier(package)).fit(X, LABELS)
    outputs = from_sklearn(model).predict(X)
    assert relative(outputs, model.predict_proba(X)) < 1e-13
    np.testing.assert_array_equal(outputs > 0.5, model.predict(X))


@pytest.mark.parametrize("columns", [1, 3])
def test_outputs_of_a_regressor_are_its_predictions(package, columns):
    y = SCORES[:, 0] if columns == 1 else SCORES
    model = scaled(regressor(package)).fit(X, y)
    net = from_sklearn(model)
    assert (net.loss, net.predict(X).shape) == ("half_mse", (80, columns))
    assert relative(net.predict(X), model.predict(X).reshape(80, columns)) < 1e-13


@pytest.mark.parametrize("scaler", SCALERS)
def test_every_scaling_is_absorbed_by_the_first_layer(package, scaler):
    model = make_pipeline(SCALERS[scaler], regressor(package)).fit(X, SCORES)
    net = from_sklearn(model)
    assert net.sizes == (5, 9, 6, 3)
    assert relative(net.predict(X), model.predict(X)) < 1e-12


def test_scalings_may_follow_one_another_in_pipelines_of_pipelines():
    steps = [("first", MinMaxScaler()), ("none", "passthrough"), ("second", RobustScaler())]
    model = Pipeline([("scaling", Pipeline(steps)), ("net", regressor())]).fit(X, SCORES)
    net = from_sklearn(model)
    assert net.sizes == (5, 9, 6, 3)
    assert relative(net.predict(X), model.predict(X)) < 1e-12


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("scaler", ["standard", "minmax", "maxabs", "robust"])
def test_the_scaling_of_targets_is_absorbed_by_the_last_layer(package, scaler, columns):
    y = 40 * SCORES[:, :columns].squeeze() - 300
    model = TransformedTargetRegressor(scaled(regressor(package)), transformer=SCALERS[scaler])
    net = from_sklearn(model.fit(X, y))
    assert net.sizes == (5, 9, 6, columns)
    assert relative(net.predict(X), model.predict(X).reshape(80, columns)) < 1e-12


def test_a_perceptron_alone_keeps_its_parameters(package):
    model = regressor(package).fit(X, SCORES)
    net = from_sklearn(model)
    for ours, theirs in zip(net.weights, model.coefs_, strict=True):
        assert_same_bits(np.ascontiguousarray(ours), np.ascontiguousarray(theirs.T))
    for ours, theirs in zip(net.biases, model.intercepts_, strict=True):
        assert_same_bits(ours, theirs)


def test_the_network_is_a_copy(package):
    model = regressor(package).fit(X, SCORES)
    before = model.predict(X)
    net = from_sklearn(model)
    net.weights[0][...] = 0
    assert_same_bits(model.predict(X), before)


@pytest.mark.parametrize(("given", "bound"), [("float32", 1e-5), ("float64", 1e-13)])
def test_the_type_is_that_of_the_parameters(package, given, bound):
    model = scaled(classifier(package)).fit(X.astype(given), MULTICLASS)
    net = from_sklearn(model)
    assert net.dtype == given
    assert relative(net.predict(X), model.predict_proba(X.astype(given))) < bound


def test_another_type_may_be_asked_for(package):
    model = scaled(classifier(package)).fit(X, MULTICLASS)
    net = from_sklearn(model, dtype="float32")
    assert net.dtype == np.float32
    assert relative(net.predict(X), model.predict_proba(X)) < 1e-5


def test_a_network_of_ours_keeps_its_loss_seed_and_epochs():
    model = scaled(regressor(chainrule.sklearn, loss="huber", activation="gelu")).fit(X, SCORES)
    inner, net = model[-1].network_, from_sklearn(model)
    assert (net.loss, net.activations) == ("huber", ("gelu", "gelu", "identity"))
    assert (net.seed, net.epoch) == (inner.seed, inner.epoch)


def test_a_search_stands_for_what_it_found(package):
    search = GridSearchCV(scaled(classifier(package)), {"mlpclassifier__alpha": [0, 1]}, cv=2)
    net = from_sklearn(search.fit(X, MULTICLASS))
    assert relative(net.predict(X), search.predict_proba(X)) < 1e-13


def test_it_can_be_saved_and_served_without_scikit_learn(tmp_path):
    model = scaled(classifier()).fit(X, MULTICLASS)
    from_sklearn(model).save(tmp_path / "net")
    serve = cr.Network.load(tmp_path / "net").freeze()
    assert relative(serve(X[0]), model.predict_proba(X[:1])[0]) < 1e-13


def test_onnx_runtime_gives_the_same_probabilities():
    onnxruntime = pytest.importorskip("onnxruntime")
    from chainrule.onnx import to_onnx

    model = scaled(classifier()).fit(X, MULTICLASS)
    stored = to_onnx(from_sklearn(model, dtype="float32")).SerializeToString()
    session = onnxruntime.InferenceSession(stored, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"x": X.astype(np.float32)})
    assert relative(outputs, model.predict_proba(X)) < 1e-5


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [PCA(3), FunctionTransformer(np.log1p)], ids=repr)
def test_a_step_that_is_no_scaling_is_named(step):
    model = make_pipeline(StandardScaler(), step, classifier())
    with pytest.raises(TypeError, match=says(repr(step), "StandardScaler, MinMaxScaler", "[1:]")):
        from_sklearn(model)


def test_a_scaler_that_clips_is_refused():
    model = make_pipeline(MinMaxScaler(clip=True), regressor()).fit(X, SCORES)
    with pytest.raises(ValueError, match=says("MinMaxScaler(clip=True)", "clips")):
        from_sklearn(model)


def test_another_estimator_is_refused_by_name():
    with pytest.raises(TypeError, match=says("MLPClassifier", "got LogisticRegression")):
        from_sklearn(make_pipeline(StandardScaler(), LogisticRegression()))
    with pytest.raises(TypeError, match=says("got str")):
        from_sklearn("model")
    with pytest.raises(TypeError, match="no step"):
        from_sklearn(Pipeline([("nothing", "passthrough")]))


@pytest.mark.parametrize("make", [classifier, scaled], ids=lambda make: make.__name__)
def test_what_is_not_fitted_is_refused(package, make):
    model = make(classifier(package)) if make is scaled else make(package)
    with pytest.raises(NotFittedError):
        from_sklearn(model)


def test_targets_behind_a_function_are_refused():
    model = TransformedTargetRegressor(regressor(), func=np.log1p, inverse_func=np.expm1)
    with pytest.raises(
        TypeError, match=says("FunctionTransformer", "not one of StandardScaler", "regressor_")
    ):
        from_sklearn(model.fit(X, np.abs(SCORES)))


def test_the_exponential_of_a_poisson_loss_is_refused(package):
    if "loss" not in package.MLPRegressor().get_params():
        pytest.skip("scikit-learn has had the Poisson loss since 1.7")
    model = scaled(regressor(package, loss="poisson")).fit(X, np.abs(SCORES[:, 0]))
    with pytest.raises(ValueError, match=says("loss='poisson'", "exp")):
        from_sklearn(model)


def test_a_classifier_of_one_class_is_refused(package):
    model = scaled(classifier(package)).fit(X, np.full(80, "yes"))
    with pytest.raises(ValueError, match=says("one class alone", "yes")):
        from_sklearn(model)


def test_parameters_that_overflow_are_refused():
    model = scaled(regressor()).fit(X, SCORES)
    model[-1].coefs_[0][...] = 1e39
    with pytest.raises(ValueError, match="layer 1 has parameters that are not finite as float32"):
        from_sklearn(model, dtype="float32")


# --- verified by running --------------------------------------------------------------------------


class Doubling(neural_network.MLPRegressor):
    def predict(self, X):
        return 2 * super().predict(X)


class Raising(neural_network.MLPRegressor):
    def predict(self, X):
        raise RuntimeError("no service")


class Drawing(neural_network.MLPRegressor):
    def predict(self, X):
        np.random.standard_normal(5)
        return super().predict(X)


def test_predictions_that_are_not_those_of_the_layers_are_refused():
    model = scaled(Doubling(**SETTINGS)).fit(X, SCORES)
    with pytest.raises(ValueError, match=says("predict and the network differ", "coefs_")):
        from_sklearn(model)


def test_a_scaler_that_does_something_else_is_named(monkeypatch):
    model = make_pipeline(MinMaxScaler(), RobustScaler(), regressor()).fit(X, SCORES)
    transform = RobustScaler.transform
    monkeypatch.setattr(RobustScaler, "transform", lambda self, X: transform(self, X) + 1e-6)
    with pytest.raises(ValueError, match=says("step 1, RobustScaler() and the network differ")):
        from_sklearn(model)


def test_layers_that_were_changed_after_training_are_still_those_that_predict(package):
    model = scaled(regressor(package)).fit(X, SCORES)
    model[-1].coefs_[0][...] *= 3
    assert relative(from_sklearn(model).predict(X), model.predict(X)) < 1e-12


def test_an_estimator_that_cannot_predict_is_a_warning():
    model = scaled(Raising(**SETTINGS)).fit(X, SCORES)
    with pytest.warns(UserWarning, match=says("RuntimeError: no service", "not verified")):
        from_sklearn(model)


def test_nothing_is_left_changed():
    model = scaled(Drawing(**SETTINGS)).fit(X, SCORES)
    model[0].copy = False  # it works in place
    before, state = model.predict(X.copy()), np.random.get_state()[1].copy()
    from_sklearn(model)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert_same_bits(model.predict(X.copy()), before)


def test_names_of_columns_are_no_warning():
    pandas = pytest.importorskip("pandas")
    model = scaled(regressor()).fit(pandas.DataFrame(X, columns=list("abcde")), SCORES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_sklearn(model)


def test_float32_is_refused_where_a_scaler_folds_too_many_digits_away(package):
    far = X + 1e7
    model = scaled(regressor(package)).fit(far, SCORES)
    with pytest.raises(ValueError, match=says("float32", 'dtype="float64"')):
        from_sklearn(model, dtype="float32")
    assert relative(from_sklearn(model).predict(far), model.predict(far)) < 1e-7


def test_the_log_says_what_was_folded(caplog):
    model = TransformedTargetRegressor(scaled(regressor()), transformer=MinMaxScaler())
    model.fit(X, SCORES)
    with caplog.at_level(logging.INFO, "chainrule"):
        from_sklearn(model)
    lines = [record.getMessage() for record in caplog.records]
    expected = ["StandardScaler", "MLPRegressor", "MinMaxScaler", "69 rows"]
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert words in line
