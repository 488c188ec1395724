"""The WSGI application: authentication, the request's instant, rate limit, errors; the routes are its two halves."""

from __future__ import annotations

import hmac
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from paper_exchange.api.data_api import data_routes
from paper_exchange.api.trading_api import trading_routes
from paper_exchange.base.replies import reply
from paper_exchange.base.wire import MINUTE, RATE_LIMITED, ApiError

if TYPE_CHECKING:
    import threading

    from paper_exchange.account.engine import Engine
    from paper_exchange.market.tape import Tape

RATE_LIMIT = 200  # requests a minute, as Alpaca's Basic plan has it
KEY_HEADER = "APCA-API-KEY-ID"
DATA_PREFIXES = ("/v2/stocks", "/v1beta1")
log = logging.getLogger(__name__)


class RateLimit:
    """Counts requests by key and minute of the exchange's clock; `limit` None counts nothing and refuses nothing."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._minute = -1
        self._counts: Counter[str] = Counter()

    def take(self, key: str, now: int) -> bool:
        """Count a request; whether it is within the limit."""
        if self.limit is None:
            return True
        if now // MINUTE != self._minute:
            self._minute = now // MINUTE
            self._counts.clear()
        self._counts[key] += 1
        return self._counts[key] <= self.limit

    def headers(self, key: str, now: int) -> dict[str, str]:
        """The three X-RateLimit headers; `Reset` is in seconds since the epoch."""
        limit = self.limit or RATE_LIMIT
        left = max(0, limit - self._counts[key]) if self.limit else limit
        reset = (now // MINUTE + 1) * 60
        return {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": str(left), "X-RateLimit-Reset": str(reset)}


def make_app(
    engine: Engine,
    tape: Tape,
    lock: threading.RLock,
    keys: tuple[str, str] | None = None,
    rate_limit: int | None = None,
) -> Flask:
    """The exchange as a WSGI application; `tape` is what market data shows.

    Every request holds the lock: one at a time, in order.
    """
    app = Flask("paper_exchange", static_folder=None)
    app.url_map.strict_slashes = False
    limiter = RateLimit(rate_limit)

    @app.before_request
    def begin() -> Response | None:
        lock.acquire()
        g.locked, g.now = True, engine.processed
        g.now = engine.advance()
        if not _authorised(keys):
            return reply({"message": "unauthorized."}, 401)
        if not limiter.take(_key(), g.now):
            return reply({"code": RATE_LIMITED, "message": "rate limit exceeded"}, 429)
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        if engine.book.changed:
            engine.save()
        response.headers.update(limiter.headers(_key(), g.now))
        return response

    @app.teardown_request
    def release(_: BaseException | None) -> None:
        if g.pop("locked", False):
            lock.release()

    _error_handlers(app)
    app.register_blueprint(trading_routes(engine))
    app.register_blueprint(data_routes(tape))
    return app


def _key() -> str:
    return request.headers.get(KEY_HEADER, "")


def _authorised(keys: tuple[str, str] | None) -> bool:
    given = (_key(), request.headers.get("APCA-API-SECRET-KEY", ""))
    return matches(given, keys)


def matches(given: tuple[str, str], keys: tuple[str, str] | None) -> bool:
    """Whether a key id and secret are the accepted ones; any that are not empty where `keys` is None."""
    if keys is None:
        return bool(given[0] and given[1])
    return all(hmac.compare_digest(one.encode(), other.encode()) for one, other in zip(given, keys, strict=True))


def _error_handlers(app: Flask) -> None:
    @app.errorhandler(ApiError)
    def refused(error: ApiError) -> Response:
        return reply(error.body, error.status)

    @app.errorhandler(HTTPException)
    def unknown(error: HTTPException) -> Response:
        status = error.code or 500
        message = "endpoint not found" if status == 404 else (error.description or error.name)
        if request.path.startswith(DATA_PREFIXES):
            return reply({"message": message}, status)
        return reply({"code": status * 100_000 + 10_000, "message": message}, status)

    @app.errorhandler(Exception)
    def broken(error: Exception) -> Any:
        log.exception("the exchange failed on %s %s", request.method, request.path)
        return reply({"code": 50010000, "message": "internal server error occurred"}, 500)
