"""safetensors files: nothing executable, replaced in one step, verified on reading.

A file is the length of its header, the header (JSON: metadata, and for every tensor its type,
shape and place), then the tensors end to end. The metadata are texts; one is a SHA-256 of the
others, as JSON with sorted keys, then of each tensor's name and data in a known order.

The safetensors package reads these files too, but is not used here, since it can end the process:
by SIGBUS where another one shortens a file that it reads, by SIGABRT where memory runs out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
from functools import partial
from reprlib import repr as short
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from chainrule import _core
from chainrule.files.target import find, keep_access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

TYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}

Path = str | os.PathLike[str]


def write(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write contiguous tensors of native types, and metadata with their SHA-256."""
    signed = {**metadata, "sha256": digest(metadata, tensors)}
    described = {name: (t.dtype.name, list(t.shape)) for name, t in tensors.items()}
    header = json.dumps({"__metadata__": signed, **entries(described)})
    header += " " * (-len(header) % 8)  # the tensors are aligned
    length = len(header).to_bytes(8, "little")
    replace_file(os.fsdecode(path), length, header.encode(), *(t.data for t in tensors.values()))


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[BinaryIO]:
    """Open `path`; a ValueError of what is done with it says that it does not hold `what`."""
    path = os.fsdecode(path)
    try:
        _check_regular(os.stat(path))  # before it is opened: that may act on a device
        # A pipe that has just taken the file's place does not wait for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        as_file = cast("Callable[[int], BinaryIO]", partial(open, mode="rb"))
        # In one call: the handle cannot get lost between two.
        with next(map(as_file, map(os.open, (path,), (flags,)))) as file:
            _check_regular(os.fstat(file.fileno()))
            yield file
    except (RecursionError, ValueError) as error:  # the former from deeply nested JSON
        raise ValueError(f"{path!r} does not hold {what}: {error}") from error


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")


def read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Return the header, and the number of bytes that the file has after it."""
    length = int.from_bytes(file.read(8), "little")
    n_bytes = os.fstat(file.fileno()).st_size - 8 - length
    if n_bytes < 0:
        raise ValueError("it ends within its header")
    header = parsed("header", file.read(length).decode())
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, n_bytes


def checked_metadata(found: Any) -> dict[str, str]:
    """Return the metadata, which are texts."""
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError("its header has no metadata, or other metadata than text")
    return found


def checked_order(
    header: Mapping[str, Any], expected: Mapping[str, tuple[str, list[int]]], n_bytes: int
) -> list[str]:
    """Compare the header with types and shapes, and return the names as they lie in the file."""
    missing = expected.keys() - header.keys()
    if missing:
        raise ValueError(f"it lacks tensors: {short(sorted(missing))}")
    order = sorted(expected, key=lambda name: _begin(header[name]))
    end = 0
    for name, entry in entries({name: expected[name] for name in order}).items():
        # Compared as text, because True == 1 == 1.0.
        if json.dumps(header[name], sort_keys=True) != json.dumps(entry, sort_keys=True):
            raise ValueError(f"its tensor {name} is {short(header[name])}, expected {short(entry)}")
        end = entry["data_offsets"][1]
    if end != n_bytes:
        raise ValueError(f"its tensors take {end} bytes, and it holds {n_bytes}")
    return order


def read_tensors(file: BinaryIO, tensors: Iterable[NDArray[Any]]) -> None:
    """Fill tensors, in the order of the file, with what follows the header."""
    for tensor in tensors:
        if file.readinto(tensor.data) != tensor.nbytes:  # type: ignore[attr-defined]
            raise ValueError("it was shortened while it was read")


def verify(metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError unless the SHA-256 among the metadata is that of the others."""
    others = {key: text for key, text in metadata.items() if key != "sha256"}
    if metadata["sha256"] != digest(others, tensors):
        raise ValueError("its contents do not have the SHA-256 that it states: it is damaged")


def parsed(what: str, text: str) -> Any:
    """Return what JSON says; every name of an object is there once."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"its {what} has two entries of one name")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"its {what} is not JSON: {error}") from error


def entries(tensors: Mapping[str, tuple[str, list[int]]]) -> dict[str, dict[str, Any]]:
    """Return the entries in a header of tensors that lie end to end."""
    found, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        found[name] = {"dtype": TYPES[dtype], "shape": shape, "data_offsets": [begin, end]}
    return found


def digest(metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of metadata and tensors, in hexadecimal."""
    result = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in tensors.items():
        result.update(name.encode())
        result.update(tensor.data)
    return result.hexdigest()


def _begin(entry: Any) -> int:
    """Return where a tensor's entry says that its data begin, or -1 if it does not say so."""
    match entry:
        case {"data_offsets": [int(begin), *_]}:
            return begin
    return -1


def replace_file(path: str, *contents: bytes | memoryview) -> None:
    """Write a file so that at any moment, power cuts included, it is whole: the old or the new.

    The new file keeps the access to the one it replaces, see ``chainrule.files.target``. A symbolic
    link stays one; other hard links keep the old contents.
    """
    target = find(path)
    temporary = target.temporary()
    old, mode = target.old, 0
    # Not even the empty file is open to more readers than the old one. The opener is not Python's:
    # an interruption in it would lose the handle.
    create = partial(os.open, mode=0o600 if old else 0o666)
    try:
        with open(temporary, "xb", opener=create) as file:
            if old and os.name == "posix":
                mode = keep_access(file.fileno(), target)
            file.writelines(contents)
            file.flush()
            if mode & 0o7000:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, target.path)
    except BaseException as error:
        # Before any other call, in which another exception could arrive; suppress() would be one.
        try:  # noqa: SIM105
            os.unlink(temporary)
        except OSError:
            pass
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, path) from error  # the name the user knows
        raise
    # The new file is in place and whole: where its folder cannot be synced, that is no failure.
    _core.sync_folder(os.fsencode(target.folder))
