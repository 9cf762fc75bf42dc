"""Saving: the file is the old one or the new one, whatever ends the save."""

from __future__ import annotations

import os
import re
import resource
import shutil
import stat
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import chainrule as cr
import chainrule.files.network  # here, where root may read it
from chainrule import _core
from handmade import identity
from privileges import unprivileged_folder
from save_and_be_killed import TEMPORARY
from support import TESTS, random_network, run_python, says


@pytest.fixture(scope="module")
def old():
    return random_network(np.random.default_rng(0), [60, 100, 10])


@pytest.fixture(scope="module")
def new():
    return random_network(np.random.default_rng(1), [100, 200, 10])


@pytest.fixture
def path(tmp_path, old):
    """Where `old` is saved."""
    path = tmp_path / "net.safetensors"
    old.save(path)
    return path


def assert_alone_and_equal(path, net):
    assert os.listdir(path.parent) == [path.name]
    assert identity(cr.Network.load(path)) == identity(net)


def test_a_network_is_always_the_same_file(path, old, tmp_path):
    """So that a checksum of the file tells whether the network has changed."""
    other = tmp_path / "other"
    cr.Network.load(path).save(other)
    raw = path.read_bytes()
    assert other.read_bytes() == raw
    assert raw.endswith(old.get_parameters().tobytes())
    assert (len(raw) - old.get_parameters().nbytes) % 8 == 0  # aligned, where it is mapped


# --- killed -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_save_leaves_the_old_file_or_the_new():
    """For 2000 kills: python tests/save_and_be_killed.py."""
    printed = run_python(str(TESTS / "save_and_be_killed.py"), "--kills", "100", timeout=600)
    kills, first, second, temporary = map(int, re.findall(r"\b\d+\b", printed))
    assert first + second == kills == 100
    assert 0 < temporary < kills  # some were killed within a save, some between two
    assert first > 0
    assert second > 0


def test_the_temporary_file_of_another_save_is_left_alone(path, new):
    """Another process could still be writing it."""
    other = path.parent / f".chainrule-{'0' * 16}.tmp"
    assert TEMPORARY.fullmatch(other.name)
    other.write_bytes(b"half a fi")
    new.save(path)
    assert other.read_bytes() == b"half a fi"
    other.unlink()
    assert_alone_and_equal(path, new)


@pytest.mark.parametrize("sizes", [[1, 1], [100, 200, 10]], ids=str)
def test_the_contents_reach_the_disk_before_the_name_does(path, monkeypatch, sizes):
    """After a power cut the name stands for contents that are all there."""
    new = cr.Network(sizes)
    events = []
    fsync, replace, sync_folder = os.fsync, os.replace, _core.sync_folder

    def watched_fsync(handle):
        events.append(os.fstat(handle).st_size)
        fsync(handle)

    def watched_sync_folder(folder):
        events.append(os.fsdecode(folder))
        sync_folder(folder)

    def watched_replace(source, target):
        events.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    monkeypatch.setattr(_core, "sync_folder", watched_sync_folder)
    new.save(path)
    assert events == [path.stat().st_size, "name", os.path.realpath(path.parent)]


SAVE_FOR_EVER = """
import sys
import chainrule as cr

net = cr.Network([60, 100, 10], seed=int(sys.argv[2]))
while True:
    net.save(sys.argv[1])
    print(flush=True)
"""


def test_two_processes_may_save_to_one_path(path):
    script = [sys.executable, "-c", SAVE_FOR_EVER, str(path)]
    savers = [subprocess.Popen([*script, seed], stdout=subprocess.PIPE) for seed in ("1", "2")]
    found = set()
    try:
        for _ in range(20):
            for saver in savers:
                assert saver.stdout.readline()  # one more network is saved
                found.add(identity(cr.Network.load(path)))
    finally:
        for saver in savers:
            saver.kill()
            saver.communicate()
    found.add(identity(cr.Network.load(path)))
    assert found <= {identity(cr.Network([60, 100, 10], seed=seed)) for seed in (1, 2)}
    assert all(TEMPORARY.fullmatch(name) for name in set(os.listdir(path.parent)) - {path.name})


# --- refused by the system --------------------------------------------------------------------


SAVE_WITH_LITTLE_MEMORY = """
import resource, sys
import chainrule as cr

def save(net, path, extra):
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, -1))
    try:
        net.save(path)
        return "saved"
    except MemoryError:
        return "refused"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))

path = sys.argv[1]
cr.Network([1, 1]).save(path)  # what is imported late is
saved, other = (cr.Network([1000, 1000], seed=seed) for seed in (0, 1))
saved.save(path)
for extra in range(0, 20 << 20, 2 << 20):
    result = save(other, path, extra)
    if result == "saved":
        saved, other = other, saved
    assert (cr.Network.load(path).get_parameters() == saved.get_parameters()).all()
    print(result)
"""


@pytest.mark.unsanitized
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
def test_little_memory_leaves_the_old_file(path):
    """And the process lives, to do without the file."""
    # Without one heap a thread and with large blocks mapped, a process grows by what it asks for.
    tunables = "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=65536"
    printed = run_python("-c", SAVE_WITH_LITTLE_MEMORY, str(path), GLIBC_TUNABLES=tunables)
    assert set(printed.split()) == {"refused", "saved"}
    assert os.listdir(path.parent) == [path.name]


@contextmanager
def file_size_limit(size):
    """Python ignores SIGXFSZ: a longer file is an error of the write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_a_limit_on_file_sizes_leaves_the_old_file(path, old, new, size):
    with (
        pytest.raises(OSError, match=says(path, "File too large")),
        file_size_limit(size),
    ):
        new.save(path)
    assert_alone_and_equal(path, old)


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for `old` and half of `new` beside it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small file system, which takes root: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk, old, new):
    path = small_disk / "net.safetensors"
    old.save(path)
    with pytest.raises(OSError, match=says(path, "No space left")):
        new.save(path)
    assert_alone_and_equal(path, old)


def test_a_full_disk_leaves_no_new_file(small_disk, new):
    (small_disk / "other").write_bytes(bytes(100_000))
    with pytest.raises(OSError, match=says("net.safetensors", "No space left")):
        new.save(small_disk / "net.safetensors")
    assert os.listdir(small_disk) == ["other"]


def test_an_interrupt_leaves_the_old_file(path, old, new, monkeypatch):
    def interrupt(handle):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", interrupt)
        new.save(path)
    assert_alone_and_equal(path, old)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists open files")
def test_a_folder_is_synced_and_closed(tmp_path):
    """As the system sees it."""
    strace = shutil.which("strace")
    before = len(os.listdir("/proc/self/fd"))
    _core.sync_folder(os.fsencode(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before
    if strace is None:
        pytest.skip("strace is not installed")
    command = (
        "import os, sys; from chainrule import _core; _core.sync_folder(os.fsencode(sys.argv[1]))"
    )
    done = subprocess.run(
        [strace, "-y", "-e", "trace=fsync", sys.executable, "-c", command, str(tmp_path)],
        capture_output=True,
        check=True,
        text=True,
    )
    assert f"<{os.path.realpath(tmp_path)}>) = 0" in done.stderr


@pytest.mark.parametrize("folder", ["/proc/self/fd", "none"])
def test_a_folder_that_cannot_be_synced_is_no_failure(folder):
    """The new file is in place: an error would say that it is not."""
    _core.sync_folder(os.fsencode(folder))


def test_errors_name_the_path_as_it_was_given(new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("missing/net", "x" * 256):
        with pytest.raises(OSError) as caught:
            new.save(path)
        assert caught.value.filename == path
        assert caught.value.filename2 is None
    assert os.listdir(tmp_path) == []


def test_a_name_may_be_as_long_as_the_file_system_takes(new, tmp_path):
    path = tmp_path / ("x" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    new.save(path)
    assert_alone_and_equal(path, new)


# --- what the path may be ---------------------------------------------------------------------


LOAD_WHAT_BECOMES_A_PIPE = """
import os, sys
import chainrule as cr

path, status = sys.argv[1], os.stat
cr.Network([1, 1]).save(path)
cr.Network.load(path)

def replaced(name):
    found = status(name)
    os.unlink(name)
    os.mkfifo(name)
    return found

os.stat = replaced
try:
    cr.Network.load(path)
except ValueError as error:
    print(error)
"""


def test_a_pipe_that_takes_the_files_place_does_not_stop_a_load(tmp_path):
    """Between the look at the path and its opening, which would wait for a writer."""
    printed = run_python("-c", LOAD_WHAT_BECOMES_A_PIPE, str(tmp_path / "net"), timeout=60)
    assert "it is not a regular file" in printed


@pytest.mark.parametrize("path", ["", "folder/", "folder/."], ids=repr)
def test_a_path_that_names_no_file_is_refused(new, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((OSError, ValueError), match=says(repr(path))):
        new.save(path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_not_a_regular_file_is_not_replaced(new, tmp_path, make):
    """Root could replace /dev/null."""
    path = tmp_path / "other"
    make(path)
    before = os.stat(path)
    with pytest.raises(FileExistsError, match=says(path, "regular file")):
        new.save(path)
    assert os.path.samestat(os.stat(path), before)
    assert os.listdir(tmp_path) == ["other"]


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_one(old, new, tmp_path, absolute, exists):
    (tmp_path / "models").mkdir()
    (tmp_path / "links").mkdir()
    target = tmp_path / "models" / "net"
    link = tmp_path / "links" / "net"
    link.symlink_to(target if absolute else "../models/net")
    if exists:
        old.save(target)
    new.save(link)
    assert link.is_symlink()
    assert not target.is_symlink()
    for path in (link, target):
        assert_alone_and_equal(path, new)


def test_a_loop_of_symbolic_links_is_not_replaced(new, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.symlink_to(b)
    b.symlink_to(a)
    with pytest.raises(OSError, match=says(a)):
        new.save(a)
    assert a.is_symlink()
    assert b.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b"], ids=ascii)
def test_a_path_that_cannot_be_is_refused(new, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        new.save(path)
    assert os.listdir(tmp_path) == []


# --- permissions ------------------------------------------------------------------------------


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077], ids=oct)
def test_a_new_file_has_the_permissions_that_the_umask_leaves(new, tmp_path, mask):
    with umask(mask):
        new.save(tmp_path / "net")
    assert mode(tmp_path / "net") == 0o666 & ~mask


@pytest.mark.parametrize("mask", [0o000, 0o077], ids=oct)
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o664, 0o666, 0o755, 0o400], ids=oct)
def test_a_replaced_file_keeps_its_permissions(path, new, permissions, mask):
    path.chmod(permissions)
    with umask(mask):
        new.save(path)
    assert mode(path) == permissions
    assert_alone_and_equal(path, new)


def test_a_private_file_is_private_at_every_moment(path, new, monkeypatch):
    """Who had opened the temporary file in time could read what is written to it later."""
    path.chmod(0o600)
    seen = []

    def watched(function):
        def watch(*args):
            seen.extend(map(mode, path.parent.glob(".*")))
            return function(*args)

        return watch

    for name in ("fchown", "fchmod", "fsync", "replace"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    with umask(0):
        new.save(path)
    assert seen == [0o600] * 4


def test_a_folder_without_write_permission_is_named_and_keeps_its_file(old, new):
    with unprivileged_folder() as folder:
        path = folder / "net"
        old.save(path)
        folder.chmod(0o500)
        with pytest.raises(PermissionError, match=says(path)):
            new.save(path)
        assert_alone_and_equal(path, old)


def test_a_folder_that_cannot_be_listed_takes_a_file(new):
    with unprivileged_folder() as folder:
        folder.chmod(0o300)
        new.save(folder / "net")
        folder.chmod(0o700)
        assert_alone_and_equal(folder / "net", new)


def test_a_file_without_read_permission_is_an_error_that_names_it(new):
    with unprivileged_folder() as folder:
        new.save(folder / "net")
        (folder / "net").chmod(0o200)
        with pytest.raises(PermissionError, match=says(folder / "net")):
            cr.Network.load(folder / "net")
