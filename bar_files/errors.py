"""The error of a file of bars that cannot be used, and the line about a package that is not installed."""

from __future__ import annotations

import sys
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


def missing_package(error: ModuleNotFoundError) -> str:
    """One line that names a package that is not installed, and says how to run the same command with it.

    Raises:
        ModuleNotFoundError: it is a module of this project, so nothing is missing that could be installed.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "bar_files", "config", "paper_exchange", "trading"):
        raise error
    return (
        f"the package {package} is not installed for {sys.executable}: run .venv/bin/python in its place (README.md "
        "says how to make .venv), or pip install -r requirements.txt"
    )
