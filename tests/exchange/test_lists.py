"""Lists of orders and activities: filters, directions and pages, and no look at the history that is not asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import islice, product
from typing import Any, ClassVar

import orjson
from hypothesis import given
from hypothesis import strategies as st

from paper_exchange.base.wire import rfc3339, to_ns
from paper_exchange.books.registry import OrderRegistry, Wanted
from paper_exchange.orders.encoded import EncodedOrders
from paper_exchange.orders.order import Order, to_wire
from tests.exchange.exchange_world import MONDAY, HandMade, Venue, ny

FLAT = [(f"10:{minute:02d}", 10.0, 10.0, 10.0, 10.0) for minute in range(60)]

RESTING_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("id", "client_order_id", "asset_id"), ""),
    **dict.fromkeys(("sequence", "qty", "created_at", "updated_at", "submitted_at", "live_from"), 1),
    "symbol": "AAA",
    "side": "buy",
    "type": "limit",
    "time_in_force": "day",
    "status": "new",
}
RESTING = Order(**RESTING_FIELDS)
CHANGES: list[tuple[str, Any]] = [
    *(("status", status) for status in ("new", "filled", "pending_cancel")),
    *(("filled_qty", qty) for qty in (0, 3, Decimal("1.5"))),
    *(("limit_price", price) for price in (None, Decimal("4.10"), Decimal("4.11"))),
    *(("hwm", Decimal(5)), ("filled_value", Decimal("12.3")), ("replaced_by", "x"), ("intent", "sell_to_close")),
    *(("filled_at", 10**18), ("extended_hours", True), ("notional", Decimal(7))),
]


def venue() -> Venue:
    """Orders of two stocks, a minute apart: bought and sold, cancelled, resting, and a bracket."""
    here = Venue(HandMade({"AAA": {MONDAY: FLAT}, "BBB": {MONDAY: FLAT}}), ny(MONDAY, "10:01:02"))
    body: dict[str, Any] = {"type": "market", "time_in_force": "day", "qty": 5}
    for number in range(16):
        symbol = "AAA" if number % 3 else "BBB"
        one = body | {"symbol": symbol, "side": "sell" if number % 4 == 3 and symbol == "AAA" else "buy"}
        if number % 5 == 4:
            one |= {"type": "limit", "limit_price": 9 if one["side"] == "buy" else 11}
        if number == 10:
            one |= {"order_class": "bracket", "take_profit": {"limit_price": 12}, "stop_loss": {"stop_price": 8}}
        sent = here.trading._session.post(
            "http://127.0.0.1:8765/v2/orders",
            json=one,
            headers={"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"},
        ).json()
        here.later(60)
        if number % 10 == 9 and "id" in sent:
            here.trading.cancel_order_by_id(sent["id"])
    return here


def test_every_filter_of_orders_gives_what_a_look_at_all_of_them_gives() -> None:
    here = venue()
    known = here.exchange.snapshot().orders
    middle = known[len(known) // 2]
    instant = middle.submitted_at
    ranges: list[dict[str, str]] = [
        {},
        {"after": rfc3339(instant) or ""},
        {"until": rfc3339(instant) or ""},
        {"after_order_id": middle.id},
        {"before_order_id": middle.id},
    ]
    cases = product(("open", "closed", "all"), ("", "AAA", "BBB,ZZZ"), ("", "buy", "sell"), ("asc", "desc"), ranges)
    for status, symbols, side, direction, limits in cases:
        query = {"status": status, "symbols": symbols, "side": side, "direction": direction, "limit": 4} | limits
        wanted = [
            one.id
            for one in sorted(known, key=lambda one: one.sequence, reverse=direction == "desc")
            if (status == "all" or one.is_open == (status == "open"))
            and (not symbols or one.symbol in symbols.split(","))
            and side in ("", one.side)
            and ("after" not in limits or one.submitted_at > instant)
            and ("until" not in limits or one.submitted_at < instant)
            and ("after_order_id" not in limits or one.sequence > middle.sequence)
            and ("before_order_id" not in limits or one.sequence < middle.sequence)
        ]
        got = here.raw.get("/orders", {name: value for name, value in query.items() if value})
        assert [one["id"] for one in got] == wanted[:4], query


@given(st.lists(st.tuples(st.sampled_from(range(5)), st.sampled_from(CHANGES)), max_size=12))
def test_orders_that_are_kept_encoded_are_shown_as_they_are_now(changes: list[tuple[int, tuple[str, Any]]]) -> None:
    known = [replace(RESTING, id=str(n), sequence=n, client_order_id='"legs":null \\ é') for n in range(5)]
    encoded = EncodedOrders()
    for number, (field, value) in [(0, ("qty", 5)), *changes]:
        setattr(known[number], field, value)
        for order in known:
            for legs in (None, known[1:3]):
                assert orjson.loads(orjson.dumps(encoded.of(order, legs))) == to_wire(order, legs)


def test_activities_by_page_day_and_instant() -> None:
    here = venue()
    whole = here.raw.get("/account/activities", {"direction": "asc"})
    assert len(whole) == len(here.exchange.snapshot().fills) > 6
    for direction, expected in (("asc", whole), ("desc", whole[::-1])):
        pages: list[dict] = []
        while True:
            token = {"page_token": pages[-1]["id"]} if pages else {}
            page = here.raw.get("/account/activities", {"direction": direction, "page_size": 3} | token)
            if not page:
                break
            pages += page
        assert pages == expected
    edge = whole[3]["transaction_time"]
    assert here.raw.get("/account/activities", {"direction": "asc", "after": edge}) == whole[4:]
    assert here.raw.get("/account/activities", {"direction": "asc", "until": edge}) == whole[:3]
    assert len(here.raw.get("/account/activities", {"date": str(MONDAY)})) == len(whole)
    for other in (MONDAY + timedelta(days=1), "9999-12-31", "0001-01-01"):
        assert here.raw.get("/account/activities", {"date": str(other)}) == []
    assert here.raw.get("/account/activities", {"page_token": "nonsense"}) == []


class Watched(Order):
    """An order that counts how often it is looked at."""

    looks: ClassVar[Counter[str]] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name in ("submitted_at", "sequence"):
            Watched.looks[name] += 1
        return super().__getattribute__(name)


def test_a_page_of_a_long_history_looks_at_few_orders() -> None:
    start = to_ns(ny(MONDAY, "10:00"))
    orders = [
        Watched(
            id=str(n),
            sequence=n,
            client_order_id=str(n),
            symbol="AAA" if n % 50 else "BBB",
            asset_id="",
            side="buy",
            type="limit",
            time_in_force="day",
            qty=1,
            status="filled",
            created_at=start + n * 10**9,
            updated_at=start + n * 10**9,
            submitted_at=start + n * 10**9,
            live_from=start + n * 10**9,
        )
        for n in range(5000)
    ]
    registry = OrderRegistry(orders)
    for wanted in (Wanted(), Wanted(frozenset({"BBB"})), Wanted(until=start + 2500 * 10**9), Wanted(last=1000)):
        Watched.looks.clear()
        assert len(list(islice(registry.history(wanted, newest_first=True), 10))) == 10
        assert Watched.looks.total() < 100
