"""Several threads around one network."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, run_python

CHANGING_LABELS = """
import threading
import numpy as np
import chainrule as cr

net = cr.Network([4, 8, 3], ["tanh", "softmax"], "cross_entropy", seed=0)
x = np.zeros((20000, 4), np.float32)
y = np.zeros(20000, np.int64)
done = threading.Event()

def tamper():
    while not done.is_set():
        y[:] = -1
        y[:] = 10**9
        y[:] = 0

thread = threading.Thread(target=tamper)
thread.start()
try:
    for _ in range(20):
        try:
            net.fit(x, y, learning_rate=0.0)
        except ValueError:
            pass  # seen in time
finally:
    done.set()
    thread.join()
print("ok")
"""


@pytest.fixture
def wide():
    """A network large enough that its calls release the GIL, and data for it."""
    net = cr.Network([100, 200, 10], ["tanh", "identity"], dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    return net, rng.normal(size=(2000, 100)), rng.normal(size=(2000, 10))


class Background:
    """Runs a call over and over in threads until the block ends."""

    def __init__(self, call, threads=1):
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(call,)) for _ in range(threads)]

    def run(self, call):
        while not self.stop.is_set():
            call()

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *exception):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_labels_that_change_during_fit_touch_no_other_memory():
    assert run_python("-c", CHANGING_LABELS).strip() == "ok"


def test_training_advances_under_a_stream_of_readers(wide):
    net, x, y = wide
    with Background(lambda: net.predict(x), threads=4):
        assert len(net.fit(x, y, epochs=3, learning_rate=0.01)) == 3


def test_predictions_during_fit_belong_to_one_step(wide):
    """Every step gives all outputs the same value: a prediction that mixes two steps shows."""
    net = cr.Network([1, 300, 300], "identity", "sse", init="zeros", seed=0)
    x, y = np.ones((400, 1), np.float32), np.ones((400, 300), np.float32)
    seen = []

    def read():
        outputs = net.predict(x)
        seen.append(np.ptp(outputs))
        seen.append(np.ptp(net.freeze().predict(x)))

    with Background(read, threads=2):
        net.fit(x, y, epochs=40, batch_size=200, learning_rate=1e-5)
        while len(seen) < 4:
            read()
    assert max(seen) == 0


def test_a_pullback_notices_steps_of_another_thread(wide):
    net, x, y = wide
    with Background(lambda: net.fit(x, y, learning_rate=1e-3)):
        start = net.version
        refused = 0
        while net.version < start + 5 or not refused:
            _, pullback = net.vjp(x)
            before = net.version
            while net.version == before:
                pass
            with pytest.raises(RuntimeError, match="changed"):
                pullback(y)
            refused += 1


def test_two_threads_may_pull_back_through_one_tape(wide):
    net, x, y = wide
    _, pullback = net.vjp(x)
    expected = pullback(y)[0].flatten().tobytes()
    different = []

    def pull():
        if pullback(y)[0].flatten().tobytes() != expected:
            different.append(True)

    with Background(pull, threads=2):
        for _ in range(10):
            pull()
    assert not different


def test_a_second_fit_is_refused(wide):
    net, x, y = wide
    messages = []

    def again(network, history):
        with pytest.raises(RuntimeError, match="fit") as caught:
            network.fit(x, y, learning_rate=0.1)
        messages.append(str(caught.value))

    net.fit(x, y, learning_rate=0.0, callbacks=[again])
    assert len(messages) == 1
    net.fit(x, y, learning_rate=0.0)  # the claim was given back


def test_a_second_fit_in_another_thread_is_refused(wide):
    net, x, y = wide
    alone = copy.deepcopy(net)
    options = {"epochs": 3, "batch_size": 1000, "learning_rate": 0.01}
    alone.fit(x, y, **options)
    refused = []

    def fit_too():
        try:
            net.fit(x, y, learning_rate=0.5)
        except RuntimeError as error:
            refused.append(str(error))

    def look(network, history):
        threads = [threading.Thread(target=fit_too) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    net.fit(x, y, callbacks=[look], **options)
    assert len(refused) == 3 * 8
    assert_same_bits(net.get_parameters(), alone.get_parameters())
