"""The interface of a bar source, the universe of a day, and the files that universes are kept in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from trading.base.clock import NEW_YORK, parse_instant
from trading.base.errors import BrokerError, DataError, UserError
from trading.base.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from config import DataSettings
    from trading.base.calendar import MarketCalendar, Session
    from trading.base.market_folders import MarketId
    from trading.market.bars import Bars


Day = date
"""`date`, for a class that has a field of that name."""

SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}")
"""The form of a symbol; it becomes part of file names."""


class SourceError(UserError):
    """A source does not answer, or its answer cannot be used; running again later may help."""


class FeedRefused(BrokerError):
    """The plan does not include the feed."""


@dataclass(frozen=True)
class Split:
    """A split that takes effect before the open of `day`: `ratio` new shares for an old one."""

    symbol: str
    day: date
    ratio: float


@dataclass(frozen=True)
class SymbolChange:
    """A stock that has another symbol from `day` on."""

    old: str
    new: str
    day: date


class CorporateActions(NamedTuple):
    """Announced splits and symbol changes."""

    splits: tuple[Split, ...] = ()
    changes: tuple[SymbolChange, ...] = ()


@dataclass(frozen=True)
class Pick:
    """One stock of a universe, with its volume in shares and its price in dollars when picked (None: unknown)."""

    symbol: str
    volume: float | None = None
    price: float | None = None


@dataclass(frozen=True)
class Universe:
    """The stocks of a day.

    Attributes:
        date: the day that they are for: the one after the session that they were picked by.
        chosen: one line on how they were picked.
        picks: the stocks, the most active first.
        refused: reason -> number of stocks that a filter refused.
        picked_at: when a universe of a file was picked; None: not known.
        picked_by: the settings that it was picked by, by name; None: not known.
        by_session: the session by whose data alone it was picked, if that was done later; None: it was picked then.
    """

    date: date
    chosen: str
    picks: tuple[Pick, ...]
    refused: Mapping[str, int] = field(default_factory=dict)
    picked_at: datetime | None = None
    picked_by: Mapping[str, object] | None = None
    by_session: Day | None = None

    def known_before(self, opened: datetime) -> bool:
        """Whether it holds only what was known before this open: it was picked then, or by data of then."""
        in_time = self.picked_at is not None and self.picked_at < opened
        return in_time or (self.by_session is not None and self.by_session < opened.astimezone(NEW_YORK).date())

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


def picked_by(data: DataSettings) -> dict[str, object]:
    """The settings that a universe depends on, by name."""
    kinds = sorted(data.EXCLUDED_KINDS)
    return {
        "TOP_STOCKS": data.TOP_STOCKS,
        "MIN_PRICE": data.MIN_PRICE,
        "MAX_PRICE": data.MAX_PRICE,
        "EXCLUDED_KINDS": kinds,
    }


def write_universe(
    folder: Path, universe: Universe, feed: str, now: datetime, data: DataSettings | None = None
) -> None:
    """Write the stocks of a day, picked at `now`, to `universe_YYYY-MM-DD.json`.

    Args:
        data: the settings that they were picked by; None: a person named them.

    Raises:
        OSError: the folder cannot be written.
    """
    record = universe.to_json() | {"feed": feed, "picked_at": now.astimezone(NEW_YORK).isoformat(timespec="seconds")}
    if data is not None:
        record["picked_by"] = picked_by(data)
    if universe.by_session is not None:
        record["by_session"] = universe.by_session.isoformat()
    write_json(universe_path(folder, universe.date), record)


def read_universe(folder: Path, day: date) -> Universe | None:
    """The universe of a day from `universe_YYYY-MM-DD.json`; None if the file is missing or damaged.

    A trader that is restarted during a session goes on with the stocks picked in the morning.
    """
    path = universe_path(folder, day)
    try:
        return _read(path) if path.exists() else None
    except DataError:
        return None


def newest_universe(folder: Path) -> Universe:
    """The universe of the newest day that `folder` has a file of.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    files = sorted(folder.glob("universe_*.json"))
    if not files:
        raise DataError(f"{folder}: no universe there; run python build_dataset.py first, or name --symbols")
    return _read(files[-1])


def universe_path(folder: Path, day: date) -> Path:
    """The file of a day's universe."""
    return folder / f"universe_{day}.json"


def _read(path: Path) -> Universe:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        picks = tuple(Pick(str(pick["symbol"]), pick["volume"], pick["price"]) for pick in record["symbols"])
        picked_at = parse_instant(record["picked_at"]) if "picked_at" in record else None  # before 0.3: none
        by_session = date.fromisoformat(record["by_session"]) if "by_session" in record else None
        by = record.get("picked_by")
        if by is not None and not isinstance(by, dict):
            raise ValueError("picked_by is not a list of settings")
        day = date.fromisoformat(record["date"])
        return Universe(day, record["chosen"], picks, record["refused"], picked_at, by, by_session)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error}); run python build_dataset.py again") from None


class Source(Protocol):
    """A provider of bars and of the stocks to trade.

    Attributes:
        name: its name on the command line.
        market: the market of its data; a data folder holds the data of one market.
        feed: the feed of that market.
        exhaustive: whether an answer with some bars of a stock is for all its sessions, those without a bar too;
            otherwise a session without a bar may be a failure, and it is requested again.
        ahead: number of stocks that are requested after those of the current request, for messages.
        notes: one line for each omission and for each failure that the source's library only logs.
        outcomes: the source of the bars that tell outcomes where `feed` lacks most trades (OUTCOME_FEED); None: there
            is no other, or it is not wanted.
    """

    name: str
    feed: str
    exhaustive: bool
    ahead: int
    notes: list[str]

    @property
    def market(self) -> MarketId: ...

    @property
    def outcomes(self) -> Source | None: ...

    def sessions(self, calendar: MarketCalendar, now: datetime, count: int) -> list[Session]:
        """The newest `count` completed sessions whose bars are available at `now`, oldest first."""

    def universe(self, now: datetime, data: DataSettings) -> Universe:
        """The stocks to trade at `now`: the TOP_STOCKS most active by volume of those within the price band.

        Volume and price are those of the newest completed session (`trading.market.universe.most_active`).

        Raises:
            SourceError: the source does not answer, or its answer cannot be used.
        """

    def universes(self, sessions: Sequence[Session], data: DataSettings) -> list[Universe]:
        """The universes that were chosen by these adjacent, completed sessions, each for the session that follows it.

        As far as the source can tell: empty if it keeps no volumes of the past.

        Raises:
            SourceError: the source does not answer, or its answer cannot be used.
        """

    def named(self, now: datetime, symbols: Sequence[str]) -> Universe:
        """The universe of exactly these stocks.

        Raises:
            UserError: a stock is unknown; the message names it.
        """

    def bars(self, symbols: Sequence[str], sessions: Sequence[Session]) -> dict[str, Bars]:
        """The unchecked 1-minute bars of these stocks from the first session's open to the last session's close.

        Args:
            symbols: at least one.
            sessions: completed, adjacent sessions, oldest first.

        Raises:
            SourceError: the source does not answer, or its answer cannot be used.
        """

    def corporate_actions(self, symbols: Sequence[str], first: date, last: date) -> CorporateActions:
        """The splits and symbol changes of these stocks that take effect from `first` to `last`.

        Raises:
            SourceError: the source does not answer, or its answer cannot be used.
        """


def price_refusal(price: float | None, data: DataSettings) -> str | None:
    """Why a stock at `price` (dollars; None: unknown) is not in the price band; None if it is."""
    if price is None or not price > 0.0:
        return "no price"
    if price < data.MIN_PRICE:
        return f"price under ${data.MIN_PRICE:g}"
    return f"price over ${data.MAX_PRICE:g}" if price > data.MAX_PRICE else None


def named_universe(now: datetime, picks: Iterable[Pick]) -> Universe:
    """The universe of stocks that the user named."""
    return Universe(now.astimezone(NEW_YORK).date(), "named on the command line", tuple(picks))


def shortened(symbols: Sequence[str]) -> str:
    """A list of symbols for a message: the first eight and the number of the others."""
    return ", ".join(symbols[:8]) + (f" and {len(symbols) - 8} more" if len(symbols) > 8 else "")
