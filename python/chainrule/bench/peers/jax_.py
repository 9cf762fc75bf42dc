"""JAX with Optax: jitted functions of arrays on the device; an epoch is one ``lax.scan``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Learner, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem

    #: Takes the state, parameters and moments, and a batch (x, y); returns the next state.
    Update = Callable[[Any, Any], Any]


def start(threads: int) -> None:
    """Allow float64; the threads are those of the process's cores."""
    jax = import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # calls of microseconds gain


def inference(problem: Problem) -> list[Variant]:
    """Compile parameters in as constants, or pass them."""
    jax = import_module("jax")
    forward = _network(problem)
    parameters = _parameters(problem)
    x = jax.device_put(problem.x)

    def as_constants(x: Any) -> Any:
        return forward(parameters, x)

    passed = {"predict": jax.jit(forward), "p": parameters, "x": x}
    constants = {"predict": jax.jit(as_constants), "x": x}
    return [
        Variant("parameters passed", "predict(p, x).block_until_ready()", lambda: passed, _outputs),
        Variant("constants", "predict(x).block_until_ready()", lambda: constants, _outputs),
    ]


def _outputs(a: Any, _: Any) -> list[Any]:
    return [np.asarray(a)]


def training(problem: Problem) -> list[Variant]:
    """Unroll the scan, or do not."""
    return [
        Variant(
            name,
            "epoch()",
            partial(dict, epoch=_training(problem, unroll)),
            lambda parameters, _: _transposed(parameters),
        )
        for name, unroll in (("scan", 1), ("scan, unrolled", 4))
    ]


def accuracy(problem: Problem) -> list[Learner]:
    """Gather samples batch by batch, or all of an epoch before it."""
    return [_Scan("gathers batches", problem, False), _Scan("gathers epochs", problem, True)]


def _parameters(problem: Problem) -> list[Any]:
    """Return (W^1)ᵀ, b^1, (W^2)ᵀ, … on the device, so that a layer is x @ w + b."""
    put = import_module("jax").device_put
    return [put(np.ascontiguousarray(p.T)) for p in problem.parameters]


def _transposed(parameters: list[Any]) -> list[Any]:
    """Return W^1, b^1, W^2, …."""
    return [np.asarray(p).T for p in parameters]


def _network(problem: Problem, logits: bool = False) -> Callable[[Any, Any], Any]:
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


def _optimizer(problem: Problem) -> Any:
    optax, cell = import_module("optax"), problem.cell
    return (optax.adam if cell.kind == "training-adam" else optax.sgd)(cell.learning_rate)


def _update(problem: Problem) -> Update:
    """Return the step with one batch."""
    jax, optax = import_module("jax"), import_module("optax")
    forward, optimizer = _network(problem, logits=True), _optimizer(problem)
    classes = problem.cell.loss == "cross_entropy"

    def cost(parameters: Any, x: Any, y: Any) -> Any:
        a = forward(parameters, x)
        if classes:
            return optax.softmax_cross_entropy_with_integer_labels(a, y).mean()
        return 0.5 * jax.numpy.mean((a - y) ** 2)

    def update(state: Any, batch: Any) -> Any:
        parameters, moments = state
        gradients = jax.grad(cost)(parameters, *batch)
        steps, moments = optimizer.update(gradients, moments)
        return optax.apply_updates(parameters, steps), moments

    return update


def _first_state(problem: Problem) -> Any:
    parameters = _parameters(problem)
    return parameters, _optimizer(problem).init(parameters)


def _training(problem: Problem, unroll: int) -> Callable[[], Any]:
    """Return an epoch over batches that are on the device."""
    jax, cell = import_module("jax"), problem.cell
    update, state = _update(problem), _first_state(problem)
    classes = cell.loss == "cross_entropy"
    targets = problem.labels.astype(np.int32) if classes else problem.y
    shape = (cell.steps, cell.batch)
    x = jax.device_put(problem.x.reshape(*shape, -1))
    y = jax.device_put(targets.reshape(shape if classes else (*shape, -1)))

    def scan(state: Any, x: Any, y: Any) -> Any:
        return jax.lax.scan(
            lambda state, batch: (update(state, batch), None),
            state,
            (x, y),
            unroll=min(unroll, cell.steps),
        )[0]

    compiled = jax.jit(scan, donate_argnums=0)

    def epoch() -> Any:
        nonlocal state
        state = jax.block_until_ready(compiled(state, x, y))
        return state[0]

    return epoch


class _Scan:
    def __init__(self, name: str, problem: Problem, at_once: bool) -> None:
        self.name, self.problem, self.jax = name, problem, import_module("jax")
        self.x = self.jax.device_put(problem.x)
        self.y = self.jax.device_put(problem.labels.astype(np.int32))
        self.run = self.jax.jit(_epoch(problem, at_once), donate_argnums=0)
        predict = _network(problem, logits=True)
        self.predict = self.jax.jit(lambda p, x: predict(p, x).argmax(axis=1))
        self.reset()

    def reset(self) -> None:
        self.state = _first_state(self.problem)

    def epoch(self, order: NDArray[Any]) -> None:
        rows = order.astype(np.int32)
        self.state = self.jax.block_until_ready(self.run(self.state, self.x, self.y, rows))

    def labels(self, x: NDArray[Any]) -> Any:
        return np.asarray(self.predict(self.state[0], x))

    def parameters(self) -> list[Any]:
        return _transposed(self.state[0])


def _epoch(problem: Problem, at_once: bool) -> Callable[[Any, Any, Any, Any], Any]:
    """Return the function of an epoch: the whole batches, then what is left."""
    scan, update = import_module("jax").lax.scan, _update(problem)
    cell = problem.cell
    whole = cell.steps * cell.batch

    def epoch(state: Any, x: Any, y: Any, order: Any) -> Any:
        rows = order[:whole].reshape(cell.steps, cell.batch)
        if at_once:
            state, _ = scan(lambda s, batch: (update(s, batch), None), state, (x[rows], y[rows]))
        else:
            state, _ = scan(lambda s, r: (update(s, (x[r], y[r])), None), state, rows)
        if whole < cell.samples:
            rest = order[whole:]
            state = update(state, (x[rest], y[rest]))
        return state

    return epoch
