"""What command lines name: the folders of a run, and how the files of `--bars` are read."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bar_files.errors import BarFileError
from bar_files.options import Reading, reading_of
from trading.base.errors import UserError

if TYPE_CHECKING:
    import argparse

    from config import FolderSettings

MIN_FREE_BYTES: Final = 32_000_000
"""Free disk space that a run needs; the predictions of one day alone take about 10 MB."""


def reading_from(options: argparse.Namespace) -> Reading:
    """How a command line says that the files of `--bars` are to be read.

    Raises:
        UserError: there is no such time zone, or the options stand without `--bars`.
    """
    try:
        return reading_of(options)
    except BarFileError as error:
        raise UserError(str(error)) from None


def check_bars_apart(bars: Path | None, folders: FolderSettings) -> None:
    """Check that the folder of `--bars` does not lie in a folder that the run writes, and may rename.

    Raises:
        UserError: it does.
    """
    for name in ("DATA_DIR", "MODELS_DIR", "LOGS_DIR"):
        place = Path(os.path.realpath(getattr(folders, name)))
        if bars is not None and Path(os.path.realpath(bars)).is_relative_to(place):
            raise UserError(f"--bars {bars}: it is in {name}={place}, which this run writes; name another folder there")


def check_folder(folder: Path, *, by_creating: bool = False) -> None:
    """Check that the files of a day can be written to `folder`, which need not exist yet, and fit on its disk.

    Args:
        by_creating: create and remove something there too, which finds what permissions do not show.

    Raises:
        UserError: the folder cannot be written, or its disk is too full.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    where = "it" if existing == folder else str(existing)
    if not existing.is_dir():
        raise UserError(f"{folder}: {where} is a file, not a folder; choose another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: {where} cannot be written; change its permissions or choose another folder")
    try:
        if by_creating:
            tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        why = os.strerror(error.errno or errno.EIO)
        raise UserError(f"{folder}: nothing can be created in {where} ({why}); choose another folder") from None
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"{folder}: its disk has {free / 1e6:.1f} MB left, a day needs {MIN_FREE_BYTES / 1e6:.0f}: free some "
            "space, or choose another folder"
        )
