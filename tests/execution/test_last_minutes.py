"""A start shortly before the close, by our calendar or by the broker's, sells what is held in time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.execution.test_broker_time import closes_at
from tests.execution.test_containment import STOCKS, holding
from tests.execution.trading_world import Fault, TradingWorld

if TYPE_CHECKING:
    from pathlib import Path

    from trading.base.calendar import Session


@pytest.mark.parametrize(("started", "close"), [("15:59:20", "16:00"), ("15:55:10", "16:00"), ("12:59:05", "13:00")])
def test_a_start_in_the_last_minutes_sells_without_waiting_for_a_minute(
    tmp_path: Path, started: str, close: str
) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("GET /v2/calendar", closes_at(close), times=None)]
    here.at(started)
    here.restart()
    here.at(f"{started[:5]}:59")
    assert [here.held(symbol) for symbol in STOCKS] == [0, 0, 0]


@pytest.mark.parametrize(("started", "close"), [("15:54:40", "16:00"), ("12:49:00", "13:00"), ("12:59:05", "16:00")])
def test_a_start_before_that_sells_nothing(tmp_path: Path, started: str, close: str) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("GET /v2/calendar", closes_at(close), times=None)]
    here.at(started)
    here.restart()
    assert [here.held(symbol) for symbol in STOCKS] == [5, 5, 5]


def slow_universe(here: TradingWorld) -> None:
    """Let the choice of the stocks take eight minutes."""

    def choose(session: Session) -> list[str]:
        here.clock.sleep_until(here.clock.now() + timedelta(minutes=8))
        return [*STOCKS]

    here.universe = choose


def test_no_choice_of_stocks_delays_the_sale_of_what_is_held(tmp_path: Path) -> None:
    here = holding(tmp_path)
    slow_universe(here)
    here.at("15:53:10")
    here.restart()
    here.tick("15:54")
    day = here.trader.day
    assert day is not None and day.held_only == {*STOCKS} and here.events("universe_skipped")
    here.tick("15:55", "15:56")
    assert [here.held(symbol) for symbol in STOCKS] == [0, 0, 0]
    here.check_books()


def test_stocks_are_chosen_where_nothing_is_held_or_time_is_left(tmp_path: Path) -> None:
    here = holding(tmp_path)
    slow_universe(here)
    here.at("15:10")
    here.restart()
    here.tick("15:11")
    assert here.trader.day is not None and not here.trader.day.held_only and not here.events("universe_skipped")
