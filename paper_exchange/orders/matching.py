"""Whether one order trades in one bar, and at which price.  Pure functions; prices are Decimals of dollars.

A bar tells four prices and not their order, so where the order matters the answer is the one that is worse for the
account: the stop before the target, and a target in the bar of an entry that traded inside it only if the bar closes
beyond it.  A price that the bar did not show is never used.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from paper_exchange.market.interface import Bar

if TYPE_CHECKING:
    from decimal import Decimal


STOPS = ("stop", "trailing_stop")  # market orders once their price was met


@dataclass(frozen=True)
class Terms:
    """What an order asks for, as far as its price goes.

    `kind` is market, limit, stop, trailing_stop or stop_limit; `triggered` says that a stop_limit has already become a
    limit, and a stop (of which a part was filled) a market order.
    """

    kind: str
    buy: bool
    limit: Decimal | None = None
    stop: Decimal | None = None
    triggered: bool = False


class EntryPath(Enum):
    """How the entry of a bracket traded in the bar in which its legs wake."""

    AT_OPEN = "at the open: the legs see the whole bar"
    FALLING = "inside the bar, on the way down: what is below came later, what is above may have come before"
    RISING = "inside the bar, on the way up"


@dataclass(frozen=True)
class Match:
    """`price` is the fill, or None; `triggered` says that a stop_limit is a limit from now on."""

    price: Decimal | None = None
    triggered: bool = False


NOTHING = Match()


def match(terms: Terms, bar: Bar) -> Match:
    """One order that rested when the bar began (or came during it) against that bar.

    Market: the open.  Limit: the open if it is as good as the limit, else the limit if the bar touched it (touching is
    enough).  Stop: the open if it is beyond the stop, else the stop if the bar touched it.
    """
    if terms.kind == "market" or (terms.kind in STOPS and terms.triggered):
        return Match(bar.open, terms.triggered)
    if terms.kind == "limit" or terms.triggered:
        return Match(_limit(terms, bar), terms.triggered)
    if terms.kind in STOPS:
        return Match(_stop(terms, bar))
    return _stop_limit(terms, bar)


def auction(bar: Bar, price: Decimal) -> Bar:
    """The opening or closing auction of a bar: everything at one price."""
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
    # Triggered at a price worse than the limit: it rests, and trades from the next bar on.
    acceptable = at <= limit if terms.buy else at >= limit
    return Match(at if acceptable else None, triggered=True)


def match_exit(
    stop: Terms | None, target: Terms | None, bar: Bar, entered: EntryPath | None = None
) -> tuple[str, Match] | None:
    """A stop and a target on the same shares: which of them trades in the bar, `("stop" | "target", match)`.

    The open comes before anything else, then the stop, then the target.  `entered` is given in the bar in which the
    entry itself traded, None in every later one.
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
    # The open came before the entry: it cannot be a leg's price, only what the bar showed besides.
    level = _required(stop.stop)
    touched = bar.high >= level if stop.buy else bar.low <= level
    if not touched:
        return NOTHING
    # A level that the bar lies beyond as a whole is met by the one price that surely came after the entry.
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
        # A target below a price that was reached falling came after it; else only the close proves it.
        proof = bar.low if entered is EntryPath.FALLING else bar.close
        return None if proof > limit else limit if limit <= bar.high else bar.close
    proof = bar.high if entered is EntryPath.RISING else bar.close
    return None if proof < limit else limit if limit >= bar.low else bar.close


def _required(price: Decimal | None) -> Decimal:
    if price is None:
        raise ValueError("an order of this kind has a price; it was accepted without one")
    return price
