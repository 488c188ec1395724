"""A folder of bar files, and its files read and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from bar_files.errors import BarFileError
from bar_files.options import AS_WRITTEN, Reading
from bar_files.splits import without_splits
from bar_files.whole import complaint

if TYPE_CHECKING:
    from pathlib import Path

    from bar_files.columns import Columns

SUFFIXES: Final = (".csv.gz", ".csv", ".parquet")
KINDS: Final = "SYMBOL.csv, SYMBOL.csv.gz or SYMBOL.parquet files"

STRAYS: Final = 3
"""So many bars out of order, or one in a hundred, are wrong bars, which the caller drops; more are an order."""


def symbol_of(path: Path) -> str | None:
    """`AMD` of `AMD.csv`, `AMD.csv.gz` or `AMD.parquet`; None for any other file."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and not path.name.startswith("."):
            return path.name[: -len(suffix)]
    return None


def files_of(folder: Path) -> dict[str, Path]:
    """Symbol -> file of a folder of bars, sorted by symbol.

    Raises:
        BarFileError: the folder is missing, holds no bar file, or holds two files of one symbol.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise BarFileError(f"{folder}: {what}; --bars takes a folder that holds {KINDS}")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        symbol = symbol_of(path)
        if symbol is None:
            continue
        if symbol in files:
            raise BarFileError(f"{path}: {files[symbol].name} holds the same symbol; remove one of the two")
        files[symbol] = path
    if not files:
        raise BarFileError(f"{folder}: no bar files; put {KINDS} with bars there")
    return files


def read_file(path: Path, reading: Reading = AS_WRITTEN) -> Columns:
    """The bars of one file, single bars unchecked; an empty number becomes NaN.

    A file in another order than oldest first is sorted; a few bars out of order stay where they are.

    Raises:
        BarFileError: the file cannot be read, its bars as a whole cannot be 1-minute bars of New York's session, or a
            split lies inside them and `reading` does not say what to do about it.
    """
    symbol = symbol_of(path) or path.name
    columns = _read(path, symbol, reading)
    problem = complaint(columns, reading, lambda other: _read(path, symbol, other))
    if problem is not None:
        raise BarFileError(f"{path}: {problem}")
    late = int(np.count_nonzero(columns.start < np.maximum.accumulate(columns.start))) if len(columns) else 0
    if late > max(STRAYS, len(columns) // 100) or _is_newest_first(columns):
        columns = columns.take(np.argsort(columns.start, kind="stable"))
    return without_splits(path, columns, reading)


def _is_newest_first(columns: Columns) -> bool:
    return len(columns) > 1 and bool((np.diff(columns.start) <= 0).all())


def _read(path: Path, symbol: str, reading: Reading) -> Columns:
    if path.name.lower().endswith(".parquet"):
        from bar_files.parquet import read_parquet  # takes a tenth of a second to import

        return read_parquet(path, symbol, reading.timezone, bar_end=reading.bar_end)
    from bar_files.text import read_text  # as above

    return read_text(path, symbol, reading.timezone, bar_end=reading.bar_end)
