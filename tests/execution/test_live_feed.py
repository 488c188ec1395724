"""Bars that come late: asked for again within the minute, decided once, and a feed that stays behind is reported."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_reconciliation import bought, world
from tests.execution.trading_world import Fault, TradingWorld, edited

if TYPE_CHECKING:
    from pathlib import Path

BARS = "GET /v2/stocks/bars"


def only_before(here: TradingWorld, delay: float) -> Any:
    """Show a bar only `delay` seconds after its minute."""

    def shown(body: Any) -> Any:
        for symbol, bars in body["bars"].items():
            limit = here.clock.now() - timedelta(seconds=60 + delay)
            body["bars"][symbol] = [bar for bar in bars if datetime.fromisoformat(bar["t"]) <= limit]
        return body

    return edited(shown)


@pytest.mark.parametrize(("delay", "requests"), [(0.0, 1), (2.5, 2), (4.0, 3), (7.0, 4)])
def test_bars_that_come_seconds_late_are_fetched_within_their_minute(
    tmp_path: Path, delay: float, requests: int
) -> None:
    here = world(tmp_path)
    here.wire.faults = [Fault(BARS, only_before(here, delay), times=None)]
    here.tick("10:30")
    before = here.wire.count(BARS)
    here.tick("10:31")
    assert here.wire.count(BARS) - before == requests
    assert here.trader.day is not None and here.trader.day.bars.newest_end == ny(MONDAY, "10:31")
    assert bought(here) == 5 and not here.trader.positions.pending


def test_a_feed_that_stays_behind_and_its_recovery_are_reported(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.tick("10:31")
    here.wire.faults = [Fault(BARS, edited(lambda body: body | {"bars": {}}), times=None)]
    here.tick("10:32")
    assert not here.events("feed_late")
    here.tick("10:33", "10:34", "10:35")
    assert [event["newest_bar_ended"][11:16] for event in here.events("feed_late")] == ["10:31"]
    here.wire.faults = []
    here.tick("10:36", "10:37")
    assert len(here.events("feed_current")) == 1


def test_a_bar_decides_once(tmp_path: Path) -> None:
    here = world(tmp_path, signals={f"10:{n}": {"AAA": 0.9} for n in range(31, 40)})
    here.script.bar_time = ny(MONDAY, "10:30")
    here.tick("10:31", "10:32", "10:33")
    assert [event["symbol"] for event in here.events("entry_intent")] == ["AAA"]
    assert [event["rule"] for event in here.events("not_bought")] == ["same_bar", "same_bar"]
    here.script.bar_time = ny(MONDAY, "10:33")
    here.tick("10:34")
    assert [event["rule"] for event in here.events("not_bought")] == ["same_bar", "same_bar", "not_owned"]
