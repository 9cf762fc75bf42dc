"""The right results, in float64 NumPy as a textbook has them, and how far others may be off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .problem import Problem

    Arrays = list[NDArray[Any]]


def results(problem: Problem) -> Arrays:
    """Return what a system should: a^L, or all parameters after one epoch."""
    weights = [w.astype(np.float64) for w in problem.weights]
    biases = [b.astype(np.float64) for b in problem.biases]
    x = problem.x.astype(np.float64)
    if not problem.cell.training:
        return [_forward(problem, weights, biases, x)[-1]]
    parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    y = problem.y.astype(np.float64)
    for t, (rows, targets) in enumerate(problem.batches(x, y), start=1):
        gradients = _gradients(problem, weights, biases, rows, targets)
        for p, g, (m, v) in zip(parameters, gradients, moments, strict=True):
            if problem.cell.kind == "training-adam":
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                g = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            p -= problem.cell.learning_rate * g
    return parameters


def _forward(problem: Problem, weights: Arrays, biases: Arrays, x: NDArray[Any]) -> Arrays:
    """Return a^0, a^1, …, a^L."""
    a = [x]
    for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = a[-1] @ w.T + b
        name = problem.activation(layer)
        if name == "softmax":
            e = np.exp(z - z.max(axis=1, keepdims=True))
            a.append(e / e.sum(axis=1, keepdims=True))
        else:
            a.append(_ACTIVATIONS[name](z))
    return a


_ACTIVATIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
}
_DERIVATIVES: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "identity": np.ones_like,
    "relu": lambda a: (a > 0).astype(np.float64),
    "sigmoid": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a * a,
}


def _gradients(
    problem: Problem, weights: Arrays, biases: Arrays, x: NDArray[Any], y: NDArray[Any]
) -> Arrays:
    """Return ∇W^1, ∇b^1, ∇W^2, … of the mean cost."""
    cell = problem.cell
    a = _forward(problem, weights, biases, x)
    delta = (a[-1] - y) / len(x)
    if cell.loss == "half_mse":
        delta = delta / cell.sizes[-1] * _DERIVATIVES[cell.output](a[-1])
    gradients: Arrays = []
    for layer in reversed(range(cell.depth)):
        gradients[:0] = [delta.T @ a[layer], delta.sum(axis=0)]
        if layer:
            delta = delta @ weights[layer] * _DERIVATIVES[cell.hidden](a[layer])
    return gradients


class Reference:
    """The right results of a problem, and what passes for them."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.results = results(problem)
        self.tolerance = self._tolerance()

    def error(self, actual: Sequence[NDArray[Any]]) -> float:
        """Return the largest relative error of an array, in the Euclidean norm.

        For training it is that of what was learned, the difference to the initial parameters.
        """
        if [np.shape(a) for a in actual] != [e.shape for e in self.results]:
            return float("inf")
        start = self.problem.parameters if self.problem.cell.training else [np.zeros(())]
        errors = [
            np.linalg.norm(np.asarray(a, np.float64) - e) / np.linalg.norm(e - s)
            for a, e, s in zip(actual, self.results, start, strict=True)
        ]
        return float(np.max(errors)) if np.isfinite(errors).all() else float("inf")

    def _tolerance(self) -> float:
        """Return the error that rounding explains.

        Sums of n terms in any order are off by some √n units in the last place, and layers pass
        it on. In training every update also rounds the parameters, and what is learned is a small
        difference of them; Adam divides gradients by their size, the small ones with their errors.
        """
        cell = self.problem.cell
        units = 2 * cell.depth * max(cell.sizes) ** 0.5
        if cell.training:
            learned = min(
                np.linalg.norm(e - p) / np.linalg.norm(p)
                for e, p in zip(self.results, self.problem.parameters, strict=True)
            )
            units = 10 * units + cell.steps**0.5 / float(learned)
        if cell.kind == "training-adam":
            units *= 10
        return float(units * np.finfo(self.problem.dtype).eps)
