"""A day without a trade says why in one line: best confidence, threshold, and what refused how many stocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import Fault, TradingWorld, flat, page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STOCKS = ("AAA", "BBB", "CCC")


def world(folder: Path, signals: Mapping[str, Mapping[str, float]], **prices: float) -> TradingWorld:
    bars = {symbol: {MONDAY: flat("09:30", "15:59")} for symbol in STOCKS}
    made = TradingWorld(folder, bars, ny(MONDAY, "09:30"), signals, prices)
    made.trader.recover()
    made.trader.opened(made.session)
    return made


def why(here: TradingWorld) -> dict[str, Any]:
    here.tick("15:59")
    here.close_day()
    (event,) = here.events("no_trade")
    return event


def test_the_best_confidence_and_the_threshold(tmp_path: Path) -> None:
    here = world(tmp_path, {"10:31": {"AAA": 0.4, "BBB": 0.512}, "10:32": {"AAA": 0.5}})
    here.minutes("10:31", "10:33")
    assert why(here)["why"] == (
        "the best confidence was 0.512 (BBB at 10:31), the threshold is 0.65. 3 stocks were considered; all 3 stayed "
        "below the threshold."
    )


def test_each_rule_counts_the_stocks_that_it_refused(tmp_path: Path) -> None:
    here = world(tmp_path, {"10:31": {"AAA": 0.8, "BBB": 0.7}, "10:32": {"AAA": 0.9}}, AAA=25.0)
    here.wire.faults.append(Fault("POST /v2/orders", page(403, '{"code": 40310000, "message": "no"}'), None))
    here.minutes("10:31", "10:33")
    found = why(here)
    assert found["refused"] == {"threshold": 1, "entry_refused": 1, "price": 1}
    assert found["why"] == (
        "the best confidence was 0.900 (AAA at 10:32), the threshold is 0.65. 3 stocks were considered; 1 stayed below "
        "the threshold, 1 refused by entry_refused, 1 refused by price."
    )


def test_a_restart_during_the_day_forgets_nothing(tmp_path: Path) -> None:
    here = world(tmp_path, {"10:31": {"AAA": 0.8}, "10:41": {"BBB": 0.1}}, AAA=25.0)
    here.minutes("10:31", "10:33")
    here.restart()
    here.minutes("10:41", "10:42")
    found = why(here)
    assert (found["best"][:2], found["predictions"], found["refused"]["price"]) == (["AAA", 0.8], 2, 1)


def test_a_signal_from_too_old_a_bar_is_counted(tmp_path: Path) -> None:
    here = world(tmp_path, {})
    one = here.script.predict
    here.script.signals = {"10:31": {"AAA": 0.8}}
    here.script.predict = lambda *given: [  # type: ignore[method-assign]
        prediction._replace(stale=True, meets_threshold=False) for prediction in one(*given)
    ]
    here.tick("10:31")
    assert why(here)["refused"] == {"threshold": 2, "bar_age": 1}


def test_a_day_without_a_prediction_says_so(tmp_path: Path) -> None:
    assert why(world(tmp_path, {}))["why"] == "no prediction was made for any of 3 stocks"


def test_a_day_with_a_trade_says_nothing_of_it(tmp_path: Path) -> None:
    here = world(tmp_path, {"10:31": {"AAA": 0.8}})
    here.minutes("10:31", "10:33")
    here.minutes("15:55", "15:59")
    here.close_day()
    assert here.events("no_trade") == [] and len(here.events("day_closed")) == 1
