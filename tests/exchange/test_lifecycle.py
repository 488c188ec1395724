"""The lifecycle of orders: partial fills, pending states, times in force, wash trades, halts, and their events."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.requests import (
    GetOrderByIdRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
)

from paper_exchange import Behaviour, Halt
from paper_exchange.orders.behaviour import Chance
from tests.exchange.exchange_world import HALF_DAY, MONDAY, TUESDAY, HandMade, Venue, ny

if TYPE_CHECKING:
    from paper_exchange.orders.events import TradeEvent

FLAT = (10.0, 10.0, 10.0, 10.0)


def minutes(count: int, first: str = "10:30") -> list[tuple]:
    begin = ny(MONDAY, first)
    return [((begin + timedelta(minutes=i)).strftime("%H:%M"), *FLAT) for i in range(count)]


def venue(rows: list | None = None, at: str = "10:31:02", tuesday: tuple = (), **options: Any) -> Venue:
    days = {MONDAY: minutes(60) if rows is None else rows, TUESDAY: list(tuesday)}
    return Venue(HandMade({"AAA": days}), ny(MONDAY, at), **options)


def order(kind: Any, side: str, qty: int = 5, tif: str = "day", **more: Any) -> Any:
    return kind(symbol="AAA", qty=qty, side=side, time_in_force=tif, **more)


def limit(price: float, side: str = "buy", **more: Any) -> Any:
    return order(LimitOrderRequest, side, limit_price=price, **more)


def market(side: str = "buy", **more: Any) -> Any:
    return order(MarketOrderRequest, side, **more)


def stop(price: float, side: str = "sell", **more: Any) -> Any:
    return order(StopOrderRequest, side, stop_price=price, **more)


def bracket(target: float = 10.4, loss: float = 9.8, **more: Any) -> Any:
    return market(**_legs(target, loss), **more)


def limit_bracket(qty: int) -> Any:
    """Its entry is in the money; what is left of a partly filled one waits for the next minute."""
    return order(LimitOrderRequest, "buy", qty, limit_price=10.0, **_legs(10.4, 9.8))


def _legs(target: float, loss: float) -> dict[str, Any]:
    legs = {"take_profit": TakeProfitRequest(limit_price=target), "stop_loss": StopLossRequest(stop_price=loss)}
    return {"order_class": "bracket", **legs}


def shown(here: Venue, order_id: Any) -> Any:
    return here.trading.get_order_by_id(order_id, GetOrderByIdRequest(nested=True))


def refusal(call: Any, *args: Any) -> tuple[int, dict]:
    with pytest.raises(APIError) as caught:
        call(*args)
    return caught.value.response.status_code, caught.value.response.json()


def events_of(here: Venue) -> list[TradeEvent]:
    found: list[TradeEvent] = []
    here.exchange.listen(found.append)
    return found


# -- partial fills -----------------------------------------------------------------------------------------------------

ALWAYS = Behaviour(partial_fills=1.0)


def until_filled(here: Venue, order_id: Any) -> list[tuple[str, str]]:
    """(status, filled_qty) in every minute, which the clock is within, until the order is closed.

    A part of a limit order fills in each minute: the first a moment after it arrives, the others as the minute begins.
    """
    seen: list[tuple[str, str]] = []
    while not seen or seen[-1][0] in ("new", "held", "partially_filled"):
        now = here.trading.get_order_by_id(order_id)
        seen.append((now.status.value, now.filled_qty))
        assert len(seen) < 40
        here.later(60)
    return seen


def test_legs_stay_held_until_a_partly_filled_entry_is_complete() -> None:
    here = venue(behaviour=ALWAYS)
    sent = here.trading.submit_order(limit_bracket(9))
    here.later(1)
    part = shown(here, sent.id)
    assert (part.status, [leg.status for leg in part.legs]) == ("partially_filled", ["held", "held"])
    assert 0 < int(part.filled_qty) < 9
    # The filled shares are unprotected and can be sold.
    assert here.trading.get_open_position("AAA").qty_available == part.filled_qty
    seen = until_filled(here, sent.id)
    assert seen[-1] == ("filled", "9")
    assert sorted({int(qty) for _, qty in seen}) == [int(qty) for _, qty in dict.fromkeys(seen)]
    legs = shown(here, sent.id).legs
    assert [(leg.status, leg.qty) for leg in legs] == [("new", "9"), ("held", "9")]


def test_partial_fills_depend_on_the_seed_only() -> None:
    def run(seed: int) -> list:
        here = venue(behaviour=Behaviour(partial_fills=0.5, seed=seed))
        sent = here.trading.submit_order(limit(10.0, qty=50))
        here.later(1)
        return until_filled(here, sent.id)

    assert run(1) == run(1)
    assert len({str(run(seed)) for seed in range(8)}) > 2


def test_a_partial_exit_reduces_the_other_leg() -> None:
    rows = [*minutes(30), ("11:00", 10.0, 10.5, 10.0, 10.2), *minutes(20, "11:01")]
    here = venue(rows, behaviour=ALWAYS)
    sent = here.trading.submit_order(bracket(qty=9))
    here.at("11:01")
    target, loss = shown(here, sent.id).legs
    assert (target.status, loss.status) == ("partially_filled", "held")
    left = 9 - int(target.filled_qty)
    assert (loss.qty, here.trading.get_open_position("AAA").qty) == (str(left), str(left))
    assert here.trading.get_open_position("AAA").qty_available == "0"


OCO = {
    "order_class": "oco",
    "take_profit": TakeProfitRequest(limit_price=10.4),
    "stop_loss": StopLossRequest(stop_price=9.8),
}


@pytest.mark.parametrize("pending", [False, True])
def test_the_stop_of_a_partly_filled_target_covers_the_rest_after_a_replacement(pending: bool) -> None:
    rows = [*minutes(30), ("11:00", 10.0, 10.5, 10.0, 10.2), ("11:01", *FLAT), ("11:02", 10.0, 10.0, 9.5, 9.5)]
    table = {"pending_replace": Chance(1.0, 5.0, 5.0)} if pending else {}
    here = venue([*rows, *minutes(20, "11:03")], behaviour=Behaviour(partial_fills=1.0, table=table))
    here.trading.submit_order(market(qty=9))
    here.at("10:40")
    sent = here.trading.submit_order(limit(10.4, "sell", qty=9, **OCO))
    here.at("11:01")
    target, (loss,) = shown(here, sent.id), shown(here, sent.id).legs
    left = here.trading.get_open_position("AAA").qty
    assert (target.status, loss.qty) == ("partially_filled", left) and 0 < int(left) < 9
    new = here.trading.replace_order_by_id(sent.id, ReplaceOrderRequest(limit_price=10.9))
    if pending:  # the stop is replaced too, while the target's replacement is pending
        here.trading.replace_order_by_id(loss.id, ReplaceOrderRequest(stop_price=9.7))
        here.later(10)
    (moved,) = shown(here, new.id).legs
    assert (shown(here, new.id).qty, moved.qty, moved.stop_price) == (left, left, "9.7" if pending else "9.8")
    here.at("11:03:30")
    assert [here.trading.get_order_by_id(one).status for one in (new.id, moved.id)] == ["canceled", "filled"]
    assert here.trading.get_all_positions() == []


def times_and_prices(here: Venue, order_id: Any) -> list[tuple[int, float]]:
    """Instant (ns since the epoch) and price of each fill of an order."""
    return [(one.at, float(one.price)) for one in here.exchange.snapshot().fills if one.order_id == str(order_id)]


@pytest.mark.parametrize("tif", ["day", "gtc"])
def test_the_rest_of_a_partly_filled_market_order_follows_at_once(tif: str) -> None:
    here = venue(behaviour=ALWAYS)
    sent, resting = here.trading.submit_order(market(qty=9, tif=tif)), here.trading.submit_order(limit(10.0, qty=9))
    here.at("10:31:30")
    assert here.trading.get_order_by_id(sent.id).status == "filled"
    at = [instant for instant, _ in times_and_prices(here, sent.id)]
    assert len(at) > 1
    assert all(9_000_000 <= later - before <= 250_000_000 for before, later in itertools.pairwise(at))
    assert here.trading.get_order_by_id(resting.id).status == "partially_filled"
    here.at("10:32")
    assert len(times_and_prices(here, resting.id)) == 2


def test_the_rest_of_a_partly_filled_stop_trades_at_market() -> None:
    rows = [*minutes(30), ("11:00", 10.0, 10.0, 9.7, 9.9), *minutes(20, "11:01")]
    here = venue(rows, behaviour=ALWAYS)
    sent = here.trading.submit_order(bracket(qty=9))
    here.at("11:00:30")  # the path falls to 9.7, which it reaches at second 25
    target, loss = shown(here, sent.id).legs
    assert (target.status, loss.status, loss.filled_qty) == ("canceled", "filled", "9")
    at, prices = zip(*times_and_prices(here, loss.id), strict=True)
    assert prices[0] == 9.8 and min(prices) < 9.8 and list(prices) == sorted(prices, reverse=True)
    assert all(later - before <= 250_000_000 for before, later in itertools.pairwise(at))
    assert here.trading.get_all_positions() == []


def test_a_partly_filled_entry_that_expires_leaves_unprotected_shares() -> None:
    here = venue(behaviour=ALWAYS)
    sent = here.trading.submit_order(limit_bracket(50))
    here.at("10:32")
    here.trading.cancel_order_by_id(sent.id)
    after = shown(here, sent.id)
    assert {after.status, *(leg.status for leg in after.legs)} == {"canceled"}
    assert here.trading.get_open_position("AAA").qty_available == after.filled_qty != "0"


def test_legs_are_activated_for_the_remaining_shares_only() -> None:
    here = venue(behaviour=ALWAYS)
    sent = here.trading.submit_order(limit_bracket(9))
    here.later(1)
    bought = int(shown(here, sent.id).filled_qty)
    # A manual order protects the filled shares; the legs get the rest.
    exits = {"take_profit": TakeProfitRequest(limit_price=10.6), "stop_loss": StopLossRequest(stop_price=9.5)}
    here.trading.submit_order(limit(10.6, "sell", qty=bought, order_class="oco", **exits))
    until_filled(here, sent.id)
    assert [leg.qty for leg in shown(here, sent.id).legs] == [str(9 - bought)] * 2


def test_replacing_a_partly_filled_order_trades_the_rest() -> None:
    here = venue([("10:31", *FLAT), ("10:32", 11.0, 11.0, 11.0, 11.0)], behaviour=ALWAYS)
    sent = here.trading.submit_order(limit(10.0, qty=50))
    here.at("10:32:30")
    filled = int(here.trading.get_order_by_id(sent.id).filled_qty)
    new = here.trading.replace_order_by_id(sent.id, ReplaceOrderRequest(limit_price=9.9))
    assert (new.qty, new.filled_qty, new.status) == (str(50 - filled), "0", "new")
    old = here.trading.get_order_by_id(sent.id)
    assert (old.status, old.filled_qty, old.replaced_by) == ("replaced", str(filled), new.id)


def test_partial_fills_are_activities() -> None:
    here = venue(behaviour=ALWAYS)
    sent = here.trading.submit_order(market(qty=9))
    until_filled(here, sent.id)
    rows = here.raw.get("/account/activities/FILL", {"direction": "asc"})
    assert [row["type"] for row in rows] == ["partial_fill"] * (len(rows) - 1) + ["fill"]
    assert [int(row["cum_qty"]) + int(row["leaves_qty"]) for row in rows] == [9] * len(rows)
    assert sum(int(row["qty"]) for row in rows) == 9
    assert len({row["id"] for row in rows}) == len(rows)


# -- pending -----------------------------------------------------------------------------------------------------------

SLOW = Behaviour(latency=3)


def test_an_order_is_pending_until_it_reaches_the_exchange() -> None:
    here = venue(behaviour=SLOW)
    sent = here.trading.submit_order(limit(9.0))
    assert sent.status == "pending_new"
    here.later(3)
    assert here.trading.get_order_by_id(sent.id).status == "new"
    night = venue(at="17:00", behaviour=SLOW)
    sent = night.trading.submit_order(limit(9.0))
    night.later(3)
    assert night.trading.get_order_by_id(sent.id).status == "accepted"


def test_an_order_can_fill_while_its_cancel_is_pending() -> None:
    here = venue([("10:31", 10.0, 10.0, 9.8, 9.8), ("10:32", *FLAT)], behaviour=SLOW)
    sent = here.trading.submit_order(limit(9.0))
    other = here.trading.submit_order(limit(9.9))  # reached at 10:31:17.5
    here.at("10:31:16")
    for one in (sent, other):
        here.trading.cancel_order_by_id(one.id)
        assert here.trading.get_order_by_id(one.id).status == "pending_cancel"
    assert refusal(here.trading.cancel_order_by_id, sent.id)[0] == 422
    here.at("10:32:01")
    assert here.trading.get_order_by_id(sent.id).status == "canceled"
    assert here.trading.get_order_by_id(other.id).status == "filled"


def test_a_pending_replacement_takes_effect_or_comes_too_late() -> None:
    here = venue([("10:31", 10.0, 10.0, 9.8, 9.8), ("10:32", *FLAT)], behaviour=SLOW)
    sent = here.trading.submit_order(limit(9.0))
    other = here.trading.submit_order(limit(9.9))  # reached at 10:31:17.5
    assert refusal(here.trading.replace_order_by_id, sent.id, ReplaceOrderRequest(limit_price=9.1))[0] == 422
    here.at("10:31:16")
    change = ReplaceOrderRequest(limit_price=9.1)
    new, late = (here.trading.replace_order_by_id(one.id, change) for one in (sent, other))
    assert (new.status, late.status) == ("pending_new", "pending_new")
    assert here.trading.get_order_by_id(sent.id).status == "pending_replace"
    assert refusal(here.trading.cancel_order_by_id, sent.id)[0] == 422
    # The larger of the two amounts is reserved: 5 x 9.1 and 5 x 9.9.
    assert here.trading.get_account().buying_power == "99905"
    here.at("10:32:01")
    assert [here.trading.get_order_by_id(one.id).status for one in (sent, new)] == ["replaced", "new"]
    assert [here.trading.get_order_by_id(one.id).status for one in (other, late)] == ["filled", "rejected"]
    assert here.trading.get_order_by_id(late.id).failed_at is not None


def test_a_leg_replaced_while_held_is_activated_with_its_group() -> None:
    here = venue(behaviour=SLOW)
    sent = here.trading.submit_order(bracket())
    here.at("10:31:58")
    new = here.trading.replace_order_by_id(sent.legs[1].id, ReplaceOrderRequest(stop_price=9.7))
    here.at("10:32:02")
    assert [(leg.status, leg.qty) for leg in shown(here, sent.id).legs] == [("new", "5"), ("held", "5")]
    assert shown(here, sent.id).legs[1].id == new.id


# -- times in force ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tif", "ends"), [("ioc", {"filled", "canceled"}), ("fok", {"filled"})])
def test_ioc_and_fok_orders_trade_in_their_minute_or_never(tif: str, ends: set[str]) -> None:
    seen = set()
    for seed in range(12):
        here = venue(behaviour=Behaviour(partial_fills=0.5, seed=seed))
        sent = here.trading.submit_order(market(qty=50, tif=tif))
        here.at("10:32")
        after = here.trading.get_order_by_id(sent.id)
        assert (after.status == "filled") == (after.filled_qty == "50")
        assert after.filled_qty != "0"
        seen.add(after.status.value)
    assert seen == ends
    here = venue()
    sent = here.trading.submit_order(limit(9.0, tif=tif))
    here.at("10:32")
    assert here.trading.get_order_by_id(sent.id).status == "canceled"


@pytest.mark.parametrize(("tif", "sent_at"), [("ioc", "10:31:59.7"), ("opg", "09:27:59"), ("cls", "15:49:59")])
def test_the_rest_of_an_order_for_one_instant_is_cancelled(tif: str, sent_at: str) -> None:
    """Also if the next minute begins before the order expires."""
    here = venue([*minutes(120, "09:30"), ("15:59", *FLAT)], at=sent_at, behaviour=ALWAYS)
    sent = here.trading.submit_order(market(qty=50, tif=tif))
    here.at("16:01")
    after = here.trading.get_order_by_id(sent.id)
    assert after.status == "canceled" and 0 < int(after.filled_qty) < 50
    assert len(here.exchange.snapshot().fills) == 1


DAY = [("09:30", 10.1, 10.2, 10.0, 10.05), ("15:59", 10.5, 10.7, 10.4, 10.6)]


def test_auction_orders() -> None:
    here = venue(DAY, at="09:27:59", tuesday=(("09:30", 11.0, 11.0, 11.0, 11.0),))
    moo = here.trading.submit_order(market(tif="opg"))
    loo = here.trading.submit_order(limit(10.0, tif="opg"))
    moc = here.trading.submit_order(market(tif="cls"))
    here.at("09:28")
    assert "not taken at this time" in refusal(here.trading.submit_order, market(tif="opg"))[1]["message"]
    here.at("09:31")
    after = here.trading.get_order_by_id(moo.id)
    assert (after.status, after.filled_avg_price) == ("filled", "10.1")
    # The limit was touched later in the minute, not in the auction.
    assert here.trading.get_order_by_id(loo.id).status == "canceled"
    here.at("15:50")
    assert refusal(here.trading.submit_order, market(tif="cls"))[0] == 422
    here.at("16:00")
    assert here.trading.get_order_by_id(moc.id).filled_avg_price == "10.6"
    here.at("19:00")
    tomorrow = here.trading.submit_order(market(tif="opg"))
    here.at("09:31", TUESDAY)
    assert here.trading.get_order_by_id(tomorrow.id).filled_avg_price == "11"


def test_auction_cut_offs_follow_a_half_day() -> None:
    here = Venue(HandMade({"AAA": {HALF_DAY: [("12:59", *FLAT)]}}), ny(HALF_DAY, "12:49:59"))
    sent = here.trading.submit_order(market(tif="cls"))
    here.at("12:50")
    assert refusal(here.trading.submit_order, market(tif="cls"))[0] == 422
    here.at("13:00")
    assert here.trading.get_order_by_id(sent.id).status == "filled"


def test_gtc_orders_are_cancelled_after_ninety_days() -> None:
    here = venue()
    sent = here.trading.submit_order(limit(9.0, tif="gtc"))
    end = ny(MONDAY + timedelta(days=90), "16:15")
    assert sent.expires_at == end
    here.time = end - timedelta(microseconds=1)
    assert here.trading.get_order_by_id(sent.id).status == "new"
    here.time = end
    assert here.trading.get_order_by_id(sent.id).status == "canceled"


# -- refusals ----------------------------------------------------------------------------------------------------------


def bought(**options: Any) -> Venue:
    here = venue(**options)
    here.trading.submit_order(market(qty=20))
    here.at("10:33")
    return here


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (limit(9.0), market("sell"), "opposite side limit order exists"),
        (limit(9.9), limit(9.9, "sell"), "opposite side limit order exists"),
        (limit(9.8), limit(9.9, "sell"), None),
        (limit(9.0), stop(9.5), "opposite side limit order exists"),
        (stop(9.5), market("buy"), "opposite side market/stop order exists"),
        (stop(9.5), limit(9.0), "opposite side market/stop order exists"),
        (stop(9.5), bracket(), None),
        (limit(11.0, "sell"), limit(10.9), None),
        (limit(11.0, "sell"), limit(11.0), "opposite side limit order exists"),
    ],
)
def test_wash_trades_are_refused(first: Any, second: Any, reason: str | None) -> None:
    here = bought()
    resting = here.trading.submit_order(first)
    if reason is None:
        assert here.trading.submit_order(second).status == "new"
        return
    status, body = refusal(here.trading.submit_order, second)
    assert status == 403
    assert body == {
        "code": 40310000,
        "existing_order_id": str(resting.id),
        "message": "potential wash trade detected. use complex orders",
        "reject_reason": reason,
    }


def test_held_legs_are_not_wash_trades() -> None:
    here = venue()
    here.trading.submit_order(bracket(target=12.0))
    assert here.trading.submit_order(market()).status == "new"


def test_a_halted_stock_neither_trades_nor_accepts_orders() -> None:
    halt = Halt("AAA", ny(MONDAY, "10:32"), ny(MONDAY, "10:40"))
    here = venue(halts=[halt])
    resting = here.trading.submit_order(limit(9.99))
    here.at("10:32:10")
    assert here.trading.get_asset("AAA").tradable is False
    assert refusal(here.trading.submit_order, market()) == (
        422,
        {"code": 42210000, "message": 'asset "AAA" is not tradable'},
    )
    here.at("10:40")
    assert here.trading.get_asset("AAA").tradable
    sent = here.trading.submit_order(market())
    here.at("10:41")
    assert here.trading.get_order_by_id(sent.id).status == "filled"
    assert here.trading.get_order_by_id(resting.id).status == "new"


def test_suspended_trading_refuses_orders() -> None:
    here = venue()
    assert here.raw.patch("/account/configurations", {"suspend_trade": True})["suspend_trade"] is True
    assert refusal(here.trading.submit_order, market())[1]["message"] == "new orders are rejected by user request"
    assert here.trading.get_account().trade_suspended_by_user
    here.raw.patch("/account/configurations", {"suspend_trade": False})
    assert here.trading.submit_order(market()).status == "new"


@pytest.mark.parametrize("bad", [{"partial_fills": 1.1}, {"partial_fills": -0.1}, {"latency": -1}, {"latency": 61}])
def test_behaviour_out_of_range_is_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Behaviour(**bad)


# -- events ------------------------------------------------------------------------------------------------------------


def test_events_of_a_bracket() -> None:
    here = venue([("10:31", *FLAT), ("10:32", 10.0, 10.5, 10.0, 10.4)])
    found = events_of(here)
    sent = here.trading.submit_order(bracket())
    target, loss = sent.legs
    here.at("10:33")
    here.trading.get_clock()
    assert [(one.event, one.order["id"]) for one in found] == [
        ("new", str(sent.id)),
        ("fill", str(sent.id)),
        ("new", str(target.id)),
        ("fill", str(target.id)),
        ("canceled", str(loss.id)),
    ]
    fill = found[1].data()
    assert (fill["price"], fill["qty"], fill["position_qty"], fill["order"]["status"]) == ("10", "5", "5", "filled")
    assert fill["timestamp"].startswith("2018-03-26T14:31:02.")
    assert found[3].data()["position_qty"] == "0"


def test_events_of_partial_fills_replacements_and_rejections() -> None:
    here = venue(behaviour=Behaviour(partial_fills=1.0, latency=3))
    found = events_of(here)
    sent = here.trading.submit_order(limit(9.0))
    here.later(3)
    new = here.trading.replace_order_by_id(sent.id, ReplaceOrderRequest(limit_price=9.1))
    here.later(3)
    here.trading.cancel_order_by_id(new.id)
    here.later(3)
    here.trading.submit_order(market(qty=2))
    here.at("10:34")
    here.trading.get_clock()
    assert [one.event for one in found] == [
        *("pending_new", "new", "pending_replace", "replaced", "new", "pending_cancel", "canceled"),
        *("pending_new", "new", "partial_fill", "fill"),
    ]
