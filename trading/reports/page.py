"""A report as one HTML file that needs nothing else: no script, no network, no file beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.learning.session_statistics import Figures

TEMPLATE: Final = Path(__file__).parent / "templates" / "report.html"
NONE: Final = "-"


@dataclass(frozen=True)
class Tile:
    """One figure with its name and what to make of it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A plot or a table (`head` and `rows`) with the words that belong to it; `plot` is a data URI."""

    title: str
    text: str = ""
    plot: str = ""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""


@dataclass(frozen=True)
class Page:
    """What stands on a report, the verdict first."""

    title: str
    what: str
    verdict: Sequence[str]
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    footer: Sequence[str] = field(default=())


def html(page: Page) -> bytes:
    """The page as one HTML file; every text is escaped."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(page=page).encode()


def sentence(text: str) -> str:
    """`text` as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def plain(value: float | None, decimals: int = 3, sign: bool = False) -> str:
    """A number, or a dash where there is none."""
    return NONE if value is None else f"{value:{'+' if sign else ''}.{decimals}f}"


def share(value: float | None, decimals: int = 1) -> str:
    """A fraction as per cent."""
    return NONE if value is None else f"{value:.{decimals}%}"


def per_cent(value: float | None, decimals: int = 2) -> str:
    """A signed number that is per cent already."""
    return NONE if value is None else f"{value:+.{decimals}f}%"


def interval(figure: Figures, decimals: int = 3, sign: bool = False, unit: str = "") -> str:
    """`low to high`, or a dash."""
    if figure["low"] is None:
        return NONE
    style = f"{'+' if sign else ''}.{decimals}{unit or 'f'}"
    return f"{figure['low']:{style}} to {figure['high']:{style}}"
