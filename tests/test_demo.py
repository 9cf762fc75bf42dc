"""The main job: `python -m chainrule demo`, as a user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from support import run_python

pytest.importorskip("sklearn", reason='scikit-learn is not installed: pip install ".[demo]"')
pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def printed(folder):
    """What the demo prints, run once in an empty folder."""
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "demo"],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model(printed, folder):
    (path,) = folder.rglob("*.safetensors")
    assert path.name in printed
    return cr.Network.load(path)


def test_it_reaches_97_per_cent(printed):
    percentages = re.findall(r"test accuracy\D{0,10}(\d+(?:\.\d+)?) ?%", printed)
    assert percentages, printed
    assert float(percentages[-1]) >= 97


def test_it_prints_cost_and_accuracy_of_every_epoch(printed):
    lines = re.findall(r"^\s*\d+\s+\d+\.\d+\s+\d+\.\d+\s+\d+\.\d+%\s*$", printed, re.MULTILINE)
    assert len(lines) >= 5
    costs = [float(line.split()[1]) for line in lines]
    assert costs[-1] < 0.2 * costs[0]


def test_numpy_in_float64_has_the_same_costs_to_rounding(printed):
    (difference,) = re.findall(r"differ by at most (\d\.\d+e[-+]\d+)", printed)
    assert float(difference) < 1e-10


def test_it_compares_the_time_with_numpy(printed):
    assert re.search(r"\d+(\.\d+)? times as fast", printed)


def test_it_explains_a_weight(printed):
    for symbol in ("∂C/∂w", "∂C/∂a", "∂a", "∂z"):
        assert symbol in printed
    assert "NOT the same bits" not in printed


def test_the_saved_model_reads_digits(model):
    from chainrule.datasets import load_digits

    _, _, x, y = load_digits()
    assert np.mean(model.predict(x).argmax(axis=1) == y) >= 0.97


def test_it_says_how_to_load_the_model(printed):
    assert "Network.load(" in printed


def test_it_can_be_shortened(folder):
    path = folder / "short.safetensors"
    printed = run_python(
        "-m", "chainrule", "demo", "--epochs", "2", "--output", str(path), PYTHONIOENCODING="utf-8"
    )
    assert "test accuracy" in printed
    assert cr.Network.load(path).sizes[0] == 64


def test_an_unknown_command_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "nonsense"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "nonsense" in done.stderr
