"""A file that is saved over keeps who may read it: owner, group, mode, ACL, attributes."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess

import numpy as np
import pytest

import chainrule as cr
import chainrule.files.network  # here, where root may read it
from handmade import identity
from privileges import NOBODY, shared_folder, user
from support import random_network

PROGRAM = os.environ.get("CHAINRULE_MODEL_PROGRAM")  # built by .ci/cpp

OWNER, GROUP, OTHER_GROUP = 12345, 23456, 34567
ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")


def make_model(path):
    net = cr.Network([7, 5], seed=3)
    net.save(path)
    return net


def save_in_python(path):
    random_network(np.random.default_rng(1), [7, 9, 5]).save(path)


def save_in_cpp(path):
    """Save from a C++ program that runs as the user that this process is now."""
    who = os.geteuid(), os.getegid(), os.getgroups()
    folder = path.parent / "program"
    try:
        os.seteuid(0)
        folder.mkdir()
        folder.chmod(0o755)
        shutil.copy(PROGRAM, folder / "model")
        make_model(folder / "net")
        np.zeros(7, np.float32).tofile(folder / "x")
        np.zeros(5, np.float32).tofile(folder / "y")
        for file in folder.iterdir():
            file.chmod(0o755)
        command = [folder / "model", "train", folder / "net", folder / "x", folder / "y"]
        done = subprocess.run(
            [*map(str, command), "0.1", "1", str(path)],
            user=who[0],
            group=who[1],
            extra_groups=who[2],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(folder)
        os.seteuid(who[0])
    assert done.returncode == 0, done.stderr


SAVERS = {"python": save_in_python}
if PROGRAM is not None:
    SAVERS["cpp"] = save_in_cpp


@pytest.fixture(params=SAVERS)
def save(request):
    return SAVERS[request.param]


@pytest.fixture
def path():
    """A model in a folder in which everybody may replace it."""
    with shared_folder() as folder:
        make_model(folder / "net")
        yield folder / "net"


def as_root():
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")


def give(path, owner, group, mode):
    as_root()
    os.chown(path, owner, group)
    path.chmod(mode)


def access(path):
    """Owner, group and mode."""
    status = path.stat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def acl(*entries):
    """A POSIX ACL as Linux stores it: (tag, permissions, id or None)."""
    rows = (
        struct.pack("<HHI", tag, bits, 2**32 - 1 if who is None else who)
        for tag, bits, who in entries
    )
    return struct.pack("<I", 2) + b"".join(rows)


USER_OBJ, USER, GROUP_OBJ, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
#: One user may read the file, which its group may not: the mode's group bits are the mask, r--.
ONE_READER = acl(
    (USER_OBJ, 6, None), (USER, 4, NOBODY), (GROUP_OBJ, 0, None), (MASK, 4, None), (OTHER, 0, None)
)


def set_attribute(path, name, value):
    try:
        os.setxattr(path, name, value)
    except (AttributeError, OSError) as error:
        pytest.skip(f"no {name} here: {error}")


def has_acl(path):
    return ACL in os.listxattr(path)


# --- root -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604, 0o664, 0o400, 0o4755, 0o2640], ids=oct)
def test_root_keeps_owner_group_and_mode(save, path, mode):
    give(path, OWNER, GROUP, mode)
    save(path)
    assert access(path) == (OWNER, GROUP, mode)


def test_root_keeps_an_acl(save, path):
    give(path, OWNER, GROUP, 0o600)
    set_attribute(path, ACL, ONE_READER)
    before = access(path)
    save(path)
    assert os.getxattr(path, ACL) == ONE_READER
    assert access(path) == before


def test_an_acl_of_the_folder_opens_the_file_to_nobody_else(save, path):
    """New files inherit it, and the mode that is set afterwards would bring it into force."""
    path.chmod(0o640)
    set_attribute(path.parent, DEFAULT_ACL, ONE_READER)
    save(path)
    assert not has_acl(path)
    assert access(path)[2] == 0o640


def test_a_new_file_has_the_acl_of_its_folder(save, path):
    set_attribute(path.parent, DEFAULT_ACL, ONE_READER)
    path.unlink()
    save(path)
    assert has_acl(path)


def test_extended_attributes_of_the_user_are_kept(save, path):
    set_attribute(path, "user.origin", b"experiment 7")
    path.chmod(0o444)
    save(path)
    assert os.getxattr(path, "user.origin") == b"experiment 7"
    assert access(path)[2] == 0o444


def test_another_hard_link_keeps_the_old_contents(save, path):
    link = path.parent / "link"
    link.hardlink_to(path)
    old = path.read_bytes()
    save(path)
    assert link.read_bytes() == old != path.read_bytes()


def test_the_file_is_the_owners_before_anything_is_written(path, monkeypatch):
    """At every step, whoever may open the temporary file could open the old one."""
    give(path, OWNER, GROUP, 0o640)
    seen = []

    def watched(function):
        def watch(handle, *args):
            function(handle, *args)
            status = os.fstat(handle)
            permissions = stat.S_IMODE(status.st_mode)
            seen.append((status.st_uid, status.st_gid, permissions, status.st_size > 0))

        return watch

    for name in ("fchown", "fchmod", "fsync"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    save_in_python(path)
    assert seen[:3] == [
        (OWNER, GROUP, 0o600, False),
        (OWNER, GROUP, 0o640, False),
        (OWNER, GROUP, 0o640, True),
    ]


# --- another user -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o400], ids=oct)
def test_an_owner_keeps_group_and_mode(save, path, mode):
    give(path, OWNER, OTHER_GROUP, mode)
    with user(OWNER, GROUP, OTHER_GROUP):
        save(path)
    assert access(path) == (OWNER, OTHER_GROUP, mode)


def test_the_file_of_another_user_becomes_the_savers_and_keeps_group_and_mode(save, path):
    give(path, OWNER, GROUP, 0o4660)
    with user(NOBODY, OTHER_GROUP, GROUP):
        save(path)
    assert access(path) == (NOBODY, GROUP, 0o660)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o640, 0o600),  # the new group could not read it before
        (0o664, 0o644),
        (0o604, 0o600),  # nor could the old group, whose members are now among the others
        (0o666, 0o666),
        (0o2775, 0o755),
    ],
    ids=oct,
)
def test_without_the_group_nobody_gains_a_permission(save, path, mode, expected):
    give(path, OWNER, GROUP, mode)
    with user(OWNER, OTHER_GROUP):
        save(path)
    assert access(path) == (OWNER, OTHER_GROUP, expected)


def test_an_owner_keeps_an_acl(save, path):
    give(path, OWNER, GROUP, 0o600)
    set_attribute(path, ACL, ONE_READER)
    with user(OWNER, GROUP):
        save(path)
    assert os.getxattr(path, ACL) == ONE_READER


def test_without_the_group_an_acl_leaves_the_file_to_its_owner(save, path):
    """The entry of the group would speak of another one; without the ACL, the mask would."""
    give(path, OWNER, GROUP, 0o604)
    set_attribute(path, ACL, ONE_READER)
    with user(OWNER, OTHER_GROUP):
        save(path)
    assert access(path) == (OWNER, OTHER_GROUP, 0o600)
    assert not has_acl(path)


def test_an_acl_that_cannot_be_kept_leaves_the_file_to_its_owner(path, monkeypatch):
    """The mask permits the group to read, which the ACL does not."""
    give(path, OWNER, GROUP, 0o600)
    set_attribute(path, ACL, ONE_READER)

    def refuse(*args):
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patch:
        patch.setattr(os, "setxattr", refuse)
        save_in_python(path)
    assert access(path) == (OWNER, GROUP, 0o600)


def test_what_was_saved_can_be_loaded(save, path):
    give(path, OWNER, GROUP, 0o640)
    old = identity(cr.Network.load(path))
    save(path)
    assert identity(cr.Network.load(path)) != old
    assert os.listdir(path.parent) == [path.name]
