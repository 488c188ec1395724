"""A sparse feed: windows of the last 20 bars against windows of the last 20 minutes, and entries that come late.

    python -m benchmarks.sparse_feed [--bars DIR] [--whole DIR]

First, OUTCOME_FEED: bars of the whole market (`--whole`) are thinned to those of one venue, and rows are made of the
venue's bars alone and with outcomes from the whole market.  Then, of the bars of a sparse feed (`--bars`), it shows the
share of stock-minutes that have a prediction on a fresh bar, by the stock's shares a day on the feed, and the log loss
of each way on the same rows: models of the sessions before predict each block of sessions, and what they gain over the
base rate is paired by session.  The label is whether half a per cent is gained before 2 % is lost.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.harness import PROJECT, RECORDED
from config import FeatureSet, Settings
from paper_exchange.market.coverage import thinned
from paper_exchange.market.interface import BarColumns
from trading.base.arrays import Floats, Ints, Mask
from trading.base.calendar import Session, new_york_calendar
from trading.dataset.rows import rows_of, sessions_around
from trading.features import document
from trading.features.document import LOOKBACK_BARS, window_is_whole
from trading.features.relative import relative_features, session_state
from trading.features.sets import _minutes, of_history
from trading.market.bars import MINUTE_NS, Bars, FeedBars, check_bars, read_bars_file, session_numbers, to_ns
from trading.rules.labels import LabelRules
from trading.rules.outcomes import outcomes

SPARSE = PROJECT.parent / "shared" / "bars" / "iex-2025"
SEED = 1
CLASSES = (0, 2_000, 10_000, 30_000, 100_000, 200_000, 400_000, np.inf)
"""Shares a day between which stock-days are counted together."""
FIRST, BLOCK = 12, 4
"""Sessions before the first block, and sessions of a block."""
WAYS = (
    ("the last 20 bars", 10**5),
    ("the last 20 minutes", 10**5),
    ("the last 20 minutes", 5),
    ("the last 20 minutes", 2),
    ("20 bars that span at most 60 minutes", 10**5),
    ("20 bars that span at most 40 minutes", 10**5),
)
"""Ways of the second table: the window, and the minutes within which the next bar starts that a row learns from."""
LABEL_TARGET, STOP = 0.005, 0.02


@dataclass(frozen=True)
class Stock:
    """One stock's bars: session and day's volume of each, minutes to the next bar, label, and the ways' features."""

    session: Ints
    day_volume: Floats
    wait: Ints
    outcome: Floats
    span: Ints
    vectors: dict[str, Floats]


def of_bars(bars: Bars, sessions: list[Session], group: Ints, feature_set: FeatureSet) -> tuple[Floats, Mask]:
    """Features of windows of the last 20 bars, as versions up to 0.2 computed them: one row for each bar."""
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    whole = window_is_whole(group)
    if feature_set == "document":
        X = document.features(*columns)
    else:
        minute, lengths = _minutes(bars, sessions, group)
        state = session_state(bars.open, bars.high, bars.low, bars.volume, minute, group, lengths)
        X = relative_features(*columns, state=state)
        whole &= np.isfinite(X[:, -1])
    padding = np.full((LOOKBACK_BARS - 1, X.shape[1]), np.nan)
    return np.concatenate([padding, np.where(whole[:, None], X, np.nan)]), whole


def stock_of(path: Path, feature_set: FeatureSet) -> Stock | None:
    """A stock's bars with the features of both ways; None if it has hardly any bars."""
    calendar = new_york_calendar()
    raw = read_bars_file(path)
    sessions = sessions_around(raw.start, calendar)
    bars, _ = check_bars(raw, sessions)
    if len(bars) < LOOKBACK_BARS:
        return None
    group = session_numbers(bars.start, sessions)
    flatten = np.array([to_ns(session.flatten_at(5)) for session in sessions])[group]
    outcome, _ = outcomes(bars.open, bars.high, bars.low, group, bars.start >= flatten, STOP, LABEL_TARGET)
    wait = np.full(len(bars), 10**6)
    wait[:-1] = np.where(group[1:] == group[:-1], np.diff(bars.start) // MINUTE_NS, 10**6)
    span = np.full(len(bars), 10**6)
    span[LOOKBACK_BARS - 1 :] = (bars.start[LOOKBACK_BARS - 1 :] - bars.start[: 1 - LOOKBACK_BARS]) // MINUTE_NS + 1
    by_bars, _ = of_bars(bars, sessions, group, feature_set)
    X, row = of_history(bars, sessions, group, feature_set)
    by_minutes = np.where((row >= 0)[:, None], X[row], np.nan) if len(X) else np.full_like(by_bars, np.nan)
    day = np.array([session.date.toordinal() for session in sessions])[group]
    volume = np.bincount(group, weights=bars.volume).astype(np.float64)[group]
    return Stock(day, volume, wait, outcome, span, {"bars": by_bars, "minutes": by_minutes})


class Rows:
    """The bars of all stocks, one after another."""

    def __init__(self, stocks: list[Stock]) -> None:
        self.session = np.concatenate([stock.session for stock in stocks])
        self.day_volume = np.concatenate([stock.day_volume for stock in stocks])
        self.wait = np.concatenate([stock.wait for stock in stocks])
        outcome = np.concatenate([stock.outcome for stock in stocks])
        self.known = ~np.isnan(outcome)
        self.label = (outcome > 100 * LABEL_TARGET - 0.1).astype(np.int8)
        span = np.concatenate([stock.span for stock in stocks])
        vectors = {way: np.concatenate([stock.vectors[way] for stock in stocks]) for way in ("bars", "minutes")}
        usable = {way: np.isfinite(X[:, -1]) for way, X in vectors.items()}
        self.ways: dict[str, tuple[Floats, Mask]] = {
            "the last 20 bars": (vectors["bars"], usable["bars"]),
            "20 bars that span at most 60 minutes": (vectors["bars"], usable["bars"] & (span <= 60)),
            "20 bars that span at most 40 minutes": (vectors["bars"], usable["bars"] & (span <= 40)),
            "the last 20 minutes": (vectors["minutes"], usable["minutes"]),
        }
        days = [np.unique(stock.session, return_index=True) for stock in stocks]
        self.volume_of_stock_days = np.concatenate(
            [stock.day_volume[i] for stock, (_, i) in zip(stocks, days, strict=True)]
        )

    def shares(self, usable: Mask) -> list[float]:
        """The share of a stock-day's 390 minutes that end with a bar that has a prediction, by `CLASSES`, and all."""
        bars = np.histogram(self.day_volume[usable], CLASSES)[0]
        days = np.histogram(self.volume_of_stock_days, CLASSES)[0]
        return [*(bars / np.maximum(390 * days, 1)), bars.sum() / (390 * days.sum())]

    def gain(self, way: str, within: int) -> Floats:
        """By how much the log loss of each predicted bar is below that of the base rate; NaN without a prediction."""
        X, usable = self.ways[way]
        days, gain = np.unique(self.session), np.full(len(self.session), np.nan)
        for i in range(FIRST, len(days), BLOCK):
            train = usable & self.known & (self.wait <= within) & (self.session < days[i])
            test = usable & self.known & (self.wait <= 1) & np.isin(self.session, days[i : i + BLOCK])
            if not test.any():
                continue
            model = HistGradientBoostingClassifier(
                max_iter=40, learning_rate=0.05, max_leaf_nodes=7, min_samples_leaf=500, early_stopping=False
            ).fit(X[train], self.label[train])
            own, base = model.predict_proba(X[test])[:, 1], self.label[train].mean()
            won = self.label[test] == 1
            gain[test] = np.log(np.where(won, own / base, (1 - own) / (1 - base)))
        return gain

    def interval(self, values: Floats) -> str:
        """Mean of the bars that have a value, with its interval over sessions, in 0.0001."""
        there = np.isfinite(values)
        days = np.unique(self.session[there], return_inverse=True)[1]
        total, count = np.bincount(days, weights=values[there]), np.bincount(days)
        mean = total.sum() / count.sum()
        half = 1.96 * np.sqrt(((total - mean * count) ** 2).sum()) / count.sum()
        return f"{1e4 * mean:+.0f} ({1e4 * (mean - half):+.0f} to {1e4 * (mean + half):+.0f})"


def one_venue(bars: Bars, symbol: str) -> Bars:
    """What a venue with 2.5 % of the volume prints of these bars."""
    columns = BarColumns(bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume.astype(np.int64))
    kept = thinned(columns, symbol, SEED)
    return Bars(kept.start, kept.open, kept.high, kept.low, kept.close, kept.volume.astype(np.float64))


def a_quarter(bars: Bars, symbol: str) -> Bars:
    """A random quarter of these bars."""
    return bars.take(np.random.default_rng([SEED, crc32(symbol.encode())]).random(len(bars)) < 0.25)


def outcome_feed(folder: Path) -> None:
    """Print how rows and labels change if outcomes of thinned bars come from the whole ones."""
    calendar = new_york_calendar()
    rules = {feed: LabelRules.of(Settings.of(OUTCOME_FEED=feed).exits) for feed in ("same", "sip")}
    print(
        "| thinned to | rows, one feed | rows, outcomes of the whole market | more | common rows with another label |"
    )
    print("|---|---|---|---|---|", flush=True)
    for name, part_of in (("one venue", one_venue), ("a random quarter", a_quarter)):
        counts = np.zeros(4, dtype=np.int64)
        for path in sorted(folder.glob("*.csv*")):
            raw = read_bars_file(path)
            whole, _ = check_bars(raw, sessions_around(raw.start, calendar))
            part = part_of(whole, path.name)
            if not len(part):
                continue
            alone = rows_of(part, calendar, rules["same"])
            told = rows_of(FeedBars.of(part, whole), calendar, rules["sip"])
            _, here, there = np.intersect1d(alone.start, told.start, assume_unique=True, return_indices=True)
            counts += len(alone), len(told), len(here), int((alone.label[here] != told.label[there]).sum())
        more, other = counts[1] / counts[0] - 1.0, counts[3] / counts[2]
        print(f"| {name} | {counts[0]:,} | {counts[1]:,} | {more:+.1%} | {other:.1%} |", flush=True)


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=Path, default=SPARSE, metavar="DIR", help="folder of bars of a sparse feed")
    parser.add_argument("--whole", type=Path, default=RECORDED, metavar="DIR", help="folder of bars of all trades")
    options = parser.parse_args()
    folder = options.bars
    outcome_feed(options.whole)
    for feature_set in ("document", "relative"):
        stocks = [stock_of(path, feature_set) for path in sorted(folder.glob("*.csv*"))]
        rows = Rows([stock for stock in stocks if stock is not None])
        print(f"\n{feature_set}: share of stock-minutes with a prediction, up to {CLASSES[1:]} shares a day, and all")
        for way, (_, usable) in rows.ways.items():
            print(f"| {way} | " + " | ".join(f"{100 * share:.1f}" for share in rows.shares(usable)) + " |", flush=True)
        print(f"{feature_set}: log loss below the base rate, 0.0001, and paired with the last 20 bars on common rows")
        before = rows.gain("the last 20 bars", 10**5)
        for way, within in WAYS:
            gain = rows.gain(way, within) if (way, within) != WAYS[0] else before
            entry = "any" if within == 10**5 else within
            print(f"| {way} | {entry} | {rows.interval(gain)} | {rows.interval(gain - before)} |", flush=True)


if __name__ == "__main__":
    main()
