"""Targets that a loss cannot mean are refused, those that an output cannot give are warned of."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
import reference
from chainrule import _core
from support import (
    OUTPUT_PAIRS,
    OUTPUT_RANGES,
    assert_same_bits,
    random_network,
    random_targets,
    says,
    unchanged,
)

N = 12
FUSED = [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")]
OTHERS = [pair for pair in OUTPUT_PAIRS if pair not in FUSED]

CALLS = {
    "cost": lambda net, x, y: net.cost(x, y),
    "weighted cost": lambda net, x, y: net.cost(x, y, np.arange(len(x)) % 2 + 0.0),
    "gradients": lambda net, x, y: net.gradients(x, y),
    "evaluate": lambda net, x, y: net.evaluate(x, y),
    "trace": lambda net, x, y: net.trace(x, y),
    "check_gradients": lambda net, x, y: net.check_gradients(x, y),
    "train_step": lambda net, x, y: net.train_step(x, y, learning_rate=0.0),
    "fit": lambda net, x, y: net.fit(x, y, learning_rate=0.0, epochs=3, batch_size=5),
    "watched fit": lambda net, x, y: net.fit(
        x, y, learning_rate=0.0, epochs=2, batch_size=5, callbacks=[Watch()]
    ),
    "metrics of fit": lambda net, x, y: net.fit(
        x, y, learning_rate=0.0, epochs=2, metrics=["mae" if y.ndim == 2 else "accuracy"]
    ),
    "stream": lambda net, x, y: net.fit([(x, y)] * 3, learning_rate=0.0, epochs=2),
    "validation_data": lambda net, x, y: net.fit(
        x, np.full(y.shape, 1 / y.shape[1]), learning_rate=0.0, epochs=2, validation_data=(x, y)
    ),
    "validation_split": lambda net, x, y: net.fit(
        np.concatenate([x, x]),
        np.concatenate([np.full(y.shape, 1 / y.shape[1]), y]),
        learning_rate=0.0,
        validation_split=0.5,
    ),
}

#: What a message says before the row.
WHERE = {"stream": "batch 1 (counted from 1): ", "validation_data": "validation_data: "}

KINDS = {
    "float64": lambda y: y,
    "float32": lambda y: y.astype(np.float32),
    "float16": lambda y: y.astype(np.float16),
    "longdouble": lambda y: y.astype(np.longdouble),
    "swapped": lambda y: y.astype(">f4"),
    "apart": lambda y: np.repeat(y, 2, axis=1)[:, ::2],
    "backwards": lambda y: y[::-1].copy()[::-1],
    "Fortran order": np.asfortranarray,
    "lists": np.ndarray.tolist,
}


class Watch:
    def on_batch_end(self, network, epoch, step, cost):
        return False


def problem(output, loss, dtype="float32", width=3):
    rng = np.random.default_rng(0)
    net = random_network(rng, [4, 3, width], ["tanh", output], loss, dtype=dtype)
    return net, rng.normal(size=(N, 4)), random_targets(rng, N, width, loss, output)


def warnings_of(call, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments)
    assert all(w.category is UserWarning for w in caught)
    assert {w.filename for w in caught} <= {__file__}
    return [str(w.message) for w in caught]


def row_of(call, row):
    """The row that a message counts: of the caller's array."""
    return row + N if call == "validation_split" else row


# --- the ranges -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _core.ACTIVATIONS)
def test_ranges_are_those_of_the_formulas(name):
    """The bounds hold what the formula gives, and little more."""
    z = np.linspace(-60, 60, 240_001)
    a = reference.softmax(np.stack([z, -z], axis=1)) if name == "softmax" else None
    a = reference.ACTIVATIONS[name][0](z) if a is None else a
    low, high = _core.output_range(name)
    assert low <= a.min()
    assert high >= a.max()
    assert a.min() - low < 1e-4 or (low == -np.inf and a.min() < -0.5)
    assert high - a.max() < 1e-4 or (high == np.inf and a.max() == pytest.approx(60, rel=0.1))


# --- losses that refuse -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("output", "loss"), FUSED)
@pytest.mark.parametrize("value", [-0.25, 1.0625, 255.0])
def test_a_fused_loss_refuses_what_is_no_probability(output, loss, call, value, dtype):
    net, x, y = problem(output, loss, dtype)
    y[7, 2] = value
    y[9, 1] = -8  # the first row counts
    names = (f"row {row_of(call, 7)}, column 2 of y is {value:g},", "[0, 1]", loss)
    before = net.epoch
    with unchanged(net), pytest.raises(ValueError, match=says(*names, WHERE.get(call, ""))):
        CALLS[call](net, x, y)
    assert net.epoch == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("output", "loss"), FUSED)
def test_a_fused_loss_refuses_it_in_any_array(output, loss, kind):
    net, x, y = problem(output, loss)
    y[7, 2] = 1.5
    for call in ("cost", "fit", "train_step", "evaluate"):
        with unchanged(net), pytest.raises(ValueError, match=says("row 7, column 2", "1.5")):
            CALLS[call](net, x, KINDS[kind](y))


@pytest.mark.parametrize("code", np.typecodes["AllInteger"])
def test_integers_are_looked_at_too(code):
    net = cr.Network([2, 1], "sigmoid", "binary_cross_entropy", seed=0)
    y = np.array([0, 1, 1, 2], code)
    with unchanged(net), pytest.raises(ValueError, match=says("row 3 of y is 2,")):
        net.fit(np.ones((4, 2)), y, learning_rate=0.1)
    assert warnings_of(net.cost, np.ones((3, 2)), y[:3]) == []


def test_one_column_is_not_named():
    net = cr.Network([2, 1], "sigmoid", "binary_cross_entropy", seed=0)
    for y in (np.array([0.0, -1.0]), np.array([[0.0], [-1.0]])):
        with pytest.raises(ValueError, match=r"^row 1 of y is -1,"):
            net.cost(np.ones((2, 2)), y)
    with pytest.raises(ValueError, match=r"^row 0 of y is -1,"):
        net.cost(np.ones(2), -1)


MENDS = {
    "signs": ("binary_cross_entropy", [-1, 1, 1, -1], "(y + 1) / 2"),
    "from 1": ("binary_cross_entropy", [1, 2, 2, 1], "y - 1"),
    "bytes": ("binary_cross_entropy", [0, 255, 128, 3], "y / 255"),
    "logits": ("binary_cross_entropy", [0.5, -3.5, 2.5, 0.0], "sigmoid"),
    "rounding": ("binary_cross_entropy", [0.5, 1.0000002], "numpy.clip(y, 0, 1)"),
    "signs of classes": ("cross_entropy", [[1, -1], [-1, 1]], "(y + 1) / 2"),
    "logits of classes": ("cross_entropy", [[0.5, -3.5], [2.5, 0.1]], "softmax"),
    "amounts": ("cross_entropy", [[3, 4], [7, 1]], "y / y.sum(axis=1, keepdims=True)"),
    "rounding of classes": ("cross_entropy", [[1.0000002, 0], [0, 1]], "numpy.clip(y, 0, 1)"),
}


@pytest.mark.parametrize(("loss", "y", "mend"), MENDS.values(), ids=MENDS)
def test_the_mend_fits_the_targets(loss, y, mend):
    y = np.array(y)
    output = "softmax" if loss == "cross_entropy" else "sigmoid"
    net = cr.Network([2, 1 if y.ndim == 1 else 2], output, loss, seed=0)
    with unchanged(net), pytest.raises(ValueError, match=says(mend)):
        net.fit(np.ones((len(y), 2)), y, learning_rate=0.1)


def test_what_is_refused_is_what_is_given_and_not_what_is_smoothed():
    net, x, y = problem("sigmoid", "binary_cross_entropy")
    y[3, 0] = 1.05  # smoothed by 0.2: 0.94
    for call in (net.cost, net.gradients):
        with pytest.raises(ValueError, match=says("row 3, column 0 of y is 1.05")):
            call(x, y, label_smoothing=0.2)
    with pytest.raises(ValueError, match=says("row 3, column 0 of y is 1.05")):
        net.fit(x, y, learning_rate=0.1, label_smoothing=0.2)


def test_a_sample_without_weight_is_looked_at_like_one_that_is_not_finite():
    net, x, y = problem("sigmoid", "binary_cross_entropy")
    weight = np.ones(N)
    weight[3] = 0
    for bad, words in ((np.nan, "NaN"), (2.0, "[0, 1]")):
        y[3, 0] = bad
        with unchanged(net), pytest.raises(ValueError, match=says("row 3", words)):
            net.fit(x, y, learning_rate=0.1, sample_weight=weight)


@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
def test_training_names_what_is_not_finite_first(output, loss, bad):
    net, x, y = problem(output, loss)
    y[2, 0], y[5, 1] = -9, bad
    for call in ("fit", "train_step", "stream"):
        with unchanged(net), pytest.raises(ValueError, match=says("row 5 of y", "NaN")):
            CALLS[call](net, x, y)


def test_a_batch_of_a_stream_is_named_and_those_before_it_are_kept():
    net, x, y = problem("sigmoid", "binary_cross_entropy")
    wrong = y.copy()
    wrong[1, 1] = 7
    with pytest.raises(ValueError, match=says("batch 2 (counted from 1): row 1, column 1", "7")):
        net.fit([(x, y), (x, wrong)], learning_rate=0.1)
    other, _, _ = problem("sigmoid", "binary_cross_entropy")
    other.train_step(x, y, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


def test_explain_looks_at_its_sample():
    net, x, y = problem("sigmoid", "binary_cross_entropy")
    with pytest.raises(ValueError, match=says("row 0, column 1 of y is 2")):
        net.explain(x[0], [0.0, 2.0, 0.0], 1, 0, 0)


# --- outputs that cannot give them ------------------------------------------------------------


def outside(output):
    """A value that the output cannot give, or None."""
    low, high = OUTPUT_RANGES.get(output, (None, None))
    return None if low is None else low - 0.5 if high is None else high + 2.25


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("output", "loss"), OTHERS)
def test_what_an_output_cannot_give_is_warned_of_once(output, loss, call):
    net, x, y = problem(output, loss)
    y[7, 2] = value = outside(output) or 1e6
    y[9, 1] = value * 2
    told = warnings_of(CALLS[call], net, x, y)
    if outside(output) is None:
        assert told == []
        return
    [message] = told
    text = str(np.float64(value) if call == "check_gradients" else np.float32(value))
    start = f"{WHERE.get(call, '')}row {row_of(call, 7)}, column 2 of y is "
    assert message.startswith(start)
    assert float(message.removeprefix(start).split(",")[0]) == float(text)
    for word in (f"the output activation {output} never gives", '"identity"'):
        assert word in message


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_warned_of_in_any_array(kind):
    net, x, y = problem("tanh", "mse")
    y[7, 2] = 1.5
    for call in ("cost", "fit", "train_step", "evaluate"):
        [message] = warnings_of(CALLS[call], net, x, KINDS[kind](y))
        assert "row 7, column 2 of y is 1.5," in message


def test_the_first_row_of_many_slices_counts():
    """Arrays that are converted are looked at in slices of a million numbers."""
    net = cr.Network([2**11, 1], "sigmoid", "mse", seed=0)
    x, y = np.zeros((1200, 2**11), np.float16), np.zeros((1200, 1), np.float16)
    y[[1100, 1150]] = 3
    for call in ("evaluate", "fit"):
        [message] = warnings_of(CALLS[call], net, x, y)
        assert "row 1100 of y is 3," in message


def test_a_stream_warns_at_its_first_doubtful_batch():
    net, x, y = problem("relu", "mse")
    doubtful = y.copy()
    doubtful[4, 0] = -1
    batches = [(x, y), (x, doubtful), (x, doubtful)]
    [message] = warnings_of(lambda: net.fit(batches, learning_rate=0.0, epochs=3))
    assert message.startswith("batch 2 (counted from 1): row 4, column 0 of y is -1,")


def test_training_and_validation_data_are_warned_of_together_once():
    net, x, y = problem("relu", "mse")
    fit = lambda: net.fit(x, y - 100, learning_rate=0.0, validation_data=(x, y - 200))  # noqa: E731
    [message] = warnings_of(fit)
    assert message.startswith("row 0, column 0 of y is -")


def test_a_warning_that_is_an_error_comes_before_anything_changes():
    net, x, y = problem("relu", "mse")
    optimizer = cr.Adam()
    with warnings.catch_warnings(), unchanged(net):
        warnings.simplefilter("error")
        for call in (net.fit, net.train_step):
            with pytest.raises(UserWarning, match="relu"):
                call(x, y - 100, optimizer=optimizer)
    assert net.epoch == optimizer.step == 0


def test_costs_that_go_through_nan_do_so_still():
    net, x, y = problem("sigmoid", "binary_cross_entropy")
    y[3, 0] = np.nan
    assert warnings_of(lambda: np.testing.assert_equal(net.cost(x, y), np.nan)) == []


# --- sums -------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [c for c in CALLS if c != "metrics of fit"])
def test_rows_that_do_not_sum_to_1_are_warned_of_once(call):
    net, x, y = problem("softmax", "cross_entropy", width=11)
    y[[4, 6, 8]] *= 0.5
    [message] = warnings_of(CALLS[call], net, x, y)
    start = f"{WHERE.get(call, '')}row {row_of(call, 4)} of y sums to 0.5"
    assert message.startswith(start)
    for words in ("the first of 3 rows", "y / y.sum(axis=1, keepdims=True)"):
        assert words in message


def test_rows_are_counted_over_slices():
    net = cr.Network([2**11, 2], "softmax", "cross_entropy", seed=0)
    x, y = np.zeros((1200, 2**11), np.float16), np.full((1200, 2), 0.5, np.float16)
    y[[100, 700, 1100]] = 0
    for call in ("evaluate", "fit"):
        [message] = warnings_of(CALLS[call], net, x, y)
        assert "row 100 of y sums to 0, and is the first of 3 rows" in message


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("off", "warns"), [(0.9e-3, False), (-0.9e-3, False), (1.1e-3, True)])
def test_a_sum_may_be_off_by_a_thousandth(off, warns, dtype):
    net = cr.Network([2, 20], "softmax", "cross_entropy", dtype=dtype, seed=0)
    y = np.full((3, 20), 1 / 20)
    y[1, 13] += off
    assert len(warnings_of(net.cost, np.ones((3, 2)), y)) == warns


# --- nothing to say ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), gain=st.sampled_from([0.1, 1, 30, 1e4]))
def test_what_a_network_gives_it_may_be_trained_on(output, loss, dtype, seed, gain):
    rng = np.random.default_rng(seed)
    width = int(rng.integers(1, 20))
    net = random_network(rng, [4, width], [output], loss, dtype=dtype, gain=gain)
    x = rng.normal(size=(9, 4))
    y = net.predict(x)
    for call in ("cost", "train_step", "fit", "trace", "evaluate", "stream"):
        assert warnings_of(CALLS[call], net, x, y) == []


@pytest.mark.parametrize("call", [c for c in CALLS if not c.startswith("validation")])
def test_labels_and_one_hot_rows_are_taken(call):
    net, x, _ = problem("softmax", "cross_entropy")
    labels = np.arange(N) % 3
    hot = np.eye(3)[labels]
    for y in (labels, labels == 1, hot, hot.astype(bool), hot.astype(np.int8)):
        if call == "metrics of fit":
            net.fit(x, y, learning_rate=0.0, metrics=["accuracy"])
        else:
            assert warnings_of(CALLS[call], net, x, y) == []


# --- where a warning points -------------------------------------------------------------------


def test_a_warning_points_at_the_line_of_the_user():
    net, x, y = problem("relu", "mse")
    for name, call in CALLS.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call(net, x, y - 100)
        [warning] = caught
        assert warning.filename == __file__, name
        line = call.__code__.co_firstlineno
        assert line <= warning.lineno <= line + 6


def test_a_warning_in_a_thread_points_at_its_function():
    net, x, y = problem("relu", "mse")
    messages = []

    def work():
        messages.extend(warnings_of(net.fit, [(x, y - 100)], None))

    net.fit = lambda X, Y: cr.Network.fit(net, X, Y, learning_rate=0.0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(messages) == 1


def test_labels_that_count_from_one_are_named_with_the_mend():
    network = cr.Network([2, 3], "softmax", loss="cross_entropy", seed=0)
    said = r"the label in row 1 of y is 3, expected 0 \.\.\. 2: .* count from 1 need y - 1"
    with pytest.raises(ValueError, match=said):
        network.fit(np.zeros((2, 2)), np.array([1, 3]), epochs=1, learning_rate=0.1)
