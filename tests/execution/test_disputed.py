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
            order["filled_qty"] = "five"

    world.wire.faults = [Fault("GET /v2/orders", edited(every_order(nameless)), times=None)]
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
