"""The software stop: the sale of a position whose price is beyond a level although no leg has filled.

Two of three sources must agree: the newest bar, the broker's price of the position, the newest quote.  One wrong print
sells nothing, and one source that is missing keeps nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.rules.exits import Exit, exit_at_price

if TYPE_CHECKING:
    from collections.abc import Callable

    from trading.base.clock import Clock
    from trading.execution.orders.entry_evidence import PriceOf
    from trading.execution.orders.order_cache import OrderCache
    from trading.execution.orders.records import Records
    from trading.records.trade_log import Trade
    from trading.rules.spread import Quote

OLD_BAR: Final = timedelta(minutes=2)
"""A bar that ended longer ago does not show that the price is still between the levels."""


class SoftwareStop:
    """Checks the price of open trades against their levels.

    Args:
        quote_of: the newest quote of a stock; None if there is none.
        close: sells a trade, for a reason.
    """

    def __init__(
        self,
        cache: OrderCache,
        records: Records,
        clock: Clock,
        quote_of: Callable[[str], Quote | None],
        close: Callable[[Trade, str], None],
    ) -> None:
        self._cache = cache
        self._journal = records.journal
        self._clock = clock
        self._quote_of = quote_of
        self._close = close

    def check(self, trade: Trade, price_of: PriceOf) -> None:
        """Close a trade whose price is beyond a level by two sources; the quote is only read if the others disagree.

        Args:
            price_of: the newest price of a stock since an instant, by its bars; one from before the entry does not
                count.
        """
        if trade.exit_intent is not None:
            return
        bar = price_of(trade.symbol, trade.entry_time)
        held = self._cache.positions.get(trade.symbol)
        position = None if held is None or held.current_price is None else float(held.current_price)
        by_bar, by_position = _beyond(trade, bar), _beyond(trade, position)
        is_new = price_of(trade.symbol, max(trade.entry_time, self._clock.now() - OLD_BAR)) is not None
        reason = by_position if by_bar is Exit.NONE and not is_new else by_bar
        if reason is Exit.NONE:
            return
        if by_bar is by_position:
            self._close(trade, reason.name)
            return
        quote = self._quote_of(trade.symbol)
        if quote is not None and _is_beyond(trade, quote, reason):
            self._close(trade, reason.name)
            return
        asked = "no quote" if quote is None else f"the quote {quote.bid} to {quote.ask}"
        note = f"{asked}; not sold on one price; its stop and target stay"
        self._journal.event("prices_disagree", symbol=trade.symbol, bar=bar, position=position, note=note)


def _beyond(trade: Trade, price: float | None) -> Exit:
    """Which level of a trade a price in dollars is beyond; NONE for an unknown price too."""
    if price is None:
        return Exit.NONE
    return exit_at_price(price, float(trade.stop_loss), float(trade.take_profit))


def _is_beyond(trade: Trade, quote: Quote, reason: Exit) -> bool:
    """Whether both sides of a quote are beyond a level: the middle of a wide one says nothing."""
    return _beyond(trade, quote.bid) is reason and _beyond(trade, quote.ask) is reason
