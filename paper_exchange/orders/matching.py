"""Matching of one order, or of a stop and a target, against one bar.  Pure functions; prices are Decimals of dollars.

A bar does not record the order of its prices.  Where that order matters, the result is the worse one for the account:
the stop fills before the target, and after an entry inside the bar a target fills only if the bar closes beyond it.
An order never fills at a price outside the bar.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from paper_exchange.market.interface import Bar

if TYPE_CHECKING:
    from decimal import Decimal


STOPS = ("stop", "trailing_stop")  # these become market orders once triggered


@dataclass(frozen=True)
class Terms:
    """The price terms of an order.

    `kind` is market, limit, stop, trailing_stop or stop_limit; `triggered` says that a stop_limit has become a limit
    order, or a partly filled stop a market order.
    """

    kind: str
    buy: bool
    limit: Decimal | None = None
    stop: Decimal | None = None
    triggered: bool = False


class EntryPath(Enum):
    """How a bracket's entry traded in the bar that activates its legs."""

    AT_OPEN = "at the open: the legs see the whole bar"
    FALLING = "inside the bar, on the way down: lower prices came later, higher ones may have come before"
    RISING = "inside the bar, on the way up"


@dataclass(frozen=True)
class Match:
    """`price` is the fill price, or None; `triggered` says that a stop_limit has become a limit order."""

    price: Decimal | None = None
    triggered: bool = False


NOTHING = Match()


def match(terms: Terms, bar: Bar) -> Match:
    """Match one order that was open when the bar began (or arrived during it).

    Market: the open.  Limit: the open if it is at least as good as the limit, else the limit if the bar touched it.
    Stop: the open if it is beyond the stop, else the stop if the bar touched it.
    """
    if terms.kind == "market" or (terms.kind in STOPS and terms.triggered):
        return Match(bar.open, terms.triggered)
    if terms.kind == "limit" or terms.triggered:
        return Match(_limit(terms, bar), terms.triggered)
    if terms.kind in STOPS:
        return Match(_stop(terms, bar))
    return _stop_limit(terms, bar)


def auction(bar: Bar, price: Decimal) -> Bar:
    """A bar's opening or closing auction: a bar with a single price."""
    return Bar(bar.start, price, price, price, price)


def _limit(terms: Terms, bar: Bar) -> Decimal | None:
    limit = _required(terms.limit)
    if terms.buy:
        return bar.open if bar.open <= limit else limit if bar.low <= limit else None
    return bar.open if bar.open >= limit else limit if bar.high >= limit else None


def _stop(terms: Terms, bar: Bar) -> Decimal | None:
    stop = _required(terms.stop)
    if terms.buy:
        return bar.open if bar.open >= stop else stop if bar.high >= stop else None
    return bar.open if bar.open <= stop else stop if bar.low <= stop else None


def _stop_limit(terms: Terms, bar: Bar) -> Match:
    at = _stop(terms, bar)
    if at is None:
        return NOTHING
    limit = _required(terms.limit)
    # Triggered at a price worse than the limit: it rests, and can trade from the next bar on.
    acceptable = at <= limit if terms.buy else at >= limit
    return Match(at if acceptable else None, triggered=True)


def match_exit(
    stop: Terms | None, target: Terms | None, bar: Bar, entered: EntryPath | None = None
) -> tuple[str, Match] | None:
    """Match a stop and a target for the same shares: `("stop" | "target", match)` for the one that trades.

    The open comes first, then the stop, then the target.  `entered` is given only in the bar in which the entry traded.
    """
    if stop is not None and stop.kind == "stop" and stop.triggered:
        return "stop", Match(bar.open, triggered=True)
    if target is not None and entered in (None, EntryPath.AT_OPEN) and _opens_beyond(target, bar):
        return "target", Match(bar.open)
    if stop is not None:
        found = _match_stop_leg(stop, bar, entered)
        if found.price is not None or found.triggered:
            return "stop", found
    if target is not None:
        price = _match_target_leg(target, bar, entered)
        if price is not None:
            return "target", Match(price)
    return None


def _opens_beyond(target: Terms, bar: Bar) -> bool:
    limit = _required(target.limit)
    return bar.open <= limit if target.buy else bar.open >= limit


def _match_stop_leg(stop: Terms, bar: Bar, entered: EntryPath | None) -> Match:
    if entered in (None, EntryPath.AT_OPEN):
        return match(stop, bar)
    # The open came before the entry, so it cannot fill a leg; the other prices can.
    level = _required(stop.stop)
    touched = bar.high >= level if stop.buy else bar.low <= level
    if not touched:
        return NOTHING
    # If the whole bar lies beyond the level, only the close is certain to have come after the entry.
    price = level if bar.low <= level <= bar.high else bar.close
    if stop.kind == "stop_limit":
        limit = _required(stop.limit)
        return Match(price if (price <= limit if stop.buy else price >= limit) else None, triggered=True)
    return Match(price)


def _match_target_leg(target: Terms, bar: Bar, entered: EntryPath | None) -> Decimal | None:
    if entered in (None, EntryPath.AT_OPEN):
        return _limit(target, bar)
    limit = _required(target.limit)
    if target.buy:
        # A target below a price reached on the way down came after it; otherwise only the close proves that.
        proof = bar.low if entered is EntryPath.FALLING else bar.close
        return None if proof > limit else limit if limit <= bar.high else bar.close
    proof = bar.high if entered is EntryPath.RISING else bar.close
    return None if proof < limit else limit if limit >= bar.low else bar.close


def _required(price: Decimal | None) -> Decimal:
    if price is None:
        raise ValueError("an order of this kind has a price; it was accepted without one")
    return price
