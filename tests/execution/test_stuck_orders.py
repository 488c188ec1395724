"""Orders of ours that neither fire nor end: they are named if they prevent a sale, and asked to end after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.execution.test_orders_of_others import World
from tests.execution.test_reconciliation import holding
from tests.execution.test_unreadable_orders import unreadable
from tests.execution.trading_world import INSTANCE, Fault, edited, page

if TYPE_CHECKING:
    from pathlib import Path

LIVE = ("new", "held", "accepted")
ENDED = page(422, '{"code": 42210000, "message": "order is not cancelable"}')


@pytest.mark.parametrize("status", ["suspended", "pending_cancel"])
def test_the_close_names_the_order_that_holds_the_shares(tmp_path: Path, status: str) -> None:
    here = holding(tmp_path)
    for order_id in here.trade().sell_order_ids:
        here.broker.cancel(order_id)
    here.tick("10:36")
    stop = here.trade().stop_order_id
    here.wire.faults = [
        unreadable(lambda one: one["id"] == stop and one["status"] in LIVE, status=status),
        Fault(f"DELETE /v2/orders/{stop}", ENDED, times=None),
    ]
    here.tick("10:37", "10:39", "15:55", "15:57")
    here.close_day()
    assert here.held() == 5
    note = here.events("not_flat")[-1]["note"]
    assert f"stop order {stop} stays {status}" in note


def test_a_stuck_stop_is_asked_to_end_once_the_target_has_sold_all(tmp_path: Path) -> None:
    here = holding(tmp_path, ("10:39", 10.0, 10.5, 10.0, 10.0))
    stop = here.trade().stop_order_id
    here.wire.faults = [unreadable(lambda one: one["id"] == stop, status="stopped", filled_qty="0", canceled_at=None)]
    unseen = Fault(f"DELETE /v2/orders/{stop}", page(500, "<html>"), times=None)
    here.wire.faults += [Fault("DELETE /v2/orders/(?!" + str(stop) + ")", ENDED, times=None), unseen]
    here.minutes("10:36", "10:40")
    assert here.held() == 0 and here.trade().is_open  # whether it still rests is not known
    here.wire.faults.remove(unseen)
    before = here.wire.count(f"DELETE /v2/orders/{stop}")
    here.tick("10:41")
    assert here.wire.count(f"DELETE /v2/orders/{stop}") > before
    assert (here.trade().is_open, here.trade().exit_reason) == (False, "TAKE_PROFIT")
    here.check_books()


def test_the_entry_of_a_trader_that_was_taken_over_is_not_somebody_elses(tmp_path: Path) -> None:
    here = World(tmp_path)

    def as_new(body: Any) -> Any:
        if isinstance(body, list):
            return [as_new(one) for one in body]
        fields = {"status": "new", "filled_qty": "0", "filled_avg_price": None, "filled_at": None}
        return body | fields if str(body.get("client_order_id")).endswith("entry") else body

    here.wire.faults = [Fault("GET /v2/orders", edited(as_new), times=None)]
    here.tick("10:31")
    here.folder, here.gone = tmp_path.with_name(f"{tmp_path.name}-second"), frozenset({INSTANCE})
    here.restart()
    here.minutes("10:33", "10:37")
    assert here.trade().is_open and here.trade().qty == 5
    for order_id in here.trade().sell_order_ids:
        here.broker.cancel(order_id)
    here.minutes("10:38", "10:39")
    assert here.open_orders() == [("sell", "stop", 9.8)]
    here.end_day()
    assert (here.held(), here.open_orders()) == (0, [])
    assert not here.events("order_in_the_way", "not_flat")


def test_a_trade_that_is_sold_ends_although_its_entry_is_unreadable(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.wire.faults = [unreadable(lambda one: one["side"] == "buy", symbol=None)]
    here.tick("10:36", "15:55", "15:56", "15:57")
    here.close_day()
    assert (here.trade().is_open, here.trade().exit_reason) == (False, "END_OF_DAY")
    assert not here.events("not_flat")
    here.check_books()
