"""The processes of a run: the trader's starts and ends, a second trader, what they print, and the CPU they take."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.drill.world import STATE, Hostile, Shared, exchange_process, forked, trader_process
from trading.records.instance import INSTANCE_FILE
from trading.records.this_machine import account_path, running_here, state_folder

if TYPE_CHECKING:
    from datetime import datetime

    from paper_exchange.market.interface import Market

ENV: Final = """APCA_API_KEY_ID=drill
APCA_API_SECRET_KEY=drillsecret
APCA_API_BASE_URL=http://127.0.0.1:{port}
READ_TIMEOUT_SECONDS=0.4
TRADING_TIMEOUT_SECONDS=0.4
CONNECT_TIMEOUT_SECONDS=1
HISTORY_DAYS=8
N_ESTIMATORS=20
MIN_CONFIDENCE=0.38
STOP_LOSS_PCT=0.005
TAKE_PROFIT_PCT=0.008
"""

OWN_EXITS: Final = 80
STARTS_WITHIN: Final = 240.0
"""Real seconds in which the exchange has to listen, and a second trader has to end."""


def wall_limit(kills: int) -> float:
    """Real seconds that a run with so many kills may take, on a busy machine too; a quiet one needs a tenth."""
    return 600.0 + 25.0 * kills


LONGEST_STOP: Final = 10.0
"""Seconds from SIGTERM until the trader is gone."""

BUSY_MACHINE: Final = 30.0
"""Seconds that a trader which is stopping gets beyond `LONGEST_STOP`: a busy machine may not let it run."""

SECOND_RATE: Final = 0.15
"""Probability that a second trader is started while the first is down, if the first has sent an order just before."""

BESIDE_RATE: Final = 0.1
"""Probability that a second trader is started beside a first that lives, on its machine."""

LOCKED_WITHIN: Final = 20.0
"""Real seconds that a start may take until it holds the lock of the account."""

BAD_INPUT: Final = 2

SEEN_BY_SECOND: Final = 60 * 10**9
"""Age (ns of exchange time) of the first trader's newest order up to which a second trader must see it."""

SECOND_TAKES: Final = 180 * 10**9
"""Exchange time (ns) after which a second trader that was not refused counts as trading."""


@dataclass
class Life:
    """The trader's starts and ends in one run, and when it was down (ns since the epoch)."""

    starts: int = 0
    exits: Counter[str] = field(default_factory=Counter)
    second: Counter[str] = field(default_factory=Counter)
    trouble: list[str] = field(default_factory=list)
    violations: list[tuple[str, str]] = field(default_factory=list)
    longest_stop: float = 0.0
    cpu: float = 0.0
    down: list[tuple[int, int]] = field(default_factory=list)


def live(
    folder: Path,
    market: Market,
    hostile: Hostile,
    span: tuple[datetime, datetime],
    chance: random.Random,
    broken: str | None = None,
) -> Life:
    """Run exchange and trader over a span of exchange time, restarting the trader whenever it has ended.

    Args:
        folder: with data and models; logs and the exchange's books are written to it.
        broken: a protection that is disabled (see `broken.py`).
    """
    shared = Shared(*span)
    until = time.monotonic() + wall_limit(hostile.kills)
    life = Life()
    exchange = forked(lambda: exchange_process(shared, market, hostile, folder, 0), folder / "exchange.txt")
    try:
        port = _port(folder)
        (folder / "env").write_text(ENV.format(port=port))
        _supervise(shared, folder, chance, until, life, broken)
    finally:
        shared.put(Shared.PID, 0)
        os.kill(exchange, signal.SIGTERM)
        life.cpu += _reap(exchange)
    for name in ("trader.txt", "second.txt", "beside.txt"):
        life.violations += [("traceback", f"{name}: {one}") for one in tracebacks(folder / name)]
    return life


def _supervise(
    shared: Shared, folder: Path, chance: random.Random, until: float, life: Life, broken: str | None
) -> None:
    while True:
        shared.put(Shared.STOPPED, 0)
        pid = forked(lambda: trader_process(shared, folder, broken), folder / "trader.txt")
        shared.put(Shared.PID, pid)
        life.starts += 1
        _beside(shared, folder, pid, life)
        code = _wait(shared, pid, until, life)
        shared.put(Shared.PID, 0)
        gone = shared.get(Shared.NOW)
        life.exits[_name(code)] += 1
        asked = bool(shared.get(Shared.STOPPED))
        if code != -signal.SIGKILL and shared.get(Shared.DONE):
            return
        if code != -signal.SIGKILL and not asked:
            life.trouble.append(f"exit {code}: {_last_line(folder / 'trader.txt')}")
        if time.monotonic() > until or life.exits.total() - life.exits["killed"] > OWN_EXITS:
            life.trouble.append("given up: the run does not end")
            life.violations.append(("run does not end", f"after {life.starts} starts"))
            return
        if not shared.get(Shared.DONE):
            _second(shared, folder, chance, life)
            shared.advance(int(chance.choice((0.0, 1.0, 5.0, 30.0)) * 1e9))
            shared.put(Shared.SKEW, chance.choice((0, 0, 0, 0, 2, -2, 15, -15)))
        life.down.append((gone, shared.get(Shared.NOW)))


def _beside(shared: Shared, folder: Path, pid: int, life: Life) -> None:
    """Start a second trader on the machine of the first, now and then, while that lives: the account is locked.

    The first is suspended meanwhile and not killed, so that it holds the lock until the second has ended.
    """
    if not (folder / "second").exists() or random.Random(f"{folder.name}:{life.starts}").random() >= BESIDE_RATE:
        return
    url = next(line for line in (folder / "env").read_text().splitlines() if "BASE_URL" in line).partition("=")[2]
    account = account_path(url, "drill", state_folder({"XDG_STATE_HOME": str(folder / STATE)}))
    until = time.monotonic() + LOCKED_WITHIN
    while str(folder / "logs") not in (running_here(account) or ""):  # locked, and noted by whom
        if time.monotonic() > until or os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return  # it was killed before
        time.sleep(0.002)
    shared.put(Shared.PID, 0)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    output = folder / "beside.txt"
    work = partial(trader_process, shared, folder, home=folder / "second", machine=folder)
    code, last = _until_ended(shared, forked(work, output), output, life)
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        refused = code == BAD_INPUT and "trades this account on this machine" in last and str(folder / "logs") in last
        life.second["beside the first, refused by the lock" if refused else f"beside: {last[:40]}"] += 1
        if not refused:
            life.violations.append(("second trader not refused", f"beside the first: exit {code}: {last}"))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    shared.put(Shared.PID, pid)


def _second(shared: Shared, folder: Path, chance: random.Random, life: Life) -> None:
    """Start a second trader on the account, now and then, just after an order of the first: it is refused."""
    ordered, now = shared.get(Shared.ORDERED), shared.get(Shared.NOW)
    if (
        not (folder / "second").exists()
        or chance.random() >= SECOND_RATE
        or not ordered
        or now - ordered > SEEN_BY_SECOND
    ):
        return
    output = folder / "second.txt"
    first = json.loads((folder / "logs" / INSTANCE_FILE).read_text())["instance"]
    options = random.Random(f"{folder.name}:{life.starts}:options").choice(
        ((), ("--take-over", "t0other"), ("--take-over", first))  # an order of the last minutes outweighs the last one
    )
    work = partial(trader_process, shared, folder, home=folder / "second", options=options)
    code, last = _until_ended(shared, forked(work, output), output, life)
    refused = "so it trades this account" in last and first in last
    how = f"elsewhere{' --take-over' if options else ''}"
    life.second[f"{how}, refused, named the first" if refused else f"{how}: {last[:40]}"] += 1
    if code == -signal.SIGKILL:
        life.violations.append(("second trader not refused", last))


def _until_ended(shared: Shared, pid: int, output: Path, life: Life) -> tuple[int, str]:
    """Wait until a second trader has ended, or kill it once it must be trading; its exit code and last line."""
    now, until = shared.get(Shared.NOW), time.monotonic() + STARTS_WITHIN
    while (ended := _ended(pid)) is None:
        if shared.get(Shared.NOW) - now > SECOND_TAKES or time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    life.cpu += ended[1]
    return ended[0], _last_line(output)


def _wait(shared: Shared, pid: int, until: float, life: Life) -> int:
    """Wait until the trader has ended, and stop it when the run is over; returns the exit code."""
    while (ended := _ended(pid)) is None:
        stopped = shared.get(Shared.STOPPED)
        if shared.get(Shared.DONE) and not stopped:
            shared.put(Shared.STOPPED, time.monotonic_ns())
            os.kill(pid, signal.SIGTERM)
        waited = (time.monotonic_ns() - stopped) / 1e9 if stopped else 0.0
        if waited > LONGEST_STOP + BUSY_MACHINE:
            life.violations.append(("not gone after SIGTERM", f"{waited:.0f} s"))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -signal.SIGKILL
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    code, cpu = ended
    life.cpu += cpu
    if code != -signal.SIGKILL and (stopped := shared.get(Shared.STOPPED)):
        life.longest_stop = max(life.longest_stop, (time.monotonic_ns() - stopped) / 1e9)
    return code


def _ended(pid: int) -> tuple[int, float] | None:
    """Exit code and CPU seconds of a child that has ended; None if it has not."""
    done, status, used = os.wait4(pid, os.WNOHANG)
    return (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime) if done else None


def _reap(pid: int) -> float:
    """Wait for a child; returns its CPU seconds."""
    _, _, used = os.wait4(pid, 0)
    return used.ru_utime + used.ru_stime


def tracebacks(path: Path) -> list[str]:
    """The last line of every traceback in what a process has printed."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    found = []
    for number, line in enumerate(lines):
        if line.startswith("Traceback (most recent call last)"):
            after = (one for one in lines[number + 1 :] if one and not one.startswith(" "))
            found.append(next(after, "")[:200])
    return found


def _name(code: int) -> str:
    return "killed" if code == -signal.SIGKILL else f"exit {code}"


def _port(folder: Path) -> int:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        with contextlib.suppress(OSError, ValueError):
            return int((folder / "port").read_text())
        time.sleep(0.01)
    raise RuntimeError(f"the exchange does not listen: {(folder / 'exchange.txt').read_text()[-2000:]}")


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else ""
