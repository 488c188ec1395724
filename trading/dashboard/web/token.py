"""The access token: made here, shown once, and stored as a hash that no reader of the file can use."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from typing import TYPE_CHECKING, Final

import orjson

from trading.base.errors import UserError
from trading.base.files import read_regular

if TYPE_CHECKING:
    from pathlib import Path

BYTES: Final = 32
"""Random bytes of a token: 256 bits, which nobody guesses, so a plain SHA-256 of it is safe."""

MOST_BYTES: Final = 4096
"""Bytes of its file, which has some 80."""

PRIVATE: Final = 0o600
REMEDY: Final = "make a new one with --make-token"


def make_token(path: Path) -> str:
    """Make a token and write its hash; returns the token, which is stored nowhere.

    Raises:
        UserError: the file is there already.
        OSError: it cannot be written.
    """
    token = secrets.token_urlsafe(BYTES)
    content = orjson.dumps({"sha256": _digest(token)}, option=orjson.OPT_APPEND_NEWLINE)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError:
        raise UserError(f"{path}: is there already; remove it to make a new token, which ends the old one") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return token


class TokenCheck:
    """Compares tokens with the hash of a file, in constant time."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    @classmethod
    def of(cls, path: Path) -> TokenCheck:
        """Read the hash of a file.

        Raises:
            UserError: it is missing or damaged, or other users may read or change it.
        """
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            content = read_regular(path, MOST_BYTES)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from None
        if mode & 0o077:
            raise UserError(f"{path}: other users may read or change it (mode {mode:o}); run chmod 600 {path}")
        try:
            digest = orjson.loads(content)["sha256"]
        except (ValueError, KeyError, TypeError):
            digest = None
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise UserError(f"{path}: is no token file; remove it, and {REMEDY}")
        return cls(digest)

    def fits(self, token: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(_digest(token), self._digest)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
