"""The exchange as one object: a market, a clock and an account behind a WSGI application."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from paper_exchange.account.engine import Engine
from paper_exchange.account.store import Store
from paper_exchange.api.app import make_app, matches
from paper_exchange.base.calendar import xnys
from paper_exchange.base.wire import Shares, from_ns
from paper_exchange.market.published import PublishedTape
from paper_exchange.market.tape import Halt, Tape
from paper_exchange.orders.orders import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from flask import Flask

    from paper_exchange.account.account import Fill
    from paper_exchange.account.events import TradeEvent
    from paper_exchange.market.market import Market
    from paper_exchange.orders.conduct import Conduct

T = TypeVar("T")
MARGIN = {"max_margin_multiplier": "2", "no_shorting": False}


@dataclass(frozen=True)
class HeldShares:
    """Shares of one stock and what they cost in dollars, in all; sold short: both negative."""

    symbol: str
    qty: Shares
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
    rules (partial fills, latency), `halts` which stocks do not trade when.  `late_bars` and `revised_bars` are the
    probabilities that market data shows a bar up to 90 s late, or at first wrong and right 30 s later.  `margin` makes
    it a margin account that may sell short, `fractionable` lets every stock be traded in parts of shares; both begin
    the account's configurations.

    Raises:
        StateError: the state file cannot be used.
        ValueError: a probability out of its range.
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
        late_bars: float = 0.0,
        revised_bars: float = 0.0,
        margin: bool = False,
        fractionable: bool = False,
    ) -> None:
        self._lock = threading.RLock()
        self._store = Store(state_path) if state_path else None
        tape = shown = Tape(market, xnys(), halts)
        if late_bars or revised_bars:
            seed = conduct.seed if conduct else 0
            shown = PublishedTape(market, xnys(), halts, late=late_bars, revised=revised_bars, seed=seed)
        if fractionable:
            tape.listings = {name: replace(one, fractionable=True) for name, one in tape.listings.items()}
        self._shown = shown
        self._keys = keys
        configurations = (MARGIN if margin else {}) | ({"fractional_trading": True} if fractionable else {})
        self._engine = Engine(tape, now, Decimal(cash), self._store, account, conduct, configurations)
        self.description = market.description
        self.app: Flask = make_app(self._engine, shown, self._lock, keys, rate_limit)

    def advance(self) -> datetime:
        """Live through every minute that has passed; returns the instant reached (UTC).  Requests do it themselves."""
        with self._lock:
            return from_ns(self._engine.advance())

    def advance_ns(self) -> int:
        """As `advance`; the instant in nanoseconds since the epoch."""
        with self._lock:
            return self._engine.advance()

    def looking(self, look: Callable[[Tape], T]) -> T:
        """What `look` finds on the tape that market data shows, while nothing else is served."""
        with self._lock:
            return look(self._shown)

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
                equity=self._engine.money.equity(now),
                buying_power=self._engine.money.buying_power(now),
                positions={one.symbol: HeldShares(one.symbol, one.qty, one.cost) for one in ledger.holdings.values()},
                fills=tuple(ledger.fills),
                orders=tuple(Order(**vars(order)) for order in self._engine.book.orders.values()),
            )

    def accepts(self, key: str, secret: str) -> bool:
        """Whether the exchange takes these keys."""
        return matches((key, secret), self._keys)

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
