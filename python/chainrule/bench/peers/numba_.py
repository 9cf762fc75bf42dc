"""Numba: jitted functions of one flat array of parameters, with all sizes known when compiled.

Passing an array to a jitted function costs a tenth of a microsecond, hence the flat arrays. Single
rows go through explicit loops, batches through BLAS; an epoch is one call.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Variant

if TYPE_CHECKING:
    from ..problem import Problem

Kernel = Callable[..., Any]


def start(threads: int) -> None:
    """Leave the number of threads to the environment, where BLAS reads it."""


def inference(problem: Problem) -> list[Variant]:
    """Run explicit loops, or BLAS, along rows or along columns of W, whichever can win."""
    cell = problem.cell
    kinds = [_loops] if cell.batch == 1 else [_blas]
    if 1 < cell.batch <= 8 or cell.batch <= 100 and max(cell.sizes) <= 64:
        kinds.append(_loops)
    return [kind(problem, by_columns) for kind in kinds for by_columns in (False, True)]


def training(problem: Problem) -> list[Variant]:
    """Train sample by sample in loops, batches with BLAS."""
    return [_loops_training(problem) if problem.cell.batch == 1 else _blas_training(problem)]


def _jit(function: Kernel) -> Kernel:
    compiled: Kernel = import_module("numba").njit(fastmath=True)(function)
    return compiled


def _flat(problem: Problem, by_columns: bool) -> np.ndarray[Any, Any]:
    """Return W^1, b^1, W^2, … in one array, every W by rows or by columns."""
    return np.concatenate([(p.T if by_columns else p).ravel() for p in problem.parameters])


def _parameters(problem: Problem, flat: np.ndarray[Any, Any], by_columns: bool) -> list[Any]:
    """Return the parts of such an array."""
    parts, at = [], 0
    for p in problem.parameters:
        part = flat[at : at + p.size]
        parts.append(part.reshape(p.T.shape).T if by_columns else part.reshape(p.shape))
        at += p.size
    return parts


def _activation(name: str, dtype: np.dtype[Any]) -> Kernel:
    """Return a function that replaces a vector z by g(z + b)."""
    import math

    one, zero, two = dtype.type(1), dtype.type(0), dtype.type(2)

    def identity(z: Any, b: Any) -> None:
        for j in range(z.size):
            z[j] += b[j]

    def relu(z: Any, b: Any) -> None:
        for j in range(z.size):
            z[j] = max(z[j] + b[j], zero)

    def sigmoid(z: Any, b: Any) -> None:
        for j in range(z.size):
            z[j] = one / (one + math.exp(-(z[j] + b[j])))

    def tanh(z: Any, b: Any) -> None:  # three times as fast as math.tanh
        for j in range(z.size):
            z[j] = two / (one + math.exp(-two * (z[j] + b[j]))) - one

    def softmax(z: Any, b: Any) -> None:
        top = z[0] + b[0]
        for j in range(z.size):
            z[j] += b[j]
            top = max(top, z[j])
        total = zero
        for j in range(z.size):
            z[j] = math.exp(z[j] - top)
            total += z[j]
        for j in range(z.size):
            z[j] /= total

    functions = {f.__name__: f for f in (identity, relu, sigmoid, tanh, softmax)}
    return _jit(functions[name])


def _slope(name: str, dtype: np.dtype[Any]) -> Kernel:
    """Return a function that multiplies a vector δ by g'(z), given a."""
    one, zero = dtype.type(1), dtype.type(0)

    def identity(d: Any, a: Any) -> None:
        pass

    def relu(d: Any, a: Any) -> None:
        for j in range(d.size):
            d[j] = d[j] if a[j] > zero else zero

    def sigmoid(d: Any, a: Any) -> None:
        for j in range(d.size):
            d[j] *= a[j] * (one - a[j])

    def tanh(d: Any, a: Any) -> None:
        for j in range(d.size):
            d[j] *= one - a[j] * a[j]

    functions = {f.__name__: f for f in (identity, relu, sigmoid, tanh)}
    return _jit(functions.get(name, identity))  # softmax: with cross_entropy δ is a - y


def _activations(problem: Problem) -> tuple[Kernel, Kernel]:
    """Return what applies the activations of hidden layers and of the output."""
    cell = problem.cell
    return _activation(cell.hidden, problem.dtype), _activation(cell.output, problem.dtype)


def _slopes(problem: Problem) -> tuple[Kernel, Kernel]:
    """Return what multiplies δ by the derivatives of both."""
    cell = problem.cell
    return _slope(cell.hidden, problem.dtype), _slope(cell.output, problem.dtype)


def _row_product(by_columns: bool) -> Kernel:
    """Return a function that sets the vector z to W a."""

    def along_rows(w: Any, a: Any, z: Any) -> None:
        for j in range(z.size):
            total = z[j] * 0
            for k in range(a.size):
                total += w[j * a.size + k] * a[k]
            z[j] = total

    def along_columns(w: Any, a: Any, z: Any) -> None:
        z[:] = 0
        for k in range(a.size):
            for j in range(z.size):
                z[j] += w[k * z.size + j] * a[k]

    return _jit(along_columns if by_columns else along_rows)


def _forward(problem: Problem, by_columns: bool) -> Kernel:
    """Return a function that sets out to a^L, and rows of work to a^1, a^2, …; BLAS multiplies."""
    sizes, depth = problem.cell.sizes, problem.cell.depth
    hidden, output = _activations(problem)

    def forward(p: Any, x: Any, out: Any, work: Any) -> None:
        n, a, at = x.shape[0], x, 0
        for layer in range(depth):
            n_in, n_out = sizes[layer], sizes[layer + 1]
            b = at + n_in * n_out
            z = out if layer == depth - 1 else work[layer, : n * n_out].reshape(n, n_out)
            if by_columns:
                np.dot(a, p[at:b].reshape(n_in, n_out), z)
            else:
                np.dot(a, p[at:b].reshape(n_out, n_in).T, z)
            for i in range(n):
                if layer == depth - 1:
                    output(z[i], p[b : b + n_out])
                else:
                    hidden(z[i], p[b : b + n_out])
            a, at = z, b + n_out

    return _jit(forward)


def _loops(problem: Problem, by_columns: bool) -> Variant:
    sizes, depth = problem.cell.sizes, problem.cell.depth
    product = _row_product(by_columns)
    hidden, output = _activations(problem)

    def predict(p: Any, x: Any, out: Any, work: Any) -> None:
        for i in range(x.shape[0]):
            a, at = x[i], 0
            for layer in range(depth):
                n_in, n_out = sizes[layer], sizes[layer + 1]
                b = at + n_in * n_out
                z = out[i] if layer == depth - 1 else work[layer, :n_out]
                product(p[at:b], a, z)
                if layer == depth - 1:
                    output(z, p[b : b + n_out])
                else:
                    hidden(z, p[b : b + n_out])
                a, at = z, b + n_out

    return _prediction(problem, "loops", by_columns, _jit(predict), 1)


def _blas(problem: Problem, by_columns: bool) -> Variant:
    forward = _forward(problem, by_columns)
    return _prediction(problem, "BLAS", by_columns, forward, problem.cell.batch)


def _prediction(
    problem: Problem, kind: str, by_columns: bool, predict: Kernel, rows: int
) -> Variant:
    """Return the variant of a function that works on so many rows at a time."""
    cell = problem.cell
    names = {
        "predict": predict,
        "p": _flat(problem, by_columns),
        "x": problem.x,
        "out": np.empty((cell.batch, cell.sizes[-1]), problem.dtype),
        "work": np.empty((cell.depth, rows * max(cell.sizes)), problem.dtype),
    }
    name = f"{kind} along {'columns' if by_columns else 'rows'}"
    expression = "predict(p, x, out, work)"
    return Variant(name, expression, lambda: names, lambda _, own: [own["out"]])


def _stochastic_epoch(problem: Problem) -> Kernel:
    """Return an epoch of single samples: one pass over a row of W serves (W)ᵀδ and the update.

    All in one function: with one for each direction, a step of 5-7-3 takes a tenth longer.
    """
    cell = problem.cell
    sizes, depth = cell.sizes, cell.depth
    product = _row_product(by_columns=False)
    hidden, output = _activations(problem)
    hidden_slope, output_slope = _slopes(problem)
    rate = problem.dtype.type(cell.learning_rate)
    scale = problem.dtype.type(1 / sizes[-1] if cell.loss == "half_mse" else 1)

    def epoch(p: Any, x: Any, y: Any, a: Any, d: Any) -> None:
        for i in range(x.shape[0]):
            at = 0
            for layer in range(depth):
                n_in, n_out = sizes[layer], sizes[layer + 1]
                b = at + n_in * n_out
                before = x[i] if layer == 0 else a[layer - 1, :n_in]
                z = a[layer, :n_out]
                product(p[at:b], before, z)
                if layer == depth - 1:
                    output(z, p[b : b + n_out])
                else:
                    hidden(z, p[b : b + n_out])
                at = b + n_out
            for layer in range(depth - 1, -1, -1):
                n_in, n_out = sizes[layer], sizes[layer + 1]
                delta = d[layer, :n_out]
                if layer == depth - 1:
                    for j in range(n_out):
                        delta[j] = (a[layer, j] - y[i, j]) * scale
                    output_slope(delta, a[layer, :n_out])
                else:
                    hidden_slope(delta, a[layer, :n_out])
                b = at - n_out
                at = b - n_in * n_out
                before = x[i] if layer == 0 else a[layer - 1, :n_in]
                if layer > 0:
                    below = d[layer - 1, :n_in]
                    below[:] = 0
                    for j in range(n_out):
                        w, step = p[at + j * n_in : at + (j + 1) * n_in], rate * delta[j]
                        for k in range(n_in):
                            below[k] += w[k] * delta[j]
                            w[k] -= step * before[k]
                else:
                    for j in range(n_out):
                        w, step = p[at + j * n_in : at + (j + 1) * n_in], rate * delta[j]
                        for k in range(n_in):
                            w[k] -= step * before[k]
                for j in range(n_out):
                    p[b + j] -= rate * delta[j]

    return _jit(epoch)


def _loops_training(problem: Problem) -> Variant:
    a, d = np.empty((2, problem.cell.depth, max(problem.cell.sizes)), problem.dtype)
    p = _flat(problem, by_columns=False)
    names = {
        "epoch": _stochastic_epoch(problem),
        "p": p,
        "x": problem.x,
        "y": problem.y,
        "a": a,
        "d": d,
    }
    return Variant(
        "loops",
        "epoch(p, x, y, a, d)",
        lambda: names,
        lambda *_: _parameters(problem, p, by_columns=False),
    )


def _blas_training(problem: Problem) -> Variant:
    """Batches: products by BLAS, all else in loops, one pass for the update of all layers."""
    cell = problem.cell
    depth, batch, n_last = cell.depth, cell.batch, cell.sizes[-1]
    forward = _forward(problem, by_columns=True)
    differentiate = _differentiate(problem)
    update = _adam(problem) if cell.kind == "training-adam" else _descent(problem)

    def epoch(p: Any, x: Any, y: Any, g: Any, work: Any, state: Any, count: Any) -> None:
        for start in range(0, x.shape[0], batch):
            rows, targets = x[start : start + batch], y[start : start + batch]
            out = work[0, depth - 1, : batch * n_last].reshape(batch, n_last)
            forward(p, rows, out, work[0])
            differentiate(p, rows, targets, g, work)
            update(p, g, state, count)

    p = _flat(problem, by_columns=True)
    names = {
        "epoch": _jit(epoch),
        "p": p,
        "x": problem.x,
        "y": problem.y,
        "g": np.empty_like(p),
        "work": np.empty((2, depth, batch * max(cell.sizes[1:])), problem.dtype),
        "state": np.zeros((2, p.size if cell.kind == "training-adam" else 0), problem.dtype),
        "count": np.zeros(1),
    }
    return Variant(
        "BLAS",
        "epoch(p, x, y, g, work, state, count)",
        lambda: names,
        lambda *_: _parameters(problem, p, by_columns=True),
    )


def _differentiate(problem: Problem) -> Kernel:
    """Return the backward pass of a batch, whose a^1, a^2, … are in ``work[0]``; it sets g."""
    cell = problem.cell
    sizes, depth, batch = cell.sizes, cell.depth, cell.batch
    hidden_slope, output_slope = _slopes(problem)
    outputs = sizes[-1] if cell.loss == "half_mse" else 1
    scale = problem.dtype.type(1 / (batch * outputs))
    end = sum(p.size for p in problem.parameters)

    def differentiate(p: Any, x: Any, y: Any, g: Any, work: Any) -> None:
        at = end
        for layer in range(depth - 1, -1, -1):
            n_in, n_out = sizes[layer], sizes[layer + 1]
            b = at - n_out
            at = b - n_in * n_out
            a = work[0, layer, : batch * n_out].reshape(batch, n_out)
            delta = work[1, layer, : batch * n_out].reshape(batch, n_out)
            db = g[b : b + n_out]
            db[:] = 0
            for i in range(batch):
                if layer == depth - 1:
                    for j in range(n_out):
                        delta[i, j] = (a[i, j] - y[i, j]) * scale
                    output_slope(delta[i], a[i])
                else:
                    hidden_slope(delta[i], a[i])
                for j in range(n_out):
                    db[j] += delta[i, j]
            dw = g[at:b].reshape(n_in, n_out)
            if layer > 0:
                before = work[0, layer - 1, : batch * n_in].reshape(batch, n_in)
                below = work[1, layer - 1, : batch * n_in].reshape(batch, n_in)
                np.dot(before.T, delta, dw)
                np.dot(delta, p[at:b].reshape(n_in, n_out).T, below)
            else:
                np.dot(x.T, delta, dw)

    return _jit(differentiate)


def _descent(problem: Problem) -> Kernel:
    rate = problem.dtype.type(problem.cell.learning_rate)

    def descend(p: Any, g: Any, state: Any, count: Any) -> None:
        for i in range(p.size):
            p[i] -= rate * g[i]

    return _jit(descend)


def _adam(problem: Problem) -> Kernel:
    real = problem.dtype.type
    rate, eps = problem.cell.learning_rate, real(1e-8)
    keep_m, new_m, keep_v, new_v = real(0.9), real(0.1), real(0.999), real(0.001)

    def adam(p: Any, g: Any, state: Any, count: Any) -> None:
        count[0] += 1
        m, v = state[0], state[1]
        step = real(rate / (1 - 0.9 ** count[0]))
        correction = real(1 / np.sqrt(1 - 0.999 ** count[0]))
        for i in range(p.size):
            m[i] = keep_m * m[i] + new_m * g[i]
            v[i] = keep_v * v[i] + new_v * g[i] * g[i]
            p[i] -= step * m[i] / (np.sqrt(v[i]) * correction + eps)

    return _jit(adam)
