"""What a run prints: the audit's events in words, the account on a terminal, a summary; and an output that breaks."""

from __future__ import annotations

import io
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from trading.base.clock import NEW_YORK
from trading.execution.snapshot import Row, Snapshot
from trading.records.trade_log import Trade, TradeLog
from trading.reports.console import Output, View, summary
from trading.reports.traded.words import dollars

if TYPE_CHECKING:
    from pathlib import Path

NINE = datetime(2025, 3, 7, 9, 59, 2, tzinfo=NEW_YORK)
ROWS = (Row("AMD", 5, Decimal("10.25"), 10.5, Decimal("10.05"), Decimal("10.66")),)


def record(event: str, at: datetime = NINE, **fields: object) -> dict:
    return {"time": at.isoformat(), "event": event, **fields}


def view(terminal: bool = False) -> tuple[View, io.StringIO]:
    out = io.StringIO()
    shown = View(Output(file=out, force_terminal=terminal, width=120), "a generated market")
    return shown, out


def snapshot(at: datetime) -> Snapshot:
    return Snapshot(at, Decimal("100001.25"), ROWS, 1, 4, 3, Decimal("-2.5"))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            record("bought", symbol="F", qty=5, price=0.85, stop=0.833, target=12.5),
            "bought 5 F at $0.8500, stop $0.8330, target $12.50",
        ),
        (
            record("sold", symbol="F", qty=5, price=10.5, reason="STOP_LOSS", pnl_amount=-1.05),
            "sold 5 F at $10.50: STOP_LOSS, P&L -$1.05",
        ),
        (
            record("day_closed", trades=2, won=1, pnl_amount=0.0, equity=100000.0),
            "day closed: 2 trades, 1 won, P&L +$0.00, equity $100,000.00",
        ),
        (
            record("day_closed", trades=2, won=1, pnl_amount=0.0, equity=1.0, equity_as_of="2025-03-07T15:31:09+00:00"),
            "day closed: 2 trades, 1 won, P&L +$0.00, equity $1.00 as of 10:31",
        ),
        (record("bought", symbol="F"), "event=bought, symbol=F"),  # a field is missing: shown as it is, never an error
    ],
)
def test_events_read_as_sentences_with_the_time_of_new_york(said: dict, words: str) -> None:
    shown, out = view()
    shown.event(said)
    assert out.getvalue() == f"2025-03-07 09:59:02  {words}\n"


def test_events_that_are_not_for_people_are_not_shown() -> None:
    shown, out = view()
    shown.event(record("entry_sent", symbol="F"))
    assert out.getvalue() == ""


def test_off_a_terminal_the_account_is_a_line_an_hour_before_what_happens_next() -> None:
    shown, out = view()
    shown.follow(lambda: snapshot(NINE), lambda: ("tick", NINE))
    for minutes in (1, 2, 3):
        shown.event(record("minute", NINE + timedelta(minutes=minutes)))
    shown.event(record("retrain", NINE + timedelta(hours=10)))  # that account is of the morning: not told again
    assert out.getvalue() == (
        "2025-03-07 09:59:02  1 open (+$1.25 by the newest bars), 1 in flight, 4 trades closed today (3 won, "
        "-$2.50), equity $100,001.25 by the broker's prices\n"
    )


def test_on_a_terminal_it_is_a_table_with_the_next_event() -> None:
    shown, out = view(terminal=True)
    shown.follow(lambda: snapshot(NINE), lambda: ("close", NINE.replace(hour=16, minute=0)))
    with shown:
        shown.refresh()
    text = out.getvalue()
    for words in ("a generated market; Fri 2025-03-07 09:59 New York", "AMD", "$10.25", "$10.66", "+$1.25"):
        assert words in text
    assert "next: close at Fri 16:00" in text


def test_long_lines_and_brackets_are_printed_as_they_are() -> None:
    out = io.StringIO()
    Output(file=out, width=40).say("[bold]" + "x" * 100)
    assert out.getvalue() == "[bold]" + "x" * 100 + "\n"


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_an_output_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    console = Output(file=FullDisk())
    shown = View(console, "a market")
    shown.event(record("bought", symbol="F", qty=5, price=1.0, stop=1.0, target=1.0))
    summary(TradeLog(tmp_path), NINE, console)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("minute", "Nothing was bought: the audit has the best prediction"),
        ("flatten_by_file", "Nothing was bought: the file FLATTEN was found, which ends buying and the run"),
        ("stopped_by_file", "Nothing was bought: the file STOP was found"),
    ],
)
def test_a_run_without_trades_says_why_or_where_to_read_it(tmp_path: Path, event: str, why: str) -> None:
    shown, out = view()
    shown.event(record(event, note="a note"))
    summary(TradeLog(tmp_path), NINE, Output(file=out, width=100), shown.no_entries)
    assert why in out.getvalue()


def test_a_guard_that_ends_buying_is_one_line_a_day_with_its_numbers_and_until_when() -> None:
    shown, out = view()
    reason = "the day has lost $1,012.30; the limit is 1% of the equity"
    for at in (NINE, NINE + timedelta(minutes=1), NINE + timedelta(days=1)):
        for symbol, rule in (("AAA", "positions"), ("BBB", "daily_loss"), ("CCC", "daily_loss")):
            shown.event(record("not_bought", at, symbol=symbol, rule=rule, reason=reason))
    lines = out.getvalue().splitlines()
    assert [line[:19] for line in lines] == ["2025-03-07 09:59:02", "2025-03-08 09:59:02"]
    assert f"nothing more is bought today: {reason}. Until the next session, unless" in lines[0]


def test_the_summary_counts_a_trade_on_the_day_of_its_sale(tmp_path: Path) -> None:
    def bought(day: int, symbol: str, sold: datetime | None) -> Trade:
        entry = NINE.replace(day=day)
        kept = Trade(symbol, 5, Decimal(10), entry, 0.7, Decimal("9.8"), Decimal("10.4"))
        kept.exit_time, kept.exit_price = sold, None if sold is None else Decimal(11)
        return kept

    log = TradeLog(tmp_path)
    for one in (bought(6, "AAA", NINE), bought(7, "BBB", NINE + timedelta(hours=1)), bought(7, "CCC", None)):
        log.add(one)
    out = io.StringIO()
    summary(log, NINE - timedelta(hours=3), Output(file=out, width=100))
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in out.getvalue().splitlines()]
    assert [row for row in rows if row and row[0] in ("2025-03-06", "2025-03-07", "all")] == [
        ["2025-03-07", "2", "2", "100%", "+$10.00", "1"], ["all", "2", "2", "100%", "+$10.00", "1"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("signals", "words"),
    [
        (
            3144,
            "newest 2 sessions: 3,144 signals at 65%, 67.2% came true (all rows 49.2%). What they earned is another "
            "figure: -0.51% each after cost (all rows -0.54%, against their minute +0.03%). Not compared.",
        ),
        (0, "newest 2 sessions: no signal at 65%; of all rows 49.2% came true. Not compared."),
    ],
)
def test_a_new_model_says_apart_what_came_true_and_what_it_earned(signals: int, words: str) -> None:
    shown, out = view()
    at = {"threshold": 0.65, "signals": signals, "precision": 0.672, "mean_outcome_after_cost_pct": -0.51}
    figures = {
        "at_min_confidence": at | {"mean_outcome_against_minute_pct": 0.03},
        "by_session": [{}, {}],
        "base_rate": 0.492,
        "mean_outcome_of_all_rows_after_cost_pct": -0.54,
    }
    shown.event(record("model_trained", model="T", figures=figures, reason="not compared"))
    assert out.getvalue() == f"2025-03-07 09:59:02  model T trained; {words}\n"


@pytest.mark.parametrize(("text", "shown"), [("-13.265", "-$13.26"), ("13.275", "+$13.28"), ("-0.005", "+$0.00")])
def test_half_a_cent_is_rounded_alike_in_a_float_and_a_decimal(text: str, shown: str) -> None:
    assert dollars(Decimal(text)) == dollars(float(text)) == shown
