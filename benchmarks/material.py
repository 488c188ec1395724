"""Input of the benchmarks: random walks of any length, and folders of bar files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trading.base.calendar import new_york_calendar
from trading.market.bars import MINUTE_NS, Bars, join, to_ns, write_bars_file

if TYPE_CHECKING:
    from pathlib import Path

Floats = NDArray[np.float64]
SESSION_BARS = 390


@dataclass(frozen=True)
class Walk:
    """Bars of consecutive sessions, float64 (n,), with the index of the session and the flatten flag of each bar."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    group: NDArray[np.int64]
    flattening: NDArray[np.bool_]

    @property
    def ohlcv(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        return self.open, self.high, self.low, self.close, self.volume


def walk(n: int, volatility: float = 0.002, seed: int = 1) -> Walk:
    """A random walk of `n` bars in sessions of 390; `volatility` is the standard deviation of its log returns."""
    random = np.random.default_rng(seed)
    minute = np.arange(n) % SESSION_BARS
    path = np.cumsum(random.normal(0.0, volatility, n))
    close = 10.0 * np.exp(path - np.repeat(path[::SESSION_BARS], SESSION_BARS)[:n])  # every session opens near $10
    open_ = close * np.exp(random.normal(0.0, volatility / 4, n))
    spread = np.exp(np.abs(random.normal(0.0, volatility / 2, n)))
    return Walk(
        open=open_,
        high=np.maximum(open_, close) * spread,
        low=np.minimum(open_, close) / spread,
        close=close,
        volume=np.floor(random.pareto(1.5, n) * 500),
        group=np.arange(n) // SESSION_BARS,
        flattening=minute >= SESSION_BARS - 5,
    )


def bar_folder(bars: Path, folder: Path, quick: bool) -> tuple[Path, str]:
    """A folder of bar files and its description: the recorded bars or, without them, random walks in `folder`."""
    if not bars.is_dir():
        _write_walks(folder, stocks=8 if quick else 75)
        return folder, f"random walks, because {bars.parent.name}/{bars.name} does not exist"
    if not quick:
        return bars, f"recorded bars of {bars.name}"
    folder.mkdir(parents=True)
    for path in sorted(bars.glob("*.csv*"))[:8]:
        shutil.copy(path, folder / path.name)
    return folder, f"recorded bars of 8 stocks of {bars.name}"


def _write_walks(folder: Path, stocks: int) -> None:
    sessions = new_york_calendar().between(date(2018, 2, 16), date(2018, 4, 2))
    for stock in range(stocks):
        one = walk(SESSION_BARS * len(sessions), seed=stock)
        parts = []
        for number, session in enumerate(sessions):
            rows = slice(number * SESSION_BARS, (number + 1) * SESSION_BARS)
            start = to_ns(session.open) + MINUTE_NS * np.arange(SESSION_BARS)
            parts.append(Bars(start, *(column[rows] for column in one.ohlcv)))
        write_bars_file(folder / f"S{stock:03d}.csv", f"S{stock:03d}", join(parts))
