"""A run is resumed on the data it was begun with, whatever their storage, and on no other."""

from __future__ import annotations

import json
import signal
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
import chainrule.training.fingerprint
from chainrule.training.fingerprint import fingerprint
from handmade import pack, resign, unpack
from support import assert_same_bits, says, unchanged

N = 1000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def network(dtype="float32"):
    return cr.Network([5, 8, 3], ["tanh", "softmax"], "cross_entropy", dtype=dtype, seed=7)


def arrays():
    """Numbers that float16 holds, so that every float type has the same ones."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N)
    x = (rng.normal(size=(N, 5)) + 2 * np.eye(3, 5)[y]).astype(np.float16).astype(np.float32)
    return {
        "X": x,
        "Y": y,
        "sample_weight": rng.random(N),
        "validation_data": (x[:300] + 1, y[:300], rng.random(300)),
    }


class CtrlC:
    def __init__(self, epoch, step):
        self.at = epoch, step

    def on_batch_end(self, network, epoch, step, cost):
        if (epoch, step) == self.at:
            raise KeyboardInterrupt


OPTIONS = {"epochs": 3, "batch_size": 50, "optimizer": None, "learning_rate": 0.1}


def interrupt(net, path, at=(2, 7), **arguments):
    with pytest.raises(KeyboardInterrupt):
        net.fit(**{**OPTIONS, **arguments}, callbacks=[CtrlC(*at)], checkpoint=path)


def resume(net, path, **arguments):
    return net.fit(**{**OPTIONS, **arguments}, checkpoint=path, resume=True)


def assert_refused(path, *parts, **arguments):
    """The run is not resumed, and nothing has changed."""
    before, net = path.read_bytes(), network()
    with unchanged(net), pytest.raises(ValueError, match=says(path, *parts)):
        resume(net, path, **arguments)
    assert path.read_bytes() == before
    assert (net.seed, net.epoch) == (7, 0)


# --- other data -------------------------------------------------------------------------------


def test_rows_that_were_replaced_are_noticed(path):
    """All but 64 rows at equal distances, which another version compared."""
    given = arrays()
    interrupt(network(), path, **given)
    kept = [i * N // 64 for i in range(64)]
    x = given["X"][::-1].copy()
    x[kept] = given["X"][kept]
    assert_refused(path, "data is", **{**given, "X": x})


@pytest.mark.parametrize("row", [0, 1, 499, N - 1])
@pytest.mark.parametrize("name", ["X", "Y", "sample_weight"])
def test_one_number_that_was_changed_is_noticed(path, name, row):
    given = arrays()
    interrupt(network(), path, **given)
    changed = given[name].copy()
    if name == "Y":
        changed[row] = (changed[row] + 1) % 3
    else:
        changed[row] = np.nextafter(changed[row], changed.dtype.type(9))
    assert_refused(path, "data is", **{**given, name: changed})


@pytest.mark.parametrize("part", [0, 1, 2])
def test_one_number_of_the_validation_data_that_was_changed_is_noticed(path, part):
    given = arrays()
    interrupt(network(), path, **given)
    data = [array.copy() for array in given["validation_data"]]
    data[part][-1] = 0 if part != 1 else (data[1][-1] + 1) % 3
    assert_refused(path, "validation is", **{**given, "validation_data": data})


def test_equal_numbers_of_other_shapes_are_other_data():
    x, y, net = np.arange(24, dtype=np.float32), np.arange(12, dtype=np.float32), network()
    shapes = [(x.reshape(n, -1), y.reshape(n, -1), None) for n in (1, 2, 4, 6, 12)]
    digests = {fingerprint(net, data).split()[-1] for data in shapes}
    assert len(digests) == len(shapes)


def test_weights_of_one_are_not_no_weights(path):
    given = arrays()
    interrupt(network(), path, X=given["X"], Y=given["Y"])
    assert_refused(path, "data is", X=given["X"], Y=given["Y"], sample_weight=np.ones(N))


def test_labels_and_one_hot_rows_are_told_apart(path):
    given = arrays()
    interrupt(network(), path, X=given["X"], Y=given["Y"])
    assert_refused(path, "data is", X=given["X"], Y=np.eye(3)[given["Y"]])


# --- the same data ----------------------------------------------------------------------------


def mapped(x, folder):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def strided(x, folder):
    wide = np.full((2 * len(x), 3 * x.shape[1]), 7, x.dtype)
    wide[::2, ::3] = x
    return wide[::2, ::3]


def unaligned(x, folder):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(x.tobytes(), np.uint8)
    return raw[1:].view(x.dtype).reshape(x.shape)


STORED = {
    "as Fortran does": lambda x, folder: np.asfortranarray(x),
    "strided": strided,
    "backwards": lambda x, folder: x[::-1].copy()[::-1],
    "mapped": mapped,
    "unaligned": unaligned,
    "float64": lambda x, folder: x.astype(np.float64),
    "float16": lambda x, folder: x.astype(np.float16),
    "long double": lambda x, folder: x.astype(np.longdouble),
    "big-endian": lambda x, folder: x.astype(">f8"),
    "a list": lambda x, folder: x.tolist(),
}


@pytest.mark.parametrize("stored", STORED)
def test_the_same_numbers_in_another_array_are_the_same_data(path, tmp_path, stored):
    given = arrays()
    expected = network()
    expected.fit(**OPTIONS, **given)
    interrupt(network(), path, **given)
    net = network()
    resume(net, path, **{**given, "X": STORED[stored](given["X"], tmp_path)})
    assert_same_bits(net.get_parameters(), expected.get_parameters())


@pytest.mark.parametrize("dtype", ["uint8", "int32", ">i8"])
def test_labels_of_another_integer_type_are_the_same_data(path, dtype):
    given = arrays()
    interrupt(network(), path, **given)
    assert len(resume(network(), path, **{**given, "Y": given["Y"].astype(dtype)})) == 3


def test_numbers_that_round_to_the_same_in_the_networks_type_are_the_same_data(path):
    given = arrays()
    x = given["X"].astype(np.float64)
    interrupt(network(), path, **{**given, "X": np.nextafter(x, 9)})
    assert len(resume(network(), path, **given)) == 3


def test_numbers_that_differ_in_the_networks_type_are_other_data(path):
    given = arrays()
    interrupt(network("float64"), path, **given)
    x = np.nextafter(given["X"].astype(np.float64), 9)
    with pytest.raises(ValueError, match="data is"):
        resume(network("float64"), path, **{**given, "X": x})


# --- how the data are read --------------------------------------------------------------------


def test_data_are_compared_without_a_copy(path):
    x = np.zeros((100_000, 100), np.float64)  # 80 MB, and 40 MB in the network's type
    y = np.zeros((100_000, 1), np.float64)
    net = cr.Network([100, 1], seed=0)
    options = {"epochs": 0, "learning_rate": 0.1}
    net.fit(x, y, **options, checkpoint=path)  # what is imported late is
    tracemalloc.start()
    net.fit(x, y, **options, checkpoint=path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_ctrl_c_ends_the_reading_of_the_data(path, monkeypatch):
    def slices(n, width):
        yield slice(0, 1)
        signal.raise_signal(signal.SIGINT)
        yield slice(1, n)

    monkeypatch.setattr(chainrule.training.fingerprint, "row_slices", slices)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    net = network()
    try:
        with unchanged(net), pytest.raises(KeyboardInterrupt):
            net.fit(**OPTIONS, **arrays(), checkpoint=path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not path.exists()


def test_without_a_checkpoint_data_are_not_read_for_it(monkeypatch):
    monkeypatch.setattr(chainrule.training.fingerprint, "row_slices", None)
    network().fit(**OPTIONS, **arrays())
    network().fit([(np.zeros((2, 5)), [0, 1])], learning_rate=0.1)


def test_a_checkpoint_in_place_of_the_data_is_refused(tmp_path):
    given = arrays()
    x = mapped(given["X"], tmp_path)
    file = tmp_path / "x.npy"
    before, link, net = file.read_bytes(), tmp_path / "link", network()
    link.symlink_to(file)
    data = {**given, "X": x[10:, :], "Y": given["Y"][10:], "sample_weight": None}
    with unchanged(net), pytest.raises(ValueError, match=says(link, "mapped")):
        net.fit(**OPTIONS, **data, checkpoint=link)
    assert file.read_bytes() == before


# --- other versions ---------------------------------------------------------------------------


def rewrite(path, change):
    """Change the metadata of a checkpoint, and sign it anew."""
    header, raw = unpack(path.read_bytes())
    metadata = header["__metadata__"]
    fit = json.loads(metadata["fit"])
    change(metadata, fit)
    metadata["fit"] = json.dumps(fit)
    resign(header, raw)
    path.write_bytes(pack(header, raw))


def test_a_checkpoint_of_an_earlier_version_is_refused_with_the_ways_on(path):
    given = arrays()
    stopped = network()
    interrupt(stopped, path, **given)

    def change(metadata, fit):
        metadata["format"] = "chainrule checkpoint 1"
        del fit["stream"]
        fit["settings"]["data"] = "1000 samples 0123456789ab"

    rewrite(path, change)
    assert_refused(path, "earlier version", "64 rows", "Network.load", "resume=False", **given)
    assert_same_bits(cr.Network.load(path).get_parameters(), stopped.get_parameters())
    net = network()
    net.fit(**OPTIONS, **given, checkpoint=path)
    assert len(resume(network(), path, **given)) == 3


def test_a_checkpoint_of_a_later_version_is_refused(path):
    given = arrays()
    interrupt(network(), path, **given)
    rewrite(path, lambda metadata, fit: metadata.update(format="chainrule checkpoint 3"))
    assert_refused(path, "chainrule checkpoint 3", **given)
    with pytest.raises(ValueError, match=says(path, "chainrule checkpoint 3")):
        cr.Network.load(path)
