"""How long shares are without a stop and a sale: after a restart, with slow cancellations, with unreadable replies."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from paper_exchange.base.wire import from_ns
from paper_exchange.orders.behaviour import Behaviour, Chance
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, page
from trading.broker.client import KeysRefused, Unclear

if TYPE_CHECKING:
    from pathlib import Path

DAY = flat("09:30", "15:59")


def world(folder: Path, names: list[str], **options: Any) -> TradingWorld:
    """A trader that sends an entry in each of these stocks at 10:31:02."""
    signals = {"10:31": dict.fromkeys(names, 0.8)}
    here = TradingWorld(folder, {name: {MONDAY: DAY} for name in names}, ny(MONDAY, "10:30"), signals, **options)
    here.trader.recover()
    return here


def slow_cancels(seconds: float) -> Behaviour:
    return Behaviour(table={"pending_cancel": Chance(1.0, seconds)})


@pytest.mark.parametrize("later", [0.0, 4.0])
def test_a_restart_replaces_a_stop_whose_cancellation_is_pending_or_on_its_way(tmp_path: Path, later: float) -> None:
    here = world(tmp_path, ["AAA"], behaviour=slow_cancels(later or 12.0))
    here.tick("10:31", "10:32")
    begun = here.clock.now()
    if later:
        legs = [order for order in here.exchange.snapshot().orders if order.is_open]
        here.restart()
        assert here.clock.now() > begun  # it has looked a second time although all was well
        begun = here.clock.now()
        for leg in legs[:1]:
            here.clients.trading.cancel_order_by_id(leg.id)
    else:
        here.trader.positions.cancel_ahead(here.trade(), "TAKE_PROFIT")
    here.restart()  # killed before the exit was sent
    assert here.open_orders() == [("sell", "stop", 9.8)] and here.held() == 5
    assert here.clock.now() - begun < timedelta(seconds=20)
    here.check_books()


def test_no_exit_waits_for_the_cancellations_of_others(tmp_path: Path) -> None:
    names = [f"S{number}" for number in range(8)]
    here = world(tmp_path, names, behaviour=slow_cancels(20.0))
    here.tick("10:31", "10:32", "15:55", "15:56", "15:57")
    assert not here.trader.positions.open
    orders = here.exchange.snapshot().orders
    for name in names:
        [gone] = {one.canceled_at for one in orders if one.symbol == name and one.canceled_at}
        [sent] = [one.submitted_at for one in orders if one.symbol == name and one.client_order_id.endswith("exit")]
        assert from_ns(sent) - from_ns(gone) < timedelta(seconds=3), name
    here.check_books()


def test_a_reply_that_cannot_be_true_is_asked_for_once_more(tmp_path: Path) -> None:
    here = world(tmp_path, ["AAA"])
    here.tick("10:31", "10:32")
    refused = page(401, '{"code": 40110000, "message": "request is not authorized"}')
    wrong: list[tuple[str, Any, Any]] = [
        ("GET /v2/account", refused, here.broker.account),
        ("GET /v2/account", page(200, "[]"), here.broker.account),
        ("GET /v2/positions/AAA", edited(lambda row: row | {"qty": None}), lambda: here.broker.position("AAA")),
        ("GET /v2/positions$", page(418, "<html>"), here.broker.positions),
        ("GET /v2/orders[?]", page(403, "<html>"), here.broker.orders),
    ]
    for pattern, reply, ask in wrong:
        here.wire.faults = [Fault(pattern, reply, times=1)]
        truth = ask()
        here.wire.faults = []
        assert truth == ask() and truth
        here.wire.faults = [Fault(pattern, reply, times=2)]
        with pytest.raises(KeysRefused if reply is refused else Unclear):
            ask()
        assert here.wire.faults[0].times == 0
