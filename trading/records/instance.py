"""The instance id of a logs folder, in `instance.json`, which the names of its trader's orders carry."""

from __future__ import annotations

import os
import re
import secrets
from typing import TYPE_CHECKING, Final

import orjson

from trading.base.errors import UserError
from trading.base.files import replacing, why_unusable

if TYPE_CHECKING:
    from pathlib import Path

INSTANCE_FILE: Final = "instance.json"

MOST_BYTES: Final = 100_000


def instance_of(folder: Path) -> str:
    """The instance id of a logs folder, created at its first start.  A copy of the folder gets an id of its own.

    The file holds its own inode number, which a copy does not share.

    Raises:
        UserError: the file cannot be read or written.
    """
    path = folder / INSTANCE_FILE
    try:
        if (stored := stored_instance(path)) is not None:
            return stored
        instance = f"t{secrets.token_hex(3)}"
        write_instance(path, instance)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; mend its permissions or the disk and run again") from error
    return instance


def write_instance(path: Path, instance: str) -> None:
    """Write the file of an instance id, durably.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as file:
        file.write(orjson.dumps({"instance": instance, "inode": os.fstat(file.fileno()).st_ino}))


def stored_instance(path: Path) -> str | None:
    """The id in the file; None if there is none, it is damaged, or of the folder from which this one was copied."""
    try:
        return read_instance(path)
    except ValueError:
        return None


def read_instance(path: Path) -> str | None:
    """The id in the file; None if there is none, or it is of the folder from which this one was copied.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    if damage := why_unusable(path, MOST_BYTES):
        raise ValueError(damage)
    try:
        with open(path, "rb") as file:
            content = file.read()
            inode = os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return None
    try:
        fields = dict(orjson.loads(content))
    except (ValueError, TypeError):
        raise ValueError("it is no record of an instance") from None
    instance, own = fields.get("instance"), fields.get("inode")
    if not isinstance(instance, str) or not re.fullmatch(r"[a-z][a-z0-9]{1,11}", instance) or type(own) is not int:
        raise ValueError("it names no instance")
    return instance if own == inode else None
