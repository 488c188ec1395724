"""Did a trade reach its target first: one function, whether minutes, an evening or a row of the dataset asks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import ExitSettings
from tests.exchange.exchange_world import MONDAY, ny
from trading.base.calendar import new_york_calendar
from trading.base.clock import to_ns
from trading.features.session_bars import SessionBars, to_reply
from trading.market.bars import MINUTE_NS, Bars
from trading.records.trade_log import Trade
from trading.rules.labels import UNKNOWN, LabelRules, outcomes_and_labels
from trading.rules.trade_answers import UNDECIDED, Answer, answer, minute_of_entry, note, recorded_rules

SESSION = new_york_calendar().session(MONDAY)
FLATTEN = SESSION.flatten_at(5)
RULES = LabelRules.of(ExitSettings())


def bars(first: int, *rows: tuple[float, float, float]) -> Bars:
    """(open, high, low) of adjacent minutes from minute `first` of the session on."""
    start = to_ns(SESSION.open) + MINUTE_NS * np.arange(first, first + len(rows))
    open_, high, low = np.array(rows).T
    return Bars(start, open_, high, low, open_, np.full(len(rows), 100.0))


def trade(paid: str = "10.00", minute: int = 30, **changes: Any) -> Trade:
    """A trade that was entered in a minute of the session."""
    fields: dict[str, Any] = {
        "symbol": "AAA",
        "qty": 5,
        "entry_price": Decimal(paid),
        "entry_time": SESSION.open + timedelta(minutes=minute, seconds=3),
        "confidence": 0.7,
        "stop_loss": Decimal("9.80"),
        "take_profit": Decimal("10.40"),
        "label": "target_first",
        "label_target": 0.005,
        "label_stop": 0.02,
        "label_within_minutes": 0,
    }
    return Trade(**(fields | changes))


def asked(one: Trade, found: Bars, rules: LabelRules | None = None) -> Answer:
    rules = rules or recorded_rules(one)
    assert rules is not None
    return answer(one, found.open, found.high, found.low, found.start, FLATTEN, rules)


def at(minute: int) -> Any:
    return SESSION.open + timedelta(minutes=minute)


QUIET = (10.0, 10.04, 9.9)
UP, DOWN, BOTH = (10.0, 10.05, 10.0), (10.0, 10.0, 9.8), (10.0, 10.06, 9.79)
SOLD = {"exit_price": Decimal("9.99"), "exit_time": at(31) + timedelta(seconds=20), "exit_reason": "FLATTEN"}


@pytest.mark.parametrize(
    ("rows", "reached", "minute"),
    [
        ((QUIET, UP, DOWN), True, 31),
        ((QUIET, DOWN, UP), False, 31),
        ((QUIET, BOTH), False, 31),  # a bar that spans both levels hits the stop first
        ((QUIET, QUIET), None, None),
    ],
)
def test_the_first_level_that_a_bar_reaches_decides(rows: Any, reached: bool | None, minute: int | None) -> None:
    assert asked(trade(), bars(30, *rows)) == Answer(reached, None if minute is None else at(minute))


def test_without_a_touch_the_flatten_instant_decides() -> None:
    last = (FLATTEN - SESSION.open) // timedelta(minutes=1)
    assert asked(trade(), bars(last - 1, QUIET)) == UNDECIDED
    assert asked(trade(), bars(last - 1, QUIET, UP)) == Answer(False, FLATTEN)


def test_a_time_limit_runs_from_the_entry_although_its_minute_has_no_bar() -> None:
    within = trade(label_within_minutes=10)
    assert asked(within, bars(39, UP)) == Answer(True, at(39))
    assert asked(within, bars(40, UP)) == Answer(False, at(40))


@pytest.mark.parametrize(
    ("sale", "reached"),
    [
        ({"exit_price": Decimal("9.80"), "exit_reason": "STOP_LOSS"}, False),
        ({"exit_price": Decimal("9.83"), "exit_reason": "STOP_LOSS"}, False),  # filled better than the level it touched
        ({"exit_price": Decimal("10.40"), "exit_reason": "TAKE_PROFIT"}, True),
        ({"exit_price": Decimal("10.05"), "exit_reason": "FLATTEN"}, True),
        ({"exit_price": Decimal("10.04"), "exit_reason": "FLATTEN"}, None),
        ({"exit_price": None, "exit_reason": "NOT_AT_BROKER"}, None),
    ],
)
def test_a_fill_decides_what_the_bars_do_not_show(sale: dict[str, Any], reached: bool | None) -> None:
    sold = trade(**(SOLD | sale))
    found = asked(sold, bars(30, QUIET, QUIET))
    assert found == (UNDECIDED if reached is None else Answer(reached, SOLD["exit_time"]))


def test_a_sale_that_decides_nothing_leaves_the_question_to_the_later_bars() -> None:
    sold = trade(**SOLD)
    assert asked(sold, bars(30, QUIET, QUIET, UP)) == Answer(True, at(32))
    assert asked(sold, bars(30, QUIET, QUIET, DOWN)) == Answer(False, at(32))


def test_a_stop_after_the_target_does_not_take_the_target_back() -> None:
    stopped = trade(exit_price=Decimal("9.80"), exit_time=at(33), exit_reason="STOP_LOSS")
    assert asked(stopped, bars(30, QUIET, UP, QUIET, DOWN)) == Answer(True, at(31))


def test_without_a_bar_the_sale_does_not_tell_what_came_before_it() -> None:
    assert asked(trade(**(SOLD | {"exit_reason": "STOP_LOSS"})), Bars.empty()) == UNDECIDED


def test_the_numbers_at_the_entry_decide_not_those_of_today() -> None:
    one = trade(label_target=0.01)
    found = bars(30, UP)
    assert asked(one, found) == UNDECIDED and asked(one, found, RULES) == Answer(True, at(30))


def test_a_trade_of_an_earlier_version_is_left_as_it_is() -> None:
    old, found = trade(label_target=None, label_stop=None, label_within_minutes=None), bars(30, UP)
    assert not note(old, found.open, found.high, found.low, found.start, FLATTEN)
    assert old.reached_target_first is None


prices = st.lists(st.integers(-6, 6), min_size=3, max_size=60)


@settings(max_examples=200, deadline=None)
@given(
    moves=prices,
    swings=st.lists(st.integers(0, 12), min_size=60, max_size=60),
    before_close=st.integers(0, 60),
    within=st.integers(0, 20),
    target=st.sampled_from([0.005, 0.0075, 0.01]),
    sold_after=st.none() | st.integers(0, 60 * 60),
    gaps=st.sets(st.integers(1, 58)),
    filled_at=st.sampled_from([0.0, 0.5, 3.0, 59.9]),
)
def test_minutes_an_evening_and_the_dataset_give_one_answer(
    moves: list[int],
    swings: list[int],
    before_close: int,
    within: int,
    target: float,
    sold_after: int | None,
    gaps: set[int],
    filled_at: float,
) -> None:
    """A decision on bar 0, the purchase at the open of bar 1; the minutes see one bar more each."""
    first = SESSION.minutes - len(moves) - before_close
    cents = 1000 + np.cumsum(moves)
    rows = [(c / 100, (c + s) / 100, (c - s) / 100) for c, s in zip(cents.tolist(), swings, strict=False)]
    whole = bars(first, *rows)
    whole = whole.take(np.array([i for i in range(len(rows)) if i < 2 or i not in gaps]))
    rules = replace(RULES, label_target=target, label_within_minutes=within)
    flattening = whole.start >= to_ns(FLATTEN)
    _, labels = outcomes_and_labels(
        whole.open, whole.high, whole.low, whole.start, np.zeros(len(whole), np.int64), flattening, rules
    )
    one = trade(
        str(round(rules.paid(float(whole.open[1])), 2)),
        entry_time=at(first + 1) + timedelta(seconds=filled_at),
        label_target=target,
        label_within_minutes=within,
    )
    since = whole.take(slice(1, None))
    evening = asked(one, since)
    if not flattening[1]:  # nothing is bought then, so the dataset has no label
        assert evening.reached == (None if labels[0] == UNKNOWN else bool(labels[0]))

    if sold_after is not None:  # at a price that the bars show, for a reason that proves no level
        sold_at = one.entry_time + timedelta(seconds=sold_after)
        inside = since.start <= to_ns(sold_at)
        low, high = float(since.low[inside][-1]), float(since.high[inside][-1])
        one.exit_time, one.exit_reason = sold_at, "FLATTEN"
        one.exit_price = Decimal(str(round((low + high) / 2, 2)))
        evening = asked(one, since)
    live = SessionBars(SESSION, ["AAA"])
    seen: list[Answer] = []
    for n in range(1, len(since) + 1):
        end = SESSION.open + timedelta(minutes=int((since.start[n - 1] - to_ns(SESSION.open)) // MINUTE_NS) + 1)
        live.take({"AAA": to_reply(since.take(slice(0, n)))}, end)
        known = live.since("AAA", minute_of_entry(one))
        if one.exit_time is None or one.exit_time <= end:
            seen.append(asked(one, known))
    decided = [found for found in seen if found != UNDECIDED]
    assert all(found == decided[0] for found in decided), "a decided answer stays"
    if decided or one.exit_time is None or one.exit_time <= end:
        assert (decided or [UNDECIDED])[0] == evening
    assert asked(one, known) in (evening, UNDECIDED)


@pytest.mark.parametrize(("entered", "reached"), [("10:00:59.9", True), ("10:01:00", None)])
def test_a_fill_on_the_full_minute_is_one_of_the_bar_that_begins_then(entered: str, reached: bool | None) -> None:
    one = trade(entry_time=ny(MONDAY, entered))
    assert asked(one, bars(30, UP, QUIET).since(minute_of_entry(one))).reached == reached
