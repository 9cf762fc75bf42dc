"""Samples for the network, dense or sparse."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule import _core
from chainrule.inputs.arrays import weight_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from chainrule.network import Network


class Samples(NamedTuple):
    """Inputs, dense or sparse, with the network's targets and weights."""

    x: Any
    y: NDArray[Any]
    weight: NDArray[np.float64] | None = None


class Task(NamedTuple):
    """What a solver is to do, beside the estimator's parameters.

    Attributes
    ----------
    samples, validation : Samples
        With the network's targets; those set aside for early stopping with what `score` takes.
    scale, shown : float
        By how much scikit-learn's gradient, and the loss it reports, exceed the network's.
    regularization : dict
        What smooths the targets, as arguments of the network's methods.
    score : callable
        From outputs and validation data to the score that early stopping looks at.
    """

    samples: Samples
    validation: Samples | None
    scale: float
    shown: float
    regularization: dict[str, Any]
    score: Callable[[NDArray[Any], Samples], float]


def predict(network: Network, X: Any, threads: int | None) -> NDArray[Any]:
    """Return the network's outputs, shape (n, n_L)."""
    return network.predict(X, threads=threads or thread_limit())


class Batches:
    """Batches of an epoch, in the order in which ``Network.fit`` draws them from arrays."""

    def __init__(self, network: Network, samples: Samples, batch_size: int, shuffle: bool) -> None:
        self.network = network
        self.samples = samples
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self) -> int:
        return -(-len(self.samples.y) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, NDArray[Any], NDArray[np.float64] | None]]:
        x, y, weight = self.samples
        n = len(y)
        order = np.arange(n)
        if self.shuffle:
            order = _core.permutation(self.network.seed, self.network.epoch, n)
        for start in range(0, n, self.batch_size):
            rows = order[start : start + self.batch_size]
            yield x[rows], y[rows], None if weight is None else weight[rows]


def checked_weights(sample_weight: Any, n: int) -> NDArray[np.float64] | None:
    """Return sample weights of shape (n,); one number stands for n of them."""
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight)
    if not weight.ndim:
        weight = np.full(n, weight)
    if not weight.any():
        raise ValueError("sample_weight is zero for every sample: at least one must be above 0")
    return weight_array(weight, n)


def thread_limit() -> int | None:
    """Return the threads that OMP_NUM_THREADS leaves, which joblib sets in its workers."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(text), _core.get_num_threads()) if text.isdigit() and int(text) else None


def weighted_mean(values: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
    """Return Σ wᵢ vᵢ / Σ wᵢ, added in order: the same bits on every machine."""
    if weight is None:
        return float(values.cumsum()[-1]) / len(values)
    return float((values * weight).cumsum()[-1] / weight.cumsum()[-1])


def r2(outputs: NDArray[Any], y: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
    """Return the mean over outputs of 1 - Σ wᵢ (yᵢ - aᵢ)² / Σ wᵢ (yᵢ - ȳ)².

    Of an output whose target does not vary it is 1 if all is exact, else 0.
    """
    y = y.reshape(outputs.shape).astype(np.float64)
    w = np.ones((len(y), 1)) if weight is None else weight[:, None]
    mean = (w * y).cumsum(axis=0)[-1] / w.cumsum()[-1]
    squared = (w * (y - outputs) ** 2).cumsum(axis=0)[-1]
    spread = (w * (y - mean) ** 2).cumsum(axis=0)[-1]
    exact = np.where(squared == 0, 1.0, 0.0)
    share = np.divide(squared, spread, where=spread != 0, out=np.zeros_like(spread))
    each = np.where(spread != 0, 1 - share, exact)
    return float(each.cumsum()[-1] / len(each))
