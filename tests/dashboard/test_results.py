"""The results by day are those of the report, the equity is the broker's, and a day's trades can be taken along."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import Settings
from tests.app.report_logs import DAY, mark, ny, trade, write_day
from tests.dashboard.dashboard_world import still_open
from trading.base.clock import SimulatedClock
from trading.dashboard.results.by_day import results
from trading.dashboard.results.download import FIELDS, FORMULA, as_csv, cell, download
from trading.dashboard.state.live import Live, Places
from trading.records.journal import Journal
from trading.records.log_reader import LogReader

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path


LATER = DAY.replace(day=27)
EXITS = Settings.of(ROUND_TRIP_COST=0.01).exits  # a per cent, of which the fills contain a tick


def close(logs: Path, day: date, equity: str) -> None:
    """The end of a day as the trader writes it."""
    journal = Journal(logs, SimulatedClock(ny(day, "16:00:03")))
    journal.event("day_closed", trades=1, won=1, pnl_amount=1.95, equity=Decimal(equity))
    journal.close()


@pytest.fixture
def live(tmp_path: Path) -> Live:
    """Two days: 1.95 dollars booked on the first, 1.95 and -0.55 on the second, and a position that is still open."""
    logs = tmp_path / "logs"
    logs.mkdir()
    mark(logs)
    write_day(logs, DAY, still_open())
    write_day(logs, LATER, trade(LATER, "CCC", "11:00", "9.90", exit_reason="STOP_LOSS"))
    close(logs, DAY, "100001.95")
    return Live(Places(tmp_path / "data", tmp_path / "models", logs, tmp_path / "control"))


def test_each_day_has_its_result_before_and_after_cost_and_the_equity_of_the_broker(live: Live) -> None:
    with live.refreshed():
        page = results(live, EXITS)
    # 5 shares at 10.01: a per cent is 0.5005, and the fill contains 0.05 of it
    assert [(row.day, row.booked, row.after_cost, row.trades, row.equity) for row in page.rows] == [
        (str(LATER), "+$1.40", "+$0.50", "2, 1 won", "-"), (str(DAY), "+$1.95", "+$1.50", "1, 1 won", "$100,001.95"),
    ]  # fmt: skip
    assert page.lines[0].startswith("3 trades sold on 2 days: +$3.35 booked, +$2.00 after the assumed cost")
    curves = {one["name"]: one for one in page.figures["equity"]["data"]}
    assert curves["booked by the account"]["y"] == [0.0, 1.95, 3.9, 3.35]
    assert curves["after the assumed cost"]["y"][-1] == pytest.approx(2.0, abs=0.01)
    assert curves["equity after the close"]["y"] == [1.95] and curves["equity after the close"]["x"][0][:10] == str(DAY)


def test_what_the_account_gained_beside_its_trades_is_named(live: Live) -> None:
    close(live.places.logs, LATER, "100013.35")
    with live.refreshed():
        page = results(live, EXITS)
    assert (
        page.lines[1] == "The account went from $100,000.00 to $100,013.35. +$10.00 of that is not from these trades."
    )
    close(live.places.logs, LATER, "100003.35")
    with live.refreshed():
        assert results(live, EXITS).lines[1] == "The account went from $100,000.00 to $100,003.35."


@pytest.mark.parametrize("equity", ["NaN", "-1", "null", '"x"', "[]", "1e999"])
def test_an_impossible_equity_is_left_out_and_no_trade_is_no_error(live: Live, tmp_path: Path, equity: str) -> None:
    with open(live.places.logs / f"audit_{LATER}.jsonl", "a") as file:
        file.write(f'{{"time":"{LATER}T16:00:03-04:00","event":"day_closed","equity":{equity}}}\n')
    with live.refreshed():
        assert results(live, EXITS).rows[0].equity == "-"
    empty = Live(Places(tmp_path, tmp_path, tmp_path / "nothing", tmp_path))
    with empty.refreshed():
        assert results(empty, EXITS).rows == ()


HOSTILE = st.text(max_size=30) | st.builds(str.__add__, st.sampled_from(FORMULA), st.text(max_size=30))


@settings(max_examples=40)
@given(HOSTILE, HOSTILE, st.floats() | st.integers() | st.none())
def test_no_text_of_a_log_is_a_formula_in_the_csv_and_no_cell_leaves_its_column(
    model: str, reason: str, chance: float | None
) -> None:
    one = trade(DAY, model=model, exit_reason=reason, win_probability=chance, sell_order_ids=[model, reason])
    lines = list(csv.reader(io.StringIO(as_csv([one]).decode(), newline="")))
    assert lines[0] == list(FIELDS) and [len(line) for line in lines] == [len(FIELDS)] * 2
    for text, value in zip(lines[1], one.as_json().values(), strict=True):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        assert is_number or not text.startswith((*FORMULA, "\t", "\r", "\n")), text
    assert cell("=1+1") == "'=1+1" and cell(-1.35) == -1.35 and cell("\t=1") == "'=1"


def test_the_trades_of_a_day_are_downloaded_by_name_and_no_other_file_is(live: Live) -> None:
    with live.refreshed():
        found = download(live, f"trades_{DAY}.json")
        table = download(live, f"trades_{DAY}.csv")
        for name in ("trades_2018-03-28.csv", "trades_2018-13-26.csv", f"audit_{DAY}.json", f"../trades_{DAY}.json",
                     f"trades_{DAY}.json.gz", f"trades_{DAY}.csv\n", "trades_\uff12018-03-26.csv", ""):  # fmt: skip
            assert download(live, name) is None, name
        trades = LogReader(live.places.logs).trades([DAY])
    assert found is not None and table is not None
    assert orjson.loads(found.content) == [one.as_json() for one in trades]
    assert [line["symbol"] for line in csv.DictReader(io.StringIO(table.content.decode()))] == ["AAA", "BBB"]
