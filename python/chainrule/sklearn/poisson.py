"""loss="poisson": a loss of our own.

The mean is μ = exp(z), of a network whose output is z. The cost of a sample is half the Poisson
deviance, summed over outputs, and its derivative is what makes it simple::

    C = Σ_j y_j log(y_j / μ_j) - y_j + μ_j,    ∂C/∂z_j = μ_j - y_j
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.gradients import Gradients
from chainrule.inputs.targets import Notice
from chainrule.training.callbacks import Callbacks
from chainrule.training.measures import Measures
from chainrule.training.regularization import Regularization
from chainrule.training.run import Run
from chainrule.training.sources import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from chainrule._core import Network
    from chainrule.inputs.arrays import Batch, Samples
    from chainrule.optimizers import Optimizer
    from chainrule.sklearn.data import Batches


def mean(z: NDArray[Any]) -> NDArray[Any]:
    """Return exp(z), the same bits on every machine."""
    return _core.elementary("exp", z)


def gradients(
    network: Network, x: Samples, y: NDArray[Any], weight: NDArray[np.float64] | None
) -> Gradients:
    """Return the mean cost of a batch and its derivatives, as ``Network.gradients`` does."""
    z, tape = _core.record(network, x, False)
    y = y.reshape(z.shape).astype(np.float64)
    w = np.ones((len(y), 1)) if weight is None else weight[:, None]
    share = w / (w.cumsum()[-1] or 1.0)  # without weight the gradient is 0
    with np.errstate(all="ignore"):  # an overflow ends training
        mu = mean(z).astype(np.float64)
        deviance = y * _core.elementary("log", np.where(y > 0, y, 1.0)) - y * z - y + mu
        cost = float((share * deviance).cumsum()[-1])
        weights, biases, _ = tape.pullback((share * (mu - y)).astype(z.dtype))
    return Gradients(cost, weights, biases)


class Deviances(Stream):
    """Batches that are trained on by this loss, not the network's."""

    def _step(
        self, batch: Batch, state: _core.OptimizerState, rate: float, position: _core.Position
    ) -> tuple[float, int]:
        network, (x, y, w) = self.network, batch
        derived = gradients(network, x, y, w)
        cost = float(derived.cost or 0.0)
        weight = float(len(y) if w is None else w.cumsum()[-1])
        _core.update(
            network, derived.weights, derived.biases, state, rate, position, len(x), cost, weight
        )
        if math.isfinite(cost):
            return cost, 0
        return cost, _core.nonfinite_layer(network) or len(network.weights)


def fit(
    network: Network,
    batches: Batches,
    *,
    epochs: int,
    optimizer: Optimizer,
    callbacks: Iterable[object],
) -> None:
    """Train as ``Network.fit`` does."""
    plain = Regularization(0.0, ())
    source = Deviances(network, batches, epochs, None, plain, None, Notice())
    measures = Measures(network, None, None, ())
    run = Run(network, source, optimizer, epochs, measures, None, Callbacks(callbacks))
    _core.fit_alone(network, run.train)
