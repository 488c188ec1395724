"""Replies that cannot be true, and what the trader does with the stock they are about and with the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.execution.test_reconciliation import holding, world
from tests.execution.trading_world import Fault, TradingWorld, edited, page

if TYPE_CHECKING:
    from pathlib import Path

BOTH = {"10:31": {"AAA": 0.9, "BBB": 0.8}}


def of(symbol: str, /, **lie: Any) -> Any:
    """Change the fields of one stock's orders or positions, in lists and alone, legs included."""

    def change(body: Any) -> Any:
        if isinstance(body, list):
            return [change(one) for one in body]
        if not isinstance(body, dict) or body.get("symbol") != symbol:
            return body
        legs = {"legs": change(body["legs"])} if body.get("legs") else {}
        return body | {name: value for name, value in lie.items() if name in body} | legs

    return edited(change)


def is_flat(here: TradingWorld) -> bool:
    return here.held("AAA") == here.held("BBB") == 0 and not here.open_orders("AAA") and not here.open_orders("BBB")


@pytest.mark.parametrize("where", ["GET /v2/orders", "GET /v2/positions", "POST /v2/orders", ""])
@pytest.mark.parametrize(
    "lie",
    [
        *({"filled_avg_price": value} for value in ("0", "-1", "1e12", None, "NaN")),
        *({"filled_qty": value} for value in ("0", None, "-5", "3", "1e9")),
        *({"status": value} for value in ("canceled", "rejected", "filled", "gone", None)),
        *({"symbol": value} for value in ("ZZZ", "BBB", None, "\ud800")),
        *({"qty": value} for value in ("0", "-5", "0.5", "1e12", None)),
        *({"side": "sell"}, {"side": "short"}, {"id": "61e69015-8549-4bfd-b9c3-01e75843f47d"}, {"id": None}),
        *({"client_order_id": "mlt-20180326-BBB-1031-entry"}, {"current_price": "0"}, {"avg_entry_price": "-1"}),
        *({"replaced_by": "61e69015-8549-4bfd-b9c3-01e75843f47d"}, {"stop_price": "0"}, {"legs": None}),
    ],
    ids=str,
)
def test_a_lie_about_one_stock_passes_without_a_trace(tmp_path: Path, where: str, lie: dict[str, Any]) -> None:
    """It stands in three replies of a kind; the other stock is never affected, and the day ends as without it."""
    here = world(tmp_path, signals=BOTH)
    here.wire.faults = [Fault(where, of("AAA", **lie), times=3)]
    here.minutes("10:31", "10:34")
    trade = here.trade("BBB")
    assert (trade.qty, trade.entry_price, trade.is_open) == (5, 10, True)
    here.wire.faults = []
    here.minutes("10:35", "10:38")
    assert here.trader.positions.discrepancies == []
    trade = here.trade("AAA")
    assert (trade.qty, trade.entry_price, trade.is_open, here.held()) == (5, 10, True, 5)
    assert any(kind == "stop" for _, kind, _ in here.open_orders())
    here.tick("15:55", "15:56", "15:57")
    assert is_flat(here)
    here.check_books()


def test_a_refused_item_is_a_discrepancy_that_stops_entries(tmp_path: Path) -> None:
    here = holding(tmp_path, signals={"10:31": {"AAA": 0.9}, "10:33": {"BBB": 0.9}})
    here.wire.faults = [Fault("GET /v2/positions", of("AAA", qty="0"), times=None)]
    here.at("10:33:02")
    here.trader.positions.try_reconcile()
    assert any("position of AAA refused" in text for text in here.trader.positions.discrepancies)
    assert here.events("reply_refused")
    here.tick("10:33")
    assert here.held("BBB") == 0 and here.trade().is_open


@pytest.mark.parametrize("lie", [{"qty": "-3"}, {"qty": "0.5"}, {"qty": "0"}, {"current_price": "-1"}, {"qty": None}])
def test_a_position_of_somebody_else_stops_nothing(tmp_path: Path, lie: dict[str, Any]) -> None:
    here = holding(tmp_path, signals={"10:31": {"AAA": 0.9}, "10:33": {"BBB": 0.9}})

    def beside(rows: Any) -> Any:
        return [rows[0] | {"symbol": "ZZZ"} | lie, *rows] if isinstance(rows, list) and rows else rows

    here.wire.faults = [Fault("GET /v2/positions$", edited(beside), times=None)]
    here.tick("10:33", "10:34")
    assert here.trader.positions.discrepancies == [] and here.held("BBB") == 5
    assert "ZZZ" in here.trader.positions.held


@pytest.mark.parametrize("status", [403, 404, 425, 451, 499])
def test_an_entry_that_was_taken_behind_the_page_of_a_proxy_is_ours(tmp_path: Path, status: int) -> None:
    here = world(tmp_path)
    here.wire.faults = [Fault("POST", page(status, "<html>blocked</html>", taken=True))]
    here.minutes("10:31", "10:33")
    assert here.trade().qty == 5 and not here.events("entry_refused", "external_position")
    here.tick("15:55", "15:56")
    assert here.held() == 0
    here.check_books()


@pytest.mark.parametrize(
    ("status", "body"), [(401, ""), (403, '{"message": "forbidden."}'), (403, "<html>nginx</html>")]
)
def test_keys_that_are_refused_in_mid_run_stop_entries_and_nothing_else(tmp_path: Path, status: int, body: str) -> None:
    here = holding(tmp_path, signals={"10:31": {"AAA": 0.9}, "10:34": {"BBB": 0.9}})
    here.wire.faults = [Fault("", page(status, body), times=None)]
    here.tick("10:33", "10:34")
    assert here.held("BBB") == 0 and here.trader.positions.discrepancies
    here.wire.faults = []
    here.tick("15:55", "15:56")
    assert here.held() == 0
    here.check_books()
