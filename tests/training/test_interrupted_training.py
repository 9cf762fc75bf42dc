"""An exception at any place of training, of files and of networks: nothing stays half-done.

As Ctrl-C, a signal handler or ``PyThreadState_SetAsyncExc`` would raise it; see interrupting.py.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

import chainrule as cr
from chainrule import _core
from chainrule.training.history import by_name
from interrupting import interrupt_everywhere, watchdog
from support import assert_same_bits

MODULES = [
    f"chainrule.{name}"
    for name in ("files", "network", "optimizers", "schedules", "training", "uninterrupted")
]
N, BATCH, EPOCHS = 12, 4, 2

# A file that an interruption closes late is closed all the same; an interrupt in the end of a
# generator that nobody needs any more is ignored by Python.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def open_files():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 5)).astype(np.float32), rng.integers(0, 3, N)


def network():
    return cr.Network([5, 7, 3], ["tanh", "softmax"], "cross_entropy", seed=0)


class Halving:
    """Halves a schedule's rate after every epoch, and counts them."""

    def __init__(self):
        self.epochs = 0

    def on_epoch_end(self, network, history):
        self.epochs += 1

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


class Watching:
    """Lets every batch go through Python."""

    def on_batch_end(self, network, epoch, step, cost):
        assert np.isfinite(cost)


def arrays():
    return {"X": data()[0], "Y": data()[1], "optimizer": cr.SGD(0.1), "batch_size": BATCH}


def stochastic():
    return {"X": data()[0], "Y": data()[1], "optimizer": cr.SGD(0.1), "batch_size": 1}


def batches():
    x, y = data()
    for start in range(0, N, BATCH):
        yield x[start : start + BATCH], y[start : start + BATCH]


def stream():
    return {"X": batches, "optimizer": cr.Adam(0.01), "dropout": 0.2}


def everything():
    """Every part of fit that has a state."""
    rate = cr.schedules.ReduceOnPlateau(0.05, factor=0.5, patience=0, threshold=0.5)
    return {
        **arrays(),
        "optimizer": cr.SGD(rate, momentum=0.9),
        "dropout": 0.1,
        "validation_data": data(),
        "metrics": ["accuracy"],
        "early_stopping": cr.EarlyStopping(patience=EPOCHS),
        "callbacks": [Halving(), Watching()],
    }


CASES = {case.__name__: case for case in (arrays, stochastic, stream, everything)}


class Course:
    """The parameters after every step of an uninterrupted run, and what it ends with."""

    def __init__(self, case):
        self.net, self.after = network(), []
        options = case()
        self.after.append(self.net.get_parameters())
        watch = self.watch
        options["callbacks"] = [*options.get("callbacks", []), watch]
        self.history = self.net.fit(epochs=EPOCHS, **options)
        self.optimizer = options["optimizer"]
        self.steps = len(self.after) - 1
        self.final = self.net.get_parameters()

    @property
    def watch(self):
        class Watch:
            def on_batch_end(_, network, epoch, step, cost):
                self.after.append(network.get_parameters())

        return Watch()


class Display:
    """Stands for a progress bar, which ends when it is closed or nobody has it any more."""

    left_open = 0

    def __init__(self, *arguments):
        self.is_open = True
        Display.left_open += 1

    def poll(self, position):
        pass

    def epoch(self, history, position):
        pass

    def close(self):
        Display.left_open -= self.is_open
        self.is_open = False

    __del__ = close


class Training:
    """What one run of fit touches."""

    def __init__(self, case, path=None):
        self.net, self.options, self.path = network(), case(), path
        self.files = open_files()

    def fit(self):
        options = {"checkpoint": self.path, "resume": True} if self.path else {}
        self.net.fit(epochs=EPOCHS, **self.options, **options)


def lists(history):
    """All that a history holds but the times."""
    return {name: values for name, values in history.to_dict().items() if name != "seconds"}


def check_state(net, optimizer, course):
    """Weights, optimiser, epochs and history are those after some whole number of steps."""
    assert not _core.nonfinite_layer(net)
    history, step = net.history, optimizer.step
    epochs = 0 if history is None else len(history)
    assert net.epoch == epochs
    per_epoch = course.steps // EPOCHS
    assert per_epoch * epochs <= step <= per_epoch * (epochs + 1)
    if history is not None:
        for values in by_name(history).values():
            assert len(values) in (epochs, 0)
        assert history.epochs == list(range(1, epochs + 1))
        assert history.cost == course.history.cost[:epochs]
        assert history.validation_cost == course.history.validation_cost[:epochs]
    expected = [course.after[step]]
    if epochs == EPOCHS and step < course.steps:  # gone back to the best epoch at the end
        expected = [course.final]
    assert net.get_parameters().tobytes() in [each.tobytes() for each in expected]


def check_usable(net, options):
    """A new fit runs."""
    epoch = net.epoch
    assert len(net.fit(**{**options, "callbacks": []})) == 1
    assert net.epoch == epoch + 1


# --- fit --------------------------------------------------------------------------------------


def interrupt_fit(case, monkeypatch, **options):
    course = Course(case)
    monkeypatch.setattr(cr.training.progress, "open_progress", Display)

    def start():
        training = Training(case)
        training.options["progress"] = True
        return training

    def check(training):
        assert Display.left_open == 0
        check_state(training.net, training.options["optimizer"], course)
        check_usable(training.net, training.options)
        assert open_files() == training.files

    with watchdog(500):
        return interrupt_everywhere(Training.fit, MODULES, setup=start, check=check, **options)


@pytest.mark.parametrize("case", CASES)
def test_fit_interrupted_at_any_line_leaves_whole_steps(case, monkeypatch):
    assert interrupt_fit(CASES[case], monkeypatch) > 100


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES)
def test_fit_interrupted_at_any_bytecode_leaves_whole_steps(case, monkeypatch):
    assert interrupt_fit(CASES[case], monkeypatch, opcodes=True) > 1000


# --- checkpoints ------------------------------------------------------------------------------


class Raises:
    """Ends a run by an exception after the first step of the second epoch."""

    def on_batch_end(self, network, epoch, step, cost):
        if (epoch, step) == (2, 1):
            raise KeyError("mine")


@pytest.fixture
def fast_disk(monkeypatch):
    """Files need not survive a power cut here: to sync thousands of them takes minutes."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(_core, "sync_folder", lambda folder: None)


def interrupt_checkpoints(case, path, *, begun, **options):
    """Interrupt a run with checkpoints, from its beginning or resumed within the second epoch."""
    course, contents = Course(case), None
    if begun:
        other = case()
        other["callbacks"] = [*other.get("callbacks", []), Raises()]
        with pytest.raises(KeyError):
            network().fit(epochs=EPOCHS, checkpoint=path, **other)
        contents = path.read_bytes()

    def start():
        path.unlink(missing_ok=True)
        if begun:
            path.write_bytes(contents)
        return Training(case, path)

    def check(training):
        assert os.listdir(path.parent) in ([], [path.name])
        assert open_files() == training.files
        net, optimizer = training.net, training.options["optimizer"]
        check_state(net, optimizer, course)
        again = Training(case, path)  # as another process would resume it
        again.fit()
        assert_same_bits(again.net.get_parameters(), course.final)
        assert lists(again.net.history) == lists(course.history)
        training.fit()  # as this one
        assert_same_bits(net.get_parameters(), course.final)
        assert lists(net.history) == lists(course.history)
        assert cr.Network.load(path).epoch == EPOCHS
        assert os.listdir(path.parent) == [path.name]

    with watchdog(1000):
        return interrupt_everywhere(Training.fit, MODULES, setup=start, check=check, **options)


@pytest.mark.slow
@pytest.mark.parametrize("begun", [False, True], ids=["a new run", "a resumed run"])
@pytest.mark.parametrize(
    "case",
    [
        "arrays",
        *(pytest.param(case, marks=pytest.mark.thorough) for case in ("stream", "everything")),
    ],
)
@pytest.mark.usefixtures("fast_disk")
def test_a_checkpoint_is_whole_and_resumed_to_the_same_bits(tmp_path, case, begun):
    path = tmp_path / "run.safetensors"
    assert interrupt_checkpoints(CASES[case], path, begun=begun) > 1000


# --- divergence -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("fast_disk")
def test_no_step_that_diverged_stays_after_any_interrupt(tmp_path):
    """Not in the network, and not in its checkpoint: the epoch's start does, or steps before."""
    path, (x, y) = tmp_path / "run.safetensors", data()
    after = [network().get_parameters().tobytes()]

    class Notes:
        def on_batch_end(self, network, epoch, step, cost):
            after.append(network.get_parameters().tobytes())

    class Diverging:
        def __init__(self):
            path.unlink(missing_ok=True)
            self.net, self.files = network(), open_files()
            self.optimizer = cr.SGD(lambda step: 1e38 if step > N // BATCH else 0.1)

        def fit(self, **options):
            options = {"optimizer": self.optimizer, "batch_size": BATCH, **options}
            with pytest.raises(cr.DivergenceError):
                self.net.fit(x, y, epochs=5, checkpoint=path, **options)

    Diverging().fit(callbacks=[Notes()])
    assert len(after) > 2 + N // BATCH

    def check(diverging):
        net, step = diverging.net, diverging.optimizer.step
        assert net.epoch == (0 if net.history is None else len(net.history))
        assert net.get_parameters().tobytes() == after[step]
        if path.exists():
            assert cr.Network.load(path).get_parameters().tobytes() in after
        net.set_parameters(network().get_parameters())
        net.fit(x, y, learning_rate=0.1)

    with watchdog(500):
        points = interrupt_everywhere(Diverging.fit, MODULES, setup=Diverging, check=check)
    assert points > 1000


# --- everything else --------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("make", [cr.Adam, lambda: None], ids=["Adam", "learning_rate"])
def test_train_step_is_done_or_not(make, dropout):
    """Weights, optimiser and the count of samples that dropout needs are those of whole steps."""
    x, y = data()

    class Stepping:
        def __init__(self):
            self.net, self.optimizer = network(), make()
            self.options = {"optimizer": self.optimizer, "dropout": dropout}
            if self.optimizer is None:
                self.options["learning_rate"] = 0.1

        def step(self):
            self.net.train_step(x, y, **self.options)

    twin, after = Stepping(), [network().get_parameters()]
    for _ in range(3):
        twin.step()
        after.append(twin.net.get_parameters())

    def steps(stepping):
        stepping.step()
        stepping.step()

    def check(stepping):
        found = stepping.net.get_parameters().tobytes()
        done = [each.tobytes() for each in after].index(found)
        if stepping.optimizer is not None:
            assert stepping.optimizer.step == done
        stepping.step()
        assert_same_bits(stepping.net.get_parameters(), after[done + 1])

    points = interrupt_everywhere(steps, MODULES, setup=Stepping, check=check, opcodes=True)
    assert points > 50


@pytest.mark.usefixtures("fast_disk")
@pytest.mark.parametrize("exists", [False, True])
def test_a_save_leaves_the_old_file_or_the_new_one(tmp_path, exists):
    path, old, new = tmp_path / "net.safetensors", network(), cr.Network([9, 2])

    def start():
        path.unlink(missing_ok=True)
        if exists:
            old.save(path)
        return open_files()

    def check(files):
        assert open_files() == files
        assert os.listdir(tmp_path) in ([], [path.name])
        assert path.exists() or not exists
        if path.exists():
            found = cr.Network.load(path).get_parameters().tobytes()
            assert found in [net.get_parameters().tobytes() for net in (old, new)]

    points = interrupt_everywhere(
        lambda files: new.save(path), MODULES, setup=start, check=check, opcodes=True
    )
    assert points > 500


def test_a_load_leaves_no_open_file(tmp_path):
    path, net = tmp_path / "net.safetensors", network()
    net.save(path)

    def check(files):
        assert open_files() == files
        assert_same_bits(cr.Network.load(path).get_parameters(), net.get_parameters())

    points = interrupt_everywhere(
        lambda files: cr.Network.load(path), MODULES, setup=open_files, check=check, opcodes=True
    )
    assert points > 500


def test_an_optimizer_belongs_to_one_network_after_any_interrupt():
    """One without updates may meet another network; it must not keep the state of the first."""
    x, y = data()

    class Meeting:
        def __init__(self):
            self.optimizer, self.nets = cr.Adam(), [network(), network()]
            self.optimizer.bind(self.nets[0])

    def check(meeting):
        for net in (*meeting.nets, network()):
            meeting.optimizer.reset()
            net.train_step(x, y, optimizer=meeting.optimizer)
            assert meeting.optimizer.step == 1

    def check_without_reset(meeting):
        meeting.nets[0].train_step(x, y, optimizer=meeting.optimizer)
        assert meeting.optimizer.step == 1
        check(meeting)

    def meet(meeting):
        meeting.optimizer.bind(meeting.nets[1])

    points = interrupt_everywhere(
        meet, MODULES, setup=Meeting, check=check_without_reset, opcodes=True
    )
    assert points > 20


@pytest.mark.parametrize("call", ["load_state_dict", "reset"])
def test_an_optimizer_keeps_its_state_or_has_the_new_one(call):
    x, y = data()
    other, given = cr.Adam(), network()
    given.train_step(x, y, optimizer=other)
    given.train_step(x, y, optimizer=other)
    state = other.state_dict()

    class Trained:
        def __init__(self):
            self.optimizer, self.net = cr.Adam(), network()
            self.net.train_step(x, y, optimizer=self.optimizer)

        def change(self):
            if call == "reset":
                self.optimizer.reset()
            else:
                self.optimizer.load_state_dict(self.net, state)

    def check(trained):
        assert trained.optimizer.step in (1, 0 if call == "reset" else 2)
        trained.net.train_step(x, y, optimizer=trained.optimizer)

    points = interrupt_everywhere(Trained.change, MODULES, setup=Trained, check=check, opcodes=True)
    assert points > 10


def test_a_schedule_has_seen_a_cost_or_not():
    def make():
        rate = cr.schedules.ReduceOnPlateau(1.0, factor=0.5, patience=0, cooldown=2)
        rate.observe(1.0)
        return rate

    before, after = make(), make()
    after.observe(2.0)
    assert before.state_dict() != after.state_dict()

    def check(rate):
        assert rate.state_dict() in (before.state_dict(), after.state_dict())

    points = interrupt_everywhere(
        lambda rate: rate.observe(2.0), MODULES, setup=make, check=check, opcodes=True
    )
    assert points > 20


def test_a_network_that_was_not_made_can_be_made_or_says_so():
    """An interrupt in __init__ leaves nothing that a call could take for a network."""
    expected = network().get_parameters()

    def make(net):
        net.__init__([5, 7, 3], ["tanh", "softmax"], "cross_entropy", seed=0)

    def check(net):
        try:
            make(net)
        except TypeError as error:
            assert "initialized already" in str(error)
        assert len(net.get_parameters()) == len(expected)

    points = interrupt_everywhere(
        make, MODULES, setup=lambda: cr.Network.__new__(cr.Network), check=check, opcodes=True
    )
    assert points > 50


def test_an_exception_that_is_kept_holds_no_claim():
    """Its traceback keeps the frames of fit, and all that they hold."""
    x, y = data()
    net, kept = network(), []

    def fails(network, history):
        raise KeyError("mine")

    for _ in range(3):
        try:
            net.fit(x, y, learning_rate=0.1, callbacks=[fails])
        except KeyError as error:
            kept.append(error)
    assert len(net.fit(x, y, learning_rate=0.1)) == 1
    assert len(kept) == 3
