"""Entries whose id, name, stock or side no reply tells: what is known of them and their positions decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.models import Order as AlpacaOrder
from alpaca.trading.requests import LimitOrderRequest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_entry_evidence import AGAIN, LEGS, MISSING, OPEN, entries, is_sold_by_the_close
from tests.execution.test_reconciliation import ENTRY, bought, by_hand, world
from tests.execution.trading_world import INSTANCE, Fault, TradingWorld, edited, flat, page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANOTHER_ID = "11111111-0000-4000-8000-000000000001"
FIELDS: list[tuple[str, Any]] = [
    ("id", None),
    ("id", 7),
    ("symbol", MISSING),
    ("side", []),
    ("client_order_id", None),
    ("id", ANOTHER_ID),
    ("symbol", "BBB"),
    ("side", "sell"),
    ("client_order_id", "by hand"),
    ("client_order_id", ENTRY.replace("AAA", "BBB")),
]


def shown(fields: dict[str, Any], pattern: str = "GET /v2/orders", *, filled: bool = True) -> list[Fault]:
    """The entry of AAA is shown with these fields for good, once it is filled or from its first reply on."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        if filled and row["filled_qty"] == "0":
            return row
        return {name: value for name, value in (row | fields).items() if value is not MISSING}

    return [Fault(pattern, entries(change), times=None)]


@pytest.mark.parametrize(("name", "value"), FIELDS, ids=str)
def test_an_entry_whose_identity_cannot_be_read_is_written_down_protected_and_sold(
    tmp_path: Path, name: str, value: Any
) -> None:
    here = world(tmp_path, signals=AGAIN)
    here.wire.faults = shown({name: value})
    here.tick("10:31", "10:32")
    trade = here.trade()
    assert (trade.qty, trade.entry_price, here.open_orders()) == (5, 10, LEGS)
    assert here.events("bought")[0]["time"][11:19] < "10:31:45"
    is_sold_by_the_close(here)
    here.check_books()


ALL_NULL = {"id": None, "symbol": None, "side": None, "client_order_id": None}


@pytest.mark.parametrize("fields", [ALL_NULL | OPEN, {"id": ANOTHER_ID, "client_order_id": None}], ids=str)
def test_several_such_fields_at_once_and_a_restart(tmp_path: Path, fields: dict[str, Any]) -> None:
    here = world(tmp_path, signals=AGAIN)
    here.wire.faults = shown(fields)
    here.at("10:31:02")
    here.trader.tick(here.session, ny(MONDAY, "10:31"))
    here.restart()
    here.tick("10:33", "10:34")
    assert (here.trade().qty, here.trade().entry_price, here.open_orders()) == (5, 10, LEGS)
    is_sold_by_the_close(here)
    here.check_books()


@pytest.mark.parametrize("fields", [{"client_order_id": "by hand"}, {"id": None, "legs": None}, {}], ids=str)
def test_an_entry_that_every_reply_shows_like_this_from_the_first_one_on(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    """Without any field, its replies are empty."""
    here = world(tmp_path, signals=AGAIN)
    empty = Fault("(GET|POST) /v2/orders", entries(lambda row: {}), times=None)
    here.wire.faults = shown(fields, "(GET|POST) /v2/orders", filled=False) if fields else [empty]
    here.tick("10:31", "10:32")
    assert here.open_orders() == LEGS
    is_sold_by_the_close(here)
    assert not here.events("order_in_the_way", "exit_refused", "stop_refused")
    here.check_books()


def test_an_entry_whose_id_no_reply_tells_is_sold_by_a_start_without_a_log(tmp_path: Path) -> None:
    here = world(tmp_path / "logs", signals={"10:31": {"AAA": 0.9}})
    here.wire.faults = shown({"id": None}, "(GET|POST) /v2/orders", filled=False)
    here.tick("10:31", "10:32")
    here.folder, here.gone = tmp_path / "empty", frozenset({INSTANCE})
    here.restart()
    here.tick("10:34", "10:35")
    is_sold_by_the_close(here)
    here.check_books()


@pytest.mark.parametrize(("name", "log_is_lost"), [("id", False), ("client_order_id", True)])
def test_two_entries_that_are_shown_under_each_others_ids_or_names_are_both_sold(
    tmp_path: Path, name: str, log_is_lost: bool
) -> None:
    here = world(tmp_path / "logs", signals={"10:31": {"AAA": 0.9, "BBB": 0.8}})
    known: dict[str, Any] = {}

    def swapped(body: Any) -> Any:
        if isinstance(body, list):
            return [swapped(one) for one in body]
        if not isinstance(body, dict) or body.get("side") != "buy":
            return body
        known[body["symbol"]] = body[name]
        other = known.get("BBB" if body["symbol"] == "AAA" else "AAA")
        return body if other is None else body | {name: other}

    here.wire.faults = [Fault("(GET|POST) /v2/orders", edited(swapped), times=None)]
    here.tick("10:31", "10:32")
    if log_is_lost:
        here.folder, here.gone = tmp_path / "empty", frozenset({INSTANCE})
        here.restart()
    here.tick("10:34", "10:35", "15:55", "15:56", "15:57")
    here.close_day()
    assert here.held() == here.held("BBB") == 0 and not here.open_orders() + here.open_orders("BBB")
    assert [one.exit_reason for one in here.log.trades] == ["END_OF_DAY"] * 2
    assert not here.events("not_flat", "order_in_the_way", "step_failed")
    here.check_books()


def without_aaa(body: Any) -> Any:
    return [one for one in body if one["symbol"] != "AAA"] if isinstance(body, list) else body


def every_second(act: Callable[[Any], Any]) -> Any:
    """Change every second reply."""
    replies: list[Any] = []

    def change(body: Any) -> Any:
        replies.append(body)
        return act(body) if len(replies) % 2 else body

    return edited(change)


@pytest.mark.parametrize("how", ["alternating", "never listed"])
def test_a_position_that_its_replies_contradict_for_minutes_ends_as_most_of_them_show_it(
    tmp_path: Path, how: str
) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}})
    act = every_second(without_aaa) if how == "alternating" else edited(without_aaa)
    here.wire.faults = [*shown(OPEN | {"symbol": None}), Fault(r"GET /v2/positions($|\?)", act, times=None)]
    here.minutes("10:31", "10:36")
    assert here.trade().qty == 5 and here.trade().entry_price_source is not None
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and not here.open_orders()
    here.wire.faults = []
    here.tick("15:58")
    here.check_books()


def beside(row: dict[str, Any], fields: dict[str, Any]) -> list[Fault]:
    """The entry of AAA has these fields, and lists show another order beside it."""

    def change(body: Any) -> Any:
        ours = [one for one in body if one.get("client_order_id") == ENTRY] if isinstance(body, list) else []
        return [*body, row] if ours else body

    def act(request: Any, send: Any) -> Any:
        return edited(change)(request, lambda: shown(fields)[0].act(request, send))

    return [Fault("GET /v2/orders", act, times=None)]


UNREADABLE_OF_THE_OWNER = {
    "id": "22222222-0000-4000-8000-000000000001", "client_order_id": "by hand", "symbol": "AAA", "side": "buy",
    "type": "limit", "status": "canceled", "qty": "3", "filled_qty": "xx", "limit_price": "5",
    "created_at": "2018-03-26T14:31:20Z", "submitted_at": "2018-03-26T14:31:20Z",
}  # fmt: skip


def test_an_unreadable_order_of_the_owner_delays_the_judgement_for_minutes_and_not_for_ever(tmp_path: Path) -> None:
    here = world(tmp_path, signals=AGAIN)
    here.wire.faults = beside(UNREADABLE_OF_THE_OWNER, OPEN)
    here.minutes("10:31", "10:33")
    assert not here.log.trades and here.open_orders() == LEGS
    here.minutes("10:34", "10:35")
    assert (here.trade().qty, here.trade().entry_price, here.open_orders()) == (5, 10, LEGS)
    is_sold_by_the_close(here)
    here.check_books()


@pytest.mark.parametrize("fields", [{"status": None, "symbol": None}, {"id": None, "status": 5}, OPEN], ids=str)
def test_an_entry_that_cannot_be_read_and_bought_nothing_ends(tmp_path: Path, fields: dict[str, Any]) -> None:
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: flat("09:30", "10:30")}}, ny(MONDAY, "10:30"))
    here.script.signals = {"10:31": {"AAA": 0.8}}
    here.trader.recover()
    here.wire.faults = shown(fields, filled=False)
    here.minutes("10:31", "10:37")
    assert not here.trader.positions.pending and len(here.events("entry_not_filled")) == 1
    assert not here.log.trades and not here.open_orders()


def test_an_entry_under_the_id_of_another_order_does_not_have_that_one_cancelled(tmp_path: Path) -> None:
    bars = {"AAA": {MONDAY: flat("09:30", "10:30")}, "CCC": {MONDAY: flat("09:30", "10:50")}}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    of_owner = by_hand(here).submit_order(
        LimitOrderRequest(symbol="CCC", qty=2, side="buy", limit_price=5, time_in_force="gtc")
    )
    assert isinstance(of_owner, AlpacaOrder)
    here.wire.faults = shown({"id": str(of_owner.id)}, filled=False)
    here.minutes("10:31", "10:37")
    assert not here.open_orders() and here.open_orders("CCC") == [("buy", "limit", 5.0)]
    assert not here.trader.positions.pending


def test_shares_that_appear_after_such_an_end_are_ours(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}})
    here.wire.faults = [
        *shown(OPEN | {"side": None}),
        Fault("GET /v2/positions/AAA", page(404, NO_POSITION), times=None),
        Fault(r"GET /v2/positions($|\?)", edited(without_aaa), times=None),
    ]
    here.minutes("10:31", "10:37")
    assert len(here.events("entry_not_filled")) == 1 and not here.trader.positions.pending
    here.wire.faults = shown(OPEN | {"side": None})
    here.minutes("10:38", "10:40")
    assert (here.trade().qty, here.open_orders()) == (5, LEGS)
    is_sold_by_the_close(here)


NO_POSITION = '{"code": 40410000, "message": "position does not exist"}'


@pytest.mark.parametrize(("qty", "how"), [("50", "sold"), ("6", "held"), ("4", "held")])
def test_the_quantity_of_an_entry_recovered_with_an_empty_logs_folder_is_held_against_the_position(
    tmp_path: Path, qty: str, how: str
) -> None:
    here = world(tmp_path / "logs", signals={"10:31": {"AAA": 0.9}})
    here.tick("10:31", "10:32")
    if how == "sold":
        here.trader.positions.close(here.trade(), "FLATTEN")
    here.wire.faults = shown({"qty": qty, "filled_qty": qty})
    here.folder, here.gone = tmp_path / "empty", frozenset({INSTANCE})
    here.restart()
    here.tick("10:34", "10:35")
    assert [event["qty"] for event in here.events("bought")] == [5]
    here.tick("15:55", "15:56")
    assert here.held() == 0 and bought(here) == 5 and not here.trade().is_open
    here.check_books()
