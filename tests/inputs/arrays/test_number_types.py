"""Numbers and labels of every type, for every argument: read as NumPy rounds them, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from hostile import (
    INTEGERS,
    LAYOUTS,
    WITH_COST,
    N,
    apart_numbers,
    assert_refused,
    differing,
    field,
    one_byte_off,
    run,
)
from support import assert_same_bits, random_network, says, unchanged

REAL_TYPES = "?" + INTEGERS + "efdg"


@pytest.mark.bits
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", REAL_TYPES)
def test_every_real_type_of_every_argument_gives_the_same_bits(net, data, code, order):
    for layout in (np.array, apart_numbers, one_byte_off):

        def change(a, layout=layout):
            numbers = (np.abs(a) * 3).astype(code)
            return layout(numbers.astype(numbers.dtype.newbyteorder(order)))

        assert differing(net, data, change, same=lambda _, a: a.astype(net.dtype)) == []


@pytest.mark.bits
@pytest.mark.parametrize("code", INTEGERS)
def test_the_largest_integers_are_rounded_as_numpy_rounds_them(rng, dtype, code):
    net = random_network(rng, [3, 2], "identity", dtype=dtype)
    limits = np.iinfo(code)
    x = np.array([[limits.min, limits.max, limits.max // 3]], code)
    assert_same_bits(net.predict(x), net.predict(x.astype(dtype)))
    assert_same_bits(net.trace(x, np.zeros((1, 2))).a[0], x.astype(dtype))


# --- labels -----------------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", INTEGERS)
def test_labels_of_every_integer_type(classifier, rng, code, order):
    labels = rng.integers(0, 3, N)
    data = {"x": rng.normal(size=(N, 5)), "sample_weight": rng.random(N)}
    given = labels.astype(np.dtype(code).newbyteorder(order))
    for call in WITH_COST:
        expected = run(call, classifier, {**data, "y": labels})
        for layout in (np.array, apart_numbers, LAYOUTS["backwards"], one_byte_off, field):
            assert_same_bits(run(call, classifier, {**data, "y": layout(given)}), expected)


@pytest.mark.parametrize("code", INTEGERS)
def test_the_largest_labels_are_refused_whatever_their_type(classifier, code):
    limits = np.iinfo(code)
    for label in {limits.min, limits.max, 3} - {0}:
        y = np.array([0, 1, label], code)
        with unchanged(classifier), pytest.raises(ValueError, match=says("row 2", "0", "2")):
            classifier.train_step(np.zeros((3, 5)), y, learning_rate=0.1)


def test_labels_of_one_sample_have_no_dimension(classifier, rng):
    x = rng.normal(size=5)
    for label in (2, np.int8(2), np.array(2), np.array(2, ">u2")):
        assert classifier.cost(x, label) == classifier.cost(x[None], [2])
    assert classifier.cost(x, True) == classifier.cost(x[None], [1])
    for other in (2.0, np.array(2.0), [2]):
        with pytest.raises(ValueError, match=says("(3,)", "label")):
            classifier.cost(x, other)


def test_bools_are_labels(classifier, rng):
    labels = rng.integers(0, 2, N)
    data = {"x": rng.normal(size=(N, 5)), "sample_weight": rng.random(N)}
    for call in WITH_COST:
        expected = run(call, classifier, {**data, "y": labels})
        assert_same_bits(run(call, classifier, {**data, "y": labels == 1}), expected)


def test_labels_that_are_floats_are_refused_with_the_cast(classifier, rng):
    x, labels = rng.normal(size=(4, 5)), rng.integers(0, 3, 4)
    for code in "efdg":
        y = labels.astype(code)
        with pytest.raises(ValueError, match=says("(4,)", "(4, 3)", "y.astype(int)")):
            classifier.cost(x, y)
        with pytest.raises(ValueError, match=says("(4, 1)", "(4, 3)", "y.ravel().astype(int)")):
            classifier.cost(x, y[:, None])
    with pytest.raises(ValueError, match=says("(4, 1)", "pass y.ravel()")):
        classifier.cost(x, labels[:, None])


# --- what is refused --------------------------------------------------------------------------


NOT_REAL = {
    "complex64": lambda a: a.astype(np.complex64),
    "swapped complex": lambda a: a.astype(">c16"),
    "clongdouble": lambda a: a.astype(np.clongdouble),
    "object": lambda a: a.astype(object),
    "str": lambda a: a.astype(str),
    "bytes": lambda a: a.astype(bytes),
    "datetime64": lambda a: np.zeros(a.shape, "M8[s]"),
    "timedelta64": lambda a: np.zeros(a.shape, "m8[ns]"),
    "structured": lambda a: np.zeros(a.shape, [("a", "f4"), ("b", "i2")]),
    "void": lambda a: np.zeros(a.shape, "V4"),
}
if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
    NOT_REAL["StringDType"] = lambda a: a.astype(str).astype(np.dtypes.StringDType())


@pytest.mark.parametrize("kind", NOT_REAL)
def test_numbers_that_are_not_real_are_refused_by_name_and_type(net, data, kind):
    dtype_of = np.ndarray.dtype.__get__
    assert_refused(net, data, NOT_REAL[kind], TypeError, "{name}", "real numbers", dtype_of)


@pytest.mark.parametrize("mask", [np.ma.nomask, False, True], ids=["none", "nothing", "all"])
def test_masked_arrays_are_refused_whatever_they_hide(net, data, mask):
    def change(a):
        return np.ma.masked_array(a, mask=mask)

    assert_refused(net, data, change, TypeError, "{name}", "mask", "fill")


def test_lists_that_make_no_array_are_refused(net, data):
    itself = []
    itself.append(itself)
    for hostile in ([[1.0] * 5, [1.0] * 4], [1.0, [2.0]], [[1.0], 2.0], itself):
        assert_refused(net, data, lambda _, hostile=hostile: hostile, ValueError, "sequence")


@pytest.mark.parametrize(
    "make",
    [
        lambda: {1.0, 2.0},
        lambda: {"a": 1.0},
        lambda: (i for i in range(5)),
        lambda: [1.0, None],
        lambda: ["1", 2.0],
        lambda: "12345",
        lambda: b"12345",
        lambda: len,
        object,
    ],
    ids=["set", "dict", "generator", "None", "mixed", "str", "bytes", "function", "object"],
)
def test_objects_that_are_no_numbers_are_refused(net, data, make):
    assert_refused(net, data, lambda _: make(), TypeError, "{name}", "real numbers")


@pytest.mark.parametrize(
    "change",
    [lambda a: a.ravel()[0], lambda a: a[None], lambda a: a[..., None]],
    ids=["a number", "an axis before", "an axis after"],
)
def test_other_dimensions_are_refused_by_name_and_shape(net, data, change):
    assert_refused(net, data, lambda a: np.array(change(a)), ValueError, "{name}", np.shape)


def test_no_columns_are_refused(net, data):
    empty = np.zeros((N, 0))
    assert_refused(net, data, lambda _: empty, ValueError, "x", "(n, 5)", "(13, 0)", names=["x"])
