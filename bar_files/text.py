"""Reading of bar files in CSV: columns in any order, other separators, stamps as text, and one-line messages."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from bar_files import stamps
from bar_files.columns import HEADER, NUMBERS, Columns, missing_column, places
from bar_files.errors import BarFileError, unreadable

if TYPE_CHECKING:
    from pathlib import Path

SEPARATORS: Final = ",;\t|"
NO_BARS: Final = "holds a header but no bars; remove the file or download its bars"
INSTANT: Final = pa.timestamp("ns", "UTC")
SYMBOL: Final = pa.dictionary(pa.int32(), pa.string())

_OFFSET: Final = r"\s*(Z|z|UTC|[+-]\d\d:?\d\d|[+-]\d\d)$"
_COMPACT: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:[ T]?(\d\d):?(\d\d)(?::?(\d\d))?)?")
_AMERICAN: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(.*)")
_GROUPED: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d*,\d+")


def read_text(path: Path, symbol: str, zone: str | None, *, bar_end: bool) -> Columns:
    """The bars of a `.csv` or `.csv.gz` file with a header.

    Raises:
        BarFileError: the file is missing, empty or damaged, lacks a column, holds an unreadable value, or holds
            another symbol.
    """
    header, separator = _header(path)
    found = places(header)
    problem = missing_column(found)
    if problem is not None and not set(found) & {"timestamp", *NUMBERS}:
        problem = f"line 1 is no header ({','.join(header)[:60]!r}); the header must be {HEADER}"
    if problem is not None:
        raise BarFileError(f"{path}: {problem}")
    strings = {name: pa.string() for names in found.values() for name in names}
    fast = strings | {found[name][0]: pa.float64() for name in NUMBERS}
    if "symbol" in found:
        fast[found["symbol"][0]] = SYMBOL
    if zone is None and len(found["timestamp"]) == 1:
        fast[found["timestamp"][0]] = INSTANT
    try:
        table = _table(path, separator, fast)
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            raise BarFileError(f"{path}: {NO_BARS}") from None
        try:
            table = _table(path, separator, strings)
        except pa.ArrowInvalid:
            raise unreadable(path, error) from None
    if not table.num_rows:
        raise BarFileError(f"{path}: {NO_BARS}")
    try:
        check_symbol(table[found["symbol"][0]] if "symbol" in found else None, symbol)
        instants = _instants([table[name].combine_chunks() for name in found["timestamp"]], zone)
        numbers = [_numbers(table[found[name][0]].combine_chunks(), name, separator) for name in NUMBERS]
    except BarFileError as error:
        raise BarFileError(f"{path}: {error}") from None
    return Columns(stamps.starts_of(instants, bar_end=bar_end), *numbers)


def _table(path: Path, separator: str, types: dict[str, pa.DataType]) -> pa.Table:
    try:
        return pacsv.read_csv(
            str(path),
            read_options=pacsv.ReadOptions(use_threads=False),
            parse_options=pacsv.ParseOptions(delimiter=separator),
            convert_options=pacsv.ConvertOptions(column_types=types, include_columns=list(types)),
        )
    except (pa.ArrowKeyError, OSError, EOFError) as error:
        raise unreadable(path, error) from None


def _header(path: Path) -> tuple[list[str], str]:
    """The names of the columns, and the separator."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            beginning: bytes = stream.read(8192)  # arrow would unpack a megabyte
    except FileNotFoundError:
        raise BarFileError(f"{path}: no such file; download its bars again") from None
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from None
    beginning = beginning.removeprefix(b"\xef\xbb\xbf")
    if not beginning.strip():
        raise BarFileError(f"{path}: is empty; remove it, or give it the header {HEADER} and bars")
    line = re.split(rb"\r\n|\n|\r", beginning)[0]
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise BarFileError(f"{path}: cannot be read (it is not text in UTF-8); save it as CSV in UTF-8")
    separator = max(SEPARATORS, key=text.count)
    return next(csv.reader([text], delimiter=separator)), separator


def check_symbol(column: pa.ChunkedArray | None, symbol: str) -> None:
    """Refuse a file with a line of another symbol than the one in its name; a file without the column is taken for it.

    Raises:
        BarFileError: the message does not name the file.
    """
    if column is None:
        return
    found = (value for part in column.chunks for value in pc.unique(part).cast(pa.string()).to_pylist())
    wrong = [value for value in found if value != symbol]
    if wrong:
        raise BarFileError(f"symbol is {wrong[0]!r}, not {symbol!r}; a file holds only the symbol of its name")


def _instants(parts: list[pa.Array], zone: str | None) -> NDArray[np.int64]:
    nulls = max(part.null_count for part in parts)
    empty = nulls or (pa.types.is_string(parts[0].type) and pc.any(pc.equal(parts[0], "")).as_py())
    if empty:
        rows = nulls or int(pc.sum(pc.equal(parts[0], "")).as_py())
        raise BarFileError(f"timestamp is empty in {rows} row(s); write {stamps.WANTED}")
    if parts[0].type == INSTANT:
        instants: NDArray[np.int64] = parts[0].cast(pa.int64()).to_numpy(zero_copy_only=False)
        return instants
    return of_text(pc.binary_join_element_wise(*parts, " ") if len(parts) > 1 else parts[0], zone)


def _numbers(column: pa.Array, name: str, separator: str) -> NDArray[np.float64]:
    """A column of numbers; empty ones are NaN, separators of thousands and decimal commas are understood."""
    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        try:
            column = pc.replace_with_mask(column, pc.equal(column, ""), pa.scalar("nan")).cast(pa.float64())
        except pa.ArrowInvalid:
            values = column.to_pylist()
            decimal = separator != "," and _has_decimal_commas(values)
            grouped = separator == "," or (not decimal and _has_groups(values))
            return np.array(
                [_number(value, row, name, decimal, grouped) for row, value in enumerate(values, 2)], dtype=np.float64
            )
    numbers: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return numbers


def _number(value: str, row: int, name: str, decimal: bool, grouped: bool) -> float:
    plain = value.removeprefix("$")
    if decimal and _DECIMAL_COMMA.fullmatch(plain):
        plain = plain.replace(",", ".")
    elif grouped and _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    try:
        return float(plain) if plain else np.nan
    except ValueError:
        raise BarFileError(f"row {row}: {name} is {value!r}; write a plain number, such as 12.34") from None


def _has_decimal_commas(column: list[str]) -> bool:
    """Whether a comma is certainly a decimal comma: 12,5 and never 1,234,567 or 1,234.5."""
    certain = any(_DECIMAL_COMMA.fullmatch(value) and not _GROUPED.fullmatch(value) for value in column)
    return certain and not _has_groups(column)


def _has_groups(column: list[str]) -> bool:
    """Whether a comma certainly separates thousands."""
    return any(_GROUPED.fullmatch(value) and (value.count(",") > 1 or "." in value) for value in column)


# Stamps


def of_text(texts: pa.Array, zone: str | None, first_line: int = 2) -> stamps.Ints:
    """Instants of stamps as text.

    Args:
        texts: strings without null.
        zone: the clock of the stamps, whatever offset they have; None: their offset.
        first_line: the number of the first stamp, for messages.

    Raises:
        BarFileError: a stamp cannot be read, or has no offset although `zone` is None.
    """
    if pc.all(pc.match_substring_regex(texts, r"^\d{9,10}(\.\d+)?$|^\d{12,13}$|^\d{15,16}$|^\d{18,19}$")).as_py():
        whole = not pc.any(pc.match_substring(texts, ".")).as_py()
        return stamps.of_numbers(texts.cast(pa.int64() if whole else pa.float64()).to_numpy(zero_copy_only=False), zone)
    has_offset = pc.match_substring_regex(texts, _OFFSET)
    # A date such as 2018-02-16 also ends like an offset.
    has_offset = pc.and_(has_offset, pc.match_substring(texts, ":"))
    if zone is None and not pc.all(has_offset).as_py():
        row = int(np.flatnonzero(~has_offset.to_numpy(zero_copy_only=False))[0])
        value = texts[row].as_py()
        raise BarFileError(f"row {row + first_line}: timestamp is {value!r}, which has no offset; {stamps.ZONE_WANTED}")
    clock = _clock(pc.replace_substring_regex(texts, _OFFSET, ""), texts, first_line)
    if zone is not None:
        return stamps.instants_of_clock(clock, zone)
    shifts = pc.extract_regex(texts, r"(?P<offset>Z|z|UTC|[+-]\d\d:?\d\d|[+-]\d\d)$").field("offset")
    known = {text: _seconds(text) * stamps.SECOND for text in pc.unique(shifts).to_pylist()}
    return clock - np.array([known[text] for text in shifts.to_pylist()], dtype=np.int64)


def _clock(text: pa.Array, given: pa.Array, first_line: int) -> stamps.Ints:
    """Clock readings in nanoseconds."""
    text = pc.replace_substring(pc.utf8_trim_whitespace(text), "T", " ")
    try:
        clock = text.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        values = text.to_pylist()
        american = _is_american(values)
        plain = [_iso(value, american=american) for value in values]
        try:
            clock = pa.array(plain, pa.string()).cast(pa.timestamp("ns"))
        except pa.ArrowInvalid:
            row = next(row for row, value in enumerate(plain) if not _is_instant(value))
            shown = given[row].as_py()
            raise BarFileError(f"row {row + first_line}: timestamp is {shown!r}; write {stamps.WANTED}") from None
    readings: stamps.Ints = clock.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return readings


def _is_american(values: list[str]) -> bool:
    """Whether dates are written as month/day/year: a day above 12 shows it."""
    parts = [match for value in values if (match := _AMERICAN.fullmatch(value))]
    return bool(parts) and all(int(m[1]) <= 12 for m in parts) and any(int(m[2]) > 12 for m in parts)


def _iso(value: str, *, american: bool) -> str:
    """A stamp in the form that pyarrow reads; unchanged if it has no known form."""
    if (match := _COMPACT.fullmatch(value)) is not None:
        year, month, day, hour, minute, second = match.groups(default="00")
        value = f"{year}-{month}-{day} {hour}:{minute}:{second}"
    elif (match := _AMERICAN.fullmatch(value)) is not None and american:
        value = f"{match[3]}-{int(match[1]):02}-{int(match[2]):02}{match[4]}"
    return value


def _is_instant(value: str) -> bool:
    try:
        pa.scalar(value).cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        return False
    return True


def _seconds(offset: str) -> int:
    if offset in ("Z", "z", "UTC"):
        return 0
    digits = offset[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if offset[0] == "-" else seconds
