"""Start of the dashboard until its first page is there, and its memory then.

    python -m benchmarks.dashboard_start --logs DIR [--models DIR]     logs and models of a trader, read only

PYTHONDONTWRITEBYTECODE is left out of its environment, as on a user's machine.  The first start, which may still
compile the modules, is shown apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.harness import PROJECT

STARTS: Final = 7


class Start(NamedTuple):
    """Seconds on the clock until `/healthz` answers and until the page Now is there, CPU seconds and MB by then."""

    answers: float
    page: float
    cpu: float
    memory: float


def started(logs: Path, models: Path) -> Start:
    """Start a dashboard, read its first page, and end it."""
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as empty:
        command = [sys.executable, str(PROJECT / "dashboard.py"), "--port=0", "--env-file=/dev/null"]
        command += [f"--logs-dir={logs}", f"--models-dir={models}", f"--data-dir={empty}", f"--control-dir={empty}"]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=usual)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip().rstrip("/")
            urllib.request.urlopen(f"{url}/healthz").read()
            answers = time.perf_counter() - begun
            urllib.request.urlopen(url).read()
            page = time.perf_counter() - begun
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.terminate()
            process.wait()
    memory = int(status.split("VmRSS:")[1].split()[0]) / 1000
    return Start(answers, page, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), memory)


def main() -> None:
    """Measure, and print the median and the worst."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    models = options.models or options.logs.parent / "models"
    print(f"load {os.getloadavg()[0]:.1f}; first start: {started(options.logs, models).page:.2f} s")
    found = [started(options.logs, models) for _ in range(STARTS)]
    for name, values in zip(Start._fields, zip(*found, strict=True), strict=True):
        print(f"{name:8} median {statistics.median(values):.2f}, worst {max(values):.2f}")


if __name__ == "__main__":
    main()
