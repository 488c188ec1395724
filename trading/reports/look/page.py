"""The look of all pages: header, verdict, tiles, tables and charts as one HTML file, with one script beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from markupsafe import Markup

from trading.base.files import write_bytes
from trading.reports.look import SCRIPT
from trading.reports.look.glossary import GLOSSARY, INTERVALS, anchor, with_terms
from trading.reports.page import templates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.reports.page import Figure, Method, Section, Tile


LONG: Final = 30
"""Characters from which on a cell wraps and its column is a text, not a figure."""


@dataclass(frozen=True)
class Block:
    """A section of the page: a table, and the charts above it by their keys.

    Attributes:
        folded: whether the table is shown only once it is opened.
        stacked: whether the cells of a row stand below each other on a phone, for a table whose cells need no heading.
    """

    section: Section
    charts: Sequence[str] = ()
    folded: bool = False
    stacked: bool = False


@dataclass(frozen=True)
class TradeRow:
    """One trade in the list: its line, its facts, and the key of its chart; `good` is None without a result."""

    key: str
    title: str
    result: str
    good: bool | None
    facts: Sequence[tuple[str, str]]
    note: str


@dataclass(frozen=True)
class HtmlPage:
    """The content of a page.

    Attributes:
        what: one line on the data that it is about.
        verdict: what the page says in plain words; the first line is the headline.
        trades, trades_note: trades one by one, and a note on them.
        findings: what could not be read.
        links: name and relative target of the links of its header.
        figures: charts by their keys, which blocks and trades name.
        footer: lines about how it was made.
        method: that of the intervals of its verdict and tiles.
    """

    title: str
    what: str
    verdict: Sequence[str]
    tiles: Sequence[Tile] = ()
    blocks: Sequence[Block] = ()
    trades: Sequence[TradeRow] = ()
    trades_note: str = ""
    findings: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()
    figures: dict[str, Figure] = field(default_factory=dict)
    footer: Sequence[str] = ()
    method: Method | None = None


def with_charts(sections: Sequence[Section]) -> tuple[list[Block], dict[str, Figure]]:
    """The blocks of some sections, and the charts of all of them by the keys that the blocks name."""
    found: dict[str, Figure] = {}
    blocks = []
    for i, section in enumerate(sections):
        keys = [f"chart{i}-{n}" for n in range(len(section.charts))]
        found.update(zip(keys, section.charts, strict=True))
        blocks.append(Block(section, keys))
    return blocks, found


def render(page: HtmlPage) -> bytes:
    """The page as one HTML file; every text is escaped.  Only the charts' script lies beside it."""
    environment = templates()
    environment.filters["terms"] = with_terms
    environment.filters["classes"] = _classes
    data = orjson.dumps(page.figures).decode().replace("<", "\\u003c")  # no text can end the script element
    terms = [(anchor(term), term, meaning) for term, meaning in {**GLOSSARY, **INTERVALS}.items()]
    template = environment.get_template("page.html")
    return template.render(page=page, figures=Markup(data), glossary=terms, script=SCRIPT).encode()


def _classes(section: Section) -> list[Markup]:
    """For each column of a table, the attribute that makes long texts wrap."""
    found = []
    for i in range(len(section.head)):
        texts = (cell.striptags() if isinstance(cell, Markup) else cell for cell in (row[i] for row in section.rows))
        words = i > 0 and any(len(text) > LONG for text in texts)
        found.append(Markup(' class="words"') if words else Markup())
    return found


def write_script(folder: Path) -> None:
    """Write the charts' script into a folder that lacks it.

    Raises:
        OSError: it cannot be written.
    """
    package = find_spec("plotly")  # importing it would take a quarter of a second
    assert package is not None and package.origin is not None  # it is one of requirements.txt
    script = Path(package.origin).with_name("package_data") / "plotly.min.js"
    beside = folder / SCRIPT
    if not beside.exists() or beside.stat().st_size != script.stat().st_size:
        write_bytes(beside, script.read_bytes())
