"""loss="poisson": a loss of our own, by ``Network.vjp``.

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
from chainrule.training.divergence import DivergenceError
from chainrule.training.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from chainrule.network import Network
    from chainrule.optimizers import Optimizer
    from chainrule.sklearn.data import Batches


def mean(z: NDArray[Any]) -> NDArray[Any]:
    """Return exp(z), the same bits on every machine."""
    return _core.elementary("exp", z)


def gradients(
    network: Network, x: NDArray[Any], y: NDArray[Any], weight: NDArray[np.float64] | None
) -> Gradients:
    """Return the mean cost of a batch and its derivatives, as ``Network.gradients`` does."""
    z, pullback = network.vjp(x)
    y = y.reshape(z.shape).astype(np.float64)
    w = np.ones((len(y), 1)) if weight is None else weight[:, None]
    share = w / (w.cumsum()[-1] or 1.0)  # without weight the gradient is 0
    with np.errstate(all="ignore"):  # an overflow ends training, below
        mu = mean(z).astype(np.float64)
        deviance = y * _core.elementary("log", np.where(y > 0, y, 1.0)) - y * z - y + mu
        cost = float((share * deviance).cumsum()[-1])
        derived, _ = pullback((share * (mu - y)).astype(z.dtype))
    return Gradients(cost, derived.weights, derived.biases)


def fit(
    network: Network,
    batches: Batches,
    *,
    epochs: int,
    optimizer: Optimizer,
    callbacks: Iterable[Callable[[Network, History], bool | None]],
) -> None:
    """Train for some epochs, as ``Network.fit`` does."""
    history = History()
    for _ in range(epochs):
        parameters, state = network.get_parameters(), optimizer.state_dict()
        cost = total = 0.0
        steps = 0
        for x, y, weight in batches:
            derived = gradients(network, x, y, weight)
            network.apply(derived, optimizer)
            amount = float(len(y) if weight is None else weight.cumsum()[-1])
            cost += amount * float(derived.cost or 0.0)
            total += amount
            steps += 1
        layer = _core.nonfinite_layer(network)
        if layer or not math.isfinite(cost):
            network.set_parameters(parameters)
            optimizer.load_state_dict(network, state)
            raise DivergenceError(network.epoch + 1, steps, layer or len(network.weights), history)
        _core.set_counters(network, network.seed, network.epoch + 1)
        history.epochs.append(network.epoch)
        history.cost.append(cost / total)
        optimizer.observe(cost / total)
        if any([callback(network, history) for callback in callbacks]):
            break
