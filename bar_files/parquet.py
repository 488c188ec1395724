"""Reading of bar files in Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bar_files import stamps
from bar_files.columns import NUMBERS, Columns, missing_column, places
from bar_files.errors import BarFileError, unreadable
from bar_files.text import check_symbol, of_text

if TYPE_CHECKING:
    from pathlib import Path


def read_parquet(path: Path, symbol: str, zone: str | None, *, bar_end: bool) -> Columns:
    """The bars of a `.parquet` file.

    Raises:
        BarFileError: as `bar_files.text.read_text`.
    """
    try:
        table = pq.ParquetFile(str(path)).read()
    except FileNotFoundError:
        raise BarFileError(f"{path}: no such file; download its bars again") from None
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from None
    found = places(table.column_names)
    problem = missing_column(found)
    if problem is None and not table.num_rows:
        problem = "holds no bars; remove the file or download its bars"
    if problem is not None:
        raise BarFileError(f"{path}: {problem}")
    try:
        check_symbol(table[found["symbol"][0]] if "symbol" in found else None, symbol)
        instants = _instants([table[name].combine_chunks() for name in found["timestamp"]], zone)
        numbers = [_numbers(table[found[name][0]], name) for name in NUMBERS]
    except BarFileError as error:
        raise BarFileError(f"{path}: {error}") from None
    return Columns(stamps.starts_of(instants, bar_end=bar_end), *numbers)


def _instants(parts: list[pa.Array], zone: str | None) -> NDArray[np.int64]:
    nulls = max(part.null_count for part in parts)
    if nulls:
        raise BarFileError(f"timestamp is empty in {nulls} row(s); write an instant with its time zone")
    kind = parts[0].type
    if len(parts) > 1:
        texts = [part.cast(pa.string()) for part in parts]
        return of_text(pa.compute.binary_join_element_wise(*texts, " "), zone, first_line=1)
    if pa.types.is_date(kind):
        parts, kind = [parts[0].cast(pa.timestamp("ns"))], pa.timestamp("ns")
    if pa.types.is_timestamp(kind):
        return _of_timestamps(parts[0], zone)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        wide = parts[0].cast(pa.int64() if pa.types.is_integer(kind) else pa.float64())
        return stamps.of_numbers(wide.to_numpy(zero_copy_only=False), zone)
    return of_text(parts[0].cast(pa.string()), zone, first_line=1)


def _of_timestamps(column: pa.Array, zone: str | None) -> NDArray[np.int64]:
    """Instants of Arrow's timestamps; with a time zone of their own, their clock is the one of that zone."""
    own = column.type.tz
    if own is None and zone is None:
        raise BarFileError(f"timestamp has no time zone; {stamps.ZONE_WANTED}")
    instants: NDArray[np.int64] = column.cast(pa.timestamp("ns", own)).cast(pa.int64()).to_numpy(zero_copy_only=False)
    if zone is None:
        return instants
    if own is not None:
        instants = instants + stamps.offsets_at(instants, own)
    return stamps.instants_of_clock(instants, zone)


def _numbers(column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    try:
        numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise BarFileError(f"column {name!r} is of type {column.type}; it must hold numbers") from None
    return numbers
