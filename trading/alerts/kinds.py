"""Which events of the audit are alerts, and what an alert says.

An alert holds no key and no address: the secrets of the settings and whatever looks like an address are cut out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from trading.records.events.kinds import template
from trading.reports.console import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from config import AlertKind
    from trading.records.journal import Record

LONGEST_BODY: Final = 1000
"""Characters; some services refuse longer messages."""

ADDRESS: Final = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://\S+")

GUARDS: Final = frozenset({"daily_loss", "losing_run"})
"""Rules of `trading.rules.guards` that end the entries of a day."""

RUN_ENDS: Final = timedelta(minutes=10)
"""An event that is not repeated for so long has ended; the next one begins anew."""


@dataclass(frozen=True)
class Alert:
    """One message to the owner.

    Attributes:
        cause: what it is about, such as "not_flat AAA"; the same cause is not told twice within an hour.
        undoes: first word of the causes that this one ends, such as "dead" for "alive".  If one of them was sent since,
             this one may be sent again within the hour, a limited number of times.
        serious: services that know an importance show it as a warning, and that of a dead trader as a failure.
        day: the New York day whose equity curve is drawn beside it; None for no picture.
    """

    kind: AlertKind
    cause: str
    title: str
    body: str
    serious: bool = False
    day: date | None = None
    undoes: str = ""

    @property
    def importance(self) -> Literal["info", "warning", "failure"]:
        """The importance in the words of Apprise."""
        if not self.serious:
            return "info"
        return "failure" if self.kind == "dead" else "warning"


@dataclass(frozen=True)
class _Source:
    """How an event becomes an alert.

    Attributes:
        about: the field that tells two causes of this event apart; empty: there is one cause only.
        words: the body; None: the words of the event.
        lasts: told only if the same cause is reported again, so long after the first report.
        undoes: as in `Alert`; the text is a part of the cause then.
    """

    kind: AlertKind
    title: str
    about: str = ""
    words: str | None = None
    serious: bool = True
    undoes: str = ""
    lasts: timedelta | None = None


MINUTES: Final = timedelta(minutes=3)

SOURCES: Final[Mapping[str, _Source]] = {
    "bought": _Source("fill", "bought", "client_order_id", serious=False),
    "sold": _Source("exit", "sold", "client_order_id", serious=False),
    "not_bought": _Source("guard", "no more entries today", "rule", "nothing more is bought today: {reason}"),
    "not_flat": _Source("not_flat", "NOT FLAT", "symbol"),
    "stop_refused": _Source("unprotected", "shares without a stop", "symbol"),
    "unprotected": _Source("unprotected", "shares without a stop", "symbol", lasts=timedelta(seconds=30)),
    "order_in_the_way": _Source("unprotected", "an order of others in the way", "about"),
    "stock_disputed": _Source("discrepancy", "discrepancy", "symbol"),
    "oversold": _Source("discrepancy", "OVERSOLD", "symbol"),
    "position_gone": _Source("discrepancy", "position gone", "symbol"),
    "fraction_left": _Source("discrepancy", "a fraction of a share left", "symbol"),
    "entry_by_evidence": _Source("discrepancy", "an entry judged by its position", "symbol"),
    "sold_by_evidence": _Source("discrepancy", "a sale that no reply tells", "symbol"),
    "sale_unsettled": _Source("discrepancy", "a sale that no reply tells", "symbol"),
    "far_fill": _Source("discrepancy", "a fill far from the price", "order_id"),
    "far_fill_corrected": _Source("discrepancy", "a wrong price of a fill", "order_id"),
    "far_fill_doubted": _Source("discrepancy", "a fill that no other source shows", "order_id"),
    "fill_time_corrected": _Source("discrepancy", "a time of a fill that cannot be true", "order_id"),
    "another_trader": _Source("trouble", "another trader", "instance"),
    "callback_failed": _Source("trouble", "a step failed", "callback"),
    "job_given_up": _Source("trouble", "a job is given up", "job"),
    "clocks_disagree": _Source("trouble", "clocks disagree"),
    "calendars_disagree": _Source("trouble", "calendars disagree"),
    "feed_late": _Source("trouble", "bars are late"),
    "no_bars": _Source("trouble", "no bars", lasts=MINUTES),
    "broker_unclear": _Source("trouble", "no clear answer of the broker", lasts=MINUTES),
    "day_not_started": _Source("trouble", "the day cannot be started", lasts=MINUTES),
    "step_failed": _Source("trouble", "a step failed", "what"),
    "not_sent": _Source("trouble", "STOP holds orders back", "what"),
    "no_control_file": _Source("trouble", "not a control file", "file"),
    "trade_log_unwritten": _Source("trouble", "the trade log cannot be written"),
    "model_trained": _Source("model", "model trained", "model", serious=False),
    "retrain_failed": _Source("retrain_failed", "retrain failed", undoes="model_trained"),
    "started": _Source("started", "trader started", serious=False, undoes="stopped"),
    "stopped": _Source("stopped", "trader stopped", undoes="started"),
    "day_closed": _Source("summary", "day closed", "session", serious=False),
}
"""Audit event -> its alert."""


class Messages:
    """Turns the audit's events into alerts.

    Args:
        on: the kinds that are wanted.
        prefix: stands before every title.
        secrets: texts that no message may hold.
    """

    def __init__(self, on: Iterable[AlertKind], prefix: str = "", secrets: Iterable[str] = ()) -> None:
        self._on = frozenset(on)
        self._prefix = prefix
        self._secrets = tuple(secrets)
        self._reported: dict[str, tuple[datetime, datetime]] = {}
        """By cause of a source that `lasts`: its first report and its newest."""

    def of(self, record: Record) -> Alert | None:
        """The alert of an event; None if it is none, or of a kind that is not wanted."""
        event = str(record.get("event"))
        source = SOURCES.get(event)
        if source is None or source.kind not in self._on or not self._counts(source, event, record):
            return None
        body = _body(source, record)
        cause = f"{event} {body if source.undoes else record.get(source.about, '')}".strip()
        day = date.fromisoformat(str(record["session"])) if source.kind == "summary" else None
        title = source.title
        if event == "model_trained":
            title = "model promoted" if record.get("in_service") else "model rejected"
        return self.made(source.kind, cause, title, body, serious=source.serious, day=day, undoes=source.undoes)

    def made(
        self,
        kind: AlertKind,
        cause: str,
        title: str,
        body: str,
        *,
        serious: bool = True,
        day: date | None = None,
        undoes: str = "",
    ) -> Alert | None:
        """An alert that no event stands for; None if its kind is not wanted."""
        if kind not in self._on:
            return None
        return Alert(kind, self._clean(cause), f"{self._prefix}{title}", self._clean(body), serious, day, undoes)

    def _counts(self, source: _Source, event: str, record: Record) -> bool:
        if event == "not_bought":
            return record.get("rule") in GUARDS
        if event == "order_in_the_way":
            return bool(record.get("bare"))  # a stop of somebody else protects too
        if source.lasts is None:
            return True
        now, cause = datetime.fromisoformat(record["time"]), f"{event} {record.get(source.about, '')}"
        first, newest = self._reported.get(cause, (now, now))
        if not timedelta(0) <= now - newest <= RUN_ENDS:
            first = now
        self._reported = {key: seen for key, seen in self._reported.items() if now - seen[1] <= RUN_ENDS}
        self._reported[cause] = first, now
        return now - first >= source.lasts

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "(secret)")
        return ADDRESS.sub("(address)", text)[:LONGEST_BODY]


def _body(source: _Source, record: Record) -> str:
    words = source.words or template(record.get("event"))
    if source.words is None and (said := in_words(record)):
        return said
    shown = {key: ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else value
             for key, value in record.items()}  # fmt: skip
    try:
        return words.format(**shown) or source.title
    except (KeyError, IndexError, ValueError):
        return source.title
