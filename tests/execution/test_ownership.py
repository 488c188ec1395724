"""Trades recovered from the broker's orders, and two traders on one account."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest, StopLossRequest, TakeProfitRequest

from paper_exchange import mount
from tests.exchange.exchange_world import MONDAY, ORIGIN, TUESDAY, Row, ny
from tests.execution.trading_world import INSTANCE, Fault, TradingWorld, edited, flat, page, with_bars
from trading.base.clock import CorrectedClock
from trading.broker import client
from trading.broker.messages import OURS
from trading.execution.shares.other_traders import ACTIVE_WITHIN
from trading.execution.trader import Trader
from trading.records.instance import INSTANCE_FILE, instance_of
from trading.records.trade_log import TradeLog

if TYPE_CHECKING:
    from pathlib import Path

DAY = flat("09:30", "15:59")
ENTRY = f"{OURS}{INSTANCE}-20180326-AAA-1031-entry"
LEGS = [("sell", "limit", 10.4), ("sell", "stop", 9.8)]


def world(folder: Path, *changed: Row, signals: Any = None) -> TradingWorld:
    """A trader at 10:30 that buys AAA at 10:31; bars are flat except those given."""
    bars = {MONDAY: with_bars(DAY, *changed), TUESDAY: flat("09:30", "09:45")}
    stocks = {"AAA": bars, "BBB": {MONDAY: DAY}, "CCC": {MONDAY: DAY}}
    here = TradingWorld(folder, stocks, ny(MONDAY, "10:30"), signals or {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    return here


def by_hand(here: TradingWorld) -> TradingClient:
    client = TradingClient("other", "other", paper=True, url_override=ORIGIN)
    mount(client, here.exchange.app, ORIGIN)
    return client


def start_elsewhere(here: TradingWorld, name: str = "second", *gone: str) -> Trader:
    """Start a trader on another logs folder, while the first is left as it is."""
    here.folder = here.first_folder.with_name(f"{here.first_folder.name}-{name}")
    here.gone = frozenset(gone)
    here.start()
    here.trader.recover()
    return here.trader


def test_a_start_with_an_empty_folder_recovers_protects_and_sells(tmp_path: Path) -> None:
    here = world(tmp_path, ("10:31", 10.05, 10.1, 10.0, 10.05))
    here.minutes("10:31", "10:34")
    first = here.trade()
    assert here.open_orders() == [("sell", "limit", 10.46), ("sell", "stop", 9.85)]
    start_elsewhere(here, "second", INSTANCE)
    trade = here.trade()
    recovered = ("qty", "entry_price", "entry_time", "stop_loss", "take_profit", "client_order_id", "entry_order_id")
    assert [getattr(trade, name) for name in recovered] == [getattr(first, name) for name in recovered]
    assert sorted(trade.sell_order_ids) != [] and trade.stop_order_id == first.stop_order_id
    assert here.open_orders() == [("sell", "limit", 10.46), ("sell", "stop", 9.85)]
    assert not here.events("external_position", "orphan_order_cancelled", "unprotected")
    assert [event["client_order_id"] for event in here.events("recovered_from_broker")] == [ENTRY]
    here.minutes("10:35", "10:36")
    here.tick("15:55", "15:56", "15:57")
    here.close_day()
    assert (here.held(), here.open_orders(), here.trade().exit_reason) == (0, [], "END_OF_DAY")
    here.check_books()


def test_a_recovered_trade_whose_legs_are_gone_gets_a_stop_at_the_start(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:32")
    by_hand(here).cancel_orders()
    here.at("10:40")
    start_elsewhere(here, "second", INSTANCE)
    assert here.open_orders() == [("sell", "stop", 9.8)]


def test_an_older_folder_gets_the_trades_of_later_hours_with_their_exits(tmp_path: Path) -> None:
    drop: Row = ("10:40", 9.7, 9.7, 9.7, 9.7)
    signals = {"10:31": {"AAA": 0.8}, "10:51": {"AAA": 0.8, "BBB": 0.7}}
    here = world(tmp_path, drop, signals=signals)
    older = tmp_path.with_name(f"{tmp_path.name}-older")
    here.minutes("10:31", "10:32")
    shutil.copytree(tmp_path, older)
    here.minutes("10:33", "10:53")
    expected = [trade.as_json() for trade in here.log.trades]
    assert [record["exit_reason"] for record in expected] == ["STOP_LOSS", None, None]
    here.at("10:56")
    start_elsewhere(here, "older", INSTANCE)
    found = [trade.as_json() for trade in here.log.trades]
    same = ("symbol", "qty", "entry_price", "exit_price", "exit_reason", "client_order_id", "stop_loss")
    assert [[one[name] for name in same] for one in found] == [[one[name] for name in same] for one in expected]
    assert here.open_orders() == LEGS and not here.events("external_position", "unprotected")
    here.tick("15:55", "15:56", "15:57")
    here.check_books()


def test_shares_of_an_earlier_day_are_recovered_and_sold_at_four_in_the_morning(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:32")
    here.at("03:59", TUESDAY)
    start_elsewhere(here)
    assert [(trade.symbol, trade.qty, str(trade.day)) for trade in here.log.open_trades] == [("AAA", 5, "2018-03-26")]
    here.at("04:00", TUESDAY)
    here.trader.rebalance(here.session)
    here.at("09:30:00", TUESDAY)
    here.trader.opened(here.session)
    here.tick("09:31", "09:32", "09:33")
    assert (here.held(), here.trade().exit_reason) == (0, "REBALANCE")
    assert not here.events("external_position")


def test_orders_beyond_one_page_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}, "10:33": {"BBB": 0.8}, "10:35": {"CCC": 0.7}})
    here.minutes("10:31", "10:38")
    monkeypatch.setattr(client, "PAGE_OF_ORDERS", 2)
    start_elsewhere(here, "second", INSTANCE)
    assert [trade.symbol for trade in here.log.open_trades] == ["AAA", "BBB", "CCC"]


@pytest.mark.parametrize("is_logged", [True, False])
def test_more_orders_of_others_than_can_be_read_leave_ours_managed_and_stop_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_logged: bool
) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}, "10:41": {"BBB": 0.8}})

    def others() -> None:
        order = LimitOrderRequest(symbol="CCC", qty=1, side="buy", time_in_force="day", limit_price=5)
        for _ in range(12):
            here.clock.sleep_until(here.clock.now() + timedelta(seconds=1))
            by_hand(here).submit_order(order)

    if not is_logged:
        others()  # ours are among the newest
    here.minutes("10:31", "10:33")
    if is_logged:
        others()  # ours are among the oldest
    by_hand(here).cancel_orders()
    monkeypatch.setattr(client, "PAGE_OF_ORDERS", 3)
    monkeypatch.setattr(client, "MOST_PAGES", 3)
    here.at("10:40")
    here.restart() if is_logged else start_elsewhere(here, "second", INSTANCE)
    assert here.open_orders() == [("sell", "stop", 9.8)]
    here.tick("10:41", "15:55", "15:56")
    assert (here.held(), here.held("BBB"), here.trade().exit_reason) == (0, 0, "END_OF_DAY")
    assert any("the oldest are not read" in event["reason"] for event in here.events("not_bought"))


def test_an_unfilled_entry_that_no_log_knows_is_cancelled_as_an_orphan(tmp_path: Path) -> None:
    here = world(tmp_path, signals={})
    by_hand(here).submit_order(
        MarketOrderRequest(symbol="AAA", qty=5, side="buy", time_in_force="day", client_order_id=ENTRY)
    )
    here.restart()
    assert [event["symbol"] for event in here.events("orphan_order_cancelled")] == ["AAA"]
    here.minutes("10:31", "10:33")
    assert here.held() == 0 and here.trader.positions.pending == {}


def test_what_the_first_start_could_not_read_is_recovered_in_the_first_minute(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:34")
    here.wire.faults = [Fault("GET /v2/orders\\?", page(500, ""), times=None)]
    start_elsewhere(here, "second", INSTANCE)
    assert here.log.open_trades == [] and not here.events("external_position")
    here.wire.faults = []
    here.tick("10:36")
    assert [trade.qty for trade in here.log.open_trades] == [5]


# -- two traders -------------------------------------------------------------------------------------------------------


def test_a_second_trader_sends_nothing_while_the_first_is_active(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}, "10:36": {"BBB": 0.9}})
    here.minutes("10:31", "10:33")
    here.at("10:33:30")
    by_hand(here).cancel_orders()
    here.tick("10:34")
    assert here.open_orders() == [("sell", "stop", 9.8)]
    first = here.trader
    here.at("10:34:30")
    second = start_elsewhere(here)
    sent = here.wire.count("POST|PATCH|DELETE")
    other = second.positions.other_trader
    assert other is not None and (other.instance, other.at > ny(MONDAY, "10:34")) == (INSTANCE, True)
    second.predictor = first.predictor
    second.rebalance(here.session)
    second.opened(here.session)
    for minute in ("10:35", "10:36", "10:37"):
        here.at(f"{minute}:02")
        first.tick(here.session, ny(MONDAY, minute))
        second.tick(here.session, ny(MONDAY, minute))
    assert here.wire.count("POST|PATCH|DELETE") == sent + 1  # the first one's entry
    assert here.open_orders() == [("sell", "stop", 9.8)]
    assert [trade.symbol for trade in TradeLog(tmp_path).trades] == ["AAA", "BBB"]
    assert TradeLog(here.folder).trades == []
    assert [(event["instance"], event["symbol"]) for event in here.events("another_trader")] == [(INSTANCE, "AAA")]
    assert [event["rule"] for event in here.events("not_bought")] == ["one_trader"]


def test_a_moved_trader_recovers_once_the_old_folder_is_silent(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:32")
    last = here.exchange.snapshot().orders[0]
    assert here.clock.now() < ny(MONDAY, "10:31:02") + ACTIVE_WITHIN and last.client_order_id == ENTRY
    trader = start_elsewhere(here, "second", INSTANCE)
    assert not trader.positions.is_ours and here.log.trades == []
    here.tick("10:33", "10:34")
    assert trader.positions.is_ours and trader.positions.other_trader is None
    assert [event["instance"] for event in here.events("taken_over")] == [INSTANCE]
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0
    here.check_books()


def test_of_two_traders_that_started_with_nothing_the_first_to_buy_goes_on(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}, "10:41": {"CCC": 0.9}})
    first, script = here.trader, here.trader.predictor
    second = start_elsewhere(here)
    second.rebalance(here.session)
    second.predictor = script
    for minute in (*(f"10:{n}" for n in range(31, 44)), "15:55", "15:56", "15:57"):
        here.at(f"{minute}:02")
        for trader in (first, second):
            trader.tick(here.session, ny(MONDAY, minute))
    assert [trade.symbol for trade in TradeLog(tmp_path).trades] == ["AAA", "CCC"]
    assert TradeLog(here.folder).trades == [] and (here.held("AAA"), here.held("CCC")) == (0, 0)
    assert [event["instance"] for event in here.events("another_trader")] == [INSTANCE]
    assert {event["rule"] for event in here.events("not_bought")} == {"one_trader"}


def test_shares_that_another_trader_bought_in_the_same_stock_are_left_to_it(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}, "10:41": {"CCC": 0.9}})
    here.tick("10:31", "10:32")
    theirs = f"{OURS}t99-20180326-AAA-1033-entry"
    by_hand(here).submit_order(
        MarketOrderRequest(
            symbol="AAA",
            qty=3,
            side="buy",
            time_in_force="day",
            order_class="bracket",
            stop_loss=StopLossRequest(stop_price=9),
            take_profit=TakeProfitRequest(limit_price=12),
            client_order_id=theirs,
        )
    )
    here.minutes("10:33", "10:42")
    assert here.trade().qty == 5 and set(LEGS) < set(here.open_orders())
    assert [event["qty"] for event in here.events("external_shares")] == [3]
    here.tick("15:55", "15:56", "15:57")
    assert (here.held(), here.held("CCC")) == (3, 0)
    assert (here.trade().exit_reason, here.trade().sold_qty) == ("END_OF_DAY", 5)


def test_shares_of_another_trader_are_not_touched(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:41": {"CCC": 0.9}})
    here.at("10:35")
    by_hand(here).submit_order(
        MarketOrderRequest(
            symbol="BBB", qty=3, side="buy", time_in_force="day", client_order_id=f"{OURS}t99-20180326-BBB-1035-entry"
        )
    )
    here.minutes("10:36", "10:42")
    here.tick("15:55", "15:56", "15:57")
    assert (here.held("BBB"), here.open_orders("BBB"), here.held("CCC")) == (3, [], 0)
    (event,) = here.events("external_position")
    assert event["symbol"] == "BBB" and "trader t99" in event["note"]


def leave(here: TradingWorld, what: str) -> None:
    """Let the first trader leave something at the broker, and be silent for an hour, or until the next morning."""
    here.minutes("10:31", "10:34")
    if what == "an open order":
        here.at("10:35")
        name = f"{OURS}{INSTANCE}-20180326-BBB-1035-entry"
        order = LimitOrderRequest(
            symbol="BBB", qty=1, side="buy", limit_price=5.0, time_in_force="day", client_order_id=name
        )
        by_hand(here).submit_order(order)
    if what in ("nothing", "an open order"):
        here.trader.positions.close(here.log.open_trades[0], "REBALANCE")
        here.tick("10:36")
    elif what == "shares that somebody sold":
        by_hand(here).cancel_orders()
        here.at("10:36")
        by_hand(here).submit_order(MarketOrderRequest(symbol="AAA", qty=5, side="sell", time_in_force="day"))
    here.at("03:00" if what == "shares of yesterday" else "15:59", TUESDAY if "yesterday" in what else MONDAY)


@pytest.mark.parametrize("who", ["the same folder", "another folder", "another folder, told that the first has ended"])
@pytest.mark.parametrize(
    "what", ["shares", "an open order", "nothing", "shares that somebody sold", "shares of yesterday"]
)
def test_a_start_is_refused_by_what_another_trader_has_however_long_it_is_silent(
    tmp_path: Path, what: str, who: str
) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}})
    leave(here, what)
    sent = here.wire.count("POST|PATCH|DELETE")
    if who == "the same folder":
        here.restart()
    else:
        start_elsewhere(here, "second", *([INSTANCE] if "told" in who else []))
    refused = who == "another folder" and what in ("shares", "an open order")
    positions = here.trader.positions
    assert positions.is_ours != refused
    assert [trade.symbol for trade in here.log.open_trades] == (
        ["AAA"] if what in ("shares", "shares of yesterday") and not refused else []
    )
    if refused:
        here.at("15:59:10")
        assert here.wire.count("POST|PATCH|DELETE") == sent and here.log.trades == []
        other = positions.other_trader
        assert other is not None and other.instance == INSTANCE
        has = "5 AAA since 2018-03-26 10:31" if what == "shares" else "an open order in BBB since 2018-03-26 10:35"
        assert f" and has {has}" in str(other)
        assert f"if it no longer runs, start again with --take-over {INSTANCE} and" in other.remedy(here.clock.now())


def test_a_restart_after_a_take_over_is_automatic_until_the_other_is_seen(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}, "10:41": {"CCC": 0.9}})
    here.minutes("10:31", "10:34")
    script = here.trader.predictor
    second = start_elsewhere(here, "second", INSTANCE)
    second.predictor = script
    here.minutes("10:41", "10:43")
    here.gone = frozenset()
    here.restart()
    assert here.trader.positions.is_ours and here.trader.positions.other_trader is None
    assert [trade.symbol for trade in here.log.open_trades] == ["AAA", "CCC"]
    bracket = {
        "order_class": "bracket",
        "stop_loss": StopLossRequest(stop_price=9),
        "take_profit": TakeProfitRequest(limit_price=12),
    }
    theirs = f"{OURS}{INSTANCE}-20180326-BBB-1045-entry"
    by_hand(here).submit_order(
        MarketOrderRequest(symbol="BBB", qty=3, side="buy", time_in_force="day", client_order_id=theirs, **bracket)
    )
    here.tick("10:45", "10:46")
    here.at("11:30")
    here.restart()
    other = here.trader.positions.other_trader
    assert here.trader.positions.is_ours and other is not None and other.instance == INSTANCE
    here.tick("15:55", "15:56", "15:57")
    assert (here.held("AAA"), here.held("CCC"), here.held("BBB")) == (0, 0, 3)
    assert len(here.open_orders("BBB")) == 2


def test_a_reply_without_the_orders_of_another_trader_lets_nobody_take_them(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}})
    here.minutes("10:31", "10:34")
    here.wire.faults = [Fault("GET /v2/orders\\?", edited(lambda rows: []), times=1)]
    here.at("11:30")
    assert not start_elsewhere(here).positions.is_ours
    here.wire.faults = [
        Fault("GET /v2/orders\\?", edited(lambda rows: [row | {"filled_qty": "-1"} for row in rows]), times=2)
    ]
    assert not start_elsewhere(here, "third").positions.is_ours


@pytest.mark.parametrize("created", [None, "2018-03-23T15:00:00Z", "2017-03-26T14:31:02Z", "2030-01-01T15:00:00Z"])
def test_the_minute_in_its_name_tells_when_another_trader_bought(tmp_path: Path, created: str | None) -> None:
    def change(body: Any) -> Any:
        rows = body if isinstance(body, list) else [body]
        changed = [row | ({"created_at": created} if row["side"] == "buy" else {}) for row in rows]
        return changed if isinstance(body, list) else changed[0]

    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}})
    here.minutes("10:31", "10:33")
    sent = here.wire.count("POST|PATCH|DELETE")
    here.wire.faults = [Fault("GET /v2/orders", edited(change), times=None)]
    here.at("11:59")
    trader = start_elsewhere(here)
    here.tick("12:01")
    other = trader.positions.other_trader
    assert other is not None and "5 AAA since 2018-03-26 10:31" in str(other)
    assert here.log.trades == [] and here.wire.count("POST|PATCH|DELETE") == sent


def test_a_copied_folder_is_another_trader(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    first = instance_of(one)
    shutil.copytree(one, other)
    assert instance_of(one) == first != instance_of(other)
    (other / INSTANCE_FILE).write_text("{}")
    assert instance_of(other) == instance_of(other) != first


def test_names_of_an_earlier_version_are_ours(tmp_path: Path) -> None:
    here = world(tmp_path, signals={})
    by_hand(here).submit_order(
        MarketOrderRequest(
            symbol="AAA", qty=5, side="buy", time_in_force="day", client_order_id=f"{OURS}20180326-AAA-1031-entry"
        )
    )
    here.at("10:31:30")
    here.restart()
    assert [trade.qty for trade in here.log.open_trades] == [5] and here.open_orders() == [("sell", "stop", 9.8)]
    assert here.trader.positions.other_trader is None


def test_an_entry_that_the_start_could_not_read_is_recovered_once_it_can(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9, "BBB": 0.8}, "10:39": {"CCC": 0.8}})
    here.minutes("10:31", "10:32")
    by_hand(here).cancel_orders()
    here.tick("10:33")
    stop = [("sell", "stop", 9.8)]
    assert (here.open_orders(), here.open_orders("BBB")) == (stop, stop)

    def unreadable(body: Any) -> Any:
        if isinstance(body, list):
            return [unreadable(row) for row in body]
        return body | {"id": None} if body["client_order_id"] == ENTRY else body

    here.wire.faults = [
        Fault(f"by_client_order_id.*{ENTRY}", page(500, "{}"), times=None),
        Fault("GET /v2/orders[?:]", edited(unreadable), times=None),
    ]
    here.at("10:36")
    start_elsewhere(here, "second", INSTANCE)
    assert [trade.symbol for trade in here.log.open_trades] == ["BBB"]
    assert (here.open_orders(), here.open_orders("BBB")) == (stop, stop)
    assert any(ENTRY in reason for reason in here.trader.positions.discrepancies)
    assert not here.events("external_position", "orphan_order_cancelled")
    here.tick("10:37", "10:38")
    here.wire.faults = []
    here.tick("10:39")
    assert [trade.symbol for trade in here.log.open_trades] == ["BBB", "AAA", "CCC"]  # and entries are allowed again
    reads = here.wire.count(r"GET /v2/orders\?")
    here.tick("10:40")
    assert here.wire.count(r"GET /v2/orders\?") == reads + 1  # the whole history is not read any more
    here.tick("15:55", "15:56", "15:57")
    assert (here.held(), here.held("BBB"), here.held("CCC")) == (0, 0, 0)
    here.check_books()


@pytest.mark.parametrize("by", [timedelta(minutes=-10), timedelta(hours=5)])
def test_a_wrong_clock_makes_no_running_trader_of_one_that_has_ended(tmp_path: Path, by: timedelta) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    by_hand(here).cancel_orders()
    here.at("10:36")
    here.machine = CorrectedClock(here.clock, lambda: by)
    start_elsewhere(here, "second", INSTANCE)
    assert here.trader.positions.is_ours and here.open_orders() == [("sell", "stop", 9.8)]


@pytest.mark.parametrize(("by", "words"), [(-10, "600 s behind"), (300, "18000 s ahead of")])
def test_a_start_beside_a_running_trader_names_a_wrong_clock(tmp_path: Path, by: int, words: str) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:31")
    here.machine = CorrectedClock(here.clock, lambda: timedelta(minutes=by))
    other = start_elsewhere(here, "second").positions.other_trader
    assert other is not None and f"this machine's clock is {words}" in str(other)
