"""A stop ends the schedule, not the steps that protect shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from paper_exchange.orders.behaviour import Behaviour, Chance
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import Fault, TradingWorld, flat, lost_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path


def world(folder: Path, **options: Any) -> TradingWorld:
    bars = {"AAA": {MONDAY: flat("09:30", "15:59")}}
    here = TradingWorld(folder / "logs", bars, ny(MONDAY, "04:00"), {"10:31": {"AAA": 0.8}}, **options)
    here.trader.recover()
    here.trader.rebalance(here.session)
    here.at("09:30")
    here.trader.opened(here.session)
    return here


def slowly(here: TradingWorld, seconds: int) -> Fault:
    """Cancellations are accepted at once and carried out `seconds` later."""
    waiting: list[tuple[datetime, Callable[[], requests.Response]]] = []

    def accept(request: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
        waiting.append((here.clock.now(), send))
        response = requests.Response()
        response.status_code, response._content, response.url = 204, b"", request.url or ""
        response.request = request
        return response

    def carry_out() -> None:
        for one in list(waiting):
            if one in waiting and (here.clock.now() - one[0]).total_seconds() >= seconds:
                waiting.remove(one)  # first, because sending comes back here
                one[1]()

    here.wire.before = carry_out
    return Fault("^DELETE .*/orders/", accept, None)


@pytest.mark.parametrize("seconds", [1, 3, 8])
def test_a_position_that_is_being_closed_is_sold_although_the_program_is_stopping(seconds: int, tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:30", "15:54")
    here.wire.faults.append(slowly(here, seconds))
    here.at("15:55:02")
    here.clock.interrupt()
    here.trader.tick(here.session, ny(MONDAY, "15:55"))
    here.clock.hold_until(ny(MONDAY, "15:56"))  # the exchange goes on without us
    assert here.held() == 0 and not here.open_orders() and here.trade().exit_reason == "END_OF_DAY"


def test_an_entry_whose_answer_was_lost_is_followed_up_although_the_program_is_stopping(tmp_path: Path) -> None:
    here = world(tmp_path, behaviour=Behaviour(table={"pending_new": Chance(1.0, 30.0)}))
    here.wire.faults.append(Fault("^POST .*/orders", lost_after, 1))
    here.at("10:31:02")
    here.clock.interrupt()
    before = len(here.wire.sent)
    here.trader.tick(here.session, ny(MONDAY, "10:31"))
    assert here.clock.now() >= ny(MONDAY, "10:31:22")  # it looked again after 5 and 15 seconds, not at once
    assert sum("GET /v2/orders?status=all" in line for line in here.wire.sent[before:]) == 4  # one before the entry
