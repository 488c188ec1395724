"""The bars of one venue: how the curve of `paper_exchange.market.coverage` was fitted, and its bars beside IEX's.

    python -m benchmarks.coverage [--iex DIR] [--whole DIR]

It fits the two numbers of the curve to the share of minutes with a bar of the IEX stock-days, by IEX shares a day, and
prints, by the same bands, both shares, the median volume of a bar and the share of bars without a range.  The whole
market's stock-days are also taken with smaller volumes, because the recorded ones are of the most active stocks.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from benchmarks.harness import PROJECT
from paper_exchange.base.wire import MINUTE
from paper_exchange.market import coverage
from paper_exchange.market.interface import BarColumns
from paper_exchange.market.recorded import RecordedMarket
from trading.base.arrays import Floats
from trading.base.calendar import new_york_calendar

BARS = PROJECT.parent / "shared" / "bars"
BANDS = (0, 2_000, 5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 200_000, 400_000, np.inf)
"""Shares a day on the venue between which stock-days are counted together."""
SCALES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Fractions of the recorded volume at which the whole market's stock-days are taken."""
EVERY = 3
"""One in so many stock-days of the whole market is used."""
MINUTES = 390


class Day(NamedTuple):
    """A stock-day: symbol and bars."""

    symbol: str
    bars: BarColumns


class Band(NamedTuple):
    """Stock-days, the share of their minutes with a bar, the median volume of a bar, the share of bars of one price."""

    days: int
    share: float
    volume: float
    flat: float


def days_of(folder: Path) -> list[Day]:
    """The stock-days of a folder of bars."""
    market, calendar = RecordedMarket(folder), new_york_calendar()
    sessions = calendar.between(market.first_session, market.last_session)
    found = [
        Day(listing.symbol, market.session_bars(listing.symbol, session.date))
        for listing in market.listings
        for session in sessions
    ]
    return [day for day in found if len(day.bars)]


def bands(days: list[Day]) -> list[Band]:
    """The stock-days by their volume."""
    volume = np.array([day.bars.volume.sum() for day in days])
    found = []
    for low, high in pairwise(BANDS):
        inside = [days[i].bars for i in np.flatnonzero((volume >= low) & (volume < high))]
        sizes = np.concatenate([bars.volume for bars in inside])
        flat = np.concatenate([bars.high == bars.low for bars in inside])
        found.append(Band(len(inside), len(sizes) / MINUTES / len(inside), float(np.median(sizes)), float(flat.mean())))
    return found


def fitted(volumes: Floats, shares: Floats) -> tuple[float, float]:
    """The two numbers of the curve: prints per share, and the power.

    Args:
        volumes: shares of the whole market in each minute of stock-days, (days, minutes).
        shares: of minutes with a bar on the venue, by `BANDS`.
    """
    band = np.digitize(coverage.VOLUME_SHARE * volumes.sum(axis=1), BANDS) - 1
    weight = np.where(np.array(BANDS[1:]) <= 200_000, 1.0, 0.1)  # few stock-days above

    def loss(numbers: Floats) -> float:
        chance = -np.expm1(-np.exp(numbers[0]) * volumes ** numbers[1]).mean(axis=1)
        found = np.array([chance[band == i].mean() for i in range(len(shares))])
        return float((weight * (_logit(found) - _logit(shares)) ** 2).sum())

    best = minimize(loss, [np.log(1e-3), 0.8], method="Nelder-Mead", options={"maxiter": 120, "xatol": 1e-3})
    return float(np.exp(best.x[0])), float(best.x[1])


def _logit(share: Floats) -> Floats:
    inside = np.clip(share, 1e-4, 1.0 - 5e-4)
    found: Floats = np.log(inside / (1.0 - inside))
    return found


def scaled(day: Day, scale: float, number: int) -> Day:
    """A stock-day with a part of its volume, under a name of its own, so that its draws are too."""
    volume = np.maximum((day.bars.volume * scale).astype(np.int64), 1)
    return Day(f"{day.symbol}.{number}", replace(day.bars, volume=volume))


def on_minutes(bars: BarColumns) -> Floats:
    """The volume of each of the session's minutes, of full sessions; 0 without a bar."""
    found = np.zeros(MINUTES)
    minute = (bars.start - bars.start[0]) // MINUTE
    found[minute[minute < MINUTES]] = bars.volume[minute < MINUTES]
    return found


def main() -> None:
    """Print the fit, and both sides by band as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iex", type=Path, default=BARS / "iex-2025", metavar="DIR", help="bars of IEX")
    parser.add_argument("--whole", type=Path, default=BARS / "us-2018", metavar="DIR", help="bars of all venues")
    options = parser.parse_args()
    theirs = bands(days_of(options.iex))
    recorded = days_of(options.whole)[::EVERY]
    days = [scaled(day, scale, number) for number, scale in enumerate(SCALES) for day in recorded]
    volumes = np.array([on_minutes(day.bars) for day in days])
    a, b = fitted(volumes, np.array([band.share for band in theirs]))
    print(f"fitted: {a:.3g} prints a share, power {b:.3f}; in use: {coverage.PRINTS_PER_SHARE} and {coverage.POWER}")
    thinned = [Day(day.symbol, coverage.thinned(day.bars, day.symbol, seed=0)) for day in days]
    part = sum(int(day.bars.volume.sum()) for day in thinned) / volumes.sum()
    ours = bands([day for day in thinned if len(day.bars)])
    print(f"our bars have {100 * part:.2f} % of the volume\n")
    heads = ["shares a day on the venue", "stock-days of IEX", "minutes with a bar: IEX", "ours"]
    heads += ["median volume of a bar: IEX", "ours", "bars of one price: IEX", "ours"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for (low, high), one, other in zip(pairwise(BANDS), theirs, ours, strict=True):
        name = f"{low:,.0f} to {high:,.0f}" if np.isfinite(high) else f"over {low:,.0f}"
        cells = [name, str(one.days), f"{100 * one.share:.1f} %", f"{100 * other.share:.1f} %"]
        cells += [f"{one.volume:,.0f}", f"{other.volume:,.0f}", f"{100 * one.flat:.0f} %", f"{100 * other.flat:.0f} %"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
