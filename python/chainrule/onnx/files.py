"""Models from bytes and files. Of other files only those that a model's own folder holds are read.

A model can name files for the data of its tensors, and it may come from anybody. They are read
only for a model whose path the caller gave: regular files in the folder of that path or below it,
through no symbolic link, and no further than they reach.
"""

from __future__ import annotations

import math
import os
import stat
from typing import TYPE_CHECKING, Any, BinaryIO

from chainrule.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterator

# What protobuf reads, and what all external data together may take.
MODEL_BYTES, DATA_BYTES = 2**31 - 1, 2**34

# In the parts of a location: other separators than "/", drives and streams of Windows.
FORBIDDEN = {"\\", ":", "\0"}


def read(onnx: Any, model: Any) -> Any:
    """Return a ModelProto that has all data within itself; one that is given is not changed."""
    if isinstance(model, onnx.ModelProto):
        folder, proto = None, model
    elif isinstance(model, (str, os.PathLike)):
        path = os.fsdecode(model)
        folder = os.path.dirname(path) or os.curdir
        with _regular(path, 0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MODEL_BYTES:
                raise ValueError(f"{path!r} is no ONNX model: it is larger than 2 GiB")
            kind = os.path.splitext(path)[1]
            proto = _parsed(onnx, file.read(size), repr(path), kind)
    elif isinstance(model, (bytes, bytearray, memoryview)):
        folder, proto = None, _parsed(onnx, bytes(model), "this")
    else:
        raise TypeError(
            f"model must be an onnx.ModelProto, a path or bytes, got {type(model).__name__}"
        )
    external = [t for t in _tensors(proto) if t.data_location == onnx.TensorProto.EXTERNAL]
    if not external:
        return proto
    if folder is None:
        raise ValueError(
            f"tensor {external[0].name!r} has its data in another file: pass the path of the "
            "model, in whose folder that file is"
        )
    taken: dict[str, int] = {}
    for tensor in external:
        try:
            _load(onnx, tensor, folder, taken)
        except ValueError as error:
            raise ValueError(f"tensor {tensor.name!r} {error}") from error
    return proto


def _parsed(onnx: Any, data: bytes, what: str, extension: str = "") -> Any:
    registry = require("onnx.serialization", "onnx").registry
    kind = registry.get_format_from_file_extension(extension) or "protobuf"
    try:
        return onnx.load_model_from_string(data, kind)
    except MemoryError:
        raise
    except Exception as error:  # whatever the parser of a format raises
        raise ValueError(f"{what} is no ONNX model: {error}") from error


def _tensors(model: Any) -> Iterator[Any]:
    """Yield the tensors of a model, those of attributes and inner graphs too."""
    graphs, nodes = [model.graph], [node for f in model.functions for node in f.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs += (attribute.g, *attribute.graphs)


def _load(onnx: Any, tensor: Any, folder: str, taken: dict[str, int]) -> None:
    """Put the data of a tensor into it, and count the bytes that were taken from each file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    offset, length = (_number(entries, key) for key in ("offset", "length"))
    parts = location.split("/")
    if any(part in ("", ".", "..") or not FORBIDDEN.isdisjoint(part) for part in parts):
        raise ValueError(
            f"has its data in {location!r}: expected a file in the model's folder or below it, "
            "named relative to that folder"
        )
    try:
        with _regular(os.path.join(folder, *parts), len(parts)) as file:
            size = os.fstat(file.fileno()).st_size
            offset = offset or 0
            length = size - offset if length is None else length
            if length < 0 or offset + length > size:
                raise ValueError(
                    f"has {length} bytes from {offset} in {location!r}, which holds {size}"
                )
            _check_length(onnx, tensor, length)
            taken[location] = taken.get(location, 0) + length
            if taken[location] > size or sum(taken.values()) > DATA_BYTES:
                most = f"all tensors may take {size} of {location!r}, {DATA_BYTES} of all files"
                raise ValueError(f"has {length} bytes in another file, but {most}")
            file.seek(offset)
            tensor.raw_data = file.read(length)
    except OSError as error:
        raise ValueError(f"has its data in {location!r}, which cannot be read: {error}") from error
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.DEFAULT


def _check_length(onnx: Any, tensor: Any, length: int) -> None:
    """Raise ValueError before anything is read that is not the size of the tensor."""
    try:
        size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError) as error:
        raise ValueError(f"holds elements of an unknown type, {tensor.data_type}") from error
    most = math.prod(tensor.dims) * size
    # Elements of less than a byte share one.
    if length != most and not (size == 1 and most // 8 <= length < most):
        shape = tuple(tensor.dims)
        raise ValueError(f"of shape {shape} takes {most} bytes, and has {length} in another file")


def _number(entries: dict[str, str], key: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"has the {key} {text!r} in another file: expected a number of bytes")
    return int(text)


def _regular(path: str, n_parts: int) -> BinaryIO:
    """Open a regular file, through no symbolic link in the last `n_parts` parts of its path."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer
    if n_parts:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    file = os.open(path, flags)
    try:
        opened = os.fstat(file)
        if not stat.S_ISREG(opened.st_mode):
            raise ValueError(f"is not a regular file: {path!r}")
        part = path
        for depth in range(n_parts):
            found = os.lstat(part)
            if stat.S_ISLNK(found.st_mode) or (depth == 0 and not os.path.samestat(found, opened)):
                raise ValueError(
                    f"would be read through a symbolic link, {part!r}: put a copy there"
                )
            part = os.path.dirname(part)
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise
