# mypy: disable-error-code="index,arg-type,operator,call-overload"
"""Replies in which one field is wrong: whatever it says, no false order or position is believed."""

from __future__ import annotations

import copy
import json
from decimal import Decimal as D
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.broker.test_client import BRACKET, NO_ID, Setup
from tests.execution.trading_world import Fault, edited, page
from trading.broker.client import Bracket, OrderRefused, Unclear
from trading.broker.messages import Order, Position
from trading.broker.prices import KnownPrices
from trading.broker.validation import KnownOrders, read_orders

MISSING: Final = object()
ANOTHER: Final = object()
"""Stands for the value of the same field of another order or position."""

WRONG: Final = [
    *(MISSING, ANOTHER, None, 0, -1, "0", "-1", "0.5", "1e12", "-1e12", "1e1000000", 10**30, "NaN", "Infinity", ""),
    *("x", "\ud800", True, [], {}, [None], "2018-03-25T14:00:00Z", "0001-01-01T00:00:00Z", "2018-03-26T14:00:00"),
]


def market() -> Setup:
    """AAA is held under its legs, BBB under those of two entries."""
    here = Setup()
    here.bought()
    here.broker.buy(Bracket("BBB", 3, D("0.49"), D("0.52"), "mlt-20180326-BBB-1032-entry"))
    here.at("10:33:02")
    here.broker.buy(Bracket("BBB", 2, D("0.48"), D("0.53"), "mlt-20180326-BBB-1033-entry"))
    return here


HERE: Final = market()
ROWS: Final = HERE.broker.clients.trading.get("/orders", {"status": "all", "nested": "true"})
POSITIONS: Final = HERE.broker.clients.trading.get_all_positions()
ORDER_FIELDS: Final = sorted(ROWS[0])
POSITION_FIELDS: Final = sorted(POSITIONS[0])


def spoilt(item: dict[str, Any], field: str, value: Any, other: dict[str, Any]) -> dict[str, Any]:
    """A copy of an item with one field that is wrong."""
    found = copy.deepcopy(item)
    if value is MISSING:
        found.pop(field)
    else:
        found[field] = copy.deepcopy(other[field]) if value is ANOTHER else value
    return found


def essence(order: Order) -> tuple[Any, ...]:
    """What must never be wrong: which order it is, and how much it has traded."""
    return order.id, order.symbol, order.side, order.filled_qty


ALL: Final = {order.id: order for order in HERE.broker.orders()}


def check(order: Order, field: str, value: Any) -> None:
    true = ALL[order.id]
    shown, truth = ([essence(one) for one in whole.with_legs()] for whole in (order, true))
    assert shown == (truth if field != "legs" or order.legs else truth[:1])
    assert order.client_order_id in (true.client_order_id, "") or not order.is_ours
    for one, other in zip(order.with_legs(), true.with_legs(), strict=False):
        assert other.is_final or not one.is_final  # an unknown status counts as working
        if value is not ANOTHER:  # the price of another order may well be true
            assert one.filled_avg_price == other.filled_avg_price
        for price in (one.filled_avg_price, one.limit_price, one.stop_price):
            assert price is None or (price.is_finite() and price > 0)


def test_orders_that_are_known_shield_no_wrong_field() -> None:
    """What a list holds is the same whether its true orders were parsed before or not."""
    known = KnownOrders()
    assert read_orders(ROWS, KnownPrices(), known) == read_orders(ROWS, KnownPrices())
    for field in ORDER_FIELDS:
        for value in WRONG:
            rows = [spoilt(ROWS[0], field, value, ROWS[1])]
            found, anew = read_orders(rows, KnownPrices(), known), read_orders(rows, KnownPrices())
            assert (found, found.refused) == (anew, anew.refused), (field, value)


lies = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(st.sampled_from(range(len(ROWS))), st.booleans(), st.sampled_from(ORDER_FIELDS), st.sampled_from(WRONG))
@lies
def test_a_wrong_field_of_an_order_is_refused_and_hides_no_neighbour(
    place: int, leg: bool, field: str, value: Any
) -> None:
    row, other = ROWS[place], ROWS[place - 1]
    if leg and row["legs"]:
        wrong = row | {"legs": [spoilt(row["legs"][0], field, value, other["legs"][0]), *row["legs"][1:]]}
    else:
        wrong = spoilt(row, field, value, other)
    rows = [*ROWS[:place], wrong, *ROWS[place + 1 :]]
    HERE.wire.faults = [Fault("GET /v2/orders", page(200, json.dumps(rows)), times=None)]
    found = HERE.broker.orders()
    for order in found:
        check(order, field, value)
    if value is not ANOTHER:  # two orders of one id, name or leg: neither is believed
        assert {one["id"] for one in ROWS} - {row["id"]} <= {order.id for order in found}
    for call, item in (("order", row["id"]), ("order_by_client_id", row["client_order_id"])):
        HERE.wire.faults = [Fault("GET /v2/orders", page(200, json.dumps(wrong)), times=None)]
        try:
            one = getattr(HERE.broker, call)(item)
        except Unclear as error:
            assert "\n" not in str(error) and str(error).encode()
            continue
        assert one is not None
        if value is not ANOTHER or field not in ("id", "legs"):  # known only together with other replies
            assert one.id == row["id"]
            check(one, field, value)


@given(st.sampled_from(ORDER_FIELDS), st.sampled_from(WRONG))
@lies
def test_a_wrong_field_in_the_reply_to_a_new_order_is_refused(field: str, value: Any) -> None:
    here = HERE
    name = f"mlt-20180326-AAA-1034-exit{len(here.exchange.snapshot().orders)}"
    other = ROWS[0]
    here.wire.faults = [Fault("POST", edited(lambda body: spoilt(body, field, value, other)))]
    try:
        order = here.broker.sell_limit("AAA", 1, D("10.3"), name)
    except (Unclear, OrderRefused):
        return
    finally:
        here.wire.faults = []
        for one in here.broker.orders(open_only=True):
            if one.client_order_id.startswith("mlt-20180326-AAA-1034"):
                here.broker.cancel(one.id)
    assert (order.client_order_id, order.symbol, order.side, order.qty) == (name, "AAA", "sell", 1)
    assert (order.type, order.limit_price, order.filled_qty, order.is_final) == ("limit", D("10.3"), 0, False)


@given(st.sampled_from(range(len(POSITIONS))), st.sampled_from(POSITION_FIELDS), st.sampled_from(WRONG))
@lies
def test_a_wrong_field_of_a_position_is_refused_and_hides_no_neighbour(place: int, field: str, value: Any) -> None:
    row, other = POSITIONS[place], POSITIONS[place - 1]
    wrong = spoilt(row, field, value, other)
    rows = [*POSITIONS[:place], wrong, *POSITIONS[place + 1 :]]
    HERE.wire.faults = [Fault("GET /v2/positions", page(200, json.dumps(rows)), times=None)]
    true = {one["symbol"]: one for one in POSITIONS}
    found = HERE.broker.positions()
    for symbol, position in found.items():
        check_position(position, true[symbol])
    if field != "symbol":
        assert {one["symbol"] for one in POSITIONS} - {row["symbol"]} <= set(found)
    assert row["symbol"] in found or found.refused
    HERE.wire.faults = [Fault("GET /v2/positions", page(200, json.dumps(wrong)), times=None)]
    try:
        one = HERE.broker.position(row["symbol"])
    except Unclear:
        return
    assert one is not None
    check_position(one, row)


def check_position(position: Position, true: dict[str, Any]) -> None:
    assert (position.symbol, position.qty) == (true["symbol"], D(true["qty"]))
    assert position.avg_entry_price in (D(true["avg_entry_price"]), None)
    assert position.current_price in (D(true["current_price"]), None)


@pytest.mark.parametrize("call", ["order", "order_by_client_id", "position", "sell", "buy", "replace"])
def test_the_reply_of_another_request_is_unclear(call: str) -> None:
    here = market()
    aaa, bbb = ROWS[0], ROWS[1]
    leg = next(order for order in here.broker.orders() if order.symbol == "AAA").legs[0]
    calls = {
        "order": lambda: here.broker.order(bbb["id"]),
        "order_by_client_id": lambda: here.broker.order_by_client_id(bbb["client_order_id"]),
        "position": lambda: here.broker.position("BBB"),
        "sell": lambda: here.broker.sell("BBB", 5, "mlt-20180326-BBB-1034-exit"),
        "buy": lambda: here.broker.buy(BRACKET),
        "replace": lambda: here.broker.replace(leg, stop=D("9.85"), limit=None),
    }
    body = POSITIONS[0] if call == "position" else (bbb if call == "buy" else aaa)
    assert call != "position" or body["symbol"] == "AAA"
    here.wire.faults = [Fault("", page(200, json.dumps(body)), times=None)]
    with pytest.raises(Unclear, match="another"):
        calls[call]()


@pytest.mark.parametrize("price", ["0", "-1", "1e12", "0.01", "51", "NaN"])
@pytest.mark.parametrize("call", ["order", "order_by_client_id", "orders"])
def test_an_insane_fill_price_is_refused(price: str, call: str) -> None:
    here = market()
    entry = next(order for order in here.broker.orders() if order.symbol == "AAA")
    lie = edited(
        lambda body: (
            [row | {"filled_avg_price": price if row["id"] == entry.id else row["filled_avg_price"]} for row in body]
            if isinstance(body, list)
            else body | {"filled_avg_price": price}
        )
    )
    here.wire.faults = [Fault("GET /v2/orders", lie, times=None)]
    if call == "orders":
        found = here.broker.orders()
        assert "AAA" not in {order.symbol for order in found} and len(found) == 2
        assert [one.symbol for one in found.refused] == ["AAA"]
        return
    with pytest.raises(Unclear):
        getattr(here.broker, call)(entry.id if call == "order" else entry.client_order_id)


def test_after_a_split_the_new_price_is_believed() -> None:
    here = market()
    assert here.broker.position("AAA") is not None
    split = {"qty": "50", "avg_entry_price": "1", "current_price": "1.02", "cost_basis": "50", "market_value": "51"}
    here.wire.faults = [Fault("GET /v2/positions", edited(lambda body: body | split), times=None)]
    position = here.broker.position("AAA")
    assert position is not None and (position.qty, position.current_price) == (50, D("1.02"))


@pytest.mark.parametrize(
    "external",
    [
        {"qty": "-7", "side": "short", "market_value": "-21.7", "cost_basis": "-21"},
        {"qty": "0.5", "market_value": "1.55", "cost_basis": "1.5"},
        {"current_price": None, "market_value": None},
        {"avg_entry_price": "0", "cost_basis": "0"},
    ],
)
def test_positions_of_somebody_else_hide_none_of_ours(external: dict[str, Any]) -> None:
    here = market()
    theirs = POSITIONS[0] | {"symbol": "ZZZ", "qty": "5", "side": "long", "avg_entry_price": "3", "cost_basis": "15"}
    theirs |= {"current_price": "3.1", "market_value": "15.5"} | external
    here.wire.faults = [Fault("GET /v2/positions", edited(lambda rows: [theirs, *rows]))]
    found = here.broker.positions()
    assert found["AAA"].qty == 5 and found["ZZZ"].qty == D(theirs["qty"])
    assert not any(one.symbol in {None, "AAA", "BBB"} for one in found.refused)


def test_two_positions_of_one_stock_are_both_refused() -> None:
    here = market()
    here.wire.faults = [Fault("GET /v2/positions", edited(lambda rows: [*rows, rows[0]]))]
    found = here.broker.positions()
    assert len(found) == len(POSITIONS) - 1 and [one.symbol for one in found.refused] == [POSITIONS[0]["symbol"]]


def test_an_unknown_status_works_and_is_reported() -> None:
    here = market()
    here.wire.faults = [
        Fault("GET", edited(lambda rows: [rows[0], *(row | {"status": "resting"} for row in rows[2:])]))
    ]
    found = here.broker.orders()
    assert [order.is_final for order in found if order.status == "resting"] == [False]
    assert ["resting" in one.reason for one in found.refused] == [True]
    assert here.broker.order(NO_ID) is None


def test_an_order_that_ended_without_a_share_is_readable() -> None:
    """As the replacement of a stop that filled first; a working order without shares is refused."""
    row = next(row for row in ROWS if row["legs"])
    leg = next(leg for leg in row["legs"] if leg["type"] == "stop")
    ended = leg | {"qty": "0", "status": "rejected", "failed_at": row["created_at"]}
    for shown, readable in ((ended, True), (leg | {"qty": "0"}, False), (ended | {"status": "filled"}, False)):
        HERE.wire.faults = [Fault("GET /v2/orders", page(200, json.dumps([row | {"legs": [shown]}])), times=None)]
        found = HERE.broker.orders()
        assert [one.filled_qty for order in found for one in order.legs] == [0] * readable
        assert bool(found.refused) is not readable
