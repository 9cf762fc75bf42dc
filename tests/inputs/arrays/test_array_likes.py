"""Subclasses of arrays, objects that lend one, and pandas: read as the array that they are."""

from __future__ import annotations

import array
import ctypes

import numpy as np
import pytest

from hostile import N, Wilful, apart, assert_refused, differing, gradients
from support import assert_same_bits, run_python, says

# --- subclasses -------------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize("kind", [np.memmap, np.recarray, Wilful])
@pytest.mark.parametrize("given", ["float16", "float32", "float64", ">f4", "longdouble", "int8"])
def test_a_subclass_is_read_as_the_array_that_it_is(net, data, kind, given):
    numbers = {name: (np.abs(a) * 3).astype(given) for name, a in data.items()}
    assert differing(net, numbers, lambda a: a.view(kind), same=lambda a, _: a) == []


# What a subclass does to every new array of its kind: a conversion must not make one.
FINALIZE = """
import sys
import numpy as np
import chainrule as cr

class Sub(np.ndarray):
    armed = False

    def __array_finalize__(self, obj):
        if Sub.armed and sys.argv[1] == "retype":
            self.dtype = np.float32
        elif Sub.armed:
            raise RuntimeError("no more of these")

n, ones = 13, np.ones((13, 1))
for dtype in ("float32", "float64"):
    net = cr.Network([1, 4, 1], "tanh", "mse", dtype=dtype, seed=0)
    calls = {
        "predict": net.predict,
        "gradients in x": lambda a: net.gradients(a, ones).flatten(),
        "gradients in y": lambda a: net.gradients(ones, a).flatten(),
        "cost of weights": lambda a: net.cost(ones, ones, a),
        "pullback": lambda a: net.vjp(ones)[1](a)[1],
        "trace": lambda a: net.trace(a, a).delta[0],
        "evaluate": lambda a: net.evaluate(a, a)["mae"],
        "fit": lambda a: net.fit(a, a, learning_rate=0.0, shuffle=False).cost,
    }
    for given in ("float16", "float32", "float64", ">f4", "longdouble", "int8"):
        for name, call in calls.items():
            a = np.arange(n).astype(given)
            a = a if name == "cost of weights" else a[:, None]
            expected, hostile = call(a), a.view(Sub)
            Sub.armed = True
            result = call(hostile)
            Sub.armed = False
            assert np.array_equal(result, expected), (dtype, given, name)
"""


@pytest.mark.parametrize("does", ["retype", "raise"])
def test_no_new_array_of_a_subclass_is_made(does):
    run_python("-X", "faulthandler", "-c", FINALIZE, does)


@pytest.mark.bits
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_read_as_what_it_is(net, data):
    values = {name: data[name] for name in ("x", "y")}
    for name, a in values.items():
        assert_same_bits(gradients(net, **{**data, name: np.asmatrix(a)}), gradients(net, **data))
    weight = np.asmatrix(data["sample_weight"])  # has two dimensions, always
    with pytest.raises(ValueError, match=says("sample_weight", f"({N},)", f"(1, {N})")):
        net.cost(**values, sample_weight=weight)


# --- objects that lend an array ---------------------------------------------------------------


class WithArray:
    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a


class WithInterface:
    def __init__(self, a):
        self.a = a
        self.__array_interface__ = a.__array_interface__


class WithStruct:
    def __init__(self, a):
        self.a = a
        self.__array_struct__ = a.__array_struct__


class WithItems:
    def __init__(self, a):
        self.a = a

    def __len__(self):
        return len(self.a)

    def __getitem__(self, i):
        return self.a[i]


LENDERS = {
    "__array__": WithArray,
    "__array_interface__": WithInterface,
    "__array_interface__ of strides": lambda a: WithInterface(apart(a)),
    "__array_struct__": WithStruct,
    "__getitem__": WithItems,
    "memoryview": memoryview,
    "memoryview of strides": lambda a: memoryview(apart(a)),
    "bytearray": lambda a: np.frombuffer(bytearray(a.tobytes()), a.dtype).reshape(a.shape),
    "array.array": lambda a: (
        memoryview(array.array(a.dtype.char, a.tobytes())).cast("B").cast(a.dtype.char, a.shape)
    ),
    "ctypes": lambda a: np.ctypeslib.as_ctypes(a.copy()),
    "lists": np.ndarray.tolist,
    "a list of arrays": list,
    "a tuple": lambda a: tuple(map(tuple, a)) if a.ndim == 2 else tuple(a),
}


@pytest.mark.bits
@pytest.mark.parametrize("kind", LENDERS)
def test_an_object_that_lends_an_array_is_read_as_the_array(net, data, kind):
    assert differing(net, data, LENDERS[kind], same=lambda a, _: a) == []


@pytest.mark.bits
@pytest.mark.parametrize(
    "buffer",
    [
        bytearray([0, 1, 2, 3, 255]),
        memoryview(b"\0\1\2\3\377"),
        array.array("d", [0, 1, 2, 3, 255]),
        array.array("l", [0, 1, 2, 3, 255]),
        (ctypes.c_ubyte * 5)(0, 1, 2, 3, 255),
        range(0, 20, 4),
        (np.float32(0), True, 2, np.int8(3), np.longdouble(4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_buffer_of_numbers_is_one_sample(net, buffer):
    assert_same_bits(net.predict(buffer), net.predict(np.array(buffer, net.dtype)))


def test_an_error_of_the_lender_is_the_error_of_the_call(net, data):
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise LookupError("the disk is gone")

    assert_refused(net, data, lambda _: Broken(), LookupError, "the disk is gone")


def test_a_lender_of_no_array_is_refused(net, data):
    assert_refused(net, data, lambda a: WithArray(a.tolist()), (TypeError, ValueError), "array")


# --- pandas -----------------------------------------------------------------------------------


@pytest.fixture
def pd():
    return pytest.importorskip("pandas")


@pytest.mark.bits
@pytest.mark.parametrize(
    "types",
    [["float32"] * 5, ["float64"] * 5, ["float32", "int8", "float64", "uint16", "int64"]],
    ids=["float32", "float64", "mixed"],
)
def test_a_data_frame_is_read_as_its_numbers(pd, net, rng, types):
    """Columns of one type are one block in Fortran order; others are put together first."""
    x = rng.integers(0, 9, (N, 5))
    frame = pd.DataFrame({f"f{i}": x[:, i].astype(t) for i, t in enumerate(types)})
    frame.index = [f"row {i}" for i in range(N)]
    numbers = {"x": x, "y": rng.normal(size=(N, 3)), "sample_weight": rng.random(N)}
    frames = {
        "x": frame,
        "y": pd.DataFrame(numbers["y"], columns=list("abc")),
        "sample_weight": pd.Series(numbers["sample_weight"], index=frame.index),
    }
    names = {id(a): name for name, a in numbers.items()}
    assert differing(net, numbers, lambda a: frames[names[id(a)]], same=lambda a, _: a) == []


@pytest.mark.bits
def test_a_series_of_labels_is_read_in_its_order(pd, classifier, rng):
    x, labels = rng.normal(size=(N, 5)), rng.integers(0, 3, N)
    for given in ("int64", "uint8"):
        series = pd.Series(labels, index=rng.permutation(N)).astype(given)
        assert classifier.cost(x, series) == classifier.cost(x, labels)


@pytest.mark.bits
@pytest.mark.parametrize("kind", ["Int64", "Float32", "boolean"])
def test_nullable_columns_are_refused_with_the_conversion_that_works(pd, net, rng, kind):
    """NumPy gets them as objects."""
    x = rng.integers(0, 2, (N, 5))
    frame = pd.DataFrame(x).astype(kind)
    with pytest.raises(TypeError, match=says("x", "real numbers", "object", "astype")):
        net.predict(frame)
    assert_same_bits(net.predict(frame.astype(np.float32)), net.predict(x.astype(np.float32)))


def test_columns_that_are_no_numbers_are_refused(pd, classifier):
    text = pd.DataFrame({"a": [1.0] * 5, "b": list("abcde")})
    with pytest.raises(TypeError, match=says("x", "real numbers", "object")):
        classifier.predict(text)
    mixed = pd.DataFrame({"a": [1.0] * 5, "b": [True] * 5})
    with pytest.raises(TypeError, match=says("x", "real numbers", "object")):
        classifier.predict(mixed)
    with pytest.raises(TypeError, match=says("y", "real numbers", "object")):
        classifier.cost(np.zeros((3, 5)), pd.Series(list("abc"), dtype="category"))
