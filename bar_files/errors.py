"""The error of a file of bars that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class BarFileError(ValueError):
    """A file or folder of bars that cannot be used; the message is one line with the file, the field and the remedy."""


def unreadable(path: Path, error: Exception) -> BarFileError:
    """The error of a file that cannot be opened or parsed, on one line."""
    if isinstance(error, PermissionError):
        return BarFileError(f"{path}: its permissions forbid reading it; change them (chmod u+r)")
    line = " ".join(str(error).split())
    return BarFileError(f"{path}: cannot be read ({line}); remove it or download it again")
