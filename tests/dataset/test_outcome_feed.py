"""Two feeds and corporate actions, through alpaca-py: features of the sparse feed, outcomes of SIP, one scale."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import numpy as np
import pytest

from config import Settings
from paper_exchange import PaperExchange
from paper_exchange.base.wsgi import ORIGIN, WsgiAdapter
from paper_exchange.market.recorded import RecordedMarket
from tests.dataset.data_world import AROUND_CLOCK_CHANGE, CALENDAR, bars_of, content
from trading.audit.check import Check
from trading.audit.data import DataFolder, files, labels
from trading.base.clock import SimulatedClock
from trading.broker.client import connect
from trading.dataset.dataset import Dataset
from trading.dataset.rows import read_rows_file, rows_of
from trading.dataset.upkeep.build import BuildReport, build
from trading.dataset.upkeep.prune import prune_data
from trading.market.bars import Bars, read_bars_file, to_ns, write_bars_file
from trading.market.sources.alpaca import AlpacaSource
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

SESSIONS = AROUND_CLOCK_CHANGE[:4]
STOCKS = {"AAA": 1, "BBB": 2}
REFUSED = "subscription does not permit querying recent SIP data"


def settings(**values: object) -> Settings:
    return Settings.of(**{"HISTORY_DAYS": 3, "APCA_API_BASE_URL": ORIGIN, **values})


def evening(number: int) -> datetime:
    """20:00 New York time on a session."""
    return SESSIONS[number].close + timedelta(hours=4)


def scaled(bars: Bars, factor: float) -> Bars:
    return replace(bars, **{name: getattr(bars, name) * factor for name in ("open", "high", "low", "close")})


class TwoFeeds:
    """A market that has every minute on SIP and some of them on IEX, with prices a little off, and corporate actions.

    Attributes:
        asked: the query of each request for 1-minute bars and for corporate actions, by path.
        actions: the lists of the reply to a request for corporate actions; None: the endpoint fails.
        sip: whether the plan includes the history of SIP.
    """

    def __init__(self, folder: Path, scale: Mapping[str, float] | None = None) -> None:
        self.folder = folder
        self.clock = SimulatedClock(evening(2))
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.actions: dict[str, list[dict[str, object]]] | None = {}
        self.sip = True
        self.serve(scale or {})

    def serve(self, scale: Mapping[str, float]) -> None:
        """Serve the bars on another scale, as after a split."""
        self._apps = {}
        for feed in ("iex", "sip"):
            place = self.folder / f"{feed}-{len(list(self.folder.iterdir())) if self.folder.exists() else 0}"
            for symbol, seed in STOCKS.items():
                bars = scaled(bars_of(SESSIONS, seed), scale.get(symbol, 1.0))
                if feed == "iex":
                    bars = scaled(bars.take(np.random.default_rng(seed).random(len(bars)) < 0.6), 1.0004)
                write_bars_file(place / f"{symbol}.csv", symbol, bars)
            self._apps[feed] = PaperExchange(RecordedMarket(place), self.clock.now).app

    def bars(self, feed: str, symbol: str) -> Bars:
        """What the feed has of a stock."""
        newest = sorted(self.folder.glob(f"{feed}-*"), key=lambda path: int(path.name.split("-")[1]))[-1]
        return read_bars_file(newest / f"{symbol}.csv")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        path = environ["PATH_INFO"]
        if path == "/v1/corporate-actions" or query.get("timeframe") == "1Min":
            self.asked.append((path, query))
        if path == "/v1/corporate-actions" and self.actions != {}:
            if self.actions is None:
                return self._reply("404 Not Found", {"message": "no such thing"}, start_response)
            body = {"corporate_actions": self.actions, "next_page_token": None}
            return self._reply("200 OK", body, start_response)
        if query.get("feed") == "sip" and query.get("timeframe") == "1Min" and not self.sip:
            return self._reply("403 Forbidden", {"message": REFUSED}, start_response)
        return self._apps["iex" if query.get("feed") == "iex" else "sip"](environ, start_response)

    @staticmethod
    def _reply(status: str, body: object, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]

    def build(self, data: Path, number: int, **values: object) -> BuildReport:
        """Build as of the evening of a session."""
        if self.clock.now() < evening(number):
            self.clock.sleep_until(evening(number))
        chosen = settings(**values)
        clients = connect(chosen.broker, ("key", "secret"), self.clock, WsgiAdapter(self))
        source = AlpacaSource(clients, "iex", outcome_feed=chosen.exits.OUTCOME_FEED)
        self.asked.clear()
        return build(
            source,
            chosen.data,
            LabelRules.of(chosen.exits),
            chosen.training.FEATURE_SET,
            evening(number),
            CALENDAR,
            data,
            symbols=[*STOCKS],
        )

    def feeds_asked(self) -> list[str]:
        """The feed of every request for 1-minute bars since the build began."""
        return [query["feed"] for path, query in self.asked if path == "/v2/stocks/bars"]


@pytest.fixture
def market(tmp_path: Path) -> TwoFeeds:
    return TwoFeeds(tmp_path / "market")


def audited(data: Path) -> list[Check]:
    """The audit's checks of files and labels, which find the outcomes in another way."""
    folder = DataFolder(Dataset(data, CALENDAR))
    return [files(folder, lambda: None), labels(folder, np.random.default_rng(1), lambda: None, 12)]


def test_features_are_the_traded_feeds_and_outcomes_those_of_sip(market: TwoFeeds, tmp_path: Path) -> None:
    data = tmp_path / "data"
    market.build(data, 2)
    rules = LabelRules.of(settings().exits)
    until = SESSIONS[2].close
    for symbol in STOCKS:
        iex, sip = (market.bars(feed, symbol).between(SESSIONS[0].open, until) for feed in ("iex", "sip"))
        assert read_bars_file(data / "bars" / f"{symbol}.csv").equals(iex)
        assert read_bars_file(data / "bars" / "outcome" / f"{symbol}.csv").equals(sip)
        rows, own, every = (
            read_rows_file(data / f"{symbol}.csv"), rows_of(iex, CALENDAR, rules), rows_of(sip, CALENDAR, rules)
        )  # fmt: skip
        assert np.isin(rows.start, iex.start).all() and len(rows) > 0.4 * len(every)
        common = np.isin(own.start, rows.start)
        assert (own.X[common] == rows.X[np.isin(rows.start, own.start)]).all()
        told = every.outcome[np.isin(every.start, rows.start)]
        assert (told == rows.outcome[np.isin(rows.start, every.start)]).all()  # as if SIP were traded on
        assert len(rows) > len(own), "a minute that only SIP has is a minute in which a live order is filled"
    checks = audited(data)
    assert [check.findings for check in checks] == [0, 0] and checks[1].compared > 1_000
    assert json.loads((data / "dataset.json").read_text())["outcome_feed"] == "sip"


def test_the_evenings_give_the_same_folder_as_one_build(market: TwoFeeds, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        market.build(tmp_path / "evenings", number)
    one = TwoFeeds(tmp_path / "again")
    one.build(tmp_path / "whole", 3, HISTORY_DAYS=4)
    found, whole = (content(tmp_path / name) for name in ("evenings", "whole"))
    assert set(market.feeds_asked()) == {"iex", "sip"}
    assert {n: b for n, b in found.items() if n.endswith(".csv")} == {
        n: b for n, b in whole.items() if n.endswith(".csv")
    }


def test_another_outcome_feed_makes_the_rows_again(market: TwoFeeds, tmp_path: Path) -> None:
    data = tmp_path / "data"
    market.build(data, 2, OUTCOME_FEED="same")
    assert set(market.feeds_asked()) == {"iex"}
    before = content(data)
    own = Dataset(data, CALENDAR).load()
    differing = Dataset(data, CALENDAR).manifest.differing(LabelRules.of(settings().exits))
    assert differing == "OUTCOME_FEED=same"
    market.build(data, 2)  # a folder of before fetches what it lacks
    told = Dataset(data, CALENDAR).load()
    assert len(told) > len(own)
    market.build(data, 2)
    assert market.feeds_asked() == []
    back = market.build(data, 2, OUTCOME_FEED="same")
    assert back.rebuilt and market.feeds_asked() == []
    assert all(content(data)[f"{symbol}.csv"] == before[f"{symbol}.csv"] for symbol in STOCKS)


def test_a_plan_without_sip_is_said_once_and_its_own_bars_tell(market: TwoFeeds, tmp_path: Path) -> None:
    data = tmp_path / "data"
    market.sip = False
    first = market.build(data, 1)
    assert [note for note in first.notes if REFUSED in note] == [
        f"outcomes come from the bars of feed iex: Alpaca refuses bars: {REFUSED}"
    ]
    assert market.build(data, 2).fetched == sum(
        len(market.bars("iex", symbol).between(SESSIONS[2].open, SESSIONS[2].close)) for symbol in STOCKS
    )
    iex = market.bars("iex", "AAA").between(SESSIONS[0].open, SESSIONS[2].close)
    own = rows_of(iex, CALENDAR, LabelRules.of(settings().exits))
    assert (read_rows_file(data / "AAA.csv").outcome == own.outcome).all()


# Corporate actions


def split(symbol: str, number: int, new: float, old: float) -> dict[str, object]:
    """A forward split that takes effect on a session, as Alpaca announces it."""
    day = SESSIONS[number].date.isoformat()
    return {"symbol": symbol, "ex_date": day, "process_date": day, "new_rate": new, "old_rate": old, "cusip": "X"}


def on_one_scale(market: TwoFeeds, data: Path, number: int) -> bool:
    until = SESSIONS[number].close
    return all(
        read_bars_file(data / place / f"{symbol}.csv").equals(
            market.bars(feed, symbol).between(SESSIONS[0].open, until)
        )
        for symbol in STOCKS
        for feed, place in (("iex", "bars"), ("sip", "bars/outcome"))
    )


def test_an_announced_split_is_fetched_anew_though_the_price_hardly_jumps(market: TwoFeeds, tmp_path: Path) -> None:
    data = tmp_path / "data"
    market.build(data, 2)
    market.serve({"AAA": 0.95})
    market.actions = {
        "forward_splits": [
            split("AAA", 3, 20, 19),
            split("BBB", 1, 2, 1),  # before its bars were fetched
            {"symbol": "BBB", "ex_date": "soon", "new_rate": 2, "old_rate": 1},
            {"symbol": "BBB", "ex_date": SESSIONS[3].date.isoformat(), "new_rate": 0, "old_rate": 0},
        ]
    }
    report = market.build(data, 3)
    assert report.notes == (f"AAA: split 1.053 for 1 on {SESSIONS[3].date}; all its bars were fetched again",)
    assert on_one_scale(market, data, 3)
    (query,) = [query for path, query in market.asked if path == "/v1/corporate-actions"]
    assert query["symbols"] == "AAA,BBB"
    assert query["start"] < SESSIONS[2].date.isoformat() and query["end"] > SESSIONS[3].date.isoformat()
    assert market.build(data, 3).notes == ()


@pytest.mark.parametrize(("factor", "found"), [(0.5, True), (0.95, False)])
def test_without_announcements_the_jump_tells_and_the_next_evening_makes_up(
    market: TwoFeeds, tmp_path: Path, factor: float, found: bool
) -> None:
    data = tmp_path / "data"
    market.build(data, 1)
    market.serve({"AAA": factor})
    market.actions = None
    report = market.build(data, 2)
    assert len([note for note in report.notes if note.startswith("corporate actions are not known")]) == 1
    assert on_one_scale(market, data, 2) == found == any("for a split" in note for note in report.notes)
    market.actions = {"forward_splits": [split("AAA", 2, 1, factor)]}
    market.build(data, 3)
    assert on_one_scale(market, data, 3)


def test_a_stock_under_a_new_symbol_is_not_learnt_from_twice(market: TwoFeeds, tmp_path: Path) -> None:
    data = tmp_path / "data"
    market.build(data, 2)
    dataset = Dataset(data, CALENDAR)
    dataset.update({"OLD": replace_symbol(dataset)}, LabelRules.of(settings().exits), source="alpaca", feed="iex")
    day = SESSIONS[3].date.isoformat()
    market.actions = {"name_changes": [{"old_symbol": "OLD", "new_symbol": "AAA", "process_date": day}]}
    report = market.build(data, 3)
    assert any(note == f"OLD is AAA since {day}: what was stored as OLD is removed" for note in report.notes)
    assert "OLD" not in Dataset(data, CALENDAR).manifest.symbols
    assert not list(data.rglob("OLD.csv"))
    assert on_one_scale(market, data, 3)


def replace_symbol(dataset: Dataset) -> Any:
    """The bars of AAA as those of another symbol."""
    from trading.dataset.symbol_files import Fetched

    bars = dataset.recorded_bars("AAA", dataset.manifest.symbols["AAA"])
    return Fetched(bars.take(slice(None)), [session.date for session in SESSIONS[:3]], outcome=bars.for_outcomes)


# A session that is known in part


def test_no_bar_of_a_session_that_ends_early_has_a_row(tmp_path: Path) -> None:
    rules = LabelRules.of(settings().exits)
    bars = bars_of(SESSIONS[:2], 1)
    whole = rows_of(bars, CALENDAR, rules)
    flat = to_ns(SESSIONS[1].flatten_at(rules.flatten_minutes))
    cut = rows_of(bars.take(bars.start < flat), CALENDAR, rules)
    assert (whole.start >= to_ns(SESSIONS[1].open)).sum() > 300
    assert (cut.start < to_ns(SESSIONS[0].close)).all() and len(cut) == (whole.start < to_ns(SESSIONS[0].close)).sum()
    assert len(rows_of(bars.take(bars.start <= flat), CALENDAR, rules)) == len(whole)


def test_old_sessions_are_pruned_from_both_feeds(market: TwoFeeds, tmp_path: Path) -> None:
    data = tmp_path / "data"
    market.build(data, 3, HISTORY_DAYS=4)
    pruned = prune_data(data, CALENDAR, SESSIONS[3].date, 2, None)
    assert (pruned.sessions, pruned.failures) == (2 * len(STOCKS), [])
    for symbol in STOCKS:
        for feed, place in (("iex", "bars"), ("sip", "bars/outcome")):
            kept = market.bars(feed, symbol).between(SESSIONS[2].open, SESSIONS[3].close)
            assert read_bars_file(data / place / f"{symbol}.csv").equals(kept)
    assert [check.findings for check in audited(data)] == [0, 0]
    before = content(data)
    assert market.build(data, 3, HISTORY_DAYS=2).fetched == 0
    assert content(data).keys() == before.keys()
