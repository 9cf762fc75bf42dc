"""Keras: ``fit`` of a Sequential, on the backend that KERAS_BACKEND names or one that is there."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..packages import missing
from . import Learner, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem

BACKENDS = ("jax", "tensorflow", "torch")


def start(threads: int) -> None:
    """Choose a backend, where there is one, and give it so many threads."""
    backends = _installed()
    backend = os.environ.setdefault("KERAS_BACKEND", backends[0]) if backends else None
    if backend == "jax":
        import_module("jax").config.update("jax_platforms", "cpu")
    elif backend == "torch":
        import_module("torch").set_num_threads(threads)
    elif backend == "tensorflow":
        threading = import_module("tensorflow").config.threading
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)


def _installed() -> list[str]:
    absent = missing(BACKENDS)
    return [name for name in BACKENDS if name not in absent]


def accuracy(problem: Problem) -> list[Learner]:
    """Compile the step, as Keras does where its backend can."""
    if not _installed():
        raise UnsupportedError(f"needs one of {', '.join(BACKENDS)}")
    return [_Sequential(problem)]


class _Sequential:
    def __init__(self, problem: Problem) -> None:
        self.problem, self.keras = problem, import_module("keras")
        self.name = f"on {self.keras.backend.backend()}"
        layers, cell = self.keras.layers, problem.cell
        sizes, last = cell.sizes[1:], cell.depth - 1
        self.model = self.keras.Sequential(
            [layers.Input((cell.sizes[0],))]
            + [
                layers.Dense(n, activation=None if layer == last else problem.activation(layer))
                for layer, n in enumerate(sizes)
            ]
        )
        self.reset()

    def reset(self) -> None:
        self.model.set_weights([p.T for p in self.problem.parameters])
        if not hasattr(self.model, "optimizer") or self.model.optimizer is None:
            self._compile()
        for variable in self.model.optimizer.variables:
            if variable.path.split("/")[-1] != "learning_rate":
                variable.assign(np.zeros(variable.shape, variable.dtype))

    def _compile(self) -> None:
        keras = self.keras
        self.model.compile(
            # Its ε is added before the correction by √(1 - β₂ᵗ), which is near 0.1 at first.
            keras.optimizers.Adam(self.problem.cell.learning_rate, epsilon=1e-9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )

    def epoch(self, order: NDArray[Any]) -> None:
        x, y = self.problem.x[order], self.problem.labels[order]
        self.model.fit(x, y, batch_size=self.problem.cell.batch, shuffle=False, verbose=0)

    def labels(self, x: NDArray[Any]) -> Any:
        return self.model.predict(x, batch_size=1000, verbose=0).argmax(axis=1)

    def parameters(self) -> list[Any]:
        return [np.asarray(p).T for p in self.model.get_weights()]
