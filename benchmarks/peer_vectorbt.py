"""The peer of `benchmarks/backtest.py`: vectorbt on the bars of a file; runs in an environment that has vectorbt.

PEER/bin/python benchmarks/peer_vectorbt.py FILE.npz     one run for each line of standard input
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import vectorbt as vbt


def main() -> None:
    """Answer each line of standard input with the seconds and the trades of one run."""
    held = np.load(sys.argv[1])
    open_, high, low, close = (held[name] for name in ("open", "high", "low", "close"))
    minutes = int(held["minutes"])
    minute = np.arange(len(open_)) % minutes
    signal = held["confidence"] >= 0.65
    entries = np.zeros_like(signal)
    entries[1:] = signal[:-1]  # bought at the open after the signal
    entries[(minute == 0) | (minute >= minutes - 5)] = False
    exits = np.repeat((minute == minutes - 5)[:, None], open_.shape[1], axis=1)
    for _ in sys.stdin:
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
            sl_stop=0.02,
            tp_stop=0.04,
            init_cash=1e6,
            accumulate=False,
            upon_long_conflict="exit",
        )
        trades = len(found.order_records) // 2
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "trades": trades}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
