"""The figures of closed trades: against hand-computed examples, and against slow second computations."""

from __future__ import annotations

import tempfile
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.base.clock import NEW_YORK
from trading.performance.closed_trades import ClosedTrades
from trading.performance.execution_quality import execution_quality
from trading.performance.figures import Sessions, max_drawdown, of_returns, performance, ratios
from trading.performance.groups import KEYS, groups
from trading.performance.intervals import MIN_SESSIONS, draws, mean_per_trade
from trading.performance.logged_bars import logged_bars
from trading.performance.universe import (
    UNIVERSE_FILE,
    UniverseDay,
    UniversePrices,
    against_universe,
    hold_universe,
    read_universe,
    write_universe,
)
from trading.records.trade_log import Trade

MONDAY = date(2018, 3, 26)
DAYS = [MONDAY + timedelta(days=n) for n in range(3)]


def made(day: date, start: int, held: int, bought: str, sold: str | None, **changes: Any) -> Trade:
    """A trade that starts `start` minutes after 9:30 and is held for `held` minutes."""
    entry = datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK) + timedelta(minutes=start)
    fields: dict[str, Any] = {
        "symbol": "AAA", "qty": 10, "entry_price": Decimal(bought), "entry_time": entry, "confidence": 0.7,
        "stop_loss": Decimal("9.80"), "take_profit": Decimal("10.40"), "exit_reason": "END_OF_DAY", "model": "m1",
        "exit_price": None if sold is None else Decimal(sold),
        "exit_time": None if sold is None else entry + timedelta(minutes=held),
    }  # fmt: skip
    return Trade(**(fields | changes))


FOUR = [
    made(DAYS[0], 0, 39, "10.00", "10.40", symbol="AAA", exit_reason="TAKE_PROFIT"),  # +4.00
    made(DAYS[0], 20, 39, "10.00", "9.80", symbol="BBB", exit_reason="STOP_LOSS"),  # -2.00
    made(DAYS[1], 0, 39, "10.00", "9.70", symbol="AAA", exit_reason="STOP_LOSS"),  # -3.00
    made(DAYS[2], 60, 39, "10.00", "10.20", symbol="BBB", confidence=0.65),  # +2.00
]


def closed(trades: list[Trade], cost: float = 0.001, ticks: float = 1.0) -> ClosedTrades:
    return ClosedTrades.of(trades, cost, ticks)


def sessions(trades: ClosedTrades, days: list[date] = DAYS, cash: float = 1000.0) -> Sessions:
    return Sessions.of(days, trades, {}, cash, np.full(len(days), 390.0))


def test_four_trades_by_hand() -> None:
    trades = closed(FOUR)
    found = performance(trades, sessions(trades), after_cost=False)
    assert (found.trades, found.won, found.sessions) == (4, 2, 3)
    assert found.result == pytest.approx(1.0) and found.equity == (1000.0, pytest.approx(1001.0))
    returns = np.array([2 / 1000, -3 / 1002, 2 / 999])
    assert found.total_return["value"] == pytest.approx(1002 / 1000 * 999 / 1002 * 1001 / 999 - 1)
    assert found.sharpe["value"] == pytest.approx(np.mean(returns) / np.std(returns, ddof=1) * 252**0.5)
    assert found.sortino["value"] == pytest.approx(np.mean(returns) / ((3 / 1002) ** 2 / 3) ** 0.5 * 252**0.5)
    assert found.max_drawdown["value"] == pytest.approx(3 / 1002)  # at the ends of sessions: 1002 to 999
    assert found.calmar["value"] == pytest.approx((1.001 ** (252 / 3) - 1) / (3 / 1002))
    assert found.profit_factor["value"] == pytest.approx(6 / 5)
    assert found.win_rate["value"] == 0.5 and found.expectancy["value"] == pytest.approx(0.25)
    assert found.expectancy_pct["value"] == pytest.approx((4 - 2 - 3 + 2) / 4)
    assert found.hold_minutes == 39 and found.exposure == pytest.approx((59 + 39 + 39) / 1170)
    assert found.turnover == pytest.approx(400 / (1000 + 1002 + 999))
    fall = found.drawdown  # 1004 after the first sale, 999 after the third, not made up
    assert fall.dollars == pytest.approx(5.0) and fall.fraction == pytest.approx(5 / 1004)
    assert fall.sessions == 3 and fall.recovered_ns is None
    assert all(getattr(found, name)["low"] is None for name in ("sharpe", "expectancy_pct", "win_rate"))


def test_trades_are_held_against_the_universe_of_the_same_sessions() -> None:
    days = [MONDAY + timedelta(days=n) for n in range(26)]
    own = [made(day, 30, 5, "10.00", f"{10 + (n % 4 - 1) / 10:.2f}") for n, day in enumerate(days)]
    universe = [UniverseDay(day, 5, 0.1, (n % 3) / 10) for n, day in enumerate(days[:-1])]
    far = made(days[-1], 0, 5, "10.00", "90.00")  # its session has no universe
    found = against_universe(closed([*own, own[0], far], ticks=0.0, cost=0.0), universe[::-1])
    assert found is not None and (found.sessions, found.trades) == (25, 26)
    each = [(n % 4 - 1) for n in range(25)] + [-1]
    assert found.own["value"] == pytest.approx(np.mean(each))
    assert found.held["value"] == pytest.approx(np.mean([(n % 3) / 10 for n in range(25)]))
    assert found.difference["value"] == pytest.approx(found.own["value"] - found.held["value"])
    per_session = np.array([(n % 4 - 1) - (n % 3) / 10 for n in range(25)])
    low, high = found.difference["low"], found.difference["high"]
    assert low is not None and high is not None and low < found.difference["value"] < high
    assert high - low == pytest.approx(2 * 1.96 * per_session.std() / 5, rel=0.1)
    assert against_universe(closed([far]), universe) is None and against_universe(closed(own), []) is None


PRICES = st.floats(0.0001, 1e6)
MORNINGS = st.dictionaries(
    st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.dictionaries(st.text(max_size=6), st.tuples(PRICES, PRICES))
)


@given(MORNINGS)
@settings(max_examples=30)
def test_prices_of_the_universe_are_read_as_they_were_written(mornings: dict[date, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert read_universe(Path(folder)) == []
        pairs = {day: np.array(list(stocks.values())).reshape(-1, 2) for day, stocks in mornings.items()}
        write_universe(
            Path(folder),
            [UniversePrices(day, tuple(mornings[day]), pairs[day][:, 0], pairs[day][:, 1]) for day in pairs],
        )
        found = {one.day: one for one in read_universe(Path(folder))}
    assert found.keys() == mornings.keys()
    for day, one in found.items():
        assert dict(zip(one.symbols, zip(one.bought, one.sold, strict=True), strict=True)) == mornings[day]


@pytest.mark.parametrize("text", [
    "[]", "{", '{"2018-03-26": []}', '{"2018-03-26": {"A": [1]}}', '{"2018-03-26": {"A": [1, 0]}}',
    '{"2018-03-26": {"A": [1, NaN]}}', '{"2018-03-26": {"A": [true, 1]}}', '{"2018-03-26": {"A": ["1", 1]}}',
    '{"20180326": {}}', '{"x": {}}', '{"2018-03-26": {"A": [1, 1e300]}}', "[" * 100_000,
])  # fmt: skip
def test_a_damaged_file_of_the_universe_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / UNIVERSE_FILE).write_text(text)
    with pytest.raises(ValueError):
        read_universe(tmp_path)


def test_a_night_is_no_trading_time() -> None:
    days = [*DAYS, MONDAY + timedelta(days=3)]
    overnight = made(DAYS[0], 385, 0, "10.00", "10.10", exit_time=datetime(2018, 3, 27, 9, 35, tzinfo=NEW_YORK))
    inside = made(DAYS[2], 60, 34, "20.00", "20.10")
    trades = closed([overnight, inside])
    found = performance(trades, sessions(trades, days), after_cost=False)
    assert found.exposure == pytest.approx((5 + 5 + 34) / 1560)
    equity = (1000 + 1000 + 1001 + 1002) / 4
    assert found.invested == pytest.approx((100 * 10 + 200 * 34) / 1560 / equity)
    later = closed([overnight])  # bought before the range: its first session is not counted
    assert performance(later, sessions(later, days[1:]), after_cost=False).exposure == pytest.approx(5 / 1170)
    long = closed([made(DAYS[0], 385, 0, "10.00", "10.10", exit_time=datetime(2018, 3, 29, 9, 35, tzinfo=NEW_YORK))])
    assert performance(long, sessions(long, days), after_cost=False).exposure == pytest.approx(790 / 1560)


@pytest.mark.parametrize(("recovery", "length"), [(28, 29), (None, 30)])
def test_a_fall_lasts_the_sessions_without_a_sale_too(recovery: int | None, length: int) -> None:
    days = [MONDAY + timedelta(days=n) for n in range(30)]
    own = [made(days[0], 0, 5, "10.00", "10.50"), made(days[1], 0, 5, "10.00", "9.00")]
    own += [] if recovery is None else [made(days[recovery], 0, 5, "10.00", "12.00")]
    trades = closed(own)
    fall = performance(trades, sessions(trades, days), after_cost=False).drawdown
    assert fall.sessions == length and (fall.recovered_ns is None) == (recovery is None)
    lost = closed([made(days[9], 0, 5, "10.00", "9.00")])  # the peak is the equity at the start of the range
    of_range = sessions(lost, days)
    fall = performance(lost, of_range, after_cost=False).drawdown
    assert (fall.sessions, fall.peak_ns) == (30, int(of_range.opens[0]))


def test_sums_and_means_over_sessions_have_intervals() -> None:
    days = [MONDAY + timedelta(days=n) for n in range(25)]
    own = [made(day, 30, 5 + n, f"{10 + n % 3}", f"{10 + n % 5}") for n, day in enumerate(days)]
    trades = closed(own, cost=0.01)
    found = performance(trades, sessions(trades, days), after_cost=True)
    for name in ("result", "cost", "exposure", "invested", "hold_minutes", "turnover"):
        one = getattr(found.intervals, name)
        assert one["value"] == pytest.approx(getattr(found, name)) and one["low"] < one["value"] < one["high"]
    held = np.arange(5.0, 30.0)  # one trade a session: the exposure is the mean of these by the length of a session
    half = 1.96 * held.std() / 25**0.5 / 390
    exposure = found.intervals.exposure
    assert exposure["high"] is not None and exposure["low"] is not None
    assert exposure["high"] - exposure["low"] == pytest.approx(2 * half, rel=0.1)
    few = closed(own[:19])
    assert performance(few, sessions(few, days[:19]), after_cost=True).intervals.exposure["low"] is None


def test_cost_is_charged_on_every_round_trip() -> None:
    trades = closed(FOUR, cost=0.002)
    found = performance(trades, sessions(trades), after_cost=True)
    # A cent of $10, half of the cost, is in the price of each fill.
    assert found.cost == pytest.approx(4 * 100 * 0.001) and found.result == pytest.approx(1.0 - found.cost)
    cheap = closed([made(DAYS[0], 0, 5, "2.00", "2.00")], cost=0.006)  # a tick of a cent is half a per cent of $2
    assert performance(cheap, sessions(cheap), after_cost=True).result == pytest.approx(-0.02)
    without = closed([made(DAYS[0], 0, 5, "2.00", "2.00")], ticks=0.0)
    assert performance(without, sessions(without), after_cost=True).result == pytest.approx(-0.02)


def test_an_open_trade_and_an_empty_range_give_no_figure_and_no_error() -> None:
    trades = closed([made(DAYS[0], 0, 5, "10.00", None)])
    found = performance(trades, sessions(trades), after_cost=True)
    assert found.trades == 0 and found.result == 0.0 and found.drawdown.dollars == 0.0
    assert found.win_rate["value"] is None and found.profit_factor["value"] is None and found.sharpe["value"] is None
    assert groups(trades, "day", sessions(trades).days) == []
    nothing = performance(trades, sessions(trades, []), after_cost=True)
    assert nothing.exposure is None and nothing.total_return["sessions"] == 0


A_TRADE = st.tuples(
    st.integers(0, 2), st.integers(0, 350), st.integers(0, 39), st.integers(900, 1100), st.integers(900, 1100),
    st.sampled_from(["AAA", "BBB", "C.C"]), st.sampled_from([0.6, 0.6499999, 0.65, 1.0]),
)  # fmt: skip


def drawn_trades(rows: list[tuple[Any, ...]]) -> list[Trade]:
    return [
        made(DAYS[d], s, h, f"{b / 100}", f"{e / 100}", symbol=name, confidence=c) for d, s, h, b, e, name, c in rows
    ]


@given(st.lists(A_TRADE, max_size=25))
@settings(max_examples=60)
def test_figures_agree_with_a_slow_second_computation(rows: list[tuple[Any, ...]]) -> None:
    own = drawn_trades(rows)
    trades = closed(own)
    found = performance(trades, sessions(trades), after_cost=False)
    held = {
        (t.entry_time + timedelta(minutes=m))
        for t in own
        for m in range(int(((t.exit_time or t.entry_time) - t.entry_time).seconds / 60))
    }
    assert found.exposure == pytest.approx(len(held) / 1170)
    equity, deepest = [1000.0], 0.0
    for one in sorted(own, key=lambda t: (t.exit_time, t.entry_time, t.symbol, "", "", t.qty)):
        equity.append(equity[-1] + float(one.pnl_amount or 0))
    for i in range(len(equity)):
        deepest = max(deepest, *(equity[i] - later for later in equity[i:]))
    if len({t.exit_time for t in own}) == len(own):  # the order of sales in one minute is not known
        assert found.drawdown.dollars == pytest.approx(deepest, abs=1e-6)
    for by in KEYS:
        parts = groups(trades, by, sessions(trades).days)
        assert sum(one.trades for one in parts) == found.trades
        assert sum(one.booked for one in parts) == pytest.approx(found.result, abs=1e-9)
        assert sum(one.won for one in parts) == performance(trades, sessions(trades), after_cost=True).won


RETURNS = st.floats(-0.2, 0.2).map(lambda one: round(one, 6))
"""Daily returns; one of 1e-160 loses its digits when it is squared."""


@given(st.lists(RETURNS, min_size=2, max_size=30), st.floats(0.1, 5.0))
def test_ratios_do_not_depend_on_the_stake_and_a_fall_lies_between_0_and_1(returns: list[float], stake: float) -> None:
    own, scaled = np.array(returns), stake * np.array(returns)
    for one, other in zip(ratios(own), ratios(scaled), strict=True):
        assert (not np.isfinite(one) and not np.isfinite(other)) or one == pytest.approx(other, rel=1e-3)
    assert 0.0 <= float(max_drawdown(own)) < 1.0
    assert float(max_drawdown(np.abs(own))) == 0.0


def test_intervals_begin_at_the_stated_number_of_sessions_and_are_seeded() -> None:
    random = np.random.default_rng(3)
    for n in (MIN_SESSIONS - 1, MIN_SESSIONS):
        totals, counts = random.normal(0.1, 1.0, (n, 2)), np.ones((n, 2))
        counts[3:, 1] = 0.0  # the second group has trades in three sessions alone
        first, second = mean_per_trade(totals, counts)
        assert (first["low"] is not None) == (n == MIN_SESSIONS) and second["low"] is None
        assert second["sessions"] == 3
        if first["low"] is not None and first["high"] is not None and first["value"] is not None:
            assert first["low"] < first["value"] < first["high"]
            # the normal approximation of a mean of 20 equally weighted sessions
            half = 1.96 * np.std(totals[:, 0]) / n**0.5
            assert first["high"] - first["low"] == pytest.approx(2 * half, rel=0.1)
        assert mean_per_trade(totals, counts)[0] == first


def test_a_figure_of_the_order_of_sessions_has_no_interval_that_leaves_it_out() -> None:
    steady = of_returns(np.tile([0.004, -0.003], 60))  # no draw of 120 has so small a fall
    fall = of_returns(np.repeat([0.004, -0.003], 20))  # and none so deep a one
    assert steady.calmar["value"] and fall.max_drawdown["value"]
    assert steady.calmar["low"] is steady.max_drawdown["low"] is fall.max_drawdown["low"] is None
    assert fall.calmar["low"] is not None and fall.sharpe["low"] is not None
    assert fall.calmar["low"] <= (fall.calmar["value"] or 0) <= (fall.calmar["high"] or 0)


def test_draws_count_every_session() -> None:
    assert draws(np.array([[0, 0, 2], [1, 1, 1]])).tolist() == [[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]


def test_a_band_and_a_week_begin_where_they_say() -> None:
    trades = closed([made(DAYS[0], 0, 1, "10.00", "10.00", confidence=c) for c in (0.65, 0.6499999, 0.7, 1.0)])
    assert [one.name for one in groups(trades, "confidence", np.array(DAYS, "datetime64[D]"))] == [
        "0.60-0.65", "0.65-0.70", "0.70-0.75", "0.95-1.00",
    ]  # fmt: skip
    friday = closed([made(date(2018, 3, 30), 0, 1, "10.00", "10.00")])
    assert groups(friday, "week", friday.day)[0].name == "2018-03-26"


def test_slippage_and_time_to_the_fill() -> None:
    decided = FOUR[0].entry_time - timedelta(seconds=58)
    one = made(
        DAYS[0], 0, 9, "10.00", "9.79", exit_reason="STOP_LOSS", decision_time=decided, decision_price=9.99,
        decision_bid=9.97, decision_ask=9.98,
    )  # fmt: skip
    found = {each.name: each for each in execution_quality([one])}
    assert found["time from decision to fill"].mean == 58.0
    assert found["fill above the price at the decision"].mean == pytest.approx(100 * (10 / 9.99 - 1))
    assert found["fill above the ask at the decision"].mean == pytest.approx(100 * (10 / 9.98 - 1))
    assert found["stop sold below its level"].mean == pytest.approx(100 * (1 - 9.79 / 9.80))
    assert execution_quality([made(DAYS[0], 0, 5, "10.00", None)]) == []


def test_the_bars_and_the_universe_of_a_day_come_from_its_predictions() -> None:
    def prediction(symbol: str, minute: str, price: float, **changes: Any) -> dict[str, Any]:
        known = {
            "symbol": symbol, "price": price, "timestamp": f"2018-03-26T{minute}:02-04:00",
            "bar_time": f"2018-03-26T{minute[:3]}{int(minute[3:]) - 1:02d}:00-04:00", "stale": False,
            "features": [price - 0.01, price + 0.02, price - 0.03, price, 100.0],
        }  # fmt: skip
        return known | changes

    records = [
        prediction("AAA", "10:02", 10.0), prediction("AAA", "10:32", 11.0), prediction("BBB", "10:02", 5.0),
        prediction("BBB", "10:32", 4.5), prediction("CCC", "10:02", 5.0), {"symbol": "DDD"},
        prediction("AAA", "10:40", 9.0, features=[1.0, 0.5, 2.0]),
    ]  # fmt: skip
    found = logged_bars(MONDAY, records)
    assert found.left_out == 2 and found.lag == {2: 5} and found.whole
    assert [bar[1:] for bar in found.of["AAA"]] == [(9.99, 10.02, 9.97, 10.0), (10.99, 11.02, 10.97, 11.0)]
    held = found.universe(0.001, 0.0)
    assert held is not None and held.stocks == 2 and held.before_cost_pct == pytest.approx(0.0)
    assert held.after_cost_pct == pytest.approx(-0.1)
    assert hold_universe(MONDAY, np.array([np.nan]), np.array([1.0]), 0.001, 0.0) is None
