"""Feed mutated model files to Network.load, guided by coverage.

    pip install atheris  # for Python 3.11
    cd tests && mkdir -p /tmp/found
    python -m fuzz.fuzz_load -max_len=4096 -timeout=10 -max_total_time=600 /tmp/found fuzz/corpus
    python -m fuzz.fuzz_load -merge=1 fuzz/corpus /tmp/found  # keeps what adds coverage

Every file is refused by a ValueError that names it, within 256 MB; or it loads, and saving the
network and loading it again gives the same one. Anything else ends the run and leaves crash-*.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import chainrule as cr
from handmade import identity, pack, sign, unpack

MEMORY = 256 << 20

VALUES = [
    *(-1, 0, 1, 2, 3, 4, 8, 12, 24, 2**31, 2**32, 2**63, 2**64, 10**18, 10**400),
    *(0.0, 1.0, 2.5, float("nan"), float("inf"), True, False, None, [], [1], {}),
    *("", "0", "1", "-1", "1_0", "\u0661", "\ud800", "\0", str(2**64), "9" * 30),
    *("F16", "F32", "F64", "float32", "float64", "chainrule 1", "chainrule 2"),
    *("identity", "relu", "sigmoid", "softmax", "gelu"),
    *("half_mse", "huber", "cross_entropy", "binary_cross_entropy"),
]
KEYS = [
    *("__metadata__", "architecture", "seed", "epoch", "sha256", "format"),
    *("sizes", "activations", "loss", "dtype", "bias", "shape", "data_offsets"),
    *(f"layers.{layer}.{kind}" for layer in (1, 2, 3) for kind in ("weight", "bias")),
]


def load_or_refuse(path: Path) -> cr.Network | None:
    """The property that every file has."""
    try:
        net = cr.Network.load(path)
    except ValueError as error:
        assert str(path) in str(error)
        return None
    net.save(path)
    assert identity(cr.Network.load(path)) == identity(net)
    return net


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from places(node[key])


def change(header: dict[str, Any], rng: random.Random) -> None:
    """Replace, remove, add, exchange or nudge one or two values anywhere in the header."""
    for _ in range(rng.choice([1, 1, 2])):
        found = list(places(header))
        node, key = rng.choice(found)
        other, other_key = rng.choice(found)
        kind = rng.randrange(5)
        if kind == 0:
            node[key] = deepcopy(rng.choice(VALUES))
        elif kind == 1:
            del node[key]
        elif kind == 2 and isinstance(node, dict):
            node[rng.choice(KEYS)] = node[key]
        elif kind == 2:
            node.insert(key, deepcopy(rng.choice(VALUES)))
        elif kind == 3:
            node[key], other[other_key] = other[other_key], node[key]
        elif isinstance(node[key], int):
            node[key] += rng.choice([-8, -4, -1, 1, 4, 8])


def mutate(data: bytes, max_size: int, seed: int, mutate_bytes: Any) -> bytes:
    """Change the header as JSON, or its text, or the tensors; and sign it, or not."""
    rng = random.Random(seed)
    try:
        header, tensors = unpack(data)
        metadata = header["__metadata__"]
        metadata["architecture"] = json.loads(metadata["architecture"])
        part = rng.choice(["header"] * 4 + ["text", "value", "tensors", "file"])
        if part == "header":
            change(header, rng)
        if part == "tensors":
            tensors = mutate_bytes(tensors, len(tensors) + 8)
        if not isinstance(metadata["architecture"], str):
            metadata["architecture"] = json.dumps(metadata["architecture"])
        if rng.random() < 0.5:
            sign(header, tensors)
        if part == "value":
            header = rng.choice(VALUES)
        text = json.dumps(header).encode()
        if part == "text":
            text = mutate_bytes(text, len(text) + 64)
        if part != "file":
            return pack(text, tensors)[:max_size]
    except Exception:  # not a file that can be taken apart, or no longer one that can be signed
        pass
    return mutate_bytes(data, max_size)


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["chainrule.files.network"]):
        import chainrule.files.network  # noqa: F401

    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as tmp:
        path = Path(tmp) / "net"
        cr.Network([1, 1]).save(path)  # what is imported late is, before memory gets short

        def load(data: bytes) -> None:
            path.write_bytes(data)
            load_or_refuse(path)

        def mutate_with_atheris(data: bytes, max_size: int, seed: int) -> bytes:
            return mutate(data, max_size, seed, atheris.Mutate)

        # A merge starts this again. It mutates nothing, and with a mutator may not end.
        again = f"{sys.executable} -m fuzz.fuzz_load"
        options = {} if "-merge=1" in sys.argv else {"custom_mutator": mutate_with_atheris}
        atheris.Setup([again, *sys.argv[1:]], load, **options)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
