"""Where settings come from: files (`.env`), the environment and the command line; names that are misspelt settings."""

from __future__ import annotations

import difflib
import io
import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from dotenv.parser import parse_stream

from trading.base.errors import UserError
from trading.base.files import replacing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

ALIKE: Final = 0.85
"""Similarity (`difflib`) from which a name in the environment counts as a misspelt one."""

PLAIN: Final = 10
"""Length below which a name is so plain that another program may well have a similar one."""

PLAIN_VALUE: Final = re.compile(r"[A-Za-z0-9_./+=:@%,-]*")
"""Values that are written without quotes."""


class Assignment(NamedTuple):
    """A line `NAME=value`: the value, and the number of the line."""

    value: str
    line: int


def read_env_file(path: Path, *, may_be_missing: bool) -> dict[str, Assignment]:
    """The assignments of a file by name, the last one of each; none if it may be missing and is.

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
    found: dict[str, Assignment] = {}
    for line in parse_stream(io.StringIO(text)):
        original = line.original.string  # never shown: it may hold a key; begins with the blank lines before it
        number = line.original.line + original[: len(original) - len(original.lstrip())].count("\n")
        if line.key is not None and line.value is not None:
            found[line.key] = Assignment(line.value, number)
        elif line.key is not None or line.error:
            raise UserError(f"{path}: line {number} is not an assignment; write it as NAME=value")
    return found


def misspelt(names: Iterable[str], known: Collection[str]) -> tuple[str, str] | None:
    """The first of `names` that is almost one of `known`, and that one; None if there is none.

    Other programs have names of their own, such as LOG_DIR.  So a name that is short, or that of a folder, counts only
    if its letters are those of the setting in another order.  No name counts where the setting itself is set too.
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


class Source(NamedTuple):
    """Where a value is from, and its line if it is from a file."""

    name: str
    line: int | None = None

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}, line {self.line}"


def assigned(
    env_file: Path,
    environment: Mapping[str, str],
    given: Mapping[str, object],
    known: Collection[str],
    *,
    may_be_missing: bool,
) -> tuple[dict[str, object], dict[str, Source]]:
    """The values that are given for settings, and the source of each; an empty value counts as not given.

    Args:
        env_file: the file of settings.
        environment: variables of the process; only names of settings count.
        given: values of the command line, which override the environment, which overrides the file; None: not given.
        known: names of the settings.
        may_be_missing: whether the file need not exist.

    Raises:
        UserError: the file cannot be read, a name in it is unknown, or one of the environment is a misspelt setting.
    """
    from_file = {k: v for k, v in read_env_file(env_file, may_be_missing=may_be_missing).items() if v.value != ""}
    for name in from_file:
        if name not in known:
            raise UserError(f"{env_file}: {name} is not a setting; {meant(name, known)}")
    if wrong := misspelt((k for k, v in environment.items() if v != ""), known):
        raise UserError(
            f"the environment: {wrong[0]} is not a setting; did you mean {wrong[1]}? Correct it, or unset it if it "
            "belongs to another program"
        )
    from_environment = {k: v for k, v in environment.items() if k in known and v != ""}
    from_command = {k: v for k, v in given.items() if v is not None}
    values = {**{k: v.value for k, v in from_file.items()}, **from_environment, **from_command}
    sources = {
        **{name: Source(str(env_file), one.line) for name, one in from_file.items()},
        **dict.fromkeys(from_environment, Source("the environment")),
        **dict.fromkeys(from_command, Source("the command line")),
    }
    return values, sources


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Set `values` in a file of settings, which only its owner may read from then on; all other lines stay.

    The file is written aside, synced and renamed, so it is never half-written.

    Raises:
        UserError: the file is not UTF-8 text, or a value cannot be written in it.
        OSError: it cannot be read or written; it is unchanged.
    """
    path = path.resolve()  # a link stays a link
    try:
        before = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    except UnicodeDecodeError:
        raise UserError(f"{path}: it is not UTF-8 text; save it as UTF-8") from None
    text = with_values(before, values)
    found = {line.key: line.value for line in parse_stream(io.StringIO(text)) if line.key is not None}
    for name, value in values.items():
        if found.get(name) != value:
            raise UserError(f"{path}: the value of {name} cannot be written in it; choose one without line breaks")
    with replacing(path) as file:
        os.fchmod(file.fileno(), 0o600)  # before anything is in it
        file.write(text.encode())


def with_values(text: str, values: Mapping[str, str]) -> str:
    """The text of a file of settings with `values` in place of its lines of these names, or after its last line."""
    left, parts = dict(values), []
    for line in parse_stream(io.StringIO(text)):
        original = line.original.string
        if line.key not in values:
            parts.append(original)
        else:
            parts.append(original[: len(original) - len(original.lstrip())])
            if line.key in left:
                parts.append(f"{line.key}={_quoted(left.pop(line.key))}\n")
    kept = "".join(parts)
    if kept and not kept.endswith("\n"):
        kept += "\n"
    return kept + "".join(f"{name}={_quoted(value)}\n" for name, value in left.items())


def _quoted(value: str) -> str:
    if PLAIN_VALUE.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
