"""``Network.fit``: its arguments, and the course of a run."""

from __future__ import annotations

import os
from itertools import starmap
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from chainrule import _core
from chainrule.inputs.arrays import as_batch, check
from chainrule.inputs.numbers import count
from chainrule.metrics import resolve
from chainrule.optimizers import choose
from chainrule.training.callbacks import Callbacks
from chainrule.training.checkpoint import Checkpoint
from chainrule.training.divergence import DivergenceError
from chainrule.training.early_stopping import EarlyStopping, Monitor, Standing
from chainrule.training.history import History
from chainrule.training.progress import open_progress
from chainrule.training.regularization import Regularization
from chainrule.training.sources import Arrays, Stream
from chainrule.uninterrupted import at_once, setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from chainrule.metrics import Metric
    from chainrule.network import Network
    from chainrule.optimizers import LearningRate, Optimizer
    from chainrule.training.progress import Display
    from chainrule.training.regularization import Rates
    from chainrule.training.resume import Saver
    from chainrule.training.sources import Batch, Source


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
    class_weight: object,
    label_smoothing: float,
    dropout: Rates,
    validation_data: Sequence[ArrayLike] | None,
    validation_split: float,
    metrics: Iterable[Metric],
    early_stopping: EarlyStopping | int | None,
    callbacks: Iterable[object],
    checkpoint: Checkpoint | str | os.PathLike[str] | None,
    resume: bool,
    progress: bool,
    threads: int | None,
) -> History:
    """Check every argument, then train; see ``Network.fit``."""
    optimizer = choose(learning_rate, optimizer)
    optimizer.bind(network)
    epochs = count(epochs, "epochs", least=0)
    if batch_size is not None:
        batch_size = count(batch_size, "batch_size")
    if threads is not None and count(threads, "threads") > _core.MAX_THREADS:
        raise ValueError(f"threads must be at most {_core.MAX_THREADS}, got {threads}")
    called = Callbacks(callbacks)
    rule = _stopping_rule(early_stopping)
    metrics = _listed(metrics)
    names = list(resolve(network, metrics))
    validation = _validation(network, validation_data)
    regularization = Regularization.checked(network, label_smoothing, dropout)

    training: Batch | None = None
    source: Source
    if Y is not None:
        training = as_batch(cast("ArrayLike", X), Y, sample_weight)
        if validation_split:
            training, validation = _split(training, validation_split, validation)
        source = Arrays(
            network, training, batch_size, shuffle, class_weight, regularization, threads
        )
        if validation_split:
            check(network, *cast("Batch", validation))
    else:
        if sample_weight is not None:
            raise ValueError(
                "without Y, sample weights come with the batches: (x, y, sample_weight)"
            )
        if validation_split:
            raise ValueError("validation_split needs arrays: give a stream validation_data")
        if metrics and validation is None:
            raise ValueError("metrics of a stream need validation_data to be evaluated on")
        source = Stream(network, X, epochs, class_weight, regularization, threads)
    measures = Measures(network, training, validation, metrics)
    monitor = None
    if rule is not None:
        measures.check_name(rule.monitor, names)
        monitor = Monitor(rule, network, optimizer.bind(network))
    run = Run(network, source, optimizer, epochs, measures, monitor, called)
    if checkpoint is not None:
        # What a run must have in common with the one that it continues.
        settings = {
            "batch_size": batch_size if training is not None else None,
            "shuffle": shuffle if training is not None else None,
            "optimizer": optimizer._described(),
            "learning_rate": _described_rate(optimizer.learning_rate),
            "label_smoothing": float(regularization.label_smoothing),
            "dropout": list(regularization.rates),
            "class_weight": source.class_weight and str(source.class_weight),
            "metrics": names if metrics or validation is not None else [],
            "early_stopping": None if rule is None else repr(rule),
            "callbacks": called.kinds(),
        }
        _prepare_checkpoint(run, checkpoint, resume, settings)
    elif resume:
        raise ValueError("resume=True needs checkpoint=, the path of the run to be continued")
    network._history = run.history
    run.progress = progress
    run.train()
    return run.history


class At(NamedTuple):
    """Where a run is. It is replaced whole, so that no interruption can come between its parts."""

    epochs: int  # completed: their callbacks have returned
    position: _core.Position  # in the epoch after these
    seconds: float  # of that epoch, before a resumed run took it up
    ended: bool  # for good: by early stopping or a callback
    standing: Standing | None
    callbacks: list[Any]
    learning_rate: float | None  # None: a schedule
    schedule: dict[str, Any]  # what it has observed


class Measures:
    """What is measured after every epoch."""

    def __init__(
        self,
        network: Network,
        training: Batch | None,
        validation: Batch | None,
        metrics: Sequence[Metric],
    ) -> None:
        self.network, self.training, self.validation = network, training, validation
        self.metrics = metrics

    def after_epoch(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return metrics of the training data, and cost and metrics of the validation data."""
        evaluate = self.network.evaluate
        if self.validation is not None:
            return {}, evaluate(*self.validation, metrics=self.metrics)
        if not self.metrics:
            return {}, {}
        found = evaluate(*cast("Batch", self.training), metrics=self.metrics)
        del found["cost"]
        return found, {}

    def check_name(self, monitor: str, names: Sequence[str]) -> None:
        """Raise ValueError unless there will be a cost or metric `monitor`."""
        known = ["cost"]
        if self.validation is not None:
            known = [*known, *names, "validation_cost", *(f"validation_{name}" for name in names)]
        elif self.metrics:
            known += names
        if monitor not in known:
            raise ValueError(
                f"early_stopping monitors {monitor!r}, which is none of {', '.join(known)}: "
                "add it to metrics, or give validation_data"
            )


class Run:
    """The course of one call of ``fit``."""

    def __init__(
        self,
        network: Network,
        source: Source,
        optimizer: Optimizer,
        epochs: int,
        measures: Measures,
        monitor: Monitor | None,
        callbacks: Callbacks,
    ) -> None:
        self.network, self.source, self.optimizer = network, source, optimizer
        self.epochs, self.measures, self.monitor = epochs, measures, monitor
        self.callbacks = callbacks
        self.saver: Saver | None = None
        self.progress = False
        self.display: Display | None = None
        self.history = History()
        self.first_epoch = network.epoch
        self.began: float | None = None  # when the training of the epoch began or was taken up
        self.at = self._at(0)
        self.start: _core.Snapshot | None = None

    @property
    def done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.at.ended or self.at.epochs >= self.epochs

    @property
    def seconds(self) -> float:
        """Time spent on training the epoch that is under way."""
        return self.at.seconds + (perf_counter() - self.began if self.began is not None else 0)

    def take_up(
        self,
        history: History,
        position: _core.Position,
        epochs: int,
        ended: bool,
        seconds: float,
    ) -> None:
        """Go on where a checkpoint was made."""
        self.history = history
        self.first_epoch = self.network.epoch - epochs
        self.at = self._at(epochs, ended, position, seconds)

    def train(self) -> None:
        """Train what is left."""
        try:
            if self.progress and not self.done:
                self.display = open_progress(self.epochs, self.source, self.at.epochs)
            while not self.done:
                self._epoch()
            if self.saver is not None:
                self.saver.save(self)
            self._close_display()
        except BaseException:
            try:
                self._settle()
            finally:
                self._close_display()
            raise
        if self.monitor is not None:
            self.monitor.finish()

    def _settle(self) -> None:
        """Leave whole steps and whole epochs behind after an exception, and save."""
        diverged = not isfinite(self.at.position.cost) or self.network._nonfinite_layer()
        if diverged and self.began is not None:
            self._go_back()  # the interruption came before DivergenceError
        self.history._cut(len(self.history.epochs))
        self.network._epoch = self.first_epoch + len(self.history.epochs)
        if self.saver is not None:
            self.saver.save_at_exception(self)

    def _close_display(self) -> None:
        if self.display is not None:
            self.display.close()

    def _epoch(self) -> None:
        """Train an epoch, or what is left of it; measure, tell, and look who ends the training."""
        network, position = self.network, self.at.position
        resumed_at = position.steps
        if self.start is None:
            self.start = _core.Snapshot(network, self.optimizer.bind(network))
        elif not resumed_at:
            self.start.retake()
        self.began = perf_counter()
        watch = self._watch if self.callbacks.after_step else None
        poll = self._poll if self.display is not None or self.saver is not None else None
        outcome = self.source.train(self.optimizer, position, poll, watch)
        seconds = self.seconds
        # The last update of an epoch may leave the finite numbers without a cost to show it.
        bad_layer = outcome.bad_layer or network._nonfinite_layer()
        if bad_layer:
            self._go_back()
            raise DivergenceError(
                network.epoch + 1, position.steps, bad_layer, self.history, resumed_at
            )
        self.began = None
        if outcome.ended and position.steps != self.source.batches:
            self.at = self.at._replace(seconds=seconds, ended=True)
            return
        self._count(position.mean, outcome.learning_rate, seconds)
        ended = outcome.ended or (self.monitor is not None and self.monitor.stops)
        if self.display is not None:
            self.display.epoch(self.history, position)
        ended |= self.callbacks.epoch_ended(network, self.history)
        self.optimizer.observe((self.history.validation_cost or self.history.cost)[-1])
        self.at = self._at(self.at.epochs + 1, ended)
        if self.saver is not None:
            self.saver.epoch_ended(self)

    def _count(self, cost: float, learning_rate: float, seconds: float) -> None:
        """Measure, and count the epoch: in the history, the network and early stopping at once."""
        epoch = self.network.epoch + 1
        metrics, validation = self.measures.after_epoch()
        added = self.history._added(
            epoch, cost, learning_rate, seconds, metrics=metrics, validation=validation
        )
        changes = [added, setting(self.network, "_epoch", epoch)]
        if self.monitor is not None:
            found = {
                "cost": cost,
                **metrics,
                **{f"validation_{n}": v for n, v in validation.items()},
            }
            standing = self.monitor.after(epoch, found)
            changes.append(setting(self.history, "best_epoch", standing.best_epoch))
            changes.append(setting(self.monitor, "standing", standing))
        at_once(*changes)

    def _go_back(self) -> None:
        """Go back to the start of an epoch that diverged; the checkpoint of before it stays."""
        assert self.start is not None
        at_once(starmap(self.start.restore, ((),)), setting(self, "saver", None))

    def _at(
        self,
        epochs: int,
        ended: bool = False,
        position: _core.Position | None = None,
        seconds: float = 0.0,
    ) -> At:
        rate = self.optimizer.learning_rate
        return At(
            epochs,
            position or _core.Position(),
            seconds,
            ended,
            None if self.monitor is None else self.monitor.standing,
            self.callbacks.states(),
            None if callable(rate) else rate,
            self.optimizer._schedule_state(),
        )

    def _poll(self, steps: int) -> None:
        if self.display is not None:
            self.display.poll(self.at.position)
        if self.saver is not None:
            self.saver.poll(self)

    def _watch(self, steps: int, cost: float) -> bool:
        return self.callbacks.step_ended(self.network, steps, cost)


def _prepare_checkpoint(
    run: Run,
    checkpoint: Checkpoint | str | os.PathLike[str],
    resume: bool,
    settings: Mapping[str, Any],
) -> None:
    """Let `run` save, and take up the run that is in the file, if that is wanted."""
    from chainrule.training.resume import Saver, described_data, take_up

    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    checkpoint.check_path()
    data = described_data(run, checkpoint.path)
    run.saver = Saver(checkpoint, {**data, **settings})
    if resume and os.path.exists(checkpoint.path):
        take_up(run, checkpoint.path, run.saver.settings)


def _described_rate(rate: LearningRate) -> str:
    """Return what tells another learning rate: of a function, its name."""
    text = repr(rate)
    return getattr(rate, "__qualname__", type(rate).__qualname__) if " at 0x" in text else text


def _listed(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    return (metrics,) if isinstance(metrics, str) or callable(metrics) else tuple(metrics)


def _stopping_rule(value: EarlyStopping | int | None) -> EarlyStopping | None:
    if value is None or isinstance(value, EarlyStopping):
        return value
    return EarlyStopping(count(value, "early_stopping"))


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


def _split(data: Batch, share: float, validation: Batch | None) -> tuple[Batch, Batch]:
    """Return the first samples for training and the last ones, that share, for validation."""
    if validation is not None:
        raise ValueError("give validation_data or validation_split, not both")
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise ValueError(f"validation_split must be a share in [0, 1), got {share!r}")
    x, y, w = data
    n = len(x) - round(len(x) * share)
    if not 0 < n < len(x):
        raise ValueError(
            f"validation_split={share} of {len(x)} samples leaves none to train on or to validate"
        )
    parts = (
        (x[part], y[part], None if w is None else w[part]) for part in (slice(n), slice(n, None))
    )
    first, last = parts
    for what, (_, _, weight) in (("train on", first), ("validate", last)):
        if weight is not None and not weight.any():
            raise ValueError(f"validation_split leaves no sample with weight to {what}")
    return first, last
