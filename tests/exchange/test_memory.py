"""What the exchange remembers of past sessions does not grow with their number; its orders and fills do."""

from __future__ import annotations

import gc
from datetime import timedelta

import numpy as np

from paper_exchange.base.session_cache import SESSIONS_BEHIND, SessionCache
from paper_exchange.market.generator.market import FIRST_SESSION, GeneratedMarket
from paper_exchange.market.interface import BarColumns
from paper_exchange.market.published import Schedule
from paper_exchange.market.quotes import Stretch
from tests.exchange.exchange_world import Venue
from trading.base.calendar import new_york_calendar

CALENDAR = new_york_calendar()
SESSIONS = CALENDAR.between(FIRST_SESSION, FIRST_SESSION + timedelta(days=17))


def remembered() -> int:
    """Objects of this process that hold bars or prices."""
    gc.collect()
    return sum(type(one) in (BarColumns, Stretch, Schedule) for one in gc.get_objects())


def trade_a_session(here: Venue, symbols: list[str], index: int) -> None:
    """An order, quotes and bars of a session, at night too, and in the evening the history of one more stock."""
    session = SESSIONS[index]
    six = {"symbols": ",".join(symbols[:6])}
    for at in (session.open - timedelta(hours=1), session.open + timedelta(hours=1), session.close):
        here.time = at + timedelta(seconds=20)
        here.raw_data.get("/stocks/bars/latest", six)
        here.raw_data.get("/stocks/quotes/latest", six)
    here.time = session.open + timedelta(hours=7)
    here.raw.post("/orders", {"symbol": symbols[0], "qty": "1", "side": "buy", "type": "market",
                              "time_in_force": "day"})  # fmt: skip
    asked = {"symbols": f"{symbols[0]},{symbols[6 + index % 2]}", "timeframe": "1Min", "limit": 10_000}
    here.raw_data.get("/stocks/bars", asked | {"start": str(SESSIONS[max(0, index - 5)].date)})


def test_bars_and_prices_of_past_sessions_are_forgotten() -> None:
    market = GeneratedMarket(1, 12)
    symbols = [one.symbol for one in market.listings if one.tradable and one.active]
    here = Venue(market, SESSIONS[0].open - timedelta(hours=2), bar_delay=3.0, updated_bars=0.1)
    counts = []
    for index in range(len(SESSIONS)):
        trade_a_session(here, symbols, index)
        counts.append(remembered())
    assert max(counts[-3:]) <= max(counts[6:-3]), counts
    assert len(here.exchange.snapshot().orders) == len(SESSIONS)  # an account keeps its orders


def test_what_stays_of_a_generated_session_is_a_number_a_stock() -> None:
    market = GeneratedMarket(1, 12)
    market.session_bars(market.listings[0].symbol, SESSIONS[-1].date)
    assert len(market._states) > len(SESSIONS)
    for array in (one for state in market._states for one in vars(state).values() if isinstance(one, np.ndarray)):
        whole = array if array.base is None else array.base
        assert whole.nbytes <= 8 * len(market.listings)


def test_a_new_session_drops_old_ones_and_a_download_of_the_past_stays_until_the_next() -> None:
    cache: SessionCache[str] = SessionCache(20)
    for index in range(10):
        cache.put("AAA", index, f"AAA {index}")
        cache.put("BBB", index, f"BBB {index}")
    assert len(cache) == 2 * (SESSIONS_BEHIND + 1)
    assert cache.get("AAA", 9 - SESSIONS_BEHIND) and cache.get("AAA", 8 - SESSIONS_BEHIND) is None
    assert [cache.put("CCC", index, f"CCC {index}") for index in range(9)] == [f"CCC {index}" for index in range(9)]
    assert cache.get("CCC", 0) == "CCC 0"
    cache.put("AAA", 10, "AAA 10")
    assert cache.get("CCC", 0) is None and cache.get("CCC", 8) == "CCC 8"


def test_more_values_than_allowed_drop_those_that_were_not_used() -> None:
    cache: SessionCache[int] = SessionCache(3)
    for index in (4, 3, 2):
        cache.put("AAA", index, index)
    assert cache.get("AAA", 4) == 4
    cache.put("AAA", 1, 1)
    assert cache.get("AAA", 3) is None and [cache.get("AAA", index) for index in (4, 2, 1)] == [4, 2, 1]
