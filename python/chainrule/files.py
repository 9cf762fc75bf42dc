"""Networks in safetensors files: nothing executable, replaced in one step, verified on load.

The tensors are ``layers.1.weight`` of shape (n_1, n_0), ``layers.1.bias``, and so on, row-major.
The metadata hold the format's version, the architecture as JSON, the seed, the epoch counter,
and a SHA-256: of the other metadata as JSON with sorted keys, then of each tensor's name and data
in the order of ``Network.get_parameters``.

The safetensors package reads these files too, but is not used here, since it can end the process:
by SIGBUS where another one shortens a file that it reads, by SIGABRT where memory runs out.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import stat
from itertools import pairwise
from reprlib import repr as short
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from chainrule.network import Network

N = TypeVar("N", bound="Network")

FORMAT = "chainrule 1"
SAFETENSORS_TYPES = {"float32": "F32", "float64": "F64"}


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write `network` to `path`; see ``Network.save``."""
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
    shapes = _shapes(network.sizes, network.has_bias)
    metadata["sha256"] = _digest(metadata, _named_parts(parameters, shapes))
    header = json.dumps({"__metadata__": metadata, **_entries(shapes, network.dtype.name)})
    header += " " * (-len(header) % 8)  # the tensors are aligned
    length = len(header).to_bytes(8, "little")
    replace_file(os.fsdecode(path), length, header.encode(), parameters.data)


def load(cls: type[N], path: str | os.PathLike[str]) -> N:
    """Read and verify `path`; see ``Network.load``."""
    path = os.fsdecode(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            raise ValueError("it is not a regular file")
        with open(path, "rb") as file:
            header, n_bytes = _read_header(file)
            metadata = _checked_metadata(header.pop("__metadata__", None))
            seed, epoch = _integer(metadata, "seed"), _integer(metadata, "epoch")
            core = _architecture(metadata["architecture"])
            n_tensors = (len(core["sizes"]) - 1) * (2 if core["bias"] else 1)
            if len(header) != n_tensors:
                raise ValueError(f"it has {len(header)} tensors, its architecture {n_tensors}")
            shapes = _shapes(core["sizes"], core["bias"])
            order = _checked_order(header, shapes, core["dtype"], n_bytes)
            parameters = np.empty(n_bytes // np.dtype(core["dtype"]).itemsize, core["dtype"])
            tensors = _named_parts(parameters, shapes)
            for name in order:
                if file.readinto(tensors[name].data) != tensors[name].nbytes:
                    raise ValueError("it was shortened while it was read")
        if metadata.pop("sha256") != _digest(metadata, tensors):
            raise ValueError("its contents do not have the SHA-256 that it states: it is damaged")
        network = cls._restore(tuple(core.values()), parameters)
    except (RecursionError, ValueError) as error:  # the former from deeply nested JSON
        raise ValueError(f"{path!r} does not hold a network of chainrule: {error}") from error
    network._seed, network._epoch = seed, epoch
    return network


def _shapes(sizes: Sequence[int], bias: bool) -> dict[str, list[int]]:
    """Name the weights and biases, in the order of ``Network.get_parameters``."""
    shapes = {}
    for layer, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
        shapes[f"layers.{layer}.weight"] = [n_out, n_in]
        if bias:
            shapes[f"layers.{layer}.bias"] = [n_out]
    return shapes


def _named_parts(
    parameters: NDArray[Any], shapes: Mapping[str, Sequence[int]]
) -> dict[str, NDArray[Any]]:
    """Return views of the flat vector."""
    parts, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape)
        parts[name] = parameters[begin:end].reshape(shape)
    return parts


def _entries(shapes: Mapping[str, Sequence[int]], dtype: str) -> dict[str, dict[str, Any]]:
    """Return the entries in a header of tensors that lie end to end."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        entries[name] = {
            "dtype": SAFETENSORS_TYPES[dtype],
            "shape": shape,
            "data_offsets": [begin, end],
        }
    return entries


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def _read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Return the header, and the number of bytes that the file has after it."""
    length = int.from_bytes(file.read(8), "little")
    n_bytes = os.fstat(file.fileno()).st_size - 8 - length
    if n_bytes < 0:
        raise ValueError("it ends within its header")
    header = _json("header", file.read(length).decode())
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, n_bytes


def _json(what: str, text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"its {what} has two entries of one name")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"its {what} is not JSON: {error}") from error


def _checked_metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError("its header has no metadata, or other metadata than text")
    if found.get("format") != FORMAT:
        raise ValueError(f"its format is {short(found.get('format'))}, not {FORMAT!r}")
    missing = {"architecture", "seed", "epoch", "sha256"} - found.keys()
    if missing:
        raise ValueError(f"its header lacks {', '.join(sorted(missing))}")
    return found


def _integer(metadata: Mapping[str, str], name: str) -> int:
    text = metadata[name]
    # int() would also take signs, spaces, underscores and the digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64):
        raise ValueError(f"its {name} is {short(text)}, expected an integer in [0, 2**64)")
    return int(text)


def _architecture(text: str) -> dict[str, Any]:
    """Return the arguments of the core's constructor; their meaning is checked there."""
    found = _json("architecture", text)
    keys = ("sizes", "activations", "loss", "dtype", "bias")
    if not isinstance(found, dict) or set(found) != set(keys):
        raise ValueError(f"its architecture does not have the entries {', '.join(keys)}")
    sizes, activations, loss, dtype, bias = (found[key] for key in keys)
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
    if not isinstance(dtype, str) or dtype not in SAFETENSORS_TYPES or type(bias) is not bool:
        raise ValueError(f"its dtype is {short(dtype)}, its bias {short(bias)}")
    return {key: found[key] for key in keys}


def _checked_order(
    header: Mapping[str, Any], shapes: Mapping[str, list[int]], dtype: str, n_bytes: int
) -> list[str]:
    """Compare the header with the architecture, and return the tensors as they lie in the file."""
    missing = shapes.keys() - header.keys()
    if missing:
        raise ValueError(f"it lacks tensors: {short(sorted(missing))}")
    order = sorted(shapes, key=lambda name: _begin(header[name]))
    expected = _entries({name: shapes[name] for name in order}, dtype)
    for name, entry in expected.items():
        # Compared as text, because True == 1 == 1.0.
        if json.dumps(header[name], sort_keys=True) != json.dumps(entry, sort_keys=True):
            raise ValueError(f"its tensor {name} is {short(header[name])}, expected {short(entry)}")
    end = expected[order[-1]]["data_offsets"][1]
    if end != n_bytes:
        raise ValueError(f"its tensors take {end} bytes, and it holds {n_bytes}")
    return order


def _begin(entry: Any) -> int:
    """Return where a tensor's entry says that its data begin, or -1 if it does not say so."""
    match entry:
        case {"data_offsets": [int(begin), *_]}:
            return begin
    return -1


def replace_file(path: str, *contents: bytes | memoryview) -> None:
    """Write a file so that at any moment, power cuts included, it is whole: the old or the new.

    The new file has the permissions of the one it replaces. A symbolic link stays one.
    """
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    if old and not stat.S_ISREG(old.st_mode):
        raise FileExistsError(errno.EEXIST, "Exists, and is not a regular file", path)

    def create(name: str, flags: int) -> int:
        # Not even the empty file is open to more readers than the old one.
        return os.open(name, flags, stat.S_IMODE(old.st_mode) if old else 0o666)

    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".chainrule-{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb", opener=create) as file:
            if old:
                os.chmod(temporary, stat.S_IMODE(old.st_mode))  # what the umask took away
            file.writelines(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, path) from error  # the name the user knows
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened, and need not be
        # The new file is in place and whole: where its folder cannot be synced, that is no failure.
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
