"""The summary of the report on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trading.reports.page import say, show_table
from trading.reports.traded import tables
from trading.reports.traded.words import period, verdict

if TYPE_CHECKING:
    from rich.console import Console

    from trading.reports.traded.material import Material

MOST_FINDINGS: Final = 10
SHOWN: Final = ("model", "exit reason", "confidence")
"""Groups that the screen shows; the page has all."""


def summary_line(material: Material) -> str:
    """The range and the market: `3 sessions, 2018-03-26 to 2018-03-28; recorded bars of us-2018`."""
    return f"{period(material)}; {material.market.description if material.market else 'market not known'}"


def show_summary(material: Material, console: Console) -> None:
    """Print the verdict, the figures, the newest days and what could not be read."""
    say(console, summary_line(material))
    for line in verdict(material):
        say(console, line)
    for line in material.findings[:MOST_FINDINGS]:
        say(console, f"warning: {line}")
    if len(material.findings) > MOST_FINDINGS:
        say(console, f"warning: and {len(material.findings) - MOST_FINDINGS} more; the page has them")
    if not len(material.closed):
        return
    show_table(tables.figures(material.booked, material.after_cost), console)
    by = "day" if len(material.days) <= 31 else "month"
    for name in (by, *SHOWN):
        show_table(tables.group_section(name, material.groups[name]), console)
    if material.quality:
        show_table(tables.between_decision_and_fill(material.quality, material.unmeasured_sales), console)
