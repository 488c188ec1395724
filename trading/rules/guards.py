"""Guards in addition to the document's entry filters, each a small rule with its setting.

Pure functions of the day's result.  With the default settings they do not affect a normal day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from trading.rules.entry import Candidate, EntryContext, EntryRule, Losses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config import EntrySettings
    from trading.records.trade_log import Trade

STOPPED_OUT: Final = "STOP_LOSS"


def losses_of(trades: Sequence[Trade], prices: Mapping[str, Decimal]) -> Losses:
    """The losses of a day's trades, closed and open.

    Args:
        trades: the trades entered today.
        prices: newest price in dollars of each open trade's symbol; an open trade without a price counts as zero.
    """
    total, run = Decimal(0), 0
    stopped: dict[str, datetime] = {}
    closed = sorted((trade for trade in trades if trade.exit_time is not None), key=lambda trade: trade.exit_time or 0)
    for trade in closed:
        pnl = trade.pnl_amount or Decimal(0)
        total += pnl
        run = run + 1 if pnl < 0 else 0
        if trade.exit_reason == STOPPED_OUT and trade.exit_time is not None:
            stopped[trade.symbol] = trade.exit_time
    for trade in trades:
        if trade.is_open and trade.symbol in prices:
            total += prices[trade.symbol] * (trade.qty - trade.sold_qty) + trade.sold_amount
            total -= trade.entry_price * trade.qty
    return Losses(total, run, stopped)


@dataclass(frozen=True)
class DailyLossRule:
    """Stop entering, keep managing, once the day has lost this fraction of the equity."""

    most: float
    name: str = "daily_loss"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        limit = (context.equity - context.losses.pnl) * Decimal(repr(self.most))  # of what the day began with
        if context.losses.pnl > -limit or limit <= 0:
            return None
        return f"the day has lost ${-context.losses.pnl:.2f}, {self.most:.2%} of the equity or more"


@dataclass(frozen=True)
class CoolDownRule:
    """No stock again so soon after its stop was hit."""

    minutes: int
    name: str = "cool_down"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        since = context.losses.stopped_out.get(candidate.symbol)
        if since is None or context.now - since >= timedelta(minutes=self.minutes):
            return None
        return f"{candidate.symbol} was stopped out less than {self.minutes} minutes ago"


@dataclass(frozen=True)
class LosingRunRule:
    """Stop entering for the day after so many losses in a row."""

    most: int
    name: str = "losing_run"

    def refusal(self, candidate: Candidate, context: EntryContext) -> str | None:
        run = context.losses.in_a_row
        return f"{run} losses in a row" if run >= self.most else None


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
