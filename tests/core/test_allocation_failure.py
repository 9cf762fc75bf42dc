"""Where memory is short, a call raises MemoryError, changes nothing, and the next one works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from fail_allocations import ALLOCATION_FREE, CALLS, CORE_CALLS
from support import TESTS, run_python

pytestmark = [pytest.mark.slow, pytest.mark.unsanitized]

if not hasattr(os, "fork"):
    pytest.skip("tries every call in a process of its own: needs fork", allow_module_level=True)


def try_calls(kind, **environment):
    """{call: (allocations that can fail, what went wrong)}"""
    script = str(TESTS / "fail_allocations.py")
    # No threads but ours, which a forked process would not have.
    printed = run_python(script, kind, timeout=600, OPENBLAS_NUM_THREADS="1", **environment)
    return json.loads(printed)


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("no C++ compiler to build the failing allocators with")
    library = tmp_path_factory.mktemp("shim") / "failing_new.so"
    options = ["-std=c++17", "-O2", "-shared", "-fPIC", "-o", library]
    built = subprocess.run(
        [compiler, *options, TESTS / "failing_new.cpp", "-ldl"],
        capture_output=True,
        check=False,
        text=True,
    )
    if built.returncode != 0:
        pytest.skip(f"the failing allocators need the GNU C library: {built.stderr[-200:]}")
    return str(library)


@pytest.fixture(scope="module")
def once(shim):
    return try_calls("new", LD_PRELOAD=shim)


@pytest.fixture(scope="module")
def for_good(shim):
    return try_calls("new for good", LD_PRELOAD=shim)


@pytest.fixture(scope="module")
def of_python():
    pytest.importorskip("_testcapi", reason="this Python has no allocators that fail on request")
    return try_calls("Python")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_survives_the_failure_of_each_allocation(once, name):
    failures, problem = once[name]
    assert problem == ""
    assert (failures > 0) == (name not in ALLOCATION_FREE)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_survives_where_no_memory_is_left(for_good, name):
    failures, problem = for_good[name]
    assert problem == ""
    assert (failures > 0) == (name not in ALLOCATION_FREE)


@pytest.mark.parametrize("name", CORE_CALLS)
def test_a_call_survives_the_failure_of_each_allocation_of_python(of_python, name):
    assert of_python[name][1] == ""


def test_allocations_of_python_did_fail(of_python):
    """Not in every call: some need none."""
    assert sum(failures > 0 for failures, _ in of_python.values()) > len(CORE_CALLS) / 2
