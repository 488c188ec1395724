"""How the embedded exchange fills, for the backtest: its own path of each minute, spread, reaction and margin."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from paper_exchange.account import checks
from paper_exchange.account.checks import with_buffer
from paper_exchange.account.schedule import reaction
from paper_exchange.books import valuation
from paper_exchange.books.valuation import multiplier_of
from paper_exchange.market import path, quotes
from paper_exchange.market.path import dollars, moves_of, price_along, reached_along
from paper_exchange.market.quotes import Spread, ask_of
from trading.backtest.engine.compiled import account, arrays, entries, session
from trading.backtest.engine.compiled import fills as engine_fills
from trading.backtest.engine.compiled.arrays import CENT, DOLLAR, Exchange
from trading.backtest.engine.compiled.session import trade_session
from trading.base.compiled import compilable, compiled
from trading.rules import entry_numbers, exits
from trading.rules.spread import Quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from trading.backtest.engine.compiled.arrays import Book, Setup, State

for _function in (
    *(
        path.tick_at,
        path.grid_below,
        path.grid_above,
        path.price_at,
        path.reached,
        moves_of,
        price_along,
        reached_along,
    ),
    *(quotes.ask_of, with_buffer, multiplier_of),
):
    compilable(_function)


@dataclass(frozen=True)
class PathFills:
    """The embedded exchange that draws no behaviour and publishes every bar at once (EXCHANGE_BEHAVIOUR=calm).

    Every fill is worked out by the exchange's own functions.  Its draws are those of a run with the same seed.

    Attributes:
        seed: SEED.
        ticks: between bid and ask.
    """

    seed: int
    ticks: int = Spread().ticks

    @property
    def description(self) -> str:
        apart = f"{self.ticks} tick{'s' * (self.ticks != 1)} apart"
        exchange = "the embedded exchange with EXCHANGE_BEHAVIOUR=calm and no late bars"
        return f"at the ask or the bid, {apart}, as on {exchange}"

    def trade_session(self, setup: Setup, book: Book, states: NDArray[np.void]) -> int:
        return _COMPILED(setup, book, cast("Sequence[State]", states))

    def delay(self, symbol: str, sent: int) -> int:
        return reaction(self.seed, symbol, sent)

    def quote(self, price: int) -> Quote:
        return Quote(float(dollars(price)), float(dollars(ask_of(price, self.ticks))))


# The exchange's functions, in the form in which the compiled session calls them


@compilable
def _price(opened: int, low: int, high: int, close: int, since: int) -> int:
    return price_along(moves_of(0, opened, low, high, close), since)


@compilable
def _reached(opened: int, low: int, high: int, close: int, level: int, rising: bool, since: int) -> int | None:
    return reached_along(moves_of(0, opened, low, high, close), level, rising, since)


@compilable
def _takes(price: int, stop: int, target: int) -> bool:
    """A level lies a cent or more from the price."""
    return stop <= price - CENT and target >= price + CENT


@compilable
def _leverage(equity: int) -> int:
    return multiplier_of(equity, DOLLAR)


_SOURCES: Final = (
    path,
    quotes,
    checks,
    valuation,
    account,
    arrays,
    entries,
    session,
    engine_fills,
    entry_numbers,
    exits,
)
"""The modules whose code is compiled together."""


def _compile(sources: str) -> Callable[[Setup, Book, Sequence[State]], int]:
    """The compiled session; machine code is kept on disk for each state of the sources."""

    @compiled()
    def run(setup: Setup, book: Book, states: Sequence[State]) -> int:
        code = sources  # noqa: F841 (the key of the machine code on disk contains what a function encloses)
        exchange = Exchange(_price, _reached, ask_of, with_buffer, _takes, _leverage)
        return trade_session(exchange, setup, book, states)

    return run


_COMPILED: Final = _compile(hashlib.sha256("".join(map(inspect.getsource, _SOURCES)).encode()).hexdigest())
