"""``python -m chainrule bench``: what it checks before it times, and what it writes."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from chainrule import _core
from chainrule.bench import about, cells, command, packages, peers, processes, report, runner
from chainrule.bench.problem import Problem
from chainrule.bench.reference import Reference
from support import run_bench

pytestmark = pytest.mark.unsanitized

TINY = cells.inference(cells.TINY, 1)


class Answers:
    """A system that answers with the same results, or the same exception, whenever it is asked."""

    def __init__(self, results):
        self.results = results
        self.asked = []

    def ask(self, method, *arguments):
        self.asked.append(method)
        if isinstance(self.results, Exception):
            raise self.results
        return {
            "prepare": self.results,
            "results": self.results and next(iter(self.results.values())),
            "choose": {"variant": "one", "expression": "f(x)", "trial": {"one": 1.0}},
            "round": {"seconds": 1.0, "calls": 1, "bound": 0.5},
        }[method]


def right(cell):
    return {"one": Reference(Problem(cell)).results}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A run from end to end of two cells, with NumPy and chainrule alone."""
    folder = tmp_path_factory.mktemp("bench")
    done = run_bench(
        "--quick",
        "--no-plots",
        "--systems=chainrule",
        "--cells=*/tiny-*",
        f"--output={folder}",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "bench.json").read_text(encoding="utf-8"))


def test_every_cell_has_a_name_of_its_own():
    names = [cell.name for cell in cells.CELLS]
    assert len(set(names)) == len(names) >= 60


def test_no_call_does_more_than_20_gflop():
    assert max(cell.flops * cell.steps for cell in cells.CELLS) <= 20e9


def test_epochs_are_whole_batches_and_the_small_lists_are_cells():
    assert all(cell.samples % cell.batch == 0 for cell in cells.CELLS)
    assert {*cells.QUICK, *cells.LATENCY} <= {*cells.CELLS}


def test_list_prints_the_cells_that_match():
    done = run_bench("--list", "--cells", "training-adam/*")
    assert done.stdout.split() == [c.name for c in cells.CELLS if c.kind == "training-adam"]


def test_a_run_prints_a_table_and_writes_what_it_found(quick):
    printed, found = quick
    assert "geometric mean" in printed
    for cell in found["cells"]:
        assert cell["name"] in printed
        for name in ("chainrule", "numpy"):
            result = cell["systems"][name]
            assert result["status"] == "right"
            assert len(result["rounds"]) == command.QUICK_ROUNDS[0]
            assert 0 < result["low"] <= result["median"] <= result["high"]
    (single,) = found["latency"]
    for result in single["systems"].values():
        assert 0 < result["p50"] <= result["p99"] <= result["p99.9"]


def test_pictures_are_drawn(quick, tmp_path):
    pytest.importorskip("matplotlib", reason='no matplotlib: pip install ".[bench]"')
    from chainrule.bench import plots

    plots.write(tmp_path, quick[1])
    assert {path.stem for path in tmp_path.iterdir()} == {"ratios", "roofline", "single_calls"}


def test_a_run_is_stamped(quick):
    printed, found = quick
    for key in ("date", "cpu", "isa", "python"):
        assert found["about"][key] in printed
    assert found["about"]["versions"]["numpy"] == np.__version__
    assert {cell["threads"] for cell in found["cells"]} == {1}


def test_a_wrong_result_is_reported_and_not_timed():
    wrong = {"one": [a + 1e-3 for a in right(TINY)["one"]]}
    good, bad = Answers(right(TINY)), Answers(wrong)
    entrants = runner.measure(TINY, {"numpy": good, "other": bad}, (2, 2), 0.0)
    assert entrants["other"].result["status"] == "wrong"
    assert bad.asked == ["prepare"]
    assert len(entrants["numpy"].result["rounds"]) == 2
    record = {"name": TINY.name, "systems": {n: e.result for n, e in entrants.items()}}
    assert "other" in report.block(record) and "WRONG" in report.block(record)
    assert "other" not in report.times(record)


def test_a_result_that_is_wrong_after_the_rounds_has_no_time():
    class Drifting(Answers):
        def ask(self, method, *arguments):
            answer = super().ask(method, *arguments)
            return [a + 1 for a in answer] if method == "results" else answer

    entrants = runner.measure(TINY, {"other": Drifting(right(TINY))}, (1, 1), 0.0)
    assert entrants["other"].result["status"] == "wrong"
    assert "median" not in entrants["other"].result


@pytest.mark.parametrize("spoil", [np.zeros_like, lambda a: a * np.nan, lambda a: a[:0]])
def test_zeros_nan_and_nothing_are_wrong_results(spoil):
    spoilt = {"one": [spoil(a) for a in right(TINY)["one"]]}
    entrants = runner.check(TINY, {"other": Answers(spoilt)})
    assert entrants["other"].result["status"] == "wrong"


def test_a_gradient_that_is_off_by_a_thousandth_is_wrong():
    cell = cells.sgd(cells.ODD_300, 10, 40)
    problem = Problem(cell)
    off = [
        p + 1.001 * (a - p) for a, p in zip(*right(cell).values(), problem.parameters, strict=True)
    ]
    entrants = runner.check(cell, {"other": Answers({"one": off})})
    assert entrants["other"].result["status"] == "wrong"


def test_a_system_that_fails_is_reported_and_the_others_go_on():
    broken = Answers(processes.WorkerError("Traceback\nValueError: no such operator"))
    systems_ = {"numpy": Answers(right(TINY)), "other": broken}
    entrants = runner.measure(TINY, systems_, (1, 1), time.monotonic())
    assert report.verdict(entrants["other"].result) == "failed: ValueError: no such operator"
    assert "median" in entrants["numpy"].result


def test_the_exception_of_a_worker_arrives_and_its_end_too():
    with runner.processes(["numpy"], 1) as held:
        with pytest.raises(processes.WorkerError, match="nonsense"):
            held["numpy"].ask("nonsense")
        held["numpy"].popen.kill()
        with pytest.raises(processes.WorkerError, match="ended with status"):
            held["numpy"].ask("prepare", {})


def test_workers_have_their_threads_and_no_chainrule(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    environment = processes.environment(2)
    assert "OPENBLAS_CORETYPE" not in environment
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "2"


def test_an_unknown_cell_or_system_is_refused():
    done = run_bench("--cells", "inference/nonsense")
    assert done.returncode == 2 and "inference/nonsense" in done.stderr
    with pytest.raises(ValueError, match="nonsense.*numpy"):
        about.choose_peers("nonsense", peers.CELLS)


def test_peers_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(packages, "missing", lambda names: [n for n in names if n == "jax"])
    names, missing = about.choose_peers(None, peers.CELLS)
    assert missing == ["jax"] and "jax" not in names and "numpy" in names
    assert "missing   jax (pip install" in report.stamp(about.describe(["numpy"], missing))
    with pytest.raises(ValueError, match=r"jax needs jax: pip install"):
        about.choose_peers("jax", peers.CELLS)


def test_the_rates_of_the_roofline_are_measured():
    assert min(_core.fma_rate("float32"), _core.fma_rate("float64")) > 0
    assert _core.read_rate(1 << 16) > 0


def test_a_rate_of_another_dtype_is_refused():
    with pytest.raises(ValueError, match="dtype is 'int8', expected 'float32' or 'float64'"):
        _core.fma_rate("int8")
