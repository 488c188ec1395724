"""The peer of `benchmarks/backtest.py`: vectorbt on the bars of a file; runs in an environment that has vectorbt.

PEER/bin/python benchmarks/peer_vectorbt.py FILE.npz     one run for each line of standard input

A line names the levels: `percent`, exactly -2 % and +4 % of the price paid, or `grid`, these rounded up to cents.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import vectorbt as vbt

STOP_LOSS, TAKE_PROFIT, FLATTEN, LEAST = 0.02, 0.04, 5, 1e-7
"""`LEAST`, dollars, keeps a level on the grid from being missed by an error of rounding."""


def main() -> None:
    """Answer each line of standard input with the seconds and the trades of one run."""
    held = np.load(sys.argv[1])
    open_, high, low, close = (held[name] for name in ("open", "high", "low", "close"))
    minutes = int(held["minutes"])
    minute = np.arange(len(open_)) % minutes
    signal = held["confidence"] >= 0.65
    entries = np.zeros_like(signal)
    entries[1:] = signal[:-1]  # bought at the open after the signal
    entries[(minute == 0) | (minute >= minutes - FLATTEN)] = False
    exits = np.repeat((minute == minutes - FLATTEN)[:, None], open_.shape[1], axis=1)
    stop, target = (np.ceil(100.0 * open_ * by - 1e-6) / 100.0 for by in (1.0 - STOP_LOSS, 1.0 + TAKE_PROFIT))
    levels: dict[str, tuple[Any, Any]] = {
        "percent": (STOP_LOSS, TAKE_PROFIT),
        "grid": (1.0 - (stop + LEAST) / open_, (target - LEAST) / open_ - 1.0),
    }
    for line in sys.stdin:
        sl_stop, tp_stop = levels[line.strip()]
        wall, cpu = time.perf_counter(), time.process_time()
        found = vbt.Portfolio.from_signals(
            close,
            entries=entries,
            exits=exits,
            price=open_,
            open=open_,
            high=high,
            low=low,
            size=5.0,
            sl_stop=sl_stop,
            tp_stop=tp_stop,
            init_cash=1e6,
            accumulate=False,
            upon_long_conflict="exit",
            stop_entry_price="fillprice",  # the default is the close of the bar of the purchase
        )
        orders = found.order_records
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**seconds, "trades": trades_of(orders, minutes)}))
        sys.stdout.flush()


def trades_of(orders: np.ndarray, minutes: int) -> list[tuple[int, ...]]:
    """Session, stock, minutes of purchase and sale, and both prices in cents, of each trade."""
    orders = orders[np.lexsort((orders["idx"], orders["col"]))]
    bought, sold = orders[orders["side"] == 0], orders[orders["side"] == 1]
    assert len(bought) == len(sold) and (bought["col"] == sold["col"]).all()
    columns = (
        bought["idx"] // minutes,
        bought["col"],
        bought["idx"] % minutes,
        sold["idx"] - bought["idx"] // minutes * minutes,
        np.rint(100.0 * bought["price"]),
        np.rint(100.0 * sold["price"]),
    )
    return [tuple(map(int, row)) for row in zip(*columns, strict=True)]


if __name__ == "__main__":
    main()
