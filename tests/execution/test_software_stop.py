"""The software stop sells on two of bar, position price and quote; never on one, and never for want of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from paper_exchange.orders.behaviour import Chance
from tests.execution.test_behaviours import ONE_SHARE, UP, holding
from tests.execution.trading_world import Fault, TradingWorld, edited, page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.exchange.exchange_world import Row

BARS, POSITIONS, QUOTES = "GET /v2/stocks/bars", "GET /v2/positions", "GET /v2/stocks/quotes"


def legs_for_nothing(folder: Path, price: float) -> TradingWorld:
    """4 AAA whose stop and target rest and never fire again; from 10:35 on the stock stands at `price`."""
    later: list[Row] = [(f"10:{minute}", price, price, price, price) for minute in range(35, 45)]
    here = holding(folder, UP, *later, plan=ONE_SHARE, legs_abandoned=Chance(1.0))
    here.tick("10:33", "10:34", "10:35")
    assert (here.held(), len(here.open_orders())) == (4, 2)
    return here


def position_price(price: Any) -> Fault:
    def change(body: Any) -> Any:
        if isinstance(body, list):
            return [change(one) for one in body]
        value = None if price is None else str(price * int(body["qty"]))
        return body | {"current_price": None if price is None else str(price), "market_value": value}

    return Fault(POSITIONS, edited(change), times=None)


def bars_at(price: float | None) -> Fault:
    """The newest bars show another price; None: they stay away."""

    def change(body: Any) -> Any:
        rows = body["bars"].get("AAA", [])
        if price is None:
            body["bars"]["AAA"] = [bar for bar in rows if bar["t"] < "2018-03-26T14:34"]
        for bar in rows[-1:]:
            bar.update(dict.fromkeys("ohlc", price))
        return body

    return Fault(BARS, edited(change), times=None)


def quote_at(bid: float, ask: float) -> Fault:
    def change(body: Any) -> Any:
        return {"quotes": {name: quote | {"bp": bid, "ap": ask} for name, quote in body["quotes"].items()}}

    return Fault(QUOTES, edited(change), times=None)


NO_QUOTE = Fault(QUOTES, page(500, ""), times=None)
SOLD: dict[str, Callable[[], list[Fault]]] = {
    "position null": lambda: [position_price(None)],
    "position no number": lambda: [position_price("nan")],
    "position lies": lambda: [position_price(10.0)],
    "no bars": lambda: [bars_at(None)],
    "no quote": lambda: [NO_QUOTE],
}
KEPT: dict[str, Callable[[], list[Fault]]] = {
    "bar alone, position null": lambda: [bars_at(9.7), position_price(None)],
    "bar alone, position null, no quote": lambda: [bars_at(9.7), position_price(None), NO_QUOTE],
    "bar alone, no quote": lambda: [bars_at(9.7), NO_QUOTE],
    "position alone": lambda: [bars_at(None), position_price(9.7)],
    "position alone, no quote": lambda: [bars_at(None), position_price(9.7), NO_QUOTE],
    "quote alone": lambda: [quote_at(9.6, 9.7)],
    "wide quote": lambda: [bars_at(9.7), position_price(None), quote_at(9.0, 11.0)],
    "two beyond different levels": lambda: [bars_at(9.7), position_price(10.5)],
}


@pytest.mark.parametrize("case", SOLD)
def test_two_sources_that_agree_sell_whatever_the_third_says(tmp_path: Path, case: str) -> None:
    here = legs_for_nothing(tmp_path, 9.7)
    here.wire.faults = SOLD[case]()
    here.minutes("10:36", "10:38")
    assert (here.held(), here.trade().exit_reason) == (0, "STOP_LOSS")


@pytest.mark.parametrize("case", KEPT)
def test_one_source_sells_nothing(tmp_path: Path, case: str) -> None:
    here = legs_for_nothing(tmp_path, 10.0)
    here.wire.faults = KEPT[case]()
    here.minutes("10:36", "10:38")
    assert (here.held(), len(here.open_orders())) == (4, 2)
    assert bool(here.events("prices_disagree")) == (case != "quote alone")
