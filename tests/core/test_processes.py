"""What processes do: fork, pools, the interpreter's end, other packages with threads, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from support import TESTS, run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

START_METHODS = ["fork", "forkserver", "spawn"]

needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"), reason="only Linux lists the threads of a process"
)


def script(name: str) -> str:
    return str(TESTS / "processes" / f"{name}.py")


def run_case(name: str, *arguments: str) -> None:
    assert run_python(script(name), *arguments).split()[-1] == "ok"


# --- fork -------------------------------------------------------------------------------------


@needs_proc
def test_the_work_is_large_enough_for_a_team():
    run_case("forks", "team")


@pytest.mark.bits
@pytest.mark.parametrize(
    "case",
    ["children_one_after_another", "grandchildren", "the_parent_goes_on", "from_another_thread"],
)
def test_a_forked_child_predicts_and_trains(case):
    run_case("forks", case)


@pytest.mark.parametrize("case", ["forks", "fork_amid_a_thread"])
def test_a_child_forked_while_others_share_calls_serves(case):
    run_case("batcher", case)


def test_a_child_forked_amid_a_batch_starts_with_an_empty_queue():
    run_case("forks", "amid_a_batch")


@pytest.mark.bits
@pytest.mark.parametrize("call", ["predict", "serve", "cost", "gradients", "fit"])
def test_a_child_forked_while_another_thread_works_predicts_and_trains(call):
    run_case("forks", "during", call)


@pytest.mark.bits
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("where", ["epoch", "batch"])
@pytest.mark.parametrize("case", ["in_a_callback", "children_go_on"])
def test_a_child_forked_in_a_fit_has_a_network_of_its_own(case, where, optimizer):
    run_case("forks", case, where, optimizer)


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("way", ["end of the script", "exception", "os._exit", "sys.exit"])
def test_a_forked_child_ends_as_it_should(way, others):
    run_case("forks", "child_ends", way, str(others))


@needs_proc
def test_a_forked_child_may_use_threads():
    run_case("forks", "team_in_child")


@needs_proc
def test_threads_that_wait_end_with_a_fork():
    run_case("forks", "idle_threads_end")


# --- pools ------------------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("case", ["pool", "executor", "process"])
def test_processes_give_the_same_bits(case, method):
    run_case("pools", case, method)


@pytest.mark.bits
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_gives_the_same_bits(backend):
    pytest.importorskip("joblib")
    run_case("pools", "joblib", backend)


@needs_proc
@pytest.mark.parametrize("method", START_METHODS)
def test_a_worker_starts_the_threads_that_it_was_given(method):
    run_case("pools", "counted", method)


@needs_proc
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_workers_of_joblib_share_the_cores_out(n_jobs):
    pytest.importorskip("joblib")
    run_case("pools", "joblib_counted", str(n_jobs))


@needs_proc
def test_many_callers_do_not_multiply_the_threads():
    run_case("scaling", "crowd")


@pytest.mark.slow
@pytest.mark.unsanitized
def test_threads_do_as_much_as_processes():
    run_case("scaling", "throughput")


# --- the end of the interpreter ---------------------------------------------------------------

WORKING = [
    "predict on two threads",
    "predict one row",
    "predict with a conversion",
    "predict what never comes",
    "predict what comes late",
    "freeze",
    "cost",
    "gradients",
    "vjp",
    "get_parameters",
    "train_step",
    "fit",
    "fit for long",
    "fit a stream",
    "fit with progress",
    "fit with a slow poll",
    "fit with validation",
    "share calls",
    "share a call that never ends",
    "share calls of coroutines",
]


#: How a process ends, and its exit code.
ENDS = {"end of the script": 0, "exception": 1, "sys.exit": 3}


def end_while(working: str, end: str) -> None:
    done = subprocess.run(
        [sys.executable, script("exits"), working, end],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == ENDS[end], done.stderr
    assert "Fatal" not in done.stderr
    assert "terminate" not in done.stderr


@pytest.mark.parametrize("working", WORKING)
def test_the_interpreter_ends_while_threads_work(working):
    end_while(working, "sys.exit")


@pytest.mark.slow
@pytest.mark.parametrize("working", WORKING)
def test_the_interpreter_ends_at_any_moment(working):
    """The moment is drawn anew in every run: what goes wrong need not do so every time."""
    for end in ENDS:
        end_while(working, end)


def test_the_end_does_not_wait_for_a_call_that_takes_minutes():
    end_while("predict for minutes", "sys.exit")


@pytest.mark.parametrize("others", ["alone", "beside a thread"])
@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("predict", "before the import"),
        ("predict", "after the import"),
        ("predict", "when modules are cleared"),
        ("fork", "before the import"),
        ("fork", "after the import"),
    ],
)
def test_calls_are_right_while_the_interpreter_ends(call, when, others):
    """In exit handlers registered before and after the import, and in __del__."""
    assert run_python(script("teardown"), call, when, others).split() == ["right"]


@pytest.mark.parametrize("when", ["before the import", "after the import"])
def test_an_exit_handler_may_wait_for_a_thread_that_works(when):
    assert run_python(script("teardown"), "wait", when, "beside a thread").split() == ["right"]


# --- other packages with threads --------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.unsanitized
@needs_proc
@pytest.mark.parametrize("order", [("chainrule", "torch"), ("torch", "chainrule")], ids=str)
def test_torch_and_chainrule_work_in_one_process(order):
    pytest.importorskip("torch")
    run_case("runtimes", *order)


@pytest.mark.bits
@pytest.mark.slow
@pytest.mark.unsanitized
@needs_proc
@pytest.mark.parametrize("order", [("chainrule", "sklearn"), ("sklearn", "chainrule")], ids=str)
def test_sklearn_and_chainrule_work_in_one_process(order):
    pytest.importorskip("sklearn")
    run_case("runtimes", *order)


# --- exceptions in threads that share a batcher -------------------------------------------------


@pytest.mark.bits
@pytest.mark.slow
@pytest.mark.unsanitized
@pytest.mark.parametrize("case", ["alarms", "callers", "workers"])
def test_exceptions_at_random_moments_leave_a_batcher_at_work(case):
    run_case("batcher", case)


# --- Ctrl-C -----------------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize(
    "case",
    [
        "batches_on_two_threads",
        "batches_with_momenta",
        "steps_of_many_chunks",
        "stream",
        "inside_a_long_step",
    ],
)
def test_a_signal_from_outside_leaves_whole_steps(case):
    with subprocess.Popen(
        [sys.executable, script("interrupts"), case], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "training\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=120)
    assert printed == "ok\n"
    assert process.returncode == 0


ALARMS = [
    "fit",
    "fit_with_callbacks",
    "fit_with_validation",
    "fit_stream",
    "fit_on_one_network",
    "fit_with_checkpoints",
    "train_step",
    "predict",
    "save_and_load",
]


@needs_proc
@pytest.mark.parametrize("case", ALARMS)
def test_signal_handlers_that_raise_leave_nothing_stuck(case):
    """The script stops at so many alarms; .ci/long waits for more."""
    printed = run_python(script("alarms"), case, "20", "100")
    assert int(printed.split()[1]) >= 50
    assert printed.endswith("ok\n")


@pytest.mark.parametrize("case", ["fit", "train_step"])
def test_exceptions_from_another_thread_leave_nothing_stuck(case):
    printed = run_python(script("asynchronous"), case, "200")
    assert printed == "ok\n"
