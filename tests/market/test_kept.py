"""What is kept on disk to save time: a file that changes is read again, damage changes nothing."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bar_files.columns import HEADER
from bar_files.errors import BarFileError
from bar_files.folder import read_file
from bar_files.options import AS_WRITTEN, Reading
from trading.base.calendar import new_york_calendar
from trading.market.bar_cache import BarCache
from trading.market.kept_calendar import kept_calendar
from trading.market.kept_files import KeptFiles

if TYPE_CHECKING:
    from pathlib import Path

    from bar_files.columns import Columns


def write(path: Path, close: str = "10.02", stamp: str = "2018-03-26T13:3{}:00Z") -> Path:
    lines = [f"{path.name.split('.')[0]},{stamp.format(i)},10.0,10.05,9.95,{close},{100 + i}\n" for i in range(5)]
    path.write_text("".join([HEADER + "\n", *lines]))
    os.utime(path, (1e9, 1e9))
    return path


def same(found: Columns, path: Path, reading: Reading = AS_WRITTEN) -> bool:
    expected = read_file(path, reading)
    return all(np.array_equal(value, getattr(found, name)) for name, value in vars(expected).items())


def parsed(cache: BarCache, path: Path, reading: Reading = AS_WRITTEN) -> bool:
    """Read a file, and see that its bars are right; whether it was parsed, and so kept anew."""
    folder = path.parent / "kept"
    before = {one.stat().st_ino for one in folder.glob("*")}
    assert same(cache.read(path, reading), path, reading)
    return {one.stat().st_ino for one in folder.glob("*")} != before


def test_a_file_of_bars_is_parsed_once_and_again_whenever_its_content_changes(tmp_path: Path) -> None:
    cache = BarCache(tmp_path / "kept")
    path = write(tmp_path / "AAA.csv")
    size = path.stat().st_size
    assert parsed(cache, path) and not parsed(cache, path)
    write(path, close="10.03")
    assert path.stat().st_size == size and path.stat().st_mtime == 1e9
    assert parsed(cache, path) and not parsed(cache, path)
    assert parsed(cache, path, Reading(bar_end=True)) and not parsed(cache, path)
    write(path)
    assert not parsed(BarCache(tmp_path / "kept"), path), "the first content again"
    path.rename(tmp_path / "BBB.csv")  # its lines name another symbol
    with pytest.raises(BarFileError, match="symbol is 'AAA', not 'BBB'"):
        cache.read(tmp_path / "BBB.csv", AS_WRITTEN)
    with pytest.raises(BarFileError, match="no such file"):
        cache.read(path, AS_WRITTEN)


def test_damaged_or_foreign_kept_bars_are_read_again(tmp_path: Path) -> None:
    cache, path = BarCache(tmp_path / "kept"), write(tmp_path / "AAA.csv")
    assert parsed(cache, path)
    (kept,) = (tmp_path / "kept").iterdir()
    whole = kept.read_bytes()
    for content in (b"", whole[:-8], whole[:40] + b"x" + whole[41:], b"foreign" * 50):
        kept.write_bytes(content)
        assert parsed(cache, path) and kept.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    path = write(tmp_path / "AAA.csv")
    (tmp_path / "kept").write_text("a file in its place")
    for cache in (BarCache(tmp_path / "kept"), BarCache(None)):
        assert same(cache.read(path, AS_WRITTEN), path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["AAA.csv", "kept"]


def test_the_least_recently_used_files_are_removed(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, "bars", 100)
    for i, name in enumerate("abc"):
        kept.put(name, bytes(18))  # 50 bytes with the hash
        os.utime(tmp_path / f"{name}.bars", (i, i))
    assert kept.get("a") == bytes(18)  # now the newest
    kept.prune()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.bars", "c.bars"]


def test_the_kept_calendar_is_the_calendar(tmp_path: Path) -> None:
    first = kept_calendar(tmp_path)
    known = list(new_york_calendar()._sessions.values())
    span = known[0].date, known[-1].date
    assert first.between(*span) == known
    (kept,) = tmp_path.iterdir()
    at = kept.stat().st_ino
    again = kept_calendar(tmp_path)
    assert again.between(*span) == known and kept.stat().st_ino == at
    whole = kept.read_bytes()
    odd = whole[32:-1]
    for content in (b"", whole[:-1] + b"x", *(hashlib.sha256(body).digest() + body for body in (odd, b""))):
        kept.write_bytes(content)
        at = kept.stat().st_ino
        assert kept_calendar(tmp_path).between(*span) == known and kept.stat().st_ino != at
