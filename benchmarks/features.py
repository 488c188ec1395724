"""Features of a million historical bars and of 10,000 live windows, against pandas' `ewm` on each window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.harness import Line, Options, alternating, shown
from benchmarks.material import Floats, walk
from trading.features.document import FEATURES, LOOKBACK_BARS, features
from trading.features.relative import relative_features, session_state

if TYPE_CHECKING:
    from collections.abc import Callable

AIM_LIVE = 0.020


def of_window(open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats) -> list[float]:
    """The features of one window of 20 bars, computed with pandas as tutorials do it."""
    bars = pd.DataFrame({"open": open_, "high": high, "low": low, "close": close, "volume": volume})
    typical = (bars["high"] + bars["low"] + bars["close"]) / 3
    vwap = ((typical * bars["volume"]).cumsum() / bars["volume"].cumsum()).iloc[-1]
    fast = bars["close"].ewm(span=12, adjust=False).mean()
    slow = bars["close"].ewm(span=26, adjust=False).mean()
    macd = fast - slow
    signal = macd.ewm(span=9, adjust=False).mean()
    last = bars.iloc[-1]
    return [
        *(float(last[name]) for name in bars.columns),
        float(vwap),
        float(macd.iloc[-1]),
        float(signal.iloc[-1]),
        float(macd.iloc[-1] - signal.iloc[-1]),
        float((last["close"] - vwap) / vwap),
        float(typical.iloc[-1]),
    ]


def measure(options: Options) -> list[Line]:
    n, stocks, sample, rounds = (100_000, 1_000, 20, 3) if options.quick else (1_000_000, 10_000, 100, 9)
    history, live = _history(n, sample, rounds), _live(stocks, sample, rounds)
    return [*history, *live]


def _history(n: int, sample: int, rounds: int) -> list[Line]:
    ohlcv = walk(n).ohlcv
    source, target = np.ones(4 * n), np.empty(4 * n)
    session, minute = np.divmod(np.arange(n), 390)
    lengths = np.full(session[-1] + 1, 390)
    timings = alternating(
        {
            "ours": lambda: features(*ohlcv),
            "pandas": _windows(ohlcv, sample),
            "triad": lambda: _triad(source, target),
            "relative": lambda: relative_features(
                *ohlcv, state=session_state(*ohlcv[:3], ohlcv[4], minute, session, lengths)
            ),
        },
        rounds,
    )
    ours, pandas, relative = timings["ours"], timings["pandas"], timings["relative"]
    bandwidth = 5 * source.nbytes / timings["triad"].median_cpu
    touched = 8 * n * (5 + len(FEATURES))
    return [
        Line(
            "features of a history", f"{n:,} bars", ours.text(), f"pandas `ewm` a window, {sample} scaled",
            pandas.text(n / sample), pandas.median_cpu * n / sample / ours.median_cpu,
            note=f"{n / ours.median_cpu / 1e6:.1f} million rows a second of CPU",
        ),
        Line(
            "  the same", f"{n:,} bars", ours.text(), "bars read, features written, at this run's memory bandwidth",
            shown(touched / bandwidth), touched / bandwidth / ours.median_cpu,
            note=f"{bandwidth / 1e9:.1f} GB/s (numpy triad)",
        ),
        Line(
            "  the relative ones", f"{n:,} bars", relative.text(), "the document's eleven", ours.text(),
            ours.median_cpu / relative.median_cpu,
            note=f"{n / relative.median_cpu / 1e6:.1f} million rows a second of CPU",
        ),
    ]  # fmt: skip


def _triad(source: Floats, target: Floats) -> None:
    """a = s * b; a += b: in numpy this moves five times the size of the array through memory."""
    np.multiply(source, 1.5, out=target)
    np.add(target, source, out=target)


def _live(stocks: int, sample: int, rounds: int) -> list[Line]:
    ohlcv = tuple(column.reshape(LOOKBACK_BARS, stocks) for column in walk(LOOKBACK_BARS * stocks, seed=2).ohlcv)
    one = [[column[:, i] for column in ohlcv] for i in range(sample)]
    timings = alternating(
        {"ours": lambda: features(*ohlcv), "pandas": lambda: [of_window(*window) for window in one]}, 3 * rounds
    )
    ours, pandas = timings["ours"], timings["pandas"]
    return [
        Line(
            "features of live windows", f"{stocks:,} stocks x 20 bars", ours.text(),
            f"pandas `ewm` a window, {sample} scaled", pandas.text(stocks / sample),
            pandas.median_cpu * stocks / sample / ours.median_cpu,
            aim=f"{shown(AIM_LIVE)} for 10,000", met=ours.median_cpu <= AIM_LIVE * stocks / 10_000,
        )
    ]  # fmt: skip


def _windows(ohlcv: tuple[Floats, ...], sample: int) -> Callable[[], object]:
    ends = np.linspace(LOOKBACK_BARS, len(ohlcv[0]), sample).astype(int)
    return lambda: [of_window(*(column[end - LOOKBACK_BARS : end] for column in ohlcv)) for end in ends]
