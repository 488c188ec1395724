"""Guards in addition to the document's entry filters, each a small rule with its setting.

Pure functions of the day's result.  With the default settings they do not affect a normal day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Final

from trading.base.clock import to_ns
from trading.rules.entry import Candidate, EntryContext, EntryRule, Losses, in_units, share_of
from trading.rules.entry_numbers import RuleCode, has_lost, is_cooling, is_losing, losses_in_a_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config import EntrySettings
    from trading.records.trade_log import Trade

STOPPED_OUT: Final = "STOP_LOSS"
_MINUTE_NS: Final = 60 * 1_000_000_000


def losses_of(trades: Sequence[Trade], prices: Mapping[str, Decimal]) -> Losses:
    """The losses of a day's trades, closed and open.

    Args:
        trades: the trades entered today.
        prices: newest price in dollars of each open trade's symbol; an open trade without a price counts as zero.
    """
    total = Decimal(0)
    stopped: dict[str, datetime] = {}
    closed = sorted((trade for trade in trades if trade.exit_time is not None), key=_ended_at)
    ended, pnl = [], []
    for trade in closed:
        earned = trade.pnl_amount or Decimal(0)
        total += earned
        ended.append(_ended_at(trade))
        pnl.append(-1 if earned < 0 else 0)
        if trade.exit_reason == STOPPED_OUT and trade.exit_time is not None:
            stopped[trade.symbol] = trade.exit_time
    for trade in trades:
        if trade.is_open and trade.symbol in prices:
            total += prices[trade.symbol] * (trade.qty - trade.sold_qty) + trade.sold_amount
            total -= trade.entry_price * trade.qty
    return Losses(total, losses_in_a_row(ended, pnl), stopped)


def _ended_at(trade: Trade) -> int:
    assert trade.exit_time is not None
    return to_ns(trade.exit_time)


@dataclass(frozen=True)
class DailyLossRule:
    """Stop entering, keep managing, once the day has lost this fraction of the equity."""

    most: float
    code: ClassVar[RuleCode] = RuleCode.DAILY_LOSS
    name: str = "daily_loss"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        equity, pnl = in_units(context.equity, context.losses.pnl).amounts
        if not has_lost(equity, pnl, share_of(self.most)):
            return None
        return f"the day has lost ${-context.losses.pnl:.2f}; the limit is {100 * self.most:g}% of the equity"


@dataclass(frozen=True)
class CoolDownRule:
    """No stock again so soon after its stop was hit."""

    minutes: int
    code: ClassVar[RuleCode] = RuleCode.COOL_DOWN
    name: str = "cool_down"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        since = context.losses.stopped_out.get(candidate.symbol)
        if since is None or not is_cooling(to_ns(context.now), to_ns(since), self.minutes * _MINUTE_NS):
            return None
        return f"{candidate.symbol} was stopped out less than {self.minutes} minutes ago"


@dataclass(frozen=True)
class LosingRunRule:
    """Stop entering for the day after so many losses in a row."""

    most: int
    code: ClassVar[RuleCode] = RuleCode.LOSING_RUN
    name: str = "losing_run"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        run = context.losses.in_a_row
        return f"{run} losses in a row" if is_losing(run, self.most) else None


def guard_rules(entry: EntrySettings) -> tuple[EntryRule, ...]:
    """The guards that are switched on (0 switches one off)."""
    rules: list[EntryRule] = []
    if entry.MAX_DAILY_LOSS_PCT > 0:
        rules.append(DailyLossRule(entry.MAX_DAILY_LOSS_PCT))
    if entry.COOL_DOWN_MINUTES > 0:
        rules.append(CoolDownRule(entry.COOL_DOWN_MINUTES))
    if entry.MAX_LOSSES_IN_A_ROW > 0:
        rules.append(LosingRunRule(entry.MAX_LOSSES_IN_A_ROW))
    return tuple(rules)
