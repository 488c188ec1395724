"""Account, clock, calendar, assets, keys and restarts; replies are checked against Alpaca's descriptions."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockLatestBarRequest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import (
    GetCalendarRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
)

from paper_exchange import StateError
from paper_exchange.api.clock import days_v2
from paper_exchange.base.calendar import xnys
from paper_exchange.market.interface import Listing
from tests.exchange.exchange_world import MONDAY, ORIGIN, TUESDAY, HandMade, Venue, killed, ny

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENAPI = Path(__file__).parents[3] / "shared" / "openapi"
FLAT = (10.0, 10.0, 10.0, 10.0)
MARKET = HandMade(
    {
        "AAA": {
            MONDAY: [("10:30", *FLAT), ("10:31", 10.0, 10.5, 9.9, 10.2), ("15:59", 11.0, 11.0, 11.0, 11.0)],
            TUESDAY: [("09:30", 12.0, 12.0, 12.0, 12.0)],
        }
    },
    [Listing("BBB", "B Inc.", exchange="NYSE", tradable=False), Listing("CCC", "C Inc.", active=False)],
)


def bracket(qty: int = 5) -> MarketOrderRequest:
    return MarketOrderRequest(
        symbol="AAA",
        qty=qty,
        side="buy",
        time_in_force="day",
        order_class="bracket",
        take_profit=TakeProfitRequest(limit_price=12.5),
        stop_loss=StopLossRequest(stop_price=9.5),
    )


def test_clock_over_a_day() -> None:
    here = Venue(MARKET, ny(MONDAY, "09:29:59"))
    clock = here.trading.get_clock()
    assert (clock.is_open, clock.next_open, clock.next_close) == (False, ny(MONDAY, "09:30"), ny(MONDAY, "16:00"))
    here.at("09:30")
    clock = here.trading.get_clock()
    assert (clock.is_open, clock.next_open, clock.timestamp) == (True, ny(TUESDAY, "09:30"), here.time)
    here.at("16:00")
    assert not here.trading.get_clock().is_open


def test_calendar_has_trading_days_and_half_days() -> None:
    here = Venue(MARKET, ny(MONDAY, "10:31"))
    days = here.trading.get_calendar(GetCalendarRequest(start=date(2018, 11, 21), end=date(2018, 11, 26)))
    assert [(day.date.day, day.close.hour) for day in days] == [(21, 16), (23, 13), (26, 16)]
    raw = here.raw.get("/calendar", {"start": "2018-11-23", "end": "2018-11-23"})
    assert raw == [
        {
            "date": "2018-11-23",
            "open": "09:30",
            "close": "13:00",
            "session_open": "0400",
            "session_close": "1700",
            "settlement_date": "2018-11-26",
        }
    ]


@pytest.mark.parametrize("settled", [False, True])
def test_the_calendar_of_any_days_is_the_part_of_the_whole(settled: bool) -> None:
    calendar = replace(xnys(), sessions=xnys().sessions[:40])
    whole = days_v2(calendar, None, None, settled)
    field = "settlement_date" if settled else "date"
    first, last = calendar.sessions[0].day, calendar.sessions[-1].day
    for start in (None, date.min, first, date(2000, 1, 14), date(2000, 1, 15), last, date.max):
        for end in (None, date.min, first, date(2000, 1, 17), date(2000, 1, 18), last, date.max):
            inside = (start or date.min).isoformat(), (end or date.max).isoformat()
            expected = [one for one in whole if inside[0] <= one[field] <= inside[1]]
            assert days_v2(calendar, start, end, settled) == expected, (start, end)


def test_assets_and_their_filters() -> None:
    here = Venue(MARKET, ny(MONDAY, "10:31"))
    assert {one.symbol: (one.status, one.tradable) for one in here.trading.get_all_assets()} == {
        "AAA": ("active", True),
        "BBB": ("active", False),
        "CCC": ("inactive", False),
    }
    assert [one["symbol"] for one in here.raw.get("/assets", {"status": "active", "exchange": "NYSE"})] == ["BBB"]
    asset = here.trading.get_asset("AAA")
    assert here.trading.get_asset(asset.id).symbol == "AAA"


def test_equity_of_the_last_close_and_profit_of_the_day() -> None:
    here = Venue(MARKET, ny(MONDAY, "10:31"))
    here.trading.submit_order(bracket())
    here.at("10:32")
    assert here.trading.get_account().last_equity == "100000"
    here.at("18:00")
    assert here.trading.get_account().last_equity == "100000"
    here.at("09:31", TUESDAY)
    account = here.trading.get_account()
    assert (account.last_equity, account.equity, account.long_market_value) == ("100005", "100010", "60")
    position = here.trading.get_open_position("AAA")
    assert (position.lastday_price, position.current_price) == ("11", "12")
    assert (position.unrealized_pl, position.unrealized_intraday_pl) == ("10", "5")
    assert position.unrealized_plpc == "0.2"


def test_fills_are_activities() -> None:
    here = Venue(MARKET, ny(MONDAY, "10:31"))
    order = here.trading.submit_order(bracket())
    here.at("10:32")
    got = here.raw.get("/account/activities", {"activity_types": "FILL"})
    assert [(one["order_id"], one["price"], one["qty"], one["order_status"]) for one in got] == [
        (str(order.id), "10", "5", "filled")
    ]
    assert here.raw.get("/account/activities/DIV", {}) == []


@pytest.mark.parametrize("keys", [None, ("id", "secret")])
def test_keys(keys: tuple[str, str] | None) -> None:
    here = Venue(MARKET, ny(MONDAY, "10:31"), keys=keys)
    assert here.client(TradingClient, "id", "secret").get_clock()
    if keys:
        with pytest.raises(APIError) as caught:
            here.client(TradingClient, "id", "wrong").get_clock()
        refused = {"code": 40110000, "message": "request is not authorized"}
        assert (caught.value.status_code, caught.value.response.json()) == (401, refused)
        with pytest.raises(APIError) as caught:
            here.client(StockHistoricalDataClient, "id", "wrong").get_stock_latest_bar(
                StockLatestBarRequest(symbol_or_symbols="AAA")
            )
        assert (caught.value.status_code, caught.value.response.json()) == (403, {"message": "forbidden."})
    bare = requests.Session()
    bare.mount(ORIGIN, here.trading._session.get_adapter(ORIGIN))
    assert bare.get(f"{ORIGIN}/v2/account").status_code == 401
    for path in ("/v2/stocks/bars", "/v1beta1/screener/stocks/most-actives", "/v1/corporate-actions"):
        assert bare.get(ORIGIN + path).status_code == 403


def test_rate_limit_and_its_headers() -> None:
    here = Venue(MARKET, ny(MONDAY, "10:31"), rate_limit=2)
    session, headers = here.trading._session, {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    got = [session.get(f"{ORIGIN}/v2/clock", headers=headers) for _ in range(3)]
    assert [one.status_code for one in got] == [200, 200, 429]
    assert [one.headers["X-RateLimit-Remaining"] for one in got] == ["1", "0", "0"]
    assert got[0].headers["X-RateLimit-Reset"] == str(int(ny(MONDAY, "10:32").timestamp()))
    other = headers | {"APCA-API-KEY-ID": "other"}
    assert session.get(f"{ORIGIN}/v2/clock", headers=other).headers["X-RateLimit-Remaining"] == "1"
    here.later(60)
    assert session.get(f"{ORIGIN}/v2/clock", headers=headers).status_code == 200


def test_unknown_paths_and_bodies_are_refused_in_json() -> None:
    here = Venue(MARKET, ny(MONDAY, "10:31"))
    session, headers = here.trading._session, {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    assert session.get(f"{ORIGIN}/v2/nothing", headers=headers).json()["code"] == 40410000
    assert session.post(f"{ORIGIN}/v2/orders", headers=headers, data=b"{").status_code == 400
    bodies: list[Any] = [[], {}, {"symbol": 3}, {"symbol": "AAA", "qty": [], "side": "buy", "type": "market"}]
    for body in bodies:
        assert session.post(f"{ORIGIN}/v2/orders", headers=headers, json=body).status_code == 422


# -- state -------------------------------------------------------------------------------------------------------------


def a_day(here: Venue) -> list[str]:
    """Place orders that end in different ways; returns what the exchange shows at the end."""
    here.trading.submit_order(LimitOrderRequest(symbol="AAA", qty=2, side="buy", limit_price=9.0, time_in_force="gtc"))
    first = here.trading.submit_order(bracket())
    gone = here.trading.submit_order(
        LimitOrderRequest(symbol="AAA", qty=2, side="buy", limit_price=9.1, time_in_force="gtc")
    )
    here.later(61)
    here.trading.cancel_order_by_id(gone.id)
    return [str(first.id), *shown(here)]


def shown(here: Venue) -> list[str]:
    everything = GetOrdersRequest(status=QueryOrderStatus.ALL, limit=500)
    return [
        json.dumps(here.raw.get_orders(everything)),
        json.dumps(here.raw.get_all_positions()),
        json.dumps(here.raw.get_account()),
        json.dumps(here.raw.get("/account/activities", {})),
    ]


def test_the_account_survives_a_restart_of_the_exchange(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    here = Venue(MARKET, ny(MONDAY, "10:31"), state=state)
    order, *before = a_day(here)
    # The first exchange is abandoned without being closed.
    again = Venue(MARKET, here.time, state=killed(state), cash=D(5))
    assert shown(again) == before
    again.at("16:00")
    legs = again.trading.get_order_by_id(order, GetOrderByIdRequest(nested=True)).legs
    assert [leg.status for leg in legs] == ["expired", "expired"]
    again.trading.cancel_orders()
    assert again.trading.close_position("AAA").status == "accepted"
    assert len({one.id for one in again.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL))}) == 6


def test_catching_up_after_a_restart_equals_running_without_one(tmp_path: Path) -> None:
    def run(state: Path, restart: bool) -> list[str]:
        here = Venue(MARKET, ny(MONDAY, "10:31"), state=state)
        here.trading.submit_order(bracket())
        here.later(30)
        here.trading.get_clock()
        if restart:
            here = Venue(MARKET, here.time, state=killed(state))
        here.at("09:31", TUESDAY)
        return shown(here)

    assert run(tmp_path / "one", restart=True) == run(tmp_path / "two", restart=False)


def test_two_identical_runs_give_identical_ids() -> None:
    assert a_day(Venue(MARKET, ny(MONDAY, "10:31"))) == a_day(Venue(MARKET, ny(MONDAY, "10:31")))


def test_a_damaged_state_file_is_refused_by_name(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    state.write_bytes(b"not a database, but long enough to be read as the header of one" * 40)
    with pytest.raises(StateError, match=r"state\.sqlite.*name another one"):
        Venue(MARKET, ny(MONDAY, "10:31"), state=state)


def test_time_never_goes_back_if_the_clock_does() -> None:
    here = Venue(MARKET, ny(MONDAY, "10:32"))
    here.trading.get_clock()
    here.at("10:00")
    assert here.trading.get_clock().timestamp == ny(MONDAY, "10:32")


# -- shapes ------------------------------------------------------------------------------------------------------------


def description(name: str) -> dict:
    path = OPENAPI / name
    if not path.exists():
        pytest.skip(f"Alpaca's descriptions are not there ({path.name} beside the project, under shared/openapi)")
    return json.loads(path.read_text())


def faults(spec: dict, schema: dict, value: Any, at: str = "") -> Iterator[str]:
    """Where a JSON value violates a schema: missing or unknown fields, wrong types, unknown words."""
    if "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    if value is None:
        if not schema.get("nullable"):
            yield f"{at} is null"
        return
    kinds: dict[str, Any] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "array": list,
        "object": dict,
    }
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{at} is {value!r}, not a {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at} is {value!r}, not one of {schema['enum']}"
    if schema.get("format") == "uuid":
        uuid.UUID(value)
    if isinstance(value, dict) and "properties" in schema:
        yield from (f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, part in value.items():
            if name in schema["properties"]:
                yield from faults(spec, schema["properties"][name], part, f"{at}.{name}")
            else:
                yield f"{at}.{name} is unknown"
    if isinstance(value, list) and "items" in schema:
        for index, part in enumerate(value):
            yield from faults(spec, schema["items"], part, f"{at}[{index}]")


# Alpaca sends these although its description lacks them (its own example has the first two, legs the last two).
BEYOND = ("subtag", "source", "position_market_value", "account_id")
BEYOND_OF_LEGS = tuple(f"legs[{leg}].{field}" for leg in (0, 1) for field in ("expires_at", "position_intent"))


def test_replies_have_the_shapes_that_alpaca_describes() -> None:
    spec = description("trading-api.json")
    here = Venue(MARKET, ny(MONDAY, "10:31"))
    order = here.raw.submit_order(bracket())
    here.later(60)
    nested = here.raw.get_order_by_id(order["id"], GetOrderByIdRequest(nested=True))
    got = {
        "Order": [order, nested, *here.raw.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL))],
        "Account": [here.raw.get_account()],
        "Position": here.raw.get_all_positions(),
        "legacy_clock": [here.raw.get_clock()],
        "legacy_calendar_day": here.raw.get("/calendar", {"start": "2018-03-26", "end": "2018-03-29"}),
        "Assets": here.raw.get_all_assets(),
        "TradingActivities": here.raw.get("/account/activities", {}),
    }
    for name, values in got.items():
        assert values, name
        found = [one for value in values for one in faults(spec, {"$ref": f"/{name}"}, value, name)]
        assert [one for one in found if not any(f".{word} is unknown" in one for word in BEYOND + BEYOND_OF_LEGS)] == []
    order_fields = set(spec["components"]["schemas"]["Order"]["properties"])
    assert order_fields - {"ratio_qty"} <= set(order)


def test_market_data_has_the_shapes_that_alpaca_describes() -> None:
    spec = description("market-data-api.json")
    here = Venue(MARKET, ny(MONDAY, "10:33"))
    query = {"symbols": "AAA", "timeframe": "1Min", "start": "2018-03-26", "feed": "iex"}
    get = here.raw_data.get
    got = {
        "stock_bars_resp": get("/stocks/bars", query),
        "stock_bars_resp_single": get("/stocks/AAA/bars", query),
        "stock_latest_bars_resp": get("/stocks/bars/latest", {"symbols": "AAA"}),
        "stock_latest_trades_resp": get("/stocks/trades/latest", {"symbols": "AAA"}),
        "stock_latest_quotes_resp": get("/stocks/quotes/latest", {"symbols": "AAA"}),
        "stock_snapshot": get("/stocks/snapshots", {"symbols": "AAA"})["AAA"],
        "most_actives_resp": here.screener.get("/screener/stocks/most-actives", {"top": 3}),
    }
    for name, value in got.items():
        assert [one for one in faults(spec, {"$ref": f"/{name}"}, value, name) if "page_token is null" not in one] == []
    for name, one in (("stock_bar", got["stock_bars_resp"]["bars"]["AAA"][0]),):
        assert not list(faults(spec, {"$ref": f"/{name}"}, one, name))
    assert here.time - ny(MONDAY, "10:33") == timedelta(0)
