"""Where bars come from: what a source must be able to do, and what it says about the stocks of a day."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from trading.base.calendar import MarketCalendar, Session
    from trading.base.market_folders import MarketId
    from trading.market.bars import Bars


class SourceError(UserError):
    """A source does not answer, or answers what cannot be used; running again later may help."""


@dataclass(frozen=True)
class Screen:
    """Which stocks are wanted: the `top` most active by volume that cost `min_price` to `max_price` dollars now."""

    top: int
    min_price: float
    max_price: float

    def verdict(self, price: float | None) -> str | None:
        """Why a stock at `price` is refused; None if it is not."""
        if price is None or not price > 0.0:
            return "no price"
        if price < self.min_price:
            return f"price under ${self.min_price:g}"
        return f"price over ${self.max_price:g}" if price > self.max_price else None


@dataclass(frozen=True)
class Pick:
    """One stock of a universe: its volume in shares and its price in dollars when it was picked (None: not known)."""

    symbol: str
    volume: float | None = None
    price: float | None = None


@dataclass(frozen=True)
class Universe:
    """The stocks of a day.

    Attributes:
        date: the New York date it was picked on.
        chosen: how it was picked, in one line.
        picks: the stocks, the most active first.
        refused: reason -> how many stocks each filter took out.
    """

    date: date
    chosen: str
    picks: tuple[Pick, ...]
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        """The picked symbols, the most active first."""
        return [pick.symbol for pick in self.picks]

    def to_json(self) -> dict[str, Any]:
        """The content of `universe_YYYY-MM-DD.json`."""
        return {
            "date": self.date.isoformat(),
            "chosen": self.chosen,
            "refused": dict(self.refused),
            "symbols": [vars(pick) for pick in self.picks],
        }


def read_universe(folder: Path, day: date) -> Universe | None:
    """The stocks that were picked for a day and written to `universe_YYYY-MM-DD.json`; None where that cannot be read.

    A trader that is started again in the middle of a day goes on with them.
    """
    try:
        record = json.loads((folder / f"universe_{day}.json").read_text(encoding="utf-8"))
        picks = tuple(Pick(pick["symbol"], pick["volume"], pick["price"]) for pick in record["symbols"])
        return Universe(date.fromisoformat(record["date"]), record["chosen"], picks, record["refused"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Source(Protocol):
    """A place to get bars from.

    Attributes:
        name: what the command line calls it.
        market: whose data these are; a data folder holds one market's.
        feed: which feed of that market.
        exhaustive: an answer without bars of a session means that there are none; else it may be a failure.
        notes: what the source had to leave out, or noticed that its library swallowed, one line each.
    """

    name: str
    feed: str
    exhaustive: bool
    notes: list[str]

    @property
    def market(self) -> MarketId: ...

    def sessions(self, calendar: MarketCalendar, now: datetime, count: int) -> list[Session]:
        """The newest `count` completed sessions that it can give the bars of at `now`, oldest first."""

    def universe(self, now: datetime, screen: Screen) -> Universe:
        """The stocks to trade at `now`.

        Raises:
            SourceError: there is no answer that can be used.
        """

    def named(self, now: datetime, symbols: Sequence[str]) -> Universe:
        """These very stocks as the universe.

        Raises:
            UserError: one of them is unknown, and which.
        """

    def bars(self, symbols: Sequence[str], sessions: Sequence[Session]) -> dict[str, Bars]:
        """The 1-minute bars of these stocks from the first session's open to the last one's close, unchecked.

        Args:
            symbols: at least one.
            sessions: completed ones, adjacent, oldest first.

        Raises:
            SourceError: there is no answer that can be used.
        """
