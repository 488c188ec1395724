"""The dataset build end to end: each source through its real client, its requests, and its errors."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from requests.adapters import BaseAdapter

import build_dataset
from config import DataSettings, Settings
from paper_exchange import PaperExchange
from paper_exchange.base.wsgi import ORIGIN, WsgiAdapter
from paper_exchange.market.recorded import RecordedMarket
from tests.dataset.data_world import AROUND_CLOCK_CHANGE, CALENDAR, STOCKS, bars_of, content, write_folder
from trading.app import cli
from trading.base.clock import SimulatedClock
from trading.base.errors import BrokerError, UserError
from trading.base.market_folders import lock
from trading.broker.client import connect
from trading.dataset.dataset import Dataset
from trading.dataset.upkeep.build import build
from trading.dataset.upkeep.fetch import plan
from trading.market.bars import read_bars_file, to_ns, write_bars_file
from trading.market.source import SourceError
from trading.market.sources.alpaca import AlpacaSource
from trading.market.sources.recorded import FolderSource
from trading.market.sources.yahoo import YahooSource, windows
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests

SESSIONS = AROUND_CLOCK_CHANGE
SETTINGS = Settings.of(HISTORY_DAYS=4, APCA_API_BASE_URL=ORIGIN)
YAHOO = Path(__file__).parents[3] / "shared" / "fixtures" / "yahoo"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "stocks"
    write_folder(folder, SESSIONS)
    return folder


class Recorder(BaseAdapter):
    """Records every request."""

    def __init__(self, app: Any) -> None:
        super().__init__()
        self._inner = WsgiAdapter(app)
        self.asked: list[tuple[str, dict[str, str]]] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        url = urlsplit(request.url or "")
        self.asked.append((url.path, {name: values[0] for name, values in parse_qs(url.query).items()}))
        return self._inner.send(request, *args, **more)

    def close(self) -> None:
        """Nothing to close."""

    def bars(self) -> list[dict[str, str]]:
        """The requests for 1-minute bars since the last call."""
        found = [q for path, q in self.asked if path == "/v2/stocks/bars" and q["timeframe"] == "1Min"]
        self.asked.clear()
        return found


def alpaca(app: Any, clock: SimulatedClock | None = None, feed: str = "iex") -> tuple[AlpacaSource, Recorder]:
    """Alpaca's source on a WSGI application, and a record of its requests."""
    recorder = Recorder(app)
    clients = connect(SETTINGS.broker, ("key", "secret"), clock or SimulatedClock(evening(0)), recorder)
    return AlpacaSource(clients, feed), recorder


def on_exchange(
    folder: Path, now: datetime, *, extended_bars: bool = False
) -> tuple[AlpacaSource, Recorder, SimulatedClock]:
    """Alpaca's source on an exchange that replays `folder`."""
    clock = SimulatedClock(now)
    exchange = PaperExchange(RecordedMarket(folder), clock.now, extended_bars=extended_bars)
    return *alpaca(exchange.app, clock), clock


def evening(number: int) -> datetime:
    """20:00 New York time on a session."""
    return SESSIONS[number].close + timedelta(hours=4)


def without_names(folder: Path) -> dict[str, bytes]:
    """The rows and bars of a data folder, without the files that name the source."""
    return {name: data for name, data in content(folder).items() if name.endswith(".csv")}


# Recorded bars


def test_a_folder_becomes_a_dataset_and_a_second_run_changes_nothing(recorded: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    report = build(
        FolderSource(recorded),
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        evening(-1),
        CALENDAR,
        data,
    )
    wanted = SESSIONS[-4:]
    assert [session.date for session in report.sessions] == [session.date for session in wanted]
    assert report.fetched == sum(len(bars_of(wanted, seed, thin=thin)) for seed, thin in STOCKS.values())
    assert (report.left_out, report.without_bars, report.symbols) == ({}, (), 3)
    assert report.rows == len(Dataset(data, CALENDAR).load())
    universe = json.loads((data / "universe_2018-03-15.json").read_text())
    assert [row["symbol"] for row in universe["symbols"]] == report.universe.symbols
    assert universe["symbols"][0]["volume"] > universe["symbols"][-1]["volume"] > 0
    before = content(data)
    again = build(
        FolderSource(recorded),
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        evening(-1),
        CALENDAR,
        data,
    )
    assert (again.fetched, content(data)) == (0, before)
    assert "left out: none" in again.summary()
    assert "recorded bars of stocks" in again.summary()


def test_the_bars_of_a_data_folder_can_be_replayed(recorded: Path, tmp_path: Path) -> None:
    build(
        FolderSource(recorded),
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        evening(-1),
        CALENDAR,
        tmp_path / "one",
    )
    build(
        FolderSource(tmp_path / "one" / "bars"),
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        evening(-1),
        CALENDAR,
        tmp_path / "two",
    )
    assert without_names(tmp_path / "two") == without_names(tmp_path / "one")


@pytest.mark.parametrize("factor", [10.0, 0.5, 1.5])
def test_a_split_stock_is_fetched_anew_and_a_fallen_one_is_not(factor: float, tmp_path: Path) -> None:
    """Between two evenings AAA is split; BBB opens at half its price for other reasons."""
    days = {"before": SESSIONS[:4], "after": SESSIONS}
    for name, sessions in days.items():
        (tmp_path / name).mkdir()
        for symbol, seed in (("AAA", 1), ("BBB", 2)):
            bars = bars_of(sessions, seed)
            scale = np.where(bars.start >= to_ns(SESSIONS[4].open), 0.5, 1.0) if symbol == "BBB" else np.ones(len(bars))
            if symbol == "AAA" and name == "after":
                scale = scale * factor
            prices = {field: getattr(bars, field) * scale for field in ("open", "high", "low", "close")}
            write_bars_file(tmp_path / name / f"{symbol}.csv", symbol, replace(bars, **prices))
    data = tmp_path / "data"
    asked = []
    for name, now in (("before", evening(3)), ("after", evening(4))):
        source, recorder, _ = on_exchange(tmp_path / name, now)
        report = build(
            source,
            SETTINGS.data,
            LabelRules.of(SETTINGS.exits),
            "document",
            now,
            CALENDAR,
            data,
            symbols=["AAA", "BBB"],
        )
        asked.append([query["symbols"] for query in recorder.bars()])
    until = SESSIONS[4].close
    for symbol in ("AAA", "BBB"):
        whole = read_bars_file(tmp_path / "after" / f"{symbol}.csv").between(SESSIONS[0].open, until)
        assert read_bars_file(data / "bars" / f"{symbol}.csv").equals(whole)
    assert [note.split(":")[0] for note in report.notes] == ["AAA"]
    assert f"adjusted by {factor:.4g}" in report.notes[0]
    assert asked[1].count("BBB") == 1  # its last session, looked at again
    assert len(Dataset(data, CALENDAR).load()) == report.rows


def test_only_completed_sessions_are_fetched(recorded: Path, tmp_path: Path) -> None:
    source = FolderSource(recorded)
    report = build(
        source,
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        SESSIONS[3].close - timedelta(minutes=1),
        CALENDAR,
        tmp_path / "data",
    )
    assert report.sessions[-1].date == SESSIONS[2].date
    assert report.universe.chosen.startswith(f"100 most active by volume on {SESSIONS[2].date}")
    assert Dataset(tmp_path / "data", CALENDAR).load().sessions.max().item() == SESSIONS[2].date


def test_implausible_bars_are_left_out_and_reported(tmp_path: Path) -> None:
    bars = bars_of(SESSIONS, 1)
    bars.high[100], bars.close[900], bars.volume[1000] = 1.0, float("nan"), -5.0
    write_bars_file(tmp_path / "in" / "AAA.csv", "AAA", bars)
    settings = Settings.of(HISTORY_DAYS=6)
    report = build(
        FolderSource(tmp_path / "in"),
        settings.data,
        LabelRules.of(settings.exits),
        settings.training.FEATURE_SET,
        evening(-1),
        CALENDAR,
        tmp_path / "data",
    )
    assert report.left_out == {"high below low": 1, "not a number": 1, "volume negative": 1}
    assert "left out: 1 not a number, 1 volume negative, 1 high below low" in report.summary()
    assert len(read_bars_file(tmp_path / "data" / "bars" / "AAA.csv")) == len(bars) - 3


def test_the_universe_keeps_the_price_band_and_the_number_of_stocks(tmp_path: Path) -> None:
    for symbol, price in {"LOW": 0.5, "MID": 10.0, "HIGH": 30.0}.items():
        bars = bars_of(SESSIONS[:1], 1)
        for name in ("open", "high", "low", "close"):
            getattr(bars, name)[:] *= price / 10.0
        bars.volume[:] *= price  # so that the most expensive stock is the most active
        write_bars_file(tmp_path / f"{symbol}.csv", symbol, bars)
    source = FolderSource(tmp_path)
    universe = source.universe(evening(0), DataSettings())
    assert (universe.symbols, universe.refused) == (["MID"], {"price over $20": 1, "price under $1": 1})
    assert source.universe(evening(0), DataSettings(TOP_STOCKS=2, MIN_PRICE=0.1, MAX_PRICE=100.0)).symbols == [
        "HIGH",
        "MID",
    ]
    with pytest.raises(UserError, match="no stock is left for 2018-03-08"):
        build(
            source,
            Settings.of(MIN_PRICE=90, MAX_PRICE=99).data,
            LabelRules.of(Settings.of(MIN_PRICE=90, MAX_PRICE=99).exits),
            Settings.of(MIN_PRICE=90, MAX_PRICE=99).training.FEATURE_SET,
            evening(0),
            CALENDAR,
            tmp_path / "data",
        )
    assert not (tmp_path / "data").exists()


# Alpaca, through alpaca-py on the embedded exchange


def test_alpaca_and_the_recorded_files_give_the_same_dataset(recorded: Path, tmp_path: Path) -> None:
    build(
        FolderSource(recorded),
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        evening(-1),
        CALENDAR,
        tmp_path / "files",
    )
    source, recorder, _ = on_exchange(recorded, evening(-1), extended_bars=True)
    report = build(
        source,
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        evening(-1),
        CALENDAR,
        tmp_path / "wire",
    )
    sent, kept = source.bars(["AAA"], SESSIONS)["AAA"], read_bars_file(tmp_path / "wire" / "bars" / "AAA.csv")
    assert len(sent) > len(kept), "the exchange sends bars of extended hours, and none is stored"
    assert without_names(tmp_path / "wire") == without_names(tmp_path / "files")
    assert report.universe.symbols == FolderSource(recorded).universe(evening(-1), DataSettings()).symbols
    for query in recorder.bars():
        assert (query["feed"], query["adjustment"], query["timeframe"]) == ("iex", "split", "1Min")
        assert datetime.fromisoformat(query["end"]) < SESSIONS[-1].close


def test_only_missing_sessions_are_requested(recorded: Path, tmp_path: Path) -> None:
    source, recorder, clock = on_exchange(recorded, evening(3))
    build(
        source,
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        evening(3),
        CALENDAR,
        tmp_path / "data",
        symbols=["AAA", "BBB"],
    )
    recorder.asked.clear()
    clock.sleep_until(evening(4))
    build(
        source,
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        clock.now(),
        CALENDAR,
        tmp_path / "data",
    )
    asked = {query["symbols"]: (query["start"][:10], query["end"][:10]) for query in recorder.bars()}
    days = [session.date.isoformat() for session in SESSIONS]
    assert asked == {"BBB,AAA": (days[4], days[4]), "CC.A": (days[1], days[4])}
    build(
        source,
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        clock.now(),
        CALENDAR,
        tmp_path / "data",
    )
    assert recorder.bars() == []
    changed = Settings.of(HISTORY_DAYS=4, STOP_LOSS_PCT=0.01, APCA_API_BASE_URL=ORIGIN)
    report = build(
        source,
        changed.data,
        LabelRules.of(changed.exits),
        changed.training.FEATURE_SET,
        clock.now(),
        CALENDAR,
        tmp_path / "data",
    )
    assert (report.rebuilt, report.fetched, recorder.bars()) == (True, 0, [])
    assert Dataset(tmp_path / "data", CALENDAR).manifest.stop_loss == 0.01


class Forgetful:
    """A WSGI application whose replies with 1-minute bars lack those of some stocks for a number of requests."""

    def __init__(self, app: Any, forgotten: frozenset[str], times: int) -> None:
        self._app, self._forgotten, self.times = app, forgotten, times

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        whole = list(self._app(environ, answered := _Kept()))
        if "timeframe=1Min" in environ["QUERY_STRING"] and self.times > 0:
            self.times -= 1
            reply = json.loads(b"".join(whole))
            reply["bars"] = {name: rows for name, rows in reply["bars"].items() if name not in self._forgotten}
            whole = [json.dumps(reply).encode()]
        start_response(answered.status, [one for one in answered.headers if one[0].lower() != "content-length"])
        return whole


class _Kept:
    """The status and the headers that an application gives."""

    def __call__(self, status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        self.status, self.headers = status, headers


@pytest.mark.parametrize(
    ("forgotten", "times", "first"),
    [(frozenset(STOCKS), 1, 3), (frozenset(STOCKS), 2, None), (frozenset({"BBB"}), 1, 2)],
    ids=["once", "twice", "one stock"],
)
def test_an_answer_without_bars_is_not_the_last_word(
    forgotten: frozenset[str], times: int, first: int | None, recorded: Path, tmp_path: Path
) -> None:
    exchange = PaperExchange(RecordedMarket(recorded), SimulatedClock(evening(3)).now)
    source, recorder = alpaca(Forgetful(exchange.app, forgotten, times))

    def bring_up_to_date() -> int:
        rules = LabelRules.of(SETTINGS.exits)
        return build(source, SETTINGS.data, rules, "document", evening(3), CALENDAR, tmp_path / "data").symbols

    if first is None:
        with pytest.raises(SourceError, match="no bars at all"):
            bring_up_to_date()
    else:
        assert bring_up_to_date() == first
    assert bring_up_to_date() == 3
    recorder.asked.clear()
    assert bring_up_to_date() == 3 and recorder.bars() == []


def test_a_stock_that_left_the_universe_keeps_its_rows(recorded: Path, tmp_path: Path) -> None:
    source, _, clock = on_exchange(recorded, evening(3))
    build(
        source,
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        evening(3),
        CALENDAR,
        tmp_path / "data",
    )
    before = (tmp_path / "data" / "AAA.csv").read_bytes()
    clock.sleep_until(evening(4))
    build(
        source,
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        clock.now(),
        CALENDAR,
        tmp_path / "data",
        symbols=["BBB"],
    )
    assert (tmp_path / "data" / "AAA.csv").read_bytes() == before
    assert Dataset(tmp_path / "data", CALENDAR).symbols == ("AAA", "BBB", "CC.A")


def test_stocks_that_lack_the_same_sessions_share_requests() -> None:
    missing = {"A": SESSIONS, "B": [SESSIONS[0], *SESSIONS[2:4]], "C": SESSIONS, "D": SESSIONS[2:4]}
    asked = [(symbols, [session.date for session in run]) for symbols, run in plan(missing, SESSIONS)]
    days = [session.date for session in SESSIONS]
    assert asked == [(["A", "C"], days), (["B"], days[:1]), (["B", "D"], days[2:4])]
    many = list(plan({f"S{i}": SESSIONS for i in range(100)}, SESSIONS))
    assert sum(len(symbols) for symbols, _ in many) == 100
    assert max(len(symbols) * len(run) for symbols, run in many) <= 240


@pytest.mark.parametrize(("feed", "minutes"), [("iex", 1), ("sip", 16), ("delayed_sip", 16)])
def test_a_session_is_requested_once_the_feed_releases_it(feed: str, minutes: int) -> None:
    source, _ = alpaca(canned({}), feed=feed)
    soon = SESSIONS[1].close + timedelta(minutes=minutes)
    assert source.sessions(CALENDAR, soon, 1) == [SESSIONS[1]]
    assert source.sessions(CALENDAR, soon - timedelta(seconds=1), 1) == [SESSIONS[0]]


Reply = tuple[int, Any]


def canned(replies: Mapping[str, Reply | list[Reply]]) -> Callable[..., list[bytes]]:
    """A WSGI application with one reply per path, or a list of replies, one per request."""
    left = {path: list(reply) if isinstance(reply, list) else None for path, reply in replies.items()}

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        queue = left.get(path)
        status, body = queue.pop(0) if queue else replies.get(path, (404, {"message": "not found"}))
        start_response(f"{status} X", [("Content-Type", "application/json")])
        return [body if isinstance(body, bytes) else json.dumps(body).encode()]

    return app


def bar(minute: int) -> dict[str, Any]:
    return {"t": f"2018-03-07T14:{minute:02}:00Z", "o": 5.0, "h": 5.2, "l": 4.9, "c": 5.1, "v": 100, "n": 3, "vw": 5.0}


def test_null_bars_and_null_pages_count_as_no_bars() -> None:
    pages = [
        (200, {"bars": {"A": [bar(30)]}, "next_page_token": "x"}),
        (200, {"bars": None, "next_page_token": "y"}),
        (200, {"bars": {"A": [bar(31)], "B": None}, "next_page_token": None}),
    ]
    source, recorder = alpaca(canned({"/v2/stocks/bars": pages}))
    found = source.bars(["A", "B", "C"], SESSIONS[:1])
    assert {symbol: len(bars) for symbol, bars in found.items()} == {"A": 2, "B": 0, "C": 0}
    assert [query.get("page_token") for query in recorder.bars()] == [None, "x", "y"]


FAILURES: dict[str, tuple[Reply, type[UserError], str]] = {
    "wrong keys": ((401, {"message": "unauthorized."}), BrokerError, "refuses the keys (401)"),
    "recent SIP": (
        (403, {"message": "subscription does not permit querying recent SIP data"}),
        BrokerError,
        "DATA_FEED=iex",
    ),
    "bad request": ((400, {"message": "invalid feed"}), SourceError, "(HTTP 400): invalid feed"),
    "a page of HTML": ((400, b"<html>no</html>"), SourceError, "HTTP 400"),
    "no JSON": ((200, b"<html>hello</html>"), SourceError, "cannot be read"),
    "a list": ((200, []), SourceError, "expected a page of bars, got []"),
    "a bar without price": (
        (200, {"bars": {"A": [{"t": "2018-03-07T14:30:00Z"}]}, "next_page_token": None}),
        SourceError,
        "cannot be read (KeyError: 'o')",
    ),
    "a bar without time": (
        (200, {"bars": {"A": [bar(30) | {"t": "now"}]}, "next_page_token": None}),
        SourceError,
        "cannot be read",
    ),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_of_alpaca_is_one_line(kind: str) -> None:
    reply, error, expected = FAILURES[kind]
    source, _ = alpaca(canned({"/v2/stocks/bars": reply}))
    with pytest.raises(error) as caught:
        source.bars(["A"], SESSIONS[:1])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


# Yahoo, through yfinance


class ChartReply:
    """The parts of an HTTP response that yfinance uses."""

    status_code = 200
    url = "https://query2.finance.yahoo.com/"

    def __init__(self, text: str) -> None:
        self.text = text

    def json(self) -> dict[str, Any]:
        return json.loads(self.text)

    def raise_for_status(self) -> None:
        """The status is 200."""


@pytest.fixture
def yahoo_charts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """yfinance on recorded replies: AAPL has bars, every other symbol is unknown."""
    if not YAHOO.is_dir():
        pytest.skip("recorded replies of Yahoo are not here")
    yfinance = pytest.importorskip("yfinance")
    from yfinance.data import YfData

    chart = (YAHOO / "chart_AAPL_1m_2021-01.json").read_text()
    unknown = '{"chart": {"result": null, "error": {"code": "Not Found", "description": "No data found"}}}'
    asked: list[dict[str, Any]] = []

    def answer(self: Any, url: str, params: dict[str, Any] | None = None, timeout: float = 30) -> ChartReply:
        asked.append({"url": url, **(params or {})})
        return ChartReply(chart if url.endswith("/AAPL") else unknown)

    monkeypatch.setattr(YfData, "get", answer)
    monkeypatch.setattr(YfData, "cache_get", answer)
    yfinance.set_tz_cache_location(str(tmp_path / "cache"))
    yield asked


@pytest.fixture
def no_network() -> Iterator[None]:
    """yfinance behind a proxy that does not exist."""
    yfinance = pytest.importorskip("yfinance")
    yfinance.config.network.proxy = "http://127.0.0.1:9"
    yield
    yfinance.config.network.proxy = None


def test_yahoos_bars_are_parsed_and_its_silent_failures_are_named(
    yahoo_charts: list[dict[str, Any]], tmp_path: Path
) -> None:
    day = CALENDAR.session(date(2021, 1, 11))
    source = YahooSource()
    report = build(
        source,
        Settings.of(HISTORY_DAYS=1).data,
        LabelRules.of(Settings.of(HISTORY_DAYS=1).exits),
        Settings.of(HISTORY_DAYS=1).training.FEATURE_SET,
        day.close + timedelta(hours=4),
        CALENDAR,
        tmp_path,
        symbols=["AAPL"],
    )
    # 242 minutes: one without a trade (null), the last one in progress and so not on a full minute.
    bars = read_bars_file(tmp_path / "bars" / "AAPL.csv")
    assert report.fetched == len(bars) >= 239
    assert (bars.open[0], bars.volume[0]) == (128.96499633789062, 6021983.0)
    charts = [query for query in yahoo_charts if query.get("interval") == "1m"]
    assert {query["includePrePost"] for query in charts} == {False}
    assert sorted(source.bars(["AAPL", "NOPE"], [day])) == ["AAPL"]
    assert any("Yahoo gave nothing for NOPE from 2021-01-11" in note for note in source.notes)


def test_a_symbol_unknown_to_yahoo_is_named(yahoo_charts: list[dict[str, Any]], tmp_path: Path) -> None:
    day = CALENDAR.session(date(2021, 1, 11))
    now = day.close + timedelta(hours=4)
    with pytest.raises(SourceError, match="NOPE: Yahoo Finance, through yfinance has no bars of it"):
        build(
            YahooSource(),
            Settings.of(HISTORY_DAYS=1).data,
            LabelRules.of(Settings.of(HISTORY_DAYS=1).exits),
            Settings.of(HISTORY_DAYS=1).training.FEATURE_SET,
            now,
            CALENDAR,
            tmp_path,
            symbols=["AAPL", "NOPE"],
        )
    assert Dataset(tmp_path, CALENDAR).missing(["AAPL", "NOPE"], [day]) == {"NOPE": [day]}


def test_an_unreachable_network_is_reported(no_network: None, tmp_path: Path) -> None:
    source = YahooSource()
    with pytest.raises(SourceError, match=r"no bars at all; Yahoo gave nothing for .*: Failed to perform"):
        build(
            source,
            Settings.of(HISTORY_DAYS=2).data,
            LabelRules.of(Settings.of(HISTORY_DAYS=2).exits),
            Settings.of(HISTORY_DAYS=2).training.FEATURE_SET,
            evening(-1),
            CALENDAR,
            tmp_path,
            symbols=["AAPL", "F"],
        )
    assert all(any(symbol in note for note in source.notes) for symbol in ("AAPL", "F"))
    with pytest.raises(SourceError, match=r"screen of active stocks failed \(Failed to perform"):
        source.universe(evening(-1), DataSettings(TOP_STOCKS=10, MIN_PRICE=1.0, MAX_PRICE=20.0))


def test_requests_to_yahoo_keep_its_limits_of_age_and_span() -> None:
    source = YahooSource()
    now = evening(-1)
    reachable = source.sessions(CALENDAR, now, 30)
    assert 18 <= len(reachable) < 30
    assert reachable[0].open > now - timedelta(days=30)
    assert "of the 30 requested sessions" in source.notes[0]
    for window in windows(reachable):
        assert (window[-1].date - window[0].date).days < 7
    assert [session for window in windows(reachable) for session in window] == reachable


# The command line


def run(*arguments: object) -> int:
    return cli.run(lambda: build_dataset.main([str(argument) for argument in arguments]))


def test_the_command_builds_and_reports(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--bars", recorded, "--data-dir", tmp_path / "data", "--days", 3, "--symbols", "aaa,BBB") == 0
    out = capsys.readouterr().out
    assert "2 stocks on 2018-03-14: named on the command line" in out
    assert "sessions  3, 2018-03-12 to 2018-03-14" in out


WRONG: dict[str, tuple[list[str], str]] = {
    "no keys": ([], "no Alpaca keys: set APCA_API_KEY_ID"),
    "bars without a folder": (["--source", "bars"], "--source bars and --bars DIR belong together"),
    "a folder for another source": (["--source", "alpaca", "--bars", "x"], "belong together"),
    "no such folder": (["--bars", "{tmp}/nowhere"], "no such folder"),
    "an empty folder": (["--bars", "{tmp}/empty"], "no bar files"),
    "an unknown symbol": (["--bars", "{bars}", "--symbols", "NOPE"], "NOPE: no such stock"),
    "too many stocks": (["--bars", "{bars}", "--top", "501"], "TOP_STOCKS=501"),
    "a folder of somebody else": (["--bars", "{bars}", "--data-dir", "{tmp}/theirs"], "holds files but no market.json"),
    "a file for a folder": (["--bars", "{bars}", "--data-dir", "{tmp}/theirs/letter"], "choose another folder"),
    "a bad bar file": (["--bars", "{tmp}/bad"], "row 2: open is 'ten'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_user_error_is_one_line_and_exit_code_2(
    kind: str, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "A.csv").write_text(
        "symbol,timestamp,open,high,low,close,volume\nA,2018-03-07T14:30:00Z,ten,1,1,1,1\n"
    )
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "letter").write_text("Dear all")
    (tmp_path / "env").write_text("")
    before = content(tmp_path)
    arguments, expected = WRONG[kind]
    given = [argument.format(tmp=tmp_path, bars=recorded) for argument in arguments]
    data = [] if "--data-dir" in given else ["--data-dir", tmp_path / "data"]
    assert run(*given, *data, "--env-file", tmp_path / "env") == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert expected in error
    assert "\n" not in error
    assert content(tmp_path) == before


def test_the_data_of_another_market_is_moved_away_whole(recorded: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    build(
        FolderSource(recorded),
        SETTINGS.data,
        LabelRules.of(SETTINGS.exits),
        SETTINGS.training.FEATURE_SET,
        evening(-1),
        CALENDAR,
        data,
    )
    before = content(data)
    source, _, _ = on_exchange(recorded, evening(-1))
    report = build(
        source, SETTINGS.data, LabelRules.of(SETTINGS.exits), SETTINGS.training.FEATURE_SET, evening(-1), CALENDAR, data
    )
    assert report.moved_away is not None
    assert report.moved_away in report.summary()
    aside = tmp_path / f"data.{FolderSource(recorded).market.slug}"
    assert content(aside) == before


def test_two_builds_at_once_are_refused(recorded: Path, tmp_path: Path) -> None:
    held = lock(tmp_path / "data", "dataset build")
    try:
        with pytest.raises(UserError, match="another dataset build is using it"):
            build(
                FolderSource(recorded),
                SETTINGS.data,
                LabelRules.of(SETTINGS.exits),
                SETTINGS.training.FEATURE_SET,
                evening(-1),
                CALENDAR,
                tmp_path / "data",
            )
    finally:
        held.release()
