"""Splits and new symbols that become visible after a sale was sent, or while orders rest."""

from __future__ import annotations

from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from paper_exchange import mount
from paper_exchange.books.ledger import Holding
from tests.exchange.exchange_world import MONDAY, ORIGIN, TUESDAY, ny
from tests.execution.test_reconciliation import by_hand
from tests.execution.trading_world import CALENDAR, Fault, Killed, TradingWorld, edited, flat, killed_before
from trading.broker.messages import Position
from trading.execution.orders.splits import split_of

if TYPE_CHECKING:
    from pathlib import Path


def buying(folder: Path, price: float = 10.0, later: float | None = None, symbol: str = "AAA") -> TradingWorld:
    """A trader at 10:32:02 that has bought AAA for $50; on the next day `symbol` costs `later`."""
    bars = {
        one: {
            MONDAY: flat("09:30", "15:59", price),
            TUESDAY: flat("09:30", "09:50", later if later is not None and one == symbol else price),
        }
        for one in {"AAA", "BBB", symbol}
    }
    signals = {"10:31": {"AAA": 0.9}, "09:40": {"BBB": 0.9}}
    here = TradingWorld(folder, bars, ny(MONDAY, "10:30"), signals, {"AAA": price, "BBB": price})
    here.trader.recover()
    here.tick("10:31", "10:32")
    assert float(here.held()) * price == 50
    return here


def books(here: TradingWorld, qty: str, average: str, symbol: str = "AAA") -> None:
    """Give the exchange's own books another position in place of AAA, as a corporate action does."""
    shares, ledger = D(qty), here.exchange._engine.ledger
    del ledger.holdings["AAA"]
    exact = int(shares) if shares == int(shares) else shares
    ledger.holdings[symbol] = Holding(symbol, exact, shares * D(average))


def four_in_the_morning(here: TradingWorld, limit: D | None = None) -> None:
    """The work of 4 AM; with `limit` its sale rests there, above the price."""
    here.at("04:00:00", TUESDAY)
    if limit is None:
        here.trader.rebalance(CALENDAR.session(TUESDAY))
    else:
        here.trader.positions.try_reconcile()
        here.trader.positions.close(here.trade(), "REBALANCE", limit)


def morning(here: TradingWorld) -> None:
    here.at("09:30:00", TUESDAY)
    here.trader.opened(CALENDAR.session(TUESDAY))
    here.minutes("09:31", "09:41")


def test_a_split_that_shows_after_the_sale_was_booked_opens_the_trade_again(tmp_path: Path) -> None:
    """The sale of 5 shares is booked as a loss; minutes later the broker shows the other 45."""
    here = buying(tmp_path, later=1.0)
    here.at("09:30:00", TUESDAY)
    here.trader.opened(CALENDAR.session(TUESDAY))
    here.minutes("09:31", "09:32")
    assert (here.trade().is_open, here.held()) == (False, 0)
    here.exchange._engine.ledger.holdings["AAA"] = Holding("AAA", 45, D(45))
    here.minutes("09:33", "09:41")
    trade = here.trade()
    assert (here.held(), trade.is_open, trade.qty, trade.sold_qty, trade.pnl_amount) == (0, False, 50, 50, 0)
    assert [event["closed_as"] for event in here.events("position_returned")] == ["REBALANCE"]
    assert len(here.events("quantity_changed")) == 1 and not here.events("external_position")
    assert here.held("BBB") == 5


def test_shares_that_somebody_bought_after_our_sale_are_no_split(tmp_path: Path) -> None:
    here = buying(tmp_path, later=1.0)
    here.at("09:30:00", TUESDAY)
    here.trader.opened(CALENDAR.session(TUESDAY))
    here.minutes("09:31", "09:32")
    owner = TradingClient("other", "other", paper=True, url_override=ORIGIN)
    mount(owner, here.exchange.app, ORIGIN)
    owner.submit_order(MarketOrderRequest(symbol="AAA", qty=45, side=OrderSide.BUY, time_in_force=TimeInForce.DAY))
    here.minutes("09:33", "09:41")
    assert (here.held(), here.trade().is_open, here.trade().qty) == (45, False, 5)
    assert len(here.events("external_position")) == 1 and not here.events("position_returned")


def test_a_trade_after_a_split_is_reclaimed_with_all_its_shares(tmp_path: Path) -> None:
    """The split trade sold 50 of 5 shares: that says nothing about the shares of the next one."""
    here = buying(tmp_path, later=10.0)
    here.script.signals = {"09:40": {"AAA": 0.9}}
    here.at("03:00:00", TUESDAY)
    books(here, "50", "1")
    morning(here)
    assert (here.held(), here.log.trades[0].sold_qty) == (5, 50)
    trade = here.trade()
    trade.exit_time, trade.exit_price, trade.exit_reason = here.clock.now(), D("10.1"), "TAKE_PROFIT"
    here.log.mark_changed(trade)
    here.minutes("09:42", "09:44")
    assert (here.trade().is_open, here.trade().qty) == (True, 5)


SPLITS = [("50", "1"), ("10", "5"), ("6", "8.333333"), ("20", "2.5")]


@pytest.mark.parametrize("rests", [True, False])
@pytest.mark.parametrize(("qty", "average"), SPLITS)
def test_a_split_that_is_shown_after_the_sale_of_four_in_the_morning(
    tmp_path: Path, qty: str, average: str, rests: bool
) -> None:
    """The sale, which is of the old number of shares, rests above the price or has filled."""
    here = buying(tmp_path, later=float(average))
    four_in_the_morning(here, D(11) if rests else None)
    here.at("08:00:00")
    books(here, qty, average)
    assert [shares for side, shares, _ in here.fills() if side == "sell"] == ([] if rests else [5])
    here.at("08:00:30")
    here.trader.positions.try_reconcile()
    assert here.trade().qty == int(qty)
    morning(here)
    trade = here.trade()
    assert (here.held(), trade.is_open, trade.qty, trade.exit_reason) == (0, False, int(qty), "REBALANCE")
    assert abs(trade.entry_price * trade.qty - 50) < D("0.0001")
    assert trade.pnl_amount is not None and abs(trade.pnl_amount - here.exchange.snapshot().realised) < D("0.001")
    assert len(here.events("quantity_changed")) == len(here.events("sold")) == 1
    assert not here.events("external_position") and here.trader.positions.discrepancies == []
    assert here.held("BBB") == 5


def test_a_split_of_the_night_after_a_sale_that_was_never_sent(tmp_path: Path) -> None:
    here = buying(tmp_path, later=1.0)
    here.wire.faults = [Fault("POST /v2/orders", killed_before)]
    with pytest.raises(Killed):
        here.tick("15:55")
    assert here.trade().exit_intent is not None
    here.wire.faults = []
    here.at("03:00:00", TUESDAY)
    books(here, "50", "1")
    here.restart()
    four_in_the_morning(here)
    morning(here)
    assert (here.held(), here.trade().qty, here.trade().sold_qty, here.trade().is_open) == (0, 50, 50, False)
    assert [event["qty"] for event in here.events("exit_intent")][1:] == [50, 50]
    assert not here.events("external_position")


def test_orders_that_rest_contradict_a_split_of_today_until_they_are_gone(tmp_path: Path) -> None:
    here = buying(tmp_path)
    here.tick("10:33")
    books(here, "10", "5")
    here.minutes("10:34", "10:36")
    assert (here.trade().qty, here.events("quantity_changed")) == (5, [])
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    assert here.events("positions_disagree")
    by_hand(here).cancel_orders()
    here.minutes("10:37", "10:38")
    assert (here.trade().qty, here.trade().entry_price) == (10, 5)
    assert (here.held(), here.trade().sold_qty) == (0, 10)  # the price is beyond the target of a share at $5


@pytest.mark.parametrize(("qty", "average"), [("50", "1"), ("2", "25")])
def test_a_position_that_looks_like_a_split_under_orders_that_rest_takes_no_stop_away(
    qty: str, average: str, tmp_path: Path
) -> None:
    here = buying(tmp_path)
    here.tick("10:33")

    def shown(rows: Any) -> Any:
        several = rows if isinstance(rows, list) else [rows]
        for row in several:
            if row.get("symbol") == "AAA":
                row |= {"qty": qty, "avg_entry_price": average, "current_price": average}
        return rows

    here.wire.faults = [Fault("GET /v2/positions", edited(shown), times=None)]
    here.minutes("10:34", "10:43")
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    assert (here.trade().qty, here.trade().entry_price, here.trade().is_open) == (5, 10, True)
    assert here.events("positions_disagree")
    here.wire.faults = []
    here.minutes("15:54", "15:57")
    assert here.held() == 0 and here.trade().exit_reason == "END_OF_DAY"


def test_a_split_under_orders_that_rest_is_taken_over_before_the_close(tmp_path: Path) -> None:
    here = buying(tmp_path)
    here.tick("15:54")
    books(here, "10", "5")
    here.tick("15:55", "15:56")
    assert (here.held(), here.trade().sold_qty, here.trade().qty) == (0, 10, 10)
    assert [event["qty"] for event in here.events("exit_intent")] == [10]
    assert here.trade().pnl_amount == here.exchange.snapshot().realised


def test_a_stock_dividend_that_leaves_a_fraction_is_a_split_once(tmp_path: Path) -> None:
    """11 shares for 10: the average changes by 9 %."""
    here = buying(tmp_path, later=9.3)
    here.at("03:00:00", TUESDAY)
    books(here, "5.5", "9.090909")
    morning(here)
    assert (here.trade("AAA").entry_price, here.trade("AAA").sold_qty) == (D("9.090909"), 5)
    assert len(here.events("quantity_changed")) == 1
    assert not here.events("positions_disagree", "stock_disputed")


def test_a_new_symbol_that_is_shown_after_the_sale_of_four_in_the_morning(tmp_path: Path) -> None:
    here = buying(tmp_path, symbol="NEWA")
    four_in_the_morning(here, D(11))
    here.at("08:00:00")
    books(here, "5", "10", "NEWA")
    assert here.open_orders() and here.trade().exit_intent is not None
    morning(here)
    assert (here.held("NEWA"), here.log.trades[0].symbol, here.log.trades[0].exit_reason) == (0, "NEWA", "REBALANCE")
    assert here.open_orders() == [] and not here.events("external_position", "position_gone")
    assert here.held("BBB") == 5


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_new_symbol_while_the_orders_of_the_old_one_rest(tmp_path: Path, cancelled: bool) -> None:
    here = buying(tmp_path, symbol="NEWA")
    here.tick("10:33")
    books(here, "5", "10", "NEWA")
    here.minutes("10:34", "10:35")
    assert here.trade().symbol == "AAA" and here.open_orders()
    assert not here.events("external_position")
    if cancelled:
        here.broker.cancel(here.trade().stop_order_id or "")
        here.tick("10:36")
    else:
        here.minutes("10:36", "10:37")
    assert [(trade.symbol, trade.qty) for trade in here.log.open_trades] == [("NEWA", 5)]
    assert (here.open_orders(), here.open_orders("NEWA")) == ([], [("sell", "stop", 9.8)])
    here.tick("15:55", "15:56")
    assert here.held("NEWA") == 0 and not here.events("position_gone")


def test_a_new_symbol_that_was_called_external_for_a_moment(tmp_path: Path) -> None:
    """For a minute the broker shows the position under both symbols."""
    here = buying(tmp_path, symbol="NEWA")
    ledger = here.exchange._engine.ledger
    ledger.holdings["NEWA"] = Holding("NEWA", 5, D(50))
    here.tick("10:33")
    assert [event["symbol"] for event in here.events("external_position")] == ["NEWA"]
    here.broker.cancel(here.trade().stop_order_id or "")
    del ledger.holdings["AAA"]
    here.tick("10:34")
    assert [trade.symbol for trade in here.log.open_trades] == ["NEWA"]


def test_a_position_from_before_the_trade_is_not_its_new_symbol(tmp_path: Path) -> None:
    bars = {symbol: {MONDAY: flat("09:30", "15:59")} for symbol in ("AAA", "OLD")}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.9}})
    ledger = here.exchange._engine.ledger
    ledger.holdings["OLD"] = Holding("OLD", 5, D(50))
    here.trader.recover()
    here.tick("10:31", "10:32")
    here.broker.cancel(here.trade().stop_order_id or "")
    del ledger.holdings["AAA"]
    here.minutes("10:33", "10:38")
    assert (here.trade().exit_reason, here.held("OLD")) == ("NOT_AT_BROKER", 5)


# What counts as a split


def position(qty: D, average: D) -> Position:
    return Position("AAA", qty, average, average)


PRICES = st.decimals(1, 20, places=2)


@given(PRICES, st.integers(1, 2000), st.integers(1, 100), st.integers(1, 100), st.booleans())
@example(D(10), 5, 15, 10, True)  # 7 shares at 6.67, and the cash for half a share
@example(D(10), 10, 11, 10, False)
@example(D(10), 200, 201, 200, False)
def test_every_ratio_is_a_split_with_or_without_cash_for_a_fraction(
    price: D, shares: int, new: int, old: int, cash: bool
) -> None:
    exact = D(shares) * new / old
    held = D(int(exact)) if cash else exact
    average = (price * old / new).quantize(D("0.000001"))
    assume(held > 0 and held != shares and abs(D(old) / new - 1) >= D("0.005"))
    found = split_of(price, shares, (), position(held, average))
    assert found is not None and (found.old, found.now, found.sold) == (shares, held, 0)


@given(PRICES, st.integers(1, 2000), st.integers(1, 2000), st.decimals("0.5", 2, places=4))
def test_shares_that_were_added_are_no_split(price: D, shares: int, added: int, factor: D) -> None:
    average = (price * shares + price * factor * added) / (shares + added)
    assert split_of(price, shares, (), position(D(shares + added), average)) is None


@given(PRICES, st.integers(2, 2000), st.data())
def test_shares_that_were_sold_are_no_split(price: D, shares: int, data: st.DataObject) -> None:
    held = data.draw(st.integers(1, shares - 1))
    average = price * data.draw(st.decimals("0.9951", "1.0049", places=4))
    sold = data.draw(st.sampled_from([(), (shares - held,)]))
    assert split_of(price, shares - sum(sold), sold, position(D(held), average), lags=True) is None


@given(PRICES, st.integers(1, 500), st.integers(2, 20), st.booleans(), st.data())
def test_what_was_sold_since_a_split_counts(price: D, shares: int, ratio: int, lags: bool, data: st.DataObject) -> None:
    """`shares` are `shares * ratio` now; an order for the old number has sold some of them."""
    sold = data.draw(st.integers(1, shares))
    average = (price / ratio).quantize(D("0.000001"))
    held = D(shares * ratio - (0 if lags else sold))  # positions may lag a fill
    found = split_of(price, shares - sold, (sold,), position(held, average), lags=lags)
    assert found is not None and (found.old, found.now, found.sold) == (shares, shares * ratio, sold)
