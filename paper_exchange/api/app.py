"""The gateway: one lock around the engine, and the WSGI application with keys, rate limit and error bodies."""

from __future__ import annotations

import contextlib
import hmac
import logging
import sqlite3
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from paper_exchange.api.peripheral import peripheral_routes
from paper_exchange.api.routes import request_body, trading_routes
from paper_exchange.api.watchlists import Watchlists, watchlist_routes
from paper_exchange.base.replies import reply
from paper_exchange.base.wire import MINUTE, RATE_LIMITED, ApiError
from paper_exchange.market_data.routes import data_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from paper_exchange.account.engine import Engine
    from paper_exchange.books.ledger import AccountSnapshot
    from paper_exchange.books.store import Store
    from paper_exchange.market.tape import Tape
    from paper_exchange.orders.events import TradeEvent

T = TypeVar("T")

RATE_LIMIT = 200  # requests per minute, as in Alpaca's Basic plan
KEY_HEADER = "APCA-API-KEY-ID"
HISTORY = "/v2/account/portfolio/history"
DATA_PREFIXES = ("/v2/stocks", "/v1beta", "/v1/corporate-actions")  # what Alpaca has on the host for data
log = logging.getLogger(__name__)


class RateLimit:
    """Counts requests by key and minute of the exchange's clock; with `limit` None it counts nothing."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._minute = -1
        self._counts: Counter[str] = Counter()

    def take(self, key: str, now: int) -> bool:
        """Count a request and return whether it is within the limit."""
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


class _Application(Flask):
    """A Flask application whose functions are all synchronous, which Flask would find out anew for every request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


class Gateway:
    """The one entry to an engine: REST requests, streams and faults all go through its lock, one at a time.

    Market data and the portfolio history are read outside of the lock, at the instant that the engine has reached.

    `keys` are the key id and secret that are accepted; None accepts any that are not empty.  `rate_limit` is in
    requests per key and minute of the exchange's clock; None sets no limit.  `store` keeps the watchlists.

    Attributes:
        app: The REST interface as a WSGI application.
    """

    def __init__(
        self,
        engine: Engine,
        published: Tape,
        keys: tuple[str, str] | None = None,
        rate_limit: int | None = None,
        store: Store | None = None,
    ) -> None:
        self._engine = engine
        self._published = published
        self._keys = keys
        self._watchlists = Watchlists(engine, store)
        self._lock = threading.RLock()
        self._reached = engine.processed
        self.app: Flask = self._make_app(RateLimit(rate_limit))

    def advance(self) -> int:
        """Process everything up to now; returns that instant (ns since the epoch).  Requests do this themselves.

        While the state file cannot be written it returns the last instant that is saved.
        """
        with self._lock:
            with contextlib.suppress(sqlite3.Error):  # the engine has reported it, and tries again next time
                self._reached = self._engine.advance()
            return self._reached

    def snapshot(self) -> AccountSnapshot:
        """The account as the exchange keeps it, processed up to now."""
        with self._lock:
            return self._engine.snapshot(self._engine.advance())

    def read_tape(self, read: Callable[[Tape], T]) -> T:
        """The result of `read` on the published tape."""
        return read(self._published)

    def accepts(self, key: str, secret: str) -> bool:
        """Whether a key id and secret are accepted."""
        if self._keys is None:
            return bool(key and secret)
        given = (key, secret)
        return all(hmac.compare_digest(_bytes(a), _bytes(b)) for a, b in zip(given, self._keys, strict=True))

    def listen(self, listener: Callable[[TradeEvent], None]) -> Callable[[], None]:
        """Call `listener` with every order event from now on, in order; returns a function that unsubscribes it.

        The listener hears of events once they are saved.  It runs while the exchange is locked: it must be quick and
        must not call the exchange.
        """
        return self._engine.events.listen(listener)

    def _make_app(self, limiter: RateLimit) -> Flask:
        app = _Application("paper_exchange", static_folder=None)
        app.url_map.strict_slashes = False
        engine = self._engine

        @app.before_request
        def begin() -> Response | None:
            self._lock.acquire()
            g.locked, g.now = True, engine.processed
            g.now = engine.advance()
            if not self.accepts(_key(), request.headers.get("APCA-API-SECRET-KEY", "")):
                return _wrong_keys()
            if not limiter.take(_key(), g.now):
                return reply({"code": RATE_LIMITED, "message": "rate limit exceeded"}, 429)
            if request.path.startswith((*DATA_PREFIXES, HISTORY)):
                release(None)  # these only read what is over, and may take long
            return None

        @app.after_request
        def finish(response: Response) -> Response:
            try:
                if g.get("locked"):
                    engine.save_changes()
            except sqlite3.Error:
                response = _not_saved()
            response.headers.extend(limiter.headers(_key(), g.now))  # a new response has none of them
            return response

        @app.teardown_request
        def release(_: BaseException | None) -> None:
            if g.pop("locked", False):
                self._lock.release()

        _error_handlers(app)
        app.register_blueprint(trading_routes(engine))
        app.register_blueprint(data_routes(self._published))
        app.register_blueprint(watchlist_routes(self._watchlists, request_body))
        app.register_blueprint(peripheral_routes(engine, request_body))
        return app


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")  # a stream's client can send anything


def _key() -> str:
    return request.headers.get(KEY_HEADER, "")


def _wrong_keys() -> Response:
    """The reply to wrong or missing keys: 403 on the data host, 401 on the trading host, as on Alpaca."""
    if request.path.startswith(DATA_PREFIXES):
        return reply({"message": "forbidden."}, 403)
    return reply({"code": 40110000, "message": "request is not authorized"}, 401)


def _not_saved() -> Response:
    """503: the state file cannot be written; a change that the request made is saved later."""
    return reply({"code": 50310000, "message": "the exchange cannot save its state, please try again later"}, 503)


def _error_handlers(app: Flask) -> None:
    @app.errorhandler(sqlite3.Error)
    def not_saved(_: sqlite3.Error) -> Response:
        return _not_saved()

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
    def broken(error: Exception) -> Response:
        log.exception("the exchange failed on %s %s", request.method, request.path)
        return reply({"code": 50010000, "message": "internal server error occurred"}, 500)
