"""Arrays of every kind, for every argument: the right bits or the right error, never a crash.

`test_predict.py`, `test_fit_inputs.py` and `refusals/` hold the usual kinds; here are the unusual
ones, and the usual ones for every argument of every call.
"""

from __future__ import annotations

import array
import copy
import ctypes
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import chainrule as cr
from support import assert_same_bits, bits, random_network, run_python, says, unchanged

N = 13
DTYPES = ["float32", "float64"]
INTEGERS = np.typecodes["AllInteger"]
REAL_TYPES = "?" + INTEGERS + "efdg"


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def net(rng, dtype):
    return random_network(rng, [5, 9, 3], loss="mse", dtype=dtype)


@pytest.fixture
def classifier(rng):
    return random_network(rng, [5, 9, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")


@pytest.fixture
def data(rng, dtype):
    return {
        "x": rng.normal(size=(N, 5)).astype(dtype),
        "y": rng.normal(size=(N, 3)).astype(dtype),
        "sample_weight": rng.random(N).astype(dtype),
    }


# --- calls ------------------------------------------------------------------------------------


def predict(net, x):
    return net.predict(x)


def cost(net, x, y, sample_weight):
    return net.cost(x, y, sample_weight)


def gradients(net, x, y, sample_weight):
    result = net.gradients(x, y, sample_weight)
    return np.append(result.flatten(), result.cost)


def pullback(net, x, y):
    a, pull = net.vjp(x)
    sums, dC_dx = pull(y)
    return np.concatenate([a.ravel(), sums.flatten(), dC_dx.ravel()])


def trace(net, x, y):
    result = net.trace(x, y)
    return np.concatenate([part.ravel() for part in (*result.a, *result.z, *result.delta)])


def evaluate(net, x, y, sample_weight):
    return np.array(list(net.evaluate(x, y, sample_weight).values()))


def train_step(net, x, y, sample_weight):
    net = copy.deepcopy(net)
    net.train_step(x, y, optimizer=cr.Adam(), sample_weight=sample_weight)
    return net.get_parameters()


def fit(net, x, y, sample_weight):
    net = copy.deepcopy(net)
    net.fit(x, y, learning_rate=0.1, epochs=2, batch_size=4, sample_weight=sample_weight)
    return net.get_parameters()


def stream(net, x, y, sample_weight):
    net = copy.deepcopy(net)
    net.fit([(x, y, sample_weight)], learning_rate=0.1, epochs=2)
    return net.get_parameters()


CALLS = [predict, cost, gradients, pullback, trace, evaluate, train_step, fit, stream]
WITH_COST = [call for call in CALLS if call not in (predict, pullback)]

#: What a message calls an argument.
NAMES = {("pullback", "y"): "dC_da"}


def run(call, net, data):
    return call(net, *[data[name] for name in arguments(call)])


def arguments(call):
    return call.__code__.co_varnames[1 : call.__code__.co_argcount]


def plain(_, hostile):
    return np.array(hostile, hostile.dtype.newbyteorder("="), order="C", subok=False)


def differing(net, data, change, same=plain):
    """The calls that give other bits for `change(a)` than for `same(a, change(a))`."""
    found = []
    for call in CALLS:
        for name in arguments(call):
            hostile = change(data[name])
            expected = run(call, net, {**data, name: same(data[name], hostile)})
            actual = run(call, net, {**data, name: hostile})
            if type(actual) is not type(expected) or bits(actual) != bits(expected):
                found.append((call.__name__, name))
    return found


def assert_refused(net, data, change, kind, *parts, names=("x", "y", "sample_weight")):
    """Every call refuses `change(a)` for every argument, and changes nothing.

    The message holds `parts`; a function is called with what was refused.
    """
    for call in CALLS:
        for name in set(arguments(call)) & set(names):
            hostile, error = change(data[name]), None
            with unchanged(net):
                try:
                    run(call, net, {**data, name: hostile})
                except Exception as raised:
                    error = raised
            assert isinstance(error, kind), (call.__name__, name, error)
            expected = [part(hostile) if callable(part) else part for part in parts]
            if "{name}" in expected:
                expected[expected.index("{name}")] = NAMES.get((call.__name__, name), name)
            assert re.search(says(*expected), str(error)), (call.__name__, name, error)


# --- layouts ----------------------------------------------------------------------------------


def apart(a):
    room = np.full([3 * n + 1 for n in a.shape], np.nan, a.dtype)
    view = room[tuple(slice(1, None, 3) for _ in a.shape)]
    view[...] = a
    return view


def one_byte_off(a):
    return np.frombuffer(b"." + a.tobytes(), a.dtype, offset=1).reshape(a.shape)


def field(a, align=False):
    """A field of records, whose size is no multiple of an element's unless aligned."""
    kinds = [("gap", "u1"), ("a", a.dtype, a.shape[1:])]
    records = np.zeros(len(a), np.dtype(kinds, align=align))
    records["a"] = a
    return records["a"]


def mapped(a, mode):
    with tempfile.TemporaryFile() as file:
        file.write(a.tobytes())
        file.flush()
        return np.memmap(file, a.dtype, mode, shape=a.shape)


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def swapped(a):
    return a.astype(a.dtype.newbyteorder())


LAYOUTS = {
    "Fortran order": lambda a: a.copy(order="F"),
    "backwards": lambda a: np.flip(np.flip(a).copy()),
    "apart": apart,
    "apart and backwards": lambda a: np.flip(apart(np.flip(a))),
    "one byte off": one_byte_off,
    "one byte off and backwards": lambda a: np.flip(one_byte_off(np.flip(a))),
    "a packed field": field,
    "an aligned field": lambda a: field(a, align=True),
    "swapped bytes": swapped,
    "swapped bytes, one byte off": lambda a: one_byte_off(swapped(a)),
    "read-only": read_only,
    "a mapped file": lambda a: mapped(a, "r"),
    "a mapped file, copied on write": lambda a: mapped(a, "c"),
    "one row for all": lambda a: np.broadcast_to(a[:1], a.shape),
    "one column for all": lambda a: np.broadcast_to(a[..., :1], a.shape),
    "one number for all": lambda a: np.broadcast_to(a.ravel()[0], a.shape),
    "rows that overlap": lambda a: as_strided(a, a.shape, (a.itemsize,) * a.ndim),
    "a real part": lambda a: (a + 1j).real,
}


@pytest.mark.bits
@pytest.mark.parametrize("given", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_every_argument_gives_the_same_bits(net, data, layout, given):
    before = bits(*data.values())
    assert differing(net, data, lambda a: LAYOUTS[layout](a.astype(given))) == []
    assert bits(*data.values()) == before


def test_the_layouts_are_what_they_say(data):
    x = data["x"]
    assert one_byte_off(x).ctypes.data % x.itemsize == 1
    assert field(x).strides[0] % x.itemsize == 1
    assert field(x, align=True).strides[0] % x.itemsize == 0
    assert LAYOUTS["rows that overlap"](x).strides == (x.itemsize, x.itemsize)
    assert LAYOUTS["backwards"](x).strides == (-x.strides[0], -x.strides[1])
    for layout in ("read-only", "a mapped file", "one number for all"):
        assert not LAYOUTS[layout](x).flags.writeable


@pytest.mark.bits
@pytest.mark.parametrize("stride", [0, 1, -3, 7, 2**40 + 1])
@pytest.mark.parametrize("shape", [(1, 5), (N, 1), (1, 1)], ids=str)
def test_the_stride_of_an_axis_of_one_element_does_not_count(rng, dtype, shape, stride):
    """Whatever NumPy leaves there: it is never added to an address."""
    net = random_network(rng, [shape[1], 4, shape[1]], loss="mse", dtype=dtype)
    x = rng.normal(size=shape).astype(dtype)
    data = {"x": x, "y": x, "sample_weight": np.ones(shape[0], dtype)}

    def strided(a):
        strides = [stride if n == 1 else s for n, s in zip(a.shape, a.strides, strict=True)]
        return as_strided(a, a.shape, strides)

    assert differing(net, data, strided) == []


# --- types of numbers -------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", REAL_TYPES)
def test_every_real_type_of_every_argument_gives_the_same_bits(net, data, code, order):
    for layout in (np.array, apart_numbers, one_byte_off):

        def change(a, layout=layout):
            numbers = (np.abs(a) * 3).astype(code)
            return layout(numbers.astype(numbers.dtype.newbyteorder(order)))

        assert differing(net, data, change, same=lambda _, a: a.astype(net.dtype)) == []


def apart_numbers(a):
    return np.repeat(a, 2, axis=-1)[..., ::2]


@pytest.mark.bits
@pytest.mark.parametrize("code", INTEGERS)
def test_the_largest_integers_are_rounded_as_numpy_rounds_them(rng, dtype, code):
    net = random_network(rng, [3, 2], "identity", dtype=dtype)
    limits = np.iinfo(code)
    x = np.array([[limits.min, limits.max, limits.max // 3]], code)
    assert_same_bits(net.predict(x), net.predict(x.astype(dtype)))
    assert_same_bits(net.trace(x, np.zeros((1, 2))).a[0], x.astype(dtype))


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


# --- subclasses -------------------------------------------------------------------------------


class Wilful(np.ndarray):
    """Says in Python that it is another array than it is in C."""

    shape = property(lambda self: (1, 1))
    ndim = property(lambda self: 7)
    strides = property(lambda self: (0, 0))
    __array_ufunc__ = None
    __array_priority__ = 1e9

    def __len__(self):
        return 10**6

    def __getitem__(self, key):
        raise RuntimeError("asked for an element")

    def __array_wrap__(self, *args, **kwargs):
        raise RuntimeError("asked to wrap")

    def __array__(self, *args, **kwargs):
        raise RuntimeError("asked for an array")


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


# --- sizes ------------------------------------------------------------------------------------


def test_no_rows_give_no_rows(net):
    for x in (np.zeros((0, 5)), np.zeros((0, 10), np.int8)[:, ::2], np.zeros((4, 5), ">f4")[:0]):
        out = np.empty((0, 3), net.dtype)
        assert net.predict(x, out=out) is out
        assert_same_bits(net.predict(x), out)
        a, pull = net.vjp(x)
        sums, dC_dx = pull(np.zeros((0, 3)))
        assert_same_bits(a, out)
        assert dC_dx.shape == (0, 5)
        assert_same_bits(sums.flatten(), np.zeros(net.n_parameters, net.dtype))


def test_no_rows_have_no_cost(net):
    empty = {"x": np.zeros((0, 5)), "y": np.zeros((0, 3)), "sample_weight": None}
    for call in WITH_COST:
        with unchanged(net), pytest.raises(ValueError, match="no rows|at least one sample"):
            run(call, net, empty)


def test_one_feature_and_one_neuron(rng, dtype):
    net = random_network(rng, [1, 1], loss="mse", dtype=dtype)
    data = {name: rng.random((N, 1)).astype(dtype) for name in "xy"}
    data["sample_weight"] = rng.random(N)
    for layout in LAYOUTS.values():
        assert differing(net, data, layout) == []
    for call in WITH_COST:
        flat = {**data, "y": data["y"][:, 0]}
        assert_same_bits(run(call, net, flat), run(call, net, data))


@pytest.mark.unsanitized
@pytest.mark.parametrize("given", ["float32", "float16"])
def test_more_rows_than_memory_are_a_memory_error(classifier, given):
    """A broadcast view has the memory of one row, and claims terabytes."""
    x, y = (np.broadcast_to(np.ones((1, k), given), (2**41, k)) for k in (5, 3))
    for call in (classifier.predict, classifier.vjp, lambda x: classifier.trace(x, y)):
        with pytest.raises(MemoryError):
            call(x)


@pytest.mark.parametrize("sizes", [[10**6, 1], [1, 10**6]], ids=str)
def test_a_million_neurons(sizes):
    """Weights of 1/64 and inputs of 1 make every sum exact, in any order."""

    def weights(n_out, n_in, layer):
        return np.full((n_out, n_in), 1 / 64)

    net = cr.Network(sizes, "identity", "sse", init=weights, seed=0)
    x = np.ones((3, sizes[0]), np.float32)
    a = np.full((3, sizes[1]), sizes[0] / 64, np.float32)
    assert_same_bits(net.predict(x), a)
    gradient = net.gradients(x, a - 1)
    assert (gradient.weights[0] == 2).all()
    assert (gradient.biases[0] == 2).all()
    net.fit(x, a - 1, learning_rate=0.5, batch_size=None)
    assert (net.weights[0] == 1 / 64 - 1).all()
    assert (net.biases[0] == -1).all()


def test_a_thousand_layers(rng):
    net = cr.Network([3] * 1001, "identity", "mse", init=lambda *_: np.eye(3), seed=0)
    x = rng.normal(size=(7, 3)).astype(np.float32)
    assert_same_bits(net.predict(x), x)
    gradient = net.gradients(x, np.zeros((7, 3)))
    assert len(gradient.weights) == 1000
    for w in gradient.weights:
        assert_same_bits(w, gradient.weights[0])
    assert len(net.trace(x, x).delta) == 1000
    net.fit(x, x, learning_rate=0.1)
    assert_same_bits(net.predict(x), x)


LARGE_BATCH = """
import re, sys
import numpy as np
import chainrule as cr

n = 10**7
net = cr.Network([1, 1], "identity", init=lambda *_: np.ones((1, 1)), seed=0)
x = np.arange(n, dtype=sys.argv[1])[:, None]
result = net.predict(x)
assert result.shape == (n, 1)
assert (result[::1000, 0] == np.arange(0, n, 1000)).all()
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.unsanitized
@pytest.mark.parametrize("given", ["float32", "int32"])
def test_ten_million_rows_need_little_more_than_their_own_memory(given):
    """40 MB in, 40 MB out, and 40 MB for what has to be converted."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of the memory is read from /proc")
    assert int(run_python("-c", LARGE_BATCH, given)) * 1024 < 300e6


# --- out --------------------------------------------------------------------------------------

WIDTH = 6


@pytest.fixture
def square(rng, dtype):
    """A network of as many outputs as inputs, so that x and `out` can lie anywhere."""
    return random_network(rng, [WIDTH, 4, WIDTH], dtype=dtype)


@pytest.fixture
def room(rng, dtype):
    return rng.normal(size=(40, WIDTH)).astype(dtype)


def at(room, element, rows=9):
    """Rows that begin anywhere."""
    return room.reshape(-1)[element : element + rows * WIDTH].reshape(rows, WIDTH)


#: x and `out` in one room: they share memory.
OVERLAPPING = {
    "the same": lambda room: (room[:9], room[:9]),
    "one row below": lambda room: (room[:9], room[1:10]),
    "one row above": lambda room: (room[1:10], room[:9]),
    "one element below": lambda room: (at(room, 0), at(room, 1)),
    "one element in common": lambda room: (at(room, 0), at(room, 9 * WIDTH - 1)),
    "the last row": lambda room: (room[:9], room[8:17]),
    "backwards": lambda room: (room[8::-1], room[:9]),
    "every second row": lambda room: (room[:18:2], room[10:19]),
    "columns backwards": lambda room: (room[:9, ::-1], room[:9]),
    "the transpose": lambda room: (room[:WIDTH].T, room[:WIDTH]),
    "the last row of out for all": lambda room: (np.broadcast_to(room[8], (9, WIDTH)), room[:9]),
    "one number for all": lambda room: (np.broadcast_to(room[8:9, 5:], (9, WIDTH)), room[:9]),
    "its bytes": lambda room: (room[:2].view(np.uint8)[:, :WIDTH], at(room, 0, 2)),
    "a memoryview": lambda room: (memoryview(room[:9]), room[8:17]),
    "a vector": lambda room: (room[3], room[3]),
    "a vector backwards": lambda room: (room[3, ::-1], room[3]),
    "one element of a vector": lambda room: (at(room, 0, 1)[0], at(room, WIDTH - 1, 1)[0]),
    "a column": lambda room: (room[:WIDTH, 3], room[2]),
}

#: Beside each other, or between each other's rows.
APART = {
    "the rows after": lambda room: (room[:9], room[9:18]),
    "the rows before": lambda room: (room[9:18], room[:9]),
    "between two rows": lambda room: (room[:40:13], room[1:5]),
    "between two rows, backwards": lambda room: (room[39::-13], room[9:13]),
    "a vector beside": lambda room: (room[3], room[4]),
    "nothing": lambda room: (room[:0], room[:0]),
}


@pytest.mark.parametrize("place", OVERLAPPING)
def test_an_out_that_shares_memory_with_x_is_refused(square, room, place):
    x, out = OVERLAPPING[place](room)
    assert np.shares_memory(np.asarray(x), out)
    before = bits(room)
    for predict in (square.predict, square.freeze()):
        with pytest.raises(ValueError, match=says("out", "overlaps", "x")):
            predict(x, out=out)
    assert bits(room) == before


@pytest.mark.bits
@pytest.mark.parametrize("place", APART)
def test_an_out_beside_x_is_filled(square, room, place):
    x, out = APART[place](room)
    assert not np.shares_memory(x, out)
    expected = room.copy()
    APART[place](expected)[1][...] = square.predict(x.copy())
    assert square.predict(x, out=out) is out
    assert_same_bits(room, expected)


def test_columns_between_those_of_x_are_no_place_for_out(square):
    """They share no memory, but a result is written in one piece."""
    room = np.zeros((9, 2 * WIDTH), square.dtype)
    for x, out in ((room[:, ::2], room[:, 1::2]), (room[:, :WIDTH], room[:, WIDTH:])):
        with pytest.raises(ValueError, match=says("out", "contiguous")):
            square.predict(x, out=out)
    assert not room.any()


@pytest.mark.bits
@pytest.mark.parametrize("kind", [np.matrix, np.memmap, np.recarray, Wilful])
def test_out_may_be_of_a_subclass(square, kind, room):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        out = np.zeros((40, WIDTH), square.dtype).view(kind)
    assert square.predict(room, out=out) is out
    assert_same_bits(np.array(out, subok=False), square.predict(room))


@pytest.mark.bits
def test_out_in_a_mapped_file_is_written_to_the_file(square, room, tmp_path):
    path = tmp_path / "out"
    square.predict(room, out=np.memmap(path, room.dtype, "w+", shape=room.shape))
    assert path.read_bytes() == bits(square.predict(room))
    with pytest.raises(ValueError, match=says("out", "read-only")):
        square.predict(room, out=np.memmap(path, room.dtype, "r", shape=room.shape))
    square.predict(room[::-1], out=np.memmap(path, room.dtype, "c", shape=room.shape))
    assert path.read_bytes() == bits(square.predict(room))


# --- the network's own memory -----------------------------------------------------------------


def test_out_may_not_be_the_parameters_that_the_call_reads():
    """The first rows of a result would be weights of those that follow."""
    net = cr.Network([1, 300, 1], "identity", seed=0)
    x = np.ones((300, 1), np.float32)
    for sample, out in ((x, net.weights[0]), (x[0], net.biases[-1])):
        assert out.flags.c_contiguous
        with unchanged(net), pytest.raises(ValueError, match=says("out", "parameters")):
            net.predict(sample, out=out)


def test_out_may_be_the_parameters_of_another_network(rng):
    net, other = cr.Network([3, 5], seed=0), cr.Network([2, 5], seed=1)
    x = rng.normal(size=3).astype(np.float32)
    for predict in (net.predict, other.freeze() and net.freeze()):
        other.biases[0][:] = 0
        predict(x, out=other.biases[0])
        assert_same_bits(other.biases[0], net.predict(x))


@pytest.mark.bits
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("train", ["train_step", "fit"])
@pytest.mark.parametrize("argument", ["x", "y"])
def test_weights_that_are_data_of_their_own_training_give_the_bits_of_a_copy(
    argument, train, threads
):
    """Each step reads them as they are before it."""
    n = 300

    def trained(take):
        net = cr.Network([n, n, n], "tanh", "mse", seed=0)
        data = {"x": np.ones((n, n), np.float32), "y": np.ones((n, n), np.float32)}
        data[argument] = take(net.weights[0].T)
        if train == "fit":
            net.fit(data["x"], data["y"], learning_rate=0.5, batch_size=None, threads=threads)
        else:
            net.train_step(data["x"], data["y"], learning_rate=0.5)
        return net.get_parameters()

    default = cr.get_num_threads()
    cr.set_num_threads(threads)
    try:
        assert_same_bits(trained(np.asarray), trained(np.array))
    finally:
        cr.set_num_threads(default)
