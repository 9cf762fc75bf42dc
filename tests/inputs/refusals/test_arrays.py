"""Inputs and `out` that are refused: the right exception, and nothing changed by it.

Messages are matched loosely: the shapes, dtypes or names that they must contain, in any order.
"""

from __future__ import annotations

import numpy as np
import pytest
from calls import CALLS, REFUSED

import chainrule as cr
from support import assert_same_bits, bits, says, unchanged

# --- x --------------------------------------------------------------------------------------------

WRONG_SHAPES = [(6, 4), (6, 6), (4,), (6,), (2, 6, 5), (5, 6), (6, 0), ()]


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


@pytest.mark.parametrize("shape", WRONG_SHAPES, ids=str)
def test_an_input_of_the_wrong_shape_is_refused(net, call, y, shape):
    with unchanged(net), pytest.raises(ValueError):
        call(net, np.zeros(shape, np.float32), y)


@pytest.mark.parametrize("shape", [(6, 4), (4,), (2, 6, 5)], ids=str)
def test_the_message_gives_the_expected_and_the_actual_shape(net, shape):
    with pytest.raises(ValueError, match=says("5", str(shape))):
        net.predict(np.zeros(shape, np.float32))


BAD_INPUTS = {
    "complex": lambda x: x.astype(np.complex64),
    "object": lambda x: x.astype(object),
    "string": lambda x: x.astype(str),
    "bytes": lambda x: x.astype(bytes),
    "date": lambda x: np.zeros(x.shape, "M8[s]"),
    "duration": lambda x: np.zeros(x.shape, "m8[s]"),
    "record": lambda x: np.zeros(x.shape, [("a", "f4")]),
    "list of strings": lambda x: x.astype(str).tolist(),
    "list of complex": lambda x: x.astype(complex).tolist(),
    "None": lambda x: None,
    "dict": lambda x: {"x": x},
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_an_input_of_another_kind_is_refused(net, call, x, y, kind):
    with unchanged(net), pytest.raises(REFUSED):
        call(net, BAD_INPUTS[kind](x), y)


@pytest.mark.parametrize("kind", ["complex", "object", "string"])
def test_a_wrong_dtype_is_a_type_error(net, x, kind):
    with pytest.raises(TypeError, match=says("complex64" if kind == "complex" else "x")):
        net.predict(BAD_INPUTS[kind](x))


def test_ragged_lists_are_refused(net):
    with pytest.raises(REFUSED):
        net.predict([[1.0] * 5, [1.0] * 4])


def test_arguments_of_predict_are_checked(net, x):
    for call in (
        lambda: net.predict(),
        lambda: net.predict(x, None, None, None),
        lambda: net.predict(x, nope=1),
        lambda: net.predict(x, x=x),
        lambda: net.predict(x, None, out=None),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_a_number_of_threads_must_be_a_positive_integer(net, x, threads):
    with pytest.raises(REFUSED):
        net.predict(x, threads=threads)
    with pytest.raises(REFUSED):
        cr.set_num_threads(threads)


# --- out --------------------------------------------------------------------------------------


def read_only(x):
    out = np.zeros((6, 3), np.float32)
    out.flags.writeable = False
    return out


BAD_OUTS = {
    "too few rows": (lambda x: np.zeros((5, 3), np.float32), ("(6, 3)", "(5, 3)")),
    "too many rows": (lambda x: np.zeros((7, 3), np.float32), ("(6, 3)", "(7, 3)")),
    "wrong width": (lambda x: np.zeros((6, 4), np.float32), ("(6, 3)", "(6, 4)")),
    "flat": (lambda x: np.zeros(18, np.float32), ("(6, 3)", "(18,)")),
    "one row": (lambda x: np.zeros((1, 3), np.float32), ("(6, 3)", "(1, 3)")),
    "extra axis": (lambda x: np.zeros((6, 3, 1), np.float32), ("(6, 3)", "(6, 3, 1)")),
    "float64": (lambda x: np.zeros((6, 3), np.float64), ("float32", "float64")),
    "float16": (lambda x: np.zeros((6, 3), np.float16), ("float32", "float16")),
    "int32": (lambda x: np.zeros((6, 3), np.int32), ("float32", "int32")),
    "byte-swapped": (lambda x: np.zeros((6, 3), np.dtype("f4").newbyteorder()), ("float32",)),
    "read-only": (read_only, ("out",)),
    "Fortran order": (lambda x: np.zeros((6, 3), np.float32, "F"), ("contiguous",)),
    "row-strided": (lambda x: np.zeros((12, 3), np.float32)[::2], ("contiguous",)),
    "reversed": (lambda x: np.zeros((6, 3), np.float32)[::-1], ("contiguous",)),
    "part of columns": (lambda x: np.zeros((6, 5), np.float32)[:, :3], ("contiguous",)),
    "list": (lambda x: [[0.0] * 3] * 6, ("out",)),
    "memoryview": (lambda x: memoryview(np.zeros((6, 3), np.float32)), ("out",)),
    "overlapping the input": (lambda x: x.reshape(-1)[:18].reshape(6, 3), ("overlap",)),
    "end overlapping the input": (lambda x: x.reshape(-1)[12:].reshape(6, 3), ("overlap",)),
}


@pytest.mark.parametrize("kind", BAD_OUTS)
@pytest.mark.parametrize("frozen", [False, True], ids=["network", "predictor"])
def test_an_out_that_does_not_fit_is_refused(net, x, kind, frozen):
    make, parts = BAD_OUTS[kind]
    out, before = make(x), bits(x)
    content = bits(out)
    with unchanged(net), pytest.raises(REFUSED, match=says(*parts)):
        (net.freeze() if frozen else net).predict(x, out=out)
    assert bits(x) == before
    assert bits(out) == content


def test_an_unaligned_out_is_refused(net, x):
    out = np.zeros(6 * 3 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(6, 3)
    with pytest.raises(REFUSED, match=says("out")):
        net.predict(x, out=out)
    assert not out.any()


def test_an_out_beside_the_input_in_one_buffer_is_accepted(net, x):
    room = np.zeros(6 * 5 + 6 * 3, np.float32)
    room[:30] = x.ravel()
    net.predict(room[:30].reshape(6, 5), out=room[30:].reshape(6, 3))
    assert_same_bits(room[30:].reshape(6, 3), net.predict(x))


def test_a_converted_input_may_overlap_nothing(net, x):
    """The copy does not overlap, but the array that was given does: refused as documented."""
    wide = np.zeros((6, 10), np.float32)
    wide[:, ::2] = x
    with pytest.raises(ValueError, match=says("overlap")):
        net.predict(wide[:, ::2], out=wide.reshape(-1)[:18].reshape(6, 3))
