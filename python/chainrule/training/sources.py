"""Where the batches of an epoch come from.

Arrays that the core reads where they lie train in one call of the core. Arrays that it cannot
read, streams, and training whose every batch is watched go through ``_core.step`` batch by batch,
with the same order and the same bits.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import count, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from chainrule import _core
from chainrule.inputs.arrays import apart, as_samples, check, is_native, native
from chainrule.inputs.sparse import is_sparse
from chainrule.training.class_weight import ClassWeight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from chainrule.inputs.arrays import Batch
    from chainrule.inputs.targets import Found, Notice
    from chainrule.optimizers import Optimizer
    from chainrule.training.fingerprint import BatchDigest
    from chainrule.training.regularization import Regularization

    Poll = Callable[[int], object] | None
    Watch = Callable[[int, float], bool] | None


class Outcome(NamedTuple):
    """How an epoch ended: the layer that left the finite numbers or 0, and the last rate."""

    bad_layer: int
    learning_rate: float
    ended: bool = False  # by who watches


class Source(ABC):
    """The batches of every epoch.

    Attributes
    ----------
    n, batches : int or None
        Samples and batches of an epoch, where they are known beforehand.
    class_weight : ClassWeight or None
    settings : dict
        What a resumed run must have in common, as it was given.
    """

    n: int | None
    batches: int | None
    class_weight: ClassWeight | None = None
    settings: Mapping[str, object] = {"batch_size": None, "shuffle": None}

    def __init__(
        self, network: _core.Network, regularization: Regularization, threads: int | None
    ) -> None:
        self.network = network
        self.regularization = regularization
        self.threads = threads

    @abstractmethod
    def train(
        self, optimizer: Optimizer, position: _core.Position, poll: Poll, watch: Watch
    ) -> Outcome:
        """Train an epoch from `position` on, which moves with every step.

        `poll` is called now and then with the steps done; an exception in it ends the epoch
        between two steps. `watch` is called after every step with the steps done and the batch's
        cost; True ends the epoch.
        """

    def _train_steps(
        self,
        batches: Iterable[Batch],
        optimizer: Optimizer,
        rates: Iterable[float],
        position: _core.Position,
        poll: Poll,
        watch: Watch,
    ) -> Outcome:
        """Train on one batch after the other, as ``_core.train_epoch`` does."""
        network, state = self.network, optimizer.bind(self.network)
        rate = optimizer.rate_at(optimizer.step - 1) if position.steps else 0.0
        for (x, y, w), rate in zip(batches, rates, strict=False):
            if w is None or w.any():
                cost, bad_layer = self._step((x, y, w), state, rate, position)
                if bad_layer:
                    return Outcome(bad_layer, rate)
            else:
                # No sample has weight: the gradient is 0, but momentum and decay go on.
                dw, db = ([np.zeros_like(p) for p in p_s] for p_s in _parameters(network))
                _core.update(network, dw, db, state, rate, position, len(x))
                cost = 0.0
            if watch is not None and watch(position.steps, cost):
                return Outcome(0, rate, ended=True)
            if poll is not None:
                poll(position.steps)
        return Outcome(0, rate)

    def _step(
        self, batch: Batch, state: _core.OptimizerState, rate: float, position: _core.Position
    ) -> tuple[float, int]:
        """Return the cost of a batch before its update, and a layer that is not finite, or 0."""
        regularization = self.regularization.arguments(self.network, position.samples)
        return _core.step(
            self.network, *batch, state, rate, self.threads, position, *regularization, warn=False
        )


class Arrays(Source):
    """An epoch over arrays in memory, or mapped into it."""

    n: int
    batches: int

    def __init__(
        self,
        network: _core.Network,
        data: Batch,
        batch_size: int | None,
        shuffle: bool,
        class_weight: object,
        regularization: Regularization,
        threads: int | None,
        notice: Notice,
    ) -> None:
        super().__init__(network, regularization, threads)
        found = check(network, *data)
        x, y, w = data
        if class_weight is not None:
            self.class_weight = ClassWeight(network, class_weight, y)
            w = self.class_weight.times(y, w)
            if not 0 < w.sum() < np.inf:
                raise ValueError(
                    "class_weight, times sample_weight, must have a finite sum above 0 over the "
                    f"samples, got {w.sum()}"
                )
        notice(found)
        self.data = apart(network, x), apart(network, y), None if w is None else apart(network, w)
        self.n = len(data[0])
        self.settings = {"batch_size": batch_size, "shuffle": shuffle}
        self.batch_size = self.n if batch_size is None else min(batch_size, self.n)
        self.shuffle = shuffle and batch_size is not None
        self.batches = math.ceil(self.n / self.batch_size)

    def train(
        self, optimizer: Optimizer, position: _core.Position, poll: Poll, watch: Watch
    ) -> Outcome:
        """Train an epoch; its order of samples follows from (seed, epoch, n)."""
        network, (x, y, w) = self.network, self.data
        if position.steps == self.batches:  # an epoch that was left while it was measured
            return Outcome(0, optimizer.rate_at(optimizer.step - 1))
        rates = optimizer.rates(self.batches - position.steps)
        seed = (network.seed, network.epoch) if self.shuffle else None
        if is_native(x) and is_native(y) and watch is None:
            state = optimizer.bind(network)
            _, _, bad_layer = _core.train_epoch(
                network,
                x,
                y,
                w,
                self.batch_size,
                seed,
                state,
                rates,
                self.threads,
                poll,
                position,
                *self.regularization.arguments(network, 0),
            )
            return Outcome(bad_layer, float(rates[-1]))
        schedule = repeat(float(rates[0])) if len(rates) == 1 else iter(rates.tolist())
        batches = self._cut(seed, position.steps * self.batch_size)
        return self._train_steps(batches, optimizer, schedule, position, poll, watch)

    def _cut(self, seed: tuple[int, int] | None, first: int) -> Iterator[Batch]:
        (x, y, w), dtype = self.data, self.network.dtype
        order = None if seed is None else _core.permutation(*seed, self.n)
        for start in range(first, self.n, self.batch_size):
            rows = slice(start, start + self.batch_size)
            index = rows if order is None else order[rows]
            yield native(x[index], dtype), native(y[index], dtype), None if w is None else w[index]


class Stream(Source):
    """An epoch over an iterable of (x, y) or (x, y, sample_weight) batches.

    Attributes
    ----------
    digest : BatchDigest or None
        Of the batches read in this epoch, if they are to be told from others: for checkpoints.
    """

    n = None
    digest: BatchDigest | None = None

    def __init__(
        self,
        network: _core.Network,
        batches: object,
        epochs: int,
        class_weight: object,
        regularization: Regularization,
        threads: int | None,
        notice: Notice,
    ) -> None:
        super().__init__(network, regularization, threads)
        if (
            isinstance(batches, np.ndarray)
            or is_sparse(batches)
            or not (isinstance(batches, Iterable) or callable(batches))
        ):
            raise TypeError(
                "without Y, X must be an iterable of (x, y) or (x, y, sample_weight) batches, or "
                f"a function that returns one, got {type(batches).__name__}"
            )
        if epochs > 1 and isinstance(batches, Iterator):
            raise ValueError(
                f"X is a one-shot iterator, which cannot be run through {epochs} times: pass a "
                "function that returns a new one, an object that does, or epochs=1"
            )
        self.source = batches
        if class_weight is not None:
            self.class_weight = ClassWeight(network, class_weight)
        self.batches = _length(batches)
        self.notice = notice
        self._rest: Iterator[object] | None = None  # of an epoch of which `skip` took the beginning

    def skip(self, steps: int, digest: str) -> None:
        """Take the first batches of an epoch, which `train` goes on with; ValueError if others.

        They are others unless their BatchDigest is `digest`.
        """
        assert self.digest is not None
        self.digest.begin()
        batches = self._new()
        for number in range(1, steps + 1):
            try:
                batch = next(batches)
            except StopIteration:
                raise ValueError(
                    f"X ended after {number - 1} batches, and the checkpoint is {steps} batches "
                    "into the epoch"
                ) from None
            self.digest.add(number, self._arrays(number, batch)[0])
        if self.digest.at(steps) != digest:
            raise ValueError(
                f"the first {steps} batches of X are not those that the checkpoint was trained on "
                "in this epoch. If X shuffles, let the order follow from the epoch, as that of "
                "np.random.default_rng(net.epoch) does"
            )
        self._rest = batches

    def train(
        self, optimizer: Optimizer, position: _core.Position, poll: Poll, watch: Watch
    ) -> Outcome:
        """Train an epoch, in the order in which the batches come."""
        rates = (optimizer.rate_at(optimizer.step) for _ in count())
        batches = self._checked(position.steps)
        if self.digest is not None and not position.steps:
            self.digest.begin()
        outcome = self._train_steps(batches, optimizer, rates, position, poll, watch)
        if not position.steps:
            raise ValueError("X yielded no batches")
        return outcome

    def _checked(self, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch after those that `skip` took, if it did."""
        rest, self._rest = self._rest, None
        batches = self._new() if rest is None else rest
        for number, batch in enumerate(batches, start=done + 1):
            (x, y, w), found = self._arrays(number, batch)
            if self.digest is not None:
                self.digest.add(number, (x, y, w))
            self.notice(found, _place(number))
            yield x, y, w if self.class_weight is None else self.class_weight.times(y, w)

    def _arrays(self, number: int, batch: object) -> tuple[Batch, Found | None]:
        """Return a batch, checked, and what is doubtful in it; errors name its number."""
        try:
            x, y, w = as_samples(*_parts(batch))
            x, y = native(x, self.network.dtype), native(y, self.network.dtype)
            found = _core.check_data(self.network, x, y, w)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{_place(number)}{error}") from error
        return (x, y, w), found

    def _new(self) -> Iterator[object]:
        """Return an iterator over an epoch's batches."""
        batches: object = self.source
        if not isinstance(batches, Iterable):
            batches = cast("Callable[[], object]", batches)()
            if not isinstance(batches, Iterable):
                raise TypeError(
                    "the function X must return an iterable of batches, "
                    f"got {type(batches).__name__}"
                )
        return iter(batches)


def _place(number: int) -> str:
    return f"batch {number} (counted from 1): "


def _length(batches: object) -> int | None:
    """Return the number of batches, where `batches` knows it."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # a generator, a function, or a loader that cannot tell
        return None


def _parts(batch: object) -> tuple[ArrayLike, ArrayLike, ArrayLike | None]:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        raise ValueError(f"expected (x, y) or (x, y, sample_weight), got {type(batch).__name__}")
    return cast("tuple[ArrayLike, ArrayLike, ArrayLike | None]", (*batch, None)[:3])


def _parameters(
    network: _core.Network,
) -> tuple[tuple[NDArray[Any], ...], tuple[NDArray[Any], ...]]:
    return network.weights, network.biases
