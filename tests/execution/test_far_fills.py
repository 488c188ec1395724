"""Fills far from the last price: real ones after a halt end their trades, wrong ones are not believed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_ownership import DAY
from tests.execution.trading_world import Fault, TradingWorld, edited, flat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def world(folder: Path, after: float) -> TradingWorld:
    """A trader that buys AAA at 10:31 and BBB at 10:55; AAA is halted from 10:40 to 10:50."""
    stocks = {"AAA": {MONDAY: flat("09:30", "10:39") + flat("10:50", "15:59", after)}, "BBB": {MONDAY: DAY}}
    here = TradingWorld(folder, stocks, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}, "10:55": {"BBB": 0.8}})
    here.trader.recover()
    return here


@pytest.mark.parametrize("price", [1.5, 0.3, 80.0])
def test_a_stock_that_reopens_far_away_ends_its_trade_at_that_price(tmp_path: Path, price: float) -> None:
    here = world(tmp_path / "logs", price)
    here.minutes("10:31", "10:33")
    here.minutes("10:49", "10:56")
    assert (here.trade().is_open, here.trade().exit_price) == (False, Decimal(str(price)))
    assert [event["price"] for event in here.events("far_fill")] == [price]
    assert here.trade("BBB").is_open
    here.tick("15:55", "15:56")
    here.check_books()


def wrong(side: str, prices: Callable[[], float]) -> Callable[[Any], Any]:
    def changed(body: Any) -> Any:
        if isinstance(body, list):
            return [changed(one) for one in body]
        fields = {"filled_avg_price": str(prices())} if body.get("filled_avg_price") and body["side"] == side else {}
        return body | fields | ({"legs": changed(body["legs"])} if body.get("legs") else {})

    return changed


@pytest.mark.parametrize(("side", "pattern"), [("sell", "GET /v2/orders/"), ("sell", "GET /v2/orders"), ("buy", "")])
def test_a_wrong_price_is_believed_neither_from_one_source_nor_if_it_changes(
    tmp_path: Path, side: str, pattern: str
) -> None:
    def prices() -> Iterator[float]:
        while True:
            yield 100.0
            yield 100.0 if pattern.endswith("/") or side == "buy" else 120.0

    here, values = world(tmp_path / "logs", 9.5), prices()
    fault = Fault(pattern or "GET /v2/orders", edited(wrong(side, lambda: next(values))), times=None)
    here.minutes("10:31", "10:33") if side == "sell" else None
    here.wire.faults = [fault]
    here.minutes("10:31" if side == "buy" else "10:49", "10:54")
    assert not here.events("far_fill")
    here.wire.faults = []
    here.minutes("10:55", "10:56")
    here.check_books()
