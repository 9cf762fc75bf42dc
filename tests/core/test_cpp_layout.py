"""Which C++ file may include which: the layers of cpp/README.md, without cycles, in short files."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from support import TESTS

CPP = TESTS.parent / "cpp"

#: The folders that the files of each folder may include.
MAY_INCLUDE = {
    "kernels": {"kernels"},
    "core": {"core", "kernels"},
    "include": {"include"},
    "model": {"core", "include", "kernels", "model"},
    "bindings": {"bindings", "core", "include", "kernels", "model"},
}
MOST_LINES = 450
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def sources() -> list[Path]:
    found = [path for path in CPP.rglob("*") if path.suffix in (".h", ".cpp")]
    if not found:
        pytest.skip("the C++ sources are not here")
    return sorted(found)


def included(path: Path) -> set[Path]:
    """The files of this project that `path` includes."""
    names = INCLUDE.findall(path.read_text(encoding="utf-8"))
    found = {
        folder / name
        for name in names
        for folder in (CPP, CPP / "include")
        if (folder / name).exists()
    }
    assert len(found) == len(names), f"{path} includes a file that does not exist: {names}"
    return found


def folder(path: Path) -> str:
    return path.relative_to(CPP).parts[0]


def test_every_folder_has_a_rule():
    assert {folder(path) for path in sources()} == MAY_INCLUDE.keys()


@pytest.mark.parametrize("name", MAY_INCLUDE)
def test_a_folder_includes_only_the_folders_below_it(name):
    wrong = [
        f"{path.relative_to(CPP)} includes {other.relative_to(CPP)}"
        for path in sources()
        if folder(path) == name
        for other in included(path)
        if folder(other) not in MAY_INCLUDE[name]
    ]
    assert wrong == []


def test_no_file_includes_itself_through_others():
    graph = {path: included(path) for path in sources()}
    assert sum(map(len, graph.values())) > 50
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files


def test_files_are_short():
    lengths = {
        str(path.relative_to(CPP)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources()
    }
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}
