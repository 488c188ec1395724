"""The drill's two processes, and the clock that they share.

The exchange runs in a process of its own on a real socket, the trader is `live_trader.py --broker alpaca` in another.
Both use exchange time, kept in shared memory.  It stands still while the trader works or is dead and jumps when the
trader sleeps, so a run does not wait and its order of events is reproducible.  A request takes 50 ms of exchange time;
one without a reply takes the trader's timeout (15 s for market data, otherwise 5 s).

Every process is forked from one that has imported everything, so a restart costs no imports.  A kill is a real SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import signal
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from paper_exchange.base.wire import from_ns, to_ns
from paper_exchange.base.wsgi import call
from paper_exchange.exchange import PaperExchange
from paper_exchange.faults.market import FaultyBehaviour, FaultyMarket
from paper_exchange.faults.plan import FaultPlan, kind_of
from paper_exchange.faults.server import FaultyApp, request_line, reset
from paper_exchange.orders.behaviour import PRESETS
from paper_exchange.streams.server import Server
from tests.drill.lies import Liar, LiePlan
from tests.drill.owner import Owner
from trading.base.clock import HOLD_AFTER_STOP, REQUESTS_AFTER_STOP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from paper_exchange.market.interface import Market
    from paper_exchange.orders.order import Order

REQUEST_TAKES: Final = 50_000_000  # ns of exchange time
TIME_OUT: Final = 0.4  # both timeouts of the trader, wall seconds
TIME_OUT_TAKES: Final = {True: 15 * 10**9, False: 5 * 10**9}  # ns of exchange time; True: market data
STATE: Final = "state"
"""Folder of what a trader notes for its machine."""

HELD_AT_MOST: Final = 1.0  # wall seconds
STOP_RATE: Final = 0.2
"""Share of kills that are a SIGTERM, after which the trader has to end by itself."""

CLOSING_KILLS: Final = 3
"""Kills allowed from the flatten instant on; a trader that is dead for most of those minutes cannot sell."""


REQUEST: Final = threading.local()
"""Whether this thread's request is for market data, which has the longer timeout."""


class Shared:
    """Eight integers in memory that forked processes share.

    `ORDERED` is when an order of the trader last arrived (exchange time), `STOPPED` when it got SIGTERM (real time).
    """

    NOW, PID, END, DONE, KILLS, SKEW, ORDERED, STOPPED = range(0, 64, 8)

    def __init__(self, now: datetime, end: datetime) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.put(self.NOW, to_ns(now))
        self.put(self.END, to_ns(end))

    def get(self, place: int) -> int:
        return struct.unpack_from("q", self._memory, place)[0]

    def put(self, place: int, value: int) -> None:
        struct.pack_into("q", self._memory, place, value)

    def now(self) -> datetime:
        return from_ns(self.get(self.NOW))

    def advance(self, ns: int) -> None:
        self.put(self.NOW, self.get(self.NOW) + ns)


class SharedClock:
    """The trader's clock: exchange time plus the drill's skew; a sleep beyond the end of the run waits for the stop."""

    simulated = False

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._stopped = threading.Event()
        self._stopped_at: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        return self._shared.now() + timedelta(seconds=self._shared.get(Shared.SKEW))

    def sleep_until(self, instant: datetime) -> bool:
        wanted = to_ns(instant.astimezone(UTC)) - self._shared.get(Shared.SKEW) * 10**9
        end = self._shared.get(Shared.END)
        while not self._stopped.is_set():
            now = self._shared.get(Shared.NOW)
            if now < wanted <= end:
                self._shared.put(Shared.NOW, wanted)
            if wanted <= end:
                return True
            self._shared.put(Shared.NOW, max(now, end))
            self._shared.put(Shared.DONE, 1)
            self._stopped.wait(0.02)
        return False

    def hold_until(self, instant: datetime) -> bool:
        if self._stopped_at is None:
            return self.sleep_until(instant)
        until = min(instant, max(self.now(), self._stopped_at[0] + HOLD_AFTER_STOP))
        self._shared.advance(max(0, to_ns(until.astimezone(UTC)) - to_ns(self.now())))
        return until == instant

    def interrupt(self) -> None:
        if self._stopped_at is None:
            self._stopped_at = self.now(), time.monotonic()
        self._stopped.set()

    def time_left(self) -> timedelta | None:
        if self._stopped_at is None:
            return None
        return REQUESTS_AFTER_STOP - timedelta(seconds=time.monotonic() - self._stopped_at[1])


@dataclass
class Killer:
    """WSGI middleware that kills the trader at random requests, or asks it to stop.

    A kill comes before the exchange takes the request, before it replies, or just after its reply, while the trader
    records the result.  `wanted` holds pairs of a pattern in "METHOD /path?query body" and the rate for each phase.
    """

    app: Any
    exchange: PaperExchange
    shared: Shared
    seed: int
    most: int
    wanted: tuple[tuple[str, float], ...]
    begun: datetime
    closing: datetime
    owner: Owner | None = None
    kills: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    before_closing: int | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.shared.advance(REQUEST_TAKES)
        line = request_line(environ)
        if self.owner is not None:
            self.owner.act(self.shared.now())
        if not line.startswith("POST /v2/orders"):
            return self._serve(line, environ, start_response)
        try:
            return self._serve(line, environ, start_response)
        finally:
            self._note_order(line)

    def _note_order(self, line: str) -> None:
        """Note when the trader's newest order arrived, if this one did."""
        newest = max(self.exchange.snapshot().orders, key=lambda order: order.sequence, default=None)
        if newest is not None and newest.client_order_id in line:
            self.shared.put(Shared.ORDERED, newest.submitted_at)

    def _serve(self, line: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        REQUEST.market_data = "/v2/stocks" in line or "/v1beta1" in line
        phase, delay = self._draw(line)
        if phase == "before":
            self._kill(line, phase, self.shared.get(Shared.PID))
            raise reset(environ)
        if phase is None:
            return self.app(environ, start_response)
        reply = call(self.app, environ)
        if phase == "after":
            self._kill(line, phase, self.shared.get(Shared.PID))
            raise reset(environ)
        pid = self.shared.get(Shared.PID)
        threading.Timer(delay, self._kill, (line, phase, pid)).start()
        return reply.send(start_response)

    def _draw(self, line: str) -> tuple[str | None, float]:
        self.asked += 1
        chance = random.Random(f"{self.seed}:kill:{self.asked}")
        rate = next((rate for pattern, rate in self.wanted if pattern in line), 0.0)
        if len(self.kills) >= self._allowed() or chance.random() >= 3 * rate or self.shared.get(Shared.DONE):
            return None, 0.0
        return chance.choice(("before", "after", "later")), chance.choice((0.0, 0.001, 0.003, 0.01, 0.03))

    def _allowed(self) -> int:
        """Kills allowed so far: spread over the session, with a few reserved for the closing minutes."""
        elapsed = (self.shared.now() - self.begun) / (self.closing - self.begun)
        if elapsed >= 1.0:
            self.before_closing = len(self.kills) if self.before_closing is None else self.before_closing
            return min(self.most, self.before_closing + CLOSING_KILLS)
        return max(1, int((self.most - CLOSING_KILLS) * elapsed))

    def _kill(self, line: str, phase: str, pid: int) -> None:
        if not pid or pid != self.shared.get(Shared.PID) or self.shared.get(Shared.STOPPED):
            return
        gently = random.Random(f"{self.seed}:stop:{self.asked}").random() < STOP_RATE
        with contextlib.suppress(ProcessLookupError):
            if gently:
                self.shared.put(Shared.STOPPED, time.monotonic_ns())
            os.kill(pid, signal.SIGTERM if gently else signal.SIGKILL)
            request = kind_of(line) + ("".join(f" {side}" for side in ("buy", "sell") if f'"{side}"' in line))
            self.kills.append(
                {
                    "at": self.shared.now().isoformat(),
                    "phase": phase,
                    "signal": "SIGTERM" if gently else "SIGKILL",
                    "request": request,
                    "states": states_of(self.exchange.snapshot().orders),
                }
            )


def states_of(orders: Iterable[Order]) -> list[str]:
    """The state of every entry, position and exit of the trader at the exchange."""
    every = list(orders)
    found = []
    for entry in every:
        if not entry.buy or not entry.client_order_id.startswith("mlt-"):
            continue
        sells = [one for one in every if one.symbol == entry.symbol and not one.buy and one.sequence > entry.sequence]
        working = [one for one in sells if one.is_open and one.awake]
        if entry.is_open:
            found.append("entry " + ("partly filled" if entry.filled_qty else "resting"))
        elif entry.filled_qty > sum(one.filled_qty for one in sells):
            if not working:
                found.append("held, nothing resting")
            elif any(one.type in ("market", "limit") and one.role == "simple" for one in working):
                found.append("exit resting")
            else:
                moved = sum(one.replaces is not None for one in working)
                found.append(("held, legs as sent", "held, one leg moved", "held, legs moved")[min(moved, 2)])
    return found


@dataclass(frozen=True)
class Hostile:
    """The faults and kills of one run; `behaviour` names a preset of the exchange."""

    seed: int
    plan: FaultPlan
    kills: int
    kill_rates: tuple[tuple[str, float], ...]
    flatten_at: datetime
    close: datetime
    own: tuple[str, ...] = ()
    """The owner's stocks."""
    lies: LiePlan = field(default_factory=lambda: LiePlan(0, 0.0))
    behaviour: str = "drill"


def exchange_process(shared: Shared, market: Market, hostile: Hostile, folder: Path, port: int) -> None:
    """Run the exchange on a socket until SIGTERM; writes its books (`exchange.sqlite`) and `hostile.json`."""
    faulty = FaultyMarket(market, hostile.plan)
    behaviour = FaultyBehaviour(seed=hostile.seed, table=PRESETS[hostile.behaviour], plan=hostile.plan)
    books = folder / "exchange.sqlite"
    exchange = PaperExchange(
        faulty, shared.now, cash=Decimal(100_000), state_path=books, behaviour=behaviour, margin=True
    )
    others = [one.symbol for one in market.listings if one.tradable and one.active and one.symbol not in hostile.own]
    owner = Owner(exchange, hostile.seed, hostile.own, others, hostile.close)
    if hostile.own:
        owner.begin()
        shared.advance(3 * 60 * 10**9)  # in a running session it fills before the trader starts
        exchange.advance()
    app = FaultyApp(exchange, hostile.plan, shared.now, lambda seconds: hold(shared, seconds))
    liar = Liar(app, hostile.lies, shared.now, lambda: bool(shared.get(Shared.DONE)))
    begun = shared.now()
    closing = hostile.flatten_at
    killer = Killer(
        liar,
        exchange,
        shared,
        hostile.seed,
        hostile.kills,
        hostile.kill_rates,
        begun,
        closing,
        owner if hostile.own else None,
    )
    server = Server(exchange, "127.0.0.1", port, app=killer, workers=64)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    (folder / "port").write_text(str(server.port))
    while not stop.wait(0.05):
        pass
    exchange.advance()
    exchange.close()
    counts = [[fault, request, number] for (fault, request), number in sorted(hostile.plan.counts.items())]
    told = [[lie, where, number] for (lie, where), number in sorted(liar.counts.items())]
    report = {"requests": hostile.plan.requests, "faults": counts, "lies": told, "kills": killer.kills}
    (folder / "hostile.json").write_text(json.dumps(report, indent=1))


def hold(shared: Shared, seconds: float) -> None:
    """Hold a request beyond the trader's timeout, and let it go on after `seconds` of exchange time."""
    begun, waited = shared.get(Shared.NOW), time.monotonic()
    shared.advance(TIME_OUT_TAKES[getattr(REQUEST, "market_data", False)])
    while shared.get(Shared.NOW) < begun + seconds * 1e9 and time.monotonic() - waited < TIME_OUT + HELD_AT_MOST:
        time.sleep(0.001)


def trader_process(
    shared: Shared,
    folder: Path,
    broken: str | None = None,
    home: Path | None = None,
    machine: Path | None = None,
    options: Sequence[str] = (),
) -> int:
    """Run `live_trader.py --broker alpaca` in exchange time, with one protection disabled (see `broken.py`).

    Args:
        home: the folder of its data, models and logs, if it is not `folder`, which has its settings.
        machine: the folder that stands for its machine, where the lock of the account is; `home` by default.
        options: more of its command line.
    """
    import live_trader
    from trading.app import cli
    from trading.app.live import venues

    if broken is not None:
        from tests.drill.broken import BROKEN

        BROKEN[broken]()
    os.environ["XDG_STATE_HOME"] = str((machine or home or folder) / STATE)
    venues.SystemClock = lambda: SharedClock(shared)  # type: ignore[assignment,attr-defined,return-value]
    places = [f"--{name}-dir={(home or folder) / name}" for name in ("data", "models", "logs")]
    return cli.run(lambda: live_trader.main(["--broker", "alpaca", f"--env-file={folder / 'env'}", *places, *options]))


def forked(work: Callable[[], int | None], output: Path) -> int:
    """Fork a process that exits with the result of `work`, and append what it prints to `output`; returns its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        code = work() or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - the child must never return to the parent's code
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
