"""Generated bars for the tests of the dataset."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from trading.base.calendar import Session, new_york_calendar
from trading.dataset.symbol_files import Fetched
from trading.market.bars import MINUTE_NS, Bars, join, to_ns, write_bars_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

CALENDAR = new_york_calendar()
AROUND_CLOCK_CHANGE = CALENDAR.between(date(2018, 3, 7), date(2018, 3, 14))  # clocks go forward on the 11th
WITH_HALF_DAY = CALENDAR.between(date(2018, 11, 20), date(2018, 11, 26))  # the 22nd is a holiday, the 23rd a half day


def session_bars(session: Session, seed: int, *, price: float = 10.0, thin: float = 0.0) -> Bars:
    """A random walk over one session; a fraction `thin` of its minutes is missing."""
    random = np.random.default_rng([seed, session.date.toordinal()])
    n = session.minutes
    close = price * np.exp(np.cumsum(random.normal(0.0, 0.003, n)))
    open_ = np.concatenate([[price], close[:-1]]) * np.exp(random.normal(0.0, 0.0005, n))
    spread = np.exp(np.abs(random.normal(0.0, 0.001, n)))
    bars = Bars(
        to_ns(session.open) + MINUTE_NS * np.arange(n),
        open_,
        np.maximum(open_, close) * spread,
        np.minimum(open_, close) / spread,
        close,
        random.integers(0, 5_000, n).astype(np.float64),
    )
    return bars.take(random.random(n) >= thin)


def bars_of(sessions: Iterable[Session], seed: int, *, thin: float = 0.0) -> Bars:
    """Random walks over several sessions; the bars of a session do not depend on the others."""
    return join([session_bars(session, seed, thin=thin) for session in sessions])


STOCKS = {"AAA": (1, 0.0), "BBB": (2, 0.05), "CC.A": (3, 0.6)}
"""Symbol -> seed, and fraction of missing minutes."""


def fetched(sessions: Sequence[Session], symbols: Iterable[str] = tuple(STOCKS)) -> dict[str, Fetched]:
    """The bars of the stocks as a source returns them."""
    return {
        symbol: Fetched(
            bars_of(sessions, STOCKS[symbol][0], thin=STOCKS[symbol][1]), [session.date for session in sessions]
        )
        for symbol in symbols
    }


def write_folder(folder: Path, sessions: Sequence[Session]) -> None:
    """Write the bars of the stocks as a folder of bar files."""
    for symbol, one in fetched(sessions).items():
        write_bars_file(folder / f"{symbol}.csv", symbol, one.bars)


def content(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
