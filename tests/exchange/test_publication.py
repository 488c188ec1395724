"""When bars appear and in which version, over REST and over the stream, and what one venue shows of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_exchange.base.calendar import xnys
from paper_exchange.base.wire import MINUTE, to_ns
from paper_exchange.faults.market import FaultyMarket
from paper_exchange.faults.plan import FaultPlan
from paper_exchange.market.coverage import ThinnedMarket, probability, thinned, thinned_each
from paper_exchange.market.generator.market import GeneratedMarket
from paper_exchange.market.interface import BarColumns, WholeDayMarket
from paper_exchange.market.published import Publication, PublishedTape
from paper_exchange.market.summary import summarise
from paper_exchange.market.tape import Tape
from paper_exchange.market_data import minutes as minutes_module
from paper_exchange.market_data.minutes import EncodedMinutes
from paper_exchange.market_data.pages import PageRequest, minute_rows
from paper_exchange.streams.market_data import messages_between
from tests.exchange.exchange_world import MONDAY, HandMade, Venue, ny

SECOND = 10**9
OPEN = to_ns(ny(MONDAY, "09:30"))
SESSION = xnys().opened_by(OPEN)
ROWS = [
    (f"{9 + (30 + minute) // 60:02d}:{(30 + minute) % 60:02d}", 10.0, 10.4, 9.7, 10.3)
    for minute in range(60)
    if minute % 7 != 3
]
MARKET = HandMade({"AAA": {MONDAY: ROWS}, "BBB": {MONDAY: ROWS}})
publications = st.builds(
    Publication,
    delay=st.sampled_from([0.0, 0.5, 3.0, 60.0]),
    updated=st.sampled_from([0.0, 0.3, 1.0]),
    late=st.sampled_from([0.0, 0.3]),
    revised=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**40),
)
instants = st.integers(0, 65 * 60 * 1000).map(lambda ms: OPEN + ms * SECOND // 1000)


def shown(tape: Tape, instant: int) -> dict[int, tuple[float, ...]]:
    bars = tape.published("AAA", SESSION, instant)
    columns = (bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return {int(row[0]): tuple(map(float, row[1:])) for row in zip(*columns, strict=True)}


@given(publications, instants, instants)
def test_what_is_published_between_two_instants_is_what_changes_between_them(
    how: Publication, one: int, other: int
) -> None:
    first, last = sorted((one, other))
    tape = PublishedTape(MARKET, xnys(), publication=how)
    before, after = shown(tape, first), shown(tape, last)
    said = tape.published_between("AAA", SESSION, first, last)
    assert {start for kind, start in said if kind == "b"} == after.keys() - before.keys()
    changed = {start for start in before if before[start] != after[start]}
    updated = {start for kind, start in said if kind == "u"}
    assert changed <= updated <= after.keys()
    assert all(start + MINUTE <= last for start in after)
    for opened, high, low, close, volume in after.values():
        assert low <= min(opened, close) <= max(opened, close) <= high and volume >= 1
        assert round(close * 100) == pytest.approx(close * 100)


@settings(max_examples=20)
@given(publications)
def test_every_bar_is_published_once_within_its_time_and_ends_as_it_is(how: Publication) -> None:
    tape, again = (PublishedTape(MARKET, xnys(), publication=how) for _ in range(2))
    end = int(SESSION.open) + 60 * MINUTE + how.settles_in
    steps = range(OPEN, end + 5 * SECOND, 5 * SECOND)
    said = [one for at in steps for one in tape.published_between("AAA", SESSION, at - 5 * SECOND, at)]
    assert sorted(start for kind, start in said if kind == "b") == tape.session_bars("AAA", SESSION).start.tolist()
    assert sorted(said) == sorted(again.published_between("AAA", SESSION, OPEN, end))
    assert shown(tape, end) == shown(Tape(MARKET, xnys()), end)


def test_bars_appear_one_to_three_seconds_after_their_minute_and_each_stock_at_its_own_time() -> None:
    tape = PublishedTape(MARKET, xnys(), publication=Publication(3.0, 0.02))
    delays = {}
    for symbol in ("AAA", "BBB"):
        for minute in range(60):
            end = OPEN + (minute + 1) * MINUTE
            for tenth in range(31):
                if tape.published_between(symbol, SESSION, end, end + tenth * SECOND // 10):
                    delays[symbol, minute] = tenth
                    break
    assert len(delays) == 2 * len(ROWS)
    assert min(delays.values()) >= 10 and {one // 10 for one in delays.values()} >= {1, 2}
    assert any(delays["AAA", minute] != delays["BBB", minute] for _, minute in delays)


def bars(here: Venue, path: str = "/stocks/bars", **query: Any) -> list[dict]:
    asked = {"symbols": "AAA", "timeframe": "1Min", "start": "2018-03-26", "limit": 10_000} | query
    return here.raw_data.get(path, asked)["bars"].get("AAA", [])


def test_rest_and_stream_agree_at_every_moment() -> None:
    here = Venue(MARKET, ny(MONDAY, "10:00"), bar_delay=3.0, updated_bars=0.5)
    known = {row["t"]: row for row in bars(here, feed="iex")}
    for _ in range(80):
        before = to_ns(here.time)
        here.later(1.7)
        now = to_ns(here.time)
        for message in here.exchange.read_tape(lambda tape: messages_between(tape, {"AAA"}, set(), before, now)):  # noqa: B023
            if message["T"] in "bu":
                known[message["t"]] = {name: message[name] for name in ("t", "o", "h", "l", "c", "v", "n", "vw")}
        assert list(known.values()) == bars(here, feed="iex")
    latest = here.raw_data.get("/stocks/bars/latest", {"symbols": "AAA"})["bars"]["AAA"]
    assert latest == list(known.values())[-1]


@pytest.mark.parametrize("option", [{"bar_delay": -1.0}, {"bar_delay": 61.0}, {"updated_bars": 1.5}, {"coverage": "x"}])
def test_an_option_out_of_range_is_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        Venue(MARKET, ny(MONDAY, "10:00"), **option)


# Coverage

columns = st.lists(
    st.tuples(
        st.integers(0, 389),
        st.floats(0.2, 40.0),
        st.floats(0.0, 0.2),
        st.floats(0.0, 0.2),
        st.floats(0.0, 1.0),
        st.floats(0.0, 1.0),
        st.integers(1, 10**7),
    ),
    max_size=60,
    unique_by=lambda row: row[0],
)


def whole(rows: list[tuple]) -> BarColumns:
    """Bars of (minute, price, part above, part below, position of the open, of the close, volume)."""
    minute, price, up, down, first, last, volume = np.array(sorted(rows), dtype=np.float64).reshape(-1, 7).T
    low = np.rint(price * (1 - down) * 1e4) / 1e4
    high = np.rint(price * (1 + up) * 1e4) / 1e4
    start = OPEN + MINUTE * minute.astype(np.int64)
    return BarColumns(start, low + first * (high - low), high, low, low + last * (high - low), volume.astype(np.int64))


@settings(max_examples=40)
@given(columns, st.integers(0, 2**40), st.integers(0, 60))
def test_a_venue_prints_some_bars_within_the_whole_ones_whatever_else_there_is(
    rows: list[tuple], seed: int, cut: int
) -> None:
    market = whole(rows)
    found = thinned(market, "AAA", seed)
    index = np.searchsorted(market.start, found.start)
    assert np.array_equal(market.start[index], found.start)
    assert (found.low >= market.low[index]).all() and (found.high <= market.high[index]).all()
    for price in (found.open, found.close):
        assert (found.low <= price).all() and (price <= found.high).all()
    assert (found.volume >= 1).all() and (found.volume <= market.volume[index]).all()
    part = BarColumns(*(getattr(market, name)[:cut] for name in ("start", "open", "high", "low", "close", "volume")))
    earlier = thinned(part, "AAA", seed)
    assert np.array_equal(earlier.start, found.start[: len(earlier)])
    assert np.array_equal(earlier.volume, found.volume[: len(earlier)])


@pytest.mark.parametrize("volume", [300, 3_000, 30_000])
def test_the_share_of_minutes_and_of_volume_is_that_of_the_curve(volume: int) -> None:
    minutes = 20_000
    price = np.full(minutes, 10.0)
    market = BarColumns(OPEN + MINUTE * np.arange(minutes), price, price, price, price, np.full(minutes, volume))
    found = thinned(market, "AAA", 1)
    expected = float(probability(np.array([volume]))[0])
    assert abs(len(found) / minutes - expected) < 4 * np.sqrt(expected * (1 - expected) / minutes)
    if volume > 10_000:
        assert found.volume.sum() / market.volume.sum() == pytest.approx(0.025, rel=0.05)


def test_the_feed_decides_between_the_whole_and_the_thinned_bars() -> None:
    market = HandMade({"AAA": {MONDAY: ROWS}}, volume={"AAA": 3_000})
    here = Venue(market, ny(MONDAY, "10:20"), coverage="iex")
    sip, iex = bars(here, feed="sip"), bars(here, feed="iex")
    assert len(sip) == 31 and 2 < len([bar for bar in iex if bar["t"] <= sip[-1]["t"]]) < 20
    assert bars(here) == sip  # Alpaca's default
    latest = here.raw_data.get("/stocks/bars/latest", {"symbols": "AAA"})["bars"]["AAA"]
    snapshot = here.raw_data.get("/stocks/AAA/snapshot", {})
    assert latest == iex[-1] == snapshot["minuteBar"]
    assert snapshot["dailyBar"]["v"] == sum(bar["v"] for bar in iex) == bars(here, timeframe="1Day", feed="iex")[0]["v"]
    now = to_ns(here.time)
    said = here.exchange.read_tape(lambda tape: messages_between(tape, {"*"}, set(), OPEN, now))
    assert [one["t"] for one in said if one["T"] == "b"] == [bar["t"] for bar in iex]
    here.raw.post("/orders", {"symbol": "AAA", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"})
    here.at("10:21")
    assert here.raw.get("/positions")[0]["qty"] == "1"  # orders trade on the whole market


@settings(max_examples=20)
@given(st.lists(columns, max_size=4), st.integers(0, 2**40))
def test_stocks_are_thinned_together_as_alone(rows: list[list[tuple]], seed: int) -> None:
    markets = {f"S{i}": whole(one) for i, one in enumerate(rows)} | {"NONE": whole([])}
    for symbol, found in thinned_each(markets, seed).items():
        alone = thinned(markets[symbol], symbol, seed)
        assert all(np.array_equal(getattr(found, name), getattr(alone, name)) for name in vars(found))


@pytest.mark.parametrize("plan", [None, FaultPlan(0, [])])
def test_daily_bars_of_the_feed_make_no_session_of_a_generated_market_again(plan: FaultPlan | None) -> None:
    market = GeneratedMarket(seed=1, stocks=3)
    days = xnys().sessions[xnys().index_of[market.first_session] :][:80]  # more than a market keeps
    now = datetime.fromtimestamp(days[-1].close // SECOND, UTC)
    here = Venue(FaultyMarket(market, plan) if plan else market, now, coverage="iex")
    again: list = []
    market.call_with_sessions(again.append)
    names = [one.symbol for one in market.listings]
    wanted = {"symbols": ",".join(names), "timeframe": "1Day", "start": "2025-01-02", "limit": 1000, "feed": "iex"}
    found = here.raw_data.get("/stocks/bars", wanted)["bars"]
    assert again == []
    for symbol in names:
        whole_day = summarise(thinned(market.session_bars(symbol, days[1].day), symbol, 0))
        assert whole_day is not None
        assert (found[symbol][1]["v"], found[symbol][1]["c"]) == (whole_day.volume, whole_day.close)


def test_a_summary_of_the_thinned_market_is_that_of_its_bars() -> None:
    market = ThinnedMarket(MARKET, 3)
    bars_of_day = market.session_bars("AAA", MONDAY)
    found = market.summary("AAA", MONDAY)
    assert found is not None and found == market.summary("AAA", MONDAY)
    assert (found.volume, found.open) == (int(bars_of_day.volume.sum()), float(bars_of_day.open[0]))
    assert market.summary("BBB", MONDAY) != found


@given(publications, instants, st.tuples(st.integers(-5, 70), st.integers(0, 75)), st.booleans())
def test_bars_that_are_kept_encoded_are_those_that_are_published(
    how: Publication, first: int, minutes: tuple[int, int], whole_day: bool
) -> None:
    tape = PublishedTape(MARKET, xnys(), publication=how)
    if whole_day:
        tape.day = PublishedTape(WholeDayMarket(MARKET, tape.outside), xnys(), publication=how)
    rows = EncodedMinutes()
    start = OPEN + minutes[0] * MINUTE
    end = start + minutes[1] * MINUTE
    request = PageRequest(["AAA"], start, end, first, 1000, newest_first=False, resume=None)
    for now in (first, first + 25 * SECOND, first + 70 * SECOND, SESSION.after_close):
        asked = replace(request, now=now)
        kept, made = (source(tape, "AAA", SESSION, asked) for source in (rows, minute_rows))
        assert orjson.dumps(kept) == orjson.dumps(made)


def test_stocks_beyond_those_that_are_kept_have_the_same_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minutes_module, "MOST_STOCKS", 1)
    here = Venue(MARKET, ny(MONDAY, "09:50:10"), bar_delay=3.0)
    query = {"symbols": "AAA,BBB", "timeframe": "1Min", "start": "2018-03-26T13:30:00Z", "feed": "iex"}
    bars = here.raw_data.get("/stocks/bars", query)["bars"]
    assert bars["AAA"] == bars["BBB"] and len(bars["AAA"]) > 15
