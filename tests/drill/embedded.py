"""Lies in process: short sessions on the embedded exchange, many per minute, with replies that lie and restarts.

    python -m tests.drill.embedded --runs 1000 --seed 1     the seeds with a violation, and a sum
    python -m tests.drill.embedded --seed 17 --keep DIR     one run, whose logs stay in DIR
    python -m tests.drill.embedded --broken all             which seed finds each protection that is broken (broken.py)

Prices are random walks that hit stops and targets, orders fill in part, the owner trades beside, and the trader is
abandoned and restarted now and then.  With `--kills` it is also abandoned in the middle of a minute, before and after
requests, on an exchange with the behaviours `drill`.  There are no sockets or faults here: those are `run.py`'s.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paper_exchange import WsgiAdapter
from paper_exchange.base.wire import to_ns
from paper_exchange.orders.behaviour import PRESETS, Behaviour
from tests.drill.aimed import AIMS, Aim
from tests.drill.broken import BROKEN_BY_LIES
from tests.drill.checks import Findings, check
from tests.drill.lies import Liar, LiePlan
from tests.drill.owner import Owner
from tests.exchange.exchange_world import MONDAY, Row, ny
from tests.execution.trading_world import Killed, TradingWorld, prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.models.predictor import Prediction

STOCKS: Final = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")
OWNERS: Final = "OWN"
FIRST, TRADED, LAST = "10:30", 40, "15:50"
"""The first minute, how many are traded, and the minute at which it goes on until the close."""

MEMORY: Final = "/dev/shm"
"""Where files cost no disk, on Linux."""

AIMED_BEFORE: Final = timedelta(seconds=10)
"""Before a minute, aimed trouble begins."""

RESTART_RATE: Final = 0.08
LONGEST: Final = 45.0
"""Seconds that shares may be without stop and sale here: less than promised, because no request takes time."""

STEP: Final = 0.009
"""Standard deviation of a minute's return."""


@dataclass
class Walk:
    """A predictor that likes stocks at random, at the price that it sees, until shortly before the long gap."""

    chance: random.Random

    def predict(self, windows: Any, now: datetime) -> list[Prediction]:
        if now > ny(MONDAY, FIRST) + timedelta(minutes=TRADED - 5):
            return []
        closes = windows.ohlcv[3, -1]
        return [
            prediction(symbol, 0.9 if self.chance.random() < 0.35 else 0.3, float(close), now)
            for symbol, close in zip(windows.symbols, closes, strict=True)
        ]


def walk(chance: random.Random) -> list[Row]:
    """A session's bars of a stock, until 16:00."""
    price = chance.uniform(2.0, 18.0)
    minute, rows = datetime(2018, 3, 26, 9, 30), []  # noqa: DTZ001 - only its time of day is used
    while minute.hour < 16:
        calm = "11:15" < f"{minute:%H:%M}" < "15:40"
        after = min(19.0, max(1.2, price * (1 + chance.gauss(0, STEP / 20 if calm else STEP))))
        first, last = round(price, 2), round(after, 2)
        rows.append((f"{minute:%H:%M}", first, max(first, last) + 0.01, min(first, last) - 0.01, last))
        price, minute = after, minute + timedelta(minutes=1)
    return rows


class Killer:
    """Abandons the trader at requests that the seed draws, until `over`."""

    def __init__(self, here: TradingWorld, seed: int, rate: float) -> None:
        self._here = here
        self._chance = random.Random(f"{seed}:kills")
        self._rate = rate
        self.over = False

    def __call__(self) -> None:
        if not self.over and self._chance.random() < self._rate:
            raise Killed("before or after a request")

    def start(self) -> None:
        """Start a trader on the same folder; it may be killed while it recovers, and is started again."""
        while True:
            self._here.start()
            self._here.wire.before = self
            try:
                self._here.trader.recover()
            except Killed:
                continue
            return


def run(
    seed: int, folder: Path, plan: LiePlan, kills: float = 0.0, aim: str = ""
) -> tuple[Findings, Counter[tuple[str, str]]]:
    """One session; returns what was found, and the lies that were told.

    Args:
        aim: of `aimed.AIMS`, beside the lies.
        kills: probability of a kill before a request, and of one after it; the exchange is a harder one then.
    """
    chance = random.Random(seed)
    bars = {symbol: {MONDAY: walk(chance)} for symbol in (*STOCKS, OWNERS)}
    latency = chance.choice((0.0, 0.0, 1.0))
    behaviour = Behaviour(partial_fills=0.25, latency=latency, seed=seed)
    if kills:
        behaviour = Behaviour(seed=seed, table=PRESETS["drill"])
    here = TradingWorld(folder / "logs", bars, ny(MONDAY, FIRST), margin=True, behaviour=behaviour)
    close = here.session.close
    owner = Owner(here.exchange, seed, [OWNERS], STOCKS, close)
    owner.begin()
    here.at("10:33:00")
    here.exchange.advance()
    lying = [True]
    liar = Liar(here.exchange.app, plan, here.clock.now, lambda: not lying[0])
    aimed = Aim(aim, here.exchange, seed, here.clock.now, lambda: not lying[0])
    here.wire.inner = WsgiAdapter(aimed.app(liar))
    predictor: Any = Walk(random.Random(f"{seed}:signals"))
    here.script = here.trader.predictor = predictor
    killer = Killer(here, seed, kills)
    killer.start()
    begun = ny(MONDAY, "10:34")
    minutes = [begun + timedelta(minutes=n) for n in range(TRADED)]
    minutes += [ny(MONDAY, LAST) + timedelta(minutes=n) for n in range(10)]
    raised: list[str] = []
    for minute in minutes:
        owner.act(here.clock.now())
        if aim:
            here.clock.sleep_until(minute - AIMED_BEFORE)
            aimed.act()
        try:
            if chance.random() < RESTART_RATE:
                killer.start()
            here.tick(f"{minute:%H:%M}")
        except Killed:
            killer.start()
        except Exception as error:  # noqa: BLE001 - whatever ends a minute of all stocks
            raised.append(f"{minute:%H:%M} {error!r}"[:200])
    lying[0], killer.over = False, True
    here.close_day()
    here.exchange.close()
    snapshot = here.exchange.snapshot()
    ledger = here.exchange._engine.ledger
    gap = to_ns(begun + timedelta(minutes=TRADED - 1)), to_ns(ny(MONDAY, LAST))
    found = check(snapshot.orders, ledger, here.folder, close, [OWNERS], frozenset(), [], LONGEST, [gap])
    found.figures["aimed"] = aimed.acted
    for one in aimed.unsaid(here.folder):
        found.wrong("not said", one)
    for one in raised:
        found.wrong("minute failed", one)
    for event in here.events("step_failed"):
        found.wrong("step failed", f"{event['reason']} at {event['where']}")
    return found, liar.counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sessions; exit code 1 if there is a violation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="sessions (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first (default: 1)")
    parser.add_argument("--lies", type=float, default=0.1, help="fraction of replies that lie (default: 0.1)")
    parser.add_argument("--whole", type=float, default=0.3, help="fraction of lies about a whole reply (default: 0.3)")
    parser.add_argument("--kills", type=float, default=0.0, help="probability of a kill at a request (default: 0)")
    parser.add_argument("--aim", choices=AIMS, default="", help="aimed trouble beside the lies (aimed.py)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the logs here")
    parser.add_argument("--broken", choices=("all", *BROKEN_BY_LIES), help="disable this protection until it is found")
    options = parser.parse_args(arguments)
    return _broken(options) if options.broken else _runs(options)


def _runs(options: argparse.Namespace) -> int:
    kept = options.keep or Path(tempfile.mkdtemp(prefix="drill-", dir=MEMORY if Path(MEMORY).exists() else None))
    kinds: Counter[str] = Counter()
    lies: Counter[str] = Counter()
    buys, aimed, began = 0.0, 0.0, time.process_time()
    for seed in range(options.seed, options.seed + options.runs):
        folder = kept / str(seed)
        folder.mkdir(parents=True)
        found, told = run(seed, folder, LiePlan(seed, options.lies, whole=options.whole), options.kills, options.aim)
        for (lie, _), count in told.items():
            lies[lie] += count
        buys += found.figures.get("buys", 0)
        aimed += found.figures["aimed"]
        if seed % 25 == 0:
            print(f"seed {seed}: {lies.total()} lies so far", flush=True)
        kinds.update(kind for kind, _ in found.violations)
        for kind, text in found.violations:
            print(f"seed {seed}: {kind}: {text}", flush=True)
        if not options.keep:
            shutil.rmtree(folder)
    for name, count in sorted(lies.items()):
        print(f"  lie: {name:30} {count:>8}")
    trouble = f"{lies.total()} lies, {aimed:.0f} times aimed"
    print(f"{options.runs} runs, {buys:.0f} buys, {trouble}, {time.process_time() - began:.0f} s CPU")
    for kind, count in kinds.most_common():
        print(f"VIOLATION {kind:30} {count:>8}")
    return 1 if kinds else 0


def _broken(options: argparse.Namespace) -> int:
    """Break each protection in a process of its own, until one of its `--runs` seeds finds it; exit code 1 if none."""
    missed = 0
    for name in BROKEN_BY_LIES if options.broken == "all" else [options.broken]:
        with tempfile.TemporaryDirectory(prefix="drill-", dir=MEMORY if Path(MEMORY).exists() else None) as folder:
            pid = os.fork()
            if not pid:
                os._exit(_find(name, options, Path(folder)))
            _, status = os.waitpid(pid, 0)
        missed += os.waitstatus_to_exitcode(status)
    return 1 if missed else 0


def _find(name: str, options: argparse.Namespace, folder: Path) -> int:
    broken = BROKEN_BY_LIES[name]
    broken.apply()
    for seed in range(broken.seed, broken.seed + options.runs):
        home = folder / str(seed)
        home.mkdir()
        found, _ = run(seed, home, LiePlan(seed, broken.lies, whole=broken.whole), broken.kills, broken.aim)
        if found.violations:
            kinds = Counter(kind for kind, _ in found.violations)
            print(f"{name:28} seed {seed}: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}", flush=True)
            return 0
    print(f"{name:28} NOTHING FOUND in {options.runs} runs", flush=True)
    return 1


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.exit(main())
