"""``python -m chainrule bench accuracy``: what is checked, what a time is, what is written."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from chainrule.bench import accuracy, cells, peers, report, runner
from chainrule.bench.accuracy import Task
from support import run_bench

pytestmark = pytest.mark.unsanitized

SMALL = Task(
    cells.adam(("fashion", (12, 9, 3), "relu", "softmax", "cross_entropy"), 8, 100), 2, 0.5
)


@pytest.fixture(scope="module")
def data():
    """Three classes that three bright columns tell apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=130)
    pixels = rng.integers(100, size=(130, 12))
    pixels[np.arange(130), labels] += 150
    pixels = pixels.astype(np.uint8)
    return pixels[:100], labels[:100], pixels[100:], labels[100:]


def measure(data, *names, rounds=1):
    missing = [package for name in names for package in peers.PEERS[name].missing]
    if missing:
        pytest.skip(f"without {', '.join(missing)}: pip install '.[bench]'")
    with runner.processes(names, 1, "learning_worker") as held:
        return accuracy.measure(SMALL, data, held, (rounds, rounds), 0.0)


@pytest.fixture(scope="module")
def measured(data):
    return measure(data, "chainrule", "sklearn", rounds=2)


def test_systems_that_learn_right_have_times_and_shares(measured):
    for result in measured.values():
        assert result["status"] == "right"
        assert [len(r["seconds"]) for r in result["rounds"]] == [2, 2]
        assert 0 < result["epoch"] < result["total"]
        assert 0 <= result["accuracy"] <= 1


def test_rounds_start_anew(measured):
    first, second = (r["accuracy"] for r in measured["chainrule"]["rounds"])
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("name", peers.names(peers.ACCURACY))
def test_peers_learn_what_float64_does(data, name):
    result = measure(data, name)[name]
    assert result["status"] == "right", report.verdict(result)
    assert max(result["errors"].values()) <= result["tolerance"] < 0.01


def test_another_order_of_the_samples_is_a_wrong_result(data, monkeypatch):
    order = accuracy._order
    monkeypatch.setattr(accuracy, "_order", lambda epoch, n: order(epoch, n)[::-1].copy())
    assert measure(data, "chainrule")["chainrule"]["status"] == "wrong"


ROUNDS = [
    {"seconds": [1.0, 2.0, 4.0], "accuracy": [0.4, 0.6, 0.7]},
    {"seconds": [1.0, 1.0, 1.0], "accuracy": [0.4, 0.5, 0.4]},
    {"seconds": [3.0, 3.0, 3.0], "accuracy": [0.5, 0.6, 0.8]},
]


def test_the_time_to_a_target_ends_with_the_first_epoch_that_reaches_it():
    found = accuracy.summary(SMALL, ROUNDS)
    assert (found["median"], found["epochs"]) == (3.0, 2)  # of 3, 2 and 3 seconds
    assert (found["total"], found["accuracy"]) == (7.0, 0.7)


def test_a_round_that_does_not_reach_the_target_leaves_no_time():
    never = [{"seconds": [1.0], "accuracy": [0.49]}]
    found = accuracy.summary(SMALL, [*ROUNDS, *never])
    assert found["median"] is None
    assert "never" in report.learning(1, {"other": {**found, "first": 1.0, "variant": "fit"}})


def test_a_table_has_ratios_to_our_time(measured):
    ours, peer = measured["chainrule"], measured["sklearn"]
    text = report.learning(
        1, {"chainrule": {**ours, "median": 2.0}, "sklearn": {**peer, "median": 5.0, "epochs": 1}}
    )
    assert "2.50×" in text


@pytest.mark.slow
def test_a_quick_run_writes_what_it_prints(fashion_mnist, tmp_path):
    done = run_bench(
        "accuracy",
        "--quick",
        "--no-plots",
        "--systems=chainrule",
        f"--data={fashion_mnist}",
        f"--output={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "accuracy.json").read_text(encoding="utf-8"))
    assert found["threads"]["1"]["chainrule"]["accuracy"] > accuracy.QUICK.target
    assert report.learning(1, found["threads"]["1"]) in done.stdout
    assert "Fashion-MNIST" in (tmp_path / "accuracy.txt").read_text(encoding="utf-8")


def test_the_picture_is_drawn(measured, tmp_path):
    pytest.importorskip("matplotlib", reason='no matplotlib: pip install ".[bench]"')
    from chainrule.bench import plots

    plots.write_accuracy(tmp_path, {"task": {"target": 0.5}, "threads": {1: measured}})
    assert (tmp_path / "accuracy.png").stat().st_size > 0


def test_missing_files_are_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "bench", "accuracy", f"--data={tmp_path}"],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and "dataset-fashion-mnist" in done.stderr
