"""A dashboard as a process of its own over logs of a few minutes, and requests that a browser would not send."""

from __future__ import annotations

import http.client
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from config import PROJECT
from tests.app.report_logs import DAY, mark, ny, trade, write_day
from tests.learning.learning_rows import FEW_TREES, made_up_rows
from trading import __version__
from trading.base.market_folders import market_of
from trading.learning.train import train
from trading.models.store import ModelStore
from trading.records.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from trading.records.trade_log import Trade

MODEL = "20180323_200000"


class Reply(NamedTuple):
    """A reply; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Dashboard:
    """A running dashboard and its folders."""

    process: subprocess.Popen[str]
    url: str
    root: Path
    said: list[str] = field(default_factory=list)

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def ask(
        self, path: str, method: str = "GET", body: str | bytes | None = None, source: str = "127.0.0.1", **headers: str
    ) -> Reply:
        """Send a request with any headers, from any loopback address; `_` in their names stands for `-`."""
        address = urlsplit(self.url)
        assert address.hostname is not None
        connection = http.client.HTTPConnection(address.hostname, address.port, 120, (source, 0))
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        reply = connection.getresponse()
        content = reply.read().decode("utf-8", "replace")
        connection.close()
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, content)

    def form_of(self, action: str, target: str = "") -> tuple[dict[str, str], str]:
        """The fields of the form that asks once more, and the cookie that belongs to it."""
        reply = self.ask(f"/control/ask?action={action}&target={target}")
        assert reply.status == 200, reply
        cookie = reply.headers["set-cookie"].partition(";")[0]
        return {"csrf": reply.text.split('name="csrf" value="')[1].split('"')[0], "action": action,
                "target": target}, cookie  # fmt: skip


def beat(logs: Path, *, age: float = 0.0, **changes: object) -> None:
    """Write a sign of life."""
    now = datetime.now(UTC) - timedelta(seconds=age)
    known = Heartbeat(
        now, ny(DAY, "10:32:03"), now - timedelta(hours=3), 1, __version__, "waiting", "recorded bars of x", True,
        next_event="minute", next_at=ny(DAY, "10:33:02"), tick_seconds=0.25, bars_after_seconds=3.0,
        clock_offset_seconds=0.02, requests={"2xx": 40, "4xx": 1}, request_seconds=0.004,
        longest_request_seconds=1.25, memory_mb=300.0,
    )  # fmt: skip
    replace(known, **changes).write(logs)  # type: ignore[arg-type]


def write_models(folder: Path) -> None:
    """Two models as trainings leave them, of few trees."""
    mark(folder)
    market = market_of(folder)
    assert market is not None
    trained = train(made_up_rows(sessions=3), FEW_TREES.changed(N_ESTIMATORS=3))
    promoted = replace(trained, decision=replace(trained.decision, in_service=True))
    for day in (22, 23):
        ModelStore(folder).publish(promoted, now=ny(DAY.replace(day=day), "20:00"), market=market)


def write_page(folder: Path) -> None:
    """The page of a training, which tries to read the cookies and names its folder."""
    page = "<!DOCTYPE html><title>Training</title><p id=x>before</p><script>let cookies = '';"
    page += "try { cookies = document.cookie; } catch { cookies = ''; }"
    page += f"document.getElementById('x').textContent = cookies || 'none';</script><p>{folder}/x</p>"
    (folder / f"report_{MODEL}.html").write_text(page)


def still_open(day: date = DAY) -> Trade:
    """A position that is held at the end of the logs."""
    return trade(day, "BBB", "11:00", None, reached_target_first=None)


@contextmanager
def dashboard(root: Path, *arguments: str) -> Iterator[Dashboard]:
    """Start the script on folders below `root`; it ends with the block."""
    command = [sys.executable, str(PROJECT / "dashboard.py"), "--port=0", "--env-file=/dev/null"]
    for name in ("data", "models", "logs", "control"):
        (root / name).mkdir(parents=True, exist_ok=True)
        command.append(f"--{name}-dir={root / name}")
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), process.communicate()
        yield Dashboard(process, url.rstrip("/"), root)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=120)
        finally:
            process.kill()


def fill(root: Path, *, with_models: bool = False) -> None:
    """Logs of a day with a position, a sign of life, the page of a model, and models if they are wanted."""
    logs = root / "logs"
    for folder in (logs, root / "models"):
        folder.mkdir(parents=True)
    mark(logs)
    write_day(logs, DAY, still_open())
    beat(logs)
    write_page(root / "models")
    if with_models:
        write_models(root / "models")
