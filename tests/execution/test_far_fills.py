"""Fills far from the last price: real ones after a halt end their trades, wrong ones are not believed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.requests import MarketOrderRequest

from tests.exchange.exchange_world import MONDAY, TUESDAY, ny
from tests.execution.test_ownership import DAY, by_hand
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, page

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
    assert "agrees" in here.events("far_fill")[0]["note"]
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


def test_a_far_fill_is_believed_once_the_feed_answers_that_did_not(tmp_path: Path) -> None:
    here = world(tmp_path / "logs", 1.5)
    here.minutes("10:31", "10:33")
    here.wire.faults = [Fault("GET /v2/stocks/", page(500, "no"), times=None)]
    here.minutes("10:49", "10:53")
    assert here.trade().is_open and here.held() == 0 and not here.events("far_fill")
    [doubted] = here.events("far_fill_doubted")
    assert "no other source shows a price" in doubted["note"] and doubted["price"] == 1.5
    assert here.trader.positions.needs_look or "AAA" in here.trader.positions.unsettled
    here.wire.faults = []
    here.minutes("10:54", "10:55")
    assert (here.trade().is_open, here.trade().exit_price) == (False, Decimal("1.5"))


def test_a_wrong_price_of_a_purchase_that_all_replies_show_is_that_of_the_position(tmp_path: Path) -> None:
    here = world(tmp_path / "logs", 9.5)
    here.wire.faults = [Fault("GET /v2/orders", edited(wrong("buy", lambda: 100.0)), times=None)]
    here.minutes("10:31", "10:33")
    trade = here.trade()
    assert (trade.entry_price, trade.stop_loss, trade.is_open) == (10, Decimal("9.8"), True)
    [said] = here.events("far_fill_corrected")
    assert said["price"] == 100 and "the position's average $10 is taken instead" in said["note"]
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    here.tick("10:49", "10:51", "15:55", "15:56")
    here.check_books()


def test_a_wrong_price_of_a_sale_that_all_replies_show_is_never_believed_and_said_once(tmp_path: Path) -> None:
    here = world(tmp_path / "logs", 9.5)
    here.minutes("10:31", "10:33")
    here.wire.faults = [Fault("GET /v2/orders", edited(wrong("sell", lambda: 100.0)), times=None)]
    here.minutes("10:49", "10:56")
    [doubted] = here.events("far_fill_doubted")
    assert "the newest quote $9.5" in doubted["note"]
    assert here.trade().is_open and not here.events("far_fill") and here.trade("BBB").is_open
    here.wire.faults = []
    here.tick("10:57", "10:58")
    assert here.trade().exit_price == Decimal("9.5")


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


@pytest.mark.parametrize(("price", "when"), [(0.5, "the same day"), (100.0, "the next day")])
def test_a_start_does_not_believe_a_far_sale_that_was_doubted_before_the_kill(
    tmp_path: Path, price: float, when: str
) -> None:
    stocks = {"AAA": {MONDAY: DAY, TUESDAY: flat("09:30", "09:59")}}
    here = TradingWorld(tmp_path / "logs", stocks, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    here.minutes("10:31", "10:33")
    here.wire.faults = [Fault("(GET|POST) /v2/orders", edited(wrong("sell", lambda: price)), times=None)]
    if when == "the same day":
        here.tick("15:54", "15:55", "15:56")
        here.at("15:56:50")
    else:
        here.at("09:30", TUESDAY)
        here.trader.opened(here.session)
        here.tick("09:31")
        here.at("09:31:50")
    assert here.held() == 0 and here.trade().is_open and here.events("far_fill_doubted")
    here.restart()
    here.restart()
    here.tick("15:58" if when == "the same day" else "09:33")
    assert here.trade().is_open and not here.events("far_fill", "sold")
    here.wire.faults = []
    here.tick("15:59" if when == "the same day" else "09:34")
    assert [here.trade().exit_price] == [price for side, _, price in here.fills() if side == "sell"]


def test_a_sale_after_a_split_over_night_is_believed_by_a_start_because_the_bars_show_its_price(
    tmp_path: Path,
) -> None:
    stocks = {"AAA": {MONDAY: DAY, TUESDAY: flat("09:30", "09:59", 1.0)}}
    here = TradingWorld(tmp_path / "logs", stocks, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    here.minutes("10:31", "10:33")
    here.at("09:30:30", TUESDAY)
    by_hand(here).submit_order(MarketOrderRequest(symbol="AAA", qty=5, side="sell", time_in_force="day"))
    here.at("09:31:30")
    here.restart()  # nothing shows the new price but the sale itself and the bars
    here.tick("09:33")
    assert (here.trade().is_open, here.trade().exit_price) == (False, 1)
    assert [event["price"] for event in here.events("far_fill")] == [1]
