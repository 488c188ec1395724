"""The minute step, from new bars to logged predictions, against a loop over stocks."""

from __future__ import annotations

import tempfile
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson

from benchmarks.features import of_window
from benchmarks.harness import Line, Options, Timing, shown
from benchmarks.labels import RULES
from benchmarks.material import walk
from config import ModelKind, Settings
from tests.settings import learning_settings
from trading.base.calendar import new_york_calendar
from trading.base.clock import SimulatedClock
from trading.features.document import LOOKBACK_BARS, features, window_is_whole
from trading.features.session_bars import SessionBars
from trading.learning.calibration import Calibration
from trading.learning.fitting import fit
from trading.models.predictor import Predictor
from trading.records.journal import Journal
from trading.rules.labels import UNKNOWN, outcomes_and_labels

AIM = {10_000: 0.150}
SESSION = new_york_calendar().session(date(2018, 3, 28))
OVERLAP = 6
"""Bars of each stock in a reply: the new one, and five that are requested again."""
FIRST = 30
"""The first measured minute of the session."""


def model(kind: ModelKind, rows: int) -> Any:
    """A model with the default settings, fitted on a random walk."""
    bars = walk(rows, seed=9)
    start = 60 * 10**9 * np.arange(rows, dtype=np.int64)
    _, label = outcomes_and_labels(bars.open, bars.high, bars.low, start, bars.group, bars.flattening, RULES)
    label = label[LOOKBACK_BARS - 1 :]
    known = window_is_whole(bars.group) & (label != UNKNOWN)
    X, y = features(*bars.ohlcv)[known], label[known]
    settings = learning_settings(MODEL_KIND=kind)
    scaler, fitted = fit(
        X[:: settings.training.TRAIN_EVERY_NTH_ROW], y[:: settings.training.TRAIN_EVERY_NTH_ROW], settings.training
    )
    return SimpleNamespace(
        scaler=scaler,
        model=fitted,
        calibration=Calibration(0.8, -0.1),
        timestamp="20180327_200000",
        feature_set="document",
    )


class Market:
    """Replies of the bars endpoint in the form that alpaca-py returns: dictionaries decoded from JSON."""

    def __init__(self, stocks: int, minutes: int) -> None:
        self.symbols = tuple(f"S{number:05d}" for number in range(stocks))
        columns = walk(minutes * stocks, 0.0005, seed=3).ohlcv
        self.ohlcv = [np.round(column.reshape(stocks, minutes), 4) for column in columns]

    def reply(self, first: int, last: int) -> dict[str, list[dict[str, Any]]]:
        """The bars of the minutes `first` to `last` - 1."""
        times = [f"{SESSION.open + timedelta(minutes=at):%Y-%m-%dT%H:%M:00Z}" for at in range(first, last)]
        parts = [column[:, first:last].tolist() for column in self.ohlcv]
        reply: dict[str, list[dict[str, Any]]] = orjson.loads(
            orjson.dumps(
                {
                    symbol: [
                        {"t": t, "o": o, "h": h, "l": low, "c": c, "v": int(v), "n": 7, "vw": c}
                        for t, o, h, low, c, v in zip(times, *(part[i] for part in parts), strict=True)
                    ]
                    for i, symbol in enumerate(self.symbols)
                }
            )
        )
        return reply


def measure(options: Options) -> list[Line]:
    lines = []
    kinds: tuple[ModelKind, ...] = ("random_forest", "gradient_boosting")
    for kind in kinds:
        of = model(kind, 50_000 if options.quick else 800_000)
        for stocks in (50, 500) if options.quick else (50, 500, 10_000):
            minutes = 8 if options.quick else 15 if stocks > 1000 else 60
            lines += _measured(kind, of, stocks, minutes)
    return lines


def _measured(kind: str, of: Any, stocks: int, minutes: int) -> list[Line]:
    market, bars, predictor = (
        Market(stocks, FIRST + minutes),
        SessionBars(SESSION, ()),
        Predictor(of, Settings().prediction),
    )
    bars = SessionBars(SESSION, market.symbols)
    bars.take(market.reply(0, FIRST), SESSION.open + timedelta(minutes=FIRST))
    ours, written, parts, naive = Timing(), Timing(), [], []
    with tempfile.TemporaryDirectory() as folder:
        clock = SimulatedClock(SESSION.open)
        journal = Journal(Path(folder), clock)
        for minute in range(FIRST + 1, FIRST + minutes + 1):
            now = SESSION.open + timedelta(minutes=minute, seconds=2)
            clock.sleep_until(now)
            reply = market.reply(minute - OVERLAP, minute)
            seconds, cpu = _step(bars, predictor, journal, reply, now)
            parts.append(seconds)
            ours.wall.append(sum(parts[-1][:3]))
            ours.cpu.append(cpu)
            written.wall.append(sum(parts[-1]))
            naive.append(_stock(market, of, minute % stocks, minute))
        journal.close()
    return _lines(kind, stocks, ours, written, np.median(parts, axis=0).tolist(), float(np.median(naive)) * stocks)


def _step(
    bars: SessionBars, predictor: Predictor, journal: Journal, reply: dict[str, Any], now: datetime
) -> tuple[list[float], float]:
    """Seconds of taking the bars, of cutting windows, of predicting, of writing the history; CPU seconds of the first
    three."""
    cpu, marks = time.process_time(), [time.perf_counter()]
    bars.take(reply, now)
    marks.append(time.perf_counter())
    windows = bars.windows()
    marks.append(time.perf_counter())
    predictions = predictor.predict(windows, now)
    marks.append(time.perf_counter())
    cpu = time.process_time() - cpu
    journal.predictions([prediction.as_json() for prediction in predictions])
    marks.append(time.perf_counter())
    return np.diff(marks).tolist(), cpu


def _stock(market: Market, of: Any, stock: int, minute: int) -> float:
    """CPU seconds of one step of a loop over stocks: features by pandas, then scikit-learn's predict on one row."""
    window = [column[stock, minute - LOOKBACK_BARS : minute] for column in market.ohlcv]
    began = time.process_time()
    vector = np.array([of_window(*window)])
    of.model.predict_proba(of.scaler.transform(vector))
    return time.process_time() - began


def _lines(kind: str, stocks: int, ours: Timing, written: Timing, parts: list[float], naive: float) -> list[Line]:
    taking, cutting, predicting, writing = (shown(part) for part in parts)
    aim = AIM.get(stocks)
    return [
        Line(
            f"minute step, {kind.replace('_', ' ')}", f"{stocks:,} stocks",
            f"p50 {ours.text()}, p95 {shown(ours.p95)} ({shown(ours.p95_cpu)} CPU)",
            "loop over stocks, one a minute, scaled", f"{shown(naive)} CPU", naive / ours.median_cpu,
            aim="" if aim is None else f"{shown(aim)}, features included",
            met=None if aim is None else ours.median_cpu <= aim,
            note=f"bars {taking}, windows {cutting}, predictions {predicting}; history {writing} more: "
            f"p50 {shown(written.median)}, p95 {shown(written.p95)}",
        )
    ]  # fmt: skip
