"""The sale of all positions: before the close, for the FLATTEN file, after the night; what is held after the close."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.execution.orders.others import plain
from trading.rules.exits import limit_before_open

if TYPE_CHECKING:
    from trading.base.calendar import Session
    from trading.base.clock import Clock
    from trading.execution.reconciliation import PositionManager
    from trading.records.journal import Journal
    from trading.records.trade_log import Trade

FLATTEN_TRIES: Final = 3
FLATTEN_PAUSE: Final = timedelta(seconds=2)
"""Retries, and the pause between them, for exits before the close whose outcome is unknown."""

CANCEL_POLLS: Final = 40
CANCEL_PAUSE: Final = timedelta(seconds=1)
"""How often, and with which pause, it is seen whether the legs of a position are gone."""

REPEAT_EVERY: Final = 4
"""Polls after which a cancellation is requested again, because the request may have been lost."""

FIRST_EXIT_POLLS: Final = 10
"""Polls after which the exit of another position is begun although the first one is not accepted yet."""

STOCK_REFUSALS: Final = ("insufficient qty", "wash trade", "asset", "halt", "opposite side", "position intent", "short")
"""Phrases of Alpaca's refusals that concern one stock, not the account."""


class Flattening:
    """Closes every position of an account."""

    def __init__(self, positions: PositionManager, clock: Clock) -> None:
        self._positions = positions
        self._clock = clock

    def flatten(self, reason: str = "END_OF_DAY") -> None:
        """Cancel pending entries and close every position at market; retry while an outcome is unknown."""
        for _ in range(FLATTEN_TRIES):
            self._positions.cancel_entries(reason)
            self._close_all(reason)
            if not self._positions.lacks_sale:
                return
            self._clock.hold_until(self._clock.now() + FLATTEN_PAUSE)
            self._positions.try_reconcile()

    def _close_all(self, reason: str) -> None:
        """Close every open position; the legs of all are cancelled together once the first exit is accepted.

        Each is sold as soon as its own legs are gone, so that no cancellation that takes long leaves other shares
        without stop and sale.  A refusal that is not about its stock means that the account cannot sell, so the others
        keep their legs.
        """
        # Refused ones first: they have no legs to lose.
        left = sorted(self._positions.open, key=lambda one: self._positions.exit_refusal(one) is None)
        accepted = any(trade.exit_intent is not None for trade in left)
        for poll in range(CANCEL_POLLS):
            for place, trade in enumerate([one for one in left if one.exit_intent is None]):
                if not accepted and place > poll // FIRST_EXIT_POLLS and self._positions.keeps_legs(trade):
                    continue
                self._positions.cancel_ahead(trade, reason, again=poll % REPEAT_EVERY == REPEAT_EVERY - 1)
                if self._positions.waits_for_cancels(trade):
                    continue
                left.remove(trade)
                self._positions.close(trade, reason, wait=False)
                accepted = accepted or trade.exit_intent is not None
                refusal = self._positions.exit_refusal(trade)
                if refusal is not None and not _is_about_stock(refusal, trade.symbol):
                    return
            left = [trade for trade in left if trade.exit_intent is None]
            if not left:
                return
            self._clock.hold_until(self._clock.now() + CANCEL_PAUSE)
            self._positions.read_orders()
        for trade in left:
            self._positions.close(trade, reason, wait=False)  # which says what it still waits for


def _is_about_stock(refusal: str, symbol: str) -> bool:
    """Whether a refusal of an exit concerns one stock, so that the exits of others may be accepted."""
    words = refusal.lower().replace('"', " ").replace(",", " ").split()
    return symbol.lower() in words or any(phrase in refusal.lower() for phrase in STOCK_REFUSALS)


class CarriedOver:
    """Sells the positions of earlier sessions."""

    def __init__(self, positions: PositionManager, clock: Clock) -> None:
        self._positions = positions
        self._clock = clock

    def sell_early(self, session: Session) -> None:
        """Sell before the open with limit orders, the most urgent first; later at market."""
        for trade in sorted(self._trades(session), key=self._urgency):
            if trade.exit_intent is not None and self._has_limit(trade):
                continue  # an earlier attempt sent its exit
            if self._clock.now() < session.open:
                self._positions.close(trade, "REBALANCE", limit_before_open(self._positions.last_price(trade)))
            else:
                self._positions.close(trade, "REBALANCE")

    def sell(self, session: Session) -> None:
        """Sell at market, in place of a limit order of 4 AM that still rests."""
        for trade in self._trades(session):
            if trade.exit_intent is None or self._has_limit(trade):
                self._positions.close(trade, "REBALANCE")

    def _trades(self, session: Session) -> list[Trade]:
        return [trade for trade in self._positions.open if trade.day < session.date]

    def _urgency(self, trade: Trade) -> tuple[bool, str]:
        """Sort key: first the trades whose price is beyond their stop or target."""
        price = self._positions.last_price(trade)
        return trade.stop_loss < price < trade.take_profit, trade.symbol

    def _has_limit(self, trade: Trade) -> bool:
        return any(order.type == "limit" for order in self._positions.resting(trade))


def report_held(positions: PositionManager, journal: Journal) -> tuple[int, int]:
    """After the close: report what is still held, and sales that no reply tells.

    Returns:
        The number of open trades that hold shares, and of those whose shares are gone without a known sale.
    """
    gone = [trade for trade in positions.open if positions.unread_sales.gone_since(trade) is not None]
    for trade in positions.open:
        since, qty = positions.unread_sales.gone_since(trade), positions.shares_left(trade)
        if since is None:
            note = positions.obstacle(trade) or "sold at 4 AM, or at the next open"
            journal.event("not_flat", symbol=trade.symbol, qty=qty, note=note)
        else:
            note = "no reply tells their sale: the day's P&L lacks it, and the trade ends at the next reconciliation"
            journal.event("sale_unsettled", symbol=trade.symbol, qty=qty, since=since, note=note)
    for symbol in sorted(positions.unsettled - {trade.symbol for trade in positions.open}):
        position = positions.cache.positions.get(symbol)
        if position is not None:  # they may be ours although no open trade holds them
            note = "an entry of ours, or what is held of it, could not be read: look at the broker's page"
            journal.event("not_flat", symbol=symbol, qty=plain(position.qty), note=note)
    return len(positions.open) - len(gone), len(gone)
