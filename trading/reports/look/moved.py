"""Pages that move to another folder: their relative links still lead where they led, or are left out."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from trading.base.files import write_bytes
from trading.reports.look import EARLIER, INDEX, REPORT
from trading.reports.look.models_index import BACK, link_to_index
from trading.reports.look.page import HtmlPage, render

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_LINK: Final = re.compile(r'<a href="(?![a-z]+:|[#/])([^"#?]+)">[^<]*</a>')
"""A link to a file that is named relative to the page."""


def move_page(page: Path, target: Path, together: Collection[str]) -> None:
    """Move a page into the folder `target`, and correct its links.

    Args:
        together: names of the files that move with it.

    Raises:
        OSError: it cannot be read or written.
    """

    def corrected(link: re.Match[str]) -> str:
        named = unquote(link[1])
        if named in together:
            return link[0]
        file = os.path.normpath(os.path.join(os.path.abspath(page.parent), named))
        if not os.path.isfile(file):
            return ""
        place = os.path.relpath(file, os.path.abspath(target)).replace(os.sep, "/")
        return link[0].replace(link[1], quote(place), 1)

    text = page.read_bytes().decode("utf-8", "surrogateescape")
    write_bytes(target / page.name, _LINK.sub(corrected, text).encode("utf-8", "surrogateescape"))
    page.unlink()


def earlier_reports(logs: Path) -> list[tuple[str, str]]:
    """Name and relative target of the reports of earlier replays, in their order."""
    found = [one for one in logs.glob(f"{EARLIER}/*/{REPORT}") if one.parent.name.isdigit()]
    found.sort(key=lambda one: int(one.parent.name))
    return [(f"Report of {EARLIER}/{one.parent.name}", one.relative_to(logs).as_posix()) for one in found]


def write_index_of_earlier(logs: Path, models: Path | None) -> None:
    """Write the index of a folder whose logs have moved to `earlier/N`: links of other pages to it stay valid.

    Args:
        models: the folder of models of the same market; None if it is not known.

    Raises:
        OSError: it cannot be written.
    """
    page = HtmlPage(
        title="Logs",
        what="A replay has begun with new logs",
        verdict=["There is no report of these logs yet: report.py writes it. The earlier reports are linked above."],
        links=[*link_to_index(BACK, models, logs), *earlier_reports(logs)],
    )
    write_bytes(logs / INDEX, render(page))
