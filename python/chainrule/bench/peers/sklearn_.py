"""scikit-learn's MLPRegressor and MLPClassifier, given the weights of the cell."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Learner, UnsupportedError, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem

HIDDEN = {"relu": "relu", "sigmoid": "logistic", "tanh": "tanh", "identity": "identity"}


def start(threads: int) -> None:
    """Leave the number of threads to the environment, where BLAS reads it."""


def inference(problem: Problem) -> list[Variant]:
    """Predict numbers or probabilities."""
    model, _ = _model(problem)
    name = "predict" if problem.cell.output == "identity" else "predict_proba"
    names = {"predict": getattr(model, name), "x": problem.x}
    shape = (problem.cell.batch, problem.cell.sizes[-1])
    return [Variant(name, "predict(x)", lambda: names, lambda a, _: [np.reshape(a, shape)])]


def training(problem: Problem) -> list[Variant]:
    """Train an epoch with ``partial_fit``, which goes through all batches in order."""
    model, y = _model(problem)
    names = {"model": model, "x": problem.x, "y": y}
    return [
        Variant(
            "partial_fit",
            "model.partial_fit(x, y)",
            lambda: names,
            lambda model, _: _parameters(model),
        )
    ]


def accuracy(problem: Problem) -> list[Learner]:
    """Train an epoch with ``partial_fit``."""
    return [_PartialFit(problem)]


class _PartialFit:
    name = "partial_fit"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.reset()

    def reset(self) -> None:
        self.model, self.y = _model(self.problem)

    def epoch(self, order: NDArray[Any]) -> None:
        self.model.partial_fit(self.problem.x[order], self.y[order])

    def labels(self, x: NDArray[Any]) -> Any:
        return self.model.predict(x)

    def parameters(self) -> list[Any]:
        return _parameters(self.model)


def search() -> type:
    """Return scikit-learn's MLPClassifier."""
    classifier: type = import_module("sklearn.neural_network").MLPClassifier
    return classifier


def _model(problem: Problem) -> tuple[Any, Any]:
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
    _restart(model)
    return model, y


def _restart(model: Any) -> None:
    """Let the next update of a model be Adam's first.

    A model has arrays for parameters only after a ``partial_fit``, which updates. No public method
    resets the moments and the count of updates, and ``fit`` would reset them before every epoch.
    """
    vars(model).pop("_optimizer", None)


def _parameters(model: Any) -> list[Any]:
    return [p for w, b in zip(model.coefs_, model.intercepts_, strict=True) for p in (w.T, b)]
