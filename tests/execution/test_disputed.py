"""Stocks that are disputed for minutes, or that cannot be read at all: their protection, and whether they are flat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def every_order(change: Callable[[dict[str, Any]], None]) -> Callable[[Any], Any]:
    """An edit of replies that applies to each order and leg."""

    def apply(body: Any) -> Any:
        for one in body if isinstance(body, list) else [body]:
            if isinstance(one, dict) and one.get("symbol") == "AAA":
                change(one)
                apply(one.get("legs") or [])
        return body

    return apply


def cancel_all(world: TradingWorld) -> None:
    for order in world.exchange.snapshot().orders:
        if order.is_open:
            world.broker.cancel(order.id)


@pytest.fixture
def world(tmp_path: Path) -> TradingWorld:
    bars = {"AAA": {MONDAY: flat("09:30", "15:59")}}
    world = TradingWorld(tmp_path / "logs", bars, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.9}})
    world.trader.recover()
    world.minutes("10:31", "10:33")
    return world


def test_a_disputed_stock_without_a_stop_is_looked_at_again_within_the_minute(world: TradingWorld) -> None:
    def unknown(order: dict[str, Any]) -> None:
        if order["type"] == "limit" and order["status"] == "new":
            order["status"] = "under_review"

    world.wire.faults = [Fault("GET /v2/orders", edited(every_order(unknown)), times=None)]
    world.minutes("10:34", "10:40")
    assert world.events("stock_disputed")
    cancel_all(world)
    world.wire.faults.insert(0, Fault("POST /v2/orders", page(503, "x"), times=3))
    world.tick("10:41")
    assert world.open_orders() == [("sell", "stop", 9.8)]


def test_an_entry_that_cannot_be_read_is_not_flat(world: TradingWorld, tmp_path: Path) -> None:
    def nameless(order: dict[str, Any]) -> None:
        if order["side"] == "buy":
            order["id"] = "five"

    world.wire.faults = [
        Fault("by_client_order_id.*entry", page(500, "{}"), times=None),
        Fault("GET /v2/orders", edited(every_order(nameless)), times=None),
    ]
    world.folder, world.gone = tmp_path / "new", frozenset({"test"})
    world.restart()
    ended: list[str] = []
    world.trader.on_flat = lambda: ended.append("flat")
    world.minutes("10:41", "10:45")  # disputed by then
    (world.controls / "FLATTEN").touch()
    world.tick("10:46")
    assert not ended and not world.events("flat") and world.held() == 5
    (world.controls / "FLATTEN").unlink()
    world.tick("15:55")
    world.close_day()
    assert [(event["symbol"], event["qty"]) for event in world.events("not_flat")] == [("AAA", 5)]


@pytest.mark.parametrize("status", ["done_for_day", "suspended", "calculated", "stopped", "pending_cancel"])
def test_a_stop_that_neither_fires_nor_ends_is_replaced_after_a_minute_and_sold_around(
    world: TradingWorld, status: str
) -> None:
    first = world.trade().stop_order_id

    def lasting(order: dict[str, Any]) -> None:
        if order["id"] == first:
            order.update(status=status, canceled_at=None, expired_at=None)

    cancel_all(world)
    world.wire.faults = [Fault("GET /v2/orders", edited(every_order(lasting)), times=None)]
    world.minutes("10:34", "10:36")
    assert world.open_orders() == [("sell", "stop", 9.8)]
    assert any(f"stays {status}" in event["reason"] for event in world.events("unclear"))
    world.minutes("15:55", "15:56")
    assert not world.held() and world.trade().exit_reason == "END_OF_DAY"


def test_a_sale_says_which_order_is_in_the_way(world: TradingWorld) -> None:
    def lasting(order: dict[str, Any]) -> None:
        if order["side"] == "sell" and order["status"] in ("new", "held"):
            order["status"] = "pending_cancel"

    world.wire.faults = [
        Fault("GET /v2/orders", edited(every_order(lasting)), times=None),
        Fault("DELETE", page(204, ""), times=None),  # taken, and never executed
    ]
    world.minutes("10:34", "10:36")
    # Tried once a minute: the broker says that the shares are still reserved.
    assert 1 <= len(world.events("stop_refused")) <= 2
    world.minutes("15:55", "15:56")
    reasons = [event["reason"] for event in world.events("exit_refused")]
    assert any("in the way: " in reason and "stays pending_cancel" in reason for reason in reasons)
    world.wire.faults = []
    world.minutes("15:57", "15:59")
    assert not world.held()
