"""No call reads or writes a byte outside the arrays it is given: each lies at a forbidden page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from chainrule import _core
from guarded import ENDS
from support import TESTS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forbidden pages need mprotect(2)")

KILLED = {-signal.SIGSEGV, -signal.SIGBUS}

NO_CORE_FILE = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"

TOUCH = (
    NO_CORE_FILE
    + """
import ctypes, sys
from guarded import Room

end, distance, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
inside = Room(100_000).array((100_000,), "uint8", end)
assert inside.sum() == 0
inside[:] = 1
edge = inside.ctypes.data + (inside.size - 1 if end == "end" else 0)
at = edge + (distance if end == "end" else -distance)
ctypes.string_at(at, 1) if how == "read" else ctypes.memset(at, 0, 1)
"""
)

# Each array claims to have one element or one row more than it has.
TOO_FAR = (
    NO_CORE_FILE
    + """
import sys
import numpy as np
import chainrule as cr
from guarded import Room

def claim(shape, dtype, *more):
    array = Room(10_000).array(shape, dtype, "end")
    larger = tuple(n + m for n, m in zip(shape, more))
    return np.lib.stride_tricks.as_strided(array, larger, array.strides)

net = cr.Network([5, 3], loss="mse", seed=0)
x, y, out = np.ones((6, 5), "f4"), np.ones((6, 3), "f4"), np.ones((6, 3), "f4")
calls = {
    "nothing": lambda: (net.predict(x, out), net.gradients(x, y, np.ones(6))),
    "a row of x": lambda: net.predict(claim((5, 5), "f4", 1, 0)),
    "an element of x": lambda: net.predict(claim((1, 4), "f4", 0, 1)),
    "a row of out": lambda: net.predict(x, claim((5, 3), "f4", 1, 0)),
    "an element of out": lambda: net.predict(x[0], claim((2,), "f4", 1)),
    "a row of y": lambda: net.gradients(x, claim((5, 3), "f4", 1, 0)),
    "an element of y": lambda: net.cost(x[:1], claim((1, 2), "f4", 0, 1)),
    "a weight": lambda: net.cost(x, y, claim((5,), "f8", 1)),
}
calls[sys.argv[1]]()
"""
)


def run(*arguments, **environment):
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
    )


@pytest.mark.unsanitized
@pytest.mark.parametrize("how", ["read", "write"])
@pytest.mark.parametrize("end", ENDS)
def test_one_byte_beyond_an_array_is_forbidden(end, how):
    assert run("-c", TOUCH, end, 0, how).returncode == 0
    assert run("-c", TOUCH, end, 1, how).returncode in KILLED


@pytest.mark.unsanitized
@pytest.mark.parametrize(
    "what",
    ["a row of x", "an element of x", "a row of out", "an element of out"]
    + ["a row of y", "an element of y", "a weight"],
)
def test_a_call_that_goes_too_far_does_not_survive(what):
    assert run("-c", TOO_FAR, what).returncode in KILLED


def test_the_same_calls_survive_with_the_arrays_they_have():
    done = run("-c", TOO_FAR, "nothing")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("isa", _core.config()["isas"])
def test_no_call_leaves_its_arrays(isa, tmp_path):
    last = tmp_path / "case"
    done = run(TESTS / "sweep_guard_pages.py", last, CHAINRULE_ISA=isa)
    case = last.read_text().strip() if last.exists() else "the first"
    assert done.returncode == 0, f"{case}: exit {done.returncode}\n{done.stderr[-3000:]}"
    name, cases = done.stdout.split()
    assert name == isa
    assert int(cases) > 70_000
