"""The sign of life of a trader: what was written is read, and a damaged file is none."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trading.records.heartbeat import FILE, Heartbeat

AT = datetime(2026, 3, 2, 15, 0, 1, tzinfo=UTC)


def beat() -> Heartbeat:
    return Heartbeat(
        written=AT,
        now=AT - timedelta(days=300),
        started=AT - timedelta(hours=1),
        pid=7,
        version="1",
        state="waiting",
        market="generated, seed 1",
        simulated=True,
        next_event="minute",
        next_at=AT,
        tick_seconds=0.1,
        requests={"2xx": 9, "unclear": 1},
        request_seconds=0.02,
        longest_request_seconds=1.5,
        last_error="12:00 unclear",
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    beat().write(tmp_path)
    assert Heartbeat.read(tmp_path) == beat()
    assert beat().age(AT + timedelta(seconds=61)) == 61


@pytest.mark.parametrize(
    ("field", "value"),
    [("written", "2026-03-02T15:00:01"), ("written", None), ("written", 5), ("pid", -1), ("pid", True), ("state", None),
     ("state", ["minute"]), ("simulated", 1), ("tick_seconds", "fast"), ("request_seconds", "fast"),
     ("requests", {"2xx": "9"}), ("requests", []),
     ("next_at", "soon"), ("last_error", {"a": 1})],
)  # fmt: skip
def test_a_field_that_cannot_be_true_is_no_beat(tmp_path: Path, field: str, value: object) -> None:
    beat().write(tmp_path)
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**content, field: value}))
    assert Heartbeat.read(tmp_path) is None


@pytest.mark.parametrize("value", [1, None, "2026-03-02T15:00:01", {"next_at": "soon"}, [[]]])
def test_fields_of_a_later_version_are_ignored_and_known_ones_are_still_checked(tmp_path: Path, value: object) -> None:
    beat().write(tmp_path)
    later = {"later_field": value, **json.loads((tmp_path / FILE).read_text())}
    (tmp_path / FILE).write_text(json.dumps(later))
    assert Heartbeat.read(tmp_path) == beat()
    (tmp_path / FILE).write_text(json.dumps({**later, "pid": "7"}))
    assert Heartbeat.read(tmp_path) is None
    del later["state"]
    (tmp_path / FILE).write_text(json.dumps(later))
    assert Heartbeat.read(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"7"])
def test_a_damaged_file_is_no_beat(tmp_path: Path, content: bytes) -> None:
    assert Heartbeat.read(tmp_path) is None
    (tmp_path / FILE).write_bytes(content)
    assert Heartbeat.read(tmp_path) is None
