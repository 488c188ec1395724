"""The exchange's state in one SQLite file, so that it survives a restart; one transaction per change.

An open file is locked for all others, under any name, until it is closed or its process ends.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.base.wire import JsonObject, from_ns, shares
from paper_exchange.books.ledger import SHOWN_LATE, Holding, Ledger
from paper_exchange.orders.order import Fill, Order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from paper_exchange.market.tape import Tape

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fills (sequence INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS documents (name TEXT PRIMARY KEY, body TEXT NOT NULL);
"""


BEFORE = "before"
"""In the row of a fill, the position before it, so that a position that lags a fill lags it after a restart too."""


class StateError(ValueError):
    """A state file that cannot be used; the message names it and the remedy."""


def _unusable(path: Path, error: OSError | sqlite3.Error) -> StateError:
    if isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
        return StateError(f"state file {path} is in use by another exchange; stop it, or name another file")
    what = error.strerror if isinstance(error, OSError) else error
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        what = f"{path.parent} is no folder"
    return StateError(f"state file {path}: {what}; name another one")


def _check_regular(path: Path) -> bool:
    """Whether a state file exists, as a regular file: SQLite would open devices, and write files beside them."""
    try:
        exists = path.exists()
        if exists and not path.is_file():
            raise StateError(f"state file {path}: not a regular file; name another one")
    except OSError as error:
        raise _unusable(path, error) from error
    return exists


def _row_of(holding: Holding) -> JsonObject:
    return asdict(holding) | {"cost": str(holding.cost)}


def _holding_of(row: JsonObject) -> Holding:
    counts = {name: shares(row[name]) for name in ("qty", "overnight")}
    return Holding(row["symbol"], cost=Decimal(row["cost"]), **counts)


def _fill_row(fill: Fill, ledger: Ledger) -> JsonObject:
    row: JsonObject = asdict(fill)
    if fill.sequence in ledger.before:
        _, before = ledger.before[fill.sequence]
        row[BEFORE] = None if before is None else _row_of(before)
    return row


@dataclass(frozen=True)
class Saved:
    """The stored state: ledger, orders (in a save: the changed ones), and the instant reached (ns since the epoch)."""

    ledger: Ledger
    orders: Sequence[Order]
    sequence: int
    processed: int
    created_at: int
    configurations: JsonObject
    market: str | None = None


class Store:
    """One state file.  `save` returns once SQLite has the transaction in its write-ahead log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_regular(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=0)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from error
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")  # survives a killed process; FULL would survive a power cut
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            self._db.close()
            raise _unusable(path, error) from error

    def load(self) -> Saved | None:
        """The last saved state; None in a new file.

        Raises:
            StateError: the file is damaged, or of another version.
        """
        try:
            row = self._db.execute("SELECT version, body FROM state").fetchone()
            if row is None:
                return None
            version = row[0]
            if version == VERSION:
                return self._saved(json.loads(row[1]))
        except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"state file {self.path} is damaged ({error}); delete it to start with a new account"
            ) from error
        raise StateError(f"state file {self.path}: version {version}, this program writes {VERSION}; delete it")

    def _saved(self, body: JsonObject) -> Saved:
        ledger = Ledger(Decimal(body["start"]), Decimal(body["cash"]), Decimal(body["realised"]))
        ledger.holdings = {row["symbol"]: _holding_of(row) for row in body["holdings"]}
        ledger.equity_at_close = {date.fromisoformat(day): Decimal(value) for day, value in body["closes"].items()}
        for (text,) in self._db.execute("SELECT body FROM fills ORDER BY sequence"):
            fields = json.loads(text)
            is_known, row = BEFORE in fields, fields.pop(BEFORE, None)  # files of earlier versions do not have it
            counts = {name: shares(fields[name]) for name in ("qty", "cumulative", "leaves")}
            fill = Fill(**(fields | counts | {"price": Decimal(fields["price"])}))
            ledger.fills.append(fill)
            if is_known:
                ledger.before[fill.sequence] = fill, _holding_of(row) if row else None
        if ledger.fills:
            ledger.forget_before(ledger.fills[-1].at - SHOWN_LATE)
        orders = [Order.from_json(text) for (text,) in self._db.execute("SELECT body FROM orders ORDER BY sequence")]
        configurations = body.get("configurations", {})
        return Saved(
            ledger,
            orders,
            body["sequence"],
            body["processed"],
            body["created_at"],
            configurations,
            body.get("market"),  # files of earlier versions do not name it
        )

    def save(self, state: Saved, new_fills: Sequence[Fill]) -> None:
        """Write changed orders, new fills and the account in one transaction."""
        ledger = state.ledger
        body = {
            "start": str(ledger.start),
            "cash": str(ledger.cash),
            "realised": str(ledger.realised),
            "holdings": [_row_of(holding) for holding in ledger.holdings.values()],
            "closes": {day.isoformat(): str(value) for day, value in ledger.equity_at_close.items()},
            "sequence": state.sequence,
            "processed": state.processed,
            "created_at": state.created_at,
            "configurations": state.configurations,
            "market": state.market,
        }
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)",
                [(order.id, order.sequence, order.to_json()) for order in state.orders],
            )
            self._db.executemany(
                "INSERT INTO fills VALUES (?, ?)",
                [(fill.sequence, json.dumps(_fill_row(fill, ledger), default=str)) for fill in new_fills],
            )
            self._db.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", (VERSION, json.dumps(body, default=str)))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # on a full disk SQLite has already rolled back
                self._db.execute("ROLLBACK")
            raise

    def document(self, name: str) -> str | None:
        """A text that `keep_document` stored beside the account; None if there is none."""
        row = self._db.execute("SELECT body FROM documents WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def keep_document(self, name: str, body: str) -> None:
        """Store a text under a name, in a transaction of its own."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (name, body))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def check_market(path: Path, saved: Saved, tape: Tape) -> None:
    """Check that a state belongs to a tape's market.

    Raises:
        StateError: it names another market, holds an unlisted stock, or has reached an instant far from all bars.
    """
    market = tape.market
    symbols = {order.symbol for order in saved.orders if order.is_open} | {fill.symbol for fill in saved.ledger.fills}
    unknown = sorted((symbols | set(saved.ledger.holdings)) - set(tape.listings))
    if saved.market not in (None, market.identity):
        problem = f"belongs to another market ({saved.market}; this is {market.identity})"
    elif unknown:
        problem = f"holds {unknown[0]}, which is not in this market"
    elif not tape.recent_sessions(saved.processed):
        dates = f"{market.first_session} to {market.last_session}"
        problem = f"is at {from_ns(saved.processed):%Y-%m-%d}, and this market has bars from {dates}"
    else:
        return
    raise StateError(f"state file {path} {problem}; start with its own market, or name another file")


def stored(path: Path) -> Saved | None:
    """What a state file holds; None without a file, or for a new one.

    Raises:
        StateError: the file cannot be used.
    """
    if not _check_regular(path):
        return None
    store = Store(path)
    try:
        return store.load()
    finally:
        store.close()


def stored_instant(path: Path) -> datetime | None:
    """The instant that a state file's exchange has reached (UTC); None without a file, or for a new one.

    Raises:
        StateError: the file cannot be used.
    """
    saved = stored(path)
    return from_ns(saved.processed) if saved else None
