"""Bars before the open and after the close: made of the trades of these hours, shown in time, never in daily bars."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from paper_exchange import Behaviour
from paper_exchange.base.wire import to_ns
from paper_exchange.streams.market_data import messages_between
from tests.exchange.exchange_world import MONDAY, NEW_YORK, TUESDAY, HandMade, Venue, killed, ny
from tests.exchange.order_requests import limit

if TYPE_CHECKING:
    from pathlib import Path

FROM, UNTIL = ny(MONDAY, "15:30"), ny(TUESDAY, "10:00")
LATER = ny(TUESDAY, "10:00:10")


def whole(day: Any, price: float) -> list[tuple]:
    clocks = [ny(day, "09:30") + timedelta(minutes=n) for n in range(390)]
    return [(f"{clock:%H:%M}", price, price, price, price) for clock in clocks]


def venue(at: datetime = LATER, **options: Any) -> Venue:
    """AAA closed at 10 on Monday and opens at 10.2 on Tuesday."""
    bars = {"AAA": {MONDAY: whole(MONDAY, 10.0), TUESDAY: whole(TUESDAY, 10.2)}}
    return Venue(HandMade(bars), at, **({"extended_bars": True} | options))


def rows(here: Venue, what: str = "bars", **query: Any) -> list[dict]:
    asked = {"symbols": "AAA", "timeframe": "1Min", "start": FROM.isoformat(), "end": UNTIL.isoformat(), "feed": "iex"}
    if what != "bars":
        del asked["timeframe"]
    return here.raw_data.get(f"/stocks/{what}", asked | {"limit": 10000} | query)[what].get("AAA", [])


def outside(rows: list[dict]) -> list[dict]:
    """The rows outside the core session."""
    clocks = [datetime.fromisoformat(row["t"]).astimezone(NEW_YORK).time().isoformat() for row in rows]
    return [row for row, clock in zip(rows, clocks, strict=True) if not "09:30" <= clock < "16:00"]


@pytest.mark.parametrize("delay", [0.0, 3.0])
def test_a_bar_outside_the_core_session_is_made_of_the_trade_of_its_minute(delay: float) -> None:
    here = venue(bar_delay=delay)
    bars, trades = rows(here), rows(here, "trades")
    night = outside(bars)
    assert len(bars) - len(night) == 60 and 25 <= len(night) <= 100  # of 240 and 330 minutes
    assert [bar["t"] for bar in bars] == sorted(bar["t"] for bar in bars)
    shown = [(bar["t"][:16], bar["o"], bar["h"], bar["l"], bar["c"], bar["v"]) for bar in night]
    assert shown == [(one["t"][:16], *[one["p"]] * 4, one["s"]) for one in outside(trades)]
    assert all(bar["v"] <= 40 for bar in night)
    assert rows(here, sort="desc") == bars[::-1]
    paged: list[dict] = []
    token = None
    while token is not None or not paged:
        asked = {"symbols": "AAA", "timeframe": "1Min", "start": FROM.isoformat(), "end": UNTIL.isoformat(), "limit": 7}
        page = here.raw_data.get("/stocks/bars", asked | {"feed": "iex"} | ({"page_token": token} if token else {}))
        paged, token = paged + page["bars"]["AAA"], page["next_page_token"]
    assert paged == bars


def test_the_core_session_and_daily_bars_are_those_without_extended_hours() -> None:
    on, off = venue(), venue(extended_bars=False)
    assert outside(rows(off)) == [] and rows(off) == [bar for bar in rows(on) if bar not in outside(rows(on))]
    for more in ({"start": ny(TUESDAY, "09:30").isoformat()}, {"timeframe": "1Day", "start": "2018-03-01"}):
        assert rows(on, **more) == rows(off, **more) != []
    here = venue(at=ny(TUESDAY, "05:00"))
    snapshot = here.raw_data.get("/stocks/snapshots", {"symbols": "AAA"})["AAA"]
    assert snapshot["minuteBar"] == outside([snapshot["minuteBar"]])[0]
    assert (snapshot["dailyBar"]["v"], snapshot["dailyBar"]["c"]) == (390_000, 10.0)
    hours = {bar["t"]: bar["v"] for bar in rows(venue(), timeframe="1Hour")}
    assert hours["2018-03-27T13:00:00Z"] == 30_000 + sum(
        bar["v"] for bar in outside(rows(on)) if bar["t"] >= "2018-03-27T13:00"
    )


def test_a_bar_is_shown_when_its_minute_is_over_by_rest_and_by_the_stream_alike() -> None:
    bars = rows(venue(bar_delay=3.0))
    for begin, end in ((ny(MONDAY, "15:55"), ny(MONDAY, "20:05")), (ny(TUESDAY, "03:55"), ny(TUESDAY, "09:40"))):
        here = venue(at=begin, bar_delay=3.0)
        tape = here.exchange._published
        heard: list[dict] = []
        days = 0
        instant = begin
        while instant < end:
            until = instant + timedelta(seconds=41)
            found = messages_between(tape, {"AAA"}, set(), to_ns(instant), to_ns(until))
            heard += [message for message in found if message["T"] == "b"]
            days += sum(message["T"] == "d" for message in found)
            here.time = instant = until
            latest = here.raw_data.get("/stocks/bars/latest", {"symbols": "AAA"})["bars"]["AAA"]
            assert datetime.fromisoformat(latest["t"]) + timedelta(seconds=61) <= until
            assert not heard or latest["t"] == heard[-1]["t"]
        assert days == len(heard) - len(outside(heard)) > 0, "daily bars follow the bars of the core session only"
        last = heard[-1]["t"]
        wanted = [bar["t"] for bar in bars if begin <= datetime.fromisoformat(bar["t"]) and bar["t"] <= last]
        assert [one["t"] for one in heard if begin <= datetime.fromisoformat(one["t"])] == wanted


def test_the_history_is_the_same_after_a_kill_and_for_the_same_seed(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    here = venue(at=ny(MONDAY, "16:00"), state=state, behaviour=Behaviour(seed=3))
    here.trading.submit_order(limit(10.5, tif="gtc", extended_hours=True))
    here.time = LATER
    bars = rows(here)
    again = venue(state=killed(state), behaviour=Behaviour(seed=3))
    assert rows(again) == bars
    assert outside(rows(venue(behaviour=Behaviour(seed=4)))) != outside(bars)
    assert len(outside(rows(venue(coverage="iex", behaviour=Behaviour(seed=3))))) < len(outside(bars)) // 5
