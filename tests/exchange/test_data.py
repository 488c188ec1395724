"""Market data of the exchange through the unmodified alpaca-py clients."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed
from alpaca.data.requests import (
    MostActivesRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame

from tests.exchange.exchange_world import MONDAY, NEW_YORK, TUESDAY, HandMade, Venue, ny

FRIDAY = MONDAY - timedelta(days=3)


def rows(count: int, first: str = "09:30", price: float = 10.0) -> list[tuple]:
    begin = ny(MONDAY, first)
    stamps = [(begin + timedelta(minutes=i)).strftime("%H:%M") for i in range(count)]
    return [(stamp, price, price + 0.2, price - 0.1, price + 0.1) for stamp in stamps]


@pytest.fixture
def here() -> Venue:
    market = HandMade(
        {
            "AAA": {FRIDAY: rows(5), MONDAY: rows(10)},
            "BBB": {FRIDAY: rows(3, price=5.0), MONDAY: rows(10, price=5.0), TUESDAY: rows(2)},
            "CCC": {FRIDAY: rows(4, price=0.5)},
        },
        volume={"AAA": 500, "BBB": 2000, "CCC": 9000},
    )
    return Venue(market, ny(MONDAY, "09:40"))


def bars(here: Venue, symbols: list[str], frame: TimeFrame = TimeFrame.Minute, **more: Any) -> dict[str, list]:
    request = StockBarsRequest(symbol_or_symbols=symbols, timeframe=frame, feed=more.pop("feed", "iex"), **more)
    return here.data.get_stock_bars(request).data


def test_bars_start_and_end_are_inclusive(here: Venue) -> None:
    got = bars(here, ["AAA"], start=ny(MONDAY, "09:31"), end=ny(MONDAY, "09:33"))["AAA"]
    assert [bar.timestamp.astimezone(NEW_YORK).strftime("%H:%M") for bar in got] == ["09:31", "09:32", "09:33"]
    assert (got[0].open, got[0].high, got[0].low, got[0].close, got[0].volume) == (10.0, 10.2, 9.9, 10.1, 500)
    got = bars(here, ["AAA"], start=ny(MONDAY, "09:31:01"), end=ny(MONDAY, "09:32:59"))["AAA"]
    assert len(got) == 1


def test_a_bar_is_shown_when_it_is_over_and_not_before(here: Venue) -> None:
    here.at("09:40")
    assert len(bars(here, ["AAA"], start=ny(MONDAY, "09:30"))["AAA"]) == 10
    here.time = ny(MONDAY, "09:40")
    early = Venue(here.market, ny(MONDAY, "09:39:59.999999"))
    assert len(bars(early, ["AAA"], start=ny(MONDAY, "09:30"), end=ny(MONDAY, "16:00"))["AAA"]) == 9
    newest = early.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="AAA", feed=DataFeed.IEX))
    assert newest["AAA"].timestamp == ny(MONDAY, "09:38")


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 15, 28, 100])
def test_pages_follow_symbol_then_time_and_lose_nothing(here: Venue, limit: int, sort: str) -> None:
    def page(token: str | None) -> dict:
        query = {
            "symbols": "BBB,AAA,ZZZ",
            "timeframe": "1Min",
            "start": "2018-03-01",
            "limit": limit,
            "feed": "iex",
            "sort": sort,
        }
        return here.raw_data.get("/stocks/bars", query | ({"page_token": token} if token else {}))

    seen, token, pages = [], None, 0
    while True:
        got = page(token)
        found = [(name, bar["t"]) for name, some in got["bars"].items() for bar in some]
        assert len(found) <= limit
        seen += found
        token, pages = got["next_page_token"], pages + 1
        if token is None:
            break
    assert [name for name, _ in seen] == ["AAA"] * 15 + ["BBB"] * 13
    for name in ("AAA", "BBB"):
        stamps = [stamp for one, stamp in seen if one == name]
        assert stamps == sorted(set(stamps), reverse=sort == "desc")
    assert pages == -(-28 // limit)


def test_the_client_follows_pages(here: Venue) -> None:
    got = bars(here, ["AAA", "BBB", "CCC"], start=ny(FRIDAY, "04:00"), end=ny(MONDAY, "20:00"))
    assert {name: len(some) for name, some in got.items()} == {"AAA": 15, "BBB": 13, "CCC": 4}


def test_unknown_symbols_are_omitted_and_malformed_ones_refused(here: Venue) -> None:
    assert bars(here, ["ZZZ"], start=ny(MONDAY, "09:30")) == {}
    with pytest.raises(APIError, match="invalid symbol: aaa"):
        bars(here, ["aaa"], start=ny(MONDAY, "09:30"))


def test_day_bars(here: Venue) -> None:
    got = bars(here, ["AAA"], TimeFrame.Day, start=datetime(2018, 3, 20, tzinfo=UTC))["AAA"]
    assert [(bar.timestamp.astimezone(NEW_YORK).isoformat(), bar.volume) for bar in got] == [
        ("2018-03-23T00:00:00-04:00", 2500),
        ("2018-03-26T00:00:00-04:00", 5000),
    ]
    assert (got[1].open, got[1].high, got[1].low, got[1].close) == (10.0, 10.2, 9.9, 10.1)


def test_sip_is_refused_for_the_last_fifteen_minutes(here: Venue) -> None:
    start = ny(FRIDAY, "09:30")
    with pytest.raises(APIError) as caught:
        bars(here, ["AAA"], start=start, end=here.time, feed="sip")
    assert caught.value.status_code == 403
    assert caught.value.response.json() == {"message": "subscription does not permit querying recent SIP data"}
    assert len(bars(here, ["AAA"], start=start, end=ny(MONDAY, "09:25"), feed="sip")["AAA"]) == 5
    # Without a feed and an end: SIP, up to fifteen minutes ago.
    assert len(bars(here, ["AAA"], start=start, feed=None)["AAA"]) == 5


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"timeframe": "60Min"}, "invalid timeframe"),
        ({"limit": "10001"}, "invalid limit"),
        ({"limit": "x"}, "invalid limit"),
        ({"start": "yesterday"}, "invalid start"),
        ({"feed": "bloomberg"}, "invalid feed"),
        ({"sort": "up"}, "invalid sort"),
        ({"adjustment": "some"}, "invalid adjustment"),
        ({"page_token": "!"}, "invalid page_token"),
        ({"symbols": ""}, "symbols is required"),
    ],
)
def test_bad_queries_are_400(here: Venue, query: dict, message: str) -> None:
    with pytest.raises(APIError, match=message) as caught:
        here.raw_data.get("/stocks/bars", {"symbols": "AAA", "timeframe": "1Min", "feed": "iex"} | query)
    assert caught.value.status_code == 400
    assert "code" not in caught.value.response.json()


def test_the_latest_price_stands_while_nothing_trades(here: Venue) -> None:
    names = ["AAA", "BBB", "CCC", "ZZZ"]
    trades = here.data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=names))
    assert {name: trade.price for name, trade in trades.items()} == {"AAA": 10.1, "BBB": 5.1, "CCC": 0.6}
    quotes = here.data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=names, feed=DataFeed.IEX))
    assert (quotes["AAA"].bid_price, quotes["AAA"].ask_price) == (10.1, 10.1)
    assert (quotes["CCC"].bid_price, quotes["CCC"].ask_price) == (0.6, 0.6)
    assert all(trade.timestamp < here.time for trade in trades.values())


def test_snapshots_are_keyed_by_symbol_at_the_top(here: Venue) -> None:
    got = here.data.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=["AAA", "CCC", "ZZZ"], feed=DataFeed.IEX))
    assert set(got) == {"AAA", "CCC"}
    assert got["AAA"].minute_bar.timestamp == ny(MONDAY, "09:39")
    assert (got["AAA"].daily_bar.volume, got["AAA"].previous_daily_bar.volume) == (5000, 2500)


def actives(here: Venue, **query: Any) -> list[tuple[str, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = here.screener.get_most_actives(MostActivesRequest(**query))
    return [(one.symbol, one.volume) for one in found.most_actives]


def test_most_actives_rank_the_current_or_else_the_previous_session(here: Venue) -> None:
    assert actives(here, top=10) == [("BBB", 20000), ("AAA", 5000)]
    assert actives(here, top=1) == [("BBB", 20000)]
    morning = Venue(here.market, ny(MONDAY, "09:30:30"))
    assert actives(morning, top=10) == [("CCC", 36000), ("BBB", 6000), ("AAA", 2500)]


def test_single_symbol_forms(here: Venue) -> None:
    got = here.raw_data.get("/stocks/AAA/bars", {"timeframe": "1Min", "start": "2018-03-26", "feed": "iex", "limit": 4})
    assert (got["symbol"], len(got["bars"]), got["next_page_token"] is None) == ("AAA", 4, False)
    assert here.raw_data.get("/stocks/AAA/trades/latest", {})["trade"]["p"] == 10.1
    assert here.raw_data.get("/stocks/AAA/snapshot", {})["symbol"] == "AAA"
