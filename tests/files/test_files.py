"""Saving, loading, pickling, copying: the same bits, and no damaged file goes unnoticed."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
import reference
from support import assert_same_bits, bits, random_network, says, unchanged

pytest.importorskip("safetensors")


@pytest.fixture(params=["float32", "float64"])
def net(request, rng):
    net = random_network(rng, [5, 7, 3], ["gelu", "softmax"], "cross_entropy", dtype=request.param)
    net.fit(rng.normal(size=(30, 5)), rng.integers(0, 3, 30), epochs=3, learning_rate=0.1)
    return net


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def header_of(path):
    """The JSON header, by the format's definition: eight bytes of length, then the text."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length])


def through_file(net, path):
    net.save(path)
    return cr.Network.load(path)


ROUND_TRIPS = {
    "save": through_file,
    "pickle": lambda net, path: pickle.loads(pickle.dumps(net)),
    "copy": lambda net, path: copy.copy(net),
    "deepcopy": lambda net, path: copy.deepcopy(net),
}


@pytest.fixture(params=ROUND_TRIPS)
def round_trip(request):
    return ROUND_TRIPS[request.param]


@pytest.mark.bits
def test_a_copy_has_the_same_bits(net, path, round_trip, rng):
    other = round_trip(net, path)
    x = rng.normal(size=(9, 5)).astype(net.dtype)
    assert type(other) is cr.Network
    assert_same_bits(other.get_parameters(), net.get_parameters())
    assert_same_bits(other.predict(x), net.predict(x))


def test_a_copy_has_the_same_architecture(net, path, round_trip):
    other = round_trip(net, path)
    for name in ("sizes", "activations", "loss", "dtype", "seed", "n_parameters"):
        assert getattr(other, name) == getattr(net, name)


def test_a_copy_is_independent(net, path, round_trip):
    other = round_trip(net, path)
    with unchanged(net):
        other.weights[0][...] = 0
        other.biases[0][...] = 0


def test_networks_without_bias_survive(rng, path, round_trip):
    net = random_network(rng, [5, 7, 3], bias=False)
    other = round_trip(net, path)
    assert other.biases == ()
    assert_same_bits(other.get_parameters(), net.get_parameters())


@given(st.data())
def test_every_architecture_survives_a_pickle(data):
    sizes = data.draw(st.lists(st.integers(1, 20), min_size=2, max_size=5))
    output = data.draw(st.sampled_from(list(reference.ACTIVATIONS)))
    loss = data.draw(st.sampled_from(reference.permitted_losses(output)))
    net = cr.Network(
        sizes,
        ["relu"] * (len(sizes) - 2) + [output],
        loss,
        dtype=data.draw(st.sampled_from(["float32", "float64"])),
        bias=data.draw(st.booleans()),
        seed=data.draw(st.integers(0, 2**64 - 1)),
    )
    other = pickle.loads(pickle.dumps(net))
    assert repr(other) == repr(net)
    assert_same_bits(other.get_parameters(), net.get_parameters())


def test_numbers_that_are_not_finite_survive(net, path, round_trip):
    net.weights[0][0, :3] = [np.nan, np.inf, -0.0]
    assert_same_bits(round_trip(net, path).get_parameters(), net.get_parameters())


def test_subclasses_keep_their_class(net, path):
    class Mine(cr.Network):
        pass

    net.save(path)
    assert type(Mine.load(path)) is Mine


# --- the file ---------------------------------------------------------------------------------


def test_the_file_is_safetensors_with_the_architecture_in_its_header(net, path):
    net.save(path)
    header = header_of(path)
    metadata = json.dumps(header.pop("__metadata__"))
    for part in ("5", "7", "3", "gelu", "softmax", "cross_entropy", str(net.seed)):
        assert part in metadata
    kinds = {"float32": "F32", "float64": "F64"}
    assert {t["dtype"] for t in header.values()} == {kinds[net.dtype.name]}
    assert sum(int(np.prod(t["shape"])) for t in header.values()) == net.n_parameters


def test_other_software_reads_the_weights(net, path):
    from safetensors.numpy import load_file

    net.save(path)
    tensors = list(load_file(path).values())
    for ours in (*net.weights, *net.biases):
        assert any(bits(ours) == bits(t) and t.shape == ours.shape for t in tensors)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_may_be_text_or_a_path(net, path, kind):
    net.save(kind(path))
    assert_same_bits(cr.Network.load(kind(path)).get_parameters(), net.get_parameters())


def test_saving_leaves_nothing_else_behind(net, path):
    net.save(path)
    net.save(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("portion", [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_one_changed_byte_is_refused(net, path, portion):
    net.save(path)
    raw = bytearray(path.read_bytes())
    raw[int(portion * len(raw))] ^= 0x10
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=says(path.name)):
        cr.Network.load(path)


def test_every_byte_of_the_tensors_is_covered(net, path):
    net.save(path)
    good = path.read_bytes()
    start = 8 + struct.unpack("<Q", good[:8])[0]
    for i in range(start, len(good), 7):
        path.write_bytes(good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :])
        with pytest.raises(ValueError):
            cr.Network.load(path)


def test_a_changed_architecture_is_refused(net, path):
    net.save(path)
    raw = path.read_bytes()
    changed = raw.replace(b"gelu", b"silu")
    assert changed != raw
    path.write_bytes(changed)
    with pytest.raises(ValueError):
        cr.Network.load(path)


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1, -100])
def test_a_truncated_file_is_refused(net, path, keep):
    net.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=says(path.name)):
        cr.Network.load(path)


def test_bytes_after_the_end_are_refused(net, path):
    net.save(path)
    path.write_bytes(path.read_bytes() + b"\0" * 8)
    with pytest.raises(ValueError):
        cr.Network.load(path)


def test_a_safetensors_file_of_someone_else_is_refused(path):
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros((2, 3), np.float32)}, path)
    with pytest.raises(ValueError, match=says(path.name)):
        cr.Network.load(path)


def test_a_pickle_is_not_loaded(net, path):
    path.write_bytes(pickle.dumps(net))
    with pytest.raises(ValueError):
        cr.Network.load(path)


def test_a_missing_file_is_a_file_not_found_error(path):
    with pytest.raises(FileNotFoundError):
        cr.Network.load(path)


def test_a_missing_folder_is_refused(net, path):
    with pytest.raises(OSError):
        net.save(path.parent / "missing" / "net")


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(net, path, monkeypatch, stage):
    net.save(path)
    old = path.read_bytes()
    net.weights[0][...] = 0

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(os, stage, fail)
    if stage == "replace":
        monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="disk full"):
        net.save(path)
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == [path.name]
