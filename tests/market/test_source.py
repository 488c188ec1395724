"""The universe files of a data folder: what both readers return for good, missing and damaged files."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING

import pytest

from trading.base.clock import NEW_YORK
from trading.base.errors import DataError
from trading.market.source import Pick, Universe, newest_universe, read_universe, write_universe

if TYPE_CHECKING:
    from pathlib import Path

MONDAY, TUESDAY = date(2018, 3, 26), date(2018, 3, 27)
PICKED = datetime(2018, 3, 26, 4, 0, tzinfo=NEW_YORK)


def universe(day: date, *symbols: str) -> Universe:
    return Universe(day, "by hand", tuple(Pick(symbol, 1000.0, 10.5) for symbol in symbols), {"no price": 2})


def test_both_readers_return_what_was_written(tmp_path: Path) -> None:
    for day, symbols in ((TUESDAY, ("BBB", "AAA")), (MONDAY, ("CCC",))):
        write_universe(tmp_path, universe(day, *symbols), "iex", PICKED)
    assert read_universe(tmp_path, MONDAY) == replace(universe(MONDAY, "CCC"), picked_at=PICKED)
    newest = replace(universe(TUESDAY, "BBB", "AAA"), picked_at=PICKED)
    assert read_universe(tmp_path, TUESDAY) == newest_universe(tmp_path) == newest


def test_a_file_without_the_instant_is_read_and_one_with_a_naive_instant_is_damaged(tmp_path: Path) -> None:
    write_universe(tmp_path, universe(MONDAY, "CCC"), "iex", PICKED)
    path = tmp_path / f"universe_{MONDAY}.json"
    whole = path.read_text()
    path.write_text(whole.replace("picked_at", "earlier"))
    assert read_universe(tmp_path, MONDAY) == universe(MONDAY, "CCC")
    path.write_text(whole.replace("-04:00", ""))
    assert read_universe(tmp_path, MONDAY) is None


def test_missing_file_is_reported(tmp_path: Path) -> None:
    assert read_universe(tmp_path, MONDAY) is None
    with pytest.raises(DataError, match=r"no universe there; run python build_dataset\.py first, or name --symbols"):
        newest_universe(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"symbols": 7}', '{"symbols": [{"volume": 1}]}', '{"date": "soon"}'])
def test_damaged_file_is_reported(content: str, tmp_path: Path) -> None:
    (tmp_path / f"universe_{MONDAY}.json").write_text(content)
    assert read_universe(tmp_path, MONDAY) is None
    with pytest.raises(DataError, match=r"universe_2018-03-26\.json: damaged .* run python build_dataset\.py again"):
        newest_universe(tmp_path)
