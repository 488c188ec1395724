"""Texts of the logs as a page may show them: without folders, short, and with the audit's order events in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from trading.records.events.kinds import template
from trading.reports.console import in_words
from trading.reports.page import NONE
from trading.reports.traded.words import RULES, SALES, price

if TYPE_CHECKING:
    from trading.records.journal import Record

LONGEST: Final = 400
"""Characters of a text of the logs that a page shows."""

_FOLDERS: Final = re.compile(r"(?<![\w.:/])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:;,'\"()<>]+[/\\])+(?=[^\s/\\])")
"""The folders of an absolute path; the name of the file remains."""

UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""Control characters, and marks that turn the direction of a line or hide in it."""

_TIME: Final = re.compile(r"\d\d:\d\d:\d\d", re.ASCII)

_SALE: Final = re.compile(rf"\b(?:{'|'.join(SALES)})\b")

_PRICES: Final = frozenset({"decision_price", "stop", "target", "was", "now", "stays", "wanted"})


def shown(text: object) -> str:
    """A text of a file as a page shows it: in one line, without folders or unseen marks, cut to `LONGEST`."""
    line = _FOLDERS.sub("", " ".join(UNSEEN.sub("", " ".join(str(text).split())).split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def sold_in_words(text: str) -> str:
    """A line of the audit or a reason of a sale, with the reasons of sales in words: `at its stop`."""
    return _SALE.sub(lambda found: SALES[found[0]], text)


def audit_line(record: Record) -> str:
    """An event of the audit in words; its name where there are none for it."""
    event = str(record.get("event", ""))
    if words := in_words(record):
        return shown(sold_in_words(words))
    words = template(event)
    if not words:
        return shown(event.replace("_", " "))
    fields = {"level": "level", **{name: _field(name, value) for name, value in record.items()}}  # older audits lack it
    if event == "not_bought":
        fields["rule"] = RULES.get(fields.get("rule", ""), fields.get("rule", ""))
    elif event == "exit_intent":
        fields["reason"] = SALES.get(fields.get("reason", ""), fields.get("reason", ""))
    try:
        return shown(words.format(**fields))
    except (KeyError, ValueError, IndexError):
        return shown(event.replace("_", " "))


def _field(name: str, value: Any) -> str:
    try:
        if name in _PRICES:
            return price(float(value))
        if name == "confidence":
            return f"{float(value):.4f}"
    except (TypeError, ValueError):
        return str(value)
    return "yes" if value is True else "no" if value is False else str(value)


def clock(iso: str) -> str:
    """The time of day of an instant in ISO 8601; a dash if it is none."""
    return iso[11:19] if _TIME.fullmatch(iso[11:19]) else NONE


def span(seconds: float) -> str:
    """A length of time for people: `12 s`, `5 min`, `3 h`, `2 days`."""
    for limit, size, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if abs(seconds) < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
