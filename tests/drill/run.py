"""The drill: a trader on a faulty, lying exchange is killed again and again, then checked against the exchange's books.

    python -m tests.drill.run --runs 20 --seed 1            20 sessions with about 50 kills each, and a table
    python -m tests.drill.run --runs 1 --seed 7 --keep DIR  one session, whose logs and books stay in DIR
    python -m tests.drill.run --broken all --runs 2         disable one protection after the other; each must be found
    python -m tests.drill.run --runs 20 --append FILE       add one line a run to FILE; seeds that it has are left out
    python -m tests.drill.run --sum FILE [FILE ...]         the table of all runs in these files

One process uses about one core: on two, run two with other seeds and another FILE, and sum both.

A run is one session of a generated market, from ten minutes before the open until after the close (every fourth seed:
until after the next open).  The exchange (`paper_exchange` with the faults of `paper_exchange.faults.plan` and the lies
of `lies.py`, a margin account whose owner trades beside the trader) and the trader (`live_trader.py --broker alpaca`)
are processes of their own.  The trader gets SIGKILL or SIGTERM at requests of every kind, in three phases: before the
exchange takes the request, before it replies, just after its reply.  It stays dead for up to half a minute of exchange
time and is started again; now and then a second trader is started before, or beside it.  `world.py` has the processes
and their clock, `checks.py` what must hold afterwards.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paper_exchange.base.wire import to_ns
from paper_exchange.books.store import Store
from paper_exchange.faults.market import FaultyMarket
from paper_exchange.faults.plan import FaultPlan, storm
from paper_exchange.market.generator.market import GeneratedMarket
from tests.drill.broken import BROKEN
from tests.drill.checks import Findings, check
from tests.drill.lies import LiePlan
from tests.drill.results import PHASES, Result, fields_table, load, table
from tests.drill.supervise import Life, live
from tests.drill.world import Hostile
from trading.base.calendar import Session, new_york_calendar
from trading.base.clock import NEW_YORK
from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

FIRST_SESSION: Final = date(2025, 6, 12)
TRAINED_ON: Final = date(2025, 6, 25)
SESSIONS: Final = (date(2025, 7, 3), date(2025, 6, 27), date(2025, 7, 3), date(2025, 6, 30), date(2025, 7, 3))
"""The session of each run in turn; July 3 is a half day."""

KILL_RATES: Final = (
    ('"side":"buy"', 0.08),
    ('"side": "buy"', 0.08),
    ('"side": "sell"', 0.12),
    ("PATCH /v2/orders", 0.05),
    ("DELETE /v2/orders", 0.06),
    ("by_client_order_id", 0.05),
    ("GET /v2/orders/", 0.004),
    ("GET /v2/orders?", 0.003),
    ("GET /v2/positions", 0.003),
    ("GET /v2/account", 0.004),
    ("GET /v2/stocks", 0.001),
)
"""Probability of a kill at a request, for each of the three phases."""

OWNERS_STOCKS: Final = 3


@dataclass(frozen=True)
class Load:
    """How much a run has to bear: kills at most, fractions of requests with a fault and of replies that lie."""

    kills: int = 50
    rate: float = 0.10
    lies: float = 0.07
    burst: float = 0.1
    longest_burst: int = 4
    minutes: int = 0

    @staticmethod
    def of(options: argparse.Namespace) -> Load:
        """The load that a command line asks for."""
        return Load(**{one.name: getattr(options, one.name) for one in dataclasses.fields(Load)})


def market() -> GeneratedMarket:
    """The market of every run, easily predictable so that there are many entries."""
    return GeneratedMarket(seed=11, stocks=48, first_session=FIRST_SESSION, learnability=1.0)


class Drill:
    """Prepares data and a model once, then runs sessions on copies of them."""

    def __init__(self, folder: Path, say: Callable[[str], None] = print, broken: str | None = None) -> None:
        self.folder = folder
        self.broken = broken
        self.base = folder / "base"
        self.say = say
        self.market = market()
        self.calendar = new_york_calendar()
        for listing in self.market.listings[:1]:  # generated once, before any fork
            self.market.session_bars(listing.symbol, date(2025, 7, 7))
            for day in sorted({*SESSIONS, date(2025, 7, 1)}):
                self.market.session_bars(listing.symbol, day)

    def prepare(self) -> None:
        """Let the trader make data and a model on an exchange without faults."""
        evening = datetime.combine(TRAINED_ON, datetime.min.time(), NEW_YORK) + timedelta(hours=20, minutes=30)
        self.base.mkdir(parents=True)
        end = evening + timedelta(hours=1)
        calm = Hostile(0, FaultPlan(0, []), 0, (), end, end, behaviour="calm")
        begun = time.monotonic()
        live(self.base, self.market, calm, (evening, evening + timedelta(minutes=5)), random.Random(0))
        if not list((self.base / "models").glob("metrics_*.json")):
            raise RuntimeError(f"no model was made: {(self.base / 'trader.txt').read_text()[-2000:]}")
        shutil.rmtree(self.base / "logs", ignore_errors=True)
        self.say(f"data and a model are made ({time.monotonic() - begun:.0f} s)")

    def run(self, seed: int, load: Load) -> Result:
        """Run one session, or only its last `minutes`."""
        begun = time.monotonic()
        session = self.calendar.session(SESSIONS[seed % len(SESSIONS)])
        folder = self.folder / f"run-{seed}"
        for home in (folder, folder / "second"):
            home.mkdir()
            for name in ("data", "models"):
                shutil.copytree(self.base / name, home / name, copy_function=os.link)
        chance = random.Random(seed)
        plan = storm(seed, load.rate)
        stocks = [one.symbol for one in self.market.listings if one.tradable and one.active]
        hostile = Hostile(
            seed,
            plan,
            load.kills,
            KILL_RATES,
            session.close - timedelta(minutes=5),
            session.close,
            tuple(chance.sample(stocks, OWNERS_STOCKS)),
            LiePlan(seed, load.lies, load.burst, load.longest_burst),
        )
        start = session.open - timedelta(minutes=10)
        if load.minutes:
            start = session.close - timedelta(minutes=load.minutes)
        last = session.close + timedelta(minutes=5)
        if seed % 4 == 3 and not load.minutes:
            last = self.calendar.following(session.date).open + timedelta(minutes=6)
        life = live(folder, self.market, hostile, (start, last), chance, self.broken)
        report = json.loads((folder / "hostile.json").read_text())
        found = self._findings(folder, session, plan, hostile.own, life)
        found.figures["longest seconds from SIGTERM to the end"] = life.longest_stop
        kills = report["kills"]
        return Result(
            seed=seed,
            session=session.date.isoformat(),
            violations=[list(one) for one in (*found.violations, *life.violations)],
            figures=found.figures,
            starts=life.starts,
            kills=Counter(f"{kill['request']}: {PHASES[kill['phase']]}" for kill in kills),
            stops=sum(kill["signal"] == "SIGTERM" for kill in kills),
            states=Counter(state for kill in kills for state in kill["states"]),
            faults=_summed((fault, count) for fault, _, count in report["faults"]),
            lies=_summed((f"{lie} | {place}", count) for lie, place, count in report["lies"]),
            requests=report["requests"],
            exits=life.exits,
            second=life.second,
            cpu=round(life.cpu, 1),
            seconds=round(time.monotonic() - begun, 1),
            trouble=life.trouble,
            options=dataclasses.asdict(load),
        )

    def _findings(self, folder: Path, session: Session, plan: FaultPlan, own: Sequence[str], life: Life) -> Findings:
        store = Store(folder / "exchange.sqlite")
        saved = store.load()
        store.close()
        assert saved is not None
        tape = FaultyMarket(self.market, plan)
        last_bar = to_ns(session.close - timedelta(minutes=7))
        halted = set()
        for listing in tape.listings:
            bars = tape.session_bars(listing.symbol, session.date)
            if not len(bars) or bars.start[-1] < last_bar:
                halted.add(listing.symbol)
        return check(saved.orders, saved.ledger, folder / "logs", session.close, own, frozenset(halted), life.down)


def _summed(counts: Iterable[tuple[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, count in counts:
        found[name] += count
    return found


def warm_up() -> None:
    """Import what a trader needs, so that forked processes have it: a start of the trader then takes 0.1 s of CPU."""
    import sklearn.ensemble
    import sklearn.preprocessing  # noqa: F401
    from numba.core.registry import cpu_target

    import live_trader  # noqa: F401
    from trading.app.live import run  # noqa: F401

    cpu_target.target_context.refresh()  # what numba imports before it runs a compiled function
    gc.collect()
    gc.freeze()  # a forked process does not walk, and so not copy, what it has from here


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drill; exit code 1 if there is a violation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="sessions (default: 3)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run; the next has the next (default: 1)")
    parser.add_argument("--kills", type=int, default=50, help="maximum kills a run (default: 50)")
    parser.add_argument("--rate", type=float, default=0.10, help="fraction of requests with a fault (default: 0.1)")
    parser.add_argument("--lies", type=float, default=0.07, help="fraction of replies that lie (default: 0.07)")
    parser.add_argument("--burst", type=float, default=0.1, help="fraction of lies that begin a burst (default: 0.1)")
    parser.add_argument("--longest-burst", type=int, default=4, help="replies of a burst at most (default: 4)")
    parser.add_argument("--minutes", type=int, default=0, help="only the last minutes of a session (default: all)")
    parser.add_argument("--append", type=Path, metavar="FILE", help="add each result to FILE; skip the seeds in it")
    parser.add_argument("--sum", type=Path, nargs="+", metavar="FILE", help="only print the table of these files")
    parser.add_argument("--fields", action="store_true", help="with --sum: every field that lied")
    parser.add_argument("--base", type=Path, metavar="DIR", help="data and model of an earlier drill")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep every run's files here")
    parser.add_argument(
        "--broken",
        choices=("all", *BROKEN),
        help="disable this protection; exit code 1 if the drill does not notice (see broken.py)",
    )
    options = parser.parse_args(arguments)
    try:
        if options.sum:
            results = load(options.sum)
            print(fields_table(results) if options.fields else table(results))
            return 1 if any(result.violations for result in results) else 0
        done = {one.seed for one in load([options.append])} if options.append and options.append.exists() else set()
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    warm_up()
    if options.broken:
        return _broken(options)
    return _runs(options, [seed for seed in range(options.seed, options.seed + options.runs) if seed not in done])


def _runs(options: argparse.Namespace, seeds: Sequence[int]) -> int:
    """Run the drill with each seed; exit code 1 if there is a violation."""
    kept = options.keep or Path(tempfile.mkdtemp(prefix="drill-"))
    kept.mkdir(parents=True, exist_ok=True)
    results = []
    try:
        drill = Drill(kept)
        if options.base:
            shutil.copytree(options.base, drill.base)
        else:
            drill.prepare()
        for seed in seeds:
            result = drill.run(seed, Load.of(options))
            results.append(result)
            if options.append:
                with open(options.append, "a", encoding="utf-8") as file:
                    file.write(result.line() + "\n")
            print(result.summary(), flush=True)
            for kind, text in result.violations:
                print(f"    {kind}: {text}", flush=True)
            for text in result.trouble:
                print(f"    {text}", flush=True)
            if not options.keep and not result.violations:
                shutil.rmtree(kept / f"run-{seed}")
        print(table(results))
    finally:
        if not options.keep:
            shutil.rmtree(kept, ignore_errors=True)
    return 1 if any(result.violations for result in results) else 0


def _broken(options: argparse.Namespace) -> int:
    """Disable one protection after the other; exit code 1 if the drill misses one."""
    names = list(BROKEN) if options.broken == "all" else [options.broken]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        whole = Drill(Path(folder) / "whole")
        whole.prepare()
        for name in names:
            drill = Drill(Path(folder) / name, broken=name)
            shutil.copytree(whole.base, drill.base)
            found: Counter[str] = Counter()
            for number in range(options.runs):
                result = drill.run(options.seed + number, Load.of(options))
                found.update(kind for kind, _ in result.violations)
                if found:
                    break
            missed += not found
            violations = ", ".join(f"{count} {kind}" for kind, count in found.most_common()) or "NOTHING FOUND"
            print(f"{name:24} {violations}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
