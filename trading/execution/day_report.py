"""The report after the close of a session: what is held, the result of the day, and why there was no trade."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from trading.execution.orders.others import plain
from trading.execution.snapshot import DayResult, NoTrade

if TYPE_CHECKING:
    from datetime import datetime

    from trading.base.calendar import Session
    from trading.broker.messages import Account
    from trading.execution.day import Day
    from trading.execution.reconciliation import PositionManager
    from trading.records.journal import Journal
    from trading.records.trade_log import Trade, TradeLog


class DayReport:
    """Writes the end of a day into the audit.

    Args:
        threshold: the confidence that an entry needs.
    """

    def __init__(self, positions: PositionManager, log: TradeLog, journal: Journal, threshold: float) -> None:
        self._positions = positions
        self._log = log
        self._journal = journal
        self._threshold = threshold

    def say_what_is_held(self) -> None:
        """Report what is still open after the close, and shares that may be ours although no open trade holds them."""
        self._positions.for_each("the report of", self._positions.open, self._report_open)
        self._positions.contain("the report of unsettled shares", self._report_unsettled)

    def _report_open(self, trade: Trade) -> None:
        qty, nowhere = self._positions.shares_left(trade), None
        since = self._positions.answer("the sale of", trade, self._positions.unread_sales.gone_since, nowhere)
        if since is not None:
            note = "no reply tells their sale: the day's P&L lacks it, and the trade ends at the next reconciliation"
            self._journal.event("sale_unsettled", symbol=trade.symbol, qty=qty, since=since, note=note)
            return
        unknown: str | None = "what prevents its sale is not established"
        obstacle = self._positions.answer("the orders of", trade, self._positions.obstacle, unknown)
        note = obstacle or "sold at 4 AM, or at the next open"
        self._journal.event("not_flat", symbol=trade.symbol, qty=qty, note=note)

    def _report_unsettled(self) -> None:
        for symbol in sorted(self._positions.unsettled - {trade.symbol for trade in self._positions.open}):
            position = self._positions.cache.positions.get(symbol)
            if position is not None:
                note = "an entry of ours, or what is held of it, could not be read: look at the broker's page"
                self._journal.event("not_flat", symbol=symbol, qty=plain(position.qty), note=note)

    def sum_up(self, session: Session, account: Account | None, as_of: datetime | None, day: Day | None) -> None:
        """Write the result of the day; `as_of` is the time of an account that could not be read again."""
        result = DayResult.of(self._log.sold_on(session.date))
        answer, gone_since = self._positions.answer, self._positions.unread_sales.gone_since
        unsettled = sum(answer("the sale of", one, gone_since, None) is not None for one in self._positions.open)
        self._journal.event(
            "day_closed",
            session=str(session.date),
            trades=result.trades,
            won=result.won,
            pnl_amount=result.realised,
            equity=None if account is None else account.equity,
            equity_as_of=as_of,
            open=len(self._positions.open) - unsettled,
            unsettled=unsettled,
            bars_revised=day.bars.revised if day is not None else 0,
            bars_refused=day.bars.refused if day is not None else 0,
        )

    def explain_no_trade(self, session: Session) -> None:
        """On a day without a trade, write why there was none."""
        if not self._log.of_day(session.date):
            why = NoTrade.of(self._journal.events_of(session.date))
            self._journal.event("no_trade", **asdict(why), threshold=self._threshold, why=why.in_words(self._threshold))
