"""Model files with flipped bits, cut off, or longer than they say: refused, cheaply."""

from __future__ import annotations

import json
import math
import os
import struct

import pytest

import chainrule as cr
from damaged import BIAS, LAST_BIAS, WEIGHT, refuses, small_network
from handmade import identity, pack, sign, unpack
from support import random_network, run_python


def test_a_file_taken_apart_signed_and_put_together_loads(good, net, path):
    """Without this, damaged files could be refused for the helper's mistakes."""
    header, data = good
    signed = header["__metadata__"]["sha256"]
    sign(header, data)
    assert header["__metadata__"]["sha256"] == signed
    path.write_bytes(pack(header, data))
    assert identity(cr.Network.load(path)) == identity(net)


# --- every bit, every length ------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_flipped_bit_is_refused(rng, path, dtype, bias):
    small_network(rng, dtype, bias).save(path)
    survivors = []
    with path.open("r+b") as file:
        raw = file.read()
        for place, byte in enumerate(raw):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), place)
                try:
                    cr.Network.load(path)
                except ValueError as error:
                    assert str(path) in str(error)
                else:
                    survivors.append((place, bit))
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert survivors == []
    cr.Network.load(path)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_truncation_is_refused(rng, path, dtype, bias):
    small_network(rng, dtype, bias).save(path)
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        refuses(path)


# --- what a small file can cost ---------------------------------------------------------------


LOAD_WITH_LITTLE_MEMORY = """
import resource, sys
import chainrule as cr

good, *files = sys.argv[1:]
cr.Network.load(good)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for file in files:
    try:
        cr.Network.load(file)
    except ValueError as error:
        print(error)
"""


def claiming(raw, sizes):
    """A file with the header of a larger network, which is consistent in all but its end."""
    header, data = unpack(raw)
    metadata = header["__metadata__"]
    metadata["architecture"] = json.dumps({**json.loads(metadata["architecture"]), "sizes": sizes})
    if len(sizes) == 3:
        end = 0
        for name, shape in {
            WEIGHT: [sizes[1], sizes[0]],
            BIAS: [sizes[1]],
            "layers.2.weight": [sizes[2], sizes[1]],
            LAST_BIAS: [sizes[2]],
        }.items():
            begin, end = end, end + 4 * math.prod(shape)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    return pack(header, data)


@pytest.mark.unsanitized
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
def test_a_small_file_cannot_claim_much_memory(raw, path, tmp_path):
    """Every file has less than a megabyte, and 64 MB are left to load it."""
    path.write_bytes(raw)
    claims = {
        "square": claiming(raw, [2**24, 2**24, 1]),
        "wide": claiming(raw, [1, 2**30, 1]),
        "high": claiming(raw, [2**30, 1, 1]),
        "beyond all memory": claiming(raw, [10**18, 10**18, 10**18]),
        "deep": claiming(raw, [1] * 300_000),
        "header of 2**63 bytes": struct.pack("<Q", 2**63) + b"{" * 100,
        "header of 2**33 bytes": struct.pack("<Q", 2**33) + b"{" * 100,
    }
    files = [tmp_path / name for name in claims]
    for file, content in zip(files, claims.values(), strict=True):
        assert len(content) < 10**6
        file.write_bytes(content)
    printed = run_python("-c", LOAD_WITH_LITTLE_MEMORY, str(path), *map(str, files))
    for file, line in zip(files, printed.splitlines(), strict=True):
        assert str(file) in line


LOAD_WHILE_IT_IS_SHORTENED = """
import os, sys
import chainrule as cr
from chainrule.files import network as files

path = sys.argv[1]
architecture = files._architecture

def shorten(*args):
    os.truncate(path, 4096)
    return architecture(*args)

files._architecture = shorten
try:
    cr.Network.load(path)
except ValueError as error:
    print(error)
"""


def test_a_file_that_is_shortened_while_it_is_read_is_refused(rng, path):
    """One that was mapped into memory would end the process, by SIGBUS."""
    random_network(rng, [100, 100]).save(path)
    printed = run_python("-c", LOAD_WHILE_IT_IS_SHORTENED, str(path))
    assert str(path) in printed
    assert "it was shortened" in printed
