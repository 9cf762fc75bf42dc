"""A network from a file of either kind: one that was saved, or that of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from chainrule.files import network, run, safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")


def load(path: str | os.PathLike[str], make: Callable[[tuple[Any, ...], NDArray[Any]], T]) -> T:
    """Read and verify `path`; return what `make` makes of the core's arguments and parameters.

    The file is named in what `make` raises too. See ``Network.load``.
    """
    with safetensors.reading(path, "a network of chainrule") as file:
        header, n_bytes = safetensors.read_header(file)
        metadata = safetensors.checked_metadata(header.pop("__metadata__", None))
        if metadata.get("format", "").startswith(network.CHECKPOINT.rstrip("0123456789")):
            contents = run.read(file, header, n_bytes, metadata).contents
        else:
            contents = network.read(file, header, n_bytes, metadata)
        return make((*contents.architecture, contents.seed, contents.epoch), contents.parameters)
