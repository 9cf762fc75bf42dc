"""Model files whose header or tensors do not fit the architecture: refused, with a reason."""

from __future__ import annotations

import json
import struct

import pytest

import chainrule as cr
from damaged import BIAS, LAST_BIAS, WEIGHT, refuses
from handmade import identity, pack, sign, unpack
from support import random_network

# --- the tensors ------------------------------------------------------------------------------


def resized(header, data, name, dtype, itemsize):
    """All tensors lie end to end; one of them has elements of another size."""
    end, parts = 0, []
    for each in sorted(header.keys() - {"__metadata__"}):
        begin, old_end = header[each]["data_offsets"]
        part = data[begin:old_end]
        if each == name:
            header[each]["dtype"] = dtype
            part = bytes(len(part) // 4 * itemsize)
        header[each]["data_offsets"] = [end, end := end + len(part)]
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("dtype", "itemsize"), [("F16", 2), ("BF16", 2), ("I64", 8), ("I32", 4), ("F64", 8)]
)
@pytest.mark.parametrize("names", [[WEIGHT], [WEIGHT, BIAS, "layers.2.weight", LAST_BIAS]], ids=len)
def test_tensors_of_another_type_are_refused(good, path, names, dtype, itemsize):
    header, data = good
    for name in names:
        data = resized(header, data, name, dtype, itemsize)
    sign(header, data)
    path.write_bytes(pack(header, data))
    refuses(path, "tensor", dtype, "F32")


ENTRIES = [
    (WEIGHT, {"shape": [2, 3]}),
    (WEIGHT, {"shape": [6]}),
    (WEIGHT, {"shape": [3, 2, 1]}),
    (WEIGHT, {"shape": [3, 3]}),
    (WEIGHT, {"shape": [-3, -2]}),
    (WEIGHT, {"shape": [0, 2]}),
    (WEIGHT, {"shape": [10**18, 10**18]}),
    (WEIGHT, {"shape": [3.0, 2]}),
    (WEIGHT, {"shape": [3, float("nan")]}),
    (WEIGHT, {"shape": ["3", "2"]}),
    (WEIGHT, {"shape": "32"}),
    (WEIGHT, {"shape": None}),
    (LAST_BIAS, {"shape": [True]}),
    (LAST_BIAS, {"shape": []}),
    (WEIGHT, {"dtype": "f32"}),
    (WEIGHT, {"dtype": "nonsense"}),
    (WEIGHT, {"dtype": None}),
    (BIAS, {"data_offsets": [20, 32]}),  # overlaps the weight
    (BIAS, {"data_offsets": [0, 12]}),
    (BIAS, {"data_offsets": [28, 40]}),  # leaves a hole
    (BIAS, {"data_offsets": [36, 24]}),
    (BIAS, {"data_offsets": [24, 35]}),
    (BIAS, {"data_offsets": [24.0, 36.0]}),
    (BIAS, {"data_offsets": [-36, -24]}),
    (BIAS, {"data_offsets": [2**64 + 24, 2**64 + 36]}),
    (BIAS, {"data_offsets": [24]}),
    (BIAS, {"data_offsets": [24, 36, 40]}),
    (BIAS, {"data_offsets": []}),
    (BIAS, {"data_offsets": [None, None]}),
    (BIAS, {"data_offsets": {"0": 24}}),
    (BIAS, {"data_offsets": None}),
    (WEIGHT, {"data_offsets": [False, 24]}),
    (WEIGHT, {"unknown": 1}),
]


def test_the_entries_below_are_changed_from_what_they_are(good):
    header, _ = good
    assert header[WEIGHT] == {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}
    assert header[BIAS] == {"dtype": "F32", "shape": [3], "data_offsets": [24, 36]}


@pytest.mark.parametrize(("name", "change"), ENTRIES, ids=str)
def test_an_entry_that_does_not_fit_the_architecture_is_refused(good, path, name, change):
    """The digest does not cover the entries, only what follows from them: it is still right."""
    header, data = good
    header[name].update(change)
    path.write_bytes(pack(header, data))
    refuses(path, "tensor", "expected")


@pytest.mark.parametrize("entry", [None, 1, "F32", [], {}, ["F32", [3, 2], [12, 36]]], ids=str)
def test_an_entry_that_is_no_entry_is_refused(good, path, entry):
    header, data = good
    header[WEIGHT] = entry
    path.write_bytes(pack(header, data))
    refuses(path, WEIGHT, "expected")


def test_an_entry_of_any_depth_is_refused(good, path):
    """Near the limit of recursion too, where what can be read may be too deep to be written."""
    header, data = good
    text = json.dumps(header).encode()
    for depth in [10, *range(900, 1000), *range(5000, 50_000, 1000)]:
        path.write_bytes(pack(text.replace(b"[3, 2]", b"[" * depth + b"]" * depth), data))
        refuses(path)


@pytest.mark.parametrize("other", ["layers.1.weights", "layers.01.weight", "layers.0.weight", ""])
def test_a_tensor_of_another_name_is_refused(good, path, other):
    header, data = good
    header[other] = header.pop(WEIGHT)
    path.write_bytes(pack(header, data))
    refuses(path, "lacks", WEIGHT)


def test_an_extra_tensor_is_refused(good, path):
    header, data = good
    header["layers.3.bias"] = {
        "dtype": "F32",
        "shape": [1],
        "data_offsets": [len(data), len(data) + 4],
    }
    data += bytes(4)
    sign(header, data)
    path.write_bytes(pack(header, data))
    refuses(path, "5 tensors, its architecture 4")


def test_a_missing_tensor_is_refused(good, path):
    """The last in the file, and its data too: what is left is a file without holes."""
    header, data = good
    begin, end = header.pop(LAST_BIAS)["data_offsets"]
    assert end == len(data)
    path.write_bytes(pack(header, data[:begin]))
    refuses(path, "3 tensors, its architecture 4")


@pytest.mark.parametrize("more", [b"\0" * 4, b"\0"])
def test_data_that_no_tensor_owns_are_refused(good, path, more):
    header, data = good
    path.write_bytes(pack(header, data + more))
    refuses(path, len(data), len(data) + len(more))


@pytest.fixture
def square(rng, path):
    """A network whose weights have the same shape, and the parts of its file."""
    net = random_network(rng, [2, 2, 2])
    net.save(path)
    return net, *unpack(path.read_bytes())


def test_the_order_of_the_tensors_in_the_file_is_free(square, path):
    net, header, data = square
    first, second = (header[f"layers.{layer}.weight"]["data_offsets"] for layer in (1, 2))
    assert second[0] > first[1]
    header["layers.1.weight"]["data_offsets"] = second
    header["layers.2.weight"]["data_offsets"] = first
    data = b"".join(
        [
            data[: first[0]],
            data[slice(*second)],
            data[first[1] : second[0]],
            data[slice(*first)],
            data[second[1] :],
        ]
    )
    path.write_bytes(pack(header, data))
    assert identity(cr.Network.load(path)) == identity(net)


def test_exchanged_weights_are_refused(square, path):
    _, header, data = square
    first, second = header["layers.1.weight"], header["layers.2.weight"]
    first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]
    path.write_bytes(pack(header, data))
    refuses(path, "SHA-256")


# --- the header -------------------------------------------------------------------------------


HEADERS = {
    "empty": lambda text: b"",
    "spaces": lambda text: b" " * 64,
    "null": lambda text: b"null",
    "a list": lambda text: b"[]",
    "text": lambda text: b'"text"',
    "an empty object": lambda text: b"{}",
    "not UTF-8": lambda text: text.replace(b"tanh", b"t\xffnh"),
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "with a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "a pickle": lambda text: b"\x80\x04N.",
    "followed by more": lambda text: text.rstrip() + b"{}",
    "followed by zeros": lambda text: text.rstrip() + bytes(8),
    "deep lists": lambda text: b'{"a":' + b"[" * 100_000,
    "deep objects": lambda text: b'{"a":' * 100_000,
    "a deep entry": lambda text: text.replace(b"[3]", b"[" * 100_000 + b"]" * 100_000),
    "an infinite size": lambda text: text.replace(b"[3]", b"[1e999]"),
    "a tensor twice": lambda text: text.replace(b'"layers.1.bias"', b'"layers.2.bias"', 1),
    "a tensor twice, alike": lambda text: text.replace(
        b'"layers.1.bias"',
        b'"layers.1.bias": {"dtype": "F32", "shape": [3], "data_offsets": [24, 36]}, '
        b'"layers.1.bias"',
    ),
    "the metadata twice": lambda text: b'{"__metadata__": {"seed": "1"}, ' + text[1:],
    "the seed twice": lambda text: text.replace(b'"seed"', b'"seed": "1", "seed"'),
    "a key of an entry twice": lambda text: text.replace(b'"shape"', b'"shape": [1], "shape"', 1),
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=list(HEADERS))
def test_a_header_that_is_not_as_it_must_be_is_refused(good, path, change):
    header, data = good
    text = json.dumps(header).encode()
    changed = change(text)
    assert changed != text
    path.write_bytes(pack(changed, data))
    refuses(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    {
        "empty": "header is not JSON",
        "null": "not a JSON object",
        "not UTF-8": "utf-8",
        "deep lists": "recursion",
        "deep objects": "recursion",
        "a tensor twice": "two entries",
        "a tensor twice, alike": "two entries",
        "the metadata twice": "two entries",
        "the seed twice": "two entries",
        "a key of an entry twice": "two entries",
    }.items(),
    ids=str,
)
def test_what_is_wrong_with_the_header_is_said(good, path, name, reason):
    header, data = good
    path.write_bytes(pack(HEADERS[name](json.dumps(header).encode()), data))
    refuses(path, reason)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 10**8, 10**6], ids=str)
def test_a_header_longer_than_the_file_is_refused(raw, path, length):
    path.write_bytes(struct.pack("<Q", length) + raw[8:])
    refuses(path, "ends within its header")


def test_a_header_length_that_is_off_is_refused(raw, path):
    (length,) = struct.unpack("<Q", raw[:8])
    for wrong in [0, 1, length - 1, length + 1, len(raw) - 8]:
        path.write_bytes(struct.pack("<Q", wrong) + raw[8:])
        refuses(path)
