"""One definition of the audit's events: the code writes no other ones, and whoever reads them knows no other ones."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, get_args

from config import PROJECT
from trading.alerts.kinds import SOURCES
from trading.dashboard.state.audit_state import EXIT_ENDS, SETTLED
from trading.dashboard.views.status import PROTECTION
from trading.execution.orders.entry_orders import INTENT, NEVER_ARRIVED, NOT_FILLED
from trading.execution.orders.records import RENAMED
from trading.execution.orders.unread_sales import GONE
from trading.records.events.kinds import DAY, DISCREPANCIES, ENTRIES, EXITS, HOLDINGS, KINDS, LEARNING, RUN, TROUBLES
from trading.reports.against.sales import TROUBLE
from trading.reports.traded.minute_of_decision import BLOCKS, ENDS, OUTCOMES
from trading.schedule.timetable import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITERS = {"event": 0, "synced_event": 0, "commit": 0, "event_once": 0, "_emit": 0, "_report_once": 0, "_end": 1}
"""Function that writes an event -> the place of its name among the arguments."""

NAMED = {"GONE": GONE, "INTENT": INTENT, "NEVER_ARRIVED": NEVER_ARRIVED, "NOT_FILLED": NOT_FILLED, "RENAMED": RENAMED}

JOBS = {"found.job": set(get_args(Job)), "f'{found.job}_skipped'": {f"{job}_skipped" for job in get_args(Job)}}

PASSED_ON = {"event.name", "record"}
"""Of the scheduler's `_emit`, and records that are written already."""


def texts(name: ast.expr) -> set[str] | None:
    """The events that an expression stands for; None if the expression alone does not say."""
    match name:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=one, orelse=other):
            found = texts(one), texts(other)
            return None if found[0] is None or found[1] is None else found[0] | found[1]
    shown = ast.unparse(name)
    return {NAMED[shown]} if shown in NAMED else JOBS.get(shown)


def written_by(function: ast.FunctionDef) -> Iterator[str]:
    """The events that a function writes.  A writer may pass its own parameter on."""
    assigned = {one.targets[0].id: one.value for one in ast.walk(function)
                if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)}  # fmt: skip
    parameters = {one.arg for one in function.args.args}
    for call in ast.walk(function):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or call.func.attr not in WRITERS:
            continue
        place = WRITERS[call.func.attr]
        if len(call.args) <= place:
            continue
        name = call.args[place]
        shown = ast.unparse(name)
        if shown in PASSED_ON or (function.name in WRITERS and shown in parameters):
            continue
        found = texts(assigned[shown]) if shown in assigned else texts(name)
        assert found is not None, f"{function.name}: which event is {shown}?"
        yield from found


@cache
def written() -> frozenset[str]:
    found: set[str] = set()
    for path in (PROJECT / "trading").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                found.update(written_by(node))
    return frozenset(found)


def test_every_event_that_the_code_writes_is_defined_and_no_other() -> None:
    assert sorted(written() - KINDS.keys()) == []
    assert sorted(KINDS.keys() - written()) == []
    assert len(KINDS) == sum(map(len, (RUN, DAY, LEARNING, ENTRIES, EXITS, HOLDINGS)))  # none is defined twice


def test_alerts_reports_and_the_dashboard_know_no_other_events() -> None:
    for known in (SOURCES, SETTLED, EXIT_ENDS, PROTECTION, TROUBLE, BLOCKS, ENDS, ENDS.values(), OUTCOMES):
        assert set(known) <= KINDS.keys()
    assert DISCREPANCIES >= PROTECTION and {name for name in KINDS if KINDS[name].words} >= TROUBLES | DISCREPANCIES


TOLD_AS_ANOTHER = {
    "positions_disagree": "stock_disputed", "prices_disagree": "stock_disputed", "exit_refused": "stock_disputed",
    "reply_refused": "stock_disputed", "unclear": "stock_disputed", "unlisted_shares": "stock_disputed",
    "job_failed": "job_given_up", "flatten_by_file": "stopped",
}  # fmt: skip
"""A trouble without an alert -> the alert that follows if it lasts or matters."""

ACTS_OF_OTHERS = {"stopped_by_file", "external_position", "entry_refused", "entry_never_arrived", "clock_set_back",
                  "marks_not_written", "entry_intent_unreadable", "ticks_skipped"}  # fmt: skip
"""Troubles that need no alert: the owner did it, nothing was bought, or the trader goes on alone."""


def test_every_trouble_is_an_alert_or_it_is_said_why_not() -> None:
    assert set(TOLD_AS_ANOTHER.values()) <= SOURCES.keys()
    assert TROUBLES - SOURCES.keys() == TOLD_AS_ANOTHER.keys() | ACTS_OF_OTHERS
