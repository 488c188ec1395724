"""A generated market under symbols of one's choice, for bots that ask for SPY or AAPL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from paper_exchange.market.generator.market import FIRST_SESSION, GeneratedMarket

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from paper_exchange.market.interface import BarColumns, Listing
    from paper_exchange.market.summary import Summary


class NamedMarket:
    """A generated `Market` of the given symbols; every stock is active and tradable.

    Prices are generated whatever the symbol: they have nothing to do with those of the real stock.

    Raises:
        ValueError: no symbols, too many, or a bad seed or first session.
    """

    def __init__(self, symbols: Sequence[str], seed: int, first_session: date = FIRST_SESSION) -> None:
        self._market = GeneratedMarket(seed=seed, stocks=len(symbols), first_session=first_session)
        self._generated = dict(zip(sorted(symbols), self._market.listings, strict=True))
        self.listings: tuple[Listing, ...] = tuple(
            replace(one, symbol=name, name=f"{name} (generated prices)", tradable=True, active=True)
            for name, one in self._generated.items()
        )

    @property
    def description(self) -> str:
        """One line that says that the market is generated, and its symbols."""
        return f"{self._market.description} under the symbols {', '.join(self._generated)}"

    @property
    def identity(self) -> str:
        """What a state file remembers of the market: all arguments."""
        return f"{self.description} from {self.first_session}"

    @property
    def first_session(self) -> date:
        """The first session."""
        return self._market.first_session

    @property
    def last_session(self) -> date:
        """The last session."""
        return self._market.last_session

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        """The bars of one symbol in one session.

        Raises:
            KeyError: `symbol` is not listed.
        """
        return self._market.session_bars(self._generated[symbol].symbol, session)

    def summary(self, symbol: str, session: date) -> Summary | None:
        """The bars of one symbol in one session, aggregated; None if there are none.

        Raises:
            KeyError: `symbol` is not listed.
        """
        return self._market.summary(self._generated[symbol].symbol, session)
