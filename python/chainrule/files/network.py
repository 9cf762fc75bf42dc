"""Networks in safetensors files, which ``chainrule.files.safetensors`` writes and reads.

The tensors are ``layers.1.weight`` of shape (n_1, n_0), ``layers.1.bias``, and so on, row-major.
The metadata hold the format's version, the architecture as JSON, the seed, the epoch counter,
and a SHA-256 that takes the tensors in the order of ``Network.get_parameters``.
"""

from __future__ import annotations

import json
import math
import os
from itertools import pairwise
from reprlib import repr as short
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from chainrule.files import safetensors as container

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from chainrule import _core

FORMAT = "chainrule 1"
CHECKPOINT = "chainrule checkpoint 2"
EARLIER_CHECKPOINT = "chainrule checkpoint 1"  # for its network; runs are not resumed from it
TYPES = ("float32", "float64")
ENTRIES = {"architecture", "seed", "epoch", "sha256"}


class Architecture(NamedTuple):
    """The arguments of the core's constructor."""

    sizes: list[int]
    activations: list[str]
    loss: str
    dtype: str
    bias: bool

    @property
    def n_tensors(self) -> int:
        """Weights and biases: in a file, counted before they are named one by one."""
        return (len(self.sizes) - 1) * (2 if self.bias else 1)

    def shapes(self) -> dict[str, list[int]]:
        """Name the weights and biases, in the order of ``Network.get_parameters``."""
        shapes = {}
        for layer, (n_in, n_out) in enumerate(pairwise(self.sizes), start=1):
            shapes[f"layers.{layer}.weight"] = [n_out, n_in]
            if self.bias:
                shapes[f"layers.{layer}.bias"] = [n_out]
        return shapes

    def entries(self) -> dict[str, tuple[str, list[int]]]:
        """Return type and shape of each tensor."""
        return {name: (self.dtype, shape) for name, shape in self.shapes().items()}

    def parts(self, parameters: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return views of the flat vector."""
        parts, end = {}, 0
        for name, shape in self.shapes().items():
            begin, end = end, end + math.prod(shape)
            parts[name] = parameters[begin:end].reshape(shape)
        return parts


class Contents(NamedTuple):
    """A network as it lies in a file."""

    architecture: Architecture
    seed: int
    epoch: int
    parameters: NDArray[Any]


def save(network: _core.Network, path: str | os.PathLike[str]) -> None:
    """Write `network` to `path`; see ``Network.save``."""
    # One copy of all parameters: a step of another thread cannot come between two of them.
    contents = Contents(
        architecture_of(network), network.seed, network.epoch, network.get_parameters()
    )
    container.write(
        path, describe(contents, FORMAT), contents.architecture.parts(contents.parameters)
    )


def read(
    file: BinaryIO, header: Mapping[str, Any], n_bytes: int, metadata: Mapping[str, str]
) -> Contents:
    """Return what a file that `save` wrote has after its header."""
    architecture, seed, epoch = described(metadata, FORMAT)
    if len(header) != architecture.n_tensors:
        raise ValueError(f"it has {len(header)} tensors, its architecture {architecture.n_tensors}")
    order = container.checked_order(header, architecture.entries(), n_bytes)
    parameters = np.empty(n_bytes // np.dtype(architecture.dtype).itemsize, architecture.dtype)
    tensors = architecture.parts(parameters)
    container.read_tensors(file, [tensors[name] for name in order])
    container.verify(metadata, tensors)
    return Contents(architecture, seed, epoch, parameters)


def architecture_of(network: _core.Network) -> Architecture:
    """Return the arguments that the core of `network` was made with."""
    return Architecture(
        list(network.sizes),
        list(network.activations),
        network.loss,
        network.dtype.name,
        network.has_bias,
    )


def describe(contents: Contents, format: str) -> dict[str, str]:
    """Return the metadata of a file."""
    return {
        "format": format,
        "architecture": json.dumps(contents.architecture._asdict()),
        "seed": str(contents.seed),
        "epoch": str(contents.epoch),
    }


def described(
    metadata: Mapping[str, str], format: str, *more: str
) -> tuple[Architecture, int, int]:
    """Return architecture, seed and epoch counter from metadata of this format.

    What is not known, beside the entries `more`, may change what the file means, and is refused.
    """
    found = metadata.get("format")
    if found != format:
        newer = _is_newer(found, format)
        mend = ": a newer version of chainrule wrote it, upgrade this one" if newer else ""
        raise ValueError(f"its format is {short(found)}, not {format!r}{mend}")
    missing = ENTRIES - metadata.keys()
    if missing:
        raise ValueError(f"its header lacks {', '.join(sorted(missing))}")
    unknown = metadata.keys() - ENTRIES - {"format", *more}
    if unknown:
        listed = ", ".join(map(short, sorted(unknown)))
        raise ValueError(f"its header has entries that this version does not know: {listed}")
    seed, epoch = _integer(metadata, "seed"), _integer(metadata, "epoch")
    return _architecture(metadata["architecture"]), seed, epoch


def _is_newer(found: object, format: str) -> bool:
    """Tell whether a format is ours with a higher number."""
    kind, _, number = str(found).rpartition(" ")
    ours, _, known = format.rpartition(" ")
    return kind == ours and number.isdecimal() and int(number) > int(known)


def _integer(metadata: Mapping[str, str], name: str) -> int:
    text = metadata[name]
    # int() would also take signs, spaces, underscores and the digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64):
        raise ValueError(f"its {name} is {short(text)}, expected an integer in [0, 2**64)")
    return int(text)


def _architecture(text: str) -> Architecture:
    """Return the arguments of the core's constructor; their meaning is checked there."""
    found = container.parsed("architecture", text)
    if not isinstance(found, dict) or set(found) != set(Architecture._fields):
        raise ValueError(
            f"its architecture does not have the entries {', '.join(Architecture._fields)}"
        )
    architecture = Architecture(**found)
    sizes, activations, loss, dtype, bias = architecture
    if (
        not isinstance(sizes, list)
        or len(sizes) < 2
        or not all(type(n) is int and n > 0 for n in sizes)
    ):
        raise ValueError(f"its sizes are {short(sizes)}")
    if not isinstance(activations, list) or not all(
        isinstance(name, str) and name.isascii() for name in (*activations, loss)
    ):
        raise ValueError(f"its activations are {short(activations)}, its loss {short(loss)}")
    if not isinstance(dtype, str) or dtype not in TYPES or type(bias) is not bool:
        raise ValueError(f"its dtype is {short(dtype)}, its bias {short(bias)}")
    return architecture
