"""Live against backtest: which trades belong together, and the reason of each difference from hand-made logs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.app.report_logs import DAY, STOCKS, ny, trade, write_day
from trading.backtest.engine.signals import Predictions
from trading.base.calendar import new_york_calendar
from trading.base.clock import to_ns
from trading.market.bars import Bars
from trading.records.log_reader import LogReader
from trading.reports.against.logged_day import LoggedDay
from trading.reports.against.material import (
    BacktestDay,
    ComparedDay,
    ComparedTrade,
    Comparison,
    Reason,
    explained,
    matched,
)
from trading.reports.against.reasons import Reasons
from trading.reports.against.words import as_json, total_pnl, verdict

if TYPE_CHECKING:
    from trading.records.trade_log import Trade

SESSION = new_york_calendar().session(DAY)
MODEL = "20180323_200000"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LogReader:
    folder = tmp_path_factory.mktemp("against")
    write_day(folder)
    return LogReader(folder)


def backtest(*trades: Trade, confidence: float = 0.71, **changes: Any) -> BacktestDay:
    """A backtest that has the bars of 10:30 and 10:31 as logged, and one confidence for every stock at 10:31."""
    starts = np.array([to_ns(ny(DAY, "10:30")), to_ns(ny(DAY, "10:31"))])
    open_, high, low, close = (np.array([one, one + 0.1]) for one in (9.99, 10.02, 9.97, 10.0))
    bars = Bars(starts, open_, high, low, close, np.array([100.0, 100.0]))
    n = len(STOCKS)
    said = np.full(n, confidence)
    predictions = Predictions(
        MODEL, tuple(STOCKS), np.arange(n, dtype=np.int32), np.full(n, 60, np.int32), np.full(n, 10.0), said, said
    )
    known = BacktestDay(
        SESSION, MODEL, frozenset(STOCKS), predictions, True, dict.fromkeys(STOCKS, bars), trades, 10, False
    )
    return replace(known, **changes)


def reason(reader: LogReader, live: Trade | None, other: Trade | None, day: BacktestDay | None = None) -> Reason:
    """The reason of one difference."""
    alone = [[one] if one is not None else [] for one in (live, other)]
    trades = matched(DAY, *alone)
    known = day or backtest(*alone[1])
    logged = LoggedDay(reader, DAY, frozenset(one.symbol for one in trades))
    (found,) = explained(trades, Reasons(logged, known, trades).of)
    assert found.reason is not None
    return found.reason


def of(symbol: str, decided: str = "10:31", **changes: Any) -> Trade:
    return trade(DAY, symbol, f"{ny(DAY, decided) + timedelta(minutes=1):%H:%M}", **changes)


@pytest.mark.parametrize(("symbol", "decided", "kind", "words"), [
    ("AAA", "10:31", "logs", "as bought at $10.01; the trade log lacks it"),
    ("BBB", "10:31", "follows", "10 of 10 positions are taken (the rule for the most positions"),
    ("CCC", "10:31", "bars", "confidence 0.4123, in the backtest 0.7100"),
    ("DDD", "10:31", "late bars", "the newest bar that the trader had was of 10:20"),
    ("NEW", "10:31", "late bars", "the trader had no prediction of it"),
    ("AAA", "09:31", "late bars", "no stock had a prediction"),
    ("AAA", "10:40", "control file", "a STOP file was there"),
    ("ZZZ", "10:31", "universe", "not among the 5 stocks"),
])  # fmt: skip
def test_what_only_the_backtest_trades_has_its_reason(
    reader: LogReader, symbol: str, decided: str, kind: str, words: str
) -> None:
    found = reason(reader, None, of(symbol, decided))
    assert found.kind == kind and words in found.text


@pytest.mark.parametrize(("changes", "kind", "words"), [
    ({"universe": frozenset({"BBB"})}, "universe", "not among the stocks that data/ gives"),
    ({"model": "20180322_200000"}, "model", f"model {MODEL} decided it, 20180322_200000 served"),
    ({"bars": {}}, "bars", "data/ has no bar of 10:30"),
    ({"confidence": 0.6}, "bars", "confidence 0.7100, in the backtest 0.6000"),
    ({"most_positions": 1, "trades": [of("BBB", "10:31")]}, "follows", "all 1 positions of the backtest were taken"),
    ({"most_positions": 0}, "follows", "all 0 positions of the backtest were taken"),
    ({"trades": [of("AAA", "10:12", sold=None)]}, "follows", "still held it, from its purchase of 10:12"),
    ({}, "not explained", ""),
])  # fmt: skip
def test_what_is_only_traded_live_has_its_reason(
    reader: LogReader, changes: dict[str, Any], kind: str, words: str
) -> None:
    found = reason(reader, of("AAA"), None, backtest(**changes))
    assert found.kind == kind and words in found.text


LATER = ny(DAY, "10:31:02") + timedelta(seconds=3)


@pytest.mark.parametrize(("changes", "behaviour", "kind", "words"), [
    ({"entry_price": Decimal("10.02")}, False, "logs", "the trade log says bought at $10.02, the audit $10.01"),
    ({"qty": 3}, False, "parts", "3 of 5 shares were filled"),
    ({"exit_reason": "FLATTEN"}, False, "control file", "FLATTEN file"),
    ({"exit_reason": "SOLD_BY_OTHERS"}, False, "other sale", "not the trader's"),
    ({"exit_price": Decimal("10.3967")}, False, "parts", "sold in parts"),
    ({"exit_price": Decimal("10.41")}, True, "fill", "sold at $10.41 as TAKE_PROFIT, in the backtest at $10.40"),
    ({"exit_price": Decimal("10.41")}, False, "control file", "a STOP file was there"),
    ({"exit_price": None, "exit_time": None, "exit_reason": None}, False, "control file", "and noted no sale"),
])  # fmt: skip
def test_what_both_trade_in_another_way_has_its_reason(
    reader: LogReader, changes: dict[str, Any], behaviour: bool, kind: str, words: str
) -> None:
    """The STOP file of these logs, from 10:33 on, is the last resort of an exit that nothing else explains."""
    live = of("AAA", **changes)
    if behaviour:
        live.exit_time = ny(DAY, "10:32:30")
    other = of("AAA", exit_time=ny(DAY, "10:32:30")) if behaviour else of("AAA")
    found = reason(reader, live, other, backtest(other, draws_behaviour=behaviour))
    assert found.kind == kind and words in found.text


def test_what_is_not_sold_before_a_stop_file_has_another_reason(reader: LogReader) -> None:
    other = of("AAA", exit_time=ny(DAY, "10:32:30"))
    found = reason(reader, of("AAA", exit_price=None, exit_time=None, exit_reason=None), other)
    assert found.kind == "not filled" and "was not sold by the close" in found.text


def test_a_stop_that_slips_is_no_matter_of_bars(reader: LogReader) -> None:
    """Also where a bar was changed meanwhile: the stop rests at the exchange, which knows no late bars."""
    stopped: dict[str, Any] = {"exit_reason": "STOP_LOSS", "exit_time": ny(DAY, "10:35:30")}
    other = of("AAA", exit_price=Decimal("9.81"), **stopped)
    drawn = backtest(other, draws_behaviour=True)
    bars = drawn.bars["AAA"]
    drawn = replace(drawn, bars={"AAA": replace(bars, close=bars.close + 0.01)})
    for sold, words in (("9.78", "filled below the bid"), ("9.796", "filled below the bid, its shares in parts")):
        found = reason(reader, of("AAA", exit_price=Decimal(sold), **stopped), other, drawn)
        assert found.kind == "slippage" and words in found.text
    later = {**stopped, "exit_time": ny(DAY, "10:39:30")}
    assert reason(reader, of("AAA", exit_price=Decimal("9.78"), **later), other, drawn).kind == "bars"


def test_a_later_decision_and_a_changed_bar_explain_another_price(reader: LogReader) -> None:
    other = of("AAA", entry_price=Decimal("10.03"), decision_time=LATER - timedelta(seconds=5))
    found = reason(reader, of("AAA", decision_time=LATER), other)
    assert found.kind == "late bars" and "decided 5 s later" in found.text
    known = backtest(other)
    bars = known.bars["AAA"]
    dearer = replace(known, bars={"AAA": replace(bars, close=bars.close + 0.01)})
    found = reason(reader, of("AAA"), other, dearer)
    assert found.kind == "bars" and "the close of the bar of 10:30 was $10.00, in data/ $10.01" in found.text


TRADES = st.lists(
    st.tuples(st.sampled_from(STOCKS), st.integers(35, 59), st.integers(1, 5), st.integers(980, 1040)),
    max_size=12, unique_by=lambda one: one[:2],
)  # fmt: skip


def made(drawn: list[tuple[str, int, int, int]]) -> list[Trade]:
    return [trade(DAY, symbol, f"10:{m}", str(Decimal(sold) / 100), qty=qty) for symbol, m, qty, sold in drawn]


@given(TRADES, TRADES)
def test_every_trade_stands_once_and_no_dollar_is_lost(
    ours: list[tuple[str, int, int, int]], theirs: list[tuple[str, int, int, int]]
) -> None:
    live, other = made(ours), made(theirs)
    found = matched(DAY, live, other)
    assert sorted(map(id, live)) == sorted(id(one.live) for one in found if one.live is not None)
    assert sorted(map(id, other)) == sorted(id(one.backtest) for one in found if one.backtest is not None)
    for side, trades in (("live", live), ("backtest", other)):
        assert total_pnl(found, side) == sum((one.pnl_amount or Decimal(0) for one in trades), Decimal(0))
    assert sum(one.is_equal for one in found) == len(set(ours) & set(theirs))
    told = explained(found, lambda one: Reason("not explained", ""))
    assert all((one.reason is None) == one.is_equal for one in told)


def test_the_verdict_comes_first_in_plain_words() -> None:
    def said(trades: list[ComparedTrade]) -> list[str]:
        return verdict(Comparison([ComparedDay(DAY, MODEL, trades)], {}, [], generated=False))

    live = [of(symbol) for symbol in STOCKS]
    same = matched(DAY, live, live)
    assert said(same)[0].startswith("The backtest trades what was traded: all 5 live trades")
    fewer = explained(matched(DAY, live, live[:4]), lambda one: Reason("late bars", "late"))
    assert said(fewer)[0] == "A backtest of these days is roughly right: it makes most of the same trades."
    assert "Of 5 live trades on 2018-03-26, 4 are in the backtest, and 4 (80%) have" in said(fewer)[1]
    assert "P&L apart: $1.95" in said(fewer)[1]
    assert "bars came late or were changed after the decision (1); not explained (0)" in said(fewer)[3]
    dearer = [of(symbol, entry_price=Decimal("10.02")) for symbol in STOCKS]
    other = explained(matched(DAY, live, dearer), lambda one: Reason("fill", "bought at another price"))
    assert said(other)[0].startswith("A backtest of these days shows what was bought, not what it earned")
    unknown = explained(matched(DAY, live, live[:4]), lambda one: Reason("not explained", ""))
    assert said(unknown)[0].startswith("Do not believe a backtest") and "not explained (1)" in said(unknown)[3]
    nothing = verdict(Comparison([], {DAY: "data/ has no bars of it"}, [], generated=False))
    assert "cannot be compared" in nothing[0] and f"Not compared: {DAY}, because data/ has no bars of it." in nothing


def test_days_that_differ_do_not_cancel_out_and_lower_the_verdict() -> None:
    """10 trades a day: nearly all in both; what one day has too much, the other lacks."""
    live = [trade(DAY, STOCKS[i % 5], f"10:{31 + i}", "10.05", qty=5) for i in range(10)]
    day = live[0].day + timedelta(days=1)

    def said(first: list[Trade], second: list[Trade]) -> tuple[list[str], dict[str, Any]]:
        days = [
            ComparedDay(at, MODEL, explained(matched(at, live, other), lambda one: Reason("fill", "another price")))
            for at, other in ((DAY, first), (day, second))
        ]
        compared = Comparison(days, {}, [], generated=False)
        return verdict(compared), as_json(compared)

    dearer, cheaper = (
        [replace(live[0], exit_price=Decimal(price)), *live[1:]] for price in ("10.25", "9.85")
    )  # $1.00 more, and $1.00 less
    lines, found = said(dearer, cheaper)
    assert lines[0].startswith("A backtest of these days can be believed") and "18 (90%) have" in lines[1]
    assert "apart: $2.00, the sum of the absolute differences by day" in lines[1]
    assert "net +$0.00" in lines[2]
    assert found["pnl_apart_absolute"] == pytest.approx(2.0)
    even = [replace(one, exit_price=one.entry_price) for one in live]  # earned nothing, which is no other sign
    assert said(even, cheaper)[1]["days_with_another_sign"] == []
    assert list(found["pnl_apart_by_day"].values()) == pytest.approx([-1.0, 1.0])
    lines, _ = said(dearer, [replace(one, exit_price=Decimal("10.06")) for one in cheaper[:2]] + cheaper[2:])
    assert lines[0].startswith("A backtest of these days is roughly right"), "85% are equal"
    lines, found = said(live, [replace(live[0], exit_price=Decimal("9.00")), *live[1:]])
    assert lines[0].startswith("A backtest of these days is roughly right: it makes most of the same trades.")
    assert lines[0].endswith(f" On {day} one gained and the other lost.") and found["days_with_another_sign"] == [
        str(day)
    ]
