"""The routes of the dashboard, as a Starlette application."""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from trading.base.errors import UserError
from trading.dashboard.consequences import consequence
from trading.dashboard.control import ACTIONS, WITH_TARGET, WORDS, stock
from trading.dashboard.results.by_day import results
from trading.dashboard.results.download import download
from trading.dashboard.views.health import health_page
from trading.dashboard.views.model_files import read_models
from trading.dashboard.views.models import models_page
from trading.dashboard.views.now import now_page
from trading.dashboard.views.status import pauses, standing, status
from trading.dashboard.views.trades import Filter, trade_of, trade_page, trades_page
from trading.dashboard.views.why import why_page
from trading.dashboard.web.files import inside_file, report_file, static_file
from trading.dashboard.web.guard import Guard, address_of, cookie_name, cookie_of, too_many
from trading.execution.control_files import ALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from trading.dashboard.control import Action
    from trading.dashboard.web.limits import Streams
    from trading.dashboard.web.site import Site

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
"""How often the files are looked at while a page is open."""

AGE_SECONDS: Final = 5.0
"""How often an open page is refreshed although nothing has changed, so that ages are true."""

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def application(site: Site) -> ASGIApp:
    """The application of one dashboard, inside its guard."""
    views = _Views(site)
    routes = [
        Route("/", views.now), Route("/trades", views.trades), Route("/trades/{day}/{number}", views.trade),
        Route("/download/{name}", views.download),
        Route("/why", views.why), Route("/models", views.models), Route("/health", views.health),
        Route("/events", views.events), Route("/metrics", views.metrics), Route("/healthz", views.healthz),
        Route("/files/logs/earlier/{number:int}/{name}", partial(report_file, site)),
        Route("/files/{folder}/{name}", partial(report_file, site)),
        Route("/inside/{secret}/logs/earlier/{number:int}/{name}", partial(inside_file, site)),
        Route("/inside/{secret}/{folder}/{name}", partial(inside_file, site)), Route("/static/{name}", static_file),
    ]  # fmt: skip
    if site.access.token is not None:
        routes += [Route("/login", views.login), Route("/login", views.give_token, methods=["POST"])]
    if site.control is not None:
        routes += [
            Route("/control", views.control), Route("/control/ask", views.ask),
            Route("/control/do", views.do, methods=["POST"]),
        ]  # fmt: skip
    handlers = {HTTPException: views.refused, Exception: views.failed}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), site.access)


class _Views:
    """The endpoints.  Those that read files are plain functions: Starlette runs them in threads."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def now(self, request: Request) -> Response:
        with self._site.live.refreshed() as live:
            return self._site.page(request, "now.html", page=now_page(live))

    def trades(self, request: Request) -> Response:
        with self._site.live.refreshed() as live:
            found = None
            if live.day is not None:
                found = results(live, self._site.settings_of(live.reader, live.day).exits)
            page = trades_page(live, Filter.of(request.query_params))
            return self._site.page(request, "trades.html", page=page, results=found)

    def download(self, request: Request) -> Response:
        with self._site.live.refreshed() as live:
            found = download(live, request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        content = self._site.without_folders(found.content.decode("utf-8", "replace"))
        headers = {"content-disposition": f'attachment; filename="{found.name}"'}
        return Response(content, media_type=found.media_type, headers=headers)

    def trade(self, request: Request) -> Response:
        with self._site.live.refreshed() as live:
            found = trade_of(live, request.path_params["day"], request.path_params["number"])
            if found is None:
                raise HTTPException(404)
            return self._site.page(request, "trade.html", page=trade_page(live, *found))

    def why(self, request: Request) -> Response:
        logs = self._site.live.places.logs
        page = why_page(logs, request.query_params, self._site.settings_of, self._site.calendar.wait)
        with self._site.live.refreshed() as live:
            days = [str(day) for day in reversed(live.reader.days())]
        return self._site.page(request, "why.html", page=page, days=days)

    def models(self, request: Request) -> Response:
        with self._site.live.refreshed() as live:
            return self._site.page(request, "models.html", page=models_page(live))

    def health(self, request: Request) -> Response:
        with self._site.live.refreshed() as live:
            return self._site.page(request, "health.html", page=health_page(live))

    def metrics(self, request: Request) -> Response:
        from trading.dashboard.views.metrics import metrics  # Prometheus' library is a tenth of the start

        with self._site.live.refreshed() as live:
            return Response(metrics(live), media_type=METRICS_TYPE)

    async def healthz(self, request: Request) -> Response:
        """Whether the dashboard itself answers; says nothing of the trader."""
        return PlainTextResponse("ok\n")

    async def events(self, request: Request) -> Response:
        """Server-sent events: `change` whenever a page would show something else."""
        return _Stream(self._changes(), self._site.streams)

    async def _changes(self) -> AsyncIterator[str]:
        yield "retry: 2000\n\n"
        known, quiet = -1, 0.0
        while not self._site.closing:
            version = await run_in_threadpool(self._site.live.look)
            if version != known or quiet >= AGE_SECONDS:
                known, quiet = version, 0.0
                yield f"event: change\ndata: {version}\n\n"
            await asyncio.sleep(LOOK_SECONDS)
            quiet += LOOK_SECONDS

    def login(self, request: Request) -> Response:
        return self._site.page(request, "login.html", problem="")

    async def give_token(self, request: Request) -> Response:
        access = self._site.access
        sent = (await _form(request)).get("token", "").strip()
        if access.token is None or not access.token.fits(sent):
            if wait := access.failures.add(address_of(request.scope)):
                return too_many(wait)
            return self._site.page(request, "login.html", 403, problem="This is not the token.")
        reply = RedirectResponse("/", 303)
        name = cookie_name("session", request.headers)
        reply.set_cookie(name, access.new_session(), httponly=True, samesite="lax", max_age=30 * 86_400)
        return reply

    def control(self, request: Request) -> Response:
        control = self._site.control
        assert control is not None
        acts, findings = control.newest()
        with self._site.live.refreshed() as live:
            models = [one.timestamp for one in read_models(live.places.models).known]
            symbols = sorted(live.audit.symbols | {trade.symbol for trade in live.open_trades})
            return self._site.page(
                request, "control.html", controls=live.controls,
                paused=[*([ALL] if live.controls.paused.all else []), *sorted(live.controls.paused.symbols)],
                models=models, serves=live.model, symbols=symbols, acts=acts, findings=findings, words=WORDS,
                life=status(live), standing=standing(live), pauses=pauses(live),
            )  # fmt: skip

    def ask(self, request: Request) -> Response:
        """The question before an action; it changes nothing, and gives the browser the cookie that its form needs."""
        action, target = _wanted(request.query_params.get("action", ""), request.query_params.get("target", ""))
        assert self._site.control is not None
        try:
            self._site.control.check(action, target)
        except UserError as error:
            return self._site.page(request, "error.html", 409, title="Not done", text=str(error))
        cookie = cookie_of("csrf", request.headers) or secrets.token_urlsafe(32)
        words = WORDS[action]
        with self._site.live.refreshed() as live:
            follows, found = consequence(live, action, target), status(live)
        reply = self._site.page(
            request, "ask.html", action=action, target=target, button=words.button.format(stock(target)), life=found,
            asks=words.asks.format(stock(target)), follows=follows, form=self._site.access.csrf_of(cookie),
        )  # fmt: skip
        reply.set_cookie(cookie_name("csrf", request.headers), cookie, httponly=True, samesite="strict")
        return reply

    async def do(self, request: Request) -> Response:
        site = self._site
        assert site.control is not None
        form = await _form(request)
        if not site.access.is_form_of(cookie_of("csrf", request.headers), form.get("csrf", "")):
            return site.page(request, "error.html", 403, title="Refused", text="The form is too old or was not made "
                             "here; nothing was done. Open the page Control and try again.")  # fmt: skip
        action, target = _wanted(form.get("action", ""), form.get("target", ""))
        who = f"{address_of(request.scope)}{' with the token' if site.access.token is not None else ''}"
        try:
            said = await run_in_threadpool(site.control.act, action, target, who)
            follows = await run_in_threadpool(self._follows, action, target)
        except UserError as error:
            return site.page(request, "error.html", 409, title="Not done", text=str(error))
        return site.page(request, "done.html", said=said, follows=follows)

    def _follows(self, action: Action, target: str) -> str:
        with self._site.live.refreshed() as live:
            return consequence(live, action, target)

    async def refused(self, request: Request, error: Exception) -> Response:
        """The reply to what is not there or not allowed."""
        assert isinstance(error, HTTPException)
        text = {404: "There is no such page.", 405: "This cannot be done here."}.get(error.status_code, "Refused.")
        reply = self._site.page(request, "error.html", error.status_code, title=str(error.status_code), text=text)
        for name, value in (error.headers or {}).items():
            reply.headers[name] = value
        return reply

    async def failed(self, request: Request, error: Exception) -> Response:
        """The reply after an error of the dashboard; its cause is for the console alone."""
        return PlainTextResponse("The dashboard could not make this page; its console says why.\n", 500)


class _Stream(StreamingResponse):
    """A stream of events.  It is counted before its first byte is sent, so that no burst passes the limit."""

    def __init__(self, events: AsyncIterator[str], streams: Streams) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.one(address_of(scope)) as is_allowed:
            if is_allowed:
                await super().__call__(scope, receive, send)
                return
        refusal = PlainTextResponse("Too many open pages; close one.\n", 503, {"retry-after": "10"})
        await refusal(scope, receive, send)


def _wanted(name: str, target: str) -> tuple[Action, str]:
    """An action and what it is about, checked.

    Raises:
        HTTPException: there is no such action, or it lacks its stock or model.
    """
    target = target.strip()[:40]
    action = next((one for one in ACTIONS if one == name), None)
    if action is None or (action in WITH_TARGET) != bool(target):
        raise HTTPException(404)
    return action, target.upper() if target.isascii() else target  # the upper case of ß would be SS


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; none if it is not one."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, max_num_fields=20))
    except ValueError:
        return {}
