"""A soak: many generated sessions at full speed, with alerts and watchdog attached, and processes that end at random.

    python -m benchmarks.soak --state DIR --sessions 60      run until DIR has 60 sessions; the same command goes on
    python -m benchmarks.soak --state DIR                    print the table of what DIR has

The trader trades the generated market with the exchange's mild behaviour.  Its alerts go to a server on loopback.
After a session it is killed or stopped with a probability of `END_RATE`, at a random moment of the next one, and
started again; so is the watchdog or the dashboard.  A line a session in DIR/sessions.jsonl: memory, threads, open
files, CPU time and sizes of files, all read from outside the process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.harness import PROJECT
from tests.alerts.receiver import receiver
from trading.app.live.pulse import resident_mb
from trading.records.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.alerts.receiver import Receiver

END_RATE: Final = 0.3
MINUTES: Final = 390
SETTINGS: Final = {
    "HISTORY_DAYS": 5,
    "KEEP_DAYS": 8,
    "KEEP_MODELS": 6,
    "TOP_STOCKS": 12,
    "MARKET_STOCKS": 40,
    "LEARNABILITY": 1,
    "N_ESTIMATORS": 20,
    "TRAIN_EVERY_NTH_ROW": 3,
    "FOREST_MIN_SAMPLES_LEAF": 20,
    "MIN_CONFIDENCE": 0.6,
    "EVENING_CONTROLS": "never",
    "EXCHANGE_BEHAVIOUR": "mild",
}
"""A small market and short windows, so that pruning works from the ninth session on and a session takes a minute."""


class Soak:
    """The processes of a soak, and what is measured of them."""

    def __init__(self, state: Path, web: Receiver) -> None:
        self.state = state
        self.logs = state / "logs"
        self.web = web
        self.file = state / "sessions.jsonl"
        self.rows = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        self.chance = random.Random(len(self.rows))
        state.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}" for name, value in SETTINGS.items()]
        (state / "soak.env").write_text("\n".join([*lines, f"ALERT_URLS={web.url}", f"CONTROL_DIR={state}", ""]))
        self.folders = [f"--{name}-dir={state / name}" for name in ("data", "models", "logs")]
        self.starts = 0

    def go(self, sessions: int) -> None:
        """Trade until there are so many sessions, in process after process."""
        beside = {"watchdog.py": self.folders[2:], "dashboard.py": [*self.folders, "--port=0"]}
        running = {name: self._start(name, options) for name, options in beside.items() if (PROJECT / name).exists()}
        try:
            while len(self.rows) < sessions:
                self._one_process(sessions - len(self.rows), running.get("dashboard.py"))
                name = self.chance.choice(sorted(running))
                running[name].kill()
                running[name].wait()
                running[name] = self._start(name, beside[name])
        finally:
            for process in running.values():
                process.kill()

    def _start(self, script: str, options: list[str], **more: Any) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROJECT / script), *options, f"--env-file={self.state / 'soak.env'}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | more
        return subprocess.Popen(command, text=True, cwd=self.state, **quiet)

    def _one_process(self, left: int, looking: subprocess.Popen[str] | None) -> None:
        self.starts += 1
        trader = self._start("live_trader.py", [*self.folders, f"--sessions={left}"], stdout=subprocess.PIPE)
        assert trader.stdout is not None
        ending: threading.Timer | None = None
        cpu, began, ticks = cpu_seconds(trader.pid), time.monotonic(), [0.0]
        for line in trader.stdout:
            beat = Heartbeat.read(self.logs)
            ticks.append(0.0 if beat is None or beat.tick_seconds is None else beat.tick_seconds)
            if "day closed" not in line:
                continue
            now = cpu_seconds(trader.pid)
            self._note(trader.pid, line, now - cpu, time.monotonic() - began, max(ticks), looking)
            cpu, began, ticks = now, time.monotonic(), [0.0]
            if ending is None and self.chance.random() < END_RATE:
                number = self.chance.choice((signal.SIGKILL, signal.SIGTERM))
                ending = threading.Timer(self.chance.uniform(2, 40), trader.send_signal, [number])
                ending.start()
        trader.wait()
        if ending is not None:
            ending.cancel()

    def _note(
        self, pid: int, line: str, cpu: float, wall: float, tick: float, looking: subprocess.Popen[str] | None
    ) -> None:
        beat = Heartbeat.read(self.logs)
        row = {
            "session": len(self.rows) + 1,
            "day": line[:10],
            "process": pid,
            "memory_mb": resident_mb(pid),
            "threads": len(os.listdir(f"/proc/{pid}/task")),
            "open_files": len(os.listdir(f"/proc/{pid}/fd")),
            "cpu_seconds": round(cpu, 1),
            "wall_seconds": round(wall, 1),
            "longest_tick": tick,
            "logs_mb": size_mb(self.logs),
            "data_mb": size_mb(self.state / "data"),
            "models_mb": size_mb(self.state / "models"),
            "alerts": len(self.web.got),
            "dropped": None if beat is None else beat.alerts_dropped,
            "skipped": None if beat is None else beat.ticks_skipped,
            "dashboard_mb": None if looking is None else resident_mb(looking.pid),
            "closed": line.split("day closed: ")[1].strip(),
        }
        self.rows.append(row)
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def size_mb(folder: Path) -> float:
    """Size of all files of a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # it was replaced meanwhile
    return round(total / 1e6, 2)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown; a new process is marked."""
    names = [
        *("session", "process", "memory, MB", "threads", "files", "CPU, s", "CPU a minute, ms", "logs, MB"),
        *("data, MB", "models, MB", "dashboard, MB"),
    ]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    processes: list[int] = []
    for row in rows:
        if row["process"] not in processes[-1:]:
            processes.append(row["process"])
        cpu, looking = row["cpu_seconds"], row["dashboard_mb"]
        cells = [row["session"], len(processes), round(row["memory_mb"]), row["threads"], row["open_files"]]
        cells += [round(cpu), round(1000 * cpu / MINUTES), row["logs_mb"], row["data_mb"], row["models_mb"]]
        lines.append("| " + " | ".join(map(str, [*cells, "" if looking is None else round(looking)])) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder of the soak")
    parser.add_argument("--sessions", type=int, default=0, help="sessions that the folder has in the end")
    options = parser.parse_args()
    with receiver() as web:
        soak = Soak(options.state.absolute(), web)
        if options.sessions:
            soak.go(options.sessions)
        print(table(soak.rows))


if __name__ == "__main__":
    main()
