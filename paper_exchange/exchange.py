"""The exchange as one object: a market, a clock and an account behind a WSGI application."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from flask import Flask

from paper_exchange.account import Fill
from paper_exchange.app import make_app
from paper_exchange.calendar import xnys
from paper_exchange.conduct import Conduct
from paper_exchange.engine import Engine
from paper_exchange.events import TradeEvent
from paper_exchange.market import Market
from paper_exchange.orders import Order
from paper_exchange.store import Store
from paper_exchange.tape import Halt, Tape
from paper_exchange.wire import from_ns


@dataclass(frozen=True)
class HeldShares:
    """Shares of one stock and what they cost in dollars, in all."""

    symbol: str
    qty: int
    cost: Decimal


@dataclass(frozen=True)
class Books:
    """The exchange's own account, to check a client against: `start + realised == cash + sum of costs`, exactly.

    Money is in dollars; `at` is the instant (UTC) up to which the exchange has lived.
    """

    at: datetime
    start: Decimal
    cash: Decimal
    realised: Decimal
    equity: Decimal
    buying_power: Decimal
    positions: dict[str, HeldShares]
    fills: tuple[Fill, ...]
    orders: tuple[Order, ...]


class PaperExchange:
    """A paper exchange that speaks Alpaca's REST interface.

    `now` returns an aware datetime; it is the exchange's only clock.  `cash` is the opening balance in dollars (a
    state file that exists already has its own).  `state_path` is a file that survives a restart, None keeps everything
    in memory.  `keys` are the key id and secret to accept, None accepts any that are not empty.  `rate_limit` is in
    requests a minute of the exchange's clock and a key, None enforces none.  `conduct` says how it behaves beyond the
    rules (partial fills, latency), `halts` which stocks do not trade when.

    Raises:
        StateError: the state file cannot be used.
    """

    def __init__(
        self,
        market: Market,
        now: Callable[[], datetime],
        *,
        cash: Decimal = Decimal("100000"),
        state_path: Path | None = None,
        keys: tuple[str, str] | None = None,
        rate_limit: int | None = None,
        account: str = "paper",
        conduct: Conduct | None = None,
        halts: Sequence[Halt] = (),
    ) -> None:
        self._lock = threading.RLock()
        self._store = Store(state_path) if state_path else None
        tape = Tape(market, xnys(), halts)
        self._engine = Engine(tape, now, Decimal(cash), self._store, account, conduct)
        self.description = market.description
        self.app: Flask = make_app(self._engine, self._lock, keys, rate_limit)

    def advance(self) -> datetime:
        """Live through every minute that has passed; returns the instant reached (UTC).  Requests do it themselves."""
        with self._lock:
            return from_ns(self._engine.advance())

    def books(self) -> Books:
        """The account as the exchange itself keeps it, at this instant."""
        with self._lock:
            now = self._engine.advance()
            ledger = self._engine.ledger
            return Books(
                at=from_ns(now),
                start=ledger.start,
                cash=ledger.cash,
                realised=ledger.realised,
                equity=self._engine.equity(now),
                buying_power=self._engine.buying_power(),
                positions={one.symbol: HeldShares(one.symbol, one.qty, one.cost) for one in ledger.holdings.values()},
                fills=tuple(ledger.fills),
                orders=tuple(Order(**vars(order)) for order in self._engine.book.orders.values()),
            )

    def listen(self, listener: Callable[[TradeEvent], None]) -> Callable[[], None]:
        """Call `listener` with every order event from now on, in order; returns what ends that.

        It is called while the exchange is locked: it must be quick, and ask the exchange nothing.
        """
        return self._engine.events.listen(listener)

    def close(self) -> None:
        """Save and close the state file; the exchange is not to be used after it."""
        with self._lock:
            self._engine.save()
            if self._store:
                self._store.close()
