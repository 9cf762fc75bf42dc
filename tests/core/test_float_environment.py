"""Rounding, flushing and NumPy's error state are the caller's: nothing here changes them."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import chainrule as cr
import float_environment
from chainrule import _core
from support import TESTS, assert_same_bits, run_python

ISAS = _core.config()["isas"]
DTYPES = ["float32", "float64"]

control_bits = pytest.mark.skipif(
    not float_environment.KNOWN, reason="the layout of fenv_t is known on Linux only"
)


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


def run_script(script, *arguments, **environment):
    """Run a script that imports modules of this folder."""
    prelude = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
    return run_python("-c", prelude + script, *arguments, **environment)


# --- the control bits -------------------------------------------------------------------------

SEEING = """
import numpy as np
import float_environment as environment

tiny = np.full(64, 1e-45, np.float32)
seen = [environment.control()]
assert (tiny * np.float32(1)).all()
environment.flush_subnormals()
seen.append(environment.control())
assert not (tiny * np.float32(1)).any()
environment.round_upward()
seen.append(environment.control())
assert np.float64(1) + np.float64(1e-30) > 1
assert len(set(seen)) == 3, seen
"""


@control_bits
def test_the_control_bits_show_flushing_and_rounding():
    run_script(SEEING)


IMPORTING = """
import threading
import numpy
import float_environment as environment

before = environment.control()
import chainrule
assert environment.control() == before
after = []
thread = threading.Thread(target=lambda: after.append(environment.control()))
thread.start()
thread.join()
assert after == [before]
"""


@control_bits
def test_the_import_leaves_them():
    """A library linked with -ffast-math would set flush-to-zero as it is loaded."""
    run_script(IMPORTING)


def calls_that_change(environment, thread, **variables):
    """The calls of call_everything.py that leave other control bits than they met."""
    script = str(TESTS / "call_everything.py")
    done, changing = json.loads(run_python(script, environment, thread, **variables))
    assert done > 500
    return changing


@control_bits
@pytest.mark.parametrize("isa", ISAS)
def test_every_call_leaves_them(isa):
    assert calls_that_change("as it is", "main", CHAINRULE_ISA=isa) == []


@control_bits
def test_every_call_leaves_those_of_another_thread():
    assert calls_that_change("as it is", "another") == []


@control_bits
@pytest.mark.parametrize("environment", ["flushing", "upward"])
def test_every_call_leaves_what_somebody_else_has_set(environment):
    assert calls_that_change(environment, "main") == []


HELPERS = """
import threading
import numpy as np
import chainrule as cr
import float_environment as environment

def eye(n_out, n_in, layer):
    return np.eye(n_out, n_in)

net = cr.Network([90, 90], "identity", "sse", init=eye, seed=0)
x = np.full((20000, 90), 1e-45, np.float32)
flushed = []

def start_threads_while_flushing():
    environment.flush_subnormals()
    flushed.append(net.predict(x, threads=2))

thread = threading.Thread(target=start_threads_while_flushing)
thread.start()
thread.join()
assert not flushed[0].any()
for _ in range(20):
    assert net.predict(x, threads=2).all()
"""


@control_bits
def test_the_threads_of_the_core_have_that_of_each_caller():
    run_script(HELPERS)


# --- subnormal numbers ------------------------------------------------------------------------

SUBNORMAL = """
import numpy as np
import chainrule as cr

def eye(n_out, n_in, layer):
    return np.eye(n_out, n_in)

def same(a, b):
    assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), (a, b)

cr.set_num_threads(2)
for dtype in (np.float32, np.float64):
    info = np.finfo(dtype)
    least, largest = info.smallest_subnormal, info.smallest_normal - info.smallest_subnormal
    numbers = np.array([least, -least, 3 * least, largest, -largest, info.smallest_normal], dtype)
    assert np.count_nonzero(numbers) == 6
    for n, rows, threads in ((1, 1, 1), (3, 2, 1), (8, 7, 1), (40, 5, 1), (90, 600, 2)):
        x = np.resize(numbers, (rows, n))
        net = cr.Network([n, n, n], "identity", "sse", dtype=dtype, init=eye, seed=0)
        same(net.predict(x, threads=threads), x)
        a, pullback = net.vjp(x)
        same(a, x)
        same(pullback(x)[1], x)
        trace = net.trace(x, np.zeros_like(x))
        same(trace.a[1], x)
        same(trace.delta[0], 2 * x)

        # Subnormal weights: w x = w, and w - η ∂C/∂w with ∂C/∂w = 2 (0 - y).
        net = cr.Network([1, n], "identity", "sse", dtype=dtype, init="zeros", seed=0)
        net.train_step(np.ones((1, 1)), x[:1], learning_rate=0.5)
        same(np.ascontiguousarray(net.weights[0][:, 0]), x[0])
        same(net.biases[0].copy(), x[0])
        same(net.predict(np.ones((rows, 1)), threads=threads), np.repeat(2 * x[:1], rows, 0))
    net = cr.Network([1, 1], "identity", "mae", dtype=dtype, init=eye, seed=0)
    assert net.cost([[least]], [[0.0]]) == float(least)
"""


@pytest.mark.parametrize("isa", ISAS)
def test_subnormal_numbers_are_not_flushed(isa):
    run_script(SUBNORMAL, CHAINRULE_ISA=isa)


def test_converted_subnormal_numbers_are_not_flushed(dtype):
    net = cr.Network([1, 1], "identity", dtype=dtype, init=lambda *_: np.ones((1, 1)), seed=0)
    for given in ("float16", "float32", ">f4"):
        x = np.array([[np.finfo(given).smallest_subnormal]], given)
        assert x[0, 0] > 0
        assert_same_bits(net.predict(x), x.astype(dtype))


# --- NumPy's error state ----------------------------------------------------------------------

EXTREME = [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e30, 1e-40, 1e-310, -0.0]

GIVEN = {
    "float32": lambda x: x.astype(np.float32),
    "float64": lambda x: x,
    "longdouble": lambda x: x.astype(np.longdouble),
    "swapped": lambda x: x.astype(">f8"),
    "unaligned": lambda x: np.frombuffer(b"." + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "float16": lambda x: x.astype(np.float16),
    "lists": np.ndarray.tolist,
}

CALLS = {
    "predict": lambda net, x, y: net.predict(x),
    "frozen": lambda net, x, y: net.freeze()(x),
    "cost": lambda net, x, y: net.cost(x, y),
    "gradients": lambda net, x, y: net.gradients(x, y).flatten(),
    "vjp": lambda net, x, y: net.vjp(x),
    "pullback": lambda net, x, y: net.vjp(np.ones((3, 3)))[1](y),
    "trace": lambda net, x, y: str(net.trace(x, y)),
    "evaluate": lambda net, x, y: net.evaluate(x, y),
    "explain": lambda net, x, y: str(net.explain(x[1], y[1], 1, 0, 2)),
    "explain the output": lambda net, x, y: str(net.explain(x[1], y[1], 2, 0, 0)),
    "check_gradients": lambda net, x, y: net.check_gradients(x, y),
    "train_step": lambda net, x, y: net.train_step(x, y, learning_rate=1e30),
    "fit": lambda net, x, y: net.fit(x, y, learning_rate=1e30, epochs=2),
    "stream": lambda net, x, y: net.fit([(x, y)], learning_rate=1e30),
    "set_parameters": lambda net, x, y: net.set_parameters(np.resize(x, net.n_parameters)),
    "weighted cost": lambda net, x, y: net.cost(np.ones((3, 3)), np.ones((3, 2)), x[1]),
    "weighted fit": lambda net, x, y: net.fit(
        np.ones((3, 3)), np.ones((3, 2)), learning_rate=0.1, sample_weight=x[1]
    ),
    "apply": lambda net, x, y: net.apply(gradients_of(net, x), cr.SGD(0.1)),
    "init": lambda net, x, y: cr.Network([3, 3], init=lambda *_: x, dtype=net.dtype, seed=0),
}


def gradients_of(net, numbers):
    weights, biases = (
        [np.resize(numbers, p.shape) for p in views] for views in (net.weights, net.biases)
    )
    return cr.Gradients(None, weights, biases)


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("call", CALLS)
def test_no_call_warns_or_raises_what_numpy_would(call, given, dtype):
    """Overflows are infinities. Where they are refused, it is by an error that says so."""
    for number in EXTREME:
        with np.errstate(all="ignore"):
            x = np.ones((3, 3))
            x[1, 2] = number
            x, y = GIVEN[given](x), GIVEN[given](x[:, 1:].copy())
        for output, loss in (("tanh", "mse"), ("identity", "mse"), ("softmax", "cross_entropy")):
            net = cr.Network([3, 4, 2], ["relu", output], loss, dtype=dtype, seed=0)
            with warnings.catch_warnings(), np.errstate(all="raise"):
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", r".*row \d.* of y", UserWarning)
                try:
                    CALLS[call](net, x, y)
                except (ValueError, cr.DivergenceError) as error:
                    assert any(word in str(error) for word in ("finite", "NaN", "[0, 1]"))


OPERATIONS = {
    "ufunc": lambda one, two: one + two,
    "comparison": lambda one, two: one < two,
    "reduction": lambda one, two: one.sum() + two.prod(),
    "product": lambda one, two: one @ two,
    "einsum": lambda one, two: np.einsum("i,i", one, two),
    "cast": lambda one, two: one.astype(np.float16),
    "scalar": lambda one, two: one[0] * two[0] / two[1],
    "norm": lambda one, two: np.linalg.norm(one),
    "solve": lambda one, two: np.linalg.solve(np.eye(9), two),
    "power": lambda one, two: np.exp(one) ** two,
}


@pytest.mark.filterwarnings("ignore:.* never gives:UserWarning")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_numpy_does_not_see_what_a_call_has_done(operation, dtype):
    """The calls raise every flag that the processor has: NumPy must not take them for its own."""
    one, two = np.ones(9, dtype), np.full(9, 2, dtype)
    net = cr.Network([3, 4, 2], ["gelu", "tanh"], "mse", dtype=dtype, seed=0)
    x = np.ones((len(EXTREME), 3), dtype)
    with np.errstate(over="ignore", under="ignore"):
        x[:, 1] = EXTREME
        y = x[:, :2].copy()
    calls = [
        lambda: net.predict(x),
        lambda: net.gradients(x, y),
        lambda: net.vjp(x)[1](y),
        lambda: _core.elementary("exp", x),
        lambda: _core.elementary("log", x),
    ]
    for call in calls:
        with np.errstate(all="raise"):
            call()
            OPERATIONS[operation](one, two)
