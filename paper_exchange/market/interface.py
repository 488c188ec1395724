"""What the exchange needs of a market: its listings, and their 1-minute bars by session.

`recorded.RecordedMarket` (files of bars) and `generated.GeneratedMarket` (a seeded simulation) implement `Market`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from decimal import Decimal

    from numpy.typing import NDArray

    from paper_exchange.market.summary import Summary


@dataclass(frozen=True)
class Listing:
    """One stock as `/v2/assets` describes it."""

    symbol: str
    name: str
    exchange: str = "NASDAQ"
    tradable: bool = True
    active: bool = True
    shortable: bool = True
    fractionable: bool = False


@dataclass(frozen=True)
class BarColumns:
    """1-minute bars of one symbol, oldest first: arrays of equal length n.

    `start` is the start of each minute in nanoseconds since 1970-01-01 UTC (int64); prices are dollars (float64);
    `volume` is shares (int64).  Starts are strictly increasing; low <= open, close <= high.
    """

    start: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Bar:
    """One 1-minute bar; `start` is in nanoseconds since the epoch (UTC), prices in dollars."""

    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


class Market(Protocol):
    """A source of bars.  Sessions are dates of the XNYS calendar."""

    @property
    def description(self) -> str:
        """One line that describes the market, and says whether it is generated."""

    @property
    def identity(self) -> str:
        """What a state file remembers of the market: different if accounts cannot move between two markets."""

    @property
    def listings(self) -> tuple[Listing, ...]:
        """Every stock of the market, by symbol."""

    @property
    def first_session(self) -> date:
        """The first session with bars."""

    @property
    def last_session(self) -> date:
        """The last session with bars; a generated market may continue for years."""

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        """The bars of one symbol in one session; empty if there are none.  May be called from several threads.

        Raises:
            KeyError: `symbol` is not listed.
        """

    def summary(self, symbol: str, session: date) -> Summary | None:
        """The bars of one symbol in one session, aggregated; None if there are none."""


class DerivedMarket:
    """The listings, sessions and identity of another market, whose bars a subclass changes."""

    def __init__(self, market: Market) -> None:
        self._market = market

    @property
    def identity(self) -> str:
        return self._market.identity

    @property
    def listings(self) -> tuple[Listing, ...]:
        return self._market.listings

    @property
    def first_session(self) -> date:
        return self._market.first_session

    @property
    def last_session(self) -> date:
        return self._market.last_session


class WholeDayMarket(DerivedMarket):
    """Another market with the bars outside the core session; summaries, and so daily bars, are of the core session.

    Args:
        market: The market.
        outside: The bars of a stock before the open and after the close of a session.
    """

    def __init__(self, market: Market, outside: Callable[[str, date], tuple[BarColumns, BarColumns]]) -> None:
        super().__init__(market)
        self._outside = outside

    @property
    def description(self) -> str:
        return f"{self._market.description}, with extended hours"

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        before, after = self._outside(symbol, session)
        parts = [part for part in (before, self._market.session_bars(symbol, session), after) if len(part)]
        if len(parts) < 2:
            return parts[0] if parts else before
        names = [field.name for field in fields(BarColumns)]
        return BarColumns(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def summary(self, symbol: str, session: date) -> Summary | None:
        return self._market.summary(symbol, session)


def source_of(market: Market) -> Market:
    """The market that a derived one is derived from in the end; a market of its own is its own."""
    while isinstance(market, DerivedMarket):
        market = market._market
    return market
