"""NumPy: no allocation, in place, one update for the parameters of all layers together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem


def start(threads: int) -> None:
    """Leave the number of threads to the environment, where BLAS reads it."""


#: Whether W is stored with contiguous columns.
LAYOUTS = {"rows": False, "columns": True}


def inference(problem: Problem) -> list[Variant]:
    """Store W with contiguous rows or columns; for one sample, use vectors for matrices."""
    return [
        Variant(name, "predict(x)", partial(dict, predict=f, x=x), lambda a, _: [np.atleast_2d(a)])
        for name, by_columns in LAYOUTS.items()
        for f, x in [_predict(problem, by_columns)]
    ]


def training(problem: Problem) -> list[Variant]:
    """Store W either way; an epoch is a loop over batches."""
    return [
        Variant(
            name,
            "epoch()",
            partial(dict, epoch=_Training(problem, by_columns).epoch),
            lambda training, _: _own(training),
        )
        for name, by_columns in LAYOUTS.items()
    ]


def _activate(name: str, z: NDArray[Any]) -> None:
    """Replace z by g(z)."""
    if name == "tanh":
        np.tanh(z, out=z)
    elif name == "relu":
        np.maximum(z, 0, out=z)
    elif name == "sigmoid":
        np.negative(z, out=z)
        np.exp(z, out=z)
        np.add(z, 1, out=z)
        np.reciprocal(z, out=z)
    elif name == "softmax":
        np.subtract(z, z.max(axis=-1, keepdims=True), out=z)
        np.exp(z, out=z)
        np.divide(z, z.sum(axis=-1, keepdims=True), out=z)


def _predict(
    problem: Problem, by_columns: bool
) -> tuple[Callable[[NDArray[Any]], NDArray[Any]], NDArray[Any]]:
    cell = problem.cell
    one = cell.batch == 1
    layers = [
        (
            np.ascontiguousarray(w.T) if by_columns else w.T,
            b,
            np.empty(b.shape if one else (cell.batch, *b.shape), problem.dtype),
            problem.activation(layer),
        )
        for layer, (w, b) in enumerate(zip(problem.weights, problem.biases, strict=True))
    ]

    def predict(a: NDArray[Any]) -> NDArray[Any]:
        for w, b, z, name in layers:
            np.dot(a, w, out=z)
            np.add(z, b, out=z)
            _activate(name, z)
            a = z
        return a

    return predict, problem.x[0] if one else problem.x


class _Training:
    """Parameters, gradients and all else an epoch needs, made once."""

    def __init__(self, problem: Problem, by_columns: bool) -> None:
        self.cell = cell = problem.cell
        self.dtype = problem.dtype
        size = sum(p.size for p in problem.parameters)
        self.parameters, self.gradients, self.m, self.v, self.scratch = np.zeros(
            (5, size), problem.dtype
        )
        self.by_columns = by_columns
        self.w, self.b = self._views(self.parameters)
        self.dw, self.db = self._views(self.gradients)
        for view, value in zip([*self.w, *self.b], problem.weights + problem.biases, strict=True):
            view[...] = value.T if by_columns and value.ndim == 2 else value
        self.batches = problem.batches(problem.x, problem.y)
        self.names = [problem.activation(layer) for layer in range(cell.depth)]
        self.a, self.delta, self.slope = (
            [np.empty((cell.batch, n), problem.dtype) for n in cell.sizes[1:]] for _ in range(3)
        )
        self.scale = 1 / (cell.batch * (cell.sizes[-1] if cell.loss == "half_mse" else 1))
        self.updates = 0

    def _views(self, flat: NDArray[Any]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Return the parts of a flat array that are weights, and those that are biases."""
        weights, biases, at = [], [], 0
        for n_in, n_out in zip(self.cell.sizes, self.cell.sizes[1:], strict=False):
            shape = (n_in, n_out) if self.by_columns else (n_out, n_in)
            weights.append(flat[at : at + n_in * n_out].reshape(shape))
            at += n_in * n_out
            biases.append(flat[at : at + n_out])
            at += n_out
        return weights, biases

    def epoch(self) -> _Training:
        adam = self.cell.kind == "training-adam"
        for x, y in self.batches:
            self._differentiate(x, y)
            if adam:
                self._adam()
            else:
                np.multiply(self.gradients, self.cell.learning_rate, out=self.gradients)
                np.subtract(self.parameters, self.gradients, out=self.parameters)
        return self

    def _differentiate(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        before = x
        for w, b, a, name in zip(self.w, self.b, self.a, self.names, strict=True):
            np.dot(before, w if self.by_columns else w.T, out=a)
            np.add(a, b, out=a)
            _activate(name, a)
            before = a
        last = self.cell.depth - 1
        np.subtract(self.a[last], y, out=self.delta[last])
        np.multiply(self.delta[last], self.scale, out=self.delta[last])
        if self.cell.loss == "half_mse":
            self._multiply_by_slope(last)
        for layer in range(last, -1, -1):
            before, delta = self.a[layer - 1] if layer else x, self.delta[layer]
            left, right = (before, delta) if self.by_columns else (delta, before)
            if len(x) == 1:
                np.multiply(left[0][:, None], right, out=self.dw[layer])
                self.db[layer][:] = delta[0]
            else:
                np.dot(left.T, right, out=self.dw[layer])
                np.add.reduce(delta, axis=0, out=self.db[layer])
            if layer:
                w = self.w[layer]
                np.dot(delta, w.T if self.by_columns else w, out=self.delta[layer - 1])
                self._multiply_by_slope(layer - 1)

    def _multiply_by_slope(self, layer: int) -> None:
        """Multiply δ by g'(z), computed from a."""
        a, delta, slope = self.a[layer], self.delta[layer], self.slope[layer]
        name = self.names[layer]
        if name == "relu":
            np.multiply(delta, a > 0, out=delta)
        elif name == "tanh":
            np.multiply(a, a, out=slope)
            np.subtract(1, slope, out=slope)
            np.multiply(delta, slope, out=delta)
        elif name == "sigmoid":
            np.subtract(1, a, out=slope)
            np.multiply(slope, a, out=slope)
            np.multiply(delta, slope, out=delta)

    def _adam(self) -> None:
        self.updates += 1
        g, m, v, step = self.gradients, self.m, self.v, self.scratch
        np.multiply(m, 0.9, out=m)
        np.multiply(g, 0.1, out=step)
        np.add(m, step, out=m)
        np.multiply(v, 0.999, out=v)
        np.multiply(g, g, out=g)
        np.multiply(g, 0.001, out=g)
        np.add(v, g, out=v)
        np.sqrt(v, out=g)
        np.divide(g, (1 - 0.999**self.updates) ** 0.5, out=g)
        np.add(g, 1e-8, out=g)
        np.divide(m, g, out=step)
        np.multiply(step, self.cell.learning_rate / (1 - 0.9**self.updates), out=step)
        np.subtract(self.parameters, step, out=self.parameters)


def _own(training: _Training) -> list[NDArray[Any]]:
    return [
        p
        for w, b in zip(training.w, training.b, strict=True)
        for p in (w.T if training.by_columns else w, b)
    ]
