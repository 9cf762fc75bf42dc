"""A fitted perceptron, and the scaling around it, as one network."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import neural_network, preprocessing
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from chainrule import _core
from chainrule.agreement import Original, verify
from chainrule.network import Network
from chainrule.sklearn.base import Perceptron
from chainrule.stack import Stack

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    Affine = tuple[NDArray[np.float64], NDArray[np.float64]]

logger = logging.getLogger("chainrule")

SCALERS = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
PERCEPTRONS = (neural_network.MLPClassifier, neural_network.MLPRegressor, Perceptron)


def from_sklearn(estimator: Any, *, dtype: DTypeLike | None = None) -> Network:
    """Return a network that answers as a fitted perceptron of scikit-learn does.

    The result is verified by running: the estimator predicts rows, some of them like the data
    that its scalers were fitted to, and every step's outputs are compared with the network's.

    Parameters
    ----------
    estimator : estimator
        A fitted MLPClassifier or MLPRegressor, scikit-learn's or chainrule's; or a Pipeline of
        scalers and one of these, whose first layer then takes the raw features; or a
        TransformedTargetRegressor of one of these with a scaler, whose last layer then gives the
        targets' own units; or a search that has found one of these. Scalers are StandardScaler,
        MinMaxScaler, MaxAbsScaler and RobustScaler, those that clip excepted.
    dtype : {"float32", "float64"}, optional
        By default that of the estimator's parameters, which is that of the data it was fitted to:
        float64 unless they were float32. In float32 a network answers faster.

    Returns
    -------
    Network
        With a copy of the parameters. Its outputs, of shape (n, n_outputs), are

        - of a regressor its predictions;
        - of a classifier of three or more classes ``predict_proba``, in the order of
          ``classes_``: the label is ``classes[outputs.argmax(axis=1)]``;
        - of a classifier of two classes the probability of the second one, in one column: the
          label is ``classes[(outputs[:, 0] > 0.5).astype(int)]``;
        - of a classifier of several labels per sample the probability of each: the labels are
          ``outputs > 0.5``.

        All are equal to the estimator's within rounding. ``estimator.classes_`` is not part of
        the network: a service that shall answer with labels keeps it beside the model.

    Raises
    ------
    TypeError
        If a step is something else; the message names it.
    ValueError
        If a step is not fitted (``NotFittedError``) or does what no network does, or the
        perceptron predicts exp of its outputs (the Poisson loss) or knows one class alone; or if
        the estimator answers otherwise than the network, or float32 is asked for and loses more
        than 1e-3 of the outputs, because scalings with large means are folded.

    Warns
    -----
    UserWarning
        If the estimator cannot predict, and the result is therefore not verified.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier(max_iter=1000, random_state=0))
    >>> net = from_sklearn(model.fit(X, y))
    >>> np.allclose(net.predict(X), model.predict_proba(X))
    True
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    whole, target = estimator, None
    if isinstance(estimator, TransformedTargetRegressor):
        check_is_fitted(estimator)
        target, estimator = estimator.transformer_, estimator.regressor_
        _check_scaler(target, "pass from_sklearn regressor_, and transform its outputs yourself")
    scalers, perceptron = _steps(estimator)
    own = perceptron.network_ if isinstance(perceptron, Perceptron) else None
    stack = Stack(perceptron.coefs_[0].shape[0])
    tensors = {}
    for title, scaler in scalers.items():
        scale, shift = _affine(scaler)
        tensors[title] = stack = stack.affine(scale, shift)
        logger.info("%s: folded into the first layer", title)
    stack = stack.follow(own) if own is not None else _layers(stack, perceptron)
    logger.info("%r: taken", perceptron)
    if target is not None:
        scale, shift = _affine(target)
        stack = stack.affine(1 / scale, -shift / scale)
        logger.info("the targets' %r: folded into the last layer", target)
    given = perceptron.coefs_[0].dtype
    network = Network.from_arrays(
        *stack.arrays(),
        None if own is None else own.loss,
        rows="outputs",
        dtype=given if dtype is None else dtype,
        seed=0,
    )
    answer = "predict_proba" if is_classifier(perceptron) else "predict"

    def run(rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that columns had when it was fitted
            outputs = getattr(whole, answer)(rows.copy())
            if stack.width == 1 and answer == "predict_proba":
                outputs = outputs[:, 1]  # of two classes the second one
            return _scaled(scalers, rows) | {answer: outputs}

    # scikit-learn computes in the wider type of parameters and data, chainrule in the parameters'.
    runs = {"float64" if own is None else own.dtype.name: run}
    mend = (
        "Pass from_sklearn an estimator whose predictions are those of its coefs_ and "
        "intercepts_, and apply what else it does yourself"
    )
    verify(network, stack, tensors | {answer: stack}, Original("the estimator", runs, mend))
    if own is not None:
        _core.set_counters(network, own.seed, own.epoch)
    return network


def _scaled(scalers: dict[str, Any], rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return what every scaler gives, by title."""
    found = {}
    for title, scaler in scalers.items():
        found[title] = rows = np.array(scaler.transform(rows.copy()))  # it may work in place
    return found


def _steps(estimator: Any) -> tuple[dict[str, Any], Any]:
    """Return the scalers, by what messages call them, and the perceptron of a pipeline, fitted."""
    steps = [step for step in _flat(estimator) if step not in (None, "passthrough")]
    if not steps:
        raise TypeError("the pipeline has no step")
    *scalers, perceptron = steps
    for scaler in scalers:
        _check_scaler(
            scaler,
            "apply it to the features yourself, and pass from_sklearn the steps behind it, as in "
            "pipeline[1:]",
        )
    if not isinstance(perceptron, PERCEPTRONS):
        raise TypeError(
            "from_sklearn takes a fitted MLPClassifier or MLPRegressor, alone or at the end of a "
            f"Pipeline of scalers, got {type(perceptron).__name__}"
        )
    check_is_fitted(perceptron)
    if getattr(perceptron, "loss", "") == "poisson":
        raise ValueError(
            f"{type(perceptron).__name__} with loss='poisson' predicts exp of its outputs, "
            "which is no activation of chainrule"
        )
    if is_classifier(perceptron) and len(perceptron.classes_) == 1:
        raise ValueError(
            f"{type(perceptron).__name__} has seen one class alone, {perceptron.classes_}: "
            "it answers with that, whatever its outputs are"
        )
    return {f"step {i}, {scaler!r}": scaler for i, scaler in enumerate(scalers)}, perceptron


def _flat(estimator: Any) -> list[Any]:
    """Return the steps of a pipeline, and of those in it."""
    if not isinstance(estimator, Pipeline):
        return [estimator]
    return [inner for _, step in estimator.steps for inner in _flat(step)]


def _check_scaler(scaler: Any, mend: str) -> None:
    name = type(scaler).__name__
    if name not in SCALERS or type(scaler) is not getattr(preprocessing, name):
        raise TypeError(f"the step {scaler!r} is not one of {', '.join(SCALERS)}: {mend}")
    if getattr(scaler, "clip", False):
        raise ValueError(f"the step {scaler!r} clips, which no layer of a network does")


def _affine(scaler: Any) -> Affine:
    """Return s and t of what a fitted scaler does, s x + t."""
    check_is_fitted(scaler)
    centre, scale = 0.0, 1.0
    if isinstance(scaler, preprocessing.MinMaxScaler):
        return np.asarray(scaler.scale_), np.asarray(scaler.min_)
    if isinstance(scaler, preprocessing.StandardScaler):
        centre = scaler.mean_ if scaler.with_mean else centre
        scale = scaler.scale_ if scaler.with_std else scale
    elif isinstance(scaler, preprocessing.RobustScaler):
        centre = scaler.center_ if scaler.with_centering else centre
        scale = scaler.scale_ if scaler.with_scaling else scale
    else:
        scale = scaler.scale_
    inverse = 1 / np.asarray(scale, np.float64)
    return inverse, -np.asarray(centre, np.float64) * inverse


def _layers(stack: Stack, perceptron: Any) -> Stack:
    """Follow with the layers of scikit-learn's own perceptron."""
    hidden = perceptron.activation
    names = [*[hidden] * (perceptron.n_layers_ - 2), perceptron.out_activation_]
    for w, b, name in zip(perceptron.coefs_, perceptron.intercepts_, names, strict=True):
        stack = stack.linear(w.T, b)
        if name != "identity":
            stack = stack.activation("sigmoid" if name == "logistic" else name)
    return stack
