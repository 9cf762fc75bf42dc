"""A run is resumed with the stream and the settings it was begun with."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, says, unchanged

N, BATCH = 400, 40  # ten batches


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def network():
    return cr.Network([5, 8, 3], ["tanh", "softmax"], "cross_entropy", seed=7)


def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N)
    return (rng.normal(size=(N, 5)) + 2 * np.eye(3, 5)[y]).astype(np.float32), y, rng.random(N)


def batches(change=None, at=None):
    """The ten batches; `change` gets a list of copies of x, y and weights of number `at`."""
    for number, start in enumerate(range(0, N, BATCH), start=1):
        batch = [array[start : start + BATCH].copy() for array in data()]
        if number == at:
            change(batch)
        yield tuple(batch)


class CtrlC:
    def __init__(self, epoch, step):
        self.at = epoch, step

    def on_batch_end(self, network, epoch, step, cost):
        if (epoch, step) == self.at:
            raise KeyboardInterrupt


def interrupt(path, X=batches, at=(2, 7), **options):
    options = {"learning_rate": 0.1, **options}
    callbacks = [*options.pop("callbacks", []), CtrlC(*at)]
    with pytest.raises(KeyboardInterrupt):
        network().fit(X, epochs=3, callbacks=callbacks, checkpoint=path, **options)


def resume(net, path, X=batches, **options):
    options = {"learning_rate": 0.1, **options}
    return net.fit(X, epochs=3, checkpoint=path, resume=True, **options)


def assert_refused(path, *parts, X=batches, **options):
    """The run is not resumed, and nothing has changed."""
    before, net = path.read_bytes(), network()
    with unchanged(net), pytest.raises(ValueError, match=says(path, *parts)):
        resume(net, path, X, **options)
    assert path.read_bytes() == before
    assert (net.seed, net.epoch, net.history) == (7, 0, None)


# --- streams ----------------------------------------------------------------------------------


def next_sample(batch):
    batch[0][-1, -1] = np.nextafter(batch[0][-1, -1], np.float32(9))


def next_label(batch):
    batch[1][0] = (batch[1][0] + 1) % 3


def next_weight(batch):
    batch[2][5] = np.nextafter(batch[2][5], 9)


@pytest.mark.parametrize("change", [next_sample, next_label, next_weight])
@pytest.mark.parametrize("number", [1, 4, 7])
def test_a_batch_that_was_trained_on_and_has_changed_is_refused(path, change, number):
    interrupt(path)
    assert_refused(path, "first 7 batches", "Network.load", X=lambda: batches(change, number))


def test_other_cuts_of_the_same_samples_are_refused(path):
    interrupt(path, at=(2, 4))
    x, y, w = data()
    cuts = [0, 20, 80, 120, 160, *range(200, N + 1, BATCH)]
    parts = [slice(*ends) for ends in zip(cuts, cuts[1:], strict=False)]
    assert_refused(path, "first 4 batches", X=lambda: [(x[p], y[p], w[p]) for p in parts])


def test_a_stream_that_shuffles_in_another_way_each_time_is_refused(path):
    interrupt(path)
    random = np.random.default_rng(1)

    parts = list(batches())
    assert_refused(
        path, "first 7 batches", X=lambda: (parts[i] for i in random.permutation(len(parts)))
    )


def test_a_stream_that_ends_earlier_changes_nothing(path):
    interrupt(path)
    assert_refused(path, "3 batches", "7 batches", X=lambda: list(batches())[:3])


def test_an_error_of_a_stream_on_the_way_changes_nothing(path):
    interrupt(path)

    def fails():
        yield from list(batches())[:3]
        raise KeyError("row 120")

    before, net = path.read_bytes(), network()
    with unchanged(net), pytest.raises(KeyError, match="row 120"):
        resume(net, path, fails)
    assert path.read_bytes() == before
    assert (net.seed, net.epoch) == (7, 0)


@pytest.mark.parametrize("at", [(1, 1), (2, 1), (2, 7), (2, 10), (3, 10)], ids=str)
def test_a_stream_whose_order_follows_from_the_epoch_is_resumed(path, at):
    """The network has the epoch of the checkpoint when the stream is asked for it."""

    def stream_of(net):
        def stream():
            parts = list(batches())
            order = np.random.default_rng(net().epoch).permutation(len(parts))
            return (parts[i] for i in order)

        return stream

    whole, stopped, net = network(), network(), network()
    whole.fit(stream_of(lambda: whole), epochs=3, learning_rate=0.1)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(
            stream_of(lambda: stopped),
            epochs=3,
            learning_rate=0.1,
            callbacks=[CtrlC(*at)],
            checkpoint=path,
        )
    resume(net, path, stream_of(lambda: net))
    assert_same_bits(net.get_parameters(), whole.get_parameters())


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4"], ids=str)
def test_batches_of_another_type_with_the_same_numbers_are_the_same(path, dtype):
    def stored(dtype):
        for x, y, w in batches():
            yield x.astype(np.float16).astype(dtype), y, w

    interrupt(path, lambda: stored(np.float32))
    assert len(resume(network(), path, lambda: stored(dtype))) == 3


def test_a_checkpoint_saved_within_a_step_has_the_batches_before_it(path):
    """The batch has been read, and its step has not been done."""

    def fails():
        yield from list(batches())[:4]
        yield np.full((3, 5), np.nan), [0, 1, 2]

    with pytest.raises(ValueError, match="batch 5"):
        network().fit(fails, epochs=3, learning_rate=0.1, checkpoint=path)
    whole, net = network(), network()
    whole.fit(batches, epochs=3, learning_rate=0.1)
    resume(net, path)
    assert_same_bits(net.get_parameters(), whole.get_parameters())


def test_the_number_of_batches_is_compared_where_it_is_known(path):
    interrupt(path, list(batches()))
    assert_refused(path, "10 batches", "9 batches", X=list(batches())[:9])


def test_a_stream_does_not_continue_a_run_on_arrays(path):
    x, y, w = data()
    interrupt(path, x, Y=y, sample_weight=w, batch_size=BATCH)
    assert_refused(path, "data is 'a stream'")


def test_callbacks_have_their_states_again_where_a_run_is_refused(path):
    class Counter:
        def __init__(self, n=0):
            self.n = n

        def on_epoch_end(self, network, history):
            self.n += 1

        def state_dict(self):
            return {"n": self.n}

        def load_state_dict(self, state):
            self.n = state["n"]

    interrupt(path, callbacks=[Counter()])
    counter = Counter(5)
    assert_refused(path, X=lambda: batches(next_label, 1), callbacks=[counter])
    assert counter.n == 5


# --- settings ---------------------------------------------------------------------------------


def test_weights_of_classes_are_compared_as_they_are(path):
    """Printed, both arrays are [1. 2. 3.]."""
    interrupt(path, class_weight=np.array([1.0, 2.0, 3.0]))
    assert_refused(path, "class_weight", class_weight=np.array([1.0, 2.0, 3.0 + 1e-12]))


def test_every_one_of_many_weights_of_classes_is_compared(path):
    """Printed, the middle of an array of 2000 is left out."""
    weights = np.ones(2000)
    changed = weights.copy()
    changed[1000] = 2.0
    options = {"Y": [0, 1, 2], "learning_rate": 0.1, "checkpoint": path}

    def make():
        return cr.Network([1, 2000], "softmax", "cross_entropy", seed=0)

    make().fit([[1], [2], [3]], **options, class_weight=weights)
    with pytest.raises(ValueError, match=says("class_weight", "2000 weights")):
        make().fit([[1], [2], [3]], **options, class_weight=changed, resume=True)
    make().fit([[1], [2], [3]], **options, class_weight=list(weights), resume=True)


def test_the_same_weights_of_classes_may_be_written_in_another_way(path):
    interrupt(path, class_weight={1: 2.0})
    assert len(resume(network(), path, class_weight=np.array([1, 2, 1]))) == 3


def scaled(rate):
    return lambda step: rate / (1 + step)


@pytest.mark.parametrize("kind", ["arrays", "stream"])
def test_a_function_of_the_same_name_that_gives_other_rates_is_refused(path, kind):
    x, y, _ = data()
    given = {"X": x, "Y": y, "batch_size": BATCH} if kind == "arrays" else {}
    interrupt(path, at=(3, 2), **given, learning_rate=scaled(0.1))
    assert_refused(
        path, "learning_rate", "step 19", "0.005", **given, learning_rate=scaled(0.1 + 1e-9)
    )
    assert len(resume(network(), path, **given, learning_rate=scaled(0.1))) == 3


def test_rates_are_compared_for_every_epoch_of_arrays(path):
    """The two functions agree at the end of the second epoch."""
    x, y, _ = data()
    given = {"X": x, "Y": y, "batch_size": BATCH}
    interrupt(path, at=(3, 2), **given, learning_rate=lambda step: 0.1)
    assert_refused(
        path, "learning_rate", "step 9", **given, learning_rate=lambda step: 0.1 + 0.1 * (step < 15)
    )
