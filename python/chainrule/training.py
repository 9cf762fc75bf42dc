"""The epochs of ``Network.fit``: validation, early stopping, callbacks, divergence."""

from __future__ import annotations

import math
from operator import index
from time import perf_counter
from typing import TYPE_CHECKING, cast

from chainrule import _core
from chainrule.arrays import as_batch, check
from chainrule.errors import DivergenceError
from chainrule.history import History
from chainrule.optimizers import choose
from chainrule.progress import open_progress
from chainrule.regularization import Regularization
from chainrule.sources import Arrays, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike

    from chainrule.network import Network
    from chainrule.optimizers import LearningRate, Optimizer
    from chainrule.progress import Bar, Lines
    from chainrule.regularization import Rates
    from chainrule.sources import Batch

    Callback = Callable[[Network, History], bool | None]


class EarlyStopping:
    """When ``fit`` stops before its last epoch.

    The monitored cost is that of the validation data, or the training cost if there is none.

    Parameters
    ----------
    patience : int, default 5
        Stop after so many epochs in a row without improvement.
    min_delta : float, default 0
        An epoch improves on the best one if its cost is lower by more than this.
    restore_best : bool, default True
        At the end of ``fit``, stopped early or not, go back to the weights (and the optimiser's
        state) of the best epoch. The network's epoch counter stays.
    """

    def __init__(
        self, patience: int = 5, min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        self.patience = _count("patience", patience)
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise ValueError(f"min_delta must be finite and >= 0, got {min_delta}")
        self.min_delta = float(min_delta)
        self.restore_best = bool(restore_best)

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(patience={self.patience}, min_delta={self.min_delta}, "
            f"restore_best={self.restore_best})"
        )


def fit(
    network: Network,
    X: ArrayLike | Iterable[object],
    Y: ArrayLike | None,
    *,
    epochs: int,
    batch_size: int | None,
    learning_rate: LearningRate | None,
    optimizer: Optimizer | None,
    shuffle: bool,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    dropout: Rates,
    validation_data: Sequence[ArrayLike] | None,
    early_stopping: EarlyStopping | int | None,
    callbacks: Iterable[Callback],
    progress: bool,
    threads: int | None,
) -> History:
    """Check every argument, then train; see ``Network.fit``."""
    optimizer = choose(learning_rate, optimizer)
    epochs = _count("epochs", epochs, least=0)
    if batch_size is not None:
        batch_size = _count("batch_size", batch_size)
    if threads is not None and _count("threads", threads) > _core.MAX_THREADS:
        raise ValueError(f"threads must be at most {_core.MAX_THREADS}, got {threads}")
    callbacks = _callables(callbacks)
    rule = _stopping_rule(early_stopping)
    validation = _validation(network, validation_data)
    regularization = Regularization.checked(network, label_smoothing, dropout)
    source: Arrays | Stream
    if Y is not None:
        data = as_batch(cast("ArrayLike", X), Y, sample_weight)
        source = Arrays(network, data, batch_size, shuffle, regularization, threads)
    elif sample_weight is None:
        source = Stream(network, X, epochs, regularization, threads)
    else:
        raise ValueError("without Y, sample weights come with the batches: (x, y, sample_weight)")

    history = History()
    start = _core.Snapshot(network, optimizer.bind(network))
    monitor = _Monitor(rule, network, optimizer.bind(network)) if rule else None
    display = open_progress(epochs, source.batches) if progress else None
    try:
        for epoch in range(epochs):
            if epoch > 0:
                start.retake()
            steps = _train_epoch(network, source, optimizer, start, history, display)
            if validation is not None:
                history.add_validation(network.evaluate(*validation))
            stop = monitor is not None and monitor.stops(history)
            if display is not None:
                display.epoch(history, steps)
            # Every callback sees every epoch, also the one that another callback ends.
            if any([callback(network, history) for callback in callbacks]) or stop:
                break
    finally:
        if display is not None:
            display.close()
    if monitor is not None:
        monitor.finish()
    return history


def _train_epoch(
    network: Network,
    source: Arrays | Stream,
    optimizer: Optimizer,
    start: _core.Snapshot,
    history: History,
    display: Bar | Lines | None,
) -> int:
    """Train one epoch, enter it in the history and return its number of steps."""
    began = perf_counter()
    cost, steps, bad_layer, learning_rate = source.train(
        optimizer, display.poll if display else None
    )
    # The last update of an epoch may leave the finite numbers without a cost to show it.
    bad_layer = bad_layer or network._nonfinite_layer()
    if bad_layer:
        start.restore()
        raise DivergenceError(network.epoch + 1, steps, bad_layer, history)
    network._epoch += 1
    history.seconds.append(perf_counter() - began)
    history.epochs.append(network.epoch)
    history.cost.append(cost)
    history.learning_rate.append(learning_rate)
    return steps


class _Monitor:
    """Follows the monitored cost through one call of ``fit``."""

    def __init__(self, rule: EarlyStopping, network: Network, state: _core.OptimizerState) -> None:
        self.rule, self.network, self.state = rule, network, state
        self.best = math.inf
        self.waited = 0
        self.snapshot: _core.Snapshot | None = None

    def stops(self, history: History) -> bool:
        """Take note of the last epoch; return whether training has waited long enough."""
        cost = (history.validation_cost or history.cost)[-1]
        if cost < self.best - self.rule.min_delta:
            self.best, self.waited = cost, 0
            history.best_epoch = history.epochs[-1]
            if self.rule.restore_best and self.snapshot is not None:
                self.snapshot.retake()
            elif self.rule.restore_best:
                self.snapshot = _core.Snapshot(self.network, self.state)
        else:
            self.waited += 1
        return self.waited >= self.rule.patience

    def finish(self) -> None:
        """Go back to the best epoch, if that is wanted and there was one."""
        if self.snapshot is not None:
            self.snapshot.restore()


def _count(name: str, value: int, least: int = 1) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if index(value) < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return index(value)


def _callables(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    listed = tuple(callbacks) if hasattr(callbacks, "__iter__") else (None,)
    if not all(map(callable, listed)):
        raise TypeError("callbacks must be a sequence of functions (network, history)")
    return cast("tuple[Callback, ...]", listed)


def _stopping_rule(value: EarlyStopping | int | None) -> EarlyStopping | None:
    if value is None or isinstance(value, EarlyStopping):
        return value
    return EarlyStopping(_count("early_stopping", value))


def _validation(network: Network, data: Sequence[ArrayLike] | None) -> Batch | None:
    if data is None:
        return None
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise ValueError("validation_data must be (x, y) or (x, y, sample_weight)")
    try:
        batch = as_batch(data[0], data[1], data[2] if len(data) == 3 else None)
        check(network, *batch)
    except ValueError as error:
        raise ValueError(f"validation_data: {error}") from error
    return batch
