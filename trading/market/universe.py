"""The universe of a day from what was known the evening before: volume and last close of every stock.

One rule serves the live day, history, replay and past dates, whether the evening is read from daily bars or from
recorded minute bars:

    evening = {symbol: evenings(symbol, bars) for symbol, bars in ...}     # checked minute bars
    PastUniverses(evening.values(), calendar, data).universe_of(day)       # the picks of that day
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trading.market.kinds import kinds_of
from trading.market.source import Pick, price_refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import date

    from config import DataSettings
    from trading.base.calendar import MarketCalendar
    from trading.market.bars import Bars


class Chosen(NamedTuple):
    """The stocks of a day, the most active first, and reason -> how many a filter refused."""

    picks: tuple[Pick, ...]
    refused: Mapping[str, int]


def most_active(stocks: Iterable[Pick], data: DataSettings) -> Chosen:
    """The TOP_STOCKS most active of the stocks whose last close is in the price band.

    The order of `stocks` does not matter: equal volumes are ordered by symbol.

    Args:
        stocks: each with the volume (shares) and the last close (dollars) of the evening before.
        data: the price band, and how many stocks to choose.
    """
    refused: Counter[str] = Counter()
    within = []
    for stock in stocks:
        reason = price_refusal(stock.price, data)
        if reason is not None:
            refused[reason] += 1
        elif not stock.volume:
            refused["no volume"] += 1
        else:
            within.append(stock)
    within.sort(key=lambda stock: (-(stock.volume or 0.0), stock.symbol))
    return Chosen(tuple(within[: data.TOP_STOCKS]), dict(refused))


def excluded_kind(
    symbol: str,
    data: DataSettings,
    name: str = "",
    attributes: Collection[str] = (),
    listed: Collection[str] = (),
) -> str | None:
    """The first of EXCLUDED_KINDS that a security is (see `kinds_of`); None if it may be traded."""
    found = kinds_of(symbol, name, attributes, listed)
    return next((kind for kind in data.EXCLUDED_KINDS if kind in found), None)


def evenings(symbol: str, bars: Bars) -> dict[date, Pick]:
    """Date of a session -> the stock as it was after that session, from its checked 1-minute bars.

    The close is on the scale of `bars`: after a later split, not the price that was paid on that day.
    """
    if not len(bars):
        return {}
    days = bars.start.astype("datetime64[ns]").astype("datetime64[D]")  # a session lies within one UTC day
    first = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
    last = np.r_[first[1:], len(days)] - 1
    volume = np.add.reduceat(bars.volume, first)
    return {
        days[i].item(): Pick(symbol, float(shares), float(bars.close[j]))
        for i, j, shares in zip(first.tolist(), last.tolist(), volume, strict=True)
    }


class PastUniverses:
    """The universe of any past date, of the stocks whose evenings are given.

    Args:
        stocks: for each stock, date of a session -> the stock after that session, as `evenings` makes it.
        calendar: the exchange's sessions.
        data: the price band, the number of stocks, and the kinds that are left out (by symbol).
    """

    def __init__(self, stocks: Iterable[Mapping[date, Pick]], calendar: MarketCalendar, data: DataSettings) -> None:
        self._calendar = calendar
        self._data = data
        self._by_day: dict[date, list[Pick]] = {}
        for stock in stocks:
            for day, pick in stock.items():
                self._by_day.setdefault(day, []).append(pick)
        listed = {pick.symbol for picks in self._by_day.values() for pick in picks}
        self._kind = {symbol: excluded_kind(symbol, data, listed=listed) for symbol in listed}

    def universe_of(self, day: date) -> Chosen:
        """The stocks of `day`, chosen by the session before it; none where no stock has a bar in that session.

        Raises:
            UserError: `day` has no session before it in the calendar.
        """
        return self.after(self._calendar.preceding(day).date)

    def after(self, session: date) -> Chosen:
        """The stocks chosen by a session, for the day that follows it."""
        stocks, kinds = [], Counter[str]()
        for pick in self._by_day.get(session, ()):
            kind = self._kind[pick.symbol]
            if kind is None:
                stocks.append(pick)
            else:
                kinds[f"excluded kind: {kind}"] += 1
        picks, refused = most_active(stocks, self._data)
        return Chosen(picks, {**kinds, **refused})
