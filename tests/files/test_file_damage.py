"""Model files that are damaged, forged, or no files at all: refused, with a reason, cheaply."""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from handmade import identity, pack, sign, unpack
from support import random_network, run_python, says

WEIGHT, BIAS, LAST_BIAS = "layers.1.weight", "layers.1.bias", "layers.2.bias"


def small_network(rng, dtype="float32", bias=True):
    net = random_network(rng, [2, 3, 1], ["tanh", "identity"], dtype=dtype, bias=bias)
    net.fit(rng.normal(size=(4, 2)), rng.normal(size=4), epochs=12, learning_rate=0.1)
    return net


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.fixture(scope="module")
def net():
    return small_network(np.random.default_rng(0))


@pytest.fixture(scope="module")
def raw(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "net.safetensors"
    net.save(path)
    return path.read_bytes()


@pytest.fixture
def good(raw):
    """The parts of a good file: its header and its data."""
    return unpack(raw)


def refuses(path, *reasons):
    with pytest.raises(ValueError, match=says(path)) as caught:
        cr.Network.load(path)
    reason = str(caught.value).replace(str(path), "")
    for part in reasons:
        assert str(part) in reason


def test_a_file_taken_apart_signed_and_put_together_loads(good, net, path):
    """Without this, the files below could be refused for the helper's mistakes."""
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


# --- the architecture -------------------------------------------------------------------------


ARCHITECTURES = [
    ("sizes", [2, 10**18, 1], "layers.1"),
    ("sizes", [10**18, 10**18, 10**18], "layers.1"),
    ("sizes", [2, 10**400, 1], "layers.1"),
    ("sizes", [3, 2, 1], "layers.1"),
    ("sizes", [2, 3, 1, 1], "4 tensors, its architecture 6"),
    ("sizes", [2, 3], "4 tensors, its architecture 2"),
    ("sizes", [2], "sizes"),
    ("sizes", [], "sizes"),
    ("sizes", [2, 3, True], "sizes"),
    ("sizes", [2, 3.0, 1], "sizes"),
    ("sizes", [2, float("nan"), 1], "sizes"),
    ("sizes", [2, float("inf"), 1], "sizes"),
    ("sizes", [2, 0, 1], "sizes"),
    ("sizes", [2, -3, 1], "sizes"),
    ("sizes", [2, "3", 1], "sizes"),
    ("sizes", [2, None, 1], "sizes"),
    ("sizes", [[2, 3, 1]], "sizes"),
    ("sizes", {"0": 2}, "sizes"),
    ("sizes", "231", "sizes"),
    ("sizes", 3, "sizes"),
    ("activations", ["tanh", "swish"], "swish"),
    ("activations", ["tanh", "identity\0"], "identity"),
    ("activations", ["tanh", "\ud800"], "activations"),
    ("activations", ["softmax", "identity"], "softmax"),
    ("activations", ["tanh"], "1 activations for 2 layers"),
    ("activations", [], "0 activations for 2 layers"),
    ("activations", ["tanh", 3], "activations"),
    ("activations", [["tanh"], "identity"], "activations"),
    ("activations", "tanh", "activations"),
    ("activations", None, "activations"),
    ("loss", "cross_entropy", "softmax"),
    ("loss", "binary_cross_entropy", "sigmoid"),
    ("loss", "nope", "nope"),
    ("loss", ["half_mse"], "loss"),
    ("loss", None, "loss"),
    ("dtype", "float16", "float16"),
    ("dtype", "float64", "F64"),
    ("dtype", "F32", "dtype"),
    ("dtype", ["float32"], "dtype"),
    ("dtype", None, "dtype"),
    ("bias", False, "4 tensors, its architecture 2"),
    ("bias", 1, "bias"),
    ("bias", "true", "bias"),
    ("bias", None, "bias"),
]


@pytest.mark.parametrize(("key", "value", "reason"), ARCHITECTURES, ids=str)
def test_an_architecture_that_cannot_be_is_refused(good, path, key, value, reason):
    header, data = good
    metadata = header["__metadata__"]
    metadata["architecture"] = json.dumps({**json.loads(metadata["architecture"]), key: value})
    sign(header, data)
    path.write_bytes(pack(header, data))
    refuses(path, reason)


TEXTS = {
    "empty": ("architecture", lambda text: ""),
    "null": ("architecture", lambda text: "null"),
    "a list": ("architecture", lambda text: "[]"),
    "a number": ("architecture", lambda text: "1"),
    "cut off": ("architecture", lambda text: text[:-1]),
    "followed by more": ("architecture", lambda text: text + "{}"),
    "with a byte order mark": ("architecture", lambda text: "\ufeff" + text),
    "without the loss": ("loss", lambda text: text.replace('"loss": "half_mse", ', "")),
    "with an unknown entry": ("entries", lambda text: text.replace("{", '{"init": "zeros", ')),
    "with sizes twice": ("two entries", lambda text: text.replace("{", '{"sizes": [9, 9], ')),
    "with many digits": ("digits", lambda text: text.replace("[2", "[" + "9" * 5000)),
    "in deep lists": ("recursion", lambda text: "[" * 100_000),
    "in deep objects": ("recursion", lambda text: '{"sizes":' * 100_000),
    "with deep sizes": (
        "recursion",
        lambda text: text.replace("[2, 3, 1]", "[" * 100_000 + "]" * 100_000),
    ),
}


@pytest.mark.parametrize(("reason", "change"), TEXTS.values(), ids=list(TEXTS))
def test_an_architecture_that_is_not_such_json_is_refused(good, path, reason, change):
    header, data = good
    metadata = header["__metadata__"]
    changed = change(metadata["architecture"])
    assert changed != metadata["architecture"]
    metadata["architecture"] = changed
    sign(header, data)
    path.write_bytes(pack(header, data))
    refuses(path, reason)


# --- seed and epoch ---------------------------------------------------------------------------


NOT_COUNTS = ["", "-1", "+1", " 1", "1\n", "1_000", "1.0", "1e3", "0x10", "true", "nan", "1\0"]
OTHER_DIGITS = ["\u0661", "\u00b2", "\uff11", "1\u0661"]  # int() takes most of them


@pytest.mark.parametrize("text", [*NOT_COUNTS, *OTHER_DIGITS, "9" * 5000, str(2**64)], ids=ascii)
@pytest.mark.parametrize("name", ["seed", "epoch"])
def test_a_seed_or_an_epoch_that_is_not_an_integer_in_range_is_refused(good, path, name, text):
    header, data = good
    header["__metadata__"][name] = text
    sign(header, data)
    path.write_bytes(pack(header, data))
    refuses(path, name)


@pytest.mark.parametrize("name", ["seed", "epoch"])
def test_the_largest_seed_and_epoch_load(good, path, name):
    header, data = good
    header["__metadata__"][name] = str(2**64 - 1)
    sign(header, data)
    path.write_bytes(pack(header, data))
    assert getattr(cr.Network.load(path), name) == 2**64 - 1


# --- the rest of the metadata -----------------------------------------------------------------


@pytest.mark.parametrize("version", ["chainrule 2", "chainrule 1.0", "Chainrule 1", "", None])
def test_a_format_of_another_version_is_refused(good, path, version):
    header, data = good
    header["__metadata__"].pop("format")
    if version is not None:
        header["__metadata__"]["format"] = version
    sign(header, data)
    path.write_bytes(pack(header, data))
    refuses(path, "format", repr(version), "chainrule 1")


@pytest.mark.parametrize("name", ["architecture", "seed", "epoch", "sha256"])
def test_a_missing_entry_is_named(good, path, name):
    header, data = good
    header["__metadata__"].pop(name)
    if name != "sha256":
        sign(header, data)
    path.write_bytes(pack(header, data))
    refuses(path, "lacks", name)


@pytest.mark.parametrize(
    "metadata",
    [None, [], "text", {"seed": 0}, {"seed": None}, {"architecture": {"sizes": [2, 3, 1]}}],
    ids=str,
)
def test_metadata_that_are_not_text_are_refused(good, path, metadata):
    header, data = good
    if isinstance(metadata, dict):
        metadata = {**header["__metadata__"], **metadata}
    header["__metadata__"] = metadata
    path.write_bytes(pack(header, data))
    refuses(path, "metadata")


@pytest.mark.parametrize(
    "change",
    [str.upper, lambda digest: digest[:32], lambda digest: digest + "0", lambda digest: ""],
    ids=["upper case", "too short", "too long", "empty"],
)
def test_a_digest_of_another_form_is_refused(good, path, change):
    header, data = good
    header["__metadata__"]["sha256"] = change(header["__metadata__"]["sha256"])
    path.write_bytes(pack(header, data))
    refuses(path, "SHA-256")


@pytest.mark.parametrize("key", ["seed", "epoch", "note"])
def test_the_digest_covers_all_metadata(good, path, key):
    header, data = good
    header["__metadata__"][key] = "5"
    path.write_bytes(pack(header, data))
    refuses(path, "SHA-256")


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


# --- paths ------------------------------------------------------------------------------------


def test_an_empty_file_is_refused(path):
    path.touch()
    refuses(path, "header")


@pytest.mark.parametrize("target", [os.curdir, os.devnull])
def test_what_is_not_a_regular_file_is_refused(target):
    refuses(target, "regular file")


def test_a_pipe_is_refused_at_once(tmp_path):
    """Opening it would wait for a writer."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"""
import chainrule as cr
try:
    cr.Network.load({str(pipe)!r})
except ValueError as error:
    print(error)
"""
    printed = run_python("-c", script, timeout=60)
    assert str(pipe) in printed
    assert "regular file" in printed


def test_a_loop_of_symbolic_links_is_an_os_error(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.symlink_to(b)
    b.symlink_to(a)
    with pytest.raises(OSError, match=says(a)):
        cr.Network.load(a)


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(ValueError, match=says(r"'a\x00b'", "null")):
        cr.Network.load("a\0b")


@pytest.mark.parametrize("path", [None, 3, ["a"]], ids=str)
def test_what_is_no_path_is_a_type_error(net, path):
    with pytest.raises(TypeError, match="PathLike"):
        cr.Network.load(path)
    with pytest.raises(TypeError, match="PathLike"):
        net.save(path)


@pytest.mark.parametrize("name", [b"net", b"n\xffet", "n\u00e9t".encode()], ids=ascii)
def test_a_path_may_be_bytes(net, tmp_path, name):
    path = os.fsencode(tmp_path) + b"/" + name
    try:
        Path(os.fsdecode(path)).touch()
    except OSError:
        pytest.skip(f"this file system takes no file called {name!r}")
    for each in (path, os.fsdecode(path)):
        net.save(each)
        assert identity(cr.Network.load(each)) == identity(net)
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    os.truncate(path, 100)
    with pytest.raises(ValueError, match=says(repr(os.fsdecode(path)))) as caught:
        cr.Network.load(path)
    str(caught.value).encode()  # can be printed
