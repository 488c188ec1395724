"""Parts of a report, the texts of its figures, and its tables on the console; `trading.reports.look` has the pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from rich.markup import escape
from rich.table import Table

from trading.learning.session_statistics import ENOUGH_SESSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment
    from rich.console import Console

    from trading.learning.session_statistics import Estimate

TEMPLATES: Final = Path(__file__).parent / "templates"
NONE: Final = "-"
TOO_FEW: Final = "too few sessions"
KEY_WIDTH: Final = 24
"""Longest entry of a first column that is never wrapped on a terminal."""

GENERATED: Final = "The market is generated: these figures show that the system works; about profit they prove nothing."

Method = Literal["bootstrap", "jackknife", "Student's t", "jackknife or Student's t", "Clopper-Pearson"]
"""How an interval was computed; `trading.reports.look.glossary` explains it."""

Figure = dict[str, Any]
"""`data` and `layout` of plotly.js, and perhaps a `caption`; a colour that begins with `$` names one of the style."""


@dataclass(frozen=True)
class Tile:
    """One figure with its name and a note."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """Charts and a table (`head` and `rows`) with their title and text; `method` is that of their intervals."""

    title: str
    text: str = ""
    charts: Sequence[Figure] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    method: Method | None = None


@lru_cache(maxsize=1)
def templates() -> Environment:
    """The templates of the pages, compiled once; a name that a template needs and does not get is an error."""
    import jinja2  # takes a tenth of a second to import

    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def show_table(section: Section, console: Console) -> None:
    """Print the table of a section; columns of numbers are aligned right."""
    table = Table(title=section.title, title_justify="left")
    for i, name in enumerate(section.head):
        numbers = all(row[i][:1] in "+-$0123456789" for row in section.rows)
        short = not i and all(len(row[0]) <= KEY_WIDTH for row in section.rows)
        table.add_column(name, justify="right" if i and numbers else "left", no_wrap=short)
    for row in section.rows:
        table.add_row(*(escape(cell) for cell in row))  # a text of a file is no markup
    console.print(table)


def say(console: Console, line: str) -> None:
    """Print a line as it is: neither wrapped nor coloured."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def counted(n: int, one: str) -> str:
    """`1 trade`, `2 trades`."""
    return f"{n:,} {one}{'' if n == 1 else 's'}"


def sentence(text: str) -> str:
    """`text` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def plain(value: float | None, decimals: int = 3, sign: bool = False) -> str:
    """A number, or a dash for None."""
    return NONE if value is None else f"{value:{'+' if sign else ''}.{decimals}f}"


def share(value: float | None, decimals: int = 1) -> str:
    """A fraction as per cent, or a dash for None."""
    return NONE if value is None else f"{value:.{decimals}%}"


def fine(value: float | None, sign: bool = False) -> str:
    """A fraction as per cent with three digits that count, and at least two decimals: `12.34%`, `0.0123%`."""
    if value is None:
        return NONE
    decimals = min(6, max(2, 2 - math.floor(math.log10(abs(100.0 * value))))) if value else 2
    return f"{value:{'+' if sign else ''}.{decimals}%}"


def level(threshold: float) -> str:
    """A threshold, a fraction, as per cent with all its digits."""
    return f"{100 * threshold:g}%"


def per_cent(value: float | None, decimals: int = 2) -> str:
    """A signed number that is already in per cent, or a dash for None."""
    return NONE if value is None else f"{round(value, decimals) + 0.0:+.{decimals}f}%"  # no -0.00%


def count(value: int | None) -> str:
    """A number of things, or a dash for None."""
    return NONE if value is None else f"{value:,}"


def interval(
    figure: Estimate,
    decimals: int = 3,
    sign: bool = False,
    unit: str = "",
    fraction: bool = False,
    fewest: int = ENOUGH_SESSIONS,
) -> str:
    """`low to high`, a dash without an interval, or `TOO_FEW` with fewer sessions than an interval needs.

    Args:
        fraction: the figure cannot leave 0 to 1, so neither may its interval; so too with the unit "%".
        fewest: sessions that an interval needs.
    """
    low, high = figure["low"], figure["high"]
    if low is None or high is None:
        return NONE
    if figure["sessions"] < fewest:
        return TOO_FEW
    if fraction or unit == "%":
        low, high = max(0.0, low), min(1.0, high)
    style = f"{'+' if sign else ''}.{decimals}{unit or 'f'}"
    return f"{low:{style}} to {high:{style}}"
