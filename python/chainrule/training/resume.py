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

import hashlib
import json
import math
import time
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from chainrule import _core
from chainrule.files import safetensors as container
from chainrule.files.network import CHECKPOINT, Contents, core_of, describe, described
from chainrule.training.early_stopping import Standing
from chainrule.training.history import History

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from chainrule.network import Network
    from chainrule.training.checkpoint import Checkpoint
    from chainrule.training.fit import Run
    from chainrule.training.sources import Batch

Settings = dict[str, Any]

SAMPLED_ROWS = 64


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
                f"the checkpoint could not be saved: {error}", RuntimeWarning, stacklevel=5
            )


class Saved(NamedTuple):
    """What a checkpoint holds."""

    contents: Contents
    fit: dict[str, Any]
    tensors: dict[str, NDArray[Any]]

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
    core, seed, epoch = described(metadata, CHECKPOINT)
    fit = _checked_fit(container.parsed("entry 'fit'", metadata.get("fit", "null")))
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
    return Saved(Contents(core, seed, epoch, parameters), fit, tensors)


def _checked_fit(found: Any) -> dict[str, Any]:
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
        "standing": (list, type(None)),
        "callbacks": (list,),
        "optimizer": numbers,
        "best": (*numbers, type(None)),
    }
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


def take_up(run: Run, path: str, settings: Settings) -> None:
    """Put `run`, its network and its optimiser where the run in `path` was."""
    saved = load(path)
    fit, network = saved.fit, run.network
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
    standing = None if fit["standing"] is None else Standing(*fit["standing"])
    run.callbacks.load_states(fit["callbacks"])
    if fit["best"] is None:
        run.optimizer.load_state_dict(network, saved.state("optimizer.", "optimizer"))
    else:
        # The best weights go through the network into their snapshot.
        kind = {"optimizer": type(run.optimizer).__name__}
        best = {**kind, **saved.state("best.optimizer.", "best")}
        run.optimizer.load_state_dict(network, best)
        network.set_parameters(saved.tensors["best.parameters"])
    state = run.optimizer.bind(network)
    if run.monitor is not None:
        run.monitor.state = state
        run.monitor.standing = standing or run.monitor.standing
        if fit["best"] is not None:
            run.monitor.keep()
            run.optimizer._fill(state, saved.state("optimizer.", "optimizer"))
            run.optimizer._take_schedule(fit["optimizer"])
    network.set_parameters(saved.contents.parameters)
    _core.set_counters(network, saved.contents.seed, saved.contents.epoch)
    if fit["learning_rate"] is not None:
        run.optimizer.learning_rate = fit["learning_rate"]
    position = _core.Position(fit["steps"], fit["samples"], fit["cost"], fit["weight"])
    run.take_up(history, position, fit["epochs"], fit["ended"], fit["seconds"])
    if run.saver is not None:
        run.saver.saved = fit["epochs"], fit["steps"], fit["ended"]


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


def fingerprint(network: Network, data: Batch | None) -> str | None:
    """Return a number that tells other data: from some rows, as the network reads them."""
    if data is None:
        return None
    x, y, w = data
    n = len(x)
    rows = [i * n // min(n, SAMPLED_ROWS) for i in range(min(n, SAMPLED_ROWS))]
    digest = hashlib.sha256(f"{x.shape} {y.shape}".encode())
    with np.errstate(all="ignore"):
        digest.update(np.ascontiguousarray(x[rows], network.dtype).tobytes())
        digest.update(np.ascontiguousarray(y[rows], np.float64).tobytes())
        if w is not None:
            digest.update(w[rows].tobytes())
    return f"{n} samples {digest.hexdigest()[:12]}"
