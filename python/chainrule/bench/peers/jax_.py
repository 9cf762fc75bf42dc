"""JAX: jitted functions of arrays that are on the device; an epoch is one ``lax.scan``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Variant

if TYPE_CHECKING:
    from ..problem import Problem

PACKAGES = ("jax",)


def start(threads: int) -> None:
    """Allow float64; the threads are those of the process's cores."""
    jax = import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # calls of microseconds gain


def variants(problem: Problem) -> list[Variant]:
    """Compile parameters in as constants, or pass them; unroll the scan, or do not."""
    jax = import_module("jax")
    forward = network(problem)
    parameters = [jax.device_put(p) for p in columns(problem)]
    if problem.cell.training:
        return [
            Variant(name, "epoch()", {"epoch": epoch}, own)
            for name, unroll in (("scan", 1), ("scan, unrolled", 4))
            for epoch in [_training(problem, unroll)]
        ]
    x = jax.device_put(problem.x)

    def as_constants(x: Any) -> Any:
        return forward(parameters, x)

    arguments = {"predict": jax.jit(forward), "p": parameters, "x": x}
    constants = {"predict": jax.jit(as_constants), "x": x}
    return [
        Variant("parameters passed", "predict(p, x).block_until_ready()", arguments, _outputs),
        Variant("constants", "predict(x).block_until_ready()", constants, _outputs),
    ]


def columns(problem: Problem) -> list[Any]:
    """Return (W^1)ᵀ, b^1, (W^2)ᵀ, …, so that a layer is x @ w + b."""
    return [np.ascontiguousarray(p.T) for p in problem.parameters]


def _outputs(a: Any) -> list[Any]:
    return [np.asarray(a)]


def own(parameters: list[Any]) -> list[Any]:
    """Return W^1, b^1, W^2, …."""
    return [np.asarray(p).T for p in parameters]


def network(problem: Problem, logits: bool = False) -> Callable[[Any, Any], Any]:
    """Return the function of parameters and inputs, with or without a last softmax."""
    jax = import_module("jax")
    nn = jax.nn
    functions = {"relu": nn.relu, "sigmoid": nn.sigmoid, "tanh": jax.numpy.tanh}
    if not logits:
        functions["softmax"] = nn.softmax
    chosen = [functions.get(problem.activation(layer)) for layer in range(problem.cell.depth)]

    def forward(parameters: list[Any], a: Any) -> Any:
        for w, b, activate in zip(parameters[::2], parameters[1::2], chosen, strict=True):
            a = a @ w + b
            if activate is not None:
                a = activate(a)
        return a

    return forward


def _training(problem: Problem, unroll: int) -> Callable[[], Any]:
    jax = import_module("jax")
    np_ = jax.numpy
    cell = problem.cell
    forward = network(problem, logits=True)
    classes = cell.loss == "cross_entropy"
    rate = cell.learning_rate

    def cost(parameters: list[Any], x: Any, y: Any) -> Any:
        a = forward(parameters, x)
        if classes:
            chosen = np_.take_along_axis(jax.nn.log_softmax(a), y[:, None], axis=1)
            return -np_.mean(chosen)
        return 0.5 * np_.mean((a - y) ** 2)

    gradient = jax.grad(cost)

    def descend(state: Any, batch: Any) -> Any:
        parameters, moments = state
        g = gradient(parameters, *batch)
        return ([p - rate * d for p, d in zip(parameters, g, strict=True)], moments), None

    def adam(state: Any, batch: Any) -> Any:
        parameters, (t, m, v) = state
        g = gradient(parameters, *batch)
        t = t + 1
        m = [0.9 * a + 0.1 * d for a, d in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * d * d for a, d in zip(v, g, strict=True)]
        step = (rate / (1 - 0.9**t)).astype(problem.dtype)
        root = np_.sqrt(1 - 0.999**t).astype(problem.dtype)
        updated = [
            p - step * a / (np_.sqrt(b) / root + 1e-8)
            for p, a, b in zip(parameters, m, v, strict=True)
        ]
        return (updated, (t, m, v)), None

    update = adam if cell.kind == "training-adam" else descend
    targets = problem.labels.astype(np.int32) if classes else problem.y
    shape = (cell.steps, cell.batch)
    x = jax.device_put(problem.x.reshape(*shape, -1))
    y = jax.device_put(targets.reshape(shape if classes else (*shape, -1)))

    def scan(state: Any, x: Any, y: Any) -> Any:
        return jax.lax.scan(update, state, (x, y), unroll=min(unroll, cell.steps))[0]

    compiled = jax.jit(scan, donate_argnums=0)
    parameters = [jax.device_put(p) for p in columns(problem)]
    moments: Any = ()
    if cell.kind == "training-adam":
        m, v = ([np_.zeros_like(p) for p in parameters] for _ in range(2))
        moments = (np_.zeros((), np.float64), m, v)
    state: Any = (parameters, moments)

    def epoch() -> Any:
        nonlocal state
        state = jax.block_until_ready(compiled(state, x, y))
        return state[0]

    return epoch
