"""Checkpoints of ``fit``: all that a run needs to go on as if it had never been interrupted.

A checkpoint is a safetensors file (see ``chainrule.files.safetensors``), which ``Network.load``
reads too. Beside what ``Network.save`` writes it has the tensors

- ``optimizer.NAME``, shape (n_parameters,): each buffer of the optimiser's state
- ``best.parameters`` and ``best.optimizer.NAME``: what early stopping would go back to
- ``history.NAME``, shape (epochs,): each list of the history

and the metadata ``fit``, JSON: the settings that a resumed run must share, how far the run is, also
within the epoch, and the numbers of optimiser, early stopping and callbacks.
"""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from itertools import starmap
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from chainrule import _core
from chainrule.files import safetensors as container
from chainrule.files.network import (
    CHECKPOINT,
    EARLIER_CHECKPOINT,
    Contents,
    core_of,
    describe,
    described,
)
from chainrule.inputs.numbers import nonnegative
from chainrule.optimizers.base import rate_at
from chainrule.training.early_stopping import Standing
from chainrule.training.fingerprint import BatchDigest, fingerprint, mapped_files
from chainrule.training.history import History
from chainrule.training.sources import Arrays, Stream
from chainrule.uninterrupted import at_once, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from chainrule.training.checkpoint import Checkpoint
    from chainrule.training.early_stopping import Monitor
    from chainrule.training.fit import Run

Settings = dict[str, Any]

CHECKED_RATES = 16  # epochs whose learning rate is compared


class Saver:
    """Saves the checkpoints of one run."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        self.checkpoint, self.settings = checkpoint, settings
        self.saved: tuple[int, int, bool] | None = None  # where the run was
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
        """Save where the run is, unless it has not begun or that was saved last."""
        place = run.at.epochs, run.at.position.steps, run.at.ended
        begun = run.at.epochs or run.at.position.steps
        if not begun or place == self.saved or run.network._nonfinite_layer():
            return
        try:
            save(self.checkpoint.path, run, self.settings)
        except Exception:
            self.failed = True
            raise
        self.saved, self.last = place, time.monotonic()

    def save_at_exception(self, run: Run) -> None:
        """Save what an exception leaves; a failure must not take the exception's place."""
        if self.failed:
            return
        try:
            self.save(run)
        except Exception as error:
            warnings.warn(
                f"the checkpoint could not be saved: {error}", RuntimeWarning, stacklevel=6
            )


class Saved(NamedTuple):
    """What a checkpoint holds."""

    contents: Contents
    fit: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    earlier: bool  # made by a version whose fingerprints covered 64 rows

    def state(self, prefix: str, key: str) -> dict[str, Any]:
        """Return an optimiser's state from its numbers and its buffers."""
        buffers = {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }
        return {**self.fit[key], **buffers}


def save(path: str, run: Run, settings: Settings) -> None:
    """Write the state of `run` to `path`."""
    at, network, history = run.at, run.network, run.history
    # One copy of all parameters: a step of another thread cannot come between two of them.
    parameters = network.get_parameters()
    tensors = core_of(network).parts(parameters)
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
    for name, values in history._by_name().items():
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
    metadata = describe(network, CHECKPOINT, run.first_epoch + at.epochs)
    try:
        metadata["fit"] = json.dumps(fit)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the state_dict() of a callback must be what JSON can hold: {error}"
        ) from error
    container.write(path, metadata, tensors)


def load(path: str) -> Saved:
    """Read and verify the checkpoint in `path`."""
    with container.reading(path, "a checkpoint of fit") as file:
        header, n_bytes = container.read_header(file)
        metadata = container.checked_metadata(header.pop("__metadata__", None))
        return read(file, header, n_bytes, metadata)


def read(
    file: BinaryIO, header: Mapping[str, Any], n_bytes: int, metadata: Mapping[str, str]
) -> Saved:
    """Return what a checkpoint has after its header."""
    earlier = metadata.get("format") == EARLIER_CHECKPOINT
    core, seed, epoch = described(metadata, EARLIER_CHECKPOINT if earlier else CHECKPOINT)
    fit = _checked_fit(container.parsed("entry 'fit'", metadata.get("fit", "null")), earlier)
    if len(header) < core.n_tensors:
        raise ValueError(f"it has {len(header)} tensors, its architecture {core.n_tensors}")
    expected = core.entries()
    n = sum(math.prod(shape) for _, shape in expected.values())
    for name in header.keys() - expected.keys():
        if name == "best.parameters" or name.startswith(("optimizer.", "best.optimizer.")):
            expected[name] = (core.dtype, [n])
        elif name == "history.epochs":
            expected[name] = ("int64", [fit["epochs"]])
        elif name.startswith("history."):
            expected[name] = ("float64", [fit["epochs"]])
        else:
            raise ValueError(f"it has a tensor {name!r}, which no checkpoint has")
    order = container.checked_order(header, expected, n_bytes)
    parameters = np.empty(n, core.dtype)
    tensors = core.parts(parameters)
    tensors |= {
        name: np.empty(expected[name][1], expected[name][0])
        for name in order
        if name not in tensors
    }
    tensors = {name: tensors[name] for name in order}
    container.read_tensors(file, tensors.values())
    container.verify(metadata, tensors)
    return Saved(Contents(core, seed, epoch, parameters), fit, tensors, earlier)


def _checked_fit(found: Any, earlier: bool) -> dict[str, Any]:
    """Return the numbers of a run, of the right types."""
    number, numbers = (int, float), (dict,)
    kinds: dict[str, tuple[type, ...]] = {
        "settings": (dict,),
        "epochs": (int,),
        "ended": (bool,),
        "steps": (int,),
        "samples": (int,),
        "cost": number,
        "weight": number,
        "seconds": number,
        "learning_rate": (*number, type(None)),
        "stream": (str, type(None)),
        "standing": (list, type(None)),
        "callbacks": (list,),
        "optimizer": numbers,
        "best": (*numbers, type(None)),
    }
    if earlier:
        del kinds["stream"]
    if not isinstance(found, dict) or found.keys() != kinds.keys():
        raise ValueError(f"its entry 'fit' does not have the entries {', '.join(kinds)}")
    for name, types in kinds.items():
        if type(found[name]) not in types:
            raise ValueError(f"its entry {name!r} is {found[name]!r}")
    if min(found["epochs"], found["steps"], found["samples"]) < 0:
        raise ValueError("it has a negative number of epochs, steps or samples")
    if found["standing"] is not None and len(found["standing"]) != len(Standing._fields):
        raise ValueError(f"its entry 'standing' is {found['standing']!r}")
    return found


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
    core = core_of(network)
    ours = {"network": str(core), **settings}
    theirs = {"network": str(saved.contents.core), **fit["settings"]}
    _check_settings(path, ours, theirs, fit["learning_rate"])
    history = _history(saved)
    batches = run.source.batches
    if batches is not None and fit["steps"] > batches:
        raise ValueError(
            f"the run in {path!r} is {fit['steps']} batches into an epoch, which has {batches} here"
        )
    seed, epoch = network._seed, network._epoch
    try:
        run.callbacks.load_states(fit["callbacks"])
        # A stream or a schedule may look at them.
        network._seed, network._epoch = saved.contents.seed, saved.contents.epoch
        _check_rates(run, path, fit, history)
        _skip(run, path, fit)
        _take_over(run, saved, history)
    except BaseException:
        if network._history is not history:  # nothing was taken over
            network._seed, network._epoch = seed, epoch
            run.callbacks.load_states(run.at.callbacks)
            run.optimizer._take_schedule({"schedule": run.at.schedule})
        raise
    position = _core.Position(fit["steps"], fit["samples"], fit["cost"], fit["weight"])
    run.take_up(history, position, fit["epochs"], fit["ended"], fit["seconds"])
    if run.saver is not None:
        run.saver.saved = fit["epochs"], fit["steps"], fit["ended"]


def _take_over(run: Run, saved: Saved, history: History) -> None:
    """Set weights, history, the optimiser and early stopping, at once."""
    fit, network, optimizer = saved.fit, run.network, run.optimizer
    state = optimizer._fresh(network)
    if run.monitor is not None:
        run.monitor.state = state
        if fit["standing"] is not None:
            run.monitor.standing = Standing(*fit["standing"])
        if fit["best"] is not None:
            optimizer._fill(state, saved.state("best.optimizer.", "best"))
            _keep(run.monitor, saved.tensors["best.parameters"])
    optimizer._fill(state, saved.state("optimizer.", "optimizer"))
    optimizer._take_schedule(fit["optimizer"])
    changes = [optimizer._belonging(network, state), setting(network, "_history", history)]
    if fit["learning_rate"] is not None:
        rate = nonnegative(fit["learning_rate"], "learning_rate")
        changes.append(setting(optimizer, "_learning_rate", rate))
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
