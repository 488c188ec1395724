"""A paper exchange in one object: a market, a clock and an account behind a WSGI application."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.account.engine import Engine
from paper_exchange.api.app import Gateway
from paper_exchange.base.calendar import xnys
from paper_exchange.base.wire import to_ns
from paper_exchange.books.store import StateError, Store
from paper_exchange.market.coverage import COVERAGES, ThinnedMarket, ThinnedOutside
from paper_exchange.market.interface import WholeDayMarket
from paper_exchange.market.published import Publication, PublishedTape
from paper_exchange.market.quotes import Spread
from paper_exchange.market.tape import Halt, Tape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from paper_exchange.base.wire import JsonObject
    from paper_exchange.market.interface import Market
    from paper_exchange.orders.behaviour import Behaviour

MARGIN: JsonObject = {"max_margin_multiplier": "2", "no_shorting": False}


class PaperExchange(Gateway):
    """A paper exchange that speaks Alpaca's REST interface.

    Args:
        market: Where bars come from.
        now: The exchange's only clock; it returns an aware datetime.
        cash: The opening balance in dollars; an existing state file keeps its own.
        state_path: A file that keeps the account across restarts; None keeps everything in memory.
        keys: The key id and secret to accept; None accepts any that are not empty.
        rate_limit: Requests per key and minute of the exchange's clock; None sets no limit.
        account: The seed of the account's id, and so of every order id.
        behaviour: Partial fills, pending requests, lagging positions; by default none of them.
        halts: Which stocks do not trade when.
        bar_delay: Market data shows a bar 1 s to so many seconds after its minute (`market.published.Publication`).
        updated_bars: The probability that a bar is completed half a minute later.
        late_bars: The probability that market data shows a bar up to 90 s later still.
        revised_bars: The probability that market data shows a bar wrong at first, and right 30 s later.
        coverage: What the feed `iex` shows: the "whole" market, or the bars of a venue like "iex".
        extended_bars: Show bars before the open and after the close too; daily bars never contain them.
        spread_ticks: Ticks between bid and ask in the core session; 0 has one price on both sides, at all hours.
        spread_of_range: If that is more, this share of the range of the latest finished bar.
        margin: Open a margin account that may sell short, as Alpaca's paper accounts; else a cash account.
        fractionable: Make every stock tradable in fractions of a share, and allow the account that.

    Raises:
        StateError: the state file cannot be used.
        ValueError: a delay, a probability, a spread or the coverage is out of range.
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
        behaviour: Behaviour | None = None,
        halts: Sequence[Halt] = (),
        bar_delay: float = 0.0,
        updated_bars: float = 0.0,
        late_bars: float = 0.0,
        revised_bars: float = 0.0,
        coverage: str = "whole",
        extended_bars: bool = False,
        spread_ticks: int = 1,
        spread_of_range: float = 0.0,
        margin: bool = True,
        fractionable: bool = True,
    ) -> None:
        self.description = market.description
        seed = behaviour.seed if behaviour else 0
        publication = Publication(bar_delay, updated_bars, late_bars, revised_bars, seed)
        if coverage not in COVERAGES:
            raise ValueError(f"coverage={coverage!r}: choose one of {', '.join(COVERAGES)}")
        self._store = Store(state_path) if state_path else None
        spread = Spread(spread_ticks, spread_of_range)

        def shown(market: Market) -> PublishedTape:
            return PublishedTape(market, xnys(), halts, publication, spread=spread, seed=seed)

        tape = published = Tape(market, xnys(), halts, spread=spread, seed=seed)
        if not publication.is_immediate or coverage == "iex":
            published = shown(market)
        if coverage == "iex":
            published.iex = shown(ThinnedMarket(market, seed))
        if extended_bars:
            published.day = shown(WholeDayMarket(market, published.outside))
            if coverage == "iex":
                published.iex.day = shown(WholeDayMarket(published.iex.market, ThinnedOutside(published.outside, seed)))
        if fractionable:
            tape.listings = {name: replace(one, fractionable=True) for name, one in tape.listings.items()}
        configurations = (MARGIN if margin else {}) | ({"fractional_trading": True} if fractionable else {})
        try:
            engine = Engine(tape, now, Decimal(cash), self._store, account, behaviour, configurations)
        except StateError:
            if self._store:
                self._store.close()
            raise
        for symbol in list(tape.listings)[:1]:
            tape.last_price(symbol, to_ns(now()))  # a generated market makes all sessions so far before it serves
        super().__init__(engine, published, keys, rate_limit, self._store)

    def close(self) -> None:
        """Save and close the state file; the exchange cannot be used afterwards."""
        with self._lock:
            self._engine.save()
            if self._store:
                self._store.close()
