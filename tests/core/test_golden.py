"""The golden bits, under every instruction set of this CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import golden
from chainrule import _core
from support import TESTS, run_python

AVAILABLE = list(_core.config()["isas"])

pytestmark = pytest.mark.bits


@pytest.mark.parametrize("isa", AVAILABLE)
def test_every_isa_gives_the_golden_bits(isa):
    printed = run_python(str(TESTS / "golden.py"), timeout=600, CHAINRULE_ISA=isa)
    assert printed.split(":")[0] == isa


def test_the_file_holds_every_case_once():
    assert list(golden.read()) == list(golden.cases())


def test_results_differ_where_the_numbers_do():
    """The digests can tell results apart."""
    digests = list(golden.read().values())
    assert len(set(digests)) == len(digests)


def test_a_changed_digest_is_noticed(tmp_path):
    case, digests = next(iter(golden.read().items()))
    changed = tmp_path / "golden.txt"
    changed.write_text(f"{case}: {int(digests, 16) ^ 1:08x}\n")
    script = (
        "import golden, pathlib, sys\n"
        "golden.FILE = pathlib.Path(sys.argv[1])\n"
        "sys.exit(golden.main([]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, changed],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert case in done.stdout
