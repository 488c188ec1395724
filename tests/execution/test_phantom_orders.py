"""Replies that acknowledge an order which the broker never had: every later look-up of it is a 404."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import Act, Fault, TradingWorld, flat, page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import requests

STOP = ("sell", "stop", 9.8)
PHANTOM = "22222222-0000-4000-8000-000000000001"


def acknowledged(world: TradingWorld) -> Act:
    """A reply as to an accepted order, which the exchange never sees."""

    def act(request: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
        asked, now = json.loads(request.body or "{}"), world.clock.now().isoformat()
        times = dict.fromkeys(("created_at", "updated_at", "submitted_at"), now)
        order = {"filled_qty": "0", "legs": None, "status": "accepted"} | times | {"id": PHANTOM} | asked
        return page(200, json.dumps(order))(request, send)

    return act


@pytest.fixture
def world(tmp_path: Path) -> TradingWorld:
    world = TradingWorld(
        tmp_path / "logs",
        {"AAA": {MONDAY: flat("09:30", "15:59")}},
        ny(MONDAY, "10:30"),
        {"10:31": {"AAA": 0.9}},
    )
    world.trader.recover()
    world.minutes("10:31", "10:33")
    return world


def test_a_stop_that_the_broker_never_had_is_placed_again_within_the_minute(world: TradingWorld) -> None:
    for order in world.exchange.snapshot().orders:
        if order.is_open:
            world.broker.cancel(order.id)
    world.wire.faults = [Fault("POST /v2/orders", acknowledged(world))]
    world.tick("10:34")
    assert world.open_orders() == [STOP]
    assert world.clock.now() < ny(MONDAY, "10:35")
    assert PHANTOM not in world.trade().sell_order_ids
    assert any(PHANTOM in event["reason"] for event in world.events("unclear"))


def test_an_exit_that_the_broker_never_had_is_sent_again_within_the_minute(world: TradingWorld) -> None:
    world.minutes("15:53", "15:54")
    world.wire.faults = [Fault("POST /v2/orders", acknowledged(world))]
    world.tick("15:55")
    assert [event["time"][11:16] for event in world.events("exit_sent")] == ["15:55"]
    world.tick("15:56")
    assert not world.held()
    assert [trade.exit_reason for trade in world.log.trades] == ["END_OF_DAY"]
