"""A stop and a target that the entry is shown without: they are ours all the same, and nobody else's order is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.requests import LimitOrderRequest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_orders_of_others import World
from tests.execution.trading_world import INSTANCE, Fault, edited, flat
from trading.broker.messages import OURS
from trading.execution.orders.protection import QUICK_TRIES
from trading.execution.orders.sells.theirs import is_leg

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Body = dict[str, Any]

HIDDEN: dict[str, Callable[[Body], Body]] = {
    "null": lambda entry: entry | {"legs": None},
    "none": lambda entry: entry | {"legs": []},
    "missing": lambda entry: {name: value for name, value in entry.items() if name != "legs"},
    "a number": lambda entry: entry | {"legs": 5},
    "empty legs": lambda entry: entry | {"legs": [{}]},
    "one": lambda entry: entry | {"legs": (entry["legs"] or [])[:1]},
}


def hiding(how: str) -> Fault:
    """Every reply shows a filled entry like this, for good."""

    def change(body: Any) -> Any:
        if isinstance(body, list):
            return [change(one) for one in body]
        is_entry = str(body.get("client_order_id")).endswith("entry") and body.get("filled_qty") != "0"
        return HIDDEN[how](body) if is_entry else body

    return Fault("GET /v2/orders", edited(change), times=None)


@pytest.mark.parametrize(
    ("how", "falls"),
    [("null", False), ("none", True), ("missing", False), ("a number", True), ("empty legs", False), ("one", True)],
)
def test_legs_that_the_entry_hides_are_ours(tmp_path: Path, how: str, falls: bool) -> None:
    here = World(tmp_path, *(flat("10:36", "15:59", 9.5) if falls else ()))
    here.wire.faults = [hiding(how)]
    here.minutes("10:31", "10:34")
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    if falls:
        here.minutes("10:36", "10:38")
    here.end_day()
    assert (here.held(), here.open_orders()) == (0, [])
    assert here.trade().exit_reason == ("STOP_LOSS" if falls else "END_OF_DAY")
    here.check_books()
    assert not here.events("order_in_the_way", "not_flat", "exit_refused", "stop_refused")


@pytest.mark.parametrize("price", [9.97, 10.06])
def test_legs_that_were_sent_for_another_price_are_found_and_moved(tmp_path: Path, price: float) -> None:
    here = World(tmp_path)
    here.script.prices = {"AAA": price}
    here.wire.faults = [hiding("null")]
    here.minutes("10:31", "10:33")
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    here.end_day()
    assert here.held() == 0
    here.check_books()


def test_legs_are_found_by_a_start_without_a_log(tmp_path: Path) -> None:
    here = World(tmp_path, *flat("10:40", "15:59", 9.5))
    here.wire.faults = [hiding("null")]
    here.minutes("10:31", "10:33")
    here.folder, here.gone = tmp_path.with_name(f"{tmp_path.name}-second"), frozenset({INSTANCE})
    here.restart()
    here.minutes("10:36", "10:43")
    assert here.held() == 0 and here.trade().exit_reason == "STOP_LOSS"
    assert not here.events("order_in_the_way", "exit_refused")
    here.check_books()


def test_legs_that_cannot_be_confirmed_are_called_nobody_elses_and_are_cancelled_for_the_sale(tmp_path: Path) -> None:
    here = World(tmp_path)
    single = edited(lambda one: one | {"qty": "abc"} if one["side"] == "sell" and one["type"] != "market" else one)
    here.wire.faults = [Fault("GET /v2/orders/", single, times=None), hiding("null")]
    here.minutes("10:31", "10:33")
    assert len(here.open_orders()) == 2
    here.end_day()
    assert (here.held(), here.open_orders()) == (0, [])
    assert not here.events("order_in_the_way")


def hidden_from_lists(alone: Callable[[Body], Body]) -> Fault:
    """No list and no entry shows the stop and the target; asked for alone, each is shown like this."""

    def is_leg_of_aaa(one: Body) -> bool:
        return one.get("side") == "sell" and not str(one.get("client_order_id")).startswith(OURS)

    def change(body: Any) -> Any:
        if isinstance(body, list):
            return [change(one) for one in body if not is_leg_of_aaa(one)]
        if is_leg_of_aaa(body):
            return alone(body)
        return body | {"legs": None} if body.get("side") == "buy" else body

    return Fault("(GET|POST) /v2/orders", edited(change), times=None)


def test_legs_that_no_list_shows_are_found_by_the_refusal_of_a_stop(tmp_path: Path) -> None:
    here = World(tmp_path)
    here.wire.faults = [hidden_from_lists(lambda leg: leg)]
    here.minutes("10:31", "10:34")
    assert len(here.trade().sell_order_ids) == 2 and here.wire.count("POST") == 2
    here.end_day()
    assert (here.held(), here.open_orders(), here.trade().exit_reason) == (0, [], "END_OF_DAY")
    assert not here.events("stop_refused", "exit_refused", "order_in_the_way", "not_flat")
    here.check_books()


def test_while_unknown_orders_hold_the_shares_a_stop_and_a_sale_are_tried_once_a_minute(tmp_path: Path) -> None:
    here = World(tmp_path)
    here.wire.faults = [hidden_from_lists(lambda leg: {})]
    here.minutes("10:31", "10:36")
    assert 6 <= len(here.events("stop_refused")) <= QUICK_TRIES + 5
    assert len(here.events("exit_refused")) <= QUICK_TRIES + 5
    here.owner.cancel_orders()
    here.minutes("10:37", "10:38")
    assert here.open_orders() == [("sell", "stop", 9.8)]


def test_a_sale_of_the_owner_right_after_the_entry_stays_his(tmp_path: Path) -> None:
    here = World(tmp_path)
    here.wire.faults = [hiding("null")]
    sent: list[Any] = []

    def act() -> None:
        if here.held() and not sent:
            sent.append(None)  # the owner's own requests pass here too
            here.owner.cancel_orders()
            request = LimitOrderRequest(symbol="AAA", qty=5, side="sell", time_in_force="gtc", limit_price=10.41)
            sent.append(here.owner.submit_order(request))

    here.wire.before = act
    here.minutes("10:31", "10:36")
    here.end_day()
    his = str(sent[1].id)
    [order] = [one for one in here.exchange.snapshot().orders if one.id == his]
    assert order.is_open and his not in (here.trade().stop_order_id, here.trade().target_order_id)
    assert f"order {his} at $10.41" in here.events("not_flat")[-1]["note"]


@pytest.mark.parametrize(
    ("changes", "is_ours"),
    [
        ({}, True),
        ({"stop_price": Decimal("9.79")}, False),
        ({"stop_price": None}, False),
        ({"qty": 4}, False),
        ({"type": "trailing_stop"}, False),
        ({"type": "limit", "limit_price": Decimal("10.40"), "stop_price": None}, True),
        ({"type": "limit", "limit_price": Decimal("10.41"), "stop_price": None}, False),
        ({"side": "buy"}, False),
        ({"client_order_id": "mlt-test-20180326-AAA-1031-stop"}, False),
        ({"replaces": "11111111-0000-4000-8000-000000000001"}, False),
        ({"created_at": None}, False),
        ({"created_at": ny(MONDAY, "10:31:12")}, False),
        ({"created_at": ny(MONDAY, "10:30:59")}, False),
    ],
)
def test_only_an_order_with_time_quantity_and_level_of_a_leg_is_one(
    tmp_path: Path, changes: dict[str, Any], is_ours: bool
) -> None:
    here = World(tmp_path)
    here.minutes("10:31", "10:32")
    trade = here.trade()
    entry = here.broker.order(trade.entry_order_id)
    assert entry is not None
    [stop] = [leg for leg in entry.legs if leg.type == "stop"]
    assert is_leg(replace(stop, **changes), trade, entry) is is_ours
    assert is_leg(replace(stop, **changes), trade, None) is is_ours


@pytest.mark.parametrize(("decided", "stop"), [(9.97, "9.78"), (10.06, "9.86"), (10.0, "9.80")])
def test_the_level_of_a_leg_follows_the_price_of_the_decision(tmp_path: Path, decided: float, stop: str) -> None:
    here = World(tmp_path)
    here.minutes("10:31", "10:32")
    trade = here.trade()
    entry = here.broker.order(trade.entry_order_id)
    assert entry is not None and entry.created_at is not None
    trade.decision_price = decided
    [leg] = [one for one in entry.legs if one.type == "stop"]
    for cents in (-3, -2, 0, 2, 3):
        moved = replace(leg, stop_price=Decimal(stop) + Decimal(cents) / 100, created_at=entry.created_at)
        assert is_leg(moved, trade, entry) is (cents == 0), cents
    late = replace(leg, stop_price=Decimal(stop), created_at=entry.created_at + timedelta(seconds=6))
    assert not is_leg(late, trade, entry)
