"""Entries whose order does not say what they bought: without a readable price, open, empty, in contradictions."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.execution.test_missing_shares import shown_as
from tests.execution.test_reconciliation import bought, world
from tests.execution.trading_world import Fault, TradingWorld, edited, page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AGAIN = {f"10:{n}": {"AAA": 0.9} for n in range(31, 50)} | {"10:45": {"AAA": 0.9, "BBB": 0.8}}
"""Signals in the stock that is held."""
LEGS = [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
OPEN = {"status": "new", "filled_qty": "0", "filled_avg_price": None, "filled_at": None}
MISSING = object()


def entries(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Change the entry of AAA in every reply that shows it, alone and in lists; its legs stay true."""

    def changed(body: Any) -> Any:
        if isinstance(body, list):
            return [changed(one) for one in body]
        is_entry = isinstance(body, dict) and body.get("symbol") == "AAA" and body.get("side") == "buy"
        return change(body) if is_entry and body["client_order_id"].endswith("entry") else body

    return edited(changed)


def shown(fields: dict[str, Any], pattern: str = "GET /v2/orders") -> list[Fault]:
    """The entry of AAA is shown with these fields for good, once it is filled."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        if row["filled_qty"] == "0":
            return row
        return {name: value for name, value in (row | fields).items() if value is not MISSING}

    return [Fault(pattern, entries(change), times=None)]


def is_sold_by_the_close(here: TradingWorld) -> None:
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and not here.open_orders() and bought(here) == 5
    assert not here.trade().is_open
    here.close_day()
    assert not here.events("not_flat", "external_position", "step_failed", "position_gone")


PRICES = [MISSING, None, "0", "-1", "1e12", "NaN", "100", "0.01", "abc", []]


@pytest.mark.parametrize("price", PRICES, ids=["missing", *map(str, PRICES[1:])])
def test_a_fill_without_a_readable_price_has_a_trade_at_the_positions_price_within_30_seconds(
    tmp_path: Path, price: Any
) -> None:
    here = world(tmp_path, signals=AGAIN)
    here.wire.faults = shown({"filled_avg_price": price})
    here.tick("10:31")
    trade = here.trade()
    assert (trade.qty, trade.entry_price, trade.entry_price_source) == (5, 10, "position")
    [event] = here.events("entry_by_evidence")
    assert event["time"][11:19] < "10:31:40" and event["price_source"] == "position"
    assert here.open_orders() == LEGS and set(trade.sell_order_ids) == {
        one.id for one in here.exchange.snapshot().orders if not one.buy
    }
    here.minutes("10:32", "10:36")
    is_sold_by_the_close(here)
    assert here.trade().entry_price_source == "position"
    here.check_books()


@pytest.mark.parametrize("how", ["open", "closed", "restarted", "no position"])
def test_the_price_is_corrected_when_the_order_tells_it(tmp_path: Path, how: str) -> None:
    here = world(tmp_path)
    position = None if how == "no position" else {"avg_entry_price": "10.1", "cost_basis": "50.5"}
    no_quote = Fault("quotes/latest", page(404, "{}"), times=None)
    here.wire.faults = [*shown({"filled_avg_price": None}), *shown_as(position), no_quote]
    here.script.prices = {"AAA": 10.1}
    here.tick("10:31")
    trade, source = here.trade(), "decision" if how == "no position" else "position"
    assert (trade.entry_price, trade.entry_price_source) == (Decimal("10.1"), source)
    assert here.open_orders() == [("sell", "limit", 10.51), ("sell", "stop", 9.9)]
    if how == "closed":
        here.tick("15:55", "15:56")
        assert not here.trade().is_open
    if how == "restarted":
        here.restart()
    here.wire.faults = []
    here.tick("15:57" if how == "closed" else "10:34")
    trade = here.trade()
    assert (trade.entry_price, trade.entry_price_source) == (10, None)
    assert [event["new_price"] for event in here.events("entry_price_corrected")] == [10.0]
    if how != "closed":
        assert here.open_orders() == LEGS
        is_sold_by_the_close(here)
    here.check_books()


CONTRADICTIONS = [
    OPEN,
    OPEN | {"status": "accepted"},
    {"status": "partially_filled", "filled_qty": "2"},
    {"status": "resting"},
    OPEN | {"status": "resting"},
    {"filled_qty": MISSING},
    {"filled_qty": None},
    {"filled_qty": "7"},
    {"filled_qty": "0"},
    {"status": None},
    {"status": "canceled"},
    {"qty": "0.5"},
    {"filled_at": None, "updated_at": None},
    OPEN | {"status": "canceled", "canceled_at": "2018-03-26T14:31:10Z"},
    {"type": "limit", "order_type": "limit"},
]


@pytest.mark.parametrize("fields", CONTRADICTIONS, ids=str)
def test_an_entry_that_its_position_contradicts_is_protected_and_sold_and_not_bought_again(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    here = world(tmp_path, signals=AGAIN)
    here.wire.faults = shown(fields)
    here.tick("10:31")
    trade = here.trade()
    assert (trade.qty, trade.entry_price, here.open_orders()) == (5, 10, LEGS)
    [event] = here.events("entry_by_evidence")
    assert event["time"][11:19] < "10:31:45"
    here.minutes("10:32", "10:45")
    assert here.open_orders() == LEGS and here.held("BBB") == 5
    is_sold_by_the_close(here)
    here.check_books()
