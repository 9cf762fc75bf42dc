"""Which instruction set runs: the one asked for, or an error that says what can run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from chainrule import _core
from support import run_python

KNOWN = ["scalar", "avx2", "avx512", "neon"]
AVAILABLE = list(_core.config()["isas"])


def import_fails(isa):
    done = subprocess.run(
        [sys.executable, "-c", "import chainrule"],
        env={**os.environ, "CHAINRULE_ISA": isa},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_scalar_is_always_available():
    assert "scalar" in AVAILABLE
    assert set(AVAILABLE) <= set(KNOWN)


def test_the_running_isa_is_one_of_them():
    assert _core.config()["isa"] in AVAILABLE


@pytest.mark.parametrize("isa", AVAILABLE)
def test_the_isa_that_was_asked_for_runs(isa):
    script = "from chainrule import _core; print(_core.config()['isa'])"
    assert run_python("-c", script, CHAINRULE_ISA=isa).strip() == isa


@pytest.mark.parametrize("name", ["nope", "AVX2", "sse2"])
def test_an_unknown_isa_fails_loudly_at_import(name):
    message = import_fails(name)
    assert name in message
    assert "scalar" in message


@pytest.mark.parametrize("isa", [isa for isa in KNOWN if isa not in AVAILABLE])
def test_an_unavailable_isa_fails_loudly_at_import(isa):
    assert isa in import_fails(isa)
