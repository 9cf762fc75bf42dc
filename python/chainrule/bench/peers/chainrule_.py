"""chainrule itself."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Learner, Names, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..cells import Cell
    from ..problem import Problem


def start(threads: int) -> None:
    """Use so many threads."""
    import_module("chainrule").set_num_threads(threads)


def inference(problem: Problem) -> list[Variant]:
    """Call ``predict`` of the network or of its frozen copy, into an array or without one."""
    net = network(problem)

    def without_out() -> Names:
        return {"predict": net.predict, "x": problem.x}

    return [
        _into_out("network", net, problem.x),
        _into_out("frozen", net.freeze(), problem.x),
        Variant("without out", "predict(x)", without_out, lambda a, _: [a]),
    ]


def latency(folder: str, x: NDArray[Any]) -> list[Variant]:
    """Predict one sample into an array, with a frozen network."""
    predictor = import_module("chainrule").Network.load(f"{folder}/model.safetensors").freeze()
    return [_into_out("predict into out", predictor, x[0])]


def _into_out(name: str, predictor: Any, x: NDArray[Any]) -> Variant:
    def names() -> Names:
        out = np.empty((*x.shape[:-1], predictor.sizes[-1]), predictor.dtype)
        return {"predict": predictor.predict, "x": x, "out": out}

    return Variant(name, "predict(x, out)", names, lambda a, _: [np.atleast_2d(a)])


def training(problem: Problem) -> list[Variant]:
    """Train with ``fit``, in the order of the samples."""
    cell, cr, net = problem.cell, import_module("chainrule"), network(problem)
    rule = cr.Adam if cell.kind == "training-adam" else cr.SGD
    y = problem.labels if cell.loss == "cross_entropy" else problem.y
    names = {"net": net, "x": problem.x, "y": y, "rule": rule(cell.learning_rate)}
    expression = f"net.fit(x, y, batch_size={cell.batch}, optimizer=rule, shuffle=False)"
    return [Variant("fit", expression, lambda: names, lambda *_: _parameters(net))]


def accuracy(problem: Problem) -> list[Learner]:
    """Train with ``fit``, which draws the order of the samples itself."""
    return [_Fit(problem)]


class _Fit:
    name = "fit"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.reset()

    def reset(self) -> None:
        self.network = network(self.problem)
        self.adam = import_module("chainrule").Adam(self.problem.cell.learning_rate)

    def epoch(self, order: NDArray[Any]) -> None:
        # Its own order is the one given: a check before the rounds would find another one.
        problem = self.problem
        self.network.fit(
            problem.x, problem.labels, batch_size=problem.cell.batch, optimizer=self.adam
        )

    def labels(self, x: NDArray[Any]) -> Any:
        return self.network.predict(x).argmax(axis=1)

    def parameters(self) -> list[Any]:
        return _parameters(self.network)


def search() -> type:
    """Return chainrule's MLPClassifier."""
    classifier: type = import_module("chainrule.sklearn").MLPClassifier
    return classifier


def network(problem: Problem) -> Any:
    """Return a Network with the problem's weights, whose seed is 0."""
    cell = problem.cell
    activations = [problem.activation(layer) for layer in range(cell.depth)]
    net = import_module("chainrule").Network(
        cell.sizes, activations, cell.loss, dtype=cell.dtype, seed=0
    )
    for views, values in ((net.weights, problem.weights), (net.biases, problem.biases)):
        for view, value in zip(views, values, strict=True):
            view[...] = value
    return net


def _parameters(net: Any) -> list[Any]:
    return [p for pair in zip(net.weights, net.biases, strict=True) for p in pair]


def peak_seconds(cell: Cell) -> float:
    """Return the least time of a step: its operations, or its bytes, at the rates of this moment.

    Threads are taken to reach as much each as one does alone.
    """
    core = import_module("chainrule._core")
    seconds = max(
        cell.flops / core.fma_rate(cell.dtype),
        cell.bytes_read / core.read_rate(cell.parameter_bytes),
    )
    return float(seconds) / cell.threads
