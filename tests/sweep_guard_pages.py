"""Run by test_guard_pages.py once per ISA: calls with every array against a forbidden page.

Each case is written to the file argv[1] before it runs, so that one that kills the process can be
named. Prints the ISA and the number of cases.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

import chainrule as cr
from chainrule import _core
from guarded import ENDS, Room

Cases = Iterator[tuple[str, Callable[[], object]]]

DTYPES = ("float32", "float64")
WIDTHS = range(1, 41)
ROWS = range(1, 21)
MANY_ROWS = (63, 64, 65, 255, 256, 257, 300)
FEW_ROWS = (1, 2, 3, 5, 13)
REAL_DTYPES = "?" + np.typecodes["AllInteger"] + "efdg"
FUSED = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}

# Every byte 0x3f is a number between 0 and 2 in each float type. Labels are 0.
X, Y, WEIGHTS, OUT = (Room(1 << 20, 0x3F) for _ in range(4))
LABELS = Room(1 << 16)


def network(dtype: str, n_in: int, n_out: int, g: str = "identity", loss: str = "mse"):
    return cr.Network([n_in, n_out], g, loss, dtype=dtype, seed=0)


def rows_of(width: int) -> tuple[int, ...]:
    return (*ROWS, *MANY_ROWS) if width % 8 == 1 else tuple(ROWS)


def predictions() -> Cases:
    """Every pair of widths, and every number of rows with each width."""
    for dtype, n_in, n_out in itertools.product(DTYPES, WIDTHS, WIDTHS):
        net = network(dtype, n_in, n_out)
        for end in ENDS:
            for n in rows_of(n_in) if n_in == n_out else FEW_ROWS:
                x, out = X.array((n, n_in), dtype, end), OUT.array((n, n_out), dtype, end)
                yield f"predict {dtype} {n_in}-{n_out} {n} {end}", partial(net.predict, x, out)
            x, out = X.array((n_in,), dtype, end), OUT.array((n_out,), dtype, end)
            yield f"predict {dtype} {n_in}-{n_out} vector {end}", partial(net.predict, x, out)


def strided_predictions() -> Cases:
    """Rows apart, backwards, and elements apart: the array's last byte is beside the page."""
    for dtype, n_in, end, n in itertools.product(DTYPES, WIDTHS, ENDS, FEW_ROWS):
        net, item = network(dtype, n_in, 3), np.dtype(dtype).itemsize
        row = item * n_in
        for strides in ((row + 3 * item, item), (-row, item), (row, -item), (3 * row, 2 * item)):
            x = X.array((n, n_in), dtype, end, strides)
            yield f"predict {dtype} {n_in} {n} {end} strides {strides}", partial(net.predict, x)


def outputs() -> Cases:
    """Every activation writes into the last bytes of `out`."""
    for dtype, g, n_out in itertools.product(DTYPES, _core.ACTIVATIONS, WIDTHS):
        net = network(dtype, 3, n_out, g)
        for n, end in itertools.product((1, 3), ENDS):
            x, out = X.array((n, 3), dtype, end), OUT.array((n, n_out), dtype, end)
            yield f"predict {dtype} {g} {n_out} {n} {end}", partial(net.predict, x, out)


def losses() -> Cases:
    """Every loss reads the last bytes of y and of the weights."""
    for dtype, loss, n_out in itertools.product(DTYPES, _core.LOSSES, WIDTHS):
        net = network(dtype, 3, n_out, FUSED.get(loss, "tanh"), loss)
        for n, end in itertools.product((1, 4), ENDS):
            x, y = X.array((n, 3), dtype, end), Y.array((n, n_out), dtype, end)
            w = WEIGHTS.array((n,), "float64", end)
            for call in (net.cost, net.gradients):
                case = f"{call.__name__} {dtype} {loss} {n_out} {n} {end}"
                yield case, partial(call, x, y, w)
                if loss in FUSED:
                    yield f"{case} smoothed", partial(call, x, y, w, label_smoothing=0.1)


def training() -> Cases:
    """Every width of inputs and of outputs, every number of rows, every call."""
    for dtype, n_in in itertools.product(DTYPES, WIDTHS):
        n_out = 1 + 27 * n_in % 40  # each width once
        net = network(dtype, n_in, n_out)
        for n, end in itertools.product(rows_of(n_in), ENDS):
            x, y = X.array((n, n_in), dtype, end), Y.array((n, n_out), dtype, end)
            w = WEIGHTS.array((n,), "float64", end)
            for name, call in TRAINING.items():
                yield f"{name} {dtype} {n_in}-{n_out} {n} {end}", partial(call, net, x, y, w)
            if n in (*FEW_ROWS, 300):
                fit = partial(net.fit, x, y, learning_rate=0.0, batch_size=7, sample_weight=w)
                for shuffle in (False, True):
                    case = f"fit {dtype} {n_in}-{n_out} {n} {end} shuffle={shuffle}"
                    yield case, partial(fit, shuffle=shuffle)
        for end in ENDS:
            x, y = X.array((n_in,), dtype, end), Y.array((n_out,), dtype, end)
            for name in ("cost", "gradients", "pullback", "trace"):
                case = f"{name} {dtype} {n_in}-{n_out} vector {end}"
                yield case, partial(TRAINING[name], net, x, y, None)
            v = X.array((net.n_parameters,), dtype, end)
            yield f"set_parameters {dtype} {v.size} {end}", partial(net.set_parameters, v)


TRAINING = {
    "cost": lambda net, x, y, w: net.cost(x, y, w),
    "gradients": lambda net, x, y, w: net.gradients(x, y, w),
    "pullback": lambda net, x, y, w: net.vjp(x)[1](y),
    "trace": lambda net, x, y, w: _core.trace(net, x, y),
    "train_step": lambda net, x, y, w: net.train_step(x, y, learning_rate=0.0, sample_weight=w),
}


def other_types() -> Cases:
    """Every type of values and of labels, its elements side by side and apart."""
    for dtype, code, n, end in itertools.product(DTYPES, REAL_DTYPES, FEW_ROWS, ENDS):
        size = np.dtype(code).itemsize
        net = network(dtype, 5, 3)
        classifier = network(dtype, 5, 3, "softmax", "cross_entropy")
        for gap in (1, 2):
            strides = 7 * size * gap, size * gap
            x, y = (LABELS.array((n, k), code, end, strides) for k in (5, 3))
            case = f"{dtype} from {x.dtype} {n} {end} gap {gap}"
            yield f"predict {case}", partial(net.predict, x)
            yield f"gradients {case}", partial(net.gradients, x, y)
            w = WEIGHTS.array((n,), "float64", end, (8 * gap,))
            labels = LABELS.array((n,), code, end, (size * gap,))
            if labels.dtype.kind in "iu":
                for call in (classifier.cost, classifier.gradients):
                    yield f"{call.__name__} of labels {case}", partial(call, x, labels, w)
                fit = partial(classifier.fit, learning_rate=0.0, batch_size=4)
                yield f"fit of labels {case}", partial(fit, x, labels)


def teams() -> Cases:
    """Work for two threads: each has its own last row."""
    sizes, n = [103, 67, 37], 301
    for dtype, end in itertools.product(DTYPES, ENDS):
        net = cr.Network(sizes, "tanh", "mse", dtype=dtype, seed=0)
        x, y = X.array((n, 103), dtype, end), Y.array((n, 37), dtype, end)
        w, out = WEIGHTS.array((n,), "float64", end), OUT.array((n, 37), dtype, end)
        calls = {
            "predict": partial(net.predict, x, out, threads=2),
            "fit": partial(net.fit, x, y, learning_rate=0.0, batch_size=None, threads=2),
            "fit with dropout": partial(
                net.fit, x, y, learning_rate=0.0, batch_size=None, threads=2, dropout=0.5
            ),
            **{name: partial(call, net, x, y, w) for name, call in TRAINING.items()},
        }
        for name, call in calls.items():
            yield f"{name} {dtype} {sizes} {n} {end} in two threads", call


def elementary_functions() -> Cases:
    names = ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "gelu", "silu"]
    for name, dtype, n, end in itertools.product(names, DTYPES, range(1, 70), ENDS):
        x = X.array((n,), dtype, end)
        yield f"elementary {name} {dtype} {n} {end}", partial(_core.elementary, name, x)


SWEEPS = (
    predictions,
    strided_predictions,
    outputs,
    losses,
    training,
    other_types,
    teams,
    elementary_functions,
)

if __name__ == "__main__":
    faulthandler.enable()
    cr.set_num_threads(2)
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
    cases = 0
    for case, call in itertools.chain.from_iterable(sweep() for sweep in SWEEPS):
        os.pwrite(file, case.ljust(100).encode(), 0)
        call()
        cases += 1
    print(_core.config()["isa"], cases)
