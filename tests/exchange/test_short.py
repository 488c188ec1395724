"""Short sales in a margin account: permissions, reserves, profit and refusals."""

from __future__ import annotations

from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.requests import (
    ClosePositionRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
)

from paper_exchange.books.ledger import Ledger
from paper_exchange.market.interface import Listing
from paper_exchange.orders.order import Fill
from tests.exchange.exchange_world import MONDAY, TUESDAY, HandMade, Venue, killed, ny
from tests.exchange.order_requests import FLAT, bracket, limit, market, nested, refusal, stop, venue

if TYPE_CHECKING:
    from pathlib import Path

FALLING = (("10:31", *FLAT), ("10:32", 10.0, 10.0, 9.0, 9.0), ("10:33", 9.0, 9.0, 9.0, 9.0))


def short(*rows: tuple, **options: Any) -> Venue:
    """A margin account at 10:31:02 that sold 100 shares short at 10 in the 10:30 bar."""
    here = venue(*rows, at="10:30:01", margin=True, **options)
    order = here.trading.submit_order(market("sell", 100))
    assert order.position_intent == "sell_to_open"
    here.at("10:31:02")
    return here


def test_a_short_position_is_negative_and_its_proceeds_are_cash() -> None:
    here = short()
    account, position = here.trading.get_account(), here.trading.get_open_position("AAA")
    assert (position.qty, position.side, position.avg_entry_price) == ("-100", "short", "10")
    assert (position.market_value, position.cost_basis, position.unrealized_pl) == ("-1000", "-1000", "0")
    assert (position.qty_available, position.asset_marginable) == ("-100", True)
    assert (account.cash, account.equity, account.long_market_value) == ("101000", "100000", "0")
    assert (account.short_market_value, account.multiplier, account.shorting_enabled) == ("-1000", "2", True)
    # The initial margin is half the value (150% with the proceeds): 2 * (100,000 - 500).
    assert (account.initial_margin, account.buying_power, account.maintenance_margin) == ("500", "199000", "500")


def test_a_short_position_gains_when_the_price_falls_and_a_buy_covers_it() -> None:
    here = short(*FALLING)
    here.at("10:33")
    position = here.trading.get_open_position("AAA")
    assert (position.unrealized_pl, position.unrealized_plpc, position.market_value) == ("100", "0.1", "-900")
    assert here.trading.get_account().equity == "100100"
    cover = here.trading.submit_order(market("buy", 60))
    assert cover.position_intent == "buy_to_close"
    here.at("10:34")
    account = here.exchange.snapshot()
    assert (account.positions["AAA"].qty, account.positions["AAA"].cost, account.realised) == (-40, D(-400), D(60))
    here.trading.close_position("AAA")
    here.at("10:35")
    assert here.exchange.snapshot().positions["AAA"].qty == -40  # no bar to trade in
    assert [order.side for order in here.trading.get_orders()] == ["buy"]


def test_closing_all_buys_back() -> None:
    here = short(*FALLING)
    here.at("10:32:02")
    assert here.raw.close_all_positions(True)[0]["body"]["side"] == "buy"
    here.at("10:33")
    assert here.exchange.snapshot().positions == {}
    assert here.trading.get_account().cash == "100000"


def test_a_short_position_loses_when_the_price_rises_and_buying_power_stays_at_0() -> None:
    here = Venue(
        HandMade({"AAA": {MONDAY: [("10:30", *FLAT), ("10:31", 30.0, 30.0, 30.0, 30.0)]}}),
        ny(MONDAY, "10:30:01"),
        cash=D(2000),
        margin=True,
    )
    here.trading.submit_order(market("sell", 150, tif="day"))
    here.at("10:32")
    account = here.trading.get_account()
    assert (account.equity, account.buying_power, account.multiplier) == ("-1000", "0", "1")
    assert account.shorting_enabled is False
    assert here.exchange.snapshot().buying_power == 0
    assert refusal(here.trading.submit_order, market("sell", 1))[0] == 403
    assert here.trading.submit_order(market("buy", 150)).position_intent == "buy_to_close"  # covering is always allowed


def test_a_short_sale_reserves_three_per_cent_above_the_price_or_its_limit() -> None:
    here = venue(margin=True)
    assert here.trading.get_account().buying_power == "200000"
    here.trading.submit_order(limit(9.0, "sell", 100))
    assert here.trading.get_account().buying_power == "198970"
    here.trading.cancel_orders()
    here.trading.submit_order(limit(12.0, "sell", 100))
    assert here.trading.get_account().buying_power == "198800"
    here.trading.cancel_orders()
    too_much = refusal(here.trading.submit_order, market("sell", 19418))
    assert too_much[0] == 403
    assert too_much[1].items() >= {"message": "insufficient buying power", "buying_power": "200000"}.items()
    assert here.trading.submit_order(market("sell", 19417)).status == "new"


def test_an_order_that_is_too_expensive_at_the_fill_is_rejected() -> None:
    here = venue(("10:31", 12.0, 12.0, 12.0, 12.0), at="10:30:59.9", margin=True)
    order = here.trading.submit_order(market("sell", 19000))
    here.at("10:32")
    assert here.trading.get_order_by_id(order.id).status == "rejected"
    assert here.exchange.snapshot().cash == D(100000)


def test_shares_can_be_bought_on_margin() -> None:
    here = venue(("10:31", *FLAT), margin=True)
    here.trading.submit_order(limit(10.0, qty=15000))
    here.at("10:32")
    account = here.trading.get_account()
    assert (account.cash, account.equity, account.buying_power) == ("-50000", "100000", "50000")
    assert (account.long_market_value, account.initial_margin) == ("150000", "75000")


def test_the_stop_of_a_short_position_lies_above_it() -> None:
    here = short(("10:31", *FLAT), ("10:32", 10.0, 10.6, 10.0, 10.5))
    order = here.trading.submit_order(stop(10.5, "buy", 100))
    assert refusal(here.trading.submit_order, limit(9.0, "buy", 1))[1]["related_orders"] == [str(order.id)]
    here.at("10:33")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "10.5"
    assert here.exchange.snapshot().realised == D(-50)


def test_a_bracket_of_a_short_sale_is_mirrored() -> None:
    rows = (("10:31", *FLAT), ("10:32", 10.0, 10.1, 9.5, 9.6))
    here = venue(*rows, margin=True)
    exits: dict = {"target": 9.6, "loss": 10.2}
    wrong = refusal(here.trading.submit_order, bracket(market, "sell", 5, target=10.4, loss=9.8))
    assert wrong[1]["message"] == "stop_loss.stop_price must be >= base_price + 0.01"
    high = refusal(here.trading.submit_order, bracket(market, "sell", 5, target=10.0, loss=10.2))
    assert high[1]["message"] == "take_profit.limit_price must be <= base_price - 0.01"
    order = here.trading.submit_order(bracket(market, "sell", 5, **exits))
    assert {leg.side for leg in order.legs} == {"buy"}
    here.at("10:32")
    legs = {leg.order_type: leg for leg in nested(here, order).legs}
    assert {kind: leg.status for kind, leg in legs.items()} == {"limit": "new", "stop": "held"}
    assert legs["limit"].position_intent == "buy_to_close"
    here.at("10:33")
    assert here.trading.get_order_by_id(legs["limit"].id).filled_avg_price == "9.6"
    assert here.trading.get_order_by_id(legs["stop"].id).status == "canceled"
    assert here.exchange.snapshot().realised == D(2)


@pytest.mark.parametrize(("close", "reason"), [(9.65, "not proven"), (9.55, "proven by the close")])
def test_a_target_in_a_limit_entrys_bar_needs_the_close(close: float, reason: str) -> None:
    """A short sale at a limit trades on the way up, so lower prices may have come before it."""
    here = venue(("10:31", 9.9, 10.1, 9.5, close), margin=True)
    order = here.trading.submit_order(bracket(limit, 10.05, "sell", 5, target=9.6, loss=10.3))
    here.at("10:32")
    target = next(leg for leg in nested(here, order).legs if leg.order_type == "limit")
    assert (target.status == "filled") == (close < 9.6), reason


def test_an_oco_closes_a_short_position() -> None:
    here = short(("10:31", *FLAT), ("10:32", 10.0, 10.3, 10.0, 10.3))
    request = LimitOrderRequest(
        symbol="AAA",
        qty=100,
        side="buy",
        limit_price=9.5,
        time_in_force="day",
        order_class="oco",
        take_profit=TakeProfitRequest(limit_price=9.5),
        stop_loss=StopLossRequest(stop_price=10.3),
    )
    order = here.trading.submit_order(request)
    here.at("10:33")
    assert here.exchange.snapshot().positions == {}
    assert here.trading.get_order_by_id(order.id).status == "canceled"


def test_an_order_never_reverses_a_position() -> None:
    here = short(("10:31", *FLAT))
    got = refusal(here.trading.submit_order, market("buy", 101))
    assert (got[0], got[1]["available"], got[1]["existing_qty"]) == (403, "100", "100")
    here.trading.submit_order(market("buy", 100))
    here.at("10:32")
    here.trading.submit_order(limit(10.0, qty=5))
    assert here.exchange.snapshot().positions == {}


def test_opening_orders_of_both_sides_exclude_each_other() -> None:
    here = venue(margin=True)
    here.trading.submit_order(limit(9.0))
    got = refusal(here.trading.submit_order, limit(11.0, "sell"))
    assert got[1]["message"] == "cannot open a short sell while a long buy order is open"
    here.trading.cancel_orders()
    here.trading.submit_order(limit(11.0, "sell"))
    got = refusal(here.trading.submit_order, limit(9.0))
    assert got[1]["message"] == "cannot open a long buy while a short sell order is open"


def margin_world(listing: Listing, **options: Any) -> Venue:
    return Venue(HandMade({"AAA": {MONDAY: [("10:30", *FLAT)]}}, [listing]), ny(MONDAY, "10:31:02"), **options)


@pytest.mark.parametrize(
    ("options", "listing", "message"),
    [
        ({}, Listing("AAA", "A"), "account is not allowed to short"),
        ({"margin": True}, Listing("AAA", "A", shortable=False), 'asset "AAA" cannot be sold short'),
        ({"margin": True, "cash": D(1999)}, Listing("AAA", "A"), "account is not allowed to short"),
    ],
    ids=["cash account", "hard to borrow", "too little equity"],
)
def test_short_sales_that_are_refused(options: dict, listing: Listing, message: str) -> None:
    got = refusal(margin_world(listing, **options).trading.submit_order, market("sell", 1))
    assert got == (403, {"code": 40310000, "message": message})


def test_the_configurations_enable_short_sales() -> None:
    here = venue()
    change = {"no_shorting": False, "max_margin_multiplier": "2"}
    assert here.raw.patch("/account/configurations", change)["no_shorting"] is False
    order = here.trading.submit_order(market("sell", 1))
    back = {"max_margin_multiplier": "1"}
    with pytest.raises(Exception, match="while shares or cash are borrowed"):
        here.raw.patch("/account/configurations", back)
    here.trading.cancel_order_by_id(order.id)
    here.raw.patch("/account/configurations", back)
    assert here.trading.get_account().multiplier == "1"
    assert refusal(here.trading.submit_order, market("sell", 1))[0] == 403


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_wrong_position_intent_is_refused(side: str) -> None:
    here = venue(margin=True)
    order = MarketOrderRequest(symbol="AAA", qty=1, side=side, time_in_force="day", position_intent=f"{side}_to_close")
    got = refusal(here.trading.submit_order, order)
    assert got[0] == 422 and got[1]["message"].startswith(f"position intent mismatch, inferred: {side}_to_open")


def test_a_short_position_is_closed_partly() -> None:
    here = short(("10:31", *FLAT))
    here.trading.close_position("AAA", ClosePositionRequest(percentage="25"))
    here.at("10:32")
    assert here.trading.get_open_position("AAA").qty == "-75"


def test_a_short_position_survives_a_night_and_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    here = short(("15:59", *FLAT), tuesday=(("09:30", 9.0, 9.0, 9.0, 9.0),), state=state)
    here.trading.submit_order(StopOrderRequest(symbol="AAA", qty=100, side="buy", stop_price=12, time_in_force="gtc"))
    here.at("18:00")
    here.exchange.close()
    market_ = HandMade(
        {"AAA": {MONDAY: [("10:30", *FLAT), ("15:59", *FLAT)], TUESDAY: [("09:30", 9.0, 9.0, 9.0, 9.0)]}}
    )
    again = Venue(market_, ny(TUESDAY, "09:31"), state=state)
    position = again.trading.get_open_position("AAA")
    assert (position.qty, position.unrealized_pl, position.unrealized_intraday_pl) == ("-100", "100", "100")
    assert position.qty_available == "0"
    account = again.trading.get_account()
    assert (account.last_equity, account.equity, account.multiplier) == ("100000", "100100", "2")
    assert again.raw.get("/account/portfolio/history", {"period": "1D", "timeframe": "1D"})["equity"][-1] == 100100


def test_the_ledger_refuses_impossible_fills() -> None:
    def fill(number: int, side: str, qty: int) -> Fill:
        return Fill(number, "o", "AAA", side, qty, D(10), 0, 0)

    cash, margin = Ledger(D(100), D(100)), Ledger(D(100), D(100), margin=True)
    with pytest.raises(ValueError, match="fill sells 1 AAA, held are 0"):
        cash.apply(fill(1, "sell", 1))
    with pytest.raises(ValueError, match="costs 110, cash is 100"):
        cash.apply(fill(1, "buy", 11))
    margin.apply(fill(1, "sell", 3))
    with pytest.raises(ValueError, match="fill buys 4 AAA, held are -3"):
        margin.apply(fill(2, "buy", 4))


def test_a_target_no_longer_waits_for_a_stop_that_was_moved_away_also_after_a_kill(tmp_path: Path) -> None:
    """The bar spans both: the target, reached first, waits for the stop until that is moved out of the bar."""
    rows, state = (("10:31", 10.0, 10.5, 9.5, 10.0), ("10:32", *FLAT)), tmp_path / "state.sqlite"
    here = venue(*rows, at="10:30:02", state=state, margin=True)
    entry = here.trading.submit_order(bracket(market, "sell", target=9.6, loss=10.4))
    here.at("10:31:15")
    here.trading.replace_order_by_id(entry.legs[1].id, ReplaceOrderRequest(stop_price=10.8))
    again = venue(*rows, at="10:31:15", state=killed(state), margin=True)
    for one in (here, again):
        one.at("10:31:30")
        fills = one.exchange.snapshot().fills
        assert [(fill.side, str(fill.price)) for fill in fills] == [("sell", "10.0"), ("buy", "9.6")]
    assert here.exchange.snapshot() == again.exchange.snapshot()
