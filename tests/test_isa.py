"""Each instruction set of this CPU: the one asked for runs, with the bits of the scalar run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from chainrule import _core
from support import TESTS, run_python

KNOWN = ["scalar", "avx2", "avx512", "neon"]
AVAILABLE = list(_core.config()["isas"])


@pytest.fixture(scope="module")
def lines_of():
    """A function of the ISA's name: what isa_bits.py prints under it."""
    printed: dict[str, list[str]] = {}

    def lines(isa):
        if isa not in printed:
            output = run_python(str(TESTS / "isa_bits.py"), timeout=600, CHAINRULE_ISA=isa)
            printed[isa] = output.splitlines()
        return printed[isa]

    return lines


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
def test_the_isa_that_was_asked_for_runs(lines_of, isa):
    assert lines_of(isa)[0] == isa


@pytest.mark.bits
@pytest.mark.parametrize("isa", [isa for isa in AVAILABLE if isa != "scalar"])
def test_every_isa_gives_the_bits_of_the_scalar_run(lines_of, isa):
    expected, actual = lines_of("scalar")[1:], lines_of(isa)[1:]
    assert len(expected) > 100
    differing = [a for a, e in zip(actual, expected, strict=True) if a != e]
    assert differing == []


def test_two_results_differ_where_the_numbers_do(lines_of):
    """The digests can tell results apart."""
    digests = [line.rsplit(": ", 1)[1] for line in lines_of("scalar")[1:]]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("name", ["nope", "AVX2", "sse2"])
def test_an_unknown_isa_fails_loudly_at_import(name):
    message = import_fails(name)
    assert name in message
    assert "scalar" in message


@pytest.mark.parametrize("isa", [isa for isa in KNOWN if isa not in AVAILABLE])
def test_an_unavailable_isa_fails_loudly_at_import(isa):
    assert isa in import_fails(isa)
