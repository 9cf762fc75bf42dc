"""Damaged ONNX models: imported rightly, or refused by a ValueError, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support import TESTS

pytestmark = [pytest.mark.slow, pytest.mark.unsanitized]

pytest.importorskip("onnx", reason="onnx is not installed: pip install .[test]")
if not sys.platform.startswith("linux"):
    pytest.skip("the size of the address space is limited on Linux", allow_module_level=True)

N_MUTANTS = 6000


def test_mutants_are_refused_or_right():
    script = TESTS / "onnx_mutants.py"
    run = subprocess.run(
        [sys.executable, script, str(N_MUTANTS)], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr[-2000:]
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["bad"] == []
    assert result["counts"]["refused"] + result["counts"]["imported"] == N_MUTANTS
    assert result["counts"]["imported"] > N_MUTANTS / 20  # the test compares something
