"""The processes of a soak: the trader, and the watchdog and the dashboard beside it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.harness import PROJECT
from benchmarks.soak.measured_trader import MARK, TRACE, Measured
from benchmarks.soak.rows import Row
from benchmarks.soak.visitor import Visitor
from trading.app.live.pulse import resident_mb
from trading.base.files import write_json
from trading.records.heartbeat import Heartbeat

if TYPE_CHECKING:
    from tests.alerts.receiver import Receiver

END_RATE: Final = {"trader": 0.15, "watchdog": 0.1, "dashboard": 0.15}
"""Probability that a process is ended in a session."""

WITHIN_SECONDS: Final = 40.0
"""A process is ended within so many seconds of the close before."""

ACCOUNT: Final = "paper_exchange.sqlite"
SETTINGS: Final = {
    "HISTORY_DAYS": 4,
    "KEEP_DAYS": 6,
    "KEEP_MODELS": 4,
    "TOP_STOCKS": 6,
    "MAX_OPEN_POSITIONS": 4,
    "MARKET_STOCKS": 40,
    "LEARNABILITY": 1,
    "N_ESTIMATORS": 10,
    "TRAIN_EVERY_NTH_ROW": 5,
    "FOREST_MIN_SAMPLES_LEAF": 20,
    "MIN_CONFIDENCE": 0.6,
    "EVENING_CONTROLS": "never",
    "EXCHANGE_BEHAVIOUR": "mild",
}
"""A small market and short windows, so that pruning works from the seventh session on and a session takes seconds."""


class Companion:
    """A process beside the trader, started again whenever it is ended."""

    def __init__(self, command: list[str], state: Path, name: str) -> None:
        self._command = command
        self._state = state
        self._name = name
        self._lock = threading.Lock()
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._state / f"{self._name}.txt").open("ab") as said:
            return subprocess.Popen(self._command, cwd=self._state, stdout=said, stderr=said)

    def end(self, number: signal.Signals) -> None:
        """End it with a signal, and start it again."""
        with self._lock:
            self.process.send_signal(number)
            self.process.wait()
            self.process = self._start()

    def close(self) -> None:
        """End it for good."""
        with self._lock:
            self.process.kill()
            self.process.wait()


class Soak:
    """A soak in a folder; `go` trades until it has so many sessions."""

    def __init__(self, state: Path, web: Receiver, seed: int, *, trace: bool, spare_trader: bool) -> None:
        self._state = state
        self._web = web
        self._seed = seed
        self._trace = trace
        self._spared = "trader" if spare_trader else ""
        self._logs = state / "logs"
        self.rows = Row.read(state)
        self._starts = self.rows[-1].starts if self.rows else 0
        state.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}" for name, value in SETTINGS.items()]
        (state / "soak.env").write_text("\n".join([*lines, f"ALERT_URLS={web.url}", f"CONTROL_DIR={state}", ""]))
        self._folders = [f"--{name}-dir={state / name}" for name in ("data", "models", "logs")]
        self._environment = f"--env-file={state / 'soak.env'}"
        port = _free_port()
        self._visitor = Visitor(f"http://127.0.0.1:{port}")
        self._commands = {
            "watchdog": [self._folders[2]],
            "dashboard": [*self._folders, f"--port={port}"],
        }
        self._beside: dict[str, Companion] = {}
        self._ended: list[str] = []
        self._timers: list[threading.Timer] = []
        self._trader_ended = False
        self._alerts = 0
        self._seen = self._visitor.seen

    def go(self, sessions: int) -> None:
        """Trade until there are so many sessions, in process after process.

        Raises:
            RuntimeError: the trader ended by itself before; its last lines say why.
        """
        for name, options in self._commands.items():
            command = [sys.executable, str(PROJECT / f"{name}.py"), *options, self._environment]
            self._beside[name] = Companion(command, self._state, name)
        self._visitor.start()
        try:
            while len(self.rows) < sessions:
                self._one_trader(sessions - len(self.rows))
        finally:
            for timer in self._timers:
                timer.cancel()
            for companion in self._beside.values():
                companion.close()
            write_json(self._state / "problems.json", self._visitor.problems)

    def _one_trader(self, left: int) -> None:
        """Run a trader until it ends, and note its sessions."""
        self._starts += 1
        self._trader_ended = False
        command = [sys.executable, "-m", "benchmarks.soak.measured_trader", *self._folders, self._environment]
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        if self._trace:
            environment[TRACE] = str(self._state / "memory.jsonl")
        with (self._state / "trader.txt").open("ab") as said:
            trader = subprocess.Popen(
                [*command, f"--sessions={left}"], cwd=self._state, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=said,
            )  # fmt: skip
        assert trader.stdout is not None
        self._plan(trader)
        cpu, began, day, newest = cpu_seconds(trader.pid), time.monotonic(), "", [""] * 10
        for line in trader.stdout:
            newest = [*newest[1:], line]
            if "day closed" in line:
                day = line[:10]
            if line.startswith(MARK):
                now = cpu_seconds(trader.pid)
                measured = Measured(**json.loads(line.removeprefix(MARK)))
                self._note(trader.pid, day, measured, now - cpu, time.monotonic() - began)
                cpu, began = now, time.monotonic()
                self._plan(trader)
        code = trader.wait()
        if code and not self._trader_ended:
            raise RuntimeError(f"the trader ended with {code}: {''.join(newest)}")

    def _plan(self, trader: subprocess.Popen[str]) -> None:
        """Draw which processes end in the session that begins now, and when."""
        number = len(self.rows) + 1
        chance = random.Random(f"{self._seed} {number} {self._starts}")
        for name, rate in END_RATE.items():
            how, after = chance.choice((signal.SIGKILL, signal.SIGTERM)), chance.uniform(1.0, WITHIN_SECONDS)
            if chance.random() < rate and name != self._spared:
                timer = threading.Timer(after, self._end, (name, how, trader))
                timer.daemon = True
                timer.start()
                self._timers = [one for one in self._timers if one.is_alive()] + [timer]

    def _end(self, name: str, how: signal.Signals, trader: subprocess.Popen[str]) -> None:
        self._ended.append(f"{name} {how.name}")
        if name == "trader":
            self._trader_ended = True
            trader.send_signal(how)
        else:
            self._beside[name].end(how)

    def _note(self, pid: int, day: str, measured: Measured, cpu: float, wall: float) -> None:
        beat, seen, alerts = Heartbeat.read(self._logs), self._visitor.seen, len(self._web.got)
        new = seen.since(self._seen)
        account = size_mb(self._logs, f"{ACCOUNT}*")
        row = Row(
            session=len(self.rows) + 1,
            day=day,
            starts=self._starts,
            trader_mb=resident_mb(pid),
            senders_mb=round(sum(resident_mb(one) or 0.0 for one in children(pid)), 1),
            watchdog_mb=resident_mb(self._beside["watchdog"].process.pid),
            dashboard_mb=resident_mb(self._beside["dashboard"].process.pid),
            threads=count(f"/proc/{pid}/task"),
            files=count(f"/proc/{pid}/fd"),
            cpu_seconds=round(cpu, 1),
            wall_seconds=round(wall, 1),
            ticks=measured.ticks,
            median_ms=measured.median_ms,
            longest_ms=measured.longest_ms,
            logs_mb=round(size_mb(self._logs, "*") - account, 2),
            account_mb=account,
            data_mb=size_mb(self._state / "data", "*"),
            models_mb=size_mb(self._state / "models", "*"),
            alerts=alerts - self._alerts,
            dropped=None if beat is None else beat.alerts_dropped,
            skipped=None if beat is None else beat.ticks_skipped,
            events=new.events,
            pages=new.pages,
            bad=new.bad,
            connections=new.connections,
            ended=tuple(self._ended),
            p95_ms=measured.p95_ms,
            evening_seconds=measured.evening_seconds,
            allocated_mb=measured.allocated_mb,
            blocks=measured.blocks,
        )
        self._seen, self._alerts, self._ended = seen, alerts, []
        self.rows.append(row)
        row.write(self._state)
        print(row, flush=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def count(folder: str) -> int:
    """The entries of a folder; 0 if it cannot be read, as that of a process that was just killed."""
    try:
        return len(os.listdir(folder))
    except OSError:
        return 0


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(one) for one in (task / "children").read_text().split()]
        except OSError:
            continue  # the thread has ended meanwhile
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def size_mb(folder: Path, pattern: str) -> float:
    """Size of the files of a folder, those below it included, whose name has a pattern."""
    total = 0
    for path in folder.rglob(pattern):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # it was replaced meanwhile
    return round(total / 1e6, 2)
