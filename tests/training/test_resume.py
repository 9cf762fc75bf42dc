"""A run that is interrupted and resumed has the bits of one that is not."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
import resumable
from chainrule.metrics import evaluate
from resumable import CASES, EPOCHS, network, train
from support import TESTS, assert_same_bits, says, unchanged

pytestmark = pytest.mark.bits


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "run.safetensors"


@pytest.fixture(scope="module")
def uninterrupted():
    """Network, history and optimiser of every case, trained without a checkpoint."""
    runs = {}
    for case in CASES:
        net = network()
        runs[case] = (net, *train(case, net))
    return runs


def assert_same_run(net, history, optimizer, expected) -> None:
    other, their_history, their_optimizer = expected
    assert_same_bits(net.get_parameters(), other.get_parameters())
    assert (net.epoch, net.seed) == (other.epoch, other.seed)
    ours, theirs = history.to_dict(), their_history.to_dict()
    assert len(ours.pop("seconds")) == len(theirs.pop("seconds"))
    assert ours == theirs
    if optimizer is not None:
        assert optimizer.learning_rate == their_optimizer.learning_rate
        state, their_state = optimizer.state_dict(), their_optimizer.state_dict()
        assert state.keys() == their_state.keys()
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                assert_same_bits(value, their_state[name])
            else:
                assert value == their_state[name]


class Interrupt:
    """Ends a run as Ctrl-C would, after so many steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_batch_end(self, network, epoch, step, cost):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def interrupted(case, path, after, seed=7, **options):
    net = network(seed)
    arguments = {"epochs": EPOCHS, **CASES[case](), **options}
    arguments["callbacks"] = [*arguments.get("callbacks", []), Interrupt(after)]
    with pytest.raises(KeyboardInterrupt):
        net.fit(**arguments, checkpoint=path)
    return net


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("after", [1, 20, 22, 23, 60, 70])
def test_an_interrupted_run_goes_on_with_the_same_bits(case, after, path, uninterrupted):
    stopped = interrupted(case, path, after)
    assert_same_bits(cr.Network.load(path).get_parameters(), stopped.get_parameters())
    net = network(seed=1)  # whose weights and seed the checkpoint replaces
    history, optimizer = train(case, net, checkpoint=path, resume=True)
    assert_same_run(net, history, optimizer, uninterrupted[case])
    assert net.history is history


@pytest.mark.parametrize("case", CASES)
def test_a_run_may_be_interrupted_again_and_again(case, path, uninterrupted):
    """Also before its first step after the resumption, and in the same process."""
    history = None
    for after in [5, 1, 1, 30, 18, 1]:
        net = network()
        try:
            arguments = {"epochs": EPOCHS, **CASES[case]()}
            callbacks = [*arguments.pop("callbacks", []), Interrupt(after)]
            net.fit(**arguments, callbacks=callbacks, checkpoint=path, resume=True)
        except KeyboardInterrupt:
            continue
    net = network()
    history, optimizer = train(case, net, checkpoint=path, resume=True)
    assert_same_run(net, history, optimizer, uninterrupted[case])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_may_change(case, threads, path, uninterrupted):
    interrupted(case, path, 40, threads=3 - threads)
    net = network()
    history, optimizer = train(case, net, checkpoint=path, resume=True, threads=threads)
    assert_same_run(net, history, optimizer, uninterrupted[case])


@pytest.mark.parametrize("case", ["momentum", "stops early"])
@pytest.mark.parametrize("place", ["evaluate", "callback"])
def test_an_interruption_after_the_last_step_of_an_epoch(
    case, place, path, uninterrupted, monkeypatch
):
    """While the epoch is measured, or its callbacks run: they see that epoch again."""
    calls = [0]

    def second_time():
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt

    arguments = {"epochs": EPOCHS, **CASES[case]()}
    if place == "evaluate":
        arguments["metrics"] = [*arguments.get("metrics", ["accuracy"])]
        with monkeypatch.context() as patch:
            patch.setattr(
                "chainrule.training.measures.evaluate",
                lambda *data: (second_time(), evaluate(*data))[1],
            )
            with pytest.raises(KeyboardInterrupt):
                network().fit(**arguments, checkpoint=path)
    else:
        callbacks = [*arguments.pop("callbacks", []), lambda network, history: second_time()]
        with pytest.raises(KeyboardInterrupt):
            network().fit(**arguments, callbacks=callbacks, checkpoint=path)
    net = network()
    options = {"metrics": arguments["metrics"]} if "metrics" in arguments else {}
    history, optimizer = train(case, net, checkpoint=path, resume=True, **options)
    assert_same_run(net, history, optimizer, uninterrupted[case])


@pytest.mark.parametrize("case", CASES)
def test_a_finished_run_is_given_back_without_training(case, path, uninterrupted):
    train(case, network(), checkpoint=path)
    saved = path.read_bytes()
    net = network()
    seen = []
    arguments = CASES[case]()
    callbacks = [*arguments.pop("callbacks", []), lambda network, history: seen.append(1)]
    history = net.fit(**arguments, epochs=EPOCHS, callbacks=callbacks, checkpoint=path, resume=True)
    assert_same_run(net, history, arguments.get("optimizer"), uninterrupted[case])
    assert not seen
    assert path.read_bytes() == saved


@pytest.mark.parametrize("case", CASES)
def test_a_finished_run_may_be_given_more_epochs(case, path, uninterrupted):
    train(case, network(), epochs=2, checkpoint=path)
    net = network()
    history, optimizer = train(case, net, checkpoint=path, resume=True)
    assert_same_run(net, history, optimizer, uninterrupted[case])


def test_a_run_that_early_stopping_ended_stays_ended(path, uninterrupted):
    assert len(uninterrupted["stops early"][1]) < EPOCHS
    train("stops early", network(), checkpoint=path)
    net = network()
    history, optimizer = train("stops early", net, epochs=50, checkpoint=path, resume=True)
    assert_same_run(net, history, optimizer, uninterrupted["stops early"])


def test_a_run_on_a_network_that_was_trained_before(path):
    x, y = resumable.data()
    options = {"epochs": 4, "learning_rate": 0.1}
    net, twin = network(), network()
    for each in (net, twin):
        each.fit(x, y, epochs=3, learning_rate=0.1)
    expected = twin.fit(x, y, **options)
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, **options, callbacks=[Interrupt(50)], checkpoint=path)
    other = network()
    history = other.fit(x, y, **options, checkpoint=path, resume=True)
    assert history.epochs == expected.epochs == [4, 5, 6, 7]
    assert history.cost == expected.cost
    assert_same_bits(other.get_parameters(), twin.get_parameters())


def test_without_a_checkpoint_resume_begins_anew(path, uninterrupted):
    net = network()
    history, optimizer = train("adam", net, checkpoint=path, resume=True)
    assert_same_run(net, history, optimizer, uninterrupted["adam"])
    assert path.exists()


def test_checkpoints_do_not_change_the_training(path, uninterrupted):
    net = network()
    checkpoint = cr.Checkpoint(path, every_epochs=2, every_seconds=1e-9)
    history, optimizer = train("adam", net, checkpoint=checkpoint)
    assert_same_run(net, history, optimizer, uninterrupted["adam"])


# --- killed -----------------------------------------------------------------------------------


def start(case, path, threads=1):
    command = [sys.executable, str(TESTS / "resumable.py"), case, str(path), str(threads)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "training\n"
    return process


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGINT"])
def test_a_killed_process_is_resumed_with_the_same_bits(case, signal_name, path, uninterrupted):
    """Four processes, each killed at a random moment; then a last one that is left alone."""
    moments = random.Random(f"{case} {signal_name}")
    kills = 0
    for _ in range(4):
        process = start(case, path, threads=moments.choice([1, 2]))
        time.sleep(moments.uniform(0.0, 0.15))
        process.send_signal(getattr(signal, signal_name))
        _, errors = process.communicate(timeout=60)
        if process.returncode == 0:
            break  # it was faster
        kills += 1
        assert "KeyboardInterrupt" in errors or not errors  # which come only while Python runs
    assert kills
    net = network()
    slow = 1e-9  # the callback that made it slow has no part in the result
    history, optimizer = train(case, net, slow=slow, checkpoint=path, resume=True)
    assert_same_run(net, history, optimizer, uninterrupted[case])


@pytest.fixture
def ctrl_c():
    """Let SIGINT raise KeyboardInterrupt, also where this process was started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_within_the_core_saves_the_last_completed_step(path):
    """No callback: the epoch is one call of the core, which the signal ends."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60_000, 40)).astype(np.float32), rng.integers(0, 10, 60_000)
    options = {"epochs": 3, "batch_size": 16, "optimizer": cr.Adam(1e-3)}

    def make():
        return cr.Network([40, 200, 10], ["tanh", "softmax"], "cross_entropy", seed=0)

    net = make()
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        while True:
            net.fit(x, y, **options, checkpoint=path)
            options["optimizer"] = cr.Adam(1e-3)
            net = make()
    timer.join()
    assert_same_bits(cr.Network.load(path).get_parameters(), net.get_parameters())
    options["optimizer"] = cr.Adam(1e-3)
    resumed, whole = make(), make()
    history = resumed.fit(x, y, **options, checkpoint=path, resume=True)
    options["optimizer"] = cr.Adam(1e-3)
    assert history.cost == whole.fit(x, y, **options).cost
    assert_same_bits(resumed.get_parameters(), whole.get_parameters())


# --- what cannot be resumed -------------------------------------------------------------------


OTHERS = {
    "batch_size": {"batch_size": 16},
    "shuffle": {"shuffle": False},
    "optimizer": {"optimizer": cr.SGD(0.01, momentum=0.5)},
    "learning_rate": {"optimizer": cr.Adam(0.02)},
    "class_weight": {"class_weight": [1, 2, 3]},
    "early_stopping": {"early_stopping": 3},
    "metrics": {"metrics": ["f1"]},
    "validation": {"validation_data": resumable.data()},
    "label_smoothing": {"label_smoothing": 0.1},
    "dropout": {"dropout": 0.5},
    "data": {"X": resumable.data()[0] + 1},
    "fewer data": {"X": resumable.data()[0][:-1], "Y": resumable.data()[1][:-1]},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_settings_are_refused(what, path):
    interrupted("adam", path, 40)
    net = network()
    before = path.read_bytes()
    with unchanged(net), pytest.raises(ValueError, match=says(path, what.removeprefix("fewer "))):
        net.fit(
            **{**CASES["adam"](), "epochs": EPOCHS, **OTHERS[what]}, checkpoint=path, resume=True
        )
    assert path.read_bytes() == before
    assert net.epoch == 0


def test_another_architecture_is_refused(path):
    interrupted("adam", path, 40)
    net = cr.Network([5, 8, 3], ["tanh", "softmax"], "cross_entropy", seed=7)
    with unchanged(net), pytest.raises(ValueError, match=says(path, "network", "16", "8")):
        train("adam", net, checkpoint=path, resume=True)


def test_a_stream_that_has_become_shorter_is_refused(path):
    interrupted("stream", path, 10)
    net = network()
    few = list(resumable.batches())[:4]
    with pytest.raises(ValueError, match=says("4 batches", "10 batches")):
        train("stream", net, X=lambda: iter(few), checkpoint=path, resume=True)


def test_resume_needs_a_checkpoint():
    net = network()
    with unchanged(net), pytest.raises(ValueError, match=says("checkpoint")):
        train("adam", net, resume=True)


def test_a_model_file_is_no_checkpoint(path):
    net = network()
    net.save(path)
    with unchanged(net), pytest.raises(ValueError, match=says(path, "checkpoint")):
        train("adam", net, checkpoint=path, resume=True)
