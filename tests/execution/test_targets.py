"""Whether a trade reached its label's target first: noted while it is held, after it is sold, and after a restart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from paper_exchange import Behaviour
from tests.exchange.exchange_world import MONDAY, Row, ny
from tests.execution.trading_world import Fault, TradingWorld, flat, lost_before, page, with_bars

if TYPE_CHECKING:
    from pathlib import Path

DAY = flat("09:30", "15:59")
GAIN: Row = ("11:00", 10.0, 10.05, 10.0, 10.0)
LOSS: Row = ("11:10", 10.0, 10.0, 9.79, 10.0)
QUOTE = r"GET /v2/stocks/.*quotes"


def world(folder: Path, *changed: Row, **options: Any) -> TradingWorld:
    """A trader at 09:30 that buys AAA at 10:31, for $10.00."""
    bars = {"AAA": {MONDAY: with_bars(DAY, *changed)}}
    made = TradingWorld(folder, bars, ny(MONDAY, "09:30"), {"10:31": {"AAA": 0.8}}, **options)
    made.trader.recover()
    made.trader.opened(made.session)
    return made


def written(folder: Path) -> dict[str, Any]:
    (record,) = json.loads((folder / "trades_2018-03-26.json").read_text())
    return record


def noted(folder: Path) -> tuple[bool | None, str | None]:
    """What the file says, at this moment: as a restarted trader would find it."""
    record = written(folder)
    time = record["target_first_time"]
    return record["reached_target_first"], None if time is None else time[11:16]


def test_a_gain_while_the_position_is_held(tmp_path: Path) -> None:
    here = world(tmp_path, GAIN, LOSS)
    here.minutes("10:31", "11:00")
    assert noted(tmp_path) == (None, None)
    here.tick("11:01")
    assert noted(tmp_path) == (True, "11:00") and written(tmp_path)["status"] == "OPEN"
    here.minutes("11:02", "11:13")
    assert noted(tmp_path) == (True, "11:00") and written(tmp_path)["exit_reason"] == "STOP_LOSS"


def test_a_stop_before_the_gain(tmp_path: Path) -> None:
    here = world(tmp_path, ("10:50", 10.0, 10.0, 9.79, 10.0), GAIN)
    here.minutes("10:31", "11:05")
    assert noted(tmp_path) == (False, "10:50")


def test_a_question_that_cannot_be_asked_ends_no_minute(tmp_path: Path) -> None:
    here = world(tmp_path, GAIN)
    here.minutes("10:31", "10:40")
    (trade,) = here.trader.positions.open
    trade.label_target = "half a per cent"  # type: ignore[assignment]
    before = here.trader.snapshot
    here.minutes("10:41", "11:05")
    assert trade.reached_target_first is None
    assert here.trader.snapshot is not before, "the minute went on to its end"


def test_the_numbers_in_force_at_the_entry_are_written_down(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:35")
    record = written(tmp_path)
    names = ("label", "label_target", "label_stop", "label_within_minutes")
    assert [record[name] for name in names] == ["target_first", 0.005, 0.02, 0]
    assert list(record).index("label") > 13


def test_a_trade_sold_too_early_is_decided_by_the_bars_after_it(tmp_path: Path) -> None:
    here = world(tmp_path, GAIN)
    here.minutes("10:31", "10:40")
    here.trader.positions.close(here.trade(), "FLATTEN")
    here.minutes("10:41", "10:59")
    assert written(tmp_path)["exit_reason"] == "FLATTEN" and noted(tmp_path) == (None, None)
    here.minutes("11:00", "11:01")
    assert noted(tmp_path) == (True, "11:00")


def test_a_restart_loses_nothing_and_finds_what_came_meanwhile(tmp_path: Path) -> None:
    here = world(tmp_path, GAIN, LOSS)
    here.minutes("10:31", "10:45")
    here.at("11:30")
    here.restart()
    here.tick("11:31", "11:32")
    assert noted(tmp_path) == (True, "11:00")
    assert written(tmp_path)["exit_reason"] == "STOP_LOSS"
    here.restart()
    assert here.trade().reached_target_first is True


def test_a_day_that_ends_without_either_is_a_no(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    here.minutes("15:50", "15:59")
    here.close_day()
    assert noted(tmp_path) == (False, "15:55")


# -- the quote at the decision -----------------------------------------------------------------------------------------


def test_the_quote_at_the_decision_is_in_the_trade_and_costs_one_request(tmp_path: Path) -> None:
    here = world(tmp_path, spread_ticks=1)
    here.minutes("10:31", "10:40")
    record = written(tmp_path)
    assert (record["decision_bid"], record["decision_ask"], record["entry_price"]) == (10.0, 10.01, 10.01)
    assert here.wire.count(QUOTE) == 1


def test_a_restart_between_order_and_fill_keeps_the_quote(tmp_path: Path) -> None:
    here = world(tmp_path, spread_ticks=1, behaviour=Behaviour(latency=40))
    here.tick("10:31")
    assert not here.held()
    here.restart()
    here.tick("10:32")
    assert written(tmp_path)["decision_ask"] == 10.01


@pytest.mark.parametrize(
    "act",
    [
        lost_before,
        page(429, "{}"),
        page(403, '{"message": "forbidden."}'),
        page(200, "null"),
        page(200, '{"quotes": {}}'),
        page(200, '{"quotes": {"AAA": {"bp": 10.0, "ap": "much"}}}'),
        page(200, '{"quotes": {"AAA": {"bp": 0, "ap": 0}}}'),
        page(200, '{"quotes": {"AAA": {"bp": 10.0, "ap": 1e999}}}'),
    ],
)
def test_a_quote_that_fails_blocks_no_entry(tmp_path: Path, act: Any) -> None:
    here = world(tmp_path)
    here.wire.faults.append(Fault(QUOTE, act, None))
    here.minutes("10:31", "10:33")
    assert here.held() == 5
    assert written(tmp_path)["decision_bid"] is None
