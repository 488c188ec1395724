"""Reading and writing of CSV data files with pyarrow, with one-line messages for damaged files.

A number is written in the shortest form that reads back to the same float64, so files are exact.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from trading.base.errors import DataError
from trading.market.column_types import INSTANT, NUMBER, SYMBOL, WHOLE, ColumnType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from trading.base.arrays import Floats, Ints

SUFFIXES = (".csv.gz", ".csv")

_ARROW: dict[ColumnType, pa.DataType] = {
    SYMBOL: pa.dictionary(pa.int32(), pa.string()),
    INSTANT: pa.timestamp("ns", "UTC"),
    NUMBER: pa.float64(),
    WHOLE: pa.int8(),
}
_WANTED: dict[ColumnType, str] = {
    INSTANT: "ISO 8601 with its offset, like 2018-02-16T14:30:00Z",
    NUMBER: "a plain number",
    WHOLE: "0 or 1",
}


def symbol_of(path: Path) -> str | None:
    """`AMD` of `AMD.csv` or `AMD.csv.gz`; None for any other file."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix) and not path.name.startswith("."):
            return path.name.removesuffix(suffix)
    return None


def read_table(path: Path, types: Mapping[str, ColumnType], remedy: str) -> pa.Table:
    """The columns `types` of a CSV file with a header; other columns are ignored.

    Args:
        path: a `.csv` or `.csv.gz` file.
        types: column name -> type, with `symbol` (every line must hold the symbol of the file name) and `timestamp`.
        remedy: what the user can do about a damaged file, for example "download its bars again".

    Raises:
        DataError: the file is missing, empty or damaged, lacks a column, or holds an unreadable value.
    """
    try:
        table = pacsv.read_csv(
            str(path),
            # pyarrow names the row of a bad value only when it reads with one thread; read several files in parallel.
            read_options=pacsv.ReadOptions(use_threads=False),
            convert_options=pacsv.ConvertOptions(column_types={name: _ARROW[kind] for name, kind in types.items()}),
        )
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {remedy}") from None
    except PermissionError:
        raise DataError(f"{path}: its permissions forbid reading it; change them (chmod u+r)") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError, EOFError, OSError) as error:
        raise DataError(f"{path}: {_explain(path, str(error), types, remedy)}") from None
    missing = [name for name in types if table.column_names.count(name) != 1]
    if missing:
        raise DataError(
            f"{path}: column {missing[0]!r} is missing or occurs twice; the header must be {','.join(types)}"
        )
    if not table.num_rows:
        raise DataError(f"{path}: holds only a header; remove the file or {remedy}")
    _check_symbol(path, table)
    if table["timestamp"].null_count:
        row = int(np.flatnonzero(table["timestamp"].is_null().to_numpy())[0]) + 2
        raise DataError(f"{path}: line {row}: timestamp is empty; write {_WANTED[INSTANT]}")
    return table.select(list(types))


def _check_symbol(path: Path, table: pa.Table) -> None:
    expected = symbol_of(path)
    found = pc.unique(table["symbol"].cast(pa.string())).to_pylist()
    wrong = [value for value in found if value != expected]
    if wrong:
        raise DataError(f"{path}: symbol is {wrong[0]!r}, not {expected!r}; a file holds only the symbol of its name")


def _explain(path: Path, message: str, types: Mapping[str, ColumnType], remedy: str) -> str:
    """pyarrow's message about a file as line, field, value and remedy."""
    message = " ".join(message.split())
    if "Empty CSV" in message:
        return f"is empty; remove the file or {remedy}"
    bad = re.match(r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to [^:]*: ?(.*)", message)
    if bad is None:
        return f"cannot be read ({message}); {remedy}"
    column, line, problem = int(bad[1]), bad[2], bad[3]
    names = _header(path)
    field = names[column] if column < len(names) else f"column {column + 1}"
    quoted = re.search(r"'(.*?)'", problem)
    value = quoted[1] if quoted else problem
    wanted = _WANTED.get(types.get(field, NUMBER), "a plain value")
    return f"line {line or '?'}: {field} is {value!r}; write {wanted}"


def _header(path: Path) -> list[str]:
    """The column names of a file."""
    with pa.input_stream(str(path)) as stream:
        first_line: bytes = stream.read(4096).split(b"\n")[0]
    return first_line.decode("utf-8", "replace").strip().replace('"', "").split(",")


def instants_of(column: pa.ChunkedArray) -> Ints:
    """A column of type `INSTANT` as nanoseconds since 1970-01-01 UTC."""
    instants: Ints = column.combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False)
    return instants


def numbers_of(column: pa.ChunkedArray) -> Floats:
    """A column of numbers as float64, NaN where a value is empty."""
    numbers: Floats = column.to_numpy()
    return numbers


def format_rows(symbol: str, start: Ints, columns: list[NDArray[Any]]) -> bytes:
    """The lines of a CSV file without its header: `symbol`, the instant in UTC (`2018-02-16T14:30:00Z`), `columns`.

    Args:
        symbol: the stock.
        start: nanoseconds since 1970-01-01 UTC, whole seconds.
        columns: float64 or int8 arrays as long as `start`.
    """
    seconds = pa.array(start // 1_000_000_000).cast(pa.timestamp("s"))  # arrow formats a time zone slowly
    written = pc.binary_join_element_wise(pc.replace_substring(seconds.cast(pa.string()), " ", "T"), "Z", "")
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(start), np.int32)), pa.array([symbol]))
    arrays = [names.cast(pa.string()), written, *(pa.array(column) for column in columns)]
    table = pa.table(arrays, names=[str(i) for i in range(len(arrays))])
    sink = io.BytesIO()
    pacsv.write_csv(table, sink, pacsv.WriteOptions(include_header=False, quoting_style="none"))
    return sink.getvalue()
