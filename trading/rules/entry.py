"""The document's entry filters and position size, each a small rule that gives the reason of a refusal.

Pure functions of the account's state and the time.  What is refused is decided by `trading.rules.entry_numbers`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from trading.base.clock import to_ns
from trading.rules.entry_numbers import (
    RuleCode,
    Share,
    cost_of,
    is_closed,
    is_ending,
    is_full,
    is_outside,
    is_too_dear,
    is_unsure,
    whole_shares,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from config import DataSettings, EntrySettings, PredictionSettings
    from trading.base.calendar import Session


@dataclass(frozen=True)
class Candidate:
    """A stock that might be bought: its newest price (dollars) and the confidence compared with the threshold."""

    symbol: str
    price: float
    confidence: float


@dataclass(frozen=True)
class Losses:
    """The day's result so far.

    Attributes:
        pnl: dollars, closed and open trades of the day.
        in_a_row: number of losing trades since the last closed trade without a loss.
        stopped_out: symbol -> time of its last stop-loss.
    """

    pnl: Decimal = Decimal(0)
    in_a_row: int = 0
    stopped_out: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class EntryContext:
    """Where the account stands at the moment of decision."""

    now: datetime
    session: Session
    flatten_at: datetime
    equity: Decimal
    buying_power: Decimal
    """What is left after the orders that were sent a moment ago."""
    held: frozenset[str]
    """Symbols held, being bought or being sold, ours or not."""
    losses: Losses = field(default_factory=Losses)
    fractions: frozenset[str] = frozenset()
    """Those of `held` of which there is less than one share: they take no place among the positions."""


class EntryRule(Protocol):
    """One filter; `code` names it in `trading.rules.entry_numbers`."""

    code: ClassVar[RuleCode]

    @property
    def name(self) -> str:
        """What the audit calls it."""

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        """Why not, or None."""


@dataclass(frozen=True)
class ConfidenceRule:
    """ML confidence >= 65%."""

    minimum: float
    code: ClassVar[RuleCode] = RuleCode.CONFIDENCE
    name: str = "confidence"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        if not is_unsure(candidate.confidence, self.minimum):
            return None
        return f"confidence {candidate.confidence:.4f} is under {self.minimum:g}"


@dataclass(frozen=True)
class MarketOpenRule:
    """The market is open, and not about to close."""

    code: ClassVar[RuleCode] = RuleCode.MARKET_OPEN
    name: str = "market_open"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        now, session = to_ns(context.now), context.session
        if is_closed(now, to_ns(session.open), to_ns(session.close)):
            return "the market is closed"
        if is_ending(now, to_ns(context.flatten_at)):
            return "the session ends: positions are being sold"
        return None


@dataclass(frozen=True)
class PriceRule:
    """Stock price $1-$20."""

    lowest: float
    highest: float
    code: ClassVar[RuleCode] = RuleCode.PRICE
    name: str = "price"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        if not is_outside(candidate.price, self.lowest, self.highest):
            return None
        return f"price ${candidate.price:g} is outside ${self.lowest:g} to ${self.highest:g}"


@dataclass(frozen=True)
class NotOwnedRule:
    """Don't already own this stock."""

    code: ClassVar[RuleCode] = RuleCode.NOT_OWNED
    name: str = "not_owned"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        return f"{candidate.symbol} is already held or in flight" if candidate.symbol in context.held else None


@dataclass(frozen=True)
class PositionsRule:
    """< 10 open positions."""

    most: int
    code: ClassVar[RuleCode] = RuleCode.POSITIONS
    name: str = "positions"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        held = len(context.held - context.fractions)
        return f"{held} of {self.most} positions are taken" if is_full(held, self.most) else None


@dataclass(frozen=True)
class SizeRule:
    """The risk allows at least one share."""

    settings: EntrySettings
    code: ClassVar[RuleCode] = RuleCode.SIZE
    name: str = "size"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        if shares_to_buy(context.equity, candidate.price, self.settings) >= 1:
            return None
        return f"{self.settings.RISK_PER_TRADE:.2%} of ${context.equity} equity buys no share at ${candidate.price:g}"


@dataclass(frozen=True)
class BuyingPowerRule:
    """Have available buying power."""

    settings: EntrySettings
    code: ClassVar[RuleCode] = RuleCode.BUYING_POWER
    name: str = "buying_power"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        cost = cost_to_buy(context.equity, candidate.price, self.settings)
        too_dear = is_too_dear(*in_units(cost, context.buying_power).amounts)
        return f"${cost} needed, ${context.buying_power} there" if too_dear else None


def shares_to_buy(equity: Decimal, price: float, settings: EntrySettings) -> int:
    """Position size: equity x RISK_PER_TRADE / price in whole shares, at most MAX_POSITION_SIZE.

    The arithmetic is exact.  0 if the risk allows no share or the price is not positive and finite.
    """
    if not 0.0 < price < math.inf:
        return 0
    (owned, amount), _ = in_units(equity, exact(price))
    return whole_shares(owned, amount, share_of(settings.RISK_PER_TRADE), settings.MAX_POSITION_SIZE)


def cost_to_buy(equity: Decimal, price: float, settings: EntrySettings) -> Decimal:
    """Cost of `shares_to_buy` in dollars, rounded up to the cent."""
    shares = shares_to_buy(equity, price, settings)
    if not shares:
        return Decimal(0)
    (amount,), places = in_units(exact(price))
    return Decimal(cost_of(shares, amount, 10 ** (places - 2))).scaleb(-places).quantize(Decimal("0.01"))


class Units(NamedTuple):
    """Amounts as whole numbers of the unit that has so many decimal places of a dollar."""

    amounts: tuple[int, ...]
    places: int


def in_units(*amounts: Decimal) -> Units:
    """Dollars in their largest common decimal unit, at most a cent; exact."""
    places = max(2, *(-int(amount.as_tuple().exponent) for amount in amounts))
    return Units(tuple(int(amount.scaleb(places)) for amount in amounts), places)


@lru_cache(maxsize=1024)
def exact(number: float) -> Decimal:
    """The shortest decimal number that stands for a float."""
    return Decimal(repr(float(number)))


@lru_cache(maxsize=1024)
def share_of(number: float) -> Share:
    """A setting that is a fraction, exactly."""
    return Share(*exact(number).as_integer_ratio())


def document_rules(prediction: PredictionSettings, data: DataSettings, entry: EntrySettings) -> tuple[EntryRule, ...]:
    """The document's entry filters, in the order in which they are applied."""
    return (
        ConfidenceRule(prediction.MIN_CONFIDENCE),
        MarketOpenRule(),
        PriceRule(data.MIN_PRICE, data.MAX_PRICE),
        NotOwnedRule(),
        PositionsRule(entry.MAX_OPEN_POSITIONS),
        SizeRule(entry),
        BuyingPowerRule(entry),
    )


def first_refusal(rules: Sequence[EntryRule], candidate: Candidate, context: EntryContext) -> tuple[str, str] | None:
    """The first rule that says no, as (name, reason); None where all agree."""
    for rule in rules:
        reason = rule.refusal(candidate, context)
        if reason is not None:
            return rule.name, reason
    return None
