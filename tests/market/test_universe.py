"""The universe of a day: one rule for daily bars, recorded minute bars and a data folder, on any date."""

from __future__ import annotations

import json
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from config import DataSettings, Settings
from tests.dataset.data_world import CALENDAR, session_bars, write_folder
from tests.dataset.test_build import SESSIONS, alpaca, evening, on_exchange
from trading.base.errors import UserError
from trading.dataset.dataset import Dataset
from trading.dataset.universes import past_universes
from trading.dataset.upkeep.build import build, pick_universe
from trading.market.bars import Bars, join, write_bars_file
from trading.market.source import Pick, SourceError
from trading.market.sources.recorded import FolderSource
from trading.market.universe import PastUniverses, evenings, most_active
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from trading.base.calendar import Session

DAY = SESSIONS[2]
DATA = DataSettings(TOP_STOCKS=2, MIN_PRICE=1.0, MAX_PRICE=20.0)


# The rule


def test_the_most_active_are_counted_within_the_band() -> None:
    stocks = [Pick(f"BIG{i}", 1e9 + i, 300.0) for i in range(200)]
    stocks += [Pick("B", 50.0, 19.99), Pick("C", 50.0, 1.0), Pick("A", 90.0, 20.0), Pick("D", 10.0, 5.0)]
    stocks += [Pick("E", 0.0, 5.0), Pick("F", 99.0, float("nan")), Pick("G", None, 5.0), Pick("H", 99.0, 0.99)]
    chosen = most_active(stocks, DATA)
    assert [pick.symbol for pick in chosen.picks] == ["A", "B"]
    assert chosen == most_active(stocks[::-1], DATA)
    assert chosen.refused == {"price over $20": 200, "no volume": 2, "no price": 1, "price under $1": 1}


def with_volume(session: Session, seed: int, volume: float) -> Bars:
    bars = session_bars(session, seed)
    bars.volume[:] = 0.0
    bars.volume[[5, 100]] = volume / 2
    return bars


def test_a_past_date_knows_only_the_evening_before() -> None:
    """Volumes trade places every day; the day's own volume decides nothing, nor does a stock that starts later."""
    first, second, third = SESSIONS[1:4]  # the second is a Friday, so the third follows a weekend
    volumes = {"AAA": (100.0, 900.0), "BBB": (300.0, 200.0), "CCC": (200.0, 300.0)}
    stocks = [
        evenings(name, join([with_volume(session, 1, v) for session, v in zip((first, second), both, strict=True)]))
        for name, both in volumes.items()
    ]
    stocks.append(evenings("NEW", with_volume(third, 1, 1e6)))
    past = PastUniverses(stocks, CALENDAR, DATA)
    assert [pick.symbol for pick in past.universe_of(second.date).picks] == ["BBB", "CCC"]
    assert [pick.symbol for pick in past.universe_of(third.date).picks] == ["AAA", "CCC"]
    assert [pick.symbol for pick in past.universe_of(third.date - timedelta(days=1)).picks] == ["AAA", "CCC"]
    assert past.universe_of(first.date).picks == ()
    assert past.universe_of(third.date).picks[0] == Pick("AAA", 900.0, float(session_bars(second, 1).close[-1]))


# One rule, whatever the evening is read from


def market(folder: Path) -> None:
    """Stocks whose volumes and prices change from session to session, one of them a warrant."""
    for i, name in enumerate(("AAA", "BBB", "CC.A", "DD.WS", "EEE")):
        parts = []
        for k, session in enumerate(SESSIONS):
            if (i + k) % 5 == 4:
                continue  # no bar in this session
            bars = session_bars(session, i, price=17.0 + 1.5 * ((i + 2 * k) % 5))
            bars.volume[:] *= 1 + (3 * i + 7 * k) % 11
            parts.append(bars)
        write_bars_file(folder / f"{name}.csv", name, join(parts))


def test_files_exchange_and_data_folder_agree_on_every_date(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded"
    market(recorded)
    settings = Settings.of(HISTORY_DAYS=len(SESSIONS), TOP_STOCKS=3, MAX_PRICE=20)
    build(
        FolderSource(recorded),
        settings.data,
        LabelRules.of(settings.exits),
        settings.training.FEATURE_SET,
        evening(-1),
        CALENDAR,
        tmp_path / "data",
        symbols=["AAA", "BBB", "CC.A", "DD.WS", "EEE"],
    )
    past = past_universes(Dataset(tmp_path / "data", CALENDAR), settings.data)
    seen = set()
    for session, following in pairwise(SESSIONS):
        morning = following.open - timedelta(hours=5, minutes=30)
        source, recorder, _ = on_exchange(recorded, morning)
        by_wire = source.universe(morning, settings.data)
        by_file = FolderSource(recorded).universe(morning, settings.data)
        assert by_wire.picks == by_file.picks == past.universe_of(following.date).picks
        assert by_wire.date == by_file.date == following.date
        in_the_evening = session.close + timedelta(hours=4)
        assert FolderSource(recorded).universe(in_the_evening, settings.data) == by_file
        assert on_exchange(recorded, in_the_evening)[0].universe(in_the_evening, settings.data) == by_wire
        assert f"{session.date}" in by_wire.chosen and f"{session.date}" in by_file.chosen
        assert not any(path.startswith("/v1beta1/screener") for path, _ in recorder.asked)
        assert "DD.WS" not in by_wire.symbols
        assert by_wire.refused["excluded kind: warrants"] == 1
        seen.add(tuple(by_wire.symbols))
    assert len(seen) > 2, "the dates must differ, or the test shows nothing"


# Alpaca's list, as long and as odd as it is


class Broker:
    """Alpaca with 2,600 stocks of a price band and odd symbols; `asked` counts the symbols of each daily request."""

    def __init__(self, *, sip: Any = None, iex: Any = None, unknown: Iterable[str] = ()) -> None:
        self.refusals = {"sip": sip, "iex": iex}
        self.unknown = set(unknown)
        self.asked: list[tuple[str, int]] = []
        self.addresses: list[int] = []
        self.volume: dict[str, float] = {f"S{i:04}": 1000.0 + i for i in range(2600)}
        self.assets: list[Any] = [self.asset(symbol) for symbol in self.volume]
        self.odd: dict[str, Any] = {}

    @staticmethod
    def asset(symbol: str, **changed: Any) -> dict[str, Any]:
        asset = {"symbol": symbol, "status": "active", "tradable": True, "exchange": "NASDAQ", "attributes": []}
        return asset | {"name": f"{symbol} Corp. Common Stock"} | changed

    def add(self, symbol: str, volume: float = 1e7, **changed: Any) -> None:
        self.volume[symbol] = volume
        self.assets.append(self.asset(symbol, **changed))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        status, body = self._answer(environ["PATH_INFO"], query, len(environ["QUERY_STRING"]))
        start_response(f"{status} X", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]

    def _answer(self, path: str, query: Mapping[str, str], length: int) -> tuple[int, Any]:
        if path == "/v2/assets":
            return 200, self.assets
        if path == "/v1beta1/screener/stocks/most-actives":
            names = sorted(self.volume, key=lambda name: -self.volume[name])[: int(query["top"])]
            return 200, {"most_actives": [{"symbol": name, "volume": self.volume[name]} for name in names]}
        if path == "/v2/stocks/trades/latest":
            return 200, {"trades": {name: {"p": 7.0} for name in query["symbols"].split(",")}}
        assert path == "/v2/stocks/bars" and query["timeframe"] == "1Day"
        symbols = query["symbols"].split(",")
        self.asked.append((query["feed"], len(symbols)))
        self.addresses.append(length)
        if refusal := self.refusals[query["feed"]]:
            return refusal
        if bad := [symbol for symbol in symbols if symbol in self.unknown]:
            return 400, {"message": f"invalid symbol: {bad[0]}"}
        cut = 400  # pages of 400 rows
        at = int(query.get("page_token", "0"))
        rows = {symbol: self._rows(symbol) for symbol in symbols[at : at + cut]}
        return 200, {"bars": rows, "next_page_token": str(at + cut) if at + cut < len(symbols) else None}

    def _rows(self, symbol: str) -> Any:
        good = {"t": f"{DAY.date}T05:00:00Z", "o": 7.0, "h": 7.0, "l": 7.0, "c": 7.0, "v": self.volume[symbol], "n": 1}
        return self.odd.get(symbol, [good])


MORNING = DAY.close + timedelta(hours=12)
TOP = DataSettings(TOP_STOCKS=150)
WANTED = [f"S{i:04}" for i in range(2599, 2449, -1)]


def test_all_listed_stocks_are_candidates_in_requests_of_a_thousand() -> None:
    broker = Broker()
    universe = alpaca(broker)[0].universe(MORNING, TOP)
    assert universe.symbols == WANTED
    assert {feed for feed, _ in broker.asked} == {"sip"}
    assert len({count for _, count in broker.asked}) > 1 and max(count for _, count in broker.asked) <= 1000
    assert max(broker.addresses) < 7500
    assert f"on {DAY.date}" in universe.chosen and "2,600 daily bars, feed sip" in universe.chosen


REFUSED_SIP = (403, {"message": "subscription does not permit querying recent SIP data"})


def test_the_configured_feed_and_then_the_screener_stand_in() -> None:
    broker = Broker(sip=REFUSED_SIP)
    source = alpaca(broker)[0]
    assert source.universe(MORNING, TOP).symbols == WANTED
    assert "feed iex" in source.universe(MORNING, TOP).chosen and source.notes == []
    assert [feed for feed, _ in broker.asked][:2] == ["sip", "iex"]
    refusals: list[Any] = [
        REFUSED_SIP,
        (400, {"message": "invalid timeframe"}),
        (200, {"bars": {}, "next_page_token": None}),
    ]
    for iex in refusals:
        broker = Broker(sip=REFUSED_SIP, iex=iex)
        source = alpaca(broker)[0]
        universe = source.universe(MORNING, TOP)
        assert universe.symbols == WANTED[:100]
        assert "screener" in universe.chosen
        assert len([note for note in source.notes if "screener" in note]) == 1


def test_odd_listings_cost_themselves_and_nothing_else() -> None:
    broker = Broker(unknown={"BAC.PRQ", "ODD.1", "S1234"})
    broker.add("BRK.B", name="Berkshire Hathaway Inc. Class B")
    broker.add("ODD.1")
    broker.add("BAC.PRQ", name="Bank of America")
    broker.add("PL.WS", name="Planet Labs PBC Warrants")
    broker.add("AAM.U", name="AA Mission Acquisition Corp.")
    broker.add("SOXS", name="Direxion Daily Semiconductor Bear 3X Shares")
    broker.add("PTP", attributes=["ptp_no_exception"])
    broker.add("lower", name="Lower Case Inc.")
    broker.add("WAY/TOO", name="With a slash")
    broker.add("PINK", exchange="OTC")
    broker.add("SHUT", tradable=False)
    broker.add("HALF", name=None, attributes=None)
    broker.assets += [{"symbol": "BARE", "status": "active", "tradable": True}, {"status": "active"}, "text", None]
    broker.volume["BARE"] = 2e7
    broker.odd = {
        "S2599": None,
        "S2598": [],
        "S2597": [{"t": "x"}],
        "S2596": "text",
        "S2595": [{"t": f"{DAY.date}T05:00:00Z", "c": 7.0, "v": float("nan")}],
        "S2594": [{"t": "2018-03-05T05:00:00Z", "c": 7.0, "v": 1e9}],  # a day that was not asked for
        "S2593": [None],
        "S2592": [{"t": f"{DAY.date}T05:00:00Z", "c": "7.5", "v": "8e9"}],
    }
    source, _ = alpaca(broker)
    universe = source.universe(MORNING, TOP)
    assert universe.symbols[:5] == ["S2592", "BARE", "BRK.B", "HALF", "S2591"]
    assert len(universe.symbols) == 150
    refused = dict(universe.refused)
    assert refused.pop(f"no bar on {DAY.date}") == 9  # seven odd replies and two unknown symbols
    assert refused == {
        "excluded kind: preferreds": 1,
        "excluded kind: warrants": 1,
        "excluded kind: units": 1,
        "excluded kind: leveraged": 1,
        "excluded kind: partnerships": 1,
        "symbol of an unknown form": 2,
        "not listed at an exchange": 1,
        "not tradable": 1,
    }
    assert any("ODD.1" in note for note in source.notes)
    wide = TOP.changed(EXCLUDED_KINDS=())
    assert {"PL.WS", "AAM.U", "SOXS", "PTP"} <= set(source.universe(MORNING, wide).symbols)


def test_a_list_that_is_all_unknown_falls_back_to_the_screener() -> None:
    broker = Broker(unknown={f"S{i:04}" for i in range(2600)})
    source, _ = alpaca(broker)
    assert source.universe(MORNING, TOP).symbols == WANTED[:100]
    assert any("more than 20 symbols" in note for note in source.notes)


def test_a_named_symbol_of_an_odd_form_is_refused_and_a_picked_one_is_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, SESSIONS[:2])
    write_bars_file(tmp_path / "A B.csv", "A B", session_bars(SESSIONS[1], 4))
    source = FolderSource(tmp_path)
    with pytest.raises(UserError, match="'A B' is not a stock symbol"):
        pick_universe(source, DATA, evening(1), ["A B"])
    picked = pick_universe(source, DATA.changed(TOP_STOCKS=9), evening(1), None)
    assert sorted(picked.symbols) == ["AAA", "BBB", "CC.A"]
    assert picked.refused == {"symbol of an unknown form": 1}


def test_wrong_keys_end_the_choice_at_once() -> None:
    broker = Broker(sip=(401, {"message": "unauthorized."}))
    with pytest.raises(UserError, match="refuses the keys"):
        alpaca(broker)[0].universe(MORNING, TOP)
    assert len(broker.asked) == 1


def test_a_date_before_the_calendar_is_one_line() -> None:
    with pytest.raises(UserError, match="calendar"):
        PastUniverses([], CALENDAR, DATA).universe_of(date(1990, 1, 2))


def test_a_broker_without_any_answer_is_a_source_error() -> None:
    def down(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("404 X", [("Content-Type", "application/json")])
        return [b'{"message": "not found"}']

    with pytest.raises(SourceError, match="Alpaca refuses assets"):
        alpaca(down)[0].universe(MORNING, TOP)
