"""Which rows are scored: those of stocks that could have been picked for the session, as known the evening before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trading.base.errors import UserError
from trading.learning.metrics import session_date
from trading.market.source import read_universe
from trading.market.universe import PastUniverses, evenings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    from config import DataSettings
    from trading.base.arrays import Mask
    from trading.base.calendar import MarketCalendar
    from trading.dataset.dataset import Rows
    from trading.market.bars import Bars


class Universes:
    """The universe of each date of a data folder.

    It is that of `universe_DATE.json` if the file was written before the session opened, and otherwise computed from
    the recorded bars by the function that picks the stocks of a live day.

    Args:
        folder: `data/`.
        bars: the recorded bars of every stock.
        calendar: the exchange's sessions.
        data: TOP_STOCKS and the price band.
    """

    def __init__(self, folder: Path, bars: Mapping[str, Bars], calendar: MarketCalendar, data: DataSettings) -> None:
        self._folder = folder
        self._calendar = calendar
        self._past = PastUniverses([evenings(symbol, one.for_outcomes) for symbol, one in bars.items()], calendar, data)

    def universe_before(self, day: date) -> frozenset[str]:
        """The stocks of the session `day` as known the evening before; none where no stock has a bar in that before."""
        stored = read_universe(self._folder, day)
        if stored is not None and stored.picked_at is not None and stored.picked_at < self._calendar.session(day).open:
            return frozenset(stored.symbols)
        try:
            return frozenset(pick.symbol for pick in self._past.universe_of(day).picks)
        except UserError:  # the calendar begins with this day
            return frozenset()


def scored_rows(rows: Rows, universes: Universes) -> Mask:
    """The rows of stocks that were in the universe of their session: bool (n,)."""
    scored = np.zeros(len(rows), dtype=np.bool_)
    for session in rows.sessions:
        chosen = universes.universe_before(session_date(session))
        of_symbol = np.array([symbol in chosen for symbol in rows.symbols], dtype=np.bool_)
        begin, end = np.searchsorted(rows.session, session), np.searchsorted(rows.session, session, side="right")
        scored[begin:end] = of_symbol[rows.symbol[begin:end]]
    return scored
