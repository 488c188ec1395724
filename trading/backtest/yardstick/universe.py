"""Which rows are scored: those of stocks that could have been picked for the session, as known the evening before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trading.base.errors import UserError
from trading.dataset.rows import days_of
from trading.learning.metrics import session_date
from trading.market.source import Pick, price_refusal, read_universe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    from config import DataSettings
    from trading.base.arrays import Mask
    from trading.base.calendar import MarketCalendar
    from trading.dataset.dataset import Rows
    from trading.market.bars import Bars

_NOBODY: Final[frozenset[str]] = frozenset()


class Universes:
    """The universe of each date of a data folder.

    It is that of `universe_DATE.json` if the file was written before the session opened, and otherwise computed: the
    TOP_STOCKS most active by volume, of the recorded stocks that closed the session before within the price band.

    Args:
        folder: `data/`.
        bars: the recorded bars of every stock.
        calendar: the exchange's sessions.
        data: TOP_STOCKS and the price band.
    """

    def __init__(self, folder: Path, bars: Mapping[str, Bars], calendar: MarketCalendar, data: DataSettings) -> None:
        self._folder = folder
        self._calendar = calendar
        self._data = data
        self._evenings: dict[date, list[Pick]] = {}
        for symbol, one in bars.items():
            for day, pick in _evenings(symbol, one).items():
                self._evenings.setdefault(day, []).append(pick)

    def universe_before(self, day: date) -> frozenset[str]:
        """The stocks of the session `day` as known the evening before; none where no stock has a bar in that before."""
        stored = read_universe(self._folder, day)
        if stored is not None and stored.picked_at is not None and stored.picked_at < self._calendar.session(day).open:
            return frozenset(stored.symbols)
        try:
            before = self._calendar.preceding(day).date
        except UserError:
            return _NOBODY
        stocks = [pick for pick in self._evenings.get(before, ()) if price_refusal(pick.price, self._data) is None]
        stocks.sort(key=lambda pick: (-(pick.volume or 0.0), pick.symbol))
        return frozenset(pick.symbol for pick in stocks[: self._data.TOP_STOCKS])


def scored_rows(rows: Rows, universes: Universes) -> Mask:
    """The rows of stocks that were in the universe of their session: bool (n,)."""
    scored = np.zeros(len(rows), dtype=np.bool_)
    for session in rows.sessions:
        chosen = universes.universe_before(session_date(session))
        of_symbol = np.array([symbol in chosen for symbol in rows.symbols], dtype=np.bool_)
        begin, end = np.searchsorted(rows.session, session), np.searchsorted(rows.session, session, side="right")
        scored[begin:end] = of_symbol[rows.symbol[begin:end]]
    return scored


def _evenings(symbol: str, bars: Bars) -> dict[date, Pick]:
    """Date of a session -> the stock's volume and last close in it."""
    if not len(bars):
        return {}
    days = days_of(bars.start)
    first = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
    last = np.r_[first[1:], len(days)] - 1
    volume = np.add.reduceat(bars.volume, first)
    return {
        session_date(days[i]): Pick(symbol, float(shares), float(bars.close[j]))
        for i, j, shares in zip(first, last, volume, strict=True)
    }
