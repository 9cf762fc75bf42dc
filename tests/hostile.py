"""Every call that takes data, for arrays of every kind, and unusual layouts of them.

The tests of `inputs/arrays/` ask whether each argument of each call is read as NumPy reads it.
"""

from __future__ import annotations

import copy
import re
import tempfile

import numpy as np
from numpy.lib.stride_tricks import as_strided

import chainrule as cr
from support import bits, says, unchanged

N = 13
DTYPES = ["float32", "float64"]
INTEGERS = np.typecodes["AllInteger"]


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


def apart_numbers(a):
    return np.repeat(a, 2, axis=-1)[..., ::2]


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


# --- a subclass -------------------------------------------------------------------------------


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
