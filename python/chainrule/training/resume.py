"""From a run to what a checkpoint holds of it, and back."""

from __future__ import annotations

import math
import os
import time
from itertools import starmap
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.files.network import Contents, architecture_of
from chainrule.files.run import Saved, load, write
from chainrule.optimizers.base import (
    fill_state,
    fresh_state,
    owning,
    rate_at,
    set_schedule,
    setting_rate,
)
from chainrule.training.early_stopping import Standing
from chainrule.training.fingerprint import BatchDigest, fingerprint, mapped_files
from chainrule.training.history import History, by_name
from chainrule.training.run import Listener
from chainrule.training.sources import Arrays, Stream
from chainrule.uninterrupted import at_once, setting
from chainrule.warning import warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from chainrule.training.checkpoint import Checkpoint
    from chainrule.training.early_stopping import Monitor
    from chainrule.training.run import Run

Settings = dict[str, Any]

CHECKED_RATES = 16  # epochs whose learning rate is compared


class Saver(Listener):
    """Saves the checkpoints of one run."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings, run: Run) -> None:
        self.checkpoint, self.settings = checkpoint, settings
        self.saved = _place(run)  # nothing new so far
        self.last = time.monotonic()
        self.failed = False

    def poll(self, run: Run) -> None:
        """Save between two steps if it is time."""
        seconds = self.checkpoint.every_seconds
        if seconds is not None and time.monotonic() - self.last >= seconds:
            self.save(run)

    def epoch_ended(self, run: Run) -> None:
        """Save after an epoch if it is the turn of this one, or time."""
        every = self.checkpoint.every_epochs
        if run.at.ended or (every is not None and run.at.epochs % every == 0):
            self.save(run)
        else:
            self.poll(run)

    def save(self, run: Run) -> None:
        """Save where the run is, unless that is where it began or was saved last."""
        place = _place(run)
        if place == self.saved or _core.nonfinite_layer(run.network):
            return
        try:
            write(self.checkpoint.path, saved_state(run, self.settings))
        except Exception:
            self.failed = True
            raise
        self.saved, self.last = place, time.monotonic()

    def complete(self, run: Run) -> None:
        """Save the end of the run, unless it is saved."""
        self.save(run)

    def fail(self, run: Run) -> None:
        """Save what an exception leaves; a failure must not take the exception's place.

        Of a run that diverged the last checkpoint stays.
        """
        if self.failed or run.diverged:
            return
        try:
            self.save(run)
        except Exception as error:
            warn(f"the checkpoint could not be saved: {error}", RuntimeWarning)


def _place(run: Run) -> tuple[int, int, bool]:
    return run.at.epochs, run.at.position.steps, run.at.ended


def saved_state(run: Run, settings: Settings) -> Saved:
    """Return what the checkpoint of `run` holds."""
    at, network, history = run.at, run.network, run.history
    # One copy of all parameters: a step of another thread cannot come between two of them.
    parameters = network.get_parameters()
    architecture = architecture_of(network)
    tensors = architecture.parts(parameters)
    numbers, best_numbers = {}, None
    for name, value in run.optimizer.state_dict().items():
        if isinstance(value, np.ndarray):
            tensors[f"optimizer.{name}"] = value
        else:
            numbers[name] = value
    if at.schedule:
        numbers["schedule"] = at.schedule
    if run.monitor is not None and run.monitor.snapshot is not None:
        tensors["best.parameters"], best = run.monitor.snapshot.get()
        best_numbers = {}
        for name, value in best.items():
            if isinstance(value, np.ndarray):
                tensors[f"best.optimizer.{name}"] = value
            else:
                best_numbers[name] = value
    for name, values in by_name(history).items():
        if at.epochs and values:
            kind = np.int64 if name == "epochs" else np.float64
            tensors[f"history.{name}"] = np.array(values[: at.epochs], kind)
    position = at.position
    stream = run.source if isinstance(run.source, Stream) else None
    fit = {
        "settings": settings,
        "epochs": at.epochs,
        "ended": at.ended,
        "steps": position.steps,
        "samples": position.samples,
        "cost": position.cost,
        "weight": position.weight,
        "seconds": run.seconds,
        "learning_rate": at.learning_rate,
        "stream": stream.digest.at(position.steps) if stream and stream.digest else None,
        "standing": at.standing,
        "callbacks": at.callbacks,
        "optimizer": numbers,
        "best": best_numbers,
    }
    contents = Contents(architecture, network.seed, run.first_epoch + at.epochs, parameters)
    return Saved(contents, fit, tensors)


def described_data(run: Run, path: str) -> Settings:
    """Return what a resumed run must share of its data, which are read for it."""
    network, source = run.network, run.source
    training, validation = run.measures.training, run.measures.validation
    for file in (*mapped_files(training), *mapped_files(validation)):
        if os.path.exists(path) and os.path.exists(file) and os.path.samefile(path, file):
            raise ValueError(
                f"checkpoint: {path!r} is the file that data are mapped from, and would be "
                "replaced: give another path"
            )
    data = fingerprint(network, training)
    if isinstance(source, Stream):
        source.digest = BatchDigest(network)
        data = "a stream" + ("" if source.batches is None else f" of {source.batches} batches")
    return {"data": data, "validation": fingerprint(network, validation)}


def take_up(run: Run, path: str, settings: Settings) -> None:
    """Put `run`, its network and its optimiser where the run in `path` was."""
    saved = load(path)
    fit, network = saved.fit, run.network
    if saved.earlier:
        raise ValueError(
            f"the run in {path!r} was saved by an earlier version of chainrule, which took note of "
            "64 rows of the data: whether they are the same cannot be verified. Finish the run "
            f"with that version, go on from its weights, Network.load({path!r}), or pass "
            "resume=False to begin anew"
        )
    architecture = architecture_of(network)
    ours = {"network": str(architecture), **settings}
    theirs = {"network": str(saved.contents.architecture), **fit["settings"]}
    _check_settings(path, ours, theirs, fit["learning_rate"])
    history = _history(saved)
    batches = run.source.batches
    if batches is not None and fit["steps"] > batches:
        raise ValueError(
            f"the run in {path!r} is {fit['steps']} batches into an epoch, which has {batches} here"
        )
    seed, epoch = network.seed, network.epoch
    try:
        run.callbacks.load_states(fit["callbacks"])
        # A stream or a schedule may look at them.
        _core.set_counters(network, saved.contents.seed, saved.contents.epoch)
        _check_rates(run, path, fit, history)
        _skip(run, path, fit)
        _take_over(run, saved, history)
    except BaseException:
        if run.history is not history:  # nothing was taken over
            _core.set_counters(network, seed, epoch)
            run.callbacks.load_states(run.at.callbacks)
            set_schedule(run.optimizer, {"schedule": run.at.schedule})
        raise
    position = _core.Position(fit["steps"], fit["samples"], fit["cost"], fit["weight"])
    run.go_on(position, fit["epochs"], fit["ended"], fit["seconds"])


def _take_over(run: Run, saved: Saved, history: History) -> None:
    """Set weights, history, the optimiser and early stopping, at once."""
    fit, network, optimizer = saved.fit, run.network, run.optimizer
    state = fresh_state(optimizer, network)
    if run.monitor is not None:
        run.monitor.state = state
        if fit["standing"] is not None:
            run.monitor.standing = Standing(*fit["standing"])
        if fit["best"] is not None:
            fill_state(optimizer, state, saved.state("best.optimizer.", "best"))
            _keep(run.monitor, saved.tensors["best.parameters"])
    fill_state(optimizer, state, saved.state("optimizer.", "optimizer"))
    set_schedule(optimizer, fit["optimizer"])
    changes = [owning(optimizer, network, state), setting(run, "history", history)]
    changes.append(map(run.publish, (history,)))
    if fit["learning_rate"] is not None:
        changes.append(setting_rate(optimizer, fit["learning_rate"]))
    at_once(map(network.set_parameters, (saved.contents.parameters,)), *changes)


def _keep(monitor: Monitor, parameters: NDArray[Any]) -> None:
    """Let early stopping keep these parameters: they go through the network into a snapshot."""
    network = monitor.network
    before = _core.Snapshot(network, monitor.state)
    take = map(network.set_parameters, (parameters,))
    keep = map(_core.Snapshot, (network,), (monitor.state,))
    try:
        _, monitor.snapshot, _ = at_once(take, keep, starmap(before.restore, ((),)))
    except BaseException:  # no memory is left for the snapshot
        before.restore()
        raise


def _check_rates(run: Run, path: str, fit: Mapping[str, Any], history: History) -> None:
    """Raise ValueError if a function of the step does not give the rates of the epochs done."""
    function = run.optimizer.learning_rate
    if not callable(function) or fit["learning_rate"] is not None or "schedule" in fit["optimizer"]:
        return  # compared by its text; or it depends on what it has observed
    step = fit["optimizer"].get("step", 0) - fit["steps"] - 1  # of the last update of an epoch
    for rate in history.learning_rate[: -CHECKED_RATES - 1 : -1]:
        # Not to the last bit: another machine may have another sine.
        if not math.isclose(found := rate_at(function, step), rate, rel_tol=1e-12):
            raise ValueError(
                f"the run in {path!r} had another learning_rate: for step {step} it gives "
                f"{found!r}, there it gave {rate!r}. Pass the same, or resume=False to begin anew"
            )
        if not isinstance(run.source, Arrays):
            break  # epochs of a stream may have different lengths
        step -= run.source.batches


def _skip(run: Run, path: str, fit: Mapping[str, Any]) -> None:
    """Let a stream pass the batches that were trained on, if there is any training left."""
    done = fit["ended"] or fit["epochs"] >= run.epochs
    if done or not fit["steps"] or not isinstance(run.source, Stream):
        return
    try:
        run.source.skip(fit["steps"], fit["stream"])
    except ValueError as error:
        raise ValueError(
            f"the run in {path!r} cannot be resumed: {error}. Pass the same data, go on from its "
            f"weights, Network.load({path!r}), or pass resume=False to begin anew"
        ) from error


def _check_settings(
    path: str, ours: Settings, theirs: Settings, learning_rate: float | None
) -> None:
    differences = [
        f"{name} is {ours.get(name)!r}, there it is {theirs.get(name)!r}"
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
        # A callback may have lowered the rate of the optimiser that is given again.
        and not (name == "learning_rate" and ours.get(name) == repr(learning_rate))
    ]
    if differences:
        raise ValueError(
            f"the run in {path!r} had other settings, with which it cannot be resumed: "
            f"{'; '.join(differences)}. Pass the same, or resume=False to begin anew"
        )


def _history(saved: Saved) -> History:
    history = History()
    for name, tensor in saved.tensors.items():
        key, _, metric = name.removeprefix("history.").partition(".")
        if not name.startswith("history."):
            continue
        place = getattr(history, key, None)
        if isinstance(place, dict):
            place[metric] = tensor.tolist()
        elif isinstance(place, list):
            place[:] = tensor.tolist()
        else:
            raise ValueError(f"no history has the list {name!r}")
    standing = saved.fit["standing"]
    history.best_epoch = standing[1] if standing else None
    return history
