"""Positions and orders of somebody else that bear no symbol of a stock, and do not stop the trading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.execution.test_ownership import world
from tests.execution.trading_world import Fault, TradingWorld, edited

if TYPE_CHECKING:
    from pathlib import Path

STRANGE = {"qty": "5", "side": "long", "avg_entry_price": "100", "current_price": "120", "market_value": "600"}
ORDER = {
    "id": "11111111-0000-4000-8000-000000000001",
    "client_order_id": "own",
    "status": "new",
    "type": "limit",
    "created_at": "2018-03-26T14:00:00Z",
    "updated_at": "2018-03-26T14:00:00Z",
    "filled_at": None,
    "legs": None,
    "submitted_at": "2018-03-26T14:00:00Z",
    "qty": "1",
    "filled_qty": "0",
    "filled_avg_price": None,
    "side": "buy",
    "order_class": "",
    "time_in_force": "day",
    "limit_price": "5",
    "stop_price": None,
}


def add(here: TradingWorld, pattern: str, item: dict[str, Any], *without: str) -> None:
    """Add an item to a list of the broker, and take positions of stocks out of it."""

    def changed(body: Any) -> Any:
        if not isinstance(body, list):
            return body
        return [one for one in body if one["symbol"] not in without] + [item]

    here.wire.faults = [Fault(pattern, edited(changed), times=None)]


@pytest.mark.parametrize("symbol", ["037833100", "BRKb", "ABC 123", "", None, "ÄÖ", 7])
def test_a_position_without_a_symbol_is_named_once_and_blocks_no_entry(tmp_path: Path, symbol: object) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}, "10:33": {"BBB": 0.8}})
    add(here, "GET /v2/positions$", {**STRANGE, "symbol": symbol})
    here.minutes("10:31", "10:34")
    assert [trade.symbol for trade in here.log.open_trades] == ["AAA", "BBB"]
    assert len([event for event in here.events("reply_refused") if event.get("note")]) == 1


@pytest.mark.parametrize("fields", [{"symbol": None}, {"symbol": "brk/b"}, {"symbol": None, "client_order_id": "mlt-"}])
def test_an_order_without_a_symbol_blocks_entries_for_the_first_minutes_at_most(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}, "10:33": {"CCC": 0.8}, "10:40": {"BBB": 0.8}})
    add(here, r"GET /v2/orders\?", ORDER | fields)
    here.minutes("10:31", "10:41")
    assert [trade.symbol for trade in here.log.open_trades][-2:] == ["AAA", "BBB"]


def test_a_position_without_a_symbol_blocks_entries_while_it_may_be_the_one_that_is_missing(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}, "10:34": {"BBB": 0.8}, "10:42": {"CCC": 0.8}})
    here.minutes("10:31", "10:33")
    add(here, "GET /v2/positions$", {**STRANGE, "symbol": "aaa"}, "AAA")
    here.minutes("10:34", "10:43")
    assert [trade.symbol for trade in here.log.open_trades] == ["AAA", "CCC"]
