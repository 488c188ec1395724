"""Whatever texts and numbers a log holds, each page answers, without markup, unseen marks or endless text."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from config import Settings
from tests.app.report_logs import DAY, mark, prediction, write_day
from tests.app.report_logs import ny as at
from tests.dashboard.dashboard_world import beat, still_open
from trading.dashboard.state.live import Live, Places
from trading.dashboard.web.app import application
from trading.dashboard.web.guard import Access
from trading.dashboard.web.site import Site, _templates

if TYPE_CHECKING:
    from pathlib import Path

PAGES = ("/", "/trades", "/trades/2018-03-26/0", "/trades/2018-03-26/1", "/models", "/health", "/metrics",
         f"/download/trades_{DAY}.csv", f"/download/trades_{DAY}.json")  # fmt: skip

HTML = "<img src=x onerror=alert(1)>\"'&</script><script>alert(2)</script>"
TEXTS = (HTML, "\u202e\u2066AAA\u200f\u061c", "x" * 10_000, "\x00\x1b[2J\r\n\x7f\x85", "")
RAW = ("1e999", "-1", "null", "[]", "9" * 400, '"NaN"', '"inf"', '"9999-12-31T23:59:59-12:00"',
       '"0001-01-01T00:00:00+14:00"', '"2018-03-26T10:31:02"')  # fmt: skip
VALUES = (*(orjson.dumps(one).decode() for one in TEXTS), *RAW)
"""Values of a field in JSON: texts, numbers that are none, and instants that no clock shows."""

TURNS = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c\x00-\x08\x0b-\x1f\x7f-\x9f]")

EVENTS: tuple[dict[str, Any], ...] = (
    {"event": "bought", "symbol": "AAA", "qty": 5, "price": 10.01, "stop": 9.8, "target": 10.4, "client_order_id": "x"},
    {"event": "not_bought", "symbol": "BBB", "rule": "positions", "reason": "full", "price": 10.0, "confidence": 0.7},
    {"event": "entry_intent", "symbol": "CCC", "qty": 5, "client_order_id": "y", "decision_price": 10.0, "stop": 9.8,
     "target": 10.4, "confidence": 0.7, "model": "m"},
    {"event": "unprotected", "symbol": "BBB", "qty": 5, "remedy": "a stop is placed"},
    {"event": "model_in_service", "model": "20180323_200000"},
    {"event": "day_started", "equity": 100_000, "symbols": ["AAA"], "stocks": 5, "session": str(DAY)},
    {"event": "day_closed", "equity": 100_000, "trades": 1, "won": 1, "pnl_amount": 1.0},
    {"event": "minute", "predictions": 4, "signals": 2, "bars_after_seconds": 3.0},
    {"event": "started", "settings": {"MIN_CONFIDENCE": 0.65, "ROUND_TRIP_COST": 0.001}, "market": "x"},
    {"event": "feed_late", "reason": "late", "symbol": "AAA"}, {"event": "ticks_skipped", "count": 3},
)  # fmt: skip


TEMPLATES = _templates()
"""Compiled once for all."""


def answer(site: Site, path: str) -> tuple[int, str]:
    """Status and text of a page, through the application and all that stands around it; no error is swallowed."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": [(b"host", b"h:1")], "client": ("127.0.0.1", 1), "server": ("h", 1), "scheme": "http",
             "root_path": "", "http_version": "1.1"}  # fmt: skip

    async def ask() -> None:
        await application(site)(scope, receive, send)

    asyncio.run(ask())
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:]).decode()


def changed(record: dict[str, Any], field: str, value: str) -> str:
    """A record in JSON with a value, given in JSON, in the place of a field."""
    return orjson.dumps(record | {field: "@@"}).decode().replace('"@@"', value)


def site_of(root: Path) -> Site:
    """A dashboard that has read nothing yet."""
    live = Live(Places(root / "data", root / "models", root / "logs", root / "control"))
    return Site(live, Access(frozenset({"h:1"})), lambda reader, day: Settings(), templates=TEMPLATES)


def look_at(site: Site, paths: tuple[str, ...], what: object) -> None:
    """Look at pages."""
    for path in paths:
        status, text = answer(site, path)
        assert status in (200, 404), (what, path, text)
        if "download" not in path:
            assert not TURNS.search(text), (what, path)
            assert "<img" not in text and "alert(2)</script>" not in text, (what, path)
            assert "x" * 3000 not in text, (what, path)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    mark(folder)
    write_day(folder, DAY, still_open())
    audit = folder / f"audit_{DAY}.jsonl"
    audit.write_text("".join(line for line in audit.open() if '"closed"' not in line))
    return folder


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_hostile_values_of_every_field_change_no_page_into_an_error(logs: Path, tmp_path: Path, value: str) -> None:
    now = "2018-03-26T10:33:02-04:00"
    lines = [changed({"time": now, **one}, field, value) for one in EVENTS for field in ("time", *one)]
    with open(logs / f"audit_{DAY}.jsonl", "a") as file:
        file.write("\n".join(lines) + "\n")
    known = prediction("BBB", at(DAY, "10:34:02"), 0.7)
    with open(logs / f"predictions_{DAY}.jsonl", "a") as file:
        file.write("\n".join(changed(known, field, value) for field in known) + "\n")
    trades = orjson.loads((logs / f"trades_{DAY}.json").read_bytes())
    rows = [orjson.dumps(one).decode() for one in trades]
    rows += [changed(trades[0] | {"client_order_id": f"n{n}"}, field, value) for n, field in enumerate(trades[0])]
    (logs / f"trades_{DAY}.json").write_text(f"[{','.join(rows)}]")
    site = site_of(tmp_path)
    look_at(site, PAGES, value)
    for field in ("market", "last_error", "next_event", "version", "state", "tick_seconds", "memory_mb", "requests"):
        beat(logs)
        file_of_life = logs / "heartbeat.json"
        file_of_life.write_text(changed(orjson.loads(file_of_life.read_bytes()), field, value))
        look_at(site, ("/", "/health", "/metrics"), (field, value))
