"""Bars of days, weeks and months: equal to the minutes they are made of, cheap, and never in the way of a request."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from paper_exchange import Halt
from paper_exchange.base.calendar import xnys
from paper_exchange.market.frames import aggregate, frame_of
from paper_exchange.market.generator.market import GeneratedMarket
from paper_exchange.market.interface import BarColumns
from paper_exchange.market.summary import summarise
from tests.exchange.exchange_world import MONDAY, ORIGIN, HandMade, Venue, ny
from tests.exchange.order_requests import FLAT, limit

if TYPE_CHECKING:
    from paper_exchange.market.summary import Summary

DAYS = [one.day for one in xnys().sessions if date(2025, 1, 2) <= one.day <= date(2025, 6, 30)]
AT = ny(date(2025, 7, 1), "10:30")


def rows(here: Venue, symbol: str, frame: str) -> list[dict[str, Any]]:
    query = {"timeframe": frame, "start": "2024-12-01", "feed": "iex", "limit": 10000}
    return here.raw_data.get(f"/stocks/{symbol}/bars", query)["bars"]


@pytest.mark.parametrize("frame", ["1Day", "1Week", "1Month", "3Month"])
def test_long_bars_equal_the_aggregate_of_their_minutes(frame: str) -> None:
    market = GeneratedMarket(stocks=4)
    here = Venue(market, AT)
    parsed = frame_of(frame)
    assert parsed is not None
    for listing in market.listings:
        parts = [(xnys().on(day), market.session_bars(listing.symbol, day)) for day in DAYS]
        starts = np.concatenate([np.full(len(bars), parsed.start_of(session)) for session, bars in parts if session])
        fields = ("start", "open", "high", "low", "close", "volume")
        whole = BarColumns(*(np.concatenate([getattr(bars, name) for _, bars in parts]) for name in fields))
        want = aggregate(whole, starts)
        got = rows(here, listing.symbol, frame)
        count = len(want.start) - (frame == "1Week")  # the last week goes on in July
        for short, column in zip(("o", "h", "l", "c", "v", "n", "vw"), list(vars(want).values())[1:], strict=True):
            assert [row[short] for row in got[:count]] == column.tolist()[:count]


def test_summaries_are_the_same_from_several_threads_and_after_eviction() -> None:
    alone, shared = GeneratedMarket(stocks=4), GeneratedMarket(stocks=4)
    symbols = [listing.symbol for listing in alone.listings]
    wanted = {(symbol, day): summarise(alone.session_bars(symbol, day)) for day in DAYS for symbol in symbols}

    def read(symbol: str) -> dict[tuple[str, date], Summary | None]:
        days = DAYS if symbol != symbols[0] else DAYS[::-1]
        return {(symbol, day): shared.summary(symbol, day) for day in days}

    with ThreadPoolExecutor(4) as pool:
        got = {key: one for part in pool.map(read, symbols) for key, one in part.items()}
    assert got == wanted
    first = alone.session_bars(symbols[0], DAYS[0])
    assert np.array_equal(shared.session_bars(symbols[0], DAYS[0]).close, first.close)


def test_a_year_of_daily_bars_costs_little_memory_and_time() -> None:
    market = GeneratedMarket(stocks=10)
    here = Venue(market, ny(date(2026, 1, 9), "10:30"))
    made = []
    original = market._make_from
    market._make_from = lambda *more: made.append(more[1]) or original(*more)  # type: ignore[method-assign,func-returns-value]
    for listing in market.listings:
        assert len(rows(here, listing.symbol, "1Day")) == 256
    assert made == []  # no session is generated again
    begun = time.process_time()
    rows(here, market.listings[0].symbol, "1Day")
    assert time.process_time() - begun < 0.05


def test_a_halted_stock_has_the_day_of_what_was_traded() -> None:
    market = HandMade({"AAA": {MONDAY: [("10:30", *FLAT), ("10:31", 10.0, 50.0, 10.0, 10.0), ("10:32", *FLAT)]}})
    halt = Halt("AAA", ny(MONDAY, "10:31"), ny(MONDAY, "10:32"))
    here = Venue(market, ny(MONDAY, "20:30"), halts=[halt])
    query = {"timeframe": "1Day", "start": "2018-03-26", "feed": "iex"}
    assert [row["h"] for row in here.raw_data.get("/stocks/AAA/bars", query)["bars"]] == [10.0]


class SlowMarket(HandMade):
    """A market that takes its time over one stock."""

    def __init__(self, *more: Any) -> None:
        super().__init__(*more)
        self.asked, self.go_on = threading.Event(), threading.Event()

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        if symbol == "SLOW":
            self.asked.set()
            assert self.go_on.wait(240)
        return super().session_bars(symbol, session)


@pytest.mark.parametrize(
    "path", ["/v2/stocks/SLOW/bars?timeframe=1Min&start=2018-03-26&feed=iex", "/v2/stocks/SLOW/snapshot"]
)
def test_no_request_waits_for_bars_that_another_needs(path: str) -> None:
    market = SlowMarket({"AAA": {MONDAY: [("10:30", *FLAT)]}, "SLOW": {MONDAY: [("10:30", *FLAT)]}})
    here = Venue(market, ny(MONDAY, "10:32"))
    headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(here.raw_data._session.get, ORIGIN + path, headers=headers)
        try:
            assert market.asked.wait(120)
            pool.submit(here.trading.submit_order, limit(9.0)).result(timeout=60)
            assert here.exchange.advance()
            assert not slow.done()  # which waits until now
        finally:
            market.go_on.set()
        assert slow.result().status_code == 200
