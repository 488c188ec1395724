"""How far beyond their price stops fill on the paper exchange, by preset of `--behaviour`.

    python -m benchmarks.stop_slippage [--bars DIR]

Every half hour of every recorded stock-day a position is opened at the price of that minute, with a stop 2 % below.  Of
the stops that are reached in the session, it prints how many ticks below its price each one fills.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness import RECORDED
from paper_exchange.base.calendar import Session, xnys
from paper_exchange.base.wire import MINUTE
from paper_exchange.market.path import grid_below, millionths, tick_at
from paper_exchange.market.recorded import RecordedMarket
from paper_exchange.market.tape import Tape
from paper_exchange.orders.behaviour import PRESETS, Behaviour, Chance
from paper_exchange.orders.matching import price_beyond

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP = 0.98
EVERY = 30  # minutes between two entries in a stock
SEED = 1
NEVER = Chance()


def reached(tape: Tape, symbol: str, session: Session) -> Iterator[tuple[int, int]]:
    """The stops of a stock-day that are reached, as (instant in ns, price in millionths of a dollar)."""
    bars = tape.session_bars(symbol, session)
    for entry in range(EVERY, len(bars), EVERY):
        stop = grid_below(int(millionths(float(bars.open[entry])) * STOP))
        below = np.flatnonzero(bars.low[entry:] * 1e6 <= stop)
        if len(below):
            start = int(bars.start[entry + below[0]])
            instant = tape.stretch(symbol, start).reached(stop, rising=False, after=start)
            if instant is not None:
                yield instant, stop


def ticks_beyond(tape: Tape, symbol: str, stop: tuple[int, int], behaviour: Behaviour, number: int) -> float:
    """Ticks below its price at which a stop fills."""
    at = stop[0] + behaviour.delay("stop_slippage", number)
    got = price_beyond(tape.stretch(symbol, at), at, behaviour.delay("stop_beyond", number), buy=False)
    return (stop[1] - got) / tick_at(stop[1])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--bars", type=Path, default=RECORDED)
    market = RecordedMarket(options.parse_args().bars)
    tape, calendar = Tape(market, xnys()), xnys()
    sessions = [one for one in calendar.sessions if market.first_session <= one.day <= market.last_session]
    stops = [
        (listing.symbol, stop)
        for listing in market.listings
        for session in sessions
        for stop in reached(tape, listing.symbol, session)
        if stop[0] + MINUTE < session.close
    ]
    print(f"{len(stops):,} stops at 2 % below their entries, {market.description}")
    print("| preset | fill at their own price | mean, ticks | 90 % within, ticks | mean, % of the price |")
    print("|---|---|---|---|---|")
    tables = {name: PRESETS[name] for name in ("calm", "mild", "drill")}
    tables |= {f"{name} without stop_beyond": {**PRESETS[name], "stop_beyond": NEVER} for name in ("mild", "drill")}
    for name, table in tables.items():
        behaviour = Behaviour(seed=SEED, table=table)
        ticks = np.array([ticks_beyond(tape, *stop, behaviour, n) for n, stop in enumerate(stops)])
        share = ticks * np.array([tick_at(price) / price for _, (_, price) in stops])
        row = f"{np.mean(ticks == 0):.0%} | {ticks.mean():.2f} | {np.percentile(ticks, 90):.0f} | {share.mean():.3%}"
        print(f"| {name} | {row} |")


if __name__ == "__main__":
    main()
