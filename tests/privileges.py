"""Root may read and write everything: tests of permissions give that up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def unprivileged_folder() -> Iterator[Path]:
    """A new folder, outside of root's own, and until its end a user who is not root."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    try:
        if root:
            try:
                os.chown(folder, NOBODY, -1)
                os.seteuid(NOBODY)
                os.listdir(folder)
            except OSError as error:
                pytest.skip(f"root cannot become another user here: {error}")
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)


@contextmanager
def user(uid: int, group: int, *groups: int) -> Iterator[None]:
    """Until the end of the block, be another user in these groups. Skips where one is not root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    before = os.getegid(), os.getgroups()
    try:
        os.setgroups(groups)
        os.setegid(group)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A new folder in which every user may replace every file."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o777)
        yield folder
    finally:
        shutil.rmtree(folder)
