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
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from chainrule.files import safetensors as container
from chainrule.files.network import (
    CHECKPOINT,
    EARLIER_CHECKPOINT,
    Contents,
    describe,
    described,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

STANDING = 3  # numbers of early stopping


class Saved(NamedTuple):
    """What a checkpoint holds."""

    contents: Contents
    fit: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    earlier: bool = False  # made by a version whose fingerprints covered 64 rows

    def state(self, prefix: str, key: str) -> dict[str, Any]:
        """Return an optimiser's state from its numbers and its buffers."""
        buffers = {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }
        return {**self.fit[key], **buffers}


def write(path: str, saved: Saved) -> None:
    """Write a checkpoint to `path`."""
    metadata = describe(saved.contents, CHECKPOINT)
    try:
        metadata["fit"] = json.dumps(saved.fit)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the state_dict() of a callback must be what JSON can hold: {error}"
        ) from error
    container.write(path, metadata, saved.tensors)


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
    architecture, seed, epoch = described(
        metadata, EARLIER_CHECKPOINT if earlier else CHECKPOINT, "fit"
    )
    fit = _checked_fit(container.parsed("entry 'fit'", metadata.get("fit", "null")), earlier)
    if len(header) < architecture.n_tensors:
        raise ValueError(f"it has {len(header)} tensors, its architecture {architecture.n_tensors}")
    expected = architecture.entries()
    n = sum(math.prod(shape) for _, shape in expected.values())
    for name in header.keys() - expected.keys():
        if name == "best.parameters" or name.startswith(("optimizer.", "best.optimizer.")):
            expected[name] = (architecture.dtype, [n])
        elif name == "history.epochs":
            expected[name] = ("int64", [fit["epochs"]])
        elif name.startswith("history."):
            expected[name] = ("float64", [fit["epochs"]])
        else:
            raise ValueError(f"it has a tensor {name!r}, which no checkpoint has")
    order = container.checked_order(header, expected, n_bytes)
    parameters = np.empty(n, architecture.dtype)
    tensors = architecture.parts(parameters)
    tensors |= {
        name: np.empty(expected[name][1], expected[name][0])
        for name in order
        if name not in tensors
    }
    tensors = {name: tensors[name] for name in order}
    container.read_tensors(file, tensors.values())
    container.verify(metadata, tensors)
    return Saved(Contents(architecture, seed, epoch, parameters), fit, tensors, earlier)


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
    if found["standing"] is not None and len(found["standing"]) != STANDING:
        raise ValueError(f"its entry 'standing' is {found['standing']!r}")
    return found
