"""The quote of a stock, and the rule on its spread."""

from __future__ import annotations

from typing import NamedTuple

from trading.rules.entry_numbers import is_wide, spread_of


class Quote(NamedTuple):
    """The newest bid and ask of a stock, dollars."""

    bid: float
    ask: float

    @property
    def mid(self) -> float:
        """Halfway between bid and ask, dollars."""
        return (self.bid + self.ask) / 2.0

    @property
    def spread(self) -> float:
        """Ask minus bid, as a fraction of the mid price."""
        return spread_of(self.bid, self.ask)


def spread_refusal(symbol: str, quote: Quote | None, widest: float) -> tuple[str, str] | None:
    """Why a stock is not bought at this quote, as (rule, reason); None where it may be.

    Args:
        quote: None if it is not known, which refuses too.
        widest: MAX_SPREAD_PCT, fraction of the price; 0 disables the rule.
    """
    if not widest:
        return None
    if quote is None:
        return "spread", f"the spread of {symbol} is not known"
    if is_wide(quote.bid, quote.ask, widest):
        return "spread", f"the spread of {symbol} is {quote.spread:.2%}, over {widest:.2%}"
    return None
