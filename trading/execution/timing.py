"""When the trading loop looks again within a minute; the backtest, which needs no broker, follows the same times."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

REFETCH_SECONDS: Final = (3, 5, 8)
"""Seconds of the minute at which bars are fetched again while bars of the minute that just ended are missing: Alpaca's
minute bars appear 1 to 3 s after their minute."""

ENTRY_MAX_AGE: Final = timedelta(minutes=2)
"""An entry that is not filled by then (its stock may be halted) is cancelled: its price was decided long ago."""

PAUSES: Final = (timedelta(seconds=5), timedelta(seconds=15))
"""Pauses before the further reconciliations of one minute for pending entries alone."""

PENDING_ENTRY_LOOKS: Final = len(PAUSES)
