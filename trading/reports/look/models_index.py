"""The index of the folder of models: `models/index.html` lists every page, the newest first, and which model serves."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from html import unescape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from markupsafe import Markup, escape

from trading.base.errors import UserError
from trading.base.files import write_bytes
from trading.base.market_folders import BACKTEST_MARKER, backtest_market_of, market_of
from trading.reports.look import INDEX
from trading.reports.look.page import Block, HtmlPage, render, write_script
from trading.reports.page import NONE, Section, counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS: Final = {
    "report": "training", "walk_forward": "walk-forward", "comparison": "comparison", "backtest": "backtest",
}  # fmt: skip
"""Name of a page's file before its TIMESTAMP -> its kind."""

HEAD_BYTES: Final = 4096
"""Bytes of a page in which its title and headline stand."""

BACK: Final = "All models and pages"

_NAME: Final = re.compile(rf"({'|'.join(KINDS)})_(\d{{8}}_\d{{6}})\.html")
_TITLE: Final = re.compile(r"<title>([^<]*)</title>")
_HEADLINE: Final = re.compile(r'<meta name="description" content="([^"]*)">')


@dataclass(frozen=True)
class Listed:
    """A page in a folder.

    Attributes:
        name: of its file, from the folder of the index: a page beside the trades of a backtest has its folder in it.
        at: TIMESTAMP of its name, New York time.
        headline: the first line of its verdict; empty in a page of an earlier version.
    """

    name: str
    kind: str
    at: str
    title: str
    headline: str

    @property
    def time(self) -> str:
        """`2018-03-26 20:00`."""
        day, clock = self.at.split("_")
        return f"{day[:4]}-{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:4]}"

    @property
    def link(self) -> Markup:
        """The title as a link."""
        return Markup(f'<a href="{quote(self.name)}">{escape(self.title)}</a>')


def publish(page: HtmlPage, path: Path, serves: str | None, logs: Path | None) -> None:
    """Write a page into a folder of models, the charts' script beside it, and the folder's index.

    Args:
        page: without the links of its header.
        serves: TIMESTAMP of the model in service; None if there is none.
        logs: the folder of logs of the same market; None if it is not known.

    Raises:
        OSError: a file cannot be written.
    """
    write_page(page, path, logs)
    write_models_index(path.parent, serves, logs)


def write_page(page: HtmlPage, path: Path, logs: Path | None) -> None:
    """As `publish`, without the index, which a training writes once the pages of removed models are gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_script(path.parent)
    links = [(BACK, INDEX), *link_to_index("All logs", logs, path.parent)]
    write_bytes(path, render(replace(page, links=links)))


def write_models_index(folder: Path, serves: str | None, logs: Path | None) -> None:
    """Write `index.html` of a folder of models.

    Args:
        serves, logs: as in `publish`.

    Raises:
        OSError: it cannot be written.
    """
    write_bytes(folder / INDEX, render(models_index(folder, serves, logs)))


def models_index(folder: Path, serves: str | None, logs: Path | None) -> HtmlPage:
    """The index as a page."""
    pages = sorted([*pages_in(folder), *_beside_trades(folder)], key=_newest, reverse=True)
    in_service = "No model is in service." if serves is None else f"Model {serves} is in service."
    kinds = [sum(one.kind == kind for one in pages) for kind in KINDS.values()]
    counts = ", ".join(counted(n, kind) for n, kind in zip(kinds, KINDS.values(), strict=True) if n)
    rows = [
        [one.time, one.link, one.kind, one.headline or NONE, _service(one, serves)]
        for one in pages
    ]  # fmt: skip
    table = Section(
        "Every page",
        "The newest first; times are New York time. Each page begins with what it says in plain words.",
        head=("made", "page", "kind", "what it says", "model"),
        rows=rows,
    )
    return HtmlPage(
        title="Models and pages",
        what="Trainings, walk-forwards, comparisons and backtests of this folder",
        verdict=[in_service, f"Pages: {counts}." if pages else "There is no page yet."],
        blocks=[Block(table, stacked=True)] if pages else [],
        links=link_to_index("All logs", logs, folder),
    )


def _service(one: Listed, serves: str | None) -> str:
    if one.kind != "training":
        return ""
    return Markup('<span class="serves">in service</span>') if one.at == serves else "not in service"


def pages_in(folder: Path) -> list[Listed]:
    """The pages of a folder that have a TIMESTAMP in their names, the newest first."""
    return sorted(_listed(folder), key=_newest, reverse=True)


def _newest(page: Listed) -> tuple[str, str]:
    return page.at, page.name


def _beside_trades(models: Path) -> Iterator[Listed]:
    """The pages of backtests of the same market whose trades lie in a folder beside that of the models."""
    with suppress(OSError, UserError):
        market = market_of(models)
        for marker in models.resolve().parent.glob(f"*/{BACKTEST_MARKER}"):
            owner = backtest_market_of(marker.parent)
            if market is not None and owner is not None and owner.slug == market.slug:
                for page in pages_in(marker.parent):
                    yield replace(page, name=f"../{marker.parent.name}/{page.name}")


def write_trades_index(folder: Path, models: Path | None) -> None:
    """Write `index.html` into the folder of a backtest's trades, which `report.py` replaces by one of their days.

    Args:
        models: the folder of models of the same market; None if it is not known.

    Raises:
        OSError: it cannot be written.
    """
    rows = [[one.time, one.link, one.headline or NONE] for one in pages_in(folder)]
    page = HtmlPage(
        title="Trades of a backtest",
        what="Nothing was traded",
        verdict=["The trades are in trades_*.json; report.py, with --logs-dir and this folder, makes their report."],
        blocks=[Block(Section("Backtests", "The newest first.", head=("made", "page", "what it says"), rows=rows),
                      stacked=True)],
        links=link_to_index(BACK, models, folder),
    )  # fmt: skip
    write_bytes(folder / INDEX, render(page))


def _listed(folder: Path) -> Iterator[Listed]:
    for path in folder.glob("*_*.html"):
        found = _NAME.fullmatch(path.name)
        if found is None or not path.is_file():
            continue
        try:
            with open(path, "rb") as file:
                head = file.read(HEAD_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        title, headline = _TITLE.search(head), _HEADLINE.search(head)
        yield Listed(
            path.name,
            KINDS[found[1]],
            found[2],
            unescape(title[1]) if title else path.name,
            unescape(headline[1]) if headline else "",
        )


def link_to_index(name: str, other: Path | None, folder: Path) -> list[tuple[str, str]]:
    """The link from a page of `folder` to the index of a folder beside it; empty if that has none, or lies elsewhere.

    Its name says where it leads, because a copy of `folder` alone lacks the other folder.  A link to a folder elsewhere
    names folders of this machine, and leads nowhere where the pages are served or copied.
    """
    if other is None or not (other / INDEX).is_file():
        return []
    if os.path.dirname(os.path.abspath(other)) != os.path.dirname(os.path.abspath(folder)):
        return []
    return [
        (
            f"{name} (../{os.path.basename(os.path.abspath(other))}/)",
            quote(os.path.relpath(other / INDEX, folder).replace(os.sep, "/")),
        )
    ]
