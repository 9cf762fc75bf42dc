"""Every file that the fuzzer of Network.load found worth keeping (fuzz/fuzz_load.py)."""

from __future__ import annotations

import pytest

from fuzz.fuzz_load import load_or_refuse
from support import TESTS

CORPUS = sorted((TESTS / "fuzz" / "corpus").iterdir())


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name[:8])
def test_a_file_of_the_corpus_loads_or_is_refused(file, tmp_path):
    path = tmp_path / "net"
    path.write_bytes(file.read_bytes())
    load_or_refuse(path)


def test_the_corpus_holds_files_of_both_kinds(tmp_path):
    path = tmp_path / "net"
    loads = set()
    for file in CORPUS:
        path.write_bytes(file.read_bytes())
        loads.add(load_or_refuse(path) is not None)
    assert loads == {True, False}
