"""CPU seconds of replayed sessions beside their retrains, of this version and of another one in turn.

    python -m benchmarks.replay --data DATA --before CHECKOUT --rounds 3

Each run is a new process of `live_trader.py --bars`, with the wire and everything else but the evenings, which return
at once: all sessions are traded with the first model.  `DATA` is a data folder built from the bars; each run gets a
copy.  A session counts from the start of the scheduler, or from the evening before, to its own evening.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECT: Final = Path(__file__).resolve().parent.parent
MARK: Final = "cpu: "
"""Begins the line of a session; what follows is JSON."""


class Run(NamedTuple):
    """A run's CPU seconds of each session, its requests, and a digest of its trade files."""

    seconds: list[float]
    requests: int
    trades: str


def run(checkout: Path, data: Path, options: Sequence[str]) -> Run:
    """Replay with the version in `checkout`."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in ("data", "models", "logs")}
        shutil.copytree(data, folders["data"])
        told = [part for name, path in folders.items() for part in (f"--{name}-dir", str(path))]
        found = subprocess.run(
            [sys.executable, __file__, "--measure", *options, *told],
            cwd=checkout, check=True, stdout=subprocess.PIPE, text=True,
        ).stdout  # fmt: skip
        sessions = [json.loads(line.removeprefix(MARK)) for line in found.splitlines() if line.startswith(MARK)]
        digest = sha256(b"".join(path.read_bytes() for path in sorted(folders["logs"].glob("trades_*.json"))))
    return Run([one["cpu"] for one in sessions], sessions[-1]["requests"], digest.hexdigest()[:16])


def measure(arguments: Sequence[str]) -> int:
    """Run `live_trader.py` of the working directory, without its evenings, and print a line for each session."""
    sys.path[0] = str(Path.cwd())  # not the folder of this file, whose names hide those of scripts
    import live_trader
    from trading.app.live import outside
    from trading.app.live.pulse import Pulse

    class MeasuredPulse(Pulse):
        since = 0.0

        def event(self, record: dict[str, Any]) -> None:
            super().event(record)
            if record["event"] == "scheduler_started":
                self.since = time.process_time()

        def during(self, state: str, work: Any) -> Any:
            return super().during(state, work) if state != "evening" else self._end_session

        def _end_session(self, session: object) -> bool:
            seconds = time.process_time() - self.since
            requests = sum(self._venue.clients.replies.values())
            print(MARK + json.dumps({"cpu": seconds, "requests": requests}), flush=True)
            self.since = time.process_time()
            return True

    vars(outside)["Pulse"] = MeasuredPulse
    return live_trader.main(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a data folder built from the bars")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="folder of another version")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    bars = PROJECT.parent / "shared" / "bars" / "us-2018"
    parser.add_argument("--bars", type=Path, default=bars, metavar="DIR", help="folder of recorded bars")
    parser.add_argument("--start", type=date.fromisoformat, default=date(2018, 3, 26), metavar="D")
    parser.add_argument("--sessions", type=int, default=1, metavar="N")
    chosen = parser.parse_args(arguments)
    options = ("--bars", str(chosen.bars.resolve()), "--start", str(chosen.start), "--sessions", str(chosen.sessions))
    versions = {"before": chosen.before, "now": PROJECT} if chosen.before else {"now": PROJECT}
    runs: dict[str, list[Run]] = {name: [] for name in versions}
    for _ in range(chosen.rounds):
        for name, checkout in versions.items():
            found = run(checkout, chosen.data, options)
            runs[name].append(found)
            shown = ", ".join(f"{seconds:.2f}" for seconds in found.seconds)
            load = f"load {os.getloadavg()[0]:.1f}"
            print(f"{name}: {shown} s of CPU; {found.requests:,} requests; trades {found.trades}; {load}", flush=True)
    cpu = {name: [statistics.mean(one.seconds) for one in found] for name, found in runs.items()}
    print("; ".join(f"{name}: median {statistics.median(found):.2f} s a session" for name, found in cpu.items()))
    if "before" in cpu:
        ratios = [now / before for now, before in zip(cpu["now"], cpu["before"], strict=True)]
        print(f"now / before: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
        same = len({one.trades for found in runs.values() for one in found}) == 1
        print("the trade files are the same to the byte" if same else "THE TRADE FILES DIFFER")
    return 0


if __name__ == "__main__":
    sys.exit(measure(sys.argv[2:]) if sys.argv[1:2] == ["--measure"] else main())
