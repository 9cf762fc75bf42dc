"""Arrays that change while a call uses them: the memory stays, and the result is the same."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest

from support import TESTS, run_python

#: call: how many changes it is put to
CALLS = {
    "predict": 18,
    "frozen": 18,
    "cost": 23,
    "cost_of_labels": 22,
    "gradients": 23,
    "vjp": 16,
    "pullback": 3,
    "trace": 19,
    "train_step": 23,
    "fit": 23,
}


@functools.cache
def outcomes(call):
    """Group: change: (what the change raised, whether the call gave the undisturbed result)."""
    done = subprocess.run(
        [sys.executable, TESTS / "change_arrays.py", call],
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode != 0:
        last = seen[-1][:2] if seen else "the start"
        pytest.fail(f"{call}: exit {done.returncode} after {last}\n{done.stderr[-3000:]}")
    groups = {}
    for group, change, error, same in seen:
        groups.setdefault(group, {})[change] = (error, same)
    assert sum(map(len, groups.values())) == CALLS[call]
    return groups


@pytest.fixture(params=CALLS)
def groups(request):
    return outcomes(request.param)


@pytest.fixture(params=[call for call in CALLS if call != "pullback"])
def groups_of_x(request):
    return outcomes(request.param)


def others(changes, expected):
    return {change: outcome for change, outcome in changes.items() if outcome != expected}


def test_an_array_in_use_cannot_be_resized(groups):
    assert others(groups["resized"], ("ValueError", True)) == {}


def test_an_array_that_lends_its_memory_cannot_be_resized(groups_of_x):
    assert others(groups_of_x["lent"], ("ValueError", True)) == {}


def test_a_buffer_in_use_cannot_be_closed(groups_of_x):
    assert others(groups_of_x["buffers"], ("BufferError", True)) == {}


def test_what_an_array_says_of_itself_counts_at_the_start_of_a_call(groups_of_x):
    assert others(groups_of_x["renamed"], (None, True)) == {}


def test_numbers_that_change_reach_nothing_but_the_result(groups):
    """Labels are read where they lie: those that no output has must not be used as an index."""
    assert {error for error, _ in groups["numbers"].values()} == {None}


# --- in the same thread -----------------------------------------------------------------------

# The conversion of a later argument runs Python code when an earlier one has been looked at.
LENDER = """
import sys
import numpy as np
import chainrule as cr

class Lender:
    def __init__(self, array, victim):
        self.array, self.victim, self.error = array, victim, None

    def __array__(self, dtype=None, copy=None):
        try:
            self.victim.resize((1, *self.victim.shape[1:]), refcheck=False)
        except ValueError as error:
            self.error = error
        return self.array

call, lender, victim = sys.argv[1:]
net = cr.Network([50, 3], loss="mse", seed=0)
calls = {
    "cost": net.cost,
    "gradients": lambda *a: net.gradients(*a).flatten(),
    "trace": lambda x, y, w: net.trace(x, y).delta[0],
    "train_step": lambda x, y, w: net.train_step(x, y, learning_rate=0.0, sample_weight=w),
}
n = 50_000
arrays = {
    "x": np.ones((n, 50), np.float32), "y": np.ones((n, 3), np.float32), "weight": np.ones(n)
}
expected = calls[call](*arrays.values())
lends = Lender(arrays[lender], arrays[victim])
result = calls[call](*{**arrays, lender: lends}.values())
assert lends.error is not None, "resized"
assert np.array_equal(result, expected)
"""


@pytest.mark.parametrize(
    ("lender", "victim"), [("y", "x"), ("weight", "x"), ("weight", "y")], ids=str
)
@pytest.mark.parametrize("call", ["cost", "gradients", "train_step"])
def test_an_argument_cannot_resize_another_while_it_is_converted(call, lender, victim):
    run_python("-X", "faulthandler", "-c", LENDER, call, lender, victim)


def test_an_argument_of_trace_cannot_resize_another_while_it_is_converted():
    run_python("-X", "faulthandler", "-c", LENDER, "trace", "y", "x")


BETWEEN_EPOCHS = """
import sys
import numpy as np
import chainrule as cr

arrays = {
    "x": np.ones((500, 5), np.float32), "y": np.ones((500, 3), np.float32), "weight": np.ones(500)
}
if sys.argv[1] == "float16":
    arrays["x"] = arrays["x"].astype(np.float16)

def change(*_):
    for name in sys.argv[2:]:
        arrays[name].resize((1, *arrays[name].shape[1:]), refcheck=False)

net = cr.Network([5, 3], loss="mse", seed=0)
try:
    net.fit(arrays["x"], arrays["y"], epochs=3, learning_rate=0.1, batch_size=32,
            sample_weight=arrays["weight"], callbacks=[change])
except (ValueError, IndexError) as error:
    print(type(error).__name__)
assert np.isfinite(net.get_parameters()).all()
assert net.fit(np.ones((4, 5)), np.ones((4, 3)), learning_rate=0.1).cost
"""


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("names", [["x"], ["y"], ["weight"], ["x", "y"]], ids=",".join)
def test_a_callback_that_resizes_the_data_ends_the_training_with_an_error(dtype, names):
    """Between two epochs no call reads the arrays; the next one finds them as they are."""
    script = ["-X", "faulthandler", "-c", BETWEEN_EPOCHS]
    assert run_python(*script, dtype, *names).strip() in {"ValueError", "IndexError"}
