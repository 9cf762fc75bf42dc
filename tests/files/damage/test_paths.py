"""Paths of model files: no file, no regular one, no path, and paths that are bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import chainrule as cr
from damaged import refuses
from handmade import identity
from support import run_python, says


def test_an_empty_file_is_refused(path):
    path.touch()
    refuses(path, "header")


@pytest.mark.parametrize("target", [os.curdir, os.devnull])
def test_what_is_not_a_regular_file_is_refused(target):
    refuses(target, "regular file")


def test_a_pipe_is_refused_at_once(tmp_path):
    """Opening it would wait for a writer."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"""
import chainrule as cr
try:
    cr.Network.load({str(pipe)!r})
except ValueError as error:
    print(error)
"""
    printed = run_python("-c", script, timeout=60)
    assert str(pipe) in printed
    assert "regular file" in printed


def test_a_loop_of_symbolic_links_is_an_os_error(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.symlink_to(b)
    b.symlink_to(a)
    with pytest.raises(OSError, match=says(a)):
        cr.Network.load(a)


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(ValueError, match=says(r"'a\x00b'", "null")):
        cr.Network.load("a\0b")


@pytest.mark.parametrize("path", [None, 3, ["a"]], ids=str)
def test_what_is_no_path_is_a_type_error(net, path):
    with pytest.raises(TypeError, match="PathLike"):
        cr.Network.load(path)
    with pytest.raises(TypeError, match="PathLike"):
        net.save(path)


@pytest.mark.parametrize("name", [b"net", b"n\xffet", "n\u00e9t".encode()], ids=ascii)
def test_a_path_may_be_bytes(net, tmp_path, name):
    path = os.fsencode(tmp_path) + b"/" + name
    try:
        Path(os.fsdecode(path)).touch()
    except OSError:
        pytest.skip(f"this file system takes no file called {name!r}")
    for each in (path, os.fsdecode(path)):
        net.save(each)
        assert identity(cr.Network.load(each)) == identity(net)
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    os.truncate(path, 100)
    with pytest.raises(ValueError, match=says(repr(os.fsdecode(path)))) as caught:
        cr.Network.load(path)
    str(caught.value).encode()  # can be printed
