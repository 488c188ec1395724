"""The stocks of past dates: chosen by each session alone, fetched with today's, the only ones to be tested on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from config import Settings
from tests.dataset.data_world import AROUND_CLOCK_CHANGE, CALENDAR, session_bars
from tests.dataset.test_build import evening, on_exchange
from tests.settings import label_rules, learning_settings
from trading.dataset.dataset import Dataset
from trading.dataset.universes import Universes, past_universes, scored_rows
from trading.dataset.upkeep.build import BuildReport, build
from trading.learning.train import Tested as Part
from trading.learning.train import train
from trading.market.bars import join, write_bars_file
from trading.market.sources.recorded import FolderSource

if TYPE_CHECKING:
    from pathlib import Path

    from trading.market.source import Source

SESSIONS = AROUND_CLOCK_CHANGE
STOCKS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")
ONE_A_DAY = Settings.of(HISTORY_DAYS=4, TOP_STOCKS=1)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six stocks, each the most active of one session in turn."""
    folder = tmp_path_factory.mktemp("recorded") / "stocks"
    for i, symbol in enumerate(STOCKS):
        parts = []
        for k, session in enumerate(SESSIONS):
            bars = session_bars(session, i + 1)
            parts.append(replace(bars, volume=np.full(len(bars), 900.0 if k % len(STOCKS) == i else 100.0 - i)))
        write_bars_file(folder / f"{symbol}.csv", symbol, join(parts))
    return folder


def built(source: Source, data: Path, number: int, chosen: Settings = ONE_A_DAY) -> BuildReport:
    return build(source, chosen.data, label_rules(), "document", evening(number), CALENDAR, data)


@pytest.mark.parametrize("wire", [False, True])
def test_the_stocks_of_past_dates_are_fetched_too(recorded: Path, tmp_path: Path, wire: bool) -> None:
    data = tmp_path / "data"
    source = on_exchange(recorded, evening(4))[0] if wire else FolderSource(recorded)
    report = built(source, data, 4)
    assert report.universe.symbols == ["EEE"]  # by session 4
    assert report.stocks == ("EEE", "DDD", "CCC"), "by sessions 1 to 3: BBB, CCC and DDD, three stocks at most"
    assert set(Dataset(data, CALENDAR).symbols) == set(report.stocks)
    by_day = {}
    for path in sorted(data.glob("universe_*.json")):
        record = json.loads(path.read_text())
        by_day[record["date"]] = [one["symbol"] for one in record["symbols"]]
        assert record["picked_by"]["TOP_STOCKS"] == 1
    following = [session.date.isoformat() for session in (*SESSIONS[2:5], CALENDAR.following(SESSIONS[4].date))]
    assert by_day == dict(zip(following, (["BBB"], ["CCC"], ["DDD"], ["EEE"]), strict=True))
    assert built(source, data, 4).fetched == 0


def test_the_evenings_ask_only_for_the_universes_that_are_lacking(recorded: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    source, recorder, clock = on_exchange(recorded, evening(3))
    built(source, data, 3)
    recorder.asked.clear()
    clock.sleep_until(evening(4))
    built(source, data, 4)
    daily = [query for path, query in recorder.asked if query.get("timeframe") == "1Day"]
    assert len(daily) == 1, "the universe of tomorrow; those of the past are known"


def test_files_of_other_settings_do_not_count(recorded: Path, tmp_path: Path) -> None:
    """A replay with fewer stocks, in a folder that another one has used."""
    data = tmp_path / "data"
    two = Settings.of(HISTORY_DAYS=4, TOP_STOCKS=2)
    built(FolderSource(recorded), data, 4, two)
    dataset = Dataset(data, CALENDAR)
    day = SESSIONS[3].date
    universes = {
        chosen: Universes(data, dataset.all_bars, CALENDAR, chosen.data).universe_before(day)
        for chosen in (two, ONE_A_DAY)
    }
    assert universes == {two: {"AAA", "CCC"}, ONE_A_DAY: {"CCC"}}
    built(FolderSource(recorded), data, 4)
    record = json.loads((data / f"universe_{day}.json").read_text())
    assert [one["symbol"] for one in record["symbols"]] == ["CCC"]
    assert record["by_session"] == SESSIONS[2].date.isoformat()
    reference = past_universes(Dataset(data, CALENDAR), ONE_A_DAY.data).universe_of(day)
    assert [pick.symbol for pick in reference.picks] == ["CCC"]


def test_a_training_is_tested_on_the_universe_of_each_date(recorded: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    built(FolderSource(recorded), data, 4)
    dataset = Dataset(data, CALENDAR)
    rows = dataset.load()
    scored = scored_rows(rows, Universes(data, dataset.all_bars, CALENDAR, ONE_A_DAY.data))
    seen: list[Part] = []
    settings = learning_settings(N_ESTIMATORS=2, TEST_SIZE=0.5, HISTORY_DAYS=4)
    trained = train(rows, settings, observe=seen.append, scored=scored)
    (tested,) = seen
    days = rows.session[tested.testing].tolist()
    inside = {(rows.symbols[i], day) for i, day in zip(rows.symbol[tested.testing], days, strict=True)}
    assert inside == {("CCC", SESSIONS[3].date), ("DDD", SESSIONS[4].date)}
    assert trained.about["rows"]["test"] == tested.testing.sum() < trained.about["rows"]["all"]
    everything = train(rows, settings, scored=np.zeros(len(rows), dtype=np.bool_))
    assert everything.about["rows"]["test"] > tested.testing.sum(), "stocks that a person named are tested on all"
