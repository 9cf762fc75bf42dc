"""Signals whose handler raises, one after another, while networks are trained and saved.

    python alarms.py CASE SECONDS [ALARMS]

The alarms come at random moments of a call, some while another one is handled; then the call is
made again, as a user would. It ends after so many seconds, or alarms if that is given, and prints
how many there were, then "ok".
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import _core
from chainrule.training.history import by_name

SECONDS, LIMIT = float(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize
STUCK = 120  # seconds without an end of a round


class Alarm(BaseException):
    """What the handler raises."""


class Alarms:
    """Alarms at random moments, of which one interrupts each block."""

    def __init__(self) -> None:
        self.came, self.armed, self.draw = 0, False, random.Random(0)
        signal.signal(signal.SIGALRM, self.ring)

    def ring(self, number: int, frame: object) -> None:
        if self.armed:
            self.came += 1
            raise Alarm

    def storm(self, call: Callable[[], object], longest: float) -> bool:
        """Call under alarms; return whether none came."""
        try:
            try:
                self.armed = True
                # Again and again, so that some come while another one is handled.
                signal.setitimer(
                    signal.ITIMER_REAL,
                    self.draw.uniform(1e-6, longest),
                    self.draw.uniform(2e-5, longest),
                )
                call()
                self.armed = False
                return True
            finally:
                self.armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Alarm:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            return False


def data(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 5)).astype(np.float32), rng.integers(0, 3, n)


def network() -> cr.Network:
    return cr.Network([5, 7, 3], ["tanh", "softmax"], "cross_entropy", seed=0)


X, Y = data()
SMALL: dict[str, Any] = {"X": X, "Y": Y, "batch_size": 4, "shuffle": False}
STEPS = len(X) // 4


class Course:
    """The parameters after every step, done once without alarms."""

    def __init__(self, make: Callable[[], cr.SGD | cr.Adam], **options: Any) -> None:
        self.net, self.optimizer, self.options = network(), make(), options
        self.after: list[bytes] = [self.net.get_parameters().tobytes()]

    def at(self, step: int) -> bytes:
        while len(self.after) <= step:
            i = (len(self.after) - 1) % STEPS * 4
            self.net.train_step(
                X[i : i + 4], Y[i : i + 4], optimizer=self.optimizer, **self.options
            )
            self.after.append(self.net.get_parameters().tobytes())
        return self.after[step]


def check_history(net: cr.Network, epochs_before: int) -> None:
    history = net.history
    if history is None:
        return
    n = len(history)
    assert net.epoch >= n
    assert all(len(values) in (n, 0) for values in by_name(history).values())
    assert history.epochs == list(range(net.epoch - n + 1, net.epoch + 1))


def fits(alarms: Alarms, **options: Any) -> None:
    """Tiny fits: the claim, the weights of whole steps, history and epoch counter."""
    course = Course(lambda: cr.SGD(0.01, momentum=0.5))
    net, optimizer = network(), cr.SGD(0.01, momentum=0.5)
    epoch = net.epoch
    options = {**SMALL, "optimizer": optimizer, **options}
    alarms.storm(lambda: net.fit(**options), 2e-4)
    check_history(net, epoch)
    assert net.get_parameters().tobytes() == course.at(optimizer.step)
    assert net.epoch * STEPS <= optimizer.step <= (net.epoch + 1) * STEPS
    net.fit(**{**options, "callbacks": ()})  # not refused


def fit(alarms: Alarms) -> None:
    fits(alarms)


class Callback:
    def on_batch_end(self, network: cr.Network, epoch: int, step: int, cost: float) -> None:
        pass

    def on_epoch_end(self, network: cr.Network, history: cr.History) -> None:
        pass


def fit_with_callbacks(alarms: Alarms) -> None:
    fits(alarms, callbacks=[Callback()], epochs=2, metrics=["accuracy"])


def fit_with_validation(alarms: Alarms) -> None:
    fits(
        alarms,
        validation_data=(X, Y),
        epochs=2,
        early_stopping=cr.EarlyStopping(9, restore_best=False),
    )


def fit_stream(alarms: Alarms) -> None:
    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(X), 4):
            yield X[start : start + 4], Y[start : start + 4]

    fits(alarms, X=batches, Y=None, epochs=2)


def fit_on_one_network(alarms: Alarms) -> None:
    """The same network is interrupted again and again; its history is that of the last call."""
    net, optimizer = network(), cr.Adam(0.001)
    for _ in range(50):
        epoch = net.epoch
        alarms.storm(lambda: net.fit(**SMALL, optimizer=optimizer), 2e-4)
        check_history(net, epoch)
        assert not _core.nonfinite_layer(net)
    net.fit(**SMALL, optimizer=optimizer)


def checkpointed(**options: Any) -> dict[str, Any]:
    return {**SMALL, "optimizer": cr.Adam(0.01), "epochs": 3, "shuffle": True, **options}


EXPECTED: dict[str, bytes] = {}


def fit_with_checkpoints(alarms: Alarms) -> None:
    """Interrupted and resumed until it is done: the bits of a run that was not."""
    if not EXPECTED:
        whole = network()
        whole.fit(**checkpointed())
        EXPECTED["weights"] = whole.get_parameters().tobytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.safetensors"
        net, longest, done = network(), 5e-4, False
        while not done:
            if not path.exists() or alarms.draw.random() < 0.5:
                net = network()  # as in another process
            run = partial(net.fit, **checkpointed(checkpoint=path, resume=True))
            done = alarms.storm(run, longest)
            longest *= 1.2  # it gets to its end some day
            left = set(os.listdir(folder)) - {path.name}
            assert not left, left
        assert net.get_parameters().tobytes() == EXPECTED["weights"]
        assert net.history.epochs == [1, 2, 3]
        assert cr.Network.load(path).get_parameters().tobytes() == EXPECTED["weights"]


def train_step(alarms: Alarms) -> None:
    course = Course(lambda: cr.Adam(0.01))
    net, optimizer = network(), cr.Adam(0.01)

    def steps() -> None:
        while True:
            i = optimizer.step % STEPS * 4
            net.train_step(X[i : i + 4], Y[i : i + 4], optimizer=optimizer)
            if optimizer.step > 200:
                return

    while optimizer.step <= 200:
        alarms.storm(steps, 2e-4)
        assert net.get_parameters().tobytes() == course.at(optimizer.step)


NET = network()
OUTPUTS = NET.predict(X).tobytes()
SERVE = NET.freeze()


def predict(alarms: Alarms) -> None:
    def work() -> None:
        out = np.empty((len(X), 3), np.float32)
        for _ in range(50):
            assert NET.predict(X).tobytes() == OUTPUTS
            assert SERVE(X, out=out).tobytes() == OUTPUTS

    for _ in range(20):
        alarms.storm(work, 2e-4)
    assert NET.predict(X).tobytes() == OUTPUTS


def save_and_load(alarms: Alarms) -> None:
    nets = [network(), cr.Network([5, 7, 3], ["tanh", "softmax"], "cross_entropy", seed=1)]
    bits = [net.get_parameters().tobytes() for net in nets]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        nets[0].save(path)
        for i in range(20):
            alarms.storm(lambda i=i: nets[i % 2].save(path), 5e-4)
            assert os.listdir(folder) == [path.name]
            alarms.storm(lambda: cr.Network.load(path), 5e-4)
            assert cr.Network.load(path).get_parameters().tobytes() in bits


CASES = (
    fit,
    fit_with_callbacks,
    fit_with_validation,
    fit_stream,
    fit_on_one_network,
    fit_with_checkpoints,
    train_step,
    predict,
    save_and_load,
)


def run(case: Callable[[Alarms], None]) -> None:
    alarms, end = Alarms(), time.monotonic() + SECONDS
    ended = [time.monotonic()]

    def watch() -> None:
        while time.monotonic() - ended[0] < STUCK:
            time.sleep(1)
        print(f"{case.__name__} is stuck", file=sys.stderr, flush=True)
        os._exit(3)

    case(alarms)  # imports what it needs
    files = len(os.listdir("/proc/self/fd"))
    threading.Thread(target=watch, daemon=True).start()
    rounds = 0
    while time.monotonic() < end and alarms.came < LIMIT:
        case(alarms)
        rounds += 1
        ended[0] = time.monotonic()
    assert len(os.listdir("/proc/self/fd")) == files
    assert threading.active_count() == 2
    print(f"{case.__name__}: {alarms.came} alarms in {rounds} rounds")
    print("ok")


if __name__ == "__main__":
    run({case.__name__: case for case in CASES}[sys.argv[1]])
