"""Refusals that leave everything as it was, and inputs that are read for what they are."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr


@pytest.fixture
def narrow():
    """A network whose layers share 64-byte blocks with padding."""
    return cr.Network([3, 5, 2], "tanh", seed=0)


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(6, 3)), rng.uniform(-1, 1, size=(6, 2))
    return x.astype(np.float32), y.astype(np.float32)


@pytest.mark.parametrize(
    "make",
    [
        lambda: cr.SGD(1e39),
        lambda: cr.SGD(0.1, weight_decay=1e39),
        lambda: cr.Adam(eps=1e-50),
        lambda: cr.AdamW(1e20, weight_decay=1e20),
        lambda: cr.Adagrad(initial_accumulator_value=1e39),
        lambda: cr.SGD(0.1, l1=1e39),
        lambda: cr.SGD(0.1, clip_value=1e-50),
    ],
)
def test_numbers_that_float32_cannot_hold_are_refused(narrow, batch, make):
    before = narrow.get_parameters()
    with pytest.raises(ValueError, match="float32|dtype"):
        narrow.train_step(*batch, optimizer=make())
    assert narrow.get_parameters().tobytes() == before.tobytes()


def test_a_network_that_overflowed_recovers_with_new_parameters(narrow, batch):
    x, y = batch
    good = narrow.get_parameters()
    expected = narrow.predict(x).tobytes()
    for _ in range(5):
        narrow.train_step(x, y, optimizer=cr.Adam(3e37))
    narrow.set_parameters(good)
    assert narrow.predict(x).tobytes() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_a_step_on_data_that_are_not_finite_is_refused(narrow, batch, bad, which):
    before = narrow.get_parameters()
    batch[which][4, 1] = bad
    with pytest.raises(ValueError, match="row 4"):
        narrow.train_step(*batch, learning_rate=0.1)
    assert narrow.get_parameters().tobytes() == before.tobytes()


def test_a_refused_call_does_not_bind_the_optimizer(narrow, batch):
    x, y = batch
    optimizer = cr.Adam()
    with pytest.raises(ValueError):
        narrow.train_step(x[:, :2], y, optimizer=optimizer)
    other = cr.Network([3, 2], "tanh", seed=0)
    other.train_step(x, y, optimizer=optimizer)
    with pytest.raises(ValueError, match="network"):
        narrow.train_step(x, y, optimizer=optimizer)


@pytest.mark.parametrize("method", ["fit", "evaluate", "check_gradients", "cost", "predict"])
def test_masked_arrays_are_refused_everywhere(narrow, batch, method):
    x = np.ma.masked_array(batch[0], mask=batch[0] > 0)
    arguments = (x,) if method == "predict" else (x, batch[1])
    keywords = {"learning_rate": 0.1} if method == "fit" else {}
    with pytest.raises(TypeError, match="mask"):
        getattr(narrow, method)(*arguments, **keywords)


class Wrapper:
    """Not an array, but it lends its memory to one."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_out_may_not_overlap_what_an_object_lends():
    memory = np.zeros(40, np.float32)
    net = cr.Network([3, 3], seed=0)
    with pytest.raises(ValueError, match="overlap"):
        net.predict(Wrapper(memory[:30].reshape(10, 3)), out=memory[3:33].reshape(10, 3))


@pytest.mark.parametrize("threads", ["a", 2.0, 0, -1, 10**6])
def test_fit_refuses_other_threads(narrow, batch, threads):
    with pytest.raises((TypeError, ValueError), match="threads"):
        narrow.fit(*batch, learning_rate=0.1, threads=threads)


def test_weights_whose_sum_overflows_are_refused(narrow, batch):
    weights = np.full(6, 1e308)
    for call in (narrow.cost, narrow.gradients, narrow.evaluate):
        with pytest.raises(ValueError, match="sum"):
            call(*batch, weights)


def test_any_byte_but_zero_is_true(narrow, batch):
    truth = np.array([[0, 1, 1]] * 6, bool)
    odd = np.array([[0, 2, 255]] * 6, np.uint8).view(bool)
    assert narrow.cost(odd, batch[1]) == narrow.cost(truth, batch[1])
    assert narrow.predict(odd).tobytes() == narrow.predict(truth).tobytes()


def test_a_schedule_is_asked_once_a_step_in_order(narrow, batch):
    asked = []

    def schedule(step):
        asked.append(step)
        return 0.01

    history = narrow.fit(*batch, epochs=2, batch_size=2, learning_rate=schedule)
    assert asked == list(range(6))
    assert history.learning_rate == [0.01, 0.01]


def test_divergence_names_the_same_layer_for_every_dtype_of_the_data():
    x = np.full((4, 2), 1e4, np.float16)
    y = np.zeros((4, 1), np.float16)
    layers = []
    for dtype in (np.float16, np.float32):
        net = cr.Network([2, 3, 3, 1], "identity", "sse", seed=0)
        with pytest.raises(cr.DivergenceError) as caught:
            net.fit(x.astype(dtype), y.astype(dtype), learning_rate=1e20, epochs=9)
        layers.append((caught.value.epoch, caught.value.batch, caught.value.layer))
    assert layers[0] == layers[1]


def test_keywords_of_a_call_are_those_of_predict(narrow, batch):
    out = np.empty((6, 2), np.float32)
    assert narrow(x=batch[0], out=out, threads=1) is out
    with pytest.raises(TypeError, match="unexpected"):
        narrow(batch[0], wrong=1)
