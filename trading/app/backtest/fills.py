"""How the embedded exchange fills, for the backtest: its own path of each minute, spread, reaction and margin."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from paper_exchange.account.checks import reserve_per_share
from paper_exchange.account.schedule import reaction
from paper_exchange.base.calendar import xnys
from paper_exchange.books.valuation import multiplier_of
from paper_exchange.market.interface import BarColumns, Listing
from paper_exchange.market.path import CORNERS, dollars
from paper_exchange.market.quotes import Spread, ask_of
from paper_exchange.market.summary import Summary, summarise
from paper_exchange.market.tape import Tape
from paper_exchange.orders.matching import Terms, side_price
from trading.backtest.engine.account import PARTS
from trading.backtest.engine.fills import Fill, Legs
from trading.base.clock import to_ns
from trading.market.bars import MINUTE_NS
from trading.rules.exits import Exit, first_touch
from trading.rules.spread import Quote

if TYPE_CHECKING:
    from datetime import date

    from paper_exchange.market.quotes import Stretch
    from trading.backtest.engine.session_market import SessionMarket
    from trading.base.arrays import Ints

CENT = Decimal("0.01")
MARKET_ORDERS = {True: Terms("market", buy=True), False: Terms("market", buy=False)}


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

    def price(self, market: SessionMarket, stock: int, instant: int) -> int:
        minute, since = divmod(instant, MINUTE_NS)
        if since <= CORNERS[0]:  # until then the price stands
            return _opening(market).item(stock, minute)
        stretch = self._stretch(market, stock, instant)
        return stretch.price(to_ns(market.session.open) + instant) if stretch.moves else 0

    def buy(self, market: SessionMarket, stock: int, sent: int) -> Fill | None:
        return self._at_market(market, stock, sent, buy=True)

    def sell(self, market: SessionMarket, stock: int, sent: int) -> Fill | None:
        return self._at_market(market, stock, sent, buy=False)

    def _at_market(self, market: SessionMarket, stock: int, sent: int, *, buy: bool) -> Fill | None:
        opened, terms = to_ns(market.session.open), MARKET_ORDERS[buy]
        at = self.moved(market, stock, sent)
        while at < market.minutes * MINUTE_NS:
            stretch = self._stretch(market, stock, at)
            found = terms.next_instant(stretch, opened + at) if stretch.trades else None
            if found is not None:
                return Fill(dollars(side_price(stretch, found, buy=buy)), found - opened)
            at = stretch.end - opened
        return None

    def exit(self, market: SessionMarket, stock: int, legs: Legs, until: int) -> tuple[Exit, Fill] | None:
        opened = to_ns(market.session.open)
        at, both_from = min(legs.stop_from, legs.target_from), max(legs.stop_from, legs.target_from)
        levels, end = (float(legs.stop), float(legs.target)), min(market.minutes, until // MINUTE_NS + 1)
        while at // MINUTE_NS < end:
            stretch = self._stretch(market, stock, at)
            found = _first_leg(stretch, legs, opened) if stretch.trades else None
            if found is not None:
                return found if found[1].at <= until else None
            at = stretch.end - opened
            if at >= both_from:
                at = int(first_touch(*market.touch[stock], at // MINUTE_NS, end, *levels)) * MINUTE_NS
        return None

    def moved(self, market: SessionMarket, stock: int, sent: int) -> int:
        return sent + reaction(self.seed, market.symbols[stock], to_ns(market.session.open) + sent)

    def quote(self, price: int) -> Quote:
        return Quote(float(dollars(price)), float(dollars(ask_of(price, self.ticks))))

    def takes(self, price: int, stop: Decimal, target: Decimal) -> bool:
        last = dollars(price)
        return stop <= last - CENT and target >= last + CENT

    def reserve(self, price: int) -> Decimal:
        return reserve_per_share("market", None, None, dollars(price))

    def leverage(self, equity: Decimal) -> int:
        return multiplier_of(equity)

    def _stretch(self, market: SessionMarket, stock: int, instant: int) -> Stretch:
        return _tape(market, self.ticks).stretch(market.symbols[stock], to_ns(market.session.open) + instant)


def _first_leg(stretch: Stretch, legs: Legs, opened: int) -> tuple[Exit, Fill] | None:
    """The leg that fills first in a stretch, the stop if both do at one instant; None if neither does."""
    stop, target = Terms("stop", buy=False, stop=legs.stop), Terms("limit", buy=False, limit=legs.target)
    stopped = stop.next_instant(stretch, opened + legs.stop_from)
    taken = target.next_instant(stretch, opened + legs.target_from)
    if stopped is not None and (taken is None or stopped <= taken):
        return Exit.STOP_LOSS, Fill(dollars(side_price(stretch, stopped, buy=False)), stopped - opened)
    if taken is not None:
        return Exit.TAKE_PROFIT, Fill(dollars(side_price(stretch, taken, buy=False)), taken - opened)
    return None


class _OneSession:
    """A session of the backtest as a `paper_exchange.market.interface.Market`."""

    description = identity = "one session"

    def __init__(self, market: SessionMarket) -> None:
        self._bars = dict(zip(market.symbols, market.bars, strict=True))
        self.listings = tuple(Listing(symbol, symbol) for symbol in market.symbols)
        self.first_session = self.last_session = market.session.date

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        one = self._bars[symbol]
        return BarColumns(one.start, one.open, one.high, one.low, one.close, one.volume.astype(np.int64))

    def summary(self, symbol: str, session: date) -> Summary | None:
        return summarise(self.session_bars(symbol, session))


@lru_cache(maxsize=2)
def _tape(market: SessionMarket, ticks: int) -> Tape:
    return Tape(_OneSession(market), xnys(), spread=Spread(ticks))


@lru_cache(maxsize=2)
def _opening(market: SessionMarket) -> Ints:
    """The price of every stock at the start of each minute and at the close, millionths, (m, n + 1)."""
    found: Ints = np.pad(market.last, ((0, 0), (1, 0)))
    opened = market.prices[:, :, 0]
    has_bar = np.isfinite(opened)
    found[:, :-1][has_bar] = np.rint(opened[has_bar] * PARTS).astype(np.int64)
    return found
