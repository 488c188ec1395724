"""What the routes share: the state, the access, the templates, and the files that are served."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2
import orjson
from markupsafe import Markup
from starlette.responses import HTMLResponse

from trading import __version__
from trading.dashboard.state.exchange_calendar import ExchangeCalendar
from trading.dashboard.views.words import UNSEEN
from trading.dashboard.web.guard import cookie_of
from trading.dashboard.web.limits import Streams
from trading.reports.page import GENERATED, TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from trading.dashboard.control import Control
    from trading.dashboard.state.live import Live
    from trading.dashboard.views.why import SettingsOf
    from trading.dashboard.web.guard import Access

HERE: Final = Path(__file__).parents[1]
STATIC: Final[Mapping[str, tuple[Path, str]]] = {
    "dashboard.css": (HERE / "static" / "dashboard.css", "text/css"),
    "dashboard.js": (HERE / "static" / "dashboard.js", "text/javascript"),
    "icon.svg": (HERE / "static" / "icon.svg", "image/svg+xml"),
    "charts.css": (HERE / "static" / "charts.css", "text/css"),
    "style.css": (TEMPLATES / "style.css", "text/css"),
    "charts.js": (TEMPLATES / "charts.js", "text/javascript"),
    "page.js": (TEMPLATES / "page.js", "text/javascript"),
    "plotly.min.js": (Path(str(resources.files("plotly") / "package_data" / "plotly.min.js")), "text/javascript"),
}
"""The static files by name: the dashboard's own, and those that it shares with the pages of the reports."""

SECRET_DEPTH: Final = 3
"""Parts of a folder from which on it is removed: `/logs` of a container says nothing, and is part of our own links."""

LONGEST_TEXT: Final = 2000
"""Characters of a text that a template puts into a page."""

PAGES: Final = (("Now", "/"), ("Trades", "/trades"), ("Why", "/why"), ("Models", "/models"), ("Health", "/health"))


@dataclass
class Site:
    """One dashboard.

    Attributes:
        control: None if the page Control is off.
        closing: whether the server ends, so that open event streams do too.
        settings_of: the settings in force on a day of the logs.
    """

    live: Live
    access: Access
    settings_of: SettingsOf
    control: Control | None = None
    calendar: ExchangeCalendar = field(default_factory=ExchangeCalendar)
    closing: bool = False
    streams: Streams = field(default_factory=Streams)
    templates: jinja2.Environment = field(default_factory=lambda: _templates())

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page, or its changing part alone if the request asks for that."""
        pages = PAGES if self.control is None else (*PAGES, ("Control", "/control"))
        text = self.templates.get_template(template).render(
            pages=pages, path=request.url.path, fragment="x-fragment" in request.headers, version=__version__,
            notice=GENERATED if self.live.is_generated and request.url.path != "/login" else "",
            has_token=self.access.token is not None, read_at=self.live.read_at,
            csrf=self.access.csrf_of(cookie_of("csrf", request.headers)), **values,
        )  # fmt: skip
        return HTMLResponse(self.without_folders(text), status)

    def without_folders(self, text: str) -> str:
        """A text without the folders of this machine; views remove them too, this is the second line."""
        places = self.live.places
        named = {str(places.data): "data", str(places.models): "models", str(places.logs): "logs"}
        named |= {str(folder): "" for folder in (places.control, Path.home()) if str(folder) not in named}
        for folder in sorted(named, key=len, reverse=True):
            if len(Path(folder).parts) >= SECRET_DEPTH:
                text = text.replace(folder, named[folder])
        return text


def _templates() -> jinja2.Environment:
    """The templates; a name that a template needs and does not get is an error."""
    loader = jinja2.FileSystemLoader(HERE / "templates")
    found = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_seen,
    )  # fmt: skip
    found.filters["figures"] = _figures
    return found


def _seen(value: object) -> object:
    """A value as every page shows it: of a text, what can be seen, up to a length; views do it too, for most texts."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return UNSEEN.sub("", value[:LONGEST_TEXT])


def _figures(figures: dict[str, Any]) -> Markup:
    """Charts as JSON inside a script element; no text can end it."""
    return Markup(orjson.dumps(figures).decode().replace("<", "\\u003c"))
