"""The page Why: a stock and a minute, and the answer of report.py --why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from trading.base import written
from trading.base.clock import NEW_YORK
from trading.base.errors import UserError
from trading.dashboard.views.words import shown
from trading.records.log_reader import LogReader
from trading.reports.page import sentence
from trading.reports.traded.why import Question, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from config import Settings
    from trading.base.calendar import MarketCalendar

    SettingsOf = Callable[[LogReader, date], Settings]


@dataclass(frozen=True)
class WhyPage:
    """The question as it was asked, and the answer.

    Attributes:
        problem: why there is no answer; empty if there is one, or nothing was asked.
    """

    symbol: str = ""
    time: str = ""
    day: str = ""
    kind: str = ""
    lines: tuple[str, ...] = ()
    problem: str = ""
    findings: tuple[str, ...] = ()


def why_page(
    logs: Path, query: Mapping[str, str], settings_of: SettingsOf, calendar: Callable[[], MarketCalendar]
) -> WhyPage:
    """Answer the question of a query string.

    Args:
        settings_of: the settings in force on a day of the logs.
        calendar: returns the exchange calendar.
    """
    symbol, time, day = (query.get(name, "").strip()[:40] for name in ("symbol", "time", "day"))
    if not symbol and not time:
        return WhyPage()
    reader = LogReader(logs)
    try:
        question = Question.of(symbol, time, _day(day))
        now = datetime.now(NEW_YORK)
        found = answer(question, reader, calendar(), lambda at: settings_of(reader, at), now)
    except UserError as error:
        problem = sentence(str(error).removeprefix("--why: ").replace("--date", "the day"))
        return WhyPage(symbol, time, day, problem=shown(problem))
    return WhyPage(
        symbol, f"{found.minute:%H:%M}", str(found.day), found.kind.replace("_", " "),
        tuple(shown(line) for line in found.lines), findings=tuple(shown(line) for line in reader.findings),
    )  # fmt: skip


def _day(text: str) -> date | None:
    """The day of the question.

    Raises:
        UserError: it is no date.
    """
    if not text:
        return None
    found = written.day(text)
    if found is None:
        raise UserError(f"{text[:40]!r} is no date; write it as 2018-03-26")
    return found
