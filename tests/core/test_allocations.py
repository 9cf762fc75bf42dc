"""After warm-up, `predict(x, out=out)` allocates nothing, and `fit` nothing per step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from support import TESTS, run_python

pytestmark = pytest.mark.unsanitized

PREDICTIONS = [
    "predict of a vector",
    "predict of one row",
    "predict of a batch",
    "predict of every second row",
    "predict of reversed rows",
    "predict of columns of a wider array",
    "call",
    "call of a predictor",
    "predict of one wide row",
    "predict of a large batch",
    "predict in two threads",
    "call of a large predictor",
]

FITS = [
    "fit, batch 1",
    "fit, batch 32",
    "fit, batch 32, in order",
    "fit, batch 32, values",
    "fit, batch 32, uint8",
    "fit, batch 32, float64 input",
    "fit, batch 32, momentum",
    "fit, batch 32, Adam",
    "fit, batch 32, dropout",
    "fit, batch 700",
    "fit, two threads",
]


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler to build the allocation counter with")
    library = tmp_path_factory.mktemp("shim") / "malloc_counter.so"
    built = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", TESTS / "malloc_counter.c", "-o", library],
        capture_output=True,
        check=False,
        text=True,
    )
    if built.returncode != 0:
        pytest.skip(f"the allocation counter needs the GNU C library: {built.stderr[-200:]}")
    return str(library)


@pytest.fixture(scope="module")
def counts(shim):
    printed = run_python(
        str(TESTS / "count_allocations.py"), LD_PRELOAD=shim, PYTHONMALLOC="pymalloc"
    )
    return json.loads(printed)


def test_the_counter_counts(shim):
    """The shim is loaded: a large bytes object costs at least one allocation each."""
    script = (
        "import ctypes\n"
        "calls = ctypes.CDLL(None).malloc_calls\n"
        "before = calls()\n"
        "kept = [bytes(10_000) for _ in range(100)]\n"
        "assert calls() - before >= 100\n"
    )
    run_python("-c", script, LD_PRELOAD=shim)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predict_into_out_allocates_nothing(counts, name):
    assert counts[name] == [0, 0]


@pytest.mark.parametrize("name", FITS)
def test_fit_allocates_nothing_per_step(counts, name):
    epoch, epoch_of_ten_times_the_steps = counts[name]
    assert epoch_of_ten_times_the_steps == epoch


def test_an_allocation_a_call_would_be_seen(counts):
    few, many = counts["predict without out"]
    assert few >= 1
    assert many >= 10 * few


def test_every_case_is_tested(counts):
    assert set(counts) == {*PREDICTIONS, *FITS, "predict without out"}
