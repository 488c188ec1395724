"""Whether a folder or a file may be trusted: nobody but this user and root can change or replace it.

A pickle runs code when it is loaded.  A user who can write a model file, or replace the folder that it is in, could run
code as this user.  So every folder on the way is checked, and every symbolic link:

- Each belongs to this user or to root.
- Others may write neither the file nor its folder.  A folder further up may be writable if its sticky bit is set (as in
  `/tmp`, where only the owner can rename what is in it), or for a group that has no other member (as with umask 002).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Final

from trading.base.errors import UserError

OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
ACCESS_LIST: Final = "system.posix_acl_access"
MAX_LINKS: Final = 40


class UntrustedError(UserError):
    """Others may change the models: nothing of them is loaded.  No ModelError: an older model is not used instead."""


def refuse_untrusted(path: Path) -> None:
    """Raise UntrustedError if others may change or replace `path`; what is missing is trusted.

    Raises:
        UntrustedError: its text names the file or folder, and how to correct it.
    """
    reason = distrust(path)
    if reason is not None:
        raise UntrustedError(reason)


def distrust(path: Path) -> str | None:
    """Why `path` cannot be trusted, in one line with the remedy; None if it can."""
    left = list(reversed(path.absolute().parts[1:]))
    at, links = Path(path.absolute().anchor), 0
    reason = _reason(at, at.lstat(), is_last=not left)
    while left and reason is None:
        name = left.pop()
        if name == "..":
            at = at.parent  # without links in `at`, so this is the folder that the system goes to
            continue
        try:
            status = (at / name).lstat()
            if not stat.S_ISLNK(status.st_mode):
                at /= name
                reason = _reason(at, status, is_last=not left)
                continue
            target = Path(os.readlink(at / name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return f"{at / name}: {os.strerror(error.errno or 0)}, so it cannot be trusted; change its permissions"
        links += 1
        if links > MAX_LINKS:
            return f"{path}: its symbolic links lead in a circle; name another folder"
        reason = _wrong_owner(at / name, status)
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        at = Path(target.anchor) if target.is_absolute() else at
    return reason


def _reason(path: Path, status: os.stat_result, *, is_last: bool) -> str | None:
    if reason := _wrong_owner(path, status):
        return reason
    if not status.st_mode & OTHERS_MAY_WRITE:
        return None
    if not is_last and (status.st_mode & stat.S_ISVTX or _for_this_user_alone(path, status)):
        return None
    return f"{path}: other users may write it, so it cannot be trusted; check it and chmod go-w it"


def _wrong_owner(path: Path, status: os.stat_result) -> str | None:
    if status.st_uid in (0, os.geteuid()):
        return None
    return (
        f"{path}: it belongs to {_name(status.st_uid)}, so it cannot be trusted; check it and chown it to "
        f"{_name(os.geteuid())}, or run as {_name(status.st_uid)}"
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _for_this_user_alone(path: Path, status: os.stat_result) -> bool:
    """Whether only the group may write, it has no member but this user and root, and there is no access list."""
    if status.st_mode & stat.S_IWOTH:
        return False
    try:
        if hasattr(os, "listxattr") and ACCESS_LIST in os.listxattr(path):
            return False  # the group's bits are then those of the whole list
    except OSError:
        pass  # this file system has no access lists
    ours = {0, os.geteuid()}
    others = {user.pw_name for user in pwd.getpwall() if user.pw_uid not in ours}
    primary = {user.pw_gid for user in pwd.getpwall() if user.pw_uid not in ours}
    try:
        members = set(grp.getgrgid(status.st_gid).gr_mem)
    except KeyError:
        return False  # the members of a group without a name are unknown
    return status.st_gid not in primary and not members & others
