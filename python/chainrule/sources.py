"""Where the batches of an epoch come from.

Arrays that the core reads where they lie train in one call of the core. Arrays that it cannot
read, and streams, go through ``step`` batch by batch, with the same order and the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sized
from itertools import count, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from chainrule import _core
from chainrule.arrays import apart, as_batch, check, is_native, native

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from chainrule.network import Network
    from chainrule.optimizers import Optimizer
    from chainrule.regularization import Regularization

    Batch = tuple[NDArray[Any], NDArray[Any], NDArray[np.float64] | None]
    Poll = Callable[[int], object] | None


class Outcome(NamedTuple):
    """An epoch: cost, steps done, the layer that left the finite numbers or 0, the last rate."""

    cost: float
    steps: int
    bad_layer: int
    learning_rate: float


class Arrays:
    """An epoch over arrays in memory."""

    def __init__(
        self,
        network: Network,
        data: Batch,
        batch_size: int | None,
        shuffle: bool,
        regularization: Regularization,
        threads: int | None,
    ) -> None:
        check(network, *data)
        self.network = network
        x, y, w = data
        self.data = apart(network, x), apart(network, y), None if w is None else apart(network, w)
        self.n = len(data[0])
        self.batch_size = self.n if batch_size is None else min(batch_size, self.n)
        self.shuffle = shuffle and batch_size is not None
        self.batches = math.ceil(self.n / self.batch_size)
        self.regularization = regularization
        self.threads = threads

    def train(self, optimizer: Optimizer, poll: Poll) -> Outcome:
        """Train one epoch; its order of samples follows from (seed, epoch, n)."""
        network, (x, y, w) = self.network, self.data
        state, rates = optimizer.bind(network), optimizer.rates(self.batches)
        seed = (network.seed, network.epoch) if self.shuffle else None
        if is_native(x) and is_native(y):
            result = network._train_epoch(
                x,
                y,
                w,
                self.batch_size,
                seed,
                state,
                rates,
                self.threads,
                poll,
                **self.regularization.options(network, 0),
            )
            return Outcome(*result, float(rates[-1]))
        order = np.arange(self.n) if seed is None else _core.permutation(*seed, self.n)
        schedule = repeat(float(rates[0])) if len(rates) == 1 else iter(rates.tolist())
        return train_steps(
            network,
            self._cut(order),
            optimizer,
            schedule,
            self.regularization,
            self.threads,
            poll,
        )

    def _cut(self, order: NDArray[np.int64]) -> Iterator[Batch]:
        (x, y, w), dtype = self.data, self.network.dtype
        for start in range(0, self.n, self.batch_size):
            rows = order[start : start + self.batch_size]
            yield native(x[rows], dtype), native(y[rows], dtype), None if w is None else w[rows]


class Stream:
    """An epoch over an iterable of (x, y) or (x, y, sample_weight) batches."""

    def __init__(
        self,
        network: Network,
        batches: object,
        epochs: int,
        regularization: Regularization,
        threads: int | None,
    ) -> None:
        if isinstance(batches, np.ndarray) or not isinstance(batches, Iterable):
            raise TypeError(
                "without Y, X must be an iterable of (x, y) or (x, y, sample_weight) batches, "
                f"got {type(batches).__name__}"
            )
        if epochs > 1 and isinstance(batches, Iterator):
            raise ValueError(
                f"X is a one-shot iterator, which cannot be run through {epochs} times: pass an "
                "object that makes a new iterator each time, or epochs=1"
            )
        self.network = network
        self.source = batches
        self.batches = len(batches) if isinstance(batches, Sized) else None
        self.regularization = regularization
        self.threads = threads

    def train(self, optimizer: Optimizer, poll: Poll) -> Outcome:
        """Train one epoch, in the order in which the batches come."""
        schedule = (optimizer.rate_at(optimizer.step) for _ in count())
        return train_steps(
            self.network,
            self._checked(),
            optimizer,
            schedule,
            self.regularization,
            self.threads,
            poll,
        )

    def _checked(self) -> Iterator[Batch]:
        for number, batch in enumerate(self.source, start=1):
            try:
                x, y, w = as_batch(*_parts(batch))
                x, y = native(x, self.network.dtype), native(y, self.network.dtype)
                self.network._check_data(x, y, w)
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"batch {number} (counted from 1): {error}") from error
            yield x, y, w


def _parts(batch: object) -> tuple[ArrayLike, ArrayLike, ArrayLike | None]:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        raise ValueError(f"expected (x, y) or (x, y, sample_weight), got {type(batch).__name__}")
    return cast("tuple[ArrayLike, ArrayLike, ArrayLike | None]", (*batch, None)[:3])


def train_steps(
    network: Network,
    batches: Iterable[Batch],
    optimizer: Optimizer,
    schedule: Iterable[float],
    regularization: Regularization,
    threads: int | None,
    poll: Poll,
) -> Outcome:
    """Train on one batch after the other, as ``train_epoch`` of the core does."""
    state = optimizer.bind(network)
    total = weight = learning_rate = 0.0
    steps = samples = 0
    for (x, y, w), learning_rate in zip(batches, schedule, strict=False):
        if w is None or w.any():
            cost, bad_layer = network._step(
                x,
                y,
                w,
                state,
                learning_rate,
                threads,
                **regularization.options(network, samples),
            )
        else:
            # No sample has weight: the gradient is 0, but momentum and decay go on.
            dw, db = ([np.zeros_like(p) for p in ps] for ps in (network.weights, network.biases))
            network._update(dw, db, state, learning_rate)
            cost, bad_layer = 0.0, 0
        steps += 1
        samples += len(x)
        if bad_layer:
            return Outcome(cost, steps, bad_layer, learning_rate)
        # Summed in order, as the core does, so that the bits of the mean are the same.
        amount = len(x) if w is None else float(w.cumsum()[-1])
        total += amount * cost
        weight += amount
        if poll is not None:
            poll(steps)
    if not steps:
        raise ValueError("X yielded no batches")
    return Outcome(total / weight, steps, 0, learning_rate)
