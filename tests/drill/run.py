"""The drill: a trader on a faulty exchange is killed again and again, then checked against the exchange's own books.

    python -m tests.drill.run --runs 20 --seed 1            20 sessions with about 50 kills each, and a table
    python -m tests.drill.run --runs 1 --seed 7 --keep DIR  one session, whose logs and books stay in DIR
    python -m tests.drill.run --broken all --runs 2         disable one protection after the other; each must be found

A run is one session of a generated market, from ten minutes before the open until after the close (every fourth run:
until after the next open).  The exchange (`paper_exchange` with the faults of `paper_exchange.faults.plan`) and the
trader (`live_trader.py --broker alpaca`) are processes of their own.  The trader gets SIGKILL at requests of every
kind, in three phases: before the exchange takes the request, before it replies, just after its reply.  It stays dead
for up to half a minute of exchange time and is started again.  `world.py` has the processes and their clock,
`checks.py` what must hold afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paper_exchange.account.store import Store
from paper_exchange.base.wire import to_ns
from paper_exchange.faults.market import FaultyMarket
from paper_exchange.faults.plan import FaultPlan, storm
from paper_exchange.market.generated import GeneratedMarket
from tests.drill.broken import BROKEN
from tests.drill.checks import Findings, check
from tests.drill.world import Hostile, Shared, exchange_process, forked, trader_process
from trading.base.calendar import Session, new_york_calendar
from trading.base.clock import NEW_YORK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST_SESSION: Final = date(2025, 6, 12)
TRAINED_ON: Final = date(2025, 6, 25)
SESSIONS: Final = (date(2025, 7, 3), date(2025, 6, 27), date(2025, 7, 3), date(2025, 6, 30), date(2025, 7, 3))
"""The session of each run in turn; July 3 is a half day."""

ENV: Final = """APCA_API_KEY_ID=drill
APCA_API_SECRET_KEY=drillsecret
APCA_API_BASE_URL=http://127.0.0.1:{port}
READ_TIMEOUT_SECONDS=0.4
TRADING_TIMEOUT_SECONDS=0.4
CONNECT_TIMEOUT_SECONDS=1
HISTORY_DAYS=8
N_ESTIMATORS=20
MIN_CONFIDENCE=0.42
STOP_LOSS_PCT=0.01
TAKE_PROFIT_PCT=0.015
"""

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

WALL_LIMIT: Final = 900.0
OWN_EXITS: Final = 40


@dataclass
class Result:
    """The result of one run."""

    seed: int
    session: date
    found: Findings
    starts: int
    kills: list[dict[str, Any]]
    faults: Counter[tuple[str, str]]
    requests: int
    exits: Counter[str]
    seconds: float = 0.0
    trouble: list[str] = field(default_factory=list)


def market() -> GeneratedMarket:
    """The market of every run, easily predictable so that there are many entries."""
    return GeneratedMarket(seed=11, stocks=48, first_session=FIRST_SESSION, learnability=1.0)


@dataclass
class Life:
    """The trader's starts and ends in one run, and when it was down (ns since the epoch)."""

    starts: int = 0
    exits: Counter[str] = field(default_factory=Counter)
    trouble: list[str] = field(default_factory=list)
    down: list[tuple[int, int]] = field(default_factory=list)


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
        calm = Hostile(0, FaultPlan(0, []), 0, (), evening + timedelta(hours=1), None, "calm")
        begun = time.monotonic()
        self._live(self.base, calm, evening, evening + timedelta(minutes=5), random.Random(0))
        if not list((self.base / "models").glob("metrics_*.json")):
            raise RuntimeError(f"no model was made: {(self.base / 'trader.txt').read_text()[-2000:]}")
        shutil.rmtree(self.base / "logs", ignore_errors=True)
        self.say(f"data and a model are made ({time.monotonic() - begun:.0f} s)")

    def run(self, seed: int, number: int = 0, *, kills: int = 50, rate: float = 0.10, minutes: int = 0) -> Result:
        """Run one session, or only its last `minutes`."""
        begun = time.monotonic()
        session = self.calendar.session(SESSIONS[number % len(SESSIONS)])
        folder = self.folder / f"run-{seed}"
        folder.mkdir()
        for name in ("data", "models"):
            shutil.copytree(self.base / name, folder / name, copy_function=os.link)
        chance = random.Random(seed)
        plan = storm(seed, rate)
        external = chance.choice([one.symbol for one in self.market.listings if one.tradable and one.active])
        hostile = Hostile(
            seed,
            plan,
            kills,
            KILL_RATES,
            session.close - timedelta(minutes=5),
            external,
        )
        start = session.open - timedelta(minutes=10)
        if minutes:
            start = session.close - timedelta(minutes=minutes)
        last = session.close + timedelta(minutes=5)
        if number % 4 == 3:
            last = self.calendar.following(session.date).open + timedelta(minutes=6)
        life = self._live(folder, hostile, start, last, chance)
        report = json.loads((folder / "hostile.json").read_text())
        faults = Counter({(fault, request): count for fault, request, count in report["faults"]})
        found = self._findings(folder, session, plan, external, life)
        return Result(
            seed,
            session.date,
            found,
            life.starts,
            report["kills"],
            faults,
            report["requests"],
            life.exits,
            time.monotonic() - begun,
            life.trouble,
        )

    def _findings(self, folder: Path, session: Session, plan: FaultPlan, external: str, life: Life) -> Findings:
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
        return check(saved.orders, saved.ledger, folder / "logs", session.close, external, frozenset(halted), life.down)

    def _live(self, folder: Path, hostile: Hostile, start: datetime, end: datetime, chance: random.Random) -> Life:
        """Run exchange and trader from `start` to `end`, restarting the trader whenever it has ended."""
        shared = Shared(start, end)
        begun = time.monotonic()
        exchange = forked(lambda: exchange_process(shared, self.market, hostile, folder, 0), folder / "exchange.txt")
        try:
            port = _port(folder)
            (folder / "env").write_text(ENV.format(port=port))
            return self._supervise(shared, folder, chance, begun)
        finally:
            shared.put(Shared.PID, 0)
            os.kill(exchange, signal.SIGTERM)
            os.waitpid(exchange, 0)

    def _supervise(self, shared: Shared, folder: Path, chance: random.Random, begun: float) -> Life:
        life = Life()
        broken = None if folder == self.base else self.broken
        while True:
            pid = forked(lambda: trader_process(shared, folder, broken), folder / "trader.txt")
            shared.put(Shared.PID, pid)
            life.starts += 1
            code = os.waitstatus_to_exitcode(_wait(shared, pid, begun))
            shared.put(Shared.PID, 0)
            gone = shared.get(Shared.NOW)
            life.exits[_name(code)] += 1
            if code != -signal.SIGKILL and shared.get(Shared.DONE):
                return life
            if code != -signal.SIGKILL:
                life.trouble.append(f"exit {code}: {_last_line(folder / 'trader.txt')}")
            if time.monotonic() - begun > WALL_LIMIT or life.exits.total() - life.exits["killed"] > OWN_EXITS:
                life.trouble.append("given up: the run does not end")
                return life
            if not shared.get(Shared.DONE):
                shared.advance(int(chance.choice((0.0, 1.0, 5.0, 30.0)) * 1e9))
                shared.put(Shared.SKEW, chance.choice((0, 0, 0, 0, 2, -2, 15, -15)))
            life.down.append((gone, shared.get(Shared.NOW)))


def _wait(shared: Shared, pid: int, begun: float) -> int:
    """Wait until the trader has ended, and stop it when the run is over; returns the wait status."""
    asked = 0.0
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if shared.get(Shared.DONE) and not asked:
            asked = time.monotonic()
            os.kill(pid, signal.SIGTERM)
        if (asked and time.monotonic() - asked > 30) or time.monotonic() - begun > WALL_LIMIT:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _name(code: int) -> str:
    return "killed" if code == -signal.SIGKILL else f"exit {code}"


def _port(folder: Path) -> int:
    for _ in range(1000):
        with contextlib.suppress(OSError, ValueError):
            return int((folder / "port").read_text())
        time.sleep(0.01)
    raise RuntimeError(f"the exchange does not listen: {(folder / 'exchange.txt').read_text()[-2000:]}")


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else ""


def table(results: Sequence[Result]) -> str:
    """The results of all runs as a table."""
    figures: Counter[str] = Counter()
    for result in results:
        for name, value in result.found.figures.items():
            longest = name.startswith(("longest", "most"))
            figures[name] = max(figures[name], value) if longest else figures[name] + value  # type: ignore[assignment]
    kills = [kill for result in results for kill in result.kills]
    faults: Counter[str] = Counter()
    for result in results:
        for (fault, _), count in result.faults.items():
            faults[fault] += count
    violations = Counter(kind for result in results for kind, _ in result.found.violations)
    rows: list[tuple[str, Any]] = [
        ("runs", len(results)),
        ("starts of the trader", sum(result.starts for result in results)),
        ("kills (SIGKILL)", len(kills)),
        ("requests", sum(result.requests for result in results)),
        ("faults", faults.total()),
        *((name, round(value, 2)) for name, value in figures.items()),
        *((f"  fault {name}", count) for name, count in sorted(faults.items())),
        *((f"  killed {name}", n) for name, n in Counter(_at(kill) for kill in kills).most_common()),
        *((f"  state at a kill: {s}", n) for s, n in Counter(s for k in kills for s in k["states"]).most_common()),
        *((f"trader ended: {n}", c) for n, c in sum((r.exits for r in results), Counter()).items()),
        *((f"VIOLATION {name}", count) for name, count in violations.items()),
        ("violations", violations.total()),
        ("wall seconds", round(sum(result.seconds for result in results))),
    ]
    return "\n".join(f"{name:58} {value:>12}" for name, value in rows)


def _at(kill: dict[str, Any]) -> str:
    phase = {"before": "before it is taken", "after": "taken, no reply", "later": "just after the reply"}
    return f"{kill['request']}: {phase[kill['phase']]}"


def warm_up() -> None:
    """Import what a trader needs, so that forked processes have it."""
    import sklearn.ensemble
    import sklearn.preprocessing  # noqa: F401


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drill; exit code 1 if there is a violation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="sessions (default: 3)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run; the next has the next (default: 1)")
    parser.add_argument("--kills", type=int, default=50, help="maximum kills a run (default: 50)")
    parser.add_argument("--rate", type=float, default=0.10, help="fraction of requests with a fault (default: 0.1)")
    parser.add_argument("--minutes", type=int, default=0, help="only the last minutes of a session (default: all)")
    parser.add_argument("--base", type=Path, metavar="DIR", help="data and model of an earlier drill")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep every run's files here")
    parser.add_argument(
        "--broken",
        choices=("all", *BROKEN),
        help="disable this protection; exit code 1 if the drill does not notice (see broken.py)",
    )
    options = parser.parse_args(arguments)
    warm_up()
    if options.broken:
        return _broken(options)
    kept = options.keep or Path(tempfile.mkdtemp(prefix="drill-"))
    kept.mkdir(parents=True, exist_ok=True)
    results = []
    try:
        drill = Drill(kept)
        if options.base:
            shutil.copytree(options.base, drill.base)
        else:
            drill.prepare()
        for number in range(options.runs):
            seed = options.seed + number
            result = drill.run(seed, number, kills=options.kills, rate=options.rate, minutes=options.minutes)
            results.append(result)
            print(_line(result), flush=True)
            for kind, text in result.found.violations:
                print(f"    {kind}: {text}", flush=True)
            for text in result.trouble:
                print(f"    {text}", flush=True)
            if not options.keep and not result.found.violations:
                shutil.rmtree(kept / f"run-{seed}")
        print(table(results))
    finally:
        if not options.keep:
            shutil.rmtree(kept, ignore_errors=True)
    return 1 if any(result.found.violations for result in results) else 0


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
                given = {"kills": options.kills, "rate": options.rate, "minutes": options.minutes}
                result = drill.run(options.seed + number, number, **given)
                found.update(kind for kind, _ in result.found.violations)
                if found:
                    break
            missed += not found
            violations = ", ".join(f"{count} {kind}" for kind, count in found.most_common()) or "NOTHING FOUND"
            print(f"{name:24} {violations}", flush=True)
    return 1 if missed else 0


def _line(result: Result) -> str:
    return (
        f"seed {result.seed} {result.session}: {result.found.figures.get('buys', 0):.0f} buys, "
        f"{len(result.kills)} kills, {sum(result.faults.values())} faults in {result.requests} requests, "
        f"{result.found.figures.get('seconds without any order', 0):.0f} s unprotected "
        f"(alive, longest {result.found.figures.get('longest without any order, trader alive', 0):.0f}), "
        f"{len(result.found.violations)} violations, {result.seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
