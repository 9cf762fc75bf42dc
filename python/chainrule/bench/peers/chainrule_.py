"""chainrule itself."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Variant

if TYPE_CHECKING:
    from ..cells import Cell
    from ..problem import Problem

PACKAGES = ("chainrule",)


def start(threads: int) -> None:
    """Use so many threads."""
    import_module("chainrule").set_num_threads(threads)


def variants(problem: Problem) -> list[Variant]:
    """Call ``predict`` of the network or of its frozen copy; train with ``fit``."""
    cell, net = problem.cell, network(problem)
    if cell.training:
        return [_fit(net, problem)]
    out = np.empty((cell.batch, cell.sizes[-1]), problem.dtype)
    names = {"x": problem.x, "out": out}
    own, frozen = net.predict, net.freeze().predict
    return [
        Variant("network", "predict(x, out)", names | {"predict": own}, _outputs),
        Variant("frozen", "predict(x, out)", names | {"predict": frozen}, _outputs),
        Variant("without out", "predict(x)", names | {"predict": own}, _outputs),
    ]


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


def _outputs(a: Any) -> list[Any]:
    return [a]


def _fit(net: Any, problem: Problem) -> Variant:
    cell, cr = problem.cell, import_module("chainrule")
    rule = cr.Adam if cell.kind == "training-adam" else cr.SGD
    y = problem.labels if cell.loss == "cross_entropy" else problem.y
    names = {"net": net, "x": problem.x, "y": y, "rule": rule(cell.learning_rate)}
    expression = f"net.fit(x, y, batch_size={cell.batch}, optimizer=rule, shuffle=False)"

    def parameters(_: Any) -> list[Any]:
        return [p for pair in zip(net.weights, net.biases, strict=True) for p in pair]

    return Variant("fit", expression, names, parameters)


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
