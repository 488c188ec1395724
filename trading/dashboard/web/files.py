"""The files that are served: the dashboard's own, and pages of reports from `models/` and `logs/` by a whitelist."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from trading.base.files import read_regular
from trading.dashboard.views.models import servable
from trading.dashboard.web.site import STATIC
from trading.reports.look import EARLIER, INDEX, SCRIPT

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from trading.dashboard.state.live import Places
    from trading.dashboard.web.site import Site

MOST_OF_PAGE: Final = 100_000_000
"""Bytes of a page that is served; the longest that is written has some 10 MB."""

SANDBOX: Final = (
    "sandbox allow-scripts allow-popups; default-src 'none'; script-src 'unsafe-inline' {origin}; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Pages of reports have scripts of their own.  In the sandbox they run as an origin of their own, without cookies, and
can send nothing in the background.  They can still navigate their own tab, or a new one, to an address that holds the
content of the page: no policy forbids that, so what such a page shows is not secret from its own scripts."""


_BESIDE: Final = re.compile(rf'href="\.\./([^/"]+)/{re.escape(INDEX)}"')
"""A link of a page to the index of the folder beside its own."""


def static_file(request: Request) -> Response:
    """One of the dashboard's own files."""
    found = STATIC.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return FileResponse(found[0], media_type=found[1], headers={"cache-control": "max-age=3600"})


def report_file(site: Site, request: Request) -> Response:
    """A page of a report, in a sandbox; or the script of its charts.  `number`: that of an earlier replay's logs."""
    folder, name = request.path_params.get("folder", "logs"), request.path_params["name"]
    if folder not in ("models", "logs"):
        raise HTTPException(404)
    if name == SCRIPT:
        headers = {"cache-control": "max-age=3600", "cross-origin-resource-policy": "cross-origin"}
        return FileResponse(STATIC[SCRIPT][0], media_type="text/javascript", headers=headers)
    if not servable(folder, name):
        raise HTTPException(404)
    root = site.live.places.models if folder == "models" else site.live.places.logs
    if "number" in request.path_params:
        root = root / EARLIER / str(request.path_params["number"])
    path = _inside(root, name)
    if path is None:
        raise HTTPException(404)
    try:
        text = read_regular(path, MOST_OF_PAGE).decode("utf-8", "replace")
    except OSError as error:
        raise HTTPException(404) from error
    origin = f"{request.url.scheme}://{request.headers['host']}"
    policy = SANDBOX.format(origin=f"{origin}/files/{folder}/{SCRIPT}")
    return Response(
        site.without_folders(_linked(text, folder, site.live.places)), media_type="text/html",
        headers={"content-security-policy": policy, "cross-origin-opener-policy": "unsafe-none"},
    )  # fmt: skip


def _linked(text: str, folder: str, places: Places) -> str:
    """A page with the addresses of this server where it names the folder beside its own, or its charts' script."""
    folders = (("logs", places.logs), ("models", places.models))
    named = {os.path.basename(os.path.abspath(path)): name for name, path in folders}

    def here(link: re.Match[str]) -> str:
        name = named.get(unquote(link[1]))
        return link[0] if name is None else f'href="/files/{name}/{INDEX}"'

    return _BESIDE.sub(here, text).replace(f'src="{SCRIPT}"', f'src="/files/{folder}/{SCRIPT}"')


def _inside(root: Path, name: str) -> Path | None:
    """The regular file `name` right inside `root`, links followed; None if there is none, or it lies elsewhere."""
    try:
        folder, path = root.resolve(), (root / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return path if path.parent == folder and path.is_file() else None
