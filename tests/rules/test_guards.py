"""The guards in addition to the document's rules, at their limits, and the files STOP and FLATTEN."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest
from hypothesis import given
from hypothesis import strategies as st

from config import EntrySettings
from paper_exchange import mount
from tests.exchange.exchange_world import MONDAY, ORIGIN, TUESDAY, Row, ny
from tests.execution.trading_world import CALENDAR, Fault, TradingWorld, edited, flat, with_bars
from trading.records.trade_log import Trade
from trading.rules.entry import Candidate, EntryContext, Losses
from trading.rules.entry_numbers import Share, losses_in_a_row, part_of
from trading.rules.guards import CoolDownRule, DailyLossRule, LosingRunRule, guard_rules, losses_of

if TYPE_CHECKING:
    from pathlib import Path

DAY = flat("09:30", "15:59")
SESSION = CALENDAR.session(MONDAY)
NOON = ny(MONDAY, "12:00")


def standing(losses: Losses, now: datetime = NOON, equity: str = "99000") -> EntryContext:
    flatten_at = SESSION.flatten_at(5)
    return EntryContext(now, SESSION, flatten_at, D(equity), D("50000"), frozenset(), losses)


def closed(symbol: str, pnl: str, at: datetime, reason: str = "END_OF_DAY") -> Trade:
    trade = Trade(symbol, 5, D("10"), at - timedelta(minutes=5), 0.7, D("9.80"), D("10.40"))
    trade.exit_price, trade.exit_time, trade.exit_reason = D("10") + D(pnl) / 5, at, reason
    return trade


CANDIDATE = Candidate("AAA", 10.0, 0.8)


@pytest.mark.parametrize(("pnl", "refused"), [("-999.99", False), ("-1000", True), ("-1000.01", True), ("500", False)])
def test_daily_loss_is_relative_to_the_equity_at_the_start_of_the_day(pnl: str, refused: bool) -> None:
    now = standing(Losses(pnl=D(pnl)), equity=str(D("100000") + D(pnl)))
    assert (DailyLossRule(0.01).refusal(CANDIDATE, now) is not None) is refused


@pytest.mark.parametrize(("minutes_ago", "refused"), [(0, True), (29, True), (30, False), (31, False)])
def test_stock_cools_down_after_its_own_stop_loss(minutes_ago: int, refused: bool) -> None:
    losses = Losses(stopped_out={"AAA": NOON - timedelta(minutes=minutes_ago)})
    assert (CoolDownRule(30).refusal(CANDIDATE, standing(losses)) is not None) is refused
    assert CoolDownRule(30).refusal(Candidate("BBB", 10.0, 0.8), standing(losses)) is None


@given(outcomes=st.lists(st.sampled_from(["-1", "0", "1"]), max_size=12))
def test_losing_run_counts_since_the_last_trade_without_a_loss(outcomes: list[str]) -> None:
    trades = [closed("AAA", pnl, NOON + timedelta(minutes=n)) for n, pnl in enumerate(outcomes)]
    expected = 0
    for pnl in reversed(outcomes):
        if pnl != "-1":
            break
        expected += 1
    losses = losses_of(trades[::-1], {})  # the order of the arguments does not matter
    assert losses.in_a_row == expected
    assert losses.pnl == sum(map(D, outcomes))
    assert (LosingRunRule(3).refusal(CANDIDATE, standing(losses)) is not None) is (expected >= 3)


def test_open_trades_count_at_their_newest_price_and_stops_are_recorded() -> None:
    still_open = Trade("BBB", 5, D("10"), NOON, 0.7, D("9.80"), D("10.40"))
    trades = [closed("AAA", "-1", NOON, "STOP_LOSS"), still_open]
    losses = losses_of(trades, {"BBB": D("9.90"), "CCC": D("1")})
    assert losses.pnl == D("-1.50")
    assert losses.stopped_out == {"AAA": NOON}


def test_zero_disables_a_guard() -> None:
    assert guard_rules(EntrySettings(MAX_DAILY_LOSS_PCT=0.0)) == ()
    names = [rule.name for rule in guard_rules(EntrySettings(COOL_DOWN_MINUTES=5, MAX_LOSSES_IN_A_ROW=2))]
    assert names == ["daily_loss", "cool_down", "losing_run"]


# -- through the real client -------------------------------------------------------------------------------------------


def world(
    folder: Path, *changed: Row, signals: dict[str, dict[str, float]], spread_ticks: int = 0, **guards: Any
) -> TradingWorld:
    bars: dict[str, dict[date, list[Row]]] = {
        "AAA": {MONDAY: with_bars(DAY, *changed), TUESDAY: DAY},
        "BBB": {MONDAY: DAY, TUESDAY: DAY},
    }
    made = TradingWorld(folder, bars, ny(MONDAY, "04:00"), signals, spread_ticks=spread_ticks)
    if guards:
        made.guards = guard_rules(EntrySettings(**{"MAX_DAILY_LOSS_PCT": 0.0, **guards}))
        made.start()
    made.trader.recover()
    made.trader.rebalance(made.session)
    made.at("09:30")
    made.trader.opened(made.session)
    return made


FALLS = (("10:33", 10.0, 10.0, 9.5, 9.5), ("10:34", 10.0, 10.0, 10.0, 10.0))


def test_stopped_out_stock_is_not_bought_during_its_cool_down(tmp_path: Path) -> None:
    signals = {"10:31": {"AAA": 0.8}, "10:40": {"AAA": 0.8}, "11:10": {"AAA": 0.8}}
    here = world(tmp_path, *FALLS, signals=signals, COOL_DOWN_MINUTES=30)
    here.minutes("10:31", "11:12")
    assert [event["rule"] for event in here.events("not_bought")] == ["cool_down"]
    assert [trade.exit_reason for trade in here.log.trades] == ["STOP_LOSS", None]


def test_daily_loss_stops_entries_and_keeps_managing_positions(tmp_path: Path) -> None:
    signals = {"10:31": {"AAA": 0.8, "BBB": 0.7}, "10:40": {"AAA": 0.8}}
    here = world(tmp_path, *FALLS, signals=signals, MAX_DAILY_LOSS_PCT=0.000005)  # 50 cents of $100,000
    here.minutes("10:31", "10:45")
    assert [event["rule"] for event in here.events("not_bought")] == ["daily_loss"]
    assert here.held("BBB") == 5
    assert ("sell", "stop", 9.8) in here.open_orders("BBB")
    here.minutes("15:55", "15:57")
    assert here.held("BBB") == 0


@pytest.mark.parametrize(("widest", "bought"), [(0.0005, 0), (0.002, 5)])
def test_stock_with_a_wide_spread_is_not_bought(tmp_path: Path, widest: float, bought: int) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}}, spread_ticks=1)  # one cent at $10: 0.1 %
    here.widest_spread = widest
    here.restart()
    here.minutes("10:31", "10:33")
    assert here.held() == bought
    assert [event["rule"] for event in here.events("not_bought")] == ([] if bought else ["spread"])


def test_stop_file_prevents_trades_and_keeps_resting_orders(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}, "10:40": {"BBB": 0.9}, "10:50": {"BBB": 0.9}})
    here.minutes("10:31", "10:35")
    (here.controls / "STOP").touch()
    here.minutes("10:36", "10:45")
    assert here.held("AAA") == 5
    assert here.held("BBB") == 0
    assert here.open_orders("AAA") == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    assert len(here.events("stopped_by_file")) == 1
    (here.controls / "STOP").unlink()
    here.minutes("10:46", "10:52")
    assert here.held("BBB") == 5


def test_stop_file_keeps_positions_at_the_close_and_reports_them(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}})
    here.minutes("10:31", "10:35")
    (here.controls / "STOP").touch()
    here.minutes("15:54", "15:59")
    here.close_day()
    assert here.held("AAA") == 5
    assert [event["symbol"] for event in here.events("not_flat")] == ["AAA"]


def test_flatten_file_closes_all_positions_and_ends_the_run(tmp_path: Path) -> None:
    ended: list[str] = []
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}, "10:36": {"BBB": 0.9}})
    here.trader.on_flat = lambda: ended.append("ended")
    here.minutes("10:31", "10:35")
    (here.controls / "FLATTEN").touch()
    here.tick("10:36")
    assert ended == []  # sold, but the position is not yet confirmed closed
    here.tick("10:37")
    assert ended == ["ended"]
    assert here.held("AAA") == here.held("BBB") == 0
    assert here.trade().exit_reason == "FLATTEN"
    here.check_books()


def test_stop_file_sends_nothing_even_if_a_leg_is_lost(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}})
    here.minutes("10:31", "10:35")
    here.broker.cancel(here.trade().stop_order_id or "")
    (here.controls / "STOP").touch()
    sent = here.wire.count("POST") + here.wire.count("PATCH") + here.wire.count("DELETE")
    here.minutes("10:36", "10:38")
    here.restart()
    here.minutes("15:54", "15:59")
    here.close_day()
    assert here.wire.count("POST") + here.wire.count("PATCH") + here.wire.count("DELETE") == sent
    assert (here.held("AAA"), here.open_orders("AAA")) == (5, [])
    (here.controls / "STOP").unlink()


def test_daily_loss_counts_what_the_account_lost_elsewhere(tmp_path: Path) -> None:
    """1,000 shares that the trader did not buy fall by $1."""
    falls = [(f"10:{minute}", 9.0, 9.0, 9.0, 9.0) for minute in range(34, 45)]
    here = world(tmp_path, *falls, signals={"10:40": {"BBB": 0.8}}, MAX_DAILY_LOSS_PCT=0.005)
    owner = TradingClient("other", "other", paper=True, url_override=ORIGIN)
    mount(owner, here.exchange.app, ORIGIN)
    here.at("10:30")
    owner.submit_order(MarketOrderRequest(symbol="AAA", qty=1000, side=OrderSide.BUY, time_in_force=TimeInForce.DAY))
    here.minutes("10:31", "10:41")
    assert [event["rule"] for event in here.events("not_bought")] == ["daily_loss"]


@pytest.mark.parametrize("said", ["truth", None, "0", "-5", "40000", "abc", []])
def test_daily_loss_counts_a_position_of_yesterday_that_was_sold_today(tmp_path: Path, said: object) -> None:
    """5 shares fall from $10 to $8 in the night; `said`: what the account began with, by the broker."""
    bars = {"AAA": {MONDAY: DAY, TUESDAY: flat("09:30", "09:40", 8.0)}, "BBB": {MONDAY: DAY, TUESDAY: DAY}}
    signals = {"10:31": {"AAA": 0.8}, "09:35": {"BBB": 0.8}}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), signals)
    here.guards = [DailyLossRule(0.00009)]  # $9 of $100,000
    here.restart()
    here.minutes("10:31", "10:32")
    here.broker.clients.trading.cancel_orders()
    if said != "truth":
        here.wire.faults = [Fault("GET /v2/account", edited(lambda body: body | {"last_equity": said}), times=None)]
    here.at("09:30", TUESDAY)
    here.restart()
    here.trader.opened(here.session)
    here.minutes("09:31", "09:36")
    assert here.trade("AAA").exit_day == TUESDAY and here.held("BBB") == 0
    assert [(event["symbol"], event["rule"]) for event in here.events("not_bought")] == [("BBB", "daily_loss")]
    assert len(here.events("reply_refused")) == (said not in ("truth", None))


def test_a_partly_sold_trade_loses_by_its_fills_and_its_price() -> None:
    trade = Trade("AAA", 5, D("10"), NOON, 0.7, D("9.80"), D("10.40"), sold_qty=3, sold_amount=D("27"))
    assert losses_of([trade], {"AAA": D("12")}).pnl == D("1")  # 3 sold at $9, 2 held at $12


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 1)), max_size=12))
def test_losses_in_a_row_are_those_since_the_last_trade_without_a_loss(trades: list[tuple[int, int]]) -> None:
    run = 0
    for _, pnl in sorted(trades, key=lambda trade: trade[0]):  # of one instant in their order
        run = run + 1 if pnl < 0 else 0
    assert losses_in_a_row([at for at, _ in trades], [pnl for _, pnl in trades]) == run


@given(st.integers(-(10**17), 10**17), st.integers(0, 10**9))
def test_a_share_of_an_amount_is_exact(amount: int, parts: int) -> None:
    assert part_of(amount, Share(parts, 10**9)) == amount * parts // 10**9
