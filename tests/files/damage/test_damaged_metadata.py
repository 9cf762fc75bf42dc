"""Model files whose architecture, counts or digest are forged: refused, with a reason."""

from __future__ import annotations

import json

import pytest

import chainrule as cr
from damaged import refuses
from handmade import pack, sign

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


@pytest.mark.parametrize("version", ["chainrule 2", "chainrule 10", "chainrule checkpoint 3"])
def test_a_newer_format_says_what_to_do(good, path, version):
    header, data = good
    header["__metadata__"]["format"] = version
    sign(header, data)
    path.write_bytes(pack(header, data))
    refuses(path, version, "newer version of chainrule wrote it, upgrade this one")


def test_an_entry_of_a_newer_version_is_refused(good, path):
    header, data = good
    header["__metadata__"]["trainable"] = "[1]"
    sign(header, data)
    path.write_bytes(pack(header, data))
    refuses(path, "entries that this version does not know", "trainable")


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


@pytest.mark.parametrize("key", ["seed", "epoch"])
def test_the_digest_covers_all_metadata(good, path, key):
    header, data = good
    header["__metadata__"][key] = "5"
    path.write_bytes(pack(header, data))
    refuses(path, "SHA-256")
