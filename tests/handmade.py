"""Model files taken apart and put together by hand, as the head of chainrule/files/network.py has it.

An attacker can compute a SHA-256 too: a file is signed anew after every change, so that it is
refused for what was changed.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import chainrule as cr

Header = dict[str, Any]


def pack(header: Header | bytes, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def unpack(raw: bytes) -> tuple[Header, bytes]:
    end = 8 + struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8:end]), raw[end:]


def place_in_parameters(name: str) -> tuple[int, bool]:
    """Sorts layers.1.weight, layers.1.bias, layers.2.weight, ..."""
    _, layer, kind = name.split(".")
    return int(layer), kind == "bias"


def sign(header: Header, data: bytes) -> None:
    metadata = header["__metadata__"]
    metadata.pop("sha256", None)
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(header.keys() - {"__metadata__"}, key=place_in_parameters):
        begin, end = header[name]["data_offsets"]
        digest.update(name.encode() + data[begin:end])
    metadata["sha256"] = digest.hexdigest()


def resign(header: Header, raw: bytes) -> None:
    """Sign the header of a checkpoint anew, over the tensors as they lie in the file."""
    metadata = header["__metadata__"]
    metadata.pop("sha256")
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        digest.update(name.encode() + raw[begin:end])
    metadata["sha256"] = digest.hexdigest()


def identity(net: cr.Network) -> tuple[str, int, bytes]:
    """All that a file has to bring back."""
    return repr(net), net.epoch, net.get_parameters().tobytes()
