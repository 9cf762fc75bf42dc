"""scikit-learn's MLPRegressor and MLPClassifier, given the weights of the cell."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import UnsupportedError, Variant

if TYPE_CHECKING:
    from ..problem import Problem

PACKAGES = ("sklearn",)

HIDDEN = {"relu": "relu", "sigmoid": "logistic", "tanh": "tanh", "identity": "identity"}


def start(threads: int) -> None:
    """Leave the number of threads to the environment, where BLAS reads it."""


def variants(problem: Problem) -> list[Variant]:
    """Predict, or train an epoch with ``partial_fit``, which goes through all batches in order."""
    model, y = make_model(problem)
    if problem.cell.training:
        names = {"model": model, "x": problem.x, "y": y}
        return [Variant("partial_fit", "model.partial_fit(x, y)", names, parameters)]
    name = "predict" if problem.cell.output == "identity" else "predict_proba"
    names = {"predict": getattr(model, name), "x": problem.x}
    shape = (problem.cell.batch, problem.cell.sizes[-1])
    return [Variant(name, "predict(x)", names, lambda a: [np.reshape(a, shape)])]


def make_model(problem: Problem) -> tuple[Any, Any]:
    """Return a model with the cell's parameters, and targets as it wants them."""
    cell = problem.cell
    neural_network = import_module("sklearn.neural_network")
    # Its squared error is summed over outputs: η makes up for the mean.
    rate = cell.learning_rate / (cell.sizes[-1] if cell.loss == "half_mse" else 1)
    options = {
        "hidden_layer_sizes": cell.sizes[1:-1],
        "activation": HIDDEN[cell.hidden],
        "solver": "adam" if cell.kind == "training-adam" else "sgd",
        "alpha": 0.0,
        "batch_size": cell.batch,
        "learning_rate_init": cell.learning_rate if cell.kind == "training-adam" else rate,
        "shuffle": False,
        "momentum": 0.0,
        "nesterovs_momentum": False,
        # Its ε is added before the correction by √(1 - β₂ᵗ), which is near 0.1 in the first steps.
        "epsilon": 1e-9,
    }
    if cell.output == "identity":
        model = neural_network.MLPRegressor(**options)
        y = problem.y.ravel() if cell.sizes[-1] == 1 else problem.y
        model.partial_fit(problem.x[: cell.batch], y[: cell.batch])
    elif cell.output == "softmax":
        model, y = neural_network.MLPClassifier(**options), problem.labels
        first = problem.x[: cell.batch], y[: cell.batch]
        model.partial_fit(*first, classes=np.arange(cell.sizes[-1]))
    elif not cell.training:  # sigmoid outputs are those of several labels a sample
        y = np.eye(cell.sizes[-1], dtype=np.int64)
        model = neural_network.MLPClassifier(**{**options, "batch_size": "auto"})
        model.fit(np.zeros((len(y), cell.sizes[0]), problem.dtype), y)
    else:
        raise UnsupportedError("has no squared error of sigmoid outputs")
    for layer in range(cell.depth):
        model.coefs_[layer][...] = problem.weights[layer].T
        model.intercepts_[layer][...] = problem.biases[layer]
    if hasattr(model, "_optimizer"):
        del model._optimizer  # it has seen the first batch
    return model, y


def parameters(model: Any) -> list[Any]:
    """Return W^1, b^1, W^2, …."""
    return [p for w, b in zip(model.coefs_, model.intercepts_, strict=True) for p in (w.T, b)]
