"""Networks in safetensors files: nothing executable, replaced in one step, verified on load.

The tensors are ``layers.1.weight`` of shape (n_1, n_0), ``layers.1.bias``, and so on, row-major.
The metadata hold the format's version, the architecture as JSON, the seed, the epoch counter,
and a SHA-256 over all of these and the tensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from chainrule.network import Network

N = TypeVar("N", bound="Network")

FORMAT = "chainrule 1"
SAFETENSORS_TYPES = {"F32": "float32", "F64": "float64"}


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write `network` to `path`; see ``Network.save``."""
    from safetensors.numpy import save as serialize

    architecture = {
        "sizes": network.sizes,
        "activations": network.activations,
        "loss": network.loss,
        "dtype": network.dtype.name,
        "bias": network.has_bias,
    }
    metadata = {
        "format": FORMAT,
        "architecture": json.dumps(architecture),
        "seed": str(network.seed),
        "epoch": str(network.epoch),
    }
    # One copy of all parameters: a step of another thread cannot come between two of them.
    parameters = network.get_parameters()
    tensors = {}
    for name, shape in _shapes({"sizes": network.sizes, "bias": network.has_bias}).items():
        size = math.prod(shape)
        tensors[name], parameters = parameters[:size].reshape(shape), parameters[size:]
    metadata["sha256"] = _digest(metadata, tensors)
    _replace(path, serialize(tensors, metadata))


def load(cls: type[N], path: str | os.PathLike[str]) -> N:
    """Read and verify `path`; see ``Network.load``."""
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            core = _architecture(metadata)
            shapes = _shapes(core)
            _check_tensors(file, shapes, core["dtype"])
            tensors = {name: file.get_tensor(name) for name in shapes}
        if metadata.pop("sha256") != _digest(metadata, tensors):
            raise ValueError("its contents do not have the SHA-256 that it states: it is damaged")
        parameters = np.concatenate([tensor.ravel() for tensor in tensors.values()])
        network = cls._restore((*core.values(),), parameters)
        network._seed, network._epoch = int(metadata["seed"]), int(metadata["epoch"])
        return network
    except (SafetensorError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold a network of chainrule: {error}") from error


def _named(weights: Any, biases: Any) -> dict[str, Any]:
    """Name one item a weight and a bias, in the order of ``Network.get_parameters``."""
    named = {}
    for i, weight in enumerate(weights):
        named[f"layers.{i + 1}.weight"] = weight
        if biases:
            named[f"layers.{i + 1}.bias"] = biases[i]
    return named


def _architecture(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of the core's constructor; their meaning is checked there."""
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
    missing = {"architecture", "seed", "epoch", "sha256"} - metadata.keys()
    if missing:
        raise ValueError(f"its header lacks {', '.join(sorted(missing))}")
    found = json.loads(metadata["architecture"])
    keys = ("sizes", "activations", "loss", "dtype", "bias")
    if not isinstance(found, dict) or set(found) != set(keys):
        raise ValueError(f"its architecture does not have the entries {', '.join(keys)}")
    sizes = found["sizes"]
    if not isinstance(sizes, list) or not all(type(n) is int and n > 0 for n in sizes):
        raise ValueError(f"its sizes are {sizes!r}")
    if found["dtype"] not in SAFETENSORS_TYPES.values() or type(found["bias"]) is not bool:
        raise ValueError(f"its dtype is {found['dtype']!r}, its bias {found['bias']!r}")
    return {key: found[key] for key in keys}


def _shapes(core: Mapping[str, Any]) -> dict[str, list[int]]:
    sizes = core["sizes"]
    weights = [[n_out, n_in] for n_in, n_out in pairwise(sizes)]
    return _named(weights, [[n] for n in sizes[1:]] if core["bias"] else [])


def _check_tensors(file: Any, shapes: Mapping[str, list[int]], dtype: str) -> None:
    """Compare the file's list of tensors with the architecture, before any of them is read."""
    for names, problem in (
        (shapes.keys() - set(file.keys()), "lacks"),
        (set(file.keys()) - shapes.keys(), "has unknown"),
    ):
        if names:
            raise ValueError(f"it {problem} tensors: {', '.join(sorted(names))}")
    for name, shape in shapes.items():
        tensor = file.get_slice(name)
        found = (tensor.get_shape(), SAFETENSORS_TYPES.get(tensor.get_dtype()))
        if found != (shape, dtype):
            raise ValueError(
                f"tensor {name} has shape {found[0]} and type {tensor.get_dtype()}, where its "
                f"architecture has {shape} and {dtype}"
            )


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def _replace(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that at any moment, power cuts included, it is whole: the old or the new.

    The new file has the permissions of the one it replaces. A symbolic link stays one.
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            if os.path.exists(path):
                os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path  # the name that the user knows
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened, and need not be
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
