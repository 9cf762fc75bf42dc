"""JAX with Optax: an epoch is one compiled call with a ``lax.scan``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..peers.jax_ import columns, network, own, start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem
    from . import Learner

__all__ = ["PACKAGES", "learners", "start"]

PACKAGES = ("jax", "optax")


def learners(problem: Problem) -> list[Learner]:
    """Gather samples batch by batch, or all of an epoch before it."""
    return [_Scan("gathers batches", problem, False), _Scan("gathers epochs", problem, True)]


class _Scan:
    def __init__(self, name: str, problem: Problem, at_once: bool) -> None:
        self.name, self.problem, self.jax = name, problem, import_module("jax")
        self.x = self.jax.device_put(problem.x)
        self.y = self.jax.device_put(problem.labels.astype(np.int32))
        self.adam = import_module("optax").adam(problem.cell.learning_rate)
        predict = network(problem, logits=True)
        update = _update(predict, self.adam)
        self.run = self.jax.jit(_epoch(problem, update, at_once), donate_argnums=0)
        self.predict = self.jax.jit(lambda p, x: predict(p, x).argmax(axis=1))
        self.reset()

    def reset(self) -> None:
        parameters = [self.jax.device_put(p) for p in columns(self.problem)]
        self.state = parameters, self.adam.init(parameters)

    def epoch(self, order: NDArray[Any]) -> None:
        rows = order.astype(np.int32)
        self.state = self.jax.block_until_ready(self.run(self.state, self.x, self.y, rows))

    def labels(self, x: NDArray[Any]) -> Any:
        return np.asarray(self.predict(self.state[0], x))

    def parameters(self) -> list[Any]:
        return own(self.state[0])


def _update(predict: Callable[[Any, Any], Any], adam: Any) -> Callable[[Any, Any, Any], Any]:
    """Return the step with one batch."""
    jax, optax = import_module("jax"), import_module("optax")

    def cost(parameters: Any, x: Any, y: Any) -> Any:
        costs = optax.softmax_cross_entropy_with_integer_labels(predict(parameters, x), y)
        return costs.mean()

    def update(state: Any, x: Any, y: Any) -> Any:
        parameters, moments = state
        gradients = jax.grad(cost)(parameters, x, y)
        steps, moments = adam.update(gradients, moments)
        return optax.apply_updates(parameters, steps), moments

    return update


def _epoch(
    problem: Problem, update: Callable[[Any, Any, Any], Any], at_once: bool
) -> Callable[[Any, Any, Any, Any], Any]:
    """Return the function of an epoch: the whole batches, then what is left."""
    scan = import_module("jax").lax.scan
    cell = problem.cell
    whole = cell.steps * cell.batch

    def epoch(state: Any, x: Any, y: Any, order: Any) -> Any:
        rows = order[:whole].reshape(cell.steps, cell.batch)
        if at_once:
            state, _ = scan(lambda s, batch: (update(s, *batch), None), state, (x[rows], y[rows]))
        else:
            state, _ = scan(lambda s, batch: (update(s, x[batch], y[batch]), None), state, rows)
        if whole < cell.samples:
            state = update(state, x[order[whole:]], y[order[whole:]])
        return state

    return epoch
