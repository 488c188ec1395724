"""The settings that the audit has: those that it is given, and those that were in force on a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from config import SECRETS
from trading.base.market_folders import BACKTEST_MARKER
from trading.records.audit_days import settings_in_force

if TYPE_CHECKING:
    from datetime import date

    from config import Settings
    from trading.records.log_reader import LogReader


def recorded_settings(settings: Settings, reader: LogReader, day: date) -> tuple[Settings, str]:
    """The settings that were in force on `day`, and where they are from; a value that is not valid is left out."""
    recorded = settings_in_force(reader, day)
    found = {}
    for name, section in (("exits", settings.exits), ("prediction", settings.prediction), ("entry", settings.entry)):
        known = {key: value for key, value in recorded.items() if key in type(section).model_fields}
        try:
            found[name] = section.changed(**known)
        except ValidationError:
            reader.findings.append(f"audit up to {day}: its settings of {name} are not valid; today's are used")
    if not recorded and not (reader.folder / BACKTEST_MARKER).exists():
        reader.findings.append(f"audit up to {day}: it has no start, which names the settings; today's are used")
    return settings.model_copy(update=found), "the audit" if recorded else "today's settings"


def public(settings: Settings) -> dict[str, object]:
    """The settings by name, as JSON values, without keys and paths."""
    sections = settings.model_dump(mode="json", exclude={"folders": True}).values()
    return {name: value for section in sections for name, value in section.items() if name not in SECRETS}
