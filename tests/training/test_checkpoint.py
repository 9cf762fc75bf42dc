"""Checkpoints: when they are saved, what is in the file, and where they cannot be written."""

from __future__ import annotations

import json
import os
import random
import socket
import warnings

import numpy as np
import pytest

import chainrule as cr
from handmade import pack, resign, unpack
from privileges import NOBODY, shared_folder, unprivileged_folder, user
from resumable import CASES, data, network, train
from support import assert_same_bits, says, unchanged


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


class Watch:
    """Notes after which steps there is another file."""

    def __init__(self, path):
        self.path, self.seen, self.last = path, [], None

    def on_batch_end(self, network, epoch, step, cost):
        now = self.path.stat().st_ino if self.path.exists() else None
        if now != self.last:
            self.seen.append((epoch, step))
            self.last = now


# --- when -------------------------------------------------------------------------------------


def fit(net, path, *, epochs=5, callbacks=(), **when):
    checkpoint = cr.Checkpoint(path, **when)
    options = {"epochs": epochs, "batch_size": 500, "learning_rate": 0.1}
    return net.fit(*data(), **options, callbacks=callbacks, checkpoint=checkpoint)


def test_a_checkpoint_is_saved_after_every_epoch(path):
    watch = Watch(path)
    fit(network(), path, callbacks=[watch])
    assert watch.seen == [(2, 1), (3, 1), (4, 1), (5, 1)]  # seen at the next step


def test_a_checkpoint_is_saved_after_every_second_epoch_and_at_the_end(path):
    watch, net = Watch(path), network()
    fit(net, path, callbacks=[watch], every_epochs=2)
    assert watch.seen == [(3, 1), (5, 1)]
    assert cr.Network.load(path).epoch == 5
    assert_same_bits(cr.Network.load(path).get_parameters(), net.get_parameters())


def test_a_checkpoint_is_saved_within_an_epoch_when_it_is_time(path):
    watch = Watch(path)
    fit(network(), path, callbacks=[watch], every_epochs=None, every_seconds=1e-9)
    assert (1, 2) in watch.seen
    assert (1, 3) in watch.seen


def test_a_run_ended_by_a_callback_is_saved(path):
    net = network()
    fit(net, path, epochs=9, callbacks=[lambda network, history: len(history) == 2])
    assert cr.Network.load(path).epoch == 2
    with unchanged(net):
        assert len(net.history) == 2


def test_an_exception_in_a_callback_saves_what_was_learnt(path):
    net = network()

    def fails(network, history):
        if len(history) == 3:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fit(net, path, every_epochs=100, callbacks=[fails])
    assert_same_bits(cr.Network.load(path).get_parameters(), net.get_parameters())


def test_divergence_leaves_the_checkpoint_before_it(path):
    net = network()
    fit(net, path, epochs=2)
    before = path.read_bytes()
    x, y = data()
    with pytest.raises(cr.DivergenceError):
        net.fit(
            x,
            y,
            epochs=5,
            batch_size=10,
            learning_rate=lambda step: 1e38 if step else 1e-3,
            checkpoint=cr.Checkpoint(path, every_epochs=None, every_seconds=1e3),
        )
    assert path.read_bytes() == before


def test_wrong_arguments_leave_the_checkpoint_alone(path):
    net = network()
    fit(net, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="batch 1"):
        net.fit([(np.zeros((3, 4)), [0, 0, 0])], learning_rate=0.1, checkpoint=path)
    assert path.read_bytes() == before


# --- what -------------------------------------------------------------------------------------


def test_a_network_is_loaded_from_a_checkpoint(path):
    net = network()
    train("adam", net, checkpoint=path)
    loaded = cr.Network.load(path)
    assert_same_bits(loaded.get_parameters(), net.get_parameters())
    assert (loaded.sizes, loaded.seed, loaded.epoch) == (net.sizes, net.seed, net.epoch)
    assert repr(loaded) == repr(net)


def test_the_safetensors_package_reads_a_checkpoint(path):
    safetensors = pytest.importorskip("safetensors.numpy")
    net = network()
    history, optimizer = train("momentum", net, checkpoint=path, early_stopping=None)
    found = safetensors.load_file(path)
    for layer, (w, b) in enumerate(zip(net.weights, net.biases, strict=True), start=1):
        assert_same_bits(found[f"layers.{layer}.weight"], w)
        assert_same_bits(found[f"layers.{layer}.bias"], b)
    state = optimizer.state_dict()
    assert_same_bits(found["optimizer.momentum_buffer"], state["momentum_buffer"])
    assert found["history.cost"].tolist() == history.cost
    assert found["history.epochs"].tolist() == history.epochs
    assert found["history.validation_metrics.f1"].tolist() == history.validation_metrics["f1"]


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_checkpoint_is_refused(case, path):
    """Any byte: the SHA-256 covers all of them."""
    train(case, network(), epochs=2, checkpoint=path)
    good = path.read_bytes()
    places = random.Random(case)
    net = network()
    for _ in range(60):
        place = places.randrange(len(good))
        bad = bytearray(good)
        bad[place] ^= 1 << places.randrange(8)
        path.write_bytes(bad)
        with unchanged(net), pytest.raises(ValueError, match=says(path)):
            train(case, net, checkpoint=path, resume=True)
    for length in (0, 7, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with unchanged(net), pytest.raises(ValueError, match=says(path)):
            train(case, net, checkpoint=path, resume=True)


TAMPERED = {
    "epochs": -1,
    "steps": 10**6,
    "ended": 1,
    "cost": "0",
    "callbacks": None,
    "standing": [1.0],
    "settings": [],
    "optimizer": {"step": "x"},
    "best": 3,
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_checkpoint_is_refused(name, path):
    train("adam", network(), epochs=2, checkpoint=path)
    header, raw = unpack(path.read_bytes())
    fit = json.loads(header["__metadata__"]["fit"])
    fit[name] = TAMPERED[name]
    header["__metadata__"]["fit"] = json.dumps(fit)
    resign(header, raw)
    path.write_bytes(pack(header, raw))
    net = network()
    with unchanged(net), pytest.raises((ValueError, TypeError)):
        train("adam", net, checkpoint=path, resume=True)


# --- where ------------------------------------------------------------------------------------


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def file_at(path):
    path.write_bytes(b"mine")


#: What lies at "place", and the path of the checkpoint.
PLACES = {
    "no folder": (None, "missing/run", FileNotFoundError),
    "a folder": (os.mkdir, "place", IsADirectoryError),
    "this folder": (None, ".", IsADirectoryError),
    "a folder to come": (None, "new/", IsADirectoryError),
    "a pipe": (os.mkfifo, "place", FileExistsError),
    "a socket": (socket_at, "place", FileExistsError),
    "a device": (lambda path: path.symlink_to(os.devnull), "place", FileExistsError),
    "a file in place of a folder": (file_at, "place/run", NotADirectoryError),
    "a file with a slash": (file_at, "place/", IsADirectoryError),
    "a link to no folder": (lambda path: path.symlink_to("a/b"), "place", FileNotFoundError),
    "a loop of links": (lambda path: path.symlink_to(path), "place", OSError),
    "a long name": (None, "x" * 256, OSError),
    "a long path": (None, "x/" * 3000 + "run", OSError),
    "a null character": (None, "a\0b", ValueError),
    "no character": (None, "a\ud800b", ValueError),
    "nothing": (None, "", ValueError),
}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_cannot_be_written_is_refused_before_training(
    tmp_path, monkeypatch, place, resume
):
    """Nothing there is opened: a pipe would wait for its other end."""
    make, name, error = PLACES[place]
    monkeypatch.chdir(tmp_path)
    if make:
        make(tmp_path / "place")
    net, before = network(), os.listdir()
    with unchanged(net), pytest.raises(error) as caught:
        train("adam", net, checkpoint=name, resume=resume)
    message = str(caught.value)
    assert "checkpoint" in message
    assert repr(name)[1:-1] in message
    assert net.history is None
    assert os.listdir() == before


def test_a_folder_that_takes_no_file_is_refused_before_training():
    with unprivileged_folder() as folder:
        net = network()
        net.save(folder / "run")
        folder.chmod(0o500)
        with unchanged(net), pytest.raises(PermissionError, match=says("checkpoint", folder)):
            train("adam", net, checkpoint=folder / "run")


def test_a_file_that_only_its_owner_may_replace_is_refused_before_training():
    with shared_folder() as folder:
        path = folder / "run"
        network().save(path)
        folder.chmod(0o1777)
        net = network()
        with (
            user(NOBODY, NOBODY),
            unchanged(net),
            pytest.raises(PermissionError, match=says("checkpoint", path, "sticky")),
        ):
            train("adam", net, checkpoint=path)


def test_a_new_file_in_a_sticky_folder_is_fine():
    with shared_folder() as folder:
        folder.chmod(0o1777)
        with user(NOBODY, NOBODY):
            train("adam", network(), epochs=1, checkpoint=folder / "run")
            train("adam", network(), epochs=2, checkpoint=folder / "run", resume=True)
        assert cr.Network.load(folder / "run").epoch == 2


def test_a_dangling_link_into_a_folder_is_fine(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("target")
    train("adam", network(), epochs=1, checkpoint=link, resume=True)
    assert link.is_symlink()
    assert cr.Network.load(tmp_path / "target").epoch == 1


def test_a_checkpoint_keeps_the_permissions_of_the_file(path):
    fit(network(), path, epochs=1)
    path.chmod(0o640)
    fit(network(), path, epochs=1)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_is_an_error_that_leaves_checkpoint_and_network(path):
    resource = pytest.importorskip("resource")
    net = network()
    fit(net, path, epochs=2)
    before = path.read_bytes()
    learnt = []

    def fill(network, history):
        learnt.append(network.get_parameters())
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match=says(path)):
            fit(net, path, callbacks=[fill])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    assert_same_bits(net.get_parameters(), learnt[-1])
    assert len(net.history) == 1


def test_a_full_disk_at_ctrl_c_is_a_warning_beside_the_interrupt(path):
    resource = pytest.importorskip("resource")
    net = network()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def interrupt(network, history):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        raise KeyboardInterrupt

    try:
        with (
            pytest.raises(KeyboardInterrupt),
            pytest.warns(RuntimeWarning, match="checkpoint could not be saved"),
        ):
            fit(net, path, every_epochs=100, callbacks=[interrupt])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not path.exists()


def test_a_callback_whose_state_json_cannot_hold_is_named(path):
    class Callback:
        def on_epoch_end(self, network, history):
            pass

        def state_dict(self):
            return {"a": object()}

        def load_state_dict(self, state):
            pass

    with pytest.raises(TypeError, match=says("state_dict", "JSON")):
        fit(network(), path, callbacks=[Callback()])


@pytest.mark.parametrize(
    "options", [{"every_epochs": 0}, {"every_seconds": 0}, {"every_seconds": float("inf")}], ids=str
)
def test_a_wrong_interval_is_refused(options):
    with pytest.raises(ValueError, match=says(next(iter(options)))):
        cr.Checkpoint("x", **options)


def test_no_warning_is_given(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(network(), path)
