"""An entry order that arrives after it was given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from tests.execution.test_reconciliation import ENTRY, bought, world
from tests.execution.trading_world import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("restarted", [False, True])
def test_an_entry_that_arrives_after_it_was_given_up_is_recovered_with_its_levels(
    tmp_path: Path, restarted: bool
) -> None:
    delayed: list[Callable[[], requests.Response]] = []

    def held(request: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
        delayed.append(send)
        raise requests.ReadTimeout("no answer", request=request)

    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}})
    here.wire.faults = [Fault("POST", held)]
    here.minutes("10:31", "10:34")
    assert [event["client_order_id"] for event in here.events("entry_never_arrived")] == [ENTRY]
    delayed[0]()
    if restarted:
        here.at("10:35:01")  # filled by then
        here.restart()
    here.minutes("10:35", "10:37")
    assert bought(here) == 5
    assert [(trade.client_order_id, trade.qty) for trade in here.log.open_trades] == [(ENTRY, 5)]
    assert here.open_orders() and not here.events("external_position")
    here.check_books()


def test_a_late_entry_that_is_not_filled_is_cancelled(tmp_path: Path) -> None:
    delayed: list[Callable[[], requests.Response]] = []

    def held(request: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
        delayed.append(send)
        raise requests.ReadTimeout("no answer", request=request)

    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}})
    here.wire.faults = [Fault("POST", held)]
    here.minutes("10:31", "10:34")
    delayed[0]()
    here.restart()
    here.minutes("10:35", "10:37")
    assert bought(here) == 0 and not here.log.open_trades and not here.open_orders()
    assert [event["reason"] for event in here.events("cancel")] == ["ENTRY_TOO_OLD"]
