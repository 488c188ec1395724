"""The sale of every position: before the close, and when the FLATTEN file asks for it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trading.base.clock import Clock
    from trading.execution.reconciliation import PositionManager

FLATTEN_TRIES: Final = 3
FLATTEN_PAUSE: Final = timedelta(seconds=5)
"""Retries, and the pause between them, for exits before the close whose outcome is unknown."""

STOCK_REFUSALS: Final = ("insufficient qty", "wash trade", "asset", "halt", "opposite side", "position intent")
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
            if not self._positions.discrepancies:
                return
            self._clock.hold_until(self._clock.now() + FLATTEN_PAUSE)
            self._positions.try_reconcile()

    def _close_all(self, reason: str) -> None:
        """Close every open position, refused ones first: they have no legs to lose.

        A refusal that is not about its stock means that the account cannot sell, so the others keep their legs.
        """
        for trade in sorted(self._positions.open, key=lambda one: self._positions.exit_refusal(one) is None):
            if trade.exit_intent is None:
                self._positions.close(trade, reason)
                self._positions.cancel_ahead(reason)
            refusal = self._positions.exit_refusal(trade)
            if refusal is not None and not _is_about_stock(refusal, trade.symbol):
                return


def _is_about_stock(refusal: str, symbol: str) -> bool:
    """Whether a refusal of an exit concerns one stock, so that the exits of others may be accepted."""
    words = refusal.lower().replace('"', " ").replace(",", " ").split()
    return symbol.lower() in words or any(phrase in refusal.lower() for phrase in STOCK_REFUSALS)
