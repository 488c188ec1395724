"""An order that cannot be read does not keep the rest of its trade from a stop or from its sale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.requests import MarketOrderRequest

from tests.execution.test_orders_of_others import World
from tests.execution.test_owners_sale import HALVES, Owned
from tests.execution.test_reconciliation import holding
from tests.execution.trading_world import Fault, edited, page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def unreadable(which: Callable[[Any], bool], pattern: str = "GET /v2/orders", **fields: Any) -> Fault:
    """Replies about orders in which fields of some orders, legs included, have other values."""

    def change(body: Any) -> Any:
        if isinstance(body, list):
            return [change(one) for one in body]
        if isinstance(body, dict) and "client_order_id" in body:
            body = body | {"legs": change(body.get("legs"))}
            return body | fields if which(body) else body
        return body

    return Fault(pattern, edited(change), times=None)


def stopped(here: World) -> int:
    """Shares under live stops, by the exchange's books."""
    stops = [
        one for one in here.exchange.snapshot().orders if one.is_open and one.side == "sell" and one.type == "stop"
    ]
    return sum(int(one.qty or 0) - int(one.filled_qty) for one in stops)


@pytest.mark.parametrize("fields", [{"filled_qty": "abc"}, {"id": None}], ids=["qty", "id"])
@pytest.mark.parametrize("kind", ["stop", "limit"])
def test_an_unreadable_leg_does_not_prevent_the_sale(tmp_path: Path, kind: str, fields: dict[str, Any]) -> None:
    here = holding(tmp_path)
    here.wire.faults = [unreadable(lambda one: (one["side"], one["type"]) == ("sell", kind), **fields)]
    here.tick("10:36")
    assert ("sell", "stop", 9.8) in here.open_orders() or len(here.open_orders()) == 2
    here.tick("15:55", "15:56", "15:57")
    assert (here.held(), here.open_orders()) == (0, [])
    here.wire.faults = []
    here.tick("15:58")
    here.check_books()


def test_with_an_unreadable_entry_a_lost_stop_is_replaced_and_the_shares_are_sold(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.wire.faults = [unreadable(lambda one: one["side"] == "buy", symbol=None)]
    for order_id in here.trade().sell_order_ids:
        here.broker.cancel(order_id)
    here.tick("10:36")
    assert [(side, kind) for side, kind, _ in here.open_orders()] == [("sell", "stop")]
    here.tick("15:55", "15:56", "15:57")
    assert (here.held(), here.open_orders()) == (0, [])


def test_legs_stay_if_an_order_is_unreadable_and_so_is_the_position(tmp_path: Path) -> None:
    here = holding(tmp_path)
    legs = here.open_orders()

    def no_quantity(body: Any) -> Any:
        return [one | {"qty": None} for one in body] if isinstance(body, list) else body | {"qty": None}

    here.wire.faults = [
        unreadable(lambda one: (one["side"], one["type"]) == ("sell", "stop"), filled_qty="abc"),
        Fault(
            "GET /v2/positions",
            edited(
                lambda body: [one | {"qty": None} for one in body] if isinstance(body, list) else body | {"qty": None}
            ),
            times=None,
        ),
    ]
    here.tick("15:55", "15:56", "15:57")
    assert here.open_orders() == legs


@pytest.mark.parametrize("status", ["suspended", "done_for_day", "calculated"])
def test_live_stops_that_are_shown_as_unable_to_fire_are_cancelled_for_the_sale(tmp_path: Path, status: str) -> None:
    here = holding(tmp_path)
    live = ("new", "held", "accepted")
    here.wire.faults = [unreadable(lambda one: one["type"] == "stop" and one["status"] in live, status=status)]
    here.minutes("10:36", "10:40")
    before = sum(one.startswith("DELETE") for one in here.wire.sent)
    here.minutes("10:41", "10:50")
    assert sum(one.startswith("DELETE") for one in here.wire.sent) == before  # the replacement is left alone
    here.minutes("15:54", "15:59")
    assert (here.held(), here.open_orders()) == (0, [])


UNREADABLE: list[dict[str, Any]] = [
    {"filled_avg_price": None},
    {"filled_avg_price": "0.98"},
    {"filled_at": None, "updated_at": None},
    {"status": None},
    {"filled_qty": "abc"},
    {"side": "buy"},
]


@pytest.mark.parametrize("fields", [*UNREADABLE, None], ids=lambda fields: "unknown" if fields is None else str(fields))
def test_the_rest_has_a_stop_and_is_sold_although_the_owners_sale_of_a_part_is_not_confirmed(
    tmp_path: Path, fields: dict[str, Any] | None
) -> None:
    here = World(tmp_path)
    here.minutes("10:31", "10:33")
    here.at("10:33:30")
    here.owner.cancel_orders()
    sale: Any = here.owner.submit_order(MarketOrderRequest(symbol="AAA", qty=2, side="sell", time_in_force="day"))
    alone = f"GET /v2/orders/{sale.id}"
    unknown = Fault(alone, page(404, '{"code": 40410000, "message": "order not found"}'), times=None)
    here.wire.faults = [unknown if fields is None else unreadable(lambda one: True, alone, **fields)]
    here.minutes("10:34", "10:35")
    assert (here.held(), stopped(here)) == (3, 3)
    here.tick("15:55", "15:56", "15:57")
    assert (here.held(), here.open_orders()) == (0, [])
    here.wire.faults = []
    here.tick("15:58")
    here.check_books()


@pytest.mark.parametrize("fields", [UNREADABLE[0], UNREADABLE[2], UNREADABLE[4]], ids=str)
def test_the_rest_is_sold_although_what_the_target_sold_is_unreadable(tmp_path: Path, fields: dict[str, Any]) -> None:
    here = World(tmp_path, ("10:35", 10.4, 10.4, 10.4, 10.4), behaviour=HALVES)
    here.minutes("10:31", "10:34")
    legs = unreadable(
        lambda one: (one["side"], one["type"]) == ("sell", "limit") and one["filled_qty"] != "0", **fields
    )
    here.wire.faults = [legs]
    here.minutes("10:35", "10:38")
    assert 0 < here.held() < 5 and stopped(here) >= here.held()
    here.minutes("15:54", "15:58")
    assert (here.held(), here.open_orders()) == (0, [])
    here.wire.faults = []
    here.tick("15:59")
    here.check_books()


@pytest.mark.parametrize("fields", [{"filled_qty": "abc"}, {"id": None}, {"qty": "x"}, {"type": None}], ids=str)
@pytest.mark.parametrize("kinds", [("stop",), ("stop", "limit")], ids=["stop", "both"])
def test_orders_that_were_never_readable_end_for_the_sale_that_they_prevent(
    tmp_path: Path, kinds: tuple[str, ...], fields: dict[str, Any]
) -> None:
    here = World(tmp_path)
    here.wire.faults = [unreadable(lambda one: one["side"] == "sell" and one["type"] in kinds, **fields)]
    here.tick("10:31", "10:33")
    assert stopped(here) == 5
    here.tick("15:55", "15:57")
    assert (here.held(), here.open_orders()) == (0, [])
    here.wire.faults = []
    here.tick("15:58")
    here.check_books()


@pytest.mark.parametrize(
    "lie", [{"filled_qty": "abc"}, {"created_at": None}, {"symbol": None, "status": None}], ids=str
)
@pytest.mark.parametrize("is_dated_back", [False, True])
def test_an_unreadable_sale_of_the_owner_is_never_cancelled(
    tmp_path: Path, lie: dict[str, Any], is_dated_back: bool
) -> None:
    here = Owned(tmp_path)
    entry = here.broker.order(here.trade().entry_order_id)
    assert entry is not None and entry.created_at is not None
    if is_dated_back:
        lie = {"created_at": entry.created_at.isoformat()} | lie
    here.wire.faults = [unreadable(lambda one: one["id"] == here.sale, **lie)]
    here.tick("10:34", "10:36", "15:55", "15:57")
    here.close_day()
    assert here.is_untouched
    assert not here.wire.count(f"(DELETE|PATCH) /v2/orders/{here.sale}")
