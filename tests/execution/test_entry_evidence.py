"""Entries whose order does not say what they bought: without a readable price, open, empty, in contradictions."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.requests import MarketOrderRequest

from paper_exchange.base.wire import from_ns
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_missing_shares import shown_as
from tests.execution.test_reconciliation import ENTRY, bought, by_hand, world
from tests.execution.trading_world import INSTANCE, Fault, TradingWorld, edited, flat, lost_before, page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AGAIN = {f"10:{n}": {"AAA": 0.9} for n in range(31, 50)} | {"10:45": {"AAA": 0.9, "BBB": 0.8}}
"""Signals in the stock that is held."""
LEGS = [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
OPEN = {"status": "new", "filled_qty": "0", "filled_avg_price": None, "filled_at": None}


class Missing(Enum):
    """A field that a reply lacks; its name is the same in every process, which the runner of tests needs."""

    FIELD = "missing"


MISSING = Missing.FIELD


def entries(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Change the entry of AAA in every reply that shows it, alone and in lists; its legs stay true."""

    def changed(body: Any) -> Any:
        if isinstance(body, list):
            return [changed(one) for one in body]
        is_entry = isinstance(body, dict) and body.get("symbol") == "AAA" and body.get("side") == "buy"
        return change(body) if is_entry and body["client_order_id"].endswith("entry") else body

    return edited(changed)


def of_all(fields: dict[str, Any], is_meant: Callable[[dict[str, Any]], bool]) -> list[Fault]:
    """Orders of AAA, legs and exits included, are shown with these fields for good."""

    def changed(body: Any) -> Any:
        if isinstance(body, list):
            return [changed(one) for one in body]
        if not isinstance(body, dict) or body.get("symbol") != "AAA":
            return body
        return body | {"legs": changed(body.get("legs"))} | (fields if is_meant(body) else {})

    return [Fault("GET /v2/orders", edited(changed), times=None)]


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
    far = price in ("100", "0.01")  # readable, so the position corrects it as a fill far from the price
    source, name = (None, "far_fill_corrected") if far else ("position", "entry_by_evidence")
    assert (trade.qty, trade.entry_price, trade.entry_price_source) == (5, 10, source)
    [event] = here.events(name)
    assert event["time"][11:19] < "10:31:40" and event.get("price_source") == source
    assert here.open_orders() == LEGS and set(trade.sell_order_ids) == {
        one.id for one in here.exchange.snapshot().orders if not one.buy
    }
    here.minutes("10:32", "10:36")
    is_sold_by_the_close(here)
    assert here.trade().entry_price_source == source
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
    {"qty": "50", "filled_qty": "50"},
    {"qty": "6", "filled_qty": "6"},
    {"qty": "4", "filled_qty": "4"},
    {"qty": "50", "filled_qty": "50", "status": "canceled", "canceled_at": "2018-03-26T14:31:10Z"},
    {"qty": "50", "filled_qty": "20", "status": "partially_filled"},
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


@pytest.mark.parametrize(
    "fields",
    [{}, OPEN, {"filled_avg_price": None}, {"filled_qty": MISSING}, {"status": "partially_filled", "filled_qty": "1"}],
    ids=str,
)
def test_shares_without_legs_have_a_stop_within_a_minute_whatever_their_order_says(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    """As those of an entry that was filled in part and is gone with its legs."""
    here = world(tmp_path)
    here.wire.faults = [Fault("POST", lost_before), *shown(fields)]
    here.tick("10:31")
    here.at("10:31:59")
    order = MarketOrderRequest(symbol="AAA", qty=3, side="buy", time_in_force="day", client_order_id=ENTRY)
    by_hand(here).submit_order(order)
    here.tick("10:32")
    [stop] = [one for one in here.exchange.snapshot().orders if one.symbol == "AAA" and one.is_open]
    assert (stop.type, stop.qty, here.trade().qty) == ("stop", 3, 3)
    assert from_ns(stop.submitted_at) < ny(MONDAY, "10:32:40")
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and not here.trade().is_open
    here.check_books()


@pytest.mark.parametrize("fields", [OPEN, {"filled_avg_price": "0"}, {"filled_qty": None}], ids=str)
def test_an_empty_logs_folder_recovers_such_an_entry(tmp_path: Path, fields: dict[str, Any]) -> None:
    here = world(tmp_path / "logs")
    here.wire.faults = shown(fields)
    here.tick("10:31")
    here.folder, here.gone = tmp_path / "empty", frozenset({INSTANCE})
    here.restart()
    here.tick("10:33")
    assert (here.trade().qty, here.trade().entry_price) == (5, 10)
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and not here.open_orders() and not here.trade().is_open


def test_the_price_of_another_order_is_not_believed_against_the_position(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.wire.faults = shown({"filled_avg_price": "12"})
    here.tick("10:31")
    assert here.open_orders() == LEGS
    is_sold_by_the_close(here)
    here.close_day()
    assert (here.trade().entry_price, here.trade().pnl_amount) == (10, 0)
    here.check_books()


def test_shares_whose_orders_are_all_shown_as_new_are_sold_before_the_close(tmp_path: Path) -> None:
    """The broker answers that there is nothing to cancel, so its answer to a sale decides."""
    here = world(tmp_path)
    here.wire.faults = of_all(OPEN, lambda row: True)
    here.tick("10:31", "10:32", "15:55", "15:56", "15:57")
    assert here.held() == 0 and not here.open_orders() and bought(here) == 5


def test_a_price_of_zero_in_orders_without_a_fill_keeps_nothing_from_being_sold(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.wire.faults = of_all({"filled_avg_price": "0"}, lambda row: row["filled_qty"] == "0" or row["side"] == "buy")
    here.tick("10:31", "10:32")
    is_sold_by_the_close(here)
    here.check_books()


def test_an_entry_that_is_shown_as_filled_and_has_no_position_for_minutes_is_cancelled(tmp_path: Path) -> None:
    filled = {"status": "filled", "filled_qty": "5", "filled_avg_price": "10", "filled_at": "2018-03-26T14:31:03Z"}
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: flat("09:30", "10:30")}}, ny(MONDAY, "10:30"))
    here.script.signals = {"10:31": {"AAA": 0.8}}
    here.trader.recover()
    here.wire.faults = of_all(filled, lambda row: row["side"] == "buy")
    here.minutes("10:31", "10:38")
    assert here.trade().exit_reason == "NOT_AT_BROKER" and not here.open_orders()


@pytest.mark.parametrize(
    "fields", [{"filled_avg_price": None}, {"status": "partially_filled", "filled_qty": "2"}], ids=str
)
def test_ten_such_entries_at_once_stay_within_the_rate_limit(tmp_path: Path, fields: dict[str, Any]) -> None:
    names = [f"S{number}" for number in range(10)]
    bars = {name: {MONDAY: flat("10:00", "10:40")} for name in names}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), {"10:31": dict.fromkeys(names, 0.8)})
    here.trader.recover()

    def changed(body: Any) -> Any:
        if isinstance(body, list):
            return [changed(one) for one in body]
        return body | fields if isinstance(body, dict) and body.get("side") == "buy" and body["filled_at"] else body

    here.wire.faults = [Fault("GET /v2/orders", edited(changed), times=None)]
    here.tick("10:31")
    opened = [event["time"][11:19] for event in here.events("entry_by_evidence")]
    assert len(opened) == len(here.log.open_trades) == 10 and max(opened) < "10:31:45"
