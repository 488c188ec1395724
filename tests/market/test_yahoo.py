"""Yahoo's HTTP 429, through yfinance itself: one pause, nothing sent meanwhile, and what is missing is said."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from config import DataSettings, Settings
from tests.dataset.data_world import CALENDAR
from trading.dataset.dataset import Dataset
from trading.dataset.upkeep.build import build
from trading.market.source import SourceError
from trading.market.sources.yahoo import PAUSES, THREADS, YahooSource
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from collections.abc import Callable

YAHOO = Path(__file__).parents[3] / "shared" / "fixtures" / "yahoo"
DAY = CALENDAR.session(date(2021, 1, 11))
NAMES = [f"Q{letter}" for letter in "ABCDEFGHIJKLMNOPQRST"]


class Yahoo(requests.Session):
    """Yahoo as a session of requests: `allowed` more requests are answered, the others get a 429."""

    def __init__(self, allowed: int) -> None:
        super().__init__()
        self.allowed = allowed
        self.answered: list[str] = []
        self.refused = 0
        self.per_pause: list[int] = []
        self.said: list[str] = []
        self.slept: list[float] = []
        self.more: Callable[[], int] = lambda: 0
        self.quotes: list[dict[str, Any]] = []
        self._chart = (YAHOO / "chart_AAPL_1m_2021-01.json").read_text()

    def get(self, url: str | bytes, **more: Any) -> requests.Response:
        return self._answer(str(url))

    def post(self, url: str | bytes, *args: Any, **more: Any) -> requests.Response:
        return self._answer(str(url), json.loads(more["data"]))

    def _answer(self, url: str, query: Any = None) -> requests.Response:
        reply = requests.Response()
        reply.url = url
        if self.allowed <= 0:
            self.refused += 1
            reply.status_code, reply._content = 429, b"Too Many Requests"
            return reply
        self.allowed -= 1
        self.answered.append(url.rsplit("/", 1)[-1].split("?")[0])
        text = self._chart if "/chart/" in url else json.dumps(self._screened(query))
        reply.status_code, reply._content = 200, text.encode()
        return reply

    def _screened(self, query: Any) -> dict[str, Any]:
        rows = self.quotes[query["offset"] : query["offset"] + query["size"]]
        return {"finance": {"result": [{"quotes": rows}], "error": None}}

    def source(self) -> YahooSource:
        return YahooSource(self.said.append, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.per_pause.append(self.refused)
        self.refused = 0
        self.allowed += self.more()


@pytest.fixture
def yahoo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], Yahoo]:
    if not YAHOO.is_dir():
        pytest.skip("recorded replies of Yahoo are not here")
    yfinance = pytest.importorskip("yfinance")
    from yfinance.data import YfData

    yfinance.set_tz_cache_location(str(tmp_path / "cache"))
    YfData.cache_get.cache_clear()
    monkeypatch.setattr(YfData, "_get_cookie_and_crumb", lambda *_: (None, "basic"))
    # yfinance asks for a stock's time zone once and keeps it; without that a stock is one request.
    monkeypatch.setattr("yfinance.base.TickerBase._get_ticker_tz", lambda *_, **__: "America/New_York")

    def make(allowed: int) -> Yahoo:
        made = Yahoo(allowed)
        monkeypatch.setattr("yfinance.multi.new_session", lambda: made)
        YfData(session=made)
        return made

    return make


def fetch(source: YahooSource, folder: Path, names: list[str]) -> Any:
    settings = Settings.of(HISTORY_DAYS=1)
    now = DAY.close + timedelta(hours=4)
    rules = LabelRules.of(settings.exits)
    return build(source, settings.data, rules, "document", now, CALENDAR, folder, symbols=names)


def with_bars(folder: Path) -> list[str]:
    return sorted(name for name, record in Dataset(folder, CALENDAR).manifest.symbols.items() if record.bars)


def test_after_the_first_429_nothing_is_sent_until_the_pause_is_over(
    yahoo: Callable[[int], Yahoo], tmp_path: Path
) -> None:
    here = yahoo(9)
    here.more = lambda: 1000
    report = fetch(here.source(), tmp_path, NAMES)
    assert report.without_bars == () and with_bars(tmp_path) == NAMES
    assert here.slept == [PAUSES[0]]
    assert 2 <= here.per_pause[0] <= 2 * THREADS  # yfinance itself sends a refused request twice
    (line,) = here.said
    assert line == (
        "Yahoo takes no more requests for now (HTTP 429): nothing is requested for 5 minutes; "
        "11 stocks are still missing"
    )
    assert report.notes == ()


def test_what_is_missing_at_the_end_is_said_once_and_is_all_that_the_next_run_asks_for(
    yahoo: Callable[[int], Yahoo], tmp_path: Path
) -> None:
    here = yahoo(8)
    source = here.source()
    with pytest.raises(SourceError, match="12 stocks are still missing; run the same command again in an hour"):
        fetch(source, tmp_path, NAMES)
    assert here.slept == list(PAUSES)
    assert [note for note in source.notes if "429" not in note] == []
    assert here.refused <= 2 * THREADS
    assert with_bars(tmp_path) == NAMES[:8]
    here = yahoo(1000)
    fetch(here.source(), tmp_path, NAMES)
    assert set(here.answered) == set(NAMES[8:])
    assert with_bars(tmp_path) == NAMES


def test_pauses_are_in_a_row_only_without_an_answer_between_them(yahoo: Callable[[int], Yahoo], tmp_path: Path) -> None:
    here = yahoo(1)
    here.more = lambda: 0 if len(here.slept) % 2 else 4
    fetch(here.source(), tmp_path, NAMES)
    assert set(here.slept) == set(PAUSES[:2])
    assert len(here.slept) > len(PAUSES)
    counts = [int(line.split("; ")[1].split()[0]) for line in here.said]
    assert counts == sorted(counts, reverse=True) and counts[0] == 19


def test_stocks_of_later_requests_count_as_missing(yahoo: Callable[[int], Yahoo]) -> None:
    here = yahoo(0)
    here.more = lambda: 100
    source = here.source()
    source.ahead = 30
    assert len(source.bars(NAMES[:6], [DAY])) == 6
    assert "36 stocks are still missing" in here.said[0]


def test_the_screen_pauses_too_and_reads_more_than_one_page(yahoo: Callable[[int], Yahoo]) -> None:
    here = yahoo(0)
    here.more = lambda: 100
    here.quotes = [
        {"symbol": f"S{i}", "regularMarketVolume": 9e6 - i, "regularMarketPrice": 5.0, "longName": f"S{i} Inc."}
        for i in range(300)
    ]
    here.quotes[3]["longName"] = "S3 Acquisition Corp. Warrants"
    universe = here.source().universe(DAY.close, DataSettings(TOP_STOCKS=400))
    assert len(universe.symbols) == 299 and "S3" not in universe.symbols
    assert universe.refused == {"excluded kind: warrants": 1}
    assert here.slept == [PAUSES[0]] and "the list of active stocks is still missing" in here.said[0]
    here = yahoo(0)
    with pytest.raises(SourceError, match=r"HTTP 429\): no list of active stocks"):
        here.source().universe(DAY.close, DataSettings())
