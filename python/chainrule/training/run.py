"""The course of one call of ``fit``: epochs, what is measured after them, and who follows."""

from __future__ import annotations

from itertools import starmap
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule import _core
from chainrule.optimizers.base import schedule_state
from chainrule.training.divergence import DivergenceError
from chainrule.training.history import History, added, cut
from chainrule.uninterrupted import at_once, setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.optimizers import Optimizer
    from chainrule.training.callbacks import Callbacks
    from chainrule.training.early_stopping import Monitor, Standing
    from chainrule.training.measures import Measures
    from chainrule.training.sources import Source


def _keep_nothing(history: History) -> None:
    pass


class Listener:
    """What follows a run beside its callbacks. Every method may do nothing."""

    def begin(self, run: Run) -> None:
        """Take note that there is something to train."""

    def poll(self, run: Run) -> None:
        """Look at the run between two steps, now and then."""

    def measured(self, run: Run, position: _core.Position) -> None:
        """Look at an epoch that ended at `position`, before the callbacks do."""

    def epoch_ended(self, run: Run) -> None:
        """Look at the run between two epochs."""

    def complete(self, run: Run) -> None:
        """Look at the run when all is trained."""

    def fail(self, run: Run) -> None:
        """Look at what an exception leaves, which is on its way to the caller."""

    def close(self) -> None:
        """Give up what is held, at the very end."""


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


class Run:
    """The course of one call of ``fit``.

    Attributes
    ----------
    publish : callable
        Takes the history for the network's owner, once the run is to begin; not written in Python.
    at : At
        Where the run is.
    diverged : bool
        Whether the weights are those of the start of an epoch that diverged.
    """

    def __init__(
        self,
        network: _core.Network,
        source: Source,
        optimizer: Optimizer,
        epochs: int,
        measures: Measures,
        monitor: Monitor | None,
        callbacks: Callbacks,
        publish: Callable[[History], None] = _keep_nothing,
    ) -> None:
        self.network, self.source, self.optimizer = network, source, optimizer
        self.epochs, self.measures, self.monitor = epochs, measures, monitor
        self.callbacks, self.publish = callbacks, publish
        self.listeners: list[Listener] = []
        self.history = History()
        self.first_epoch = network.epoch
        self.began: float | None = None  # when the training of the epoch began or was taken up
        self.at = self._at(0)
        self.start: _core.Snapshot | None = None
        self.diverged = False

    @property
    def done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.at.ended or self.at.epochs >= self.epochs

    @property
    def seconds(self) -> float:
        """Time spent on training the epoch that is under way."""
        return self.at.seconds + (perf_counter() - self.began if self.began is not None else 0)

    def go_on(self, position: _core.Position, epochs: int, ended: bool, seconds: float) -> None:
        """Go on where a checkpoint was made, with its history."""
        self.first_epoch = self.network.epoch - epochs
        self.at = self._at(epochs, ended, position, seconds)

    def train(self) -> None:
        """Train what is left."""
        try:
            if not self.done:
                for listener in self.listeners:
                    listener.begin(self)
            while not self.done:
                self._epoch()
            for listener in self.listeners:
                listener.complete(self)
            self._close()
        except BaseException:
            try:
                self._settle()
            finally:
                self._close()
            raise
        if self.monitor is not None:
            self.monitor.finish()

    def _settle(self) -> None:
        """Leave whole steps and whole epochs behind after an exception, and tell the listeners."""
        diverged = not isfinite(self.at.position.cost) or _core.nonfinite_layer(self.network)
        if diverged and self.began is not None:
            self._go_back()  # the interruption came before DivergenceError
        cut(self.history, len(self.history))
        completed = self.first_epoch + len(self.history)
        _core.set_counters(self.network, self.network.seed, completed)
        for listener in self.listeners:
            listener.fail(self)

    def _close(self) -> None:
        for listener in self.listeners:
            listener.close()

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
        poll = self._poll if self.listeners else None
        outcome = self.source.train(self.optimizer, position, poll, watch)
        seconds = self.seconds
        # The last update of an epoch may leave the finite numbers without a cost to show it.
        bad_layer = outcome.bad_layer or _core.nonfinite_layer(network)
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
        for listener in self.listeners:
            listener.measured(self, position)
        ended |= self.callbacks.epoch_ended(network, self.history)
        self.optimizer.observe((self.history.validation_cost or self.history.cost)[-1])
        self.at = self._at(self.at.epochs + 1, ended)
        for listener in self.listeners:
            listener.epoch_ended(self)

    def _count(self, cost: float, learning_rate: float, seconds: float) -> None:
        """Measure, and count the epoch: in the history, the network and early stopping at once."""
        epoch = self.network.epoch + 1
        metrics, validation = self.measures.after_epoch()
        network, options = self.network, {"metrics": metrics, "validation": validation}
        changes = [
            added(self.history, epoch, cost, learning_rate, seconds, **options),
            map(_core.set_counters, (network,), (network.seed,), (epoch,)),
        ]
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
        """Go back to the start of an epoch that diverged."""
        assert self.start is not None
        at_once(starmap(self.start.restore, ((),)), setting(self, "diverged", True))

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
            schedule_state(self.optimizer),
        )

    def _poll(self, steps: int) -> None:
        for listener in self.listeners:
            listener.poll(self)

    def _watch(self, steps: int, cost: float) -> bool:
        return self.callbacks.step_ended(self.network, steps, cost)
