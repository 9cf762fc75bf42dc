"""The check that every importer ends with: planted errors are found, and correct models come in.

The models here are NumPy functions of their own, in float64 or in float32.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import agreement
from chainrule.agreement import CONSTANTS, Original, verify
from chainrule.stack import Stack
from support import says

MEND = "Write the model in another way"
FUNCTIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "identity": np.copy,
    "softmax": lambda z: (e := np.exp(z - z.max(1, keepdims=True))) / e.sum(1, keepdims=True),
}


def network_of(stack, dtype):
    return cr.Network.from_arrays(*stack.arrays(), rows="outputs", dtype=dtype, seed=0)


class Model:
    """(x - mean)/std, then layers, as somebody else computes them; `stack` is what it is."""

    def __init__(self, seed=0, widths=(4, 9, 3), activation="tanh", mean=0.0, std=1.0):
        rng = np.random.default_rng(seed)
        self.mean, self.std = (np.broadcast_to(v, widths[0]).astype(float) for v in (mean, std))
        self.layers = []
        for n_in, n_out in zip(widths, widths[1:], strict=False):
            bound = 1 / np.sqrt(n_in)
            w, b = rng.uniform(-bound, bound, (n_out, n_in)), rng.uniform(-bound, bound, n_out)
            self.layers.append((w.astype("f4").astype("f8"), b.astype("f4").astype("f8")))
        self.activations = [activation] * (len(widths) - 2) + ["identity"]
        self.seen = None

    def __call__(self, rows):
        self.seen = rows
        dtype = rows.dtype
        a = (rows - self.mean.astype(dtype)) / self.std.astype(dtype)
        found = {"scaled": a}
        for number, ((w, b), name) in enumerate(zip(self.layers, self.activations, strict=True), 1):
            z = a @ w.T.astype(dtype) + b.astype(dtype)
            a = FUNCTIONS[name](z)
            found |= {f"z{number}": z, f"a{number}": a}
        return found

    def tensors(self):
        stack = Stack(len(self.mean)).affine(1 / self.std, -self.mean / self.std)
        found = {"scaled": stack}
        for number, ((w, b), name) in enumerate(zip(self.layers, self.activations, strict=True), 1):
            found[f"z{number}"] = stack = stack.linear(w.copy(), b.copy())
            stack = stack if name == "identity" else stack.activation(name)
            found[f"a{number}"] = stack
        return found


def check(model, tensors=None, run=("float64",), dtype="float64", **changed):
    """Verify what `tensors` say of `model`, and return the network."""
    tensors = model.tensors() if tensors is None else tensors
    *_, stack = tensors.values()
    network = changed.get("network", network_of(stack, dtype))
    runs = {name: changed.get("call", model) for name in run}
    verify(network, stack, tensors, Original("the model", runs, MEND))
    return network


def refused(*words):
    return pytest.raises(ValueError, match=says(*words))


RUNS = [("float64",), ("float32",), ("float64", "float32")]


@pytest.mark.parametrize("scaling", [{}, {"mean": [9.0, -200.0, 0.0, 3.0], "std": [2, 30, 0.1, 1]}])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("run", RUNS, ids="+".join)
def test_a_correct_import_passes(run, dtype, scaling):
    check(Model(**scaling), run=run, dtype=dtype)


# --- planted errors, from both sides of each bound ------------------------------------------------


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_one_weight_that_is_off_is_found_in_its_layer(layer):
    model = Model(widths=(4, 9, 9, 3))
    tensors = model.tensors()
    model.layers[layer][0][1, 2] += 1e-8
    with refused(f"z{layer + 1} and the network differ", "number 1", "Nothing was imported", MEND):
        check(model, tensors)


def test_a_weight_within_the_rounding_of_float64_passes():
    model = Model()
    tensors = model.tensors()
    model.layers[0][0][1, 2] += 1e-14
    check(model, tensors)


@pytest.mark.parametrize("run", RUNS[:2], ids="+".join)
def test_a_missing_activation_is_named(run):
    model = Model(widths=(4, 9, 9, 3))
    model.activations[1] = "identity"
    tensors = model.tensors()
    model.activations[1] = "tanh"
    with refused("a2 and the network differ"):
        check(model, tensors, run)


@pytest.mark.parametrize("run", RUNS[:2], ids="+".join)
def test_swapped_columns_are_found(run):
    model = Model()
    tensors = model.tensors()
    model.layers[0] = (model.layers[0][0][:, [1, 0, 2, 3]], model.layers[0][1])
    # Rows of one number are all the same to a swap: a drawn one tells.
    with refused("z1 and the network differ", "the answer to drawn row 0"):
        check(model, tensors, run)


@pytest.mark.parametrize("where", range(len(CONSTANTS)))
def test_an_error_for_one_row_alone_is_found_and_the_row_named(where):
    model = Model()

    def call(rows):
        found = model(rows)
        found["a2"][where, 2] += 1e-6
        return found

    with refused("a2 and", "by 1e-06", "number 2", f"to a row of {CONSTANTS[where]:g}."):
        check(model, call=call)


def test_an_error_that_dead_units_hide_from_the_output_is_found():
    model = Model(activation="relu")
    model.layers[0][1][4] = -1e6
    tensors = model.tensors()
    model.layers[0][1][4] = -2e6
    outputs = [
        model(np.ones((1, 4)))["a2"],
        network_of(tensors["a2"], "float64").predict([[1.0] * 4]),
    ]
    np.testing.assert_allclose(*outputs, rtol=1e-12)
    with refused("z1 and the network differ"):
        check(model, tensors)


@pytest.mark.parametrize(("error", "passes"), [(1e-4, False), (2e-6, True)])
def test_in_float32_an_error_of_1e_4_is_refused(error, passes):
    model = Model()
    tensors = model.tensors()
    model.layers[1][1][0] += error
    if passes:
        check(model, tensors, ("float32",), "float32")
    else:
        with refused("z2 and the network differ", "number 0"):
            check(model, tensors, ("float32",), "float32")


def cancelling(size):
    """A model in which numbers of some size cancel, which rounds badly."""
    model = Model(widths=(4, 8, 8, 3), activation="identity")
    w = model.layers[1][0]
    model.layers[1] = (np.float32(size) * np.eye(8)[::-1] + w, model.layers[1][1])
    back = model.layers[2][0]
    model.layers[2] = (back - back[:, ::-1], model.layers[2][1])
    for layer in (0, 1, 2):
        model.layers[layer] = tuple(v.astype("f4").astype("f8") for v in model.layers[layer])
    first = model.layers[0][0]
    first[4:] = first[3::-1]
    model.layers[0][1][4:] = model.layers[0][1][3::-1]
    return model


def error_in_float32(model, rows):
    exact = model(rows)["a3"]
    return np.abs(model(rows.astype("f4"))["a3"] - exact).max() / max(1, np.abs(exact).max())


def test_a_model_of_float32_that_rounds_badly_passes():
    rows = np.random.default_rng(1).standard_normal((64, 4)).astype("f4").astype("f8")
    model = cancelling(3e3)
    assert error_in_float32(model, rows) > 3e-5
    check(model, run=("float32",), dtype="float32")


def test_the_error_that_is_rounding_there_is_refused_in_another_model():
    model = Model(widths=(4, 8, 8, 3), activation="identity")
    tensors = model.tensors()
    model.layers[2][1][0] += 3e-5
    with refused("z3 and the network differ"):
        check(model, tensors, ("float32",), "float32")


def test_no_rounding_excuses_a_thousandth_of_the_largest_number(monkeypatch):
    model = Model()
    tensors = model.tensors()
    model.layers[1][1][0] += 0.02
    monkeypatch.setattr(agreement, "OWN_ROUNDINGS", 1e9)  # as if float32 were that coarse
    with refused("z2 and the network differ"):
        check(model, tensors, ("float32",), "float32")
    model.layers[1][1][0] -= 0.0195
    check(model, tensors, ("float32",), "float32")


@pytest.mark.slow
def test_correct_networks_of_float32_come_in_whatever_they_round():
    beyond = 0
    for seed in range(60):
        model = Model(seed, (784, 256, 128, 10), ["relu", "tanh"][seed % 2])
        scale = [1, 3, 10][seed % 3]
        model.layers = [
            ((scale * w).astype("f4").astype("f8"), (scale * b).astype("f4").astype("f8"))
            for w, b in model.layers
        ]
        check(model, run=("float32",), dtype="float32")
        exact = model(model.seen.astype("f8"))["a3"]
        difference = np.abs(model(model.seen.astype("f4"))["a3"] - exact)
        beyond += bool((difference > 1e-5 * np.maximum(1, np.abs(exact))).any())
    assert beyond >= 6  # so that the draws need the allowance


def test_probabilities_that_nearly_tie_come_in():
    # The rounding of such a row is that of one difference of large logits, of which other rows
    # tell nothing. With one evaluation in place of six, two of these are refused.
    for seed in [*range(50), 183, 264]:
        model = Model(seed, (16, 8, 20), "relu")
        model.activations[-1] = "softmax"
        w, b = model.layers[-1]
        model.layers[-1] = (8192 * w, 8192 * b)
        check(model, run=("float32",), dtype="float32")


# --- the network itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "factor"), [("float64", 1 + 1e-8), ("float32", 1 + 1e-3)])
def test_a_network_that_is_not_its_stack_is_refused(dtype, factor):
    model = Model()
    network = network_of(model.tensors()["a2"], dtype)
    network.weights[1][0, 0] *= factor
    with refused("the model's layers and the network differ"):
        check(model, network=network)


def test_float32_is_refused_where_folding_loses_what_the_model_keeps():
    model = Model(mean=1e6, std=1.0)
    with refused("the model in float64 and the network differ", 'dtype="float64"'):
        check(model, dtype="float32")
    with refused('dtype="float64"'):
        check(model, run=("float64", "float32"), dtype="float32")
    check(model, dtype="float64")


@pytest.mark.parametrize("mean", [1e3, 1e5, 1e7, 1e9])
def test_the_rounding_of_large_means_is_no_difference(mean):
    for seed in range(10):
        check(Model(seed, mean=mean, std=0.3))


def test_float32_is_taken_where_folding_loses_little():
    check(Model(mean=100.0, std=1.0), dtype="float32")


def test_float32_is_taken_where_the_model_loses_as_much():
    model = cancelling(3e5)
    rows = np.random.default_rng(1).standard_normal((64, 4)).astype("f4").astype("f8")
    assert error_in_float32(model, rows) > 1e-3
    check(model, run=("float64", "float32"), dtype="float32")


# --- rows -----------------------------------------------------------------------------------------


def test_rows_are_constant_ones_and_drawn_ones_like_the_data_of_the_scaling():
    model = Model(mean=[50.0, -3.0, 0.0, 1e4], std=[3.0, 0.1, 1.0, 50.0])
    check(model)
    constant, drawn = np.split(model.seen, [5])
    np.testing.assert_array_equal(constant, np.outer([0, 1, -1, 1000, -1000], np.ones(4)))
    scaled = (drawn - model.mean) / model.std
    assert drawn.shape == (64, 4)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=0.5)
    np.testing.assert_allclose(scaled.std(0), 1, atol=0.4)


def test_rows_are_the_same_every_time_and_touch_no_random_state():
    model, state = Model(), np.random.get_state()[1].copy()
    check(model)
    first = model.seen
    check(model)
    np.testing.assert_array_equal(model.seen, first)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_a_feature_that_the_scaling_leaves_out_gets_drawn_numbers():
    model = Model(std=np.array([1.0, np.inf, 1.0, 1.0]))
    check(model)
    assert np.isfinite(model.seen).all()


def test_large_networks_are_compared_on_fewer_rows(monkeypatch):
    model = Model()
    parameters = 4 * 9 + 9 + 9 * 3 + 3
    monkeypatch.setattr(agreement, "MULTIPLY_ADDS", 20 * parameters)
    check(model)
    assert len(model.seen) == 5 + 20
    monkeypatch.setattr(agreement, "NUMBERS", 1)
    check(model)
    assert len(model.seen) == 5 + 8


# --- shapes, activations, numbers that are not finite ---------------------------------------------


@pytest.mark.parametrize("shape", [(69,), (69, 1), (69, 1, 1)], ids=str)
def test_axes_of_length_1_do_not_matter(shape):
    model = Model(widths=(4, 9, 1))
    check(model, call=lambda rows: model(rows) | {"a2": model(rows)["a2"].reshape(shape)})


@pytest.mark.parametrize("change", [lambda a: a[:, :2], lambda a: a[:5], lambda a: a.T, np.sum])
def test_another_shape_is_refused(change):
    model = Model()
    with refused("a2 has the shape", "(69, 3)", "nothing was imported"):
        check(model, call=lambda rows: model(rows) | {"a2": change(model(rows)["a2"])})


@pytest.mark.parametrize("run", RUNS[:2], ids="+".join)
def test_an_activation_that_is_appended_is_not_asked_of_the_model(run):
    model = Model()
    tensors = model.tensors()
    stack = tensors["a2"].activation("softmax")
    runs = {name: model for name in run}
    verify(network_of(stack, "float32"), stack, tensors, Original("the model", runs, MEND))


@pytest.mark.parametrize("name", cr._core.ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_activation_is_evaluated_as_the_network_does(name, dtype):
    tensors = Model().tensors()
    stack = tensors["z2"].activation(name)
    runs = {"float64": Model()}
    network = network_of(stack, dtype)
    verify(network, stack, {"z2": tensors["z2"]}, Original("the model", runs, MEND))


def overflowing():
    model = Model(activation="identity")
    model.layers[0][0][...] *= 1e36
    return model


def test_rows_that_overflow_in_both_agree():
    model = overflowing()
    check(model, run=("float32",), dtype="float32")
    with np.errstate(all="ignore"):
        outputs = model(model.seen)["a2"]
    assert not np.isfinite(outputs[3:5]).any() and np.isfinite(outputs[5:]).any()


def test_rows_that_become_nan_leave_the_bounds_of_the_others():
    for seed in range(10):
        model = Model(seed, activation="relu")
        (first, shift), (last, _) = model.layers
        first[5:], shift[5:] = first[1:5], shift[1:5]
        last[:, 5:] = 1e7
        last[:, 1:5] = -1e7 + last[:, 1:5]  # rounds by more than 1e-10
        first[0], shift[0], last[:, 0] = 0, -1e307, 0
        first[0, 0] = 1e306  # a dead unit that overflows for 1000, and inf times 0 is NaN
        check(model)
        with np.errstate(all="ignore"):
            outputs = model(model.seen)["a2"]
        assert np.isnan(outputs[3]).all() and np.isfinite(outputs[5:]).all()


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("run", RUNS[:2], ids="+".join)
def test_a_number_that_is_not_finite_in_the_model_alone_is_refused(run, number):
    model = Model()

    def call(rows):
        found = model(rows)
        found["a2"][3, 1] = number
        return found

    with refused("a2 and the network differ", "number 1", "a row of 1000"):
        check(model, run=run, call=call)


# --- models that cannot be run --------------------------------------------------------------------


def test_a_model_that_raises_is_a_warning_that_says_why():
    def call(rows):
        raise RuntimeError("no kernel for it")

    with pytest.warns(UserWarning, match=says("RuntimeError: no kernel for it", "not verified")):
        check(Model(), run=("float64", "float32"), call=call)


def test_float32_is_tried_where_float64_raises():
    model, types = Model(), []

    def call(rows):
        types.append(rows.dtype.name)
        if rows.dtype == np.float64:
            raise RuntimeError("no kernel for it")
        return model(rows)

    check(model, run=("float64", "float32"), call=call)
    assert types == ["float64", "float32"]


@pytest.mark.parametrize("missing", ["an output", "finite numbers"])
def test_what_a_run_leaves_open_is_a_warning(missing):
    model = Model(activation="identity")

    def call(rows):
        found = model(rows)
        if missing == "an output":
            del found["a2"]
        return found

    if missing == "finite numbers":
        model.layers[0][0][...] = 1e300
        model.layers[1][0][...] = 1e300
    with pytest.warns(UserWarning, match="not verified"):
        check(model, call=call)


def test_tensors_that_a_run_does_not_give_are_not_compared():
    model = Model()
    check(model, call=lambda rows: {"a2": model(rows)["a2"]})


@pytest.mark.parametrize("raises", [False, True])
def test_random_numbers_that_a_model_draws_do_not_change_the_state(raises):
    model, state = Model(), np.random.get_state()[1].copy()

    def call(rows):
        np.random.standard_normal(1000)
        if raises:
            raise RuntimeError
        return model(rows)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(model, call=call)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_the_log_says_what_was_verified(caplog):
    with caplog.at_level(logging.INFO, "chainrule"):
        check(Model())
    assert "the model: verified in float64 on 69 rows" in caplog.text
