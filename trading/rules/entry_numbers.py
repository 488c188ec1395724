"""The entry filters, the guards and the position size in whole numbers, for the live loop and the compiled backtest.

`trading.rules.entry` and `trading.rules.guards` call these functions and say why an entry is refused; the backtest
compiles the same functions.  Instants are nanoseconds; amounts are whole numbers of one unit, such as a millionth of a
dollar, so that the arithmetic is exact.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from trading.base.compiled import compilable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.base.arrays import Ints


class RuleCode(IntEnum):
    """The rules by number."""

    CONFIDENCE = 0
    MARKET_OPEN = 1
    PRICE = 2
    NOT_OWNED = 3
    POSITIONS = 4
    SIZE = 5
    BUYING_POWER = 6
    DAILY_LOSS = 7
    COOL_DOWN = 8
    LOSING_RUN = 9


NONE: Final = -1
"""No rule."""

NEVER: Final = -(2**62)
"""Instant of a stop that was not hit."""

_CONFIDENCE: Final = int(RuleCode.CONFIDENCE)
_MARKET_OPEN: Final = int(RuleCode.MARKET_OPEN)
_PRICE: Final = int(RuleCode.PRICE)
_NOT_OWNED: Final = int(RuleCode.NOT_OWNED)
_POSITIONS: Final = int(RuleCode.POSITIONS)
_SIZE: Final = int(RuleCode.SIZE)
_BUYING_POWER: Final = int(RuleCode.BUYING_POWER)
_DAILY_LOSS: Final = int(RuleCode.DAILY_LOSS)
_COOL_DOWN: Final = int(RuleCode.COOL_DOWN)
_LOSING_RUN: Final = int(RuleCode.LOSING_RUN)


class Share(NamedTuple):
    """A fraction as `parts` of `whole`; `whole` up to a billion keeps compiled arithmetic within 64 bits."""

    parts: int
    whole: int


class Limits(NamedTuple):
    """The settings of the rules.

    Attributes:
        confidence: MIN_CONFIDENCE.
        lowest, highest: MIN_PRICE and MAX_PRICE, dollars.
        positions: MAX_OPEN_POSITIONS.
        risk: RISK_PER_TRADE.
        shares: MAX_POSITION_SIZE.
        cent: a cent in the unit of the amounts.
        daily_loss: MAX_DAILY_LOSS_PCT.
        cool_down: COOL_DOWN_MINUTES in nanoseconds.
        losing_run: MAX_LOSSES_IN_A_ROW.
    """

    confidence: float
    lowest: float
    highest: float
    positions: int
    risk: Share
    shares: int
    cent: int
    daily_loss: Share
    cool_down: int
    losing_run: int


class EntryCase(NamedTuple):
    """A candidate, and where the account stands.

    Attributes:
        confidence: compared with the threshold.
        price: dollars; `amount` is the same as an amount.
        held: the stock is held or in flight.
        positions: number of stocks that are.
        now, opened, closed, flatten: the instant, and those of the session.
        equity, power, pnl: equity, buying power, and result of the day.
        losses: trades that lost in a row.
        stopped: when the stock was last stopped out, or `NEVER`.
    """

    confidence: float
    price: float
    amount: int
    held: bool
    positions: int
    now: int
    opened: int
    closed: int
    flatten: int
    equity: int
    power: int
    pnl: int
    losses: int
    stopped: int


@compilable
def part_of(amount: int, share: Share) -> int:
    """A share of an amount, rounded down."""
    return amount // share.whole * share.parts + amount % share.whole * share.parts // share.whole


@compilable
def whole_shares(equity: int, price: int, risk: Share, most: int) -> int:
    """Position size: the whole shares that a share of the equity buys, at most `most`; 0 for a price of 0."""
    if price <= 0 or equity <= 0:
        return 0
    risked = part_of(equity, risk)
    return most if risked >= price * most else risked // price


@compilable
def cost_of(shares: int, price: int, cent: int) -> int:
    """Cost of shares, rounded up to the cent."""
    return -(-shares * price // cent) * cent


@compilable
def is_unsure(confidence: float, minimum: float) -> bool:
    """Whether the confidence is under the threshold."""
    return not confidence >= minimum


@compilable
def is_closed(now: int, opened: int, closed: int) -> bool:
    """Whether the market is closed."""
    return now < opened or now >= closed


@compilable
def is_ending(now: int, flatten: int) -> bool:
    """Whether positions are being sold because the session ends."""
    return now >= flatten


@compilable
def is_outside(price: float, lowest: float, highest: float) -> bool:
    """Whether a price is outside the band."""
    return not lowest <= price <= highest


@compilable
def is_full(positions: int, most: int) -> bool:
    """Whether all positions are taken."""
    return positions >= most


@compilable
def is_too_dear(cost: int, power: int) -> bool:
    """Whether a cost is more than the buying power."""
    return cost > power


@compilable
def has_lost(equity: int, pnl: int, most: Share) -> bool:
    """Whether the day has lost this share, or more, of what it began with."""
    began = equity - pnl
    return began > 0 and -pnl >= -part_of(-began, most)  # the limit, rounded up


@compilable
def is_cooling(now: int, stopped: int, span: int) -> bool:
    """Whether a stock was stopped out less than a span ago."""
    return stopped != NEVER and now - stopped < span


@compilable
def is_losing(losses: int, most: int) -> bool:
    """Whether so many trades in a row have lost."""
    return losses >= most


@compilable
def losses_in_a_row(ended: Sequence[int] | Ints, pnl: Sequence[int] | Ints) -> int:
    """The number of losing trades since the last one without a loss, by the instants at which they ended.

    Of trades that ended at one instant, the later one in the list counts as the later.
    """
    last = NEVER
    for at, amount in zip(ended, pnl):  # noqa: B905 (compiled code knows no `strict`)
        if amount >= 0:
            last = max(last, at)
    later = tied = 0
    for at, amount in zip(ended, pnl):  # noqa: B905
        if amount >= 0:
            tied = 0 if at == last else tied
        elif at == last:
            tied += 1
        elif at > last:
            later += 1
    return later + tied


@compilable
def refuses(rule: int, case: EntryCase, limits: Limits) -> bool:
    """Whether one rule refuses an entry."""
    if rule == _CONFIDENCE:
        return is_unsure(case.confidence, limits.confidence)
    if rule == _MARKET_OPEN:
        return is_closed(case.now, case.opened, case.closed) or is_ending(case.now, case.flatten)
    if rule == _PRICE:
        return is_outside(case.price, limits.lowest, limits.highest)
    if rule == _NOT_OWNED:
        return case.held
    if rule == _POSITIONS:
        return is_full(case.positions, limits.positions)
    if rule == _DAILY_LOSS:
        return has_lost(case.equity, case.pnl, limits.daily_loss)
    if rule == _COOL_DOWN:
        return is_cooling(case.now, case.stopped, limits.cool_down)
    if rule == _LOSING_RUN:
        return is_losing(case.losses, limits.losing_run)
    shares = whole_shares(case.equity, case.amount, limits.risk, limits.shares)
    if rule == _SIZE:
        return shares < 1
    return is_too_dear(cost_of(shares, case.amount, limits.cent), case.power)


@compilable
def first_refusing(rules: Sequence[int] | Ints, case: EntryCase, limits: Limits) -> int:
    """The first rule that refuses an entry, or `NONE`."""
    for rule in rules:
        if refuses(rule, case, limits):
            return rule
    return NONE


@compilable
def is_wide(bid: float, ask: float, widest: float) -> bool:
    """Whether a quote's spread, as a fraction of the mid price, is over a limit."""
    return spread_of(bid, ask) > widest


@compilable
def spread_of(bid: float, ask: float) -> float:
    """Ask minus bid, as a fraction of the mid price."""
    return (ask - bid) / ((bid + ask) / 2.0)
