"""Watchlists: stored with the account, and addressed by id or by name."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

from paper_exchange.api import views
from paper_exchange.base.replies import reply, with_now
from paper_exchange.base.wire import ApiError, JsonObject, bad_parameter, not_found, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from paper_exchange.account.engine import Engine
    from paper_exchange.books.store import Store

MAX_NAME = 64
DOCUMENT = "watchlists"  # its name in the state file


@dataclass
class Watchlist:
    """One watchlist; instants are in ns since the epoch, symbols in the client's order."""

    id: str
    name: str
    symbols: list[str]
    created_at: int
    updated_at: int


class Watchlists:
    """The watchlists of an account.  Every change is stored at once."""

    def __init__(self, engine: Engine, store: Store | None) -> None:
        self._engine = engine
        self._store = store
        self._made = 0
        self._lists: dict[str, Watchlist] = {}
        text = store.document(DOCUMENT) if store else None
        if text is not None:
            saved = json.loads(text)
            self._made = saved["made"]
            self._lists = {one["id"]: Watchlist(**one) for one in saved["lists"]}

    def all(self) -> list[Watchlist]:
        """Every watchlist, oldest first."""
        return list(self._lists.values())

    def find(self, list_id: str) -> Watchlist:
        """The watchlist with an id.

        Raises:
            ApiError: 404 if there is none.
        """
        found = self._lists.get(list_id.lower())
        if found is None:
            raise not_found("watchlist not found")
        return found

    def named(self, name: str) -> Watchlist:
        """The watchlist with a name.

        Raises:
            ApiError: 404 if there is none.
        """
        found = next((one for one in self._lists.values() if one.name == name), None)
        if found is None:
            raise not_found("watchlist not found")
        return found

    def create(self, body: object, now: int) -> Watchlist:
        """A new watchlist, from the body of a request."""
        fields = _fields(body)
        name, symbols = self._name(fields.get("name"), None), self._symbols(fields.get("symbols"))
        self._made += 1
        list_id = str(uuid.uuid5(uuid.UUID(self._engine.account_id), f"watchlist:{self._made}"))
        self._lists[list_id] = found = Watchlist(list_id, name, symbols, now, now)
        self._save()
        return found

    def update(self, found: Watchlist, body: object, now: int) -> None:
        """Change the name, the symbols or both."""
        fields = _fields(body)
        name, symbols = found.name, found.symbols
        if fields.get("name") is not None:
            name = self._name(fields["name"], found)
        if fields.get("symbols") is not None:
            symbols = self._symbols(fields["symbols"])
        self._change(found, name, symbols, now)

    def add(self, found: Watchlist, body: object, now: int) -> None:
        """Append the symbol of a request's body; one that is there already stays where it is."""
        symbols = self._symbols([*found.symbols, _fields(body).get("symbol")])
        self._change(found, found.name, symbols, now)

    def remove(self, found: Watchlist, symbol: str, now: int) -> None:
        """Remove a symbol.

        Raises:
            ApiError: 404 if it is not in the list.
        """
        if symbol not in found.symbols:
            raise not_found(f"symbol {symbol} not found in the watchlist")
        self._change(found, found.name, [one for one in found.symbols if one != symbol], now)

    def delete(self, found: Watchlist) -> None:
        """Delete a watchlist."""
        del self._lists[found.id]
        self._save()

    def _change(self, found: Watchlist, name: str, symbols: list[str], now: int) -> None:
        found.name, found.symbols, found.updated_at = name, symbols, now
        self._save()

    def _name(self, value: object, own: Watchlist | None) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME or not value.isprintable():
            raise bad_parameter(f"invalid name: text of 1 to {MAX_NAME} characters is required")
        if any(one.name == value for one in self._lists.values() if one is not own):
            raise bad_parameter("watchlist name must be unique")
        return value

    def _symbols(self, value: object) -> list[str]:
        names = value if isinstance(value, list) else [] if value is None else [None]
        for name in names:
            if not isinstance(name, str):
                raise bad_parameter("invalid symbols: a list of symbols is required")
            if name not in self._engine.tape.listings:
                raise not_found(f"asset not found for {name}")
        return list(dict.fromkeys(names))

    def _save(self) -> None:
        if self._store:
            body = {"made": self._made, "lists": [asdict(one) for one in self._lists.values()]}
            self._store.keep_document(DOCUMENT, json.dumps(body))

    def to_wire(self, found: Watchlist, now: int) -> JsonObject:
        """A watchlist's JSON object with its assets."""
        listings = self._engine.tape.listings
        assets = [views.asset(self._engine, listings[name], now) for name in found.symbols if name in listings]
        return self.summary(found) | {"assets": assets}

    def summary(self, found: Watchlist) -> JsonObject:
        """A watchlist's JSON object without its assets."""
        return {
            "id": found.id,
            "account_id": self._engine.account_id,
            "name": found.name,
            "created_at": rfc3339(found.created_at),
            "updated_at": rfc3339(found.updated_at),
        }


def _fields(body: object) -> JsonObject:
    if not isinstance(body, dict):
        raise ApiError(400, "request body format is invalid", 40010000)
    return body


def watchlist_routes(watchlists: Watchlists, read_body: Callable[[], object]) -> Blueprint:
    """All routes of watchlists; `read_body` parses the JSON body of the current request."""
    routes = Blueprint("watchlists", __name__)

    @routes.get("/v2/watchlists")
    @with_now
    def all_lists(now: int) -> Response:
        return reply([watchlists.summary(one) for one in watchlists.all()])

    @routes.post("/v2/watchlists")
    @with_now
    def create(now: int) -> Response:
        return reply(watchlists.to_wire(watchlists.create(read_body(), now), now))

    @routes.delete("/v2/watchlists/<list_id>/<symbol>")
    @with_now
    def remove(now: int, list_id: str, symbol: str) -> Response:
        found = watchlists.find(list_id)
        watchlists.remove(found, symbol, now)
        return reply(watchlists.to_wire(found, now))

    @routes.route("/v2/watchlists/<list_id>", methods=["GET", "PUT", "POST", "DELETE"])
    @routes.route("/v2/watchlists:by_name", methods=["GET", "PUT", "POST", "DELETE"])
    @with_now
    def one(now: int, list_id: str | None = None) -> Response:
        found = watchlists.named(_query_name()) if list_id is None else watchlists.find(list_id)
        match request.method:
            case "DELETE":
                watchlists.delete(found)
                return reply(None, 204)
            case "PUT":
                watchlists.update(found, read_body(), now)
            case "POST":
                watchlists.add(found, read_body(), now)
        return reply(watchlists.to_wire(found, now))

    return routes


def _query_name() -> str:
    name = request.args.get("name")
    if not name:
        raise bad_parameter("name is required")
    return name
