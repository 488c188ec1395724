"""Fault injection for requests: a WSGI middleware that executes a `FaultPlan`.

`streams.server.Server` puts a function into the environment that resets the connection, so a reset is a real one
(RST).  Without a socket (in process, behind `FaultyAdapter`) a reset raises ConnectionResetError and a delay
TimeoutError, which `requests` would raise.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import requests

from paper_exchange.api.routes import POSITION_LAG
from paper_exchange.base.wire import NEW_YORK, to_ns
from paper_exchange.base.wsgi import Reply, WsgiAdapter, call
from paper_exchange.faults import replies as fault_replies
from paper_exchange.faults.plan import BEFORE, FaultPlan, Rule

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from paper_exchange.api.app import Gateway

CONNECTION_RESET = "paper_exchange.reset"  # in the environment of a request that came over a socket
PAGE = b"<html><head><title>%s</title></head><body><h1>%s</h1><hr>nginx</body></html>\n"
REASONS = {
    200: "OK",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
}


def html_page(status: int) -> Reply:
    """An HTML page, as a proxy in front of the exchange sends it."""
    title = f"{status} {REASONS[status]}"
    return Reply(title, [("Content-Type", "text/html")], PAGE % (title.encode(), title.encode()))


def json_error(status: int, message: str) -> Reply:
    """An error body as Alpaca sends it."""
    body = orjson.dumps({"code": status * 100_000 + 10_000, "message": message})
    return Reply(f"{status} {REASONS[status]}", [("Content-Type", "application/json")], body)


def request_line(environ: WSGIEnvironment) -> str:
    """ "METHOD /path?query body"; the body can be read again afterwards."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    query = environ.get("QUERY_STRING") or ""
    path = environ["PATH_INFO"] + (f"?{query}" if query else "")
    return f"{environ['REQUEST_METHOD']} {path} {body.decode('utf-8', 'replace')}".rstrip()


def reset(environ: WSGIEnvironment) -> ConnectionResetError:
    """Reset the connection (RST, no FIN); raise the returned error so that the server drops it."""
    if CONNECTION_RESET in environ:
        environ[CONNECTION_RESET]()
    return ConnectionResetError("reset by the plan of faults")


class FaultyApp:
    """An exchange's application with the faults of a plan.

    Args:
        exchange: The exchange whose requests go wrong.
        now: The exchange's clock.
        pause: Waits some seconds for a delay; real time by default.
    """

    def __init__(
        self,
        exchange: Gateway,
        plan: FaultPlan,
        now: Callable[[], datetime],
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._exchange = exchange
        self._plan = plan
        self._now = now
        self._pause = pause

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        at = self._now().astimezone(NEW_YORK)
        rule = self._plan.draw(request_line(environ), at.time())
        if rule is not None and rule.fault in BEFORE:
            refusal = self._before(rule, environ)
            if refusal is not None:
                return refusal.send(start_response)
        if rule is not None and rule.fault == "stale_positions":
            environ[POSITION_LAG] = rule.duration
        reply = call(self._exchange.app, environ)
        if rule is None or rule.fault in BEFORE:
            return reply.send(start_response)
        return self._after(rule, environ, reply, start_response)

    def _before(self, rule: Rule, environ: WSGIEnvironment) -> Reply | None:
        if rule.fault == "delay_before":
            self._pause(rule.duration)
            return None
        if rule.fault == "reset_before":
            raise reset(environ)
        if rule.fault == "429":
            reply = json_error(429, "too many requests.")
            reply.headers.append(("Retry-After", "1"))
            return reply
        if rule.fault == "500":
            return json_error(500, "internal server error occurred")
        return html_page(int(rule.fault))

    def _after(
        self, rule: Rule, environ: WSGIEnvironment, reply: Reply, start_response: StartResponse
    ) -> Iterable[bytes]:
        if rule.fault == "reset_after":
            raise reset(environ)
        if rule.fault == "delay":
            self._pause(rule.duration)
            if CONNECTION_RESET not in environ:
                raise TimeoutError("delayed by the plan of faults")
            return reply.send(start_response)
        if rule.fault in ("504", "html"):
            return html_page(504 if rule.fault == "504" else 200).send(start_response)
        if rule.fault in ("truncated", "cut_off"):
            whole = len(reply.body)
            reply.body = reply.body[: whole // 2]
            if rule.fault == "cut_off" and CONNECTION_RESET not in environ:
                raise ConnectionResetError("cut off by the plan of faults")
            return reply.send(start_response, whole if rule.fault == "cut_off" else None)
        if reply.status.startswith("200") and reply.body:
            reply.body = orjson.dumps(self._altered(rule, orjson.loads(reply.body)))
        return reply.send(start_response)

    def _altered(self, rule: Rule, body: Any) -> Any:
        now = self._now()
        since = to_ns(now - timedelta(seconds=rule.duration))
        match rule.fault:
            case "null":
                return fault_replies.with_null(body)
            case "unknown_status":
                return fault_replies.with_unknown_status(body)
            case "stale_orders":
                return fault_replies.stale_orders(body, self._exchange.snapshot().orders, since)
            case "stale_positions":
                return body  # the exchange has left them out
            case "wrong_clock":
                return fault_replies.wrong_clock(body, rule.duration)
        start = datetime.combine(
            now.astimezone(NEW_YORK).date(), datetime.min.time().fromisoformat(rule.start or "00:00"), NEW_YORK
        )
        return fault_replies.without_new_bars(body, start)


class FaultyAdapter(WsgiAdapter):
    """The in-process transport for a faulty application: resets and delays raise what `requests` raises."""

    def send(self, request: requests.PreparedRequest, *more: Any, **options: Any) -> requests.Response:
        try:
            return super().send(request, *more, **options)
        except ConnectionError as error:
            raise requests.ConnectionError(str(error), request=request) from error
        except TimeoutError as error:
            raise requests.ReadTimeout(str(error), request=request) from error
