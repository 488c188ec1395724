"""The document's entry filters and position size, each a small rule that says why it says no.

Pure: what the account holds and what the time is, is handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from trading.base.calendar import Session


@dataclass(frozen=True)
class Candidate:
    """A stock that might be bought: its newest price (dollars) and the confidence held against the threshold."""

    symbol: str
    price: float
    confidence: float


@dataclass(frozen=True)
class Losses:
    """What the day has brought so far.

    Attributes:
        pnl: dollars, closed and open trades of the day.
        in_a_row: closed trades that lost, since the last one that did not.
        stopped_out: symbol -> when its stop was hit last.
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


class EntryRule(Protocol):
    """One filter."""

    @property
    def name(self) -> str:
        """What the audit calls it."""

    def refusal(self, candidate: Candidate, standing: EntryContext) -> str | None:
        """Why not, or None."""


@dataclass(frozen=True)
class ConfidenceRule:
    """ML confidence >= 65%."""

    minimum: float
    name: str = "confidence"

    def refusal(self, candidate: Candidate, standing: EntryContext) -> str | None:
        if candidate.confidence >= self.minimum:
            return None
        return f"confidence {candidate.confidence:.4f} is under {self.minimum:g}"


@dataclass(frozen=True)
class MarketOpenRule:
    """The market is open, and not about to close."""

    name: str = "market_open"

    def refusal(self, candidate: Candidate, standing: EntryContext) -> str | None:
        if standing.now < standing.session.open or standing.now >= standing.session.close:
            return "the market is closed"
        if standing.now >= standing.flatten_at:
            return "the session ends: positions are being sold"
        return None


@dataclass(frozen=True)
class PriceRule:
    """Stock price $1-$20."""

    lowest: float
    highest: float
    name: str = "price"

    def refusal(self, candidate: Candidate, standing: EntryContext) -> str | None:
        if self.lowest <= candidate.price <= self.highest:
            return None
        return f"price ${candidate.price:g} is outside ${self.lowest:g} to ${self.highest:g}"


@dataclass(frozen=True)
class NotOwnedRule:
    """Don't already own this stock."""

    name: str = "not_owned"

    def refusal(self, candidate: Candidate, standing: EntryContext) -> str | None:
        return f"{candidate.symbol} is already held or in flight" if candidate.symbol in standing.held else None


@dataclass(frozen=True)
class PositionsRule:
    """< 10 open positions."""

    most: int
    name: str = "positions"

    def refusal(self, candidate: Candidate, standing: EntryContext) -> str | None:
        return f"{len(standing.held)} of {self.most} positions are taken" if len(standing.held) >= self.most else None


@dataclass(frozen=True)
class SizeRule:
    """The risk allows at least one share."""

    sizing: Sizing
    name: str = "size"

    def refusal(self, candidate: Candidate, standing: EntryContext) -> str | None:
        if self.sizing.shares(standing.equity, candidate.price) >= 1:
            return None
        share = self.sizing.risk
        return f"{share:.2%} of ${standing.equity} equity buys no share at ${candidate.price:g}"


@dataclass(frozen=True)
class BuyingPowerRule:
    """Have available buying power."""

    sizing: Sizing
    name: str = "buying_power"

    def refusal(self, candidate: Candidate, standing: EntryContext) -> str | None:
        cost = self.sizing.cost(standing.equity, candidate.price)
        return f"${cost} needed, ${standing.buying_power} there" if cost > standing.buying_power else None


@dataclass(frozen=True)
class Sizing:
    """Position size = equity x risk / price, at most `most` shares.

    Attributes:
        risk: fraction of the equity (0.01).
        most: MAX_POSITION_SIZE, shares.
    """

    risk: float
    most: int

    def shares(self, equity: Decimal, price: float) -> int:
        """Whole shares to buy at `price` dollars; 0 where the risk allows none.  Exact: never a share too many."""
        if not 0.0 < price < math.inf or equity <= 0:
            return 0
        risked, share = equity * _exact(self.risk), _exact(price)
        return self.most if risked >= share * self.most else int(risked // share)

    def cost(self, equity: Decimal, price: float) -> Decimal:
        """Dollars that the purchase takes, rounded up to the cent."""
        shares = self.shares(equity, price)
        return (shares * _exact(price)).quantize(Decimal("0.01"), ROUND_CEILING) if shares else Decimal(0)


def _exact(number: float) -> Decimal:
    return Decimal(repr(float(number)))


def document_rules(
    minimum_confidence: float, lowest: float, highest: float, most_positions: int, sizing: Sizing
) -> tuple[EntryRule, ...]:
    """The document's entry filters, in the order in which they are asked."""
    return (
        ConfidenceRule(minimum_confidence),
        MarketOpenRule(),
        PriceRule(lowest, highest),
        NotOwnedRule(),
        PositionsRule(most_positions),
        SizeRule(sizing),
        BuyingPowerRule(sizing),
    )


def first_refusal(rules: Sequence[EntryRule], candidate: Candidate, standing: EntryContext) -> tuple[str, str] | None:
    """The first rule that says no, as (name, reason); None where all agree."""
    for rule in rules:
        reason = rule.refusal(candidate, standing)
        if reason is not None:
            return rule.name, reason
    return None
