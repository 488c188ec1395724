"""Files of settings (`.env`), and names in the environment that are misspelt settings."""

from __future__ import annotations

import difflib
import io
import os
from typing import TYPE_CHECKING, Final

from dotenv.parser import parse_stream

from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

ALIKE: Final = 0.85
"""Similarity (`difflib`) from which a name in the environment counts as a misspelt one."""

PLAIN: Final = 10
"""Length below which a name is so plain that another program may well have a similar one."""


def read_env_file(path: Path, *, may_be_missing: bool) -> dict[str, str]:
    """The assignments of a file; none if it may be missing and is.

    Raises:
        UserError: it is missing or cannot be read, or a line is not an assignment.
    """
    try:
        if not path.is_file() and not path.is_fifo():
            if may_be_missing or path == type(path)(os.devnull):
                return {}
            what = "is a folder, not a settings file" if path.is_dir() else "no such settings file"
            raise UserError(f"{path}: {what}; correct the name, or leave --env-file out")
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte-order mark
    except UnicodeDecodeError:
        raise UserError(f"{path}: it is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise UserError(
            f"{path}: the settings file cannot be read ({reason}); change its permissions, or name another file"
        ) from None
    found: dict[str, str] = {}
    for line in parse_stream(io.StringIO(text)):
        if line.key is not None and line.value is not None:
            found[line.key] = line.value
        elif line.key is not None or line.error:
            original = line.original.string  # never shown: it may hold a key; begins with the blank lines before it
            number = line.original.line + original[: len(original) - len(original.lstrip())].count("\n")
            raise UserError(f"{path}: line {number} is not an assignment; write it as NAME=value")
    return found


def misspelt(names: Iterable[str], known: Collection[str]) -> tuple[str, str] | None:
    """The first of `names` that is almost one of `known`, and that one; None if there is none.

    Other programs have names of their own, such as LOG_DIR.  So a plain name, or one of a folder, only counts if the
    letters are the same in another order, and no name counts beside the setting itself.
    """
    names = set(names)
    for name in sorted(names - set(known)):
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.7) if name.isupper() else []
        for setting in close:
            is_plain = len(setting) < PLAIN or setting.endswith("_DIR")
            alike = not is_plain and difflib.SequenceMatcher(None, name, setting).ratio() >= ALIKE
            if setting not in names and (alike or sorted(name) == sorted(setting)):
                return name, setting
    return None


def meant(name: str, known: Collection[str]) -> str:
    """A hint on an unknown name: the known one that is most like it, or where all are listed."""
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f"did you mean {close[0]}?" if close else "see docs/settings.md"
