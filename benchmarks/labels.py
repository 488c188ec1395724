"""Labels of a million bars by the exit rules, against a Python loop and a vectorised numpy version."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.harness import Line, Options, alternating, shown
from benchmarks.material import Floats, Walk, walk
from tests.settings import label_rules
from trading.rules.outcomes import outcomes

AIM_ROWS = 10e6
RULES = label_rules()


def ours(bars: Walk) -> Floats:
    return outcomes(bars.open, bars.high, bars.low, bars.group, bars.flattening, RULES.stop_loss, RULES.take_profit)[0]


def _up(price: float) -> float:
    ticks = 100.0 if price >= 1.0 else 10_000.0
    return math.ceil(price * ticks - 1e-6) / ticks


def loop(bars: Walk, rows: range) -> list[float]:
    """Outcomes by a plain loop: from each bar forward until an exit rule applies."""
    columns = bars.open.tolist(), bars.high.tolist(), bars.low.tolist(), bars.group.tolist(), bars.flattening.tolist()
    open_, high, low, group, flattening = columns
    found = []
    for bar in rows:
        found.append(math.nan)
        if bar + 1 >= len(open_) or group[bar + 1] != group[bar] or flattening[bar + 1]:
            continue
        entry = open_[bar + 1]
        stop, target = _up(entry * (1 - RULES.stop_loss)), _up(entry * (1 + RULES.take_profit))
        for k in range(bar + 1, len(open_)):
            if group[k] != group[bar]:
                break
            if flattening[k] or open_[k] <= stop or open_[k] >= target:
                found[-1] = 100 * (open_[k] / entry - 1)
                break
            if low[k] <= stop or high[k] >= target:
                found[-1] = 100 * ((stop if low[k] <= stop else target) / entry - 1)
                break
    return found


def vectorised(bars: Walk) -> Floats:
    """Outcomes by numpy: all open positions advance by one bar at a time."""
    n = len(bars.open)
    outcome = np.full(n, np.nan)
    open_rows = np.arange(n - 1)
    open_rows = open_rows[(bars.group[1:] == bars.group[:-1]) & ~bars.flattening[1:]]
    entry = bars.open[open_rows + 1]
    stop = np.ceil(entry * (1 - RULES.stop_loss) * 100 - 1e-6) / 100
    target = np.ceil(entry * (1 + RULES.take_profit) * 100 - 1e-6) / 100
    k = open_rows + 1
    while len(open_rows):
        inside = k < n
        inside[inside] = bars.group[k[inside]] == bars.group[open_rows[inside]]
        open_rows, entry, stop, target, k = (one[inside] for one in (open_rows, entry, stop, target, k))
        opened, low, high = bars.open[k], bars.low[k], bars.high[k]
        price = np.where(high >= target, target, np.nan)
        price = np.where(low <= stop, stop, price)
        price = np.where(bars.flattening[k] | (opened <= stop) | (opened >= target), opened, price)
        done = ~np.isnan(price)
        outcome[open_rows[done]] = 100 * (price[done] / entry[done] - 1)
        open_rows, entry, stop, target, k = (one[~done] for one in (open_rows, entry, stop, target, k + 1))
    return outcome


def measure(options: Options) -> list[Line]:
    n, sample, rounds = (100_000, 1_000, 3) if options.quick else (1_000_000, 5_000, 3)
    lines = []
    for what, volatility in (("labels", 0.002), ("labels, barriers rarely hit", 0.0004)):
        bars = walk(n, volatility)
        rows = range(n // 2, n // 2 + sample)
        if not np.array_equal(ours(bars), vectorised(bars), equal_nan=True):
            raise AssertionError("numpy's labels differ from ours")
        if not np.array_equal(ours(bars)[rows.start : rows.stop], loop(bars, rows), equal_nan=True):
            raise AssertionError("the loop's labels differ from ours")
        lines += _compared(what, bars, rows, rounds)
    return lines


def _compared(what: str, bars: Walk, rows: range, rounds: int) -> list[Line]:
    n, sample = len(bars.open), len(rows)
    convert = alternating({"lists": lambda: loop(bars, range(0))}, 3)["lists"].median_cpu  # fixed cost
    timings = alternating(
        {"ours": lambda: ours(bars), "numpy": lambda: vectorised(bars), "loop": lambda: loop(bars, rows)}, rounds
    )
    own, by_numpy, by_loop = timings["ours"], timings["numpy"], timings["loop"]
    speed = n / own.median_cpu
    looped = (by_loop.median_cpu - convert) * n / sample + convert
    return [
        Line(
            what, f"{n:,} bars", own.text(), f"Python loop, {sample:,} scaled", f"{shown(looped)} CPU",
            looped / own.median_cpu, "over 10 million rows a second", speed > AIM_ROWS,
            f"{speed / 1e6:.1f} million rows a second of CPU",
        ),
        Line("  the same", f"{n:,} bars", own.text(), "numpy", by_numpy.text(), by_numpy.median_cpu / own.median_cpu),
    ]  # fmt: skip
