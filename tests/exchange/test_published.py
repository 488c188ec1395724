"""Market data beyond 1-minute bars: longer timeframes, ticks, movers, code lists, late and revised bars."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from alpaca.common.exceptions import APIError

from tests.exchange.exchange_world import MONDAY, TUESDAY, HandMade, Venue, ny

FRIDAY = MONDAY - timedelta(days=3)


def minutes(day: Any, count: int, first: str = "09:30", price: float = 10.0) -> list[tuple]:
    begin = ny(day, first)
    stamps = [(begin + timedelta(minutes=i)).strftime("%H:%M") for i in range(count)]
    return [(stamp, price, price + 0.2, price - 0.1, price + 0.1) for stamp in stamps]


def venue(at: str = "10:10", **options: Any) -> Venue:
    bars = {
        "AAA": {FRIDAY: minutes(FRIDAY, 390), MONDAY: minutes(MONDAY, 390, price=11.0), TUESDAY: []},
        "BBB": {FRIDAY: minutes(FRIDAY, 10, price=5.0), MONDAY: minutes(MONDAY, 10, price=4.0)},
    }
    return Venue(HandMade(bars), ny(MONDAY, at), **options)


def bars(here: Venue, frame: str, **query: Any) -> list[dict]:
    asked = {"symbols": "AAA", "timeframe": frame, "start": "2018-03-23", "feed": "iex", "limit": 10000} | query
    return here.raw_data.get("/stocks/bars", asked)["bars"].get("AAA", [])


@pytest.mark.parametrize(
    ("frame", "count", "newest", "volume"),
    [
        ("1Min", 430, "2018-03-26T14:09:00Z", 1000),
        ("15Min", 26 + 3, "2018-03-26T14:00:00Z", 10_000),
        ("1Hour", 7 + 2, "2018-03-26T14:00:00Z", 10_000),
        ("4Hour", 2 + 1, "2018-03-26T12:00:00Z", 40_000),
        ("1Day", 2, "2018-03-26T04:00:00Z", 40_000),
        ("1Week", 1, "2018-03-26T04:00:00Z", 40_000),
    ],
)
def test_longer_timeframes_aggregate_minutes(frame: str, count: int, newest: str, volume: int) -> None:
    got = bars(venue(), frame)
    assert (len(got), got[-1]["t"], got[-1]["v"]) == (count, newest, volume)
    assert (got[-1]["h"], got[-1]["l"], got[-1]["c"]) == (11.2, 10.9, 11.1)
    if frame != "1Week":
        assert sum(bar["v"] for bar in got) == 430_000
    assert bars(venue(), frame, sort="desc") == got[::-1]


def test_a_month_aggregates_its_days() -> None:
    got = bars(venue(), "1Month", start="2018-03-01")
    assert [(bar["t"], bar["v"], bar["o"], bar["c"]) for bar in got] == [("2018-03-01T05:00:00Z", 430_000, 10.0, 11.1)]


def test_the_trades_of_a_minute_are_its_open_low_high_and_close() -> None:
    here = venue("10:10:30")
    query = {"symbols": "AAA,BBB", "start": "2018-03-26T14:08:00Z", "feed": "iex"}
    trades = here.raw_data.get("/stocks/trades", query)["trades"]["AAA"]
    prices = [(trade["t"][17:], trade["p"]) for trade in trades]
    minute = [("00Z", 11.0), ("25Z", 10.9), ("42Z", 11.2), ("59Z", 11.1)]
    assert prices == minute + minute + minute[:2]  # at 10:10:30 the high has not happened
    assert sum(trade["s"] for trade in trades[:4]) == 1000
    latest = here.raw_data.get("/stocks/trades/latest", {"symbols": "AAA"})["trades"]["AAA"]
    assert latest == trades[-1]


def test_a_quote_begins_whenever_the_price_changes() -> None:
    here = venue("10:10:30", spread_ticks=2)
    query = {"start": "2018-03-26T14:09:00Z", "end": "2018-03-26T14:09:59.999Z", "feed": "iex"}
    whole = here.raw_data.get("/stocks/AAA/quotes", query)["quotes"]
    assert [quote["bp"] for quote in whole[:11]] == [round(11 - cents / 100, 2) for cents in range(11)]
    assert len(whole) == 1 + 10 + 30 + 10
    assert all(quote["ap"] == round(quote["bp"] + 0.02, 2) for quote in whole)
    first = here.raw_data.get("/stocks/AAA/quotes", query | {"limit": 20})
    rest = here.raw_data.get("/stocks/AAA/quotes", query | {"page_token": first["next_page_token"]})
    assert first["quotes"] + rest["quotes"] == whole
    now = here.raw_data.get("/stocks/AAA/quotes", query | {"end": "2018-03-26T15:00:00Z"})["quotes"]
    latest = here.raw_data.get("/stocks/quotes/latest", {"symbols": "AAA"})["quotes"]["AAA"]
    assert latest == now[-1]
    assert "14:10:25" < latest["t"][11:] <= "14:10:30"


def test_auctions_movers_and_codes() -> None:
    here = venue()
    got = here.raw_data.get("/stocks/AAA/auctions", {"start": "2018-03-23", "feed": "iex"})["auctions"]
    assert [(day["d"], len(day["o"]), len(day["c"])) for day in got] == [("2018-03-23", 1, 1), ("2018-03-26", 1, 0)]
    moved = here.screener.get("/screener/stocks/movers", {"top": 5})
    assert [(one["symbol"], one["percent_change"]) for one in moved["gainers"]] == [("AAA", 9.901)]
    assert [(one["symbol"], one["change"]) for one in moved["losers"]] == [("BBB", -1.0)]
    assert here.raw_data.get("/stocks/meta/exchanges", {})["V"] == "IEX"
    assert "@" in here.raw_data.get("/stocks/meta/conditions/trade", {"tape": "A"})


def test_late_bars_arrive_within_ninety_seconds() -> None:
    market = venue(late_bars=0.5).market
    seen: dict[str, int] = {}
    for second in range(0, 300, 5):
        here = Venue(market, ny(MONDAY, "10:10") + timedelta(seconds=second), late_bars=0.5)
        for bar in bars(here, "1Min", start="2018-03-26T14:05:00Z"):
            seen.setdefault(bar["t"], second)
    over = {f"2018-03-26T14:{minute:02d}:00Z": (minute - 9) * 60 for minute in range(10, 13)}
    late = {stamp: seen[stamp] - at for stamp, at in over.items()}
    assert all(0 <= delay <= 95 for delay in late.values())
    assert len(set(seen)) >= 8  # the newest of the nine may come after the last look
    assert any(delay > 0 for delay in late.values())
    # Orders trade on what happened, not on what was published.
    assert here.trading.get_clock()


def test_revised_bars_are_corrected_after_half_a_minute() -> None:
    here = venue("10:10", revised_bars=1.0)
    first = bars(here, "1Min", start="2018-03-26T14:09:00Z")[-1]
    here.later(30)
    after = bars(here, "1Min", start="2018-03-26T14:09:00Z")[0]
    assert first["t"] == after["t"]
    assert first["v"] < after["v"] == 1000
    assert (first["c"], after["c"]) == (11.0, 11.1)
    assert here.raw_data.get("/stocks/bars/latest", {"symbols": "AAA"})["bars"]["AAA"] == after


def test_a_probability_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="late_bars=2"):
        venue(late_bars=2)


def test_portfolio_history_adds_up() -> None:
    here = venue("10:00")
    here.raw.post("/orders", {"symbol": "AAA", "qty": "100", "side": "buy", "type": "market", "time_in_force": "day"})
    here.at("16:30")
    got = here.raw.get("/account/portfolio/history", {"period": "1D", "timeframe": "1H"})
    assert got["base_value"] == 100_000
    assert (got["equity"][-1], got["profit_loss"][-1], len(got["equity"])) == (100_010.0, 10.0, 7)
    assert got["timestamp"][0] == int(ny(MONDAY, "09:30").timestamp())
    days = here.raw.get("/account/portfolio/history", {"period": "1M", "timeframe": "1D"})
    assert (days["equity"], days["profit_loss_pct"]) == ([100_010.0], [0.0001])
    with pytest.raises(APIError, match="30 days"):
        here.raw.get("/account/portfolio/history", {"period": "1A", "timeframe": "1Min"})


def test_extreme_instants_are_handled() -> None:
    here = venue()
    instants = ["9999-12-31", "9999-12-31T23:59:59Z", "0001-01-01", "0001-01-01T00:00:00+14:00"]
    fields = ["start", "end", "after", "until", "date"]
    paths = ["account/activities", "account/portfolio/history", "orders", "calendar", "stocks/AAA/auctions"]
    paths += ["stocks/AAA/trades", "stocks/AAA/bars?timeframe=1Week", "stocks/AAA/bars?timeframe=1Min"]
    for path, field, instant in product(paths, fields, instants):
        try:
            here.raw_data.get(f"/{path}", {field: instant})
        except APIError as error:
            assert error.status_code < 500, error.response.text
