"""A sale of the owner that holds the shares of a trade: it is never touched, and said each time that it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest
from alpaca.trading.requests import LimitOrderRequest, ReplaceOrderRequest

from config import AlertKind
from paper_exchange import Behaviour
from paper_exchange.orders.behaviour import PRESETS, Chance
from tests.exchange.exchange_world import MONDAY, Row, ny
from tests.execution.test_orders_of_others import World
from tests.execution.trading_world import Fault, edited, flat, page
from trading.alerts.kinds import Alert, Messages

if TYPE_CHECKING:
    from pathlib import Path

STOP = [("sell", "stop", 9.8)]
HALVES = Behaviour(table={**PRESETS["calm"], "partial_fill": Chance(1.0, 0.5)})
"""Every fill takes at most half of the shares that are left."""


class Owned(World):
    """A trader that holds AAA from 10:31 on and would buy it again every minute; the owner sells it at a limit.

    The owner has cancelled stop and target and sent the sale at 10:33:30.
    """

    def __init__(self, folder: Path, *changed: Row, limit: float = 12.0, **options: Any) -> None:
        super().__init__(folder, *changed, **options)
        self.script.signals = {f"10:{minute}": {"AAA": 0.9} for minute in range(31, 60)}
        self.minutes("10:31", "10:33")
        self.at("10:33:30")
        self.owner.cancel_orders()
        self.qty = int(self.held())
        request = LimitOrderRequest(symbol="AAA", qty=self.qty, side="sell", time_in_force="gtc", limit_price=limit)
        sent: Any = self.owner.submit_order(request)
        self.sale = str(sent.id)
        self.limit = limit

    @property
    def is_untouched(self) -> bool:
        """Whether the owner's order rests as it was sent."""
        [order] = [one for one in self.exchange.snapshot().orders if one.id == self.sale]
        return order.is_open and float(order.limit_price or 0) == self.limit

    def alerts(self, word: str) -> list[Alert]:
        """The alerts of the audit whose cause begins with a word, each cause once."""
        messages = Messages(get_args(AlertKind))
        made = {alert.cause: alert for event in self.events() if (alert := messages.of(event))}
        return [alert for cause, alert in made.items() if cause.startswith(word)]


def test_it_is_said_in_an_alert_with_its_id_and_price_and_again_when_the_stop_is_due(tmp_path: Path) -> None:
    here = Owned(tmp_path, *flat("10:40", "10:44", 9.5))
    here.minutes("10:34", "10:38")
    [alert] = here.alerts("order_in_the_way")
    assert (alert.kind, alert.title, alert.serious) == ("unprotected", "an order of others in the way", True)
    assert f"sell limit order {here.sale} at $12" in alert.body and "5 shares have no stop" in alert.body
    here.minutes("10:39", "10:43")
    again = here.alerts("order_in_the_way")[-1]
    assert again != alert and "STOP_LOSS" in again.body and here.sale in again.body
    assert 3 <= len(here.events("exit_refused")) <= 5  # tried every minute
    assert here.is_untouched and [one["rule"] for one in here.events("not_bought")][-1] == "not_owned"


@pytest.mark.parametrize("ends", ["cancelled", "filled in part, then cancelled"])
def test_the_stop_is_back_within_a_minute_after_the_sale_is_gone(tmp_path: Path, ends: str) -> None:
    partly = ends != "cancelled"
    touched = [("10:36", 10.0, 10.2, 10.0, 10.0)] if partly else []
    here = Owned(tmp_path, *touched, limit=10.2 if partly else 12.0, **({"behaviour": HALVES} if partly else {}))
    here.minutes("10:34", "10:39")
    left = int(here.held())
    assert here.is_untouched and (0 < left < here.qty if partly else left == here.qty)
    assert here.open_orders() == [("sell", "limit", here.limit)] and here.trade().is_open
    here.at("10:39:40")
    here.owner.cancel_order_by_id(here.sale)
    here.tick("10:40")
    assert here.open_orders() == STOP and here.held() == left
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and not here.trade().is_open
    here.check_books()


def test_at_the_close_the_sale_is_tried_and_its_refusal_named(tmp_path: Path) -> None:
    touched = [("10:36", 10.0, 10.2, 10.0, 10.0)]
    here = Owned(tmp_path, *touched, limit=10.2, behaviour=HALVES)
    here.minutes("10:34", "10:39")
    here.restart()
    assert here.is_untouched
    here.end_day()
    assert here.is_untouched and here.held() > 0
    assert any(one["reason"].startswith("insufficient qty") for one in here.events("exit_refused"))
    assert f"order {here.sale} at $10.2" in here.alerts("not_flat")[-1].body


def test_a_sale_that_fills_ends_the_trade(tmp_path: Path) -> None:
    here = Owned(tmp_path, ("10:36", 10.0, 12.5, 10.0, 10.0))
    here.minutes("10:34", "10:38")
    assert (here.held(), here.trade().is_open, here.trade().exit_reason) == (0, False, "SOLD_BY_OTHERS")
    here.check_books()


@pytest.mark.parametrize("times", [1, 2])
def test_a_sale_that_the_owner_moves_is_never_touched_and_is_booked_as_his(tmp_path: Path, times: int) -> None:
    here = Owned(tmp_path, ("10:39", 10.0, 12.5, 10.0, 10.0))
    for number in range(times):
        here.tick(f"10:3{4 + number}")
        here.at(f"10:3{4 + number}:30")
        moved: Any = here.owner.replace_order_by_id(here.sale, ReplaceOrderRequest(limit_price=11.5 - number / 4))
        here.sale, here.limit = str(moved.id), 11.5 - number / 4
    here.minutes("10:36", "10:38")
    assert here.is_untouched
    here.restart()
    here.minutes("10:40", "10:42")
    assert (here.held(), here.trade().is_open, here.trade().exit_reason) == (0, False, "SOLD_BY_OTHERS")


@pytest.mark.parametrize("lie", ["entry unknown", "no time", "entry filled later"])
def test_a_sale_that_fills_in_part_is_left_alone_although_a_reply_is_wrong(tmp_path: Path, lie: str) -> None:
    here = Owned(tmp_path, ("10:36", 10.0, 10.2, 10.0, 10.0), limit=10.2, behaviour=HALVES)
    trade = here.trade()
    if lie == "entry unknown":
        unknown = page(404, '{"code": 40410000, "message": "order not found"}')
        hidden = edited(lambda rows: [row for row in rows if row["id"] != trade.entry_order_id])
        paths = (f"GET /v2/orders/{trade.entry_order_id}", "GET /v2/orders:by_client_order_id.*entry")
        here.wire.faults = [Fault(path, unknown, times=None) for path in paths]
        here.wire.faults.append(Fault("GET /v2/orders\\?", hidden, times=None))
    elif lie == "no time":
        untimed = edited(lambda order: order | {"created_at": None})
        here.wire.faults = [Fault(f"GET /v2/orders/{here.sale}", untimed, times=None)]
    else:
        trade.entry_time = ny(MONDAY, "12:00")
    here.minutes("10:34", "10:40")
    assert here.is_untouched and 0 < here.held() < here.qty
