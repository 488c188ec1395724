"""A market of bars set by a test, a clock set by the test, and alpaca-py clients connected to an exchange over both."""

from __future__ import annotations

import shutil
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from alpaca.data.historical import ScreenerClient, StockHistoricalDataClient
from alpaca.trading.client import TradingClient

from paper_exchange import PaperExchange, mount
from paper_exchange.market.interface import BarColumns, Listing
from paper_exchange.market.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NEW_YORK = ZoneInfo("America/New_York")
ORIGIN = "http://127.0.0.1:8765"
MONDAY = date(2018, 3, 26)
TUESDAY = date(2018, 3, 27)
HALF_DAY = date(2018, 11, 23)

Row = tuple[str, float, float, float, float]  # "10:31", open, high, low, close


def ny(day: date, clock: str) -> datetime:
    """An instant from a New York time of day such as "10:31:02"."""
    return datetime.fromisoformat(f"{day}T{clock if len(clock) > 5 else clock + ':00'}").replace(tzinfo=NEW_YORK)


def killed(state: Path) -> Path:
    """A copy of a state file and its log, as a process leaves them that is killed now."""
    folder = Path(tempfile.mkdtemp(dir=state.parent))
    for path in state.parent.glob(f"{state.name}*"):
        shutil.copy(path, folder)
    return folder / state.name


class HandMade:
    """A `Market` of bars given by a test: {symbol: {session: [("10:31", o, h, l, c), ...]}}; volume 1000."""

    description = identity = "bars made by hand"

    def __init__(
        self,
        bars: Mapping[str, Mapping[date, Sequence[Row]]],
        listings: Sequence[Listing] = (),
        volume: Mapping[str, int] | None = None,
    ) -> None:
        known = {one.symbol: one for one in listings}
        self.listings = tuple(known.get(name) or Listing(name, f"{name} Inc.") for name in sorted({*bars, *known}))
        self._volume = volume or {}
        self._bars = {
            (name, day): self._columns(name, day, rows) for name, days in bars.items() for day, rows in days.items()
        }
        days = [day for _, day in self._bars]
        self.first_session, self.last_session = min(days), max(days)

    def _columns(self, name: str, day: date, rows: Sequence[Row]) -> BarColumns:
        start = np.array([int(ny(day, row[0]).timestamp()) * 10**9 for row in rows], dtype=np.int64)
        prices = np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), 4).T
        volume = np.full(len(rows), self._volume.get(name, 1000), dtype=np.int64)
        return BarColumns(start, prices[0], prices[1], prices[2], prices[3], volume)

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        if symbol not in {one.symbol for one in self.listings}:
            raise KeyError(symbol)
        return self._bars.get((symbol, session)) or self._columns(symbol, session, [])

    def summary(self, symbol: str, session: date) -> Summary | None:
        return summarise(self.session_bars(symbol, session))


class Venue:
    """An exchange with its clock and its clients.

    By default a cash account without fractions, and no spread, so that prices are those of the bars.
    """

    def __init__(self, market: Any, at: datetime, state: Path | None = None, **options: Any) -> None:
        self.time = at
        self.market = market
        usual = {"margin": False, "fractionable": False, "spread_ticks": 0}
        self.exchange = PaperExchange(market, lambda: self.time, state_path=state, **(usual | options))
        self.trading = self.client(TradingClient, paper=True)
        self.raw = self.client(TradingClient, paper=True, raw_data=True)
        self.data = self.client(StockHistoricalDataClient)
        self.raw_data = self.client(StockHistoricalDataClient, raw_data=True)
        self.screener = self.client(ScreenerClient)

    def client(self, kind: Any, key: str = "key", secret: str = "secret", **options: Any) -> Any:
        made = kind(key, secret, url_override=ORIGIN, **options)
        mount(made, self.exchange.app, ORIGIN)
        return made

    def at(self, clock: str, day: date | None = None) -> None:
        """Set the clock to a New York time of day, today or on another day."""
        self.time = ny(day or self.time.astimezone(NEW_YORK).date(), clock)

    def later(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
