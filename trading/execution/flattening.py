"""The sale of all positions: before the close, for the FLATTEN file, and of those that were held overnight."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from trading.rules.exits import limit_before_open

if TYPE_CHECKING:
    from datetime import datetime

    from trading.base.calendar import Session
    from trading.base.clock import Clock
    from trading.execution.preconditions import Preconditions
    from trading.execution.reconciliation import PositionManager
    from trading.records.trade_log import Trade

FLATTEN_TRIES: Final = 3
FLATTEN_PAUSE: Final = timedelta(seconds=2)
"""Retries, and the pause between them, for exits before the close whose outcome is unknown."""

LATEST_CHOICE: Final = timedelta(minutes=30)
"""How long before the sale of everything the stocks of a day are still chosen while positions are held."""

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
    """Closes every position of an account, in time for the close of the session.

    Args:
        clock: the broker's time, as far as it is known.
        minutes: how long before the close.
    """

    def __init__(self, positions: PositionManager, clock: Clock, preconditions: Preconditions, minutes: int) -> None:
        self._positions = positions
        self._clock = clock
        self._preconditions = preconditions
        self._minutes = minutes

    def is_due(self, session: Session, instant: datetime) -> bool:
        """Whether positions must be closed now, by the broker's time and by its close if that is earlier.

        Args:
            session: the session by our calendar.
            instant: start of the minute by our clock, timezone-aware.
        """
        return instant + self._lag(instant) >= self._due(session)

    def _due(self, session: Session) -> datetime:
        return self._preconditions.as_announced(session).flatten_at(self._minutes)

    def _lag(self, instant: datetime) -> timedelta:
        """How far the broker's time is ahead of `instant`, which the scheduler may have corrected already."""
        correction = self._preconditions.correction()
        return correction if abs(instant - self._clock.now()) > abs(correction) / 2 else timedelta(0)

    def flatten_if_late(self, session: Session) -> None:
        """After a start in the last minutes of a session: sell everything, because the next may be the last.

        The broker's calendar and clock are read first: a close may have been announced while no trader ran.
        """
        if self._holds and session.open <= self._clock.now():
            self._preconditions.check(session)
        if self._due(session) <= self._clock.now() < self._preconditions.as_announced(session).close:
            self.flatten()

    def leaves_time_to_choose(self, session: Session) -> bool:
        """Whether choosing the stocks of the day, which may take minutes, cannot delay the sale of what is held."""
        return not self._holds or self._clock.now() < self._due(session) - LATEST_CHOICE

    @property
    def _holds(self) -> bool:
        return bool(self._positions.open or self._positions.pending)

    def flatten(self, reason: str = "END_OF_DAY") -> None:
        """Cancel pending entries and close every position at market; retry while an outcome is unknown."""
        for _ in range(FLATTEN_TRIES):
            self._positions.cancel_entries(reason)
            self._close_all(reason)
            if self._positions.held_back or not self._positions.lacks_sale:
                return
            self._clock.hold_until(self._clock.now() + FLATTEN_PAUSE)
            self._positions.try_reconcile()

    def _close_all(self, reason: str) -> None:
        """Close every open position; the legs of all are cancelled together once the first exit is accepted.

        Each is sold as soon as its own legs are gone, so that no cancellation that takes long leaves other shares
        without stop and sale.  A refusal that is not about its stock means that the account cannot sell, so the others
        keep their legs.
        """
        round_ = _Round(self._positions, reason, self._unsold())
        for poll in range(CANCEL_POLLS):
            for place, trade in enumerate(round_.unsold()):
                step = partial(round_.advance, trade, poll, place)
                if not self._positions.contain(f"the exit of {trade.symbol}", step, trade.symbol):
                    round_.set_aside(trade)
                if round_.account_refuses:
                    return
            if self._positions.held_back:
                return  # STOP forbids the sales
            if not round_.unsold():
                break
            self._clock.hold_until(self._clock.now() + CANCEL_PAUSE)
            self._positions.read_orders()
        # What still waits, and says so; and what a defect kept from the steps above, which this sale may not have.
        left = [trade for trade in (*round_.left, *round_.failed) if trade.exit_intent is None]
        self._positions.for_each("the exit of", left, partial(self._positions.close, reason=reason, wait=False))

    def _unsold(self) -> list[Trade]:
        """The open trades; refused ones first, because they have no legs to lose."""

        def is_first(trade: Trade) -> bool:
            return self._positions.exit_refusal(trade) is not None

        def place(trade: Trade) -> bool:
            return not self._positions.answer("the refusal of", trade, is_first, otherwise=False)

        return sorted(self._positions.open, key=place)


class _Round:
    """One sale of all positions: which trades are left to sell, and what the first exits met."""

    def __init__(self, positions: PositionManager, reason: str, trades: list[Trade]) -> None:
        self._positions = positions
        self._reason = reason
        self.left = trades
        """Trades without an exit, as far as their steps raised nothing."""
        self.failed: list[Trade] = []
        """Trades of which a step raised an exception."""
        self._accepted = any(trade.exit_intent is not None for trade in trades)
        self.account_refuses = False
        """Whether an exit was refused for a reason that is not about its stock."""

    def unsold(self) -> list[Trade]:
        return [trade for trade in self.left if trade.exit_intent is None]

    def advance(self, trade: Trade, poll: int, place: int) -> None:
        """Cancel the legs of a trade, or sell it once they are gone; `place` is its place among the unsold ones."""
        if not self._accepted and place > poll // FIRST_EXIT_POLLS and self._positions.keeps_legs(trade):
            return
        self._positions.cancel_ahead(trade, self._reason, again=poll % REPEAT_EVERY == REPEAT_EVERY - 1)
        if self._positions.waits_for_cancels(trade):
            return
        self.left = [one for one in self.left if one is not trade]
        self._positions.close(trade, self._reason, wait=False)
        self._accepted = self._accepted or trade.exit_intent is not None
        refusal = self._positions.exit_refusal(trade)
        self.account_refuses = refusal is not None and not _is_about_stock(refusal, trade.symbol)

    def set_aside(self, trade: Trade) -> None:
        """Leave a trade whose step failed for the end, so that the others do not wait for it."""
        self.left = [one for one in self.left if one is not trade]
        self.failed.append(trade)


def _is_about_stock(refusal: str, symbol: str) -> bool:
    """Whether a refusal of an exit concerns one stock, so that the exits of others may be accepted."""
    if any(phrase in refusal.lower() for phrase in STOCK_REFUSALS):
        return True
    # A symbol may be a word, such as BY or A: it counts in capitals, and not where they tell nothing.
    named = re.search(rf"(?<![\w.]){re.escape(symbol)}(?![\w])", refusal)
    return named is not None and not refusal.isupper() and (named.start() > 0 or len(symbol) > 1)


class CarriedOver:
    """Sells the positions of earlier sessions."""

    def __init__(self, positions: PositionManager, clock: Clock) -> None:
        self._positions = positions
        self._clock = clock

    def sell_early(self, session: Session) -> None:
        """Sell before the open with limit orders, the most urgent first; later at market."""

        def urgency(trade: Trade) -> tuple[bool, str]:
            """First the trades whose price is beyond their stop or target."""
            return self._positions.answer("the price of", trade, self._is_inside, otherwise=False), trade.symbol

        trades = sorted(self._trades(session), key=urgency)
        self._positions.for_each("the sale of", trades, partial(self._sell_early, session=session))

    def _sell_early(self, trade: Trade, session: Session) -> None:
        if trade.exit_intent is not None and self._has_limit(trade):
            return  # an earlier attempt sent its exit
        if self._clock.now() < session.open:
            self._positions.close(trade, "REBALANCE", limit_before_open(self._positions.last_price(trade)))
        else:
            self._positions.close(trade, "REBALANCE")

    def sell(self, session: Session) -> None:
        """Sell at market, in place of a limit order of 4 AM that still rests."""
        self._positions.for_each("the sale of", self._trades(session), self._sell)

    def _sell(self, trade: Trade) -> None:
        if trade.exit_intent is None or self._has_limit(trade):
            self._positions.close(trade, "REBALANCE")

    def _trades(self, session: Session) -> list[Trade]:
        return [trade for trade in self._positions.open if trade.day < session.date]

    def _is_inside(self, trade: Trade) -> bool:
        return trade.stop_loss < self._positions.last_price(trade) < trade.take_profit

    def _has_limit(self, trade: Trade) -> bool:
        return any(order.type == "limit" for order in self._positions.resting(trade))
