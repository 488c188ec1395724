"""The files that are served: the dashboard's own, and pages of reports from `models/` and `logs/` by a whitelist."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response

from trading.base.files import read_regular
from trading.dashboard.views.models import servable
from trading.dashboard.web.guard import POLICY
from trading.dashboard.web.site import STATIC
from trading.reports.look import EARLIER, INDEX, SCRIPT

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from trading.dashboard.state.live import Places
    from trading.dashboard.web.site import Site

FOLDERS: Final = ("models", "logs")

MOST_OF_PAGE: Final = 100_000_000
"""Bytes of a page that is served; the longest that is written has some 10 MB."""

SANDBOX: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' {script}; style-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors {origin}"
)
"""Pages of reports have scripts of their own.  In the sandbox they run as an origin of their own, without cookies, and
can send nothing in the background."""

FRAMING: Final = "; frame-src {origin}{inside}"
"""What the page around the frame adds to its policy: the frame can be navigated to pages of reports alone.  Together
with the sandbox, which keeps the page from its top and from new windows, no script can carry its content away in an
address."""


_BESIDE: Final = re.compile(rf'href="(?:\.\./|(?:\.\./){{3}})([^/"]+)/{re.escape(INDEX)}"')
"""A link of a page to the index of the folder beside its own, or beside that of the logs if the page moved there."""


def static_file(request: Request) -> Response:
    """One of the dashboard's own files."""
    found = STATIC.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return FileResponse(found[0], media_type=found[1], headers={"cache-control": "max-age=3600"})


def report_file(site: Site, request: Request) -> Response:
    """A page of a report, in a frame.  `number`: that of an earlier replay's logs."""
    _text_of(site, request)
    source = site.access.inside + _place_of(request)
    reply = site.page(request, "report.html", name=request.path_params["name"], source=source)
    reply.headers["content-security-policy"] = POLICY + FRAMING.format(
        origin=_origin(request), inside=site.access.inside
    )
    return reply


def inside_file(site: Site, request: Request) -> Response:
    """What the frame shows: a page of a report, in a sandbox; or the script of its charts.

    The sandbox has no cookies, so the address holds a secret, which only the page around the frame contains.
    """
    folder, name = _folder_of(request), request.path_params["name"]
    if not site.access.is_inside(request.scope["path"]) or folder not in FOLDERS:
        raise HTTPException(404)
    if request.headers.get("sec-fetch-dest") == "document":  # on its own in a tab, it could be navigated
        return RedirectResponse(f"/files/{_place_of(request)}", 303)
    if name == SCRIPT:
        headers = {"cache-control": "max-age=3600", "cross-origin-resource-policy": "cross-origin"}
        return FileResponse(STATIC[SCRIPT][0], media_type="text/javascript", headers=headers)
    origin, script = _origin(request), f"{site.access.inside}{folder}/{SCRIPT}"
    text = _linked(_text_of(site, request), site.access.inside, script, site.live.places)
    policy = SANDBOX.format(origin=origin, script=origin + script)
    return Response(
        site.without_folders(text), media_type="text/html",
        headers={"content-security-policy": policy, "x-frame-options": "SAMEORIGIN", "x-dns-prefetch-control": "off",
                 "referrer-policy": "no-referrer"},
    )  # fmt: skip


def _folder_of(request: Request) -> str:
    """The name under which a folder is served; the logs of earlier replays lie in that of the logs."""
    return str(request.path_params.get("folder", "logs"))


def _place_of(request: Request) -> str:
    """The address of a page below `/files/`."""
    earlier = f"{EARLIER}/{request.path_params['number']}/" if "number" in request.path_params else ""
    return f"{_folder_of(request)}/{earlier}{request.path_params['name']}"


def _text_of(site: Site, request: Request) -> str:
    """The text of a page.

    Raises:
        HTTPException: it is none that is served, or cannot be read.
    """
    folder, name = _folder_of(request), request.path_params["name"]
    if folder not in FOLDERS or not servable(folder, name):
        raise HTTPException(404)
    root = site.live.places.models if folder == "models" else site.live.places.logs
    if "number" in request.path_params:
        root = root / EARLIER / str(request.path_params["number"])
    path = _inside(root, name)
    if path is None:
        raise HTTPException(404)
    try:
        return read_regular(path, MOST_OF_PAGE).decode("utf-8", "replace")
    except OSError as error:
        raise HTTPException(404) from error


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers['host']}"


def _linked(text: str, inside: str, script: str, places: Places) -> str:
    """A page with the addresses of this server where it names the folder beside its own, or its charts' script."""
    folders = (("logs", places.logs), ("models", places.models))
    named = {os.path.basename(os.path.abspath(path)): name for name, path in folders}

    def here(link: re.Match[str]) -> str:
        name = named.get(unquote(link[1]))
        return link[0] if name is None else f'href="{inside}{name}/{INDEX}"'

    return _BESIDE.sub(here, text).replace(f'src="{SCRIPT}"', f'src="{script}"')


def _inside(root: Path, name: str) -> Path | None:
    """The regular file `name` right inside `root`, links followed; None if there is none, or it lies elsewhere."""
    try:
        folder, path = root.resolve(), (root / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return path if path.parent == folder and path.is_file() else None
