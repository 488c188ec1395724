"""The trading day through the real client: entries, exits and their priority, 4 AM, half days, failures."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.exchange.exchange_world import HALF_DAY, MONDAY, TUESDAY, Row, ny
from tests.execution.trading_world import (
    CALENDAR,
    KEY,
    SECRET,
    Fault,
    TradingWorld,
    edited,
    flat,
    lost_before,
    page,
    with_bars,
)
from trading.base.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

DAY = flat("09:30", "15:59")
ACCOUNT = "GET /v2/account"


def world(folder: Path, *changed: Row, **options: Any) -> TradingWorld:
    """A trader at the open of a day that started at 04:00; it buys AAA at 10:31."""
    signals = options.pop("signals", {"10:31": {"AAA": 0.8}})
    bars = {"AAA": {MONDAY: with_bars(DAY, *changed), TUESDAY: DAY}, "BBB": {MONDAY: DAY, TUESDAY: DAY}}
    made = TradingWorld(folder, bars, ny(MONDAY, "04:00"), signals, **options)
    made.trader.recover()
    made.trader.rebalance(made.session)
    made.at("09:30")
    made.trader.opened(made.session)
    return made


def refusals(here: TradingWorld) -> list[tuple[str | None, str]]:
    return [(event.get("symbol"), event["rule"]) for event in here.events("not_bought")]


# -- one trade ---------------------------------------------------------------------------------------------------------


def test_the_legs_of_an_entry_are_replaced_at_the_levels_of_its_fill(tmp_path: Path) -> None:
    here = world(tmp_path, ("10:31", 10.05, 10.1, 10.0, 10.05))
    here.tick("10:31")
    (bought,) = [body for body in here.wire.bodies if body and body.get("order_class") == "bracket"]
    assert (bought["take_profit"]["limit_price"], bought["stop_loss"]["stop_price"]) == (10.4, 9.8)
    assert here.open_orders() == [("sell", "limit", 10.46), ("sell", "stop", 9.85)]
    (record,) = json.loads((tmp_path / "trades_2018-03-26.json").read_text())
    expected = {
        "symbol": "AAA",
        "side": "BUY",
        "qty": 5,
        "entry_price": 10.05,
        "confidence": 0.8,
        "stop_loss": 9.85,
        "take_profit": 10.46,
        "status": "OPEN",
        "decision_time": "2018-03-26T10:31:02-04:00",
        "decision_price": 10.0,
        "model": "20180323_200000",
        "client_order_id": "mlt-test-20180326-AAA-1031-entry",
    }
    assert {name: record[name] for name in expected} == expected
    assert record["entry_time"].startswith("2018-03-26T10:31:02.")
    here.minutes("10:32", "10:36")
    assert [one["level"] for one in here.events("leg_moved")] == ["stop", "target"]  # once each


@pytest.mark.parametrize(
    ("bar", "reason", "price"),
    [
        (("10:40", 9.9, 9.95, 9.75, 9.9), "STOP_LOSS", "9.8"),
        (("10:40", 9.5, 9.6, 9.4, 9.5), "STOP_LOSS", "9.5"),
        (("10:40", 10.2, 10.5, 10.2, 10.3), "TAKE_PROFIT", "10.4"),
        (("10:40", 10.7, 10.8, 10.6, 10.7), "TAKE_PROFIT", "10.7"),
        (("10:40", 10.0, 10.5, 9.7, 10.0), "STOP_LOSS", "9.8"),
        (("15:55", 10.1, 10.1, 10.1, 10.1), "END_OF_DAY", "10.1"),
    ],
)
def test_exits_in_their_order_of_priority(tmp_path: Path, bar: Row, reason: str, price: str) -> None:
    here = world(tmp_path, bar)
    here.minutes("10:31", "10:42")
    here.minutes("15:54", "15:59")
    here.close_day()
    trade = here.trade()
    assert (trade.exit_reason, trade.exit_price) == (reason, D(price))
    assert trade.pnl_amount == (D(price) - 10) * 5
    assert here.open_orders() == [] and here.held() == 0
    here.check_books()
    (closed,) = here.events("day_closed")
    assert (closed["trades"], closed["won"], closed["open"]) == (1, int(D(price) > 10), 0)
    assert closed["pnl_amount"] == float(trade.pnl_amount or 0)


def test_the_software_stop_covers_a_target_that_was_moved_away(tmp_path: Path) -> None:
    here = world(tmp_path, *[(f"10:{n}", 10.45, 10.45, 10.45, 10.45) for n in range(40, 45)])
    here.tick("10:31", "10:32")
    target = next(order for order in here.exchange.snapshot().orders if order.is_open and order.type == "limit")
    resting = here.broker.order(target.id)
    assert resting is not None
    here.broker.replace(resting, limit=D("11"))  # as the owner might do
    here.wire.faults = [Fault("PATCH", page(422, '{"message": "no"}'), times=None)]
    here.minutes("10:33", "10:43")
    assert (here.trade().exit_reason, here.trade().exit_price) == ("TAKE_PROFIT", D("10.45"))
    here.check_books()


def test_no_entries_near_the_close_and_pending_ones_are_cancelled(tmp_path: Path) -> None:
    signals = {f"15:{n}": {"AAA": 0.9, "BBB": 0.9} for n in range(54, 60)}
    thin = {"AAA": {MONDAY: [row for row in DAY if row[0] < "15:54"]}, "BBB": {MONDAY: DAY}}
    here = TradingWorld(tmp_path, thin, ny(MONDAY, "15:50"), signals)
    here.trader.recover()
    here.minutes("15:54", "15:59")
    here.close_day()
    assert here.held("AAA") == here.held("BBB") == 0
    assert [order.symbol for order in here.exchange.snapshot().orders if order.side == "buy"] == ["AAA", "BBB"]
    assert here.trader.positions.pending == {} and here.open_orders() == []
    assert [event["symbol"] for event in here.events("entry_not_filled")] == ["AAA"]
    assert here.trade("BBB").exit_reason == "END_OF_DAY"
    here.check_books()


def test_a_half_day_is_flat_before_its_close(tmp_path: Path) -> None:
    bars = {"AAA": {HALF_DAY: flat("09:30", "12:59")}}
    here = TradingWorld(tmp_path, bars, ny(HALF_DAY, "04:00"), {"10:31": {"AAA": 0.8}, "12:55": {"AAA": 0.9}})
    here.trader.recover()
    here.trader.rebalance(here.session)
    here.tick("10:31", "10:32", "12:54")
    assert here.held() == 5
    here.tick("12:55", "12:56")
    assert here.held() == 0 and ny(HALF_DAY, "12:55:02") < here.trade().exit_time < ny(HALF_DAY, "12:55:03")
    here.close_day()
    here.check_books()


def test_a_position_that_cannot_be_sold_is_reported(tmp_path: Path) -> None:
    bars = {"AAA": {MONDAY: [row for row in DAY if row[0] < "15:50"]}}  # halted through the close
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    here.tick("10:31", "10:32")
    here.minutes("15:54", "15:59")
    here.close_day()
    assert [event["symbol"] for event in here.events("not_flat")] == ["AAA"]
    assert here.held() == 5 and here.open_orders() == [("sell", "market", None)]  # queued for the next open


# -- refused entries ---------------------------------------------------------------------------------------------------


def test_every_refusal_is_in_the_audit_with_its_reason(tmp_path: Path) -> None:
    signals = {"10:31": {"AAA": 0.9, "BBB": 0.8, "CCC": 0.7}, "10:32": {"AAA": 0.9, "BBB": 0.64}}
    here = world(tmp_path, signals=signals, prices={"BBB": 25.0, "CCC": 0.99})
    here.tick("10:31", "10:32")
    reasons = {(event["symbol"], event["rule"]): event["reason"] for event in here.events("not_bought")}
    assert reasons == {
        ("BBB", "price"): "price $25 is outside $1 to $20",
        ("CCC", "price"): "price $0.99 is outside $1 to $20",
        ("AAA", "not_owned"): "AAA is already held or in flight",
    }


def test_at_most_ten_positions_the_most_confident_first(tmp_path: Path) -> None:
    names = [f"S{n:02d}" for n in range(14)]
    bars = {name: {MONDAY: DAY} for name in names}
    signals = {"10:31": {name: 0.7 + n / 100 for n, name in enumerate(names)}, "10:33": dict.fromkeys(names, 0.9)}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), signals)
    here.trader.recover()
    here.minutes("10:31", "10:34")
    assert sorted(trade.symbol for trade in here.log.open_trades) == names[4:]
    assert refusals(here)[:4] == [(name, "positions") for name in reversed(names[:4])]
    assert all(trade.qty == 5 for trade in here.log.trades)


def test_buying_power_includes_orders_sent_this_minute(tmp_path: Path) -> None:
    bars = {name: {MONDAY: DAY} for name in ("AAA", "BBB", "CCC")}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), {"10:31": dict.fromkeys(bars, 0.9)}, cash=D(5000))
    here.wire.faults = [Fault(ACCOUNT, edited(lambda body: body | {"buying_power": "100"}), times=None)]
    here.trader.recover()
    here.tick("10:31", "10:32")
    assert [(event["symbol"], event["rule"]) for event in here.events("not_bought")] == [("CCC", "buying_power")]
    assert "$50.00 needed, $0" in here.events("not_bought")[0]["reason"]


@pytest.mark.parametrize("flag", ["trading_blocked", "account_blocked", "trade_suspended_by_user"])
def test_a_blocked_account_allows_no_entries_and_keeps_the_legs_until_it_can_sell(tmp_path: Path, flag: str) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}, "10:33": {"BBB": 0.9}})
    here.tick("10:31", "10:32")
    here.wire.faults = [Fault(ACCOUNT, edited(lambda body: body | {flag: True}), times=None)]
    here.tick("10:33", "15:55", "15:56")
    (event,) = here.events("not_bought")
    assert event["rule"] == "account" and flag in event["reason"]
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    assert any("its stop and target stay" in event["reason"] for event in here.events("unclear"))
    here.wire.faults = []
    here.tick("15:57", "15:58")
    assert here.trade().exit_reason == "END_OF_DAY"
    here.check_books()


def their_clock(seconds: float) -> Any:
    """The broker's clock is ahead by `seconds`."""
    return edited(
        lambda body: body | {"timestamp": str(datetime.fromisoformat(body["timestamp"]) + timedelta(seconds=seconds))}
    )


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (their_clock(420), "differs from ours by 420 s"),
        (their_clock(-31), "differs from ours by -31 s"),
        (page(200, "{}"), "cannot be read"),
        (page(200, '{"timestamp": "2018-03-26T10:31:00"}'), "cannot be read"),
        (page(503, "<html>"), "cannot be read"),
    ],
)
def test_no_entries_while_the_clocks_disagree(tmp_path: Path, act: Any, reason: str) -> None:
    bars = {"AAA": {MONDAY: DAY}}
    signals = {f"10:{n}": {"AAA": 0.8} for n in range(30, 42)}  # by the broker's time, which the predictor is given
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), signals)
    here.wire.faults = [Fault("GET /v2/clock", act, times=None)]
    here.tick("10:31", "10:32")
    assert here.held() == 0
    assert [(e["rule"], reason in e["reason"]) for e in here.events("not_bought")] == [("clock", True)] * 2
    here.wire.faults = []
    here.tick("10:33", "10:34")
    assert here.held() == 5
    reported = [event["event"] for event in here.events("clocks_disagree", "clocks_agree")]
    assert reported == (["clocks_disagree", "clocks_agree"] if "by" in reason else [])


def test_a_small_clock_difference_is_accepted(tmp_path: Path) -> None:
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: DAY}}, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    here.wire.faults = [Fault("GET /v2/clock", their_clock(29), times=None)]
    here.tick("10:31", "10:32")
    assert here.held() == 5 and not here.events("clocks_disagree")


@pytest.mark.parametrize("reply", ['[{"date": "2018-03-26", "open": "09:30", "close": "13:00"}]', "[]"])
def test_no_entries_if_the_calendars_disagree(tmp_path: Path, reply: str) -> None:
    bars = {"AAA": {MONDAY: DAY}}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "04:00"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    here.wire.faults = [Fault("calendar", page(200, reply), times=None)]
    here.trader.rebalance(here.session)
    here.tick("10:31", "10:32")
    assert here.held() == 0 and [event["ours"] for event in here.events("calendars_disagree")] == ["16:00"]
    assert [event["rule"] for event in here.events("not_bought")] == ["calendar"]
    here.wire.faults = []
    here.script.signals = {"10:33": {"AAA": 0.8}}
    here.tick("10:33", "10:34")
    assert here.held() == 5 and len(here.events("calendars_agree")) == 1


def test_no_entries_in_a_minute_without_account_data(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}, "10:32": {"AAA": 0.8}})
    here.wire.faults = [Fault(ACCOUNT, page(200, "null"), times=None)]
    here.tick("10:31")
    assert here.open_orders() == []
    here.wire.faults = []
    here.tick("10:32", "10:33")
    assert here.held() == 5


@pytest.mark.parametrize("body", ['{"bars": null}', "<html>", "null", '{"bars": {"AAA": [{"t": 7}]}}', '{"bars": {}}'])
def test_unreadable_bars_prevent_no_exit(tmp_path: Path, body: str) -> None:
    here = world(tmp_path, ("10:40", 9.9, 9.9, 9.7, 9.8))
    here.tick("10:31", "10:32")
    here.wire.faults = [Fault("stocks/bars", page(200, body), times=None)]
    here.minutes("10:33", "10:41")
    assert here.trade().exit_reason == "STOP_LOSS"
    here.check_books()


def test_keys_refused_in_mid_session_end_no_minute_and_appear_in_no_file(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.tick("10:31", "10:32")
    here.wire.faults = [Fault("", page(401, "<html>no</html>"), times=None)]
    here.minutes("10:33", "10:34")
    assert "APCA_API_KEY_ID" in here.events("broker_unclear")[-1]["reason"]
    here.wire.faults = []
    here.tick("15:55", "15:56")
    here.close_day()
    here.check_books()
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert KEY not in text and SECRET not in text


# -- a day that cannot start -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [UserError("no stock"), requests.ConnectionError("down"), OSError(28, "No space left"), ValueError("x")]
)
def test_positions_are_managed_and_sold_without_a_universe(tmp_path: Path, failure: Exception) -> None:
    here = world(tmp_path)
    here.tick("10:31", "10:32")

    def fails(_: Any) -> list[str]:
        raise failure

    here.universe = fails
    here.restart()
    here.tick("10:33")
    assert here.events("day_not_started") and here.trader.day is None
    here.broker.clients.trading.cancel_orders()
    here.tick("10:34")
    assert here.open_orders() == [("sell", "stop", 9.8)]
    here.tick("15:55", "15:56", "15:57")
    here.close_day()
    assert here.trade().exit_reason == "END_OF_DAY" and here.held() == 0
    here.check_books()


@pytest.mark.parametrize("bought", [True, False])
def test_a_stock_that_leaves_the_universe_is_managed_while_it_is_held(tmp_path: Path, bought: bool) -> None:
    """Its bars still come, so the software stop covers a target that was moved away; it is not bought again."""
    changed = [(f"10:{n}", 10.45, 10.45, 10.45, 10.45) for n in range(40, 50)]
    here = world(tmp_path, *changed, signals={"10:31": {"AAA": 0.8}, "10:55": {"AAA": 0.9, "BBB": 0.9}})
    here.tick("10:31", "10:32") if bought else here.tick("10:31")  # or still an order on its way
    here.universe = lambda _: ["BBB"]
    here.restart()
    here.tick("10:33")
    target = next(order for order in here.exchange.snapshot().orders if order.is_open and order.type == "limit")
    resting = here.broker.order(target.id)
    assert resting is not None
    here.broker.replace(resting, limit=D("11"))
    here.wire.faults = [Fault("PATCH", page(422, '{"message": "no"}'), times=None)]
    here.minutes("10:34", "10:44")
    assert (here.trade().exit_reason, here.trade().exit_price, here.held()) == ("TAKE_PROFIT", D("10.45"), 0)
    assert [event["symbols"] for event in here.events("held_beside_universe")] == [["AAA"]]
    here.minutes("10:45", "10:57")
    assert (here.held("AAA"), here.held("BBB")) == (0, 5)
    lines = [json.loads(line) for line in (tmp_path / "predictions_2018-03-26.jsonl").read_text().splitlines()]
    assert {line["symbol"] for line in lines if line["timestamp"] > "2018-03-26T10:33"} == {"BBB"}
    here.check_books()


def test_a_day_that_cannot_start_at_four_starts_later(tmp_path: Path) -> None:
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: DAY}}, ny(MONDAY, "04:00"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    here.wire.faults = [Fault("", lost_before, times=None)]
    here.trader.rebalance(here.session)
    here.at("09:30")
    here.trader.opened(here.session)
    here.tick("09:31")
    assert here.trader.day is None
    here.wire.faults = []
    here.minutes("10:30", "10:32")
    assert here.held() == 5
    assert (tmp_path / "trades_2018-03-26.json").exists()


def test_the_day_is_summed_up_even_if_the_broker_is_unclear(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.tick("15:59")
    here.wire.faults = [Fault("", lost_before, times=None)]
    here.close_day()
    [closed] = here.events("day_closed")
    assert closed["equity_as_of"].startswith("2018-03-26T15:59")


def test_an_equity_that_stop_keeps_from_being_read_again_bears_its_time(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    assert here.trader.snapshot is not None and here.trader.snapshot.equity_as_of is None
    (here.controls / "STOP").touch()
    here.tick("10:34", "10:37")
    assert here.trader.snapshot.equity_as_of is not None
    assert ny(MONDAY, "10:33") < here.trader.snapshot.equity_as_of < ny(MONDAY, "10:34:30")
    here.tick("15:59")
    here.wire.faults = [Fault("", lost_before, times=None)]
    here.trader.closed(here.session)
    [closed] = here.events("day_closed")
    assert closed["equity_as_of"].startswith("2018-03-26T10:33")


# -- 4 AM --------------------------------------------------------------------------------------------------------------

OVERNIGHT = {"LOSE": 9.7, "MIDD": 10.1, "WINS": 10.5}


def overnight(folder: Path, before: bool = False) -> TradingWorld:
    """Tuesday 04:00: three stocks bought on Monday, legs cancelled by hand, no trader since 10:32.

    They trade before the open if `before`, because they traded up to Monday's close.
    """
    bars = {}
    for name, price in OVERNIGHT.items():
        moved: Row = ("15:00", price, price, price, price)
        late = flat("15:01", "15:59", price) if before else []
        bars[name] = {MONDAY: [*flat("09:30", "14:59"), moved, *late], TUESDAY: flat("09:30", "09:40", price)}
    here = TradingWorld(folder, bars, ny(MONDAY, "10:30"), {"10:31": dict.fromkeys(OVERNIGHT, 0.8)})
    here.trader.recover()
    here.minutes("10:31", "10:32")
    here.broker.clients.trading.cancel_orders()
    here.at("04:00", TUESDAY)
    here.restart()
    return here


def test_at_4_am_positions_are_sold_by_limit_those_beyond_a_level_first(tmp_path: Path) -> None:
    here = overnight(tmp_path, before=True)
    prices = {symbol: position.current_price for symbol, position in here.broker.positions().items()}
    assert all(price not in (None, OVERNIGHT[symbol]) for symbol, price in prices.items())  # it moved in the night
    here.trader.rebalance(here.session)
    sales = [body for body in here.wire.bodies if body and "-exit" in body.get("client_order_id", "")]
    assert [body["symbol"] for body in sales] == ["LOSE", "WINS", "MIDD"]
    assert {(body["type"], body["extended_hours"], body["time_in_force"]) for body in sales} == {("limit", True, "day")}
    for body in sales:  # 1% below the last price
        assert abs(body["limit_price"] - 0.99 * float(prices[body["symbol"]] or 0)) < 0.006
    here.at("04:08")
    here.trader.positions.reconcile()
    assert not here.log.open_trades
    assert {trade.symbol: trade.exit_price for trade in here.log.trades} == prices
    assert {trade.exit_reason for trade in here.log.trades} == {"REBALANCE"}
    here.check_books()


def test_positions_unsold_at_4_am_are_sold_at_market_at_the_open(tmp_path: Path) -> None:
    here = overnight(tmp_path)
    here.trader.rebalance(here.session)
    assert [here.open_orders(name) for name in sorted(OVERNIGHT)] == [
        [("sell", "limit", limit)] for limit in (9.6, 10.0, 10.4)
    ]
    here.at("09:30", TUESDAY)
    here.trader.opened(here.session)
    here.tick("09:31")
    assert not here.log.open_trades and {trade.exit_reason for trade in here.log.trades} == {"REBALANCE"}
    here.check_books()


def test_what_was_bought_on_an_earlier_day_counts_on_the_day_of_its_sale(tmp_path: Path) -> None:
    here = overnight(tmp_path)
    assert here.log.sold_on(MONDAY) == here.log.sold_on(TUESDAY) == []
    here.trader.rebalance(here.session)
    here.at("09:30", TUESDAY)
    here.trader.opened(here.session)
    here.tick("09:31")
    booked = sum(trade.pnl_amount or 0 for trade in here.log.trades)
    seen = here.trader.snapshot
    assert seen is not None and (seen.trades, seen.won, seen.realised) == (3, 2, booked)
    here.restart()
    here.close_day()
    (closed,) = here.events("day_closed")
    assert (closed["trades"], closed["won"], closed["pnl_amount"]) == (3, 2, float(booked))
    assert [trade.symbol for trade in here.log.sold_on(TUESDAY)] == list(OVERNIGHT) and here.log.sold_on(MONDAY) == []


def test_the_first_minutes_sell_if_the_broker_is_unreachable_at_the_open(tmp_path: Path) -> None:
    here = overnight(tmp_path)
    here.wire.faults = [Fault("", lost_before, times=None)]
    here.trader.rebalance(here.session)
    here.at("09:30", TUESDAY)
    here.trader.opened(here.session)
    here.wire.faults = []
    here.minutes("09:31", "09:34")
    assert not here.log.open_trades
    here.check_books()


def test_a_rebalance_in_mid_session_keeps_positions_of_today(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.tick("10:31", "10:32")
    here.restart()
    here.trader.rebalance(here.session)
    here.tick("10:33")
    assert here.held() == 5 and here.trade().is_open


def test_the_next_day_starts_afresh(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}})
    here.minutes("10:31", "10:32")
    here.minutes("15:55", "15:57")
    here.close_day()
    here.at("04:00", TUESDAY)
    here.trader.rebalance(here.session)
    here.minutes("10:31", "10:32")
    here.minutes("15:55", "15:57")
    here.close_day()
    assert [str(trade.day) for trade in here.log.trades] == ["2018-03-26", "2018-03-27"]
    assert [event["trades"] for event in here.events("day_closed")] == [1, 1]
    here.check_books()


def test_a_snapshot_is_taken_at_the_end_of_every_minute(tmp_path: Path) -> None:
    here = world(tmp_path, ("10:33", 10.2, 10.2, 10.2, 10.2))
    here.minutes("10:31", "10:34")
    seen = here.trader.snapshot
    assert seen is not None and [(row.symbol, row.qty, row.pnl) for row in seen.rows] == [
        ("AAA", 5, pytest.approx(1.0))
    ]
    here.tick("15:55", "15:56")
    seen = here.trader.snapshot
    assert seen is not None and (seen.rows, seen.trades, seen.realised) == ((), 1, D(0))


def test_still_open_lists_trades_with_their_resting_orders(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:32")
    ((trade, orders),) = here.trader.still_open()
    assert trade.symbol == "AAA" and sorted(order.type for order in orders) == ["limit", "stop"]


def test_the_days_used_in_these_tests_are_sessions() -> None:
    assert [CALENDAR.session(day).minutes for day in (MONDAY, TUESDAY, HALF_DAY)] == [390, 390, 210]
