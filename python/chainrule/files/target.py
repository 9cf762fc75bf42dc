"""What a save replaces: where the file is, and what of the old one the new one keeps."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import NamedTuple

from chainrule.uninterrupted import at_once

ACL = "system.posix_acl_access"


class Target(NamedTuple):
    """The file that a path names, behind symbolic links, and its status if it is there."""

    path: str
    old: os.stat_result | None

    @property
    def folder(self) -> str:
        """The folder that holds the file."""
        return os.path.dirname(self.path)

    def temporary(self) -> str:
        """Return the name of a new file beside it."""
        return os.path.join(self.folder, f".chainrule-{os.urandom(8).hex()}.tmp")


def find(path: str) -> Target:
    """Look where `path` leads, without opening anything; OSError unless a file can be there."""
    if not path:
        raise ValueError("the path is empty (''), expected the name of a file")
    if os.path.basename(path) in ("", os.curdir, os.pardir):
        raise IsADirectoryError(errno.EISDIR, "Names a folder, expected a file", path)
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    except ValueError as error:  # a null character, or one that the file system cannot encode
        raise ValueError(f"{path!r} cannot be the name of a file: {error}") from error
    if old and not stat.S_ISREG(old.st_mode):
        raise FileExistsError(errno.EEXIST, "Exists, and is not a regular file", path)
    return Target(os.path.realpath(path), old)


def check_replaceable(path: str) -> None:
    """Raise OSError or ValueError where a save to `path` would fail for its place or permissions.

    An empty file is made beside it and removed: permissions, read-only file systems and limits on
    the length of names then show.
    """
    target = find(path)
    if not os.path.isdir(target.folder):
        raise FileNotFoundError(errno.ENOENT, f"There is no folder {target.folder!r}", path)
    if target.old and _is_protected(target.old, os.stat(target.folder)):
        raise PermissionError(
            errno.EPERM,
            f"The file is another user's, and nobody else may replace it in {target.folder!r}, "
            "which has the sticky bit",
            path,
        )
    temporary = target.temporary()
    made = map(os.open, (temporary,), (os.O_CREAT | os.O_EXCL | os.O_WRONLY,), (0o600,))
    try:
        at_once(map(os.close, made), map(os.unlink, (temporary,)))
    except OSError as error:
        reason = f"No file can be made in the folder {target.folder!r}: {error.strerror}"
        raise OSError(error.errno, reason, path) from error


def _is_protected(file: os.stat_result, folder: os.stat_result) -> bool:
    """Tell whether the sticky bit of `folder` keeps this user from replacing `file`."""
    if os.name != "posix" or not folder.st_mode & stat.S_ISVTX:
        return False
    return os.geteuid() not in (0, file.st_uid, folder.st_uid)


def keep_access(handle: int, target: Target) -> int:
    """Give a new empty file, which only its owner can open, what the old one had.

    User attributes, owner, group, permissions and ACL are kept as far as this process may set them.
    Where the group or the ACL cannot be kept, nobody is left a permission that they did not have.
    The special bits (setuid, setgid, sticky) are in the mode that is returned, to be set after the
    contents: writing clears them.
    """
    assert target.old is not None
    _copy_attributes(target.path, handle)
    owner, group = _keep_owner(handle, target.old)
    mode = stat.S_IMODE(target.old.st_mode)
    if not owner:
        mode &= ~stat.S_ISUID
    if not group:
        mode &= ~stat.S_ISGID
        # Members of the new group were among the others until now, those of the old one will be.
        both = mode >> 3 & mode & 0o7
        mode = mode & ~0o077 | both << 3 | both
    if not _keep_acl(target.path, handle, group):
        mode &= ~0o077
    os.fchmod(handle, mode & 0o777)
    return mode


def _copy_attributes(path: str, handle: int) -> None:
    """Copy the extended attributes of the namespace "user", where the system has them."""
    if not hasattr(os, "listxattr"):
        return
    with contextlib.suppress(OSError):
        for name in os.listxattr(path):
            if name.startswith("user."):
                with contextlib.suppress(OSError):
                    os.setxattr(handle, name, os.getxattr(path, name))


def _keep_owner(handle: int, old: os.stat_result) -> tuple[bool, bool]:
    """Keep owner and group, or else the group; return which of them the new file has."""
    for owner in (old.st_uid, -1):
        try:
            os.fchown(handle, owner, old.st_gid)
            break
        except OSError:  # not permitted, or the file system has no owners
            continue
    new = os.fstat(handle)
    return new.st_uid == old.st_uid, new.st_gid == old.st_gid


def _keep_acl(path: str, handle: int, same_group: bool) -> bool:
    """Keep the POSIX ACL; return whether the mode alone then says no more than the old file's.

    With an ACL, the group's bits of the mode are its mask, which may permit more than the group
    has. Without one, the ACL that the new file may have from its folder has to go.
    """
    if not hasattr(os, "getxattr"):
        return True
    try:
        acl = os.getxattr(path, ACL)
    except OSError:  # it has none, or the file system knows none
        with contextlib.suppress(OSError):
            os.removexattr(handle, ACL)
        return True
    try:
        if same_group:
            os.setxattr(handle, ACL, acl)
            return True
        os.removexattr(handle, ACL)
    except OSError:
        pass
    return False
