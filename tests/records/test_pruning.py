"""Logs in the evening: finished predictions are compressed, old logs removed, and nothing that is needed is lost."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from trading.base.clock import SimulatedClock
from trading.base.files import compress_lines, line_files, read_lines
from trading.records.journal import Journal
from trading.records.pruning import prune_logs

if TYPE_CHECKING:
    from pathlib import Path

FIRST = date(2018, 3, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def write_days(folder: Path, count: int, started: tuple[int, ...] = (0,)) -> None:
    """A journal of `count` days, with a start on some of them, and a trade file a day."""
    clock = SimulatedClock(datetime(2018, 3, 1, 15, tzinfo=UTC))
    journal = Journal(folder, clock)
    for number in range(count):
        if number in started:
            journal.event("started", settings={"MIN_CONFIDENCE": number})
        journal.event("minute", n=number)
        journal.predictions([{"symbol": "AAA", "n": number}, {"symbol": "BBB", "n": number}])
        (folder / f"trades_{day(number)}.json").write_text("[]")
        clock.sleep_until(clock.now() + timedelta(days=1))
    journal.close()


def predictions(folder: Path) -> list[int]:
    return [line["n"] for path in line_files(folder, "predictions") for line in read_lines(path)]


def days_of(folder: Path, kind: str) -> list[str]:
    return [path.name.removeprefix(f"{kind}_")[:10] for path in line_files(folder, kind)]


def test_finished_predictions_are_compressed_and_read_as_before(tmp_path: Path) -> None:
    write_days(tmp_path, 4)
    before = predictions(tmp_path)
    done = prune_logs(tmp_path, day(3), 0, None)
    assert done.compressed == [f"predictions_{day(n)}.jsonl" for n in range(3)]
    assert sorted(path.name for path in tmp_path.glob("predictions_*")) == [
        *(f"predictions_{day(n)}.jsonl.gz" for n in range(3)),
        f"predictions_{day(3)}.jsonl",
    ]
    assert predictions(tmp_path) == before == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (done.removed, done.failures) == ([], [])
    again = prune_logs(tmp_path, day(3), 0, None)
    assert (again.compressed, again.removed) == ([], [])
    assert len(list(tmp_path.glob("audit_*.jsonl"))) == 4


def test_lines_that_come_later_join_the_compressed_ones(tmp_path: Path) -> None:
    path = tmp_path / "predictions_2018-03-01.jsonl"
    path.write_text('{"n": 1}\n{"n": 2}\n')
    compress_lines(path)
    path.write_text('{"n": 3}\n')
    assert predictions(tmp_path) == [1, 2, 3]
    compress_lines(path)
    assert predictions(tmp_path) == [1, 2, 3] and not path.exists()


def test_a_kill_before_the_plain_file_is_removed_doubles_no_line(tmp_path: Path) -> None:
    path = tmp_path / "predictions_2018-03-01.jsonl"
    for text in ('{"n": 1}\n', '{"n": 2}\n'):
        path.write_text(text)
        compress_lines(path)
        path.write_text(text)  # as if the kill had come before the plain file was removed
        compress_lines(path)
    assert predictions(tmp_path) == [1, 2]


def test_the_same_lines_give_the_same_bytes(tmp_path: Path) -> None:
    content = []
    for name in ("one", "two"):
        path = tmp_path / name / "predictions_2018-03-01.jsonl"
        path.parent.mkdir()
        path.write_text('{"n": 1}\n')
        compress_lines(path)
        content.append((tmp_path / name / f"{path.name}.gz").read_bytes())
    assert content[0] == content[1]


@pytest.mark.parametrize("cut", [0, 1, 11, 30, 60])
def test_a_damaged_compressed_file_ends_with_one_broken_line_and_is_not_added_to(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "predictions_2018-03-01.jsonl"
    path.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(40)))
    compress_lines(path)
    packed = tmp_path / f"{path.name}.gz"
    damaged = packed.read_bytes()[: cut - 61]
    packed.write_bytes(damaged)
    path.write_text('{"n": 99}\n')
    broken: list[int] = []
    found = [record["n"] for record in read_lines(path, broken=broken.append)]
    assert found[-1] == 99 and found[:-1] == list(range(len(found) - 1))
    assert len(broken) == 1
    done = prune_logs(tmp_path, day(9), 0, None)
    assert len(done.failures) == 1 and "cannot be compressed: the compressed file is damaged" in done.failures[0]
    assert packed.read_bytes() == damaged and path.exists()


def test_the_newest_days_are_kept_and_trades_always(tmp_path: Path) -> None:
    write_days(tmp_path, 30, started=(0, 3, 5, 25))
    done = prune_logs(tmp_path, day(29), 12, None)
    assert days_of(tmp_path, "predictions") == [str(day(n)) for n in range(18, 30)]
    # The audit of the last start before them says which settings were in force.
    assert days_of(tmp_path, "audit") == [str(day(n)) for n in (5, *range(18, 30))]
    assert len(list(tmp_path.glob("trades_*.json"))) == 30
    assert len(done.removed) == 18 + 17
    assert done.failures == []


def test_what_is_needed_stays(tmp_path: Path) -> None:
    write_days(tmp_path, 30)
    prune_logs(tmp_path, day(29), 12, day(9))
    assert days_of(tmp_path, "predictions")[0] == str(day(9))
    prune_logs(tmp_path, day(29), 2, None)  # a start looks back for days
    assert len(days_of(tmp_path, "audit")) >= 10
    prune_logs(tmp_path, day(29), 0, None)
    assert len(days_of(tmp_path, "audit")) >= 10


def test_a_clock_that_is_set_wrong_removes_nothing(tmp_path: Path) -> None:
    write_days(tmp_path, 12)
    done = prune_logs(tmp_path, date(2099, 1, 1), 12, None)
    assert done.removed == []
    assert predictions(tmp_path) == [n // 2 for n in range(24)]


def test_a_replay_of_the_past_counts_no_day_that_it_has_not_reached(tmp_path: Path) -> None:
    write_days(tmp_path, 30)
    assert prune_logs(tmp_path, day(11), 12, None).removed == []
    assert days_of(tmp_path, "predictions") == [str(day(n)) for n in range(30)]
    prune_logs(tmp_path, day(12), 12, None)
    assert days_of(tmp_path, "predictions") == [str(day(n)) for n in range(1, 30)]


def test_files_of_others_and_files_that_cannot_be_removed_stay_and_are_named(tmp_path: Path) -> None:
    write_days(tmp_path, 14)
    others = ["predictions_mine.jsonl", "audit_2018-03-01.jsonl.bak", "predictions_2018-03-01.csv", "audit_.jsonl"]
    for name in others:
        (tmp_path / name).write_text("{}\n")
    (tmp_path / f"predictions_{day(1)}.jsonl").unlink()
    (tmp_path / f"predictions_{day(1)}.jsonl").mkdir()
    done = prune_logs(tmp_path, day(13), 11, None)
    assert all((tmp_path / name).read_text() == "{}\n" for name in others)
    named = [line.split(": ")[0] for line in done.failures]
    assert set(named) == {str(tmp_path / f"predictions_{day(1)}.jsonl")}
    assert f"predictions_{day(2)}.jsonl" in done.removed


def test_compressed_logs_are_removed_too(tmp_path: Path) -> None:
    write_days(tmp_path, 12)
    prune_logs(tmp_path, day(11), 0, None)
    write_days(tmp_path / "more", 20)
    for path in (tmp_path / "more").glob("*.jsonl"):
        if not (tmp_path / path.name).exists():
            path.rename(tmp_path / path.name)
    done = prune_logs(tmp_path, day(19), 10, None)
    assert f"predictions_{day(0)}.jsonl.gz" in done.removed
    assert gzip.decompress((tmp_path / f"predictions_{day(10)}.jsonl.gz").read_bytes())
    assert not (tmp_path / f"predictions_{day(9)}.jsonl.gz").exists()
