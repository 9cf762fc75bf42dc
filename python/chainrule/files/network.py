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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from chainrule.files import safetensors as container

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from chainrule.network import Network

N = TypeVar("N", bound="Network")

FORMAT = "chainrule 1"
CHECKPOINT = "chainrule checkpoint 2"
EARLIER_CHECKPOINT = "chainrule checkpoint 1"  # for its network; runs are not resumed from it
TYPES = ("float32", "float64")


class Core(NamedTuple):
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

    core: Core
    seed: int
    epoch: int
    parameters: NDArray[Any]


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write `network` to `path`; see ``Network.save``."""
    # One copy of all parameters: a step of another thread cannot come between two of them.
    parameters = network.get_parameters()
    metadata = describe(network, FORMAT, network.epoch)
    container.write(path, metadata, core_of(network).parts(parameters))


def load(cls: type[N], path: str | os.PathLike[str]) -> N:
    """Read and verify `path`; see ``Network.load``."""
    with container.reading(path, "a network of chainrule") as file:
        header, n_bytes = container.read_header(file)
        metadata = container.checked_metadata(header.pop("__metadata__", None))
        if metadata.get("format") in (CHECKPOINT, EARLIER_CHECKPOINT):
            from chainrule.training.resume import read

            contents = read(file, header, n_bytes, metadata).contents
        else:
            contents = _read(file, header, n_bytes, metadata)
        network = cls._restore(contents.core, contents.parameters)
    network._seed, network._epoch = contents.seed, contents.epoch
    return network


def _read(
    file: Any, header: Mapping[str, Any], n_bytes: int, metadata: Mapping[str, str]
) -> Contents:
    """Return what a file that `save` wrote has after its header."""
    core, seed, epoch = described(metadata, FORMAT)
    if len(header) != core.n_tensors:
        raise ValueError(f"it has {len(header)} tensors, its architecture {core.n_tensors}")
    order = container.checked_order(header, core.entries(), n_bytes)
    parameters = np.empty(n_bytes // np.dtype(core.dtype).itemsize, core.dtype)
    tensors = core.parts(parameters)
    container.read_tensors(file, [tensors[name] for name in order])
    container.verify(metadata, tensors)
    return Contents(core, seed, epoch, parameters)


def core_of(network: Network) -> Core:
    """Return the arguments that the core of `network` was made with."""
    return Core(
        list(network.sizes),
        list(network.activations),
        network.loss,
        network.dtype.name,
        network.has_bias,
    )


def describe(network: Network, format: str, epoch: int) -> dict[str, str]:
    """Return the metadata of a file that holds `network`."""
    return {
        "format": format,
        "architecture": json.dumps(core_of(network)._asdict()),
        "seed": str(network.seed),
        "epoch": str(epoch),
    }


def described(metadata: Mapping[str, str], format: str) -> tuple[Core, int, int]:
    """Return architecture, seed and epoch counter from metadata of this format."""
    if metadata.get("format") != format:
        raise ValueError(f"its format is {short(metadata.get('format'))}, not {format!r}")
    missing = {"architecture", "seed", "epoch", "sha256"} - metadata.keys()
    if missing:
        raise ValueError(f"its header lacks {', '.join(sorted(missing))}")
    seed, epoch = _integer(metadata, "seed"), _integer(metadata, "epoch")
    return _architecture(metadata["architecture"]), seed, epoch


def _integer(metadata: Mapping[str, str], name: str) -> int:
    text = metadata[name]
    # int() would also take signs, spaces, underscores and the digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64):
        raise ValueError(f"its {name} is {short(text)}, expected an integer in [0, 2**64)")
    return int(text)


def _architecture(text: str) -> Core:
    """Return the arguments of the core's constructor; their meaning is checked there."""
    found = container.parsed("architecture", text)
    if not isinstance(found, dict) or set(found) != set(Core._fields):
        raise ValueError(f"its architecture does not have the entries {', '.join(Core._fields)}")
    core = Core(**found)
    if (
        not isinstance(core.sizes, list)
        or len(core.sizes) < 2
        or not all(type(n) is int and n > 0 for n in core.sizes)
    ):
        raise ValueError(f"its sizes are {short(core.sizes)}")
    if not isinstance(core.activations, list) or not all(
        isinstance(name, str) and name.isascii() for name in (*core.activations, core.loss)
    ):
        raise ValueError(
            f"its activations are {short(core.activations)}, its loss {short(core.loss)}"
        )
    if not isinstance(core.dtype, str) or core.dtype not in TYPES or type(core.bias) is not bool:
        raise ValueError(f"its dtype is {short(core.dtype)}, its bias {short(core.bias)}")
    return core
