"""Crash safety of files: partial lines, full disks, and `kill -9` during real writes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.base.files import LineLog, read_lines, replacing, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parents[2]


def program(text: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", text, *map(str, arguments)]


@contextmanager
def running(text: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A child process with a pipe from its stdout, killed with SIGKILL when the block ends."""
    child = subprocess.Popen(program(text, *arguments), cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


# --- replaced files --------------------------------------------------------------------------------------------------


def test_write_replaces_the_file_and_leaves_no_other_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "a.json"
    for value in ({"a": 1}, [1.5, "ü"], {"a": 0.1 + 0.2}):
        write_json(file, value)
        assert json.loads(file.read_text(encoding="utf-8")) == value
        assert file.read_bytes().endswith(b"\n")
    assert os.listdir(file.parent) == ["a.json"]


def test_failed_block_leaves_the_file_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_bytes(file, b"old")
    with pytest.raises(RuntimeError), replacing(file) as new:
        new.write(b"half")
        raise RuntimeError
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_failed_block_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert os.listdir(tmp_path) == []


def test_readers_see_the_old_content_until_the_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_bytes(file, b"old")
    with replacing(file) as new:
        new.write(b"new")
        new.flush()
        assert file.read_bytes() == b"old"
    assert file.read_bytes() == b"new"


def test_two_threads_can_replace_one_file_at_the_same_time(tmp_path: Path) -> None:
    file = tmp_path / "a"
    inside = threading.Barrier(2)
    finished: list[bytes] = []

    def write(content: bytes) -> None:
        with replacing(file) as new:
            new.write(content[:10])
            new.flush()
            inside.wait(60)
            new.write(content[10:])
        finished.append(content[:1])

    threads = [threading.Thread(target=write, args=(letter * 100_000,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(finished) == [b"a", b"b"]
    assert file.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert os.listdir(tmp_path) == ["a"]


def test_content_is_synced_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut cannot be tested here; the order of the system calls that protect against it can."""
    calls: list[str] = []
    fsync, rename = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        calls.append(f"fsync {'folder' if target == tmp_path else 'file'}, {target.stat().st_size} bytes")
        fsync(descriptor)

    def seen_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        rename(source, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to tell which file a descriptor belongs to")
    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    write_bytes(tmp_path / "a", b"12345")
    assert calls[:2] == ["fsync file, 5 bytes", "rename"]
    assert [call.split(",")[0] for call in calls[2:]] == ["fsync folder"]
    calls.clear()
    log = LineLog(tmp_path / "b.jsonl")
    log.append([{}], sync=True)
    log.close()
    assert calls == ["fsync file, 3 bytes"]


REWRITER = """
import sys
from pathlib import Path
from trading.base.files import write_json
for n in range(10**9):
    write_json(Path(sys.argv[1]), {"n": n, "trades": [{"symbol": "AMD", "n": n}] * 5000})
    print(n, flush=True)
"""


@pytest.mark.parametrize("kill_after", [1, 2, 5, 9])
def test_file_is_valid_json_at_every_instant_when_its_writer_is_killed(kill_after: int, tmp_path: Path) -> None:
    file = tmp_path / "trades.json"
    with running(REWRITER, file) as child:
        assert child.stdout is not None
        written = 0
        for line in child.stdout:
            written = int(line)
            for _ in range(5):  # the next writes are in progress
                seen = json.loads(file.read_bytes())
                assert seen["n"] >= written
                assert {trade["n"] for trade in seen["trades"]} == {seen["n"]}
            if written >= kill_after:
                break
        child.kill()
    seen = json.loads(file.read_bytes())
    assert seen["n"] >= written
    assert len(seen["trades"]) == 5000
    write_json(file, {"n": -1})  # the temporary file of the killed process does not interfere
    assert json.loads(file.read_bytes()) == {"n": -1}


FULL = """
import resource, signal, sys
from pathlib import Path
from trading.base.files import LineLog, write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit raises OSError, as on a full disk
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
folder = Path(sys.argv[1])
file, log = folder / "a", LineLog(folder / "b.jsonl")
write_bytes(file, b"old")
log.append([{"n": 1}, {"n": 2}], sync=True)
before = (folder / "b.jsonl").read_bytes()
limit(100_000)
for attempt in (lambda: write_bytes(file, bytes(200_000)), lambda: log.append([{"n": n} for n in range(50_000)])):
    try:
        attempt()
    except OSError as error:
        print(type(error).__name__)
assert file.read_bytes() == b"old"
assert (folder / "b.jsonl").read_bytes() == before, "a part of the batch remained"
limit(resource.RLIM_INFINITY)
log.append([{"n": 3}])
write_bytes(file, b"new")
log.close()
"""


def test_full_disk_leaves_both_kinds_of_file_unchanged_and_usable(tmp_path: Path) -> None:
    done = subprocess.run(program(FULL, tmp_path), cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["OSError", "OSError"]
    assert [record["n"] for record in read_lines(tmp_path / "b.jsonl")] == [1, 2, 3]
    assert (tmp_path / "a").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["a", "b.jsonl"]


# --- line logs -------------------------------------------------------------------------------------------------------

RECORDS = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers(-(2**50), 2**50) | st.text(max_size=20)), max_size=6
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(RECORDS, RECORDS, st.data())
def test_partial_last_line_is_removed_and_all_other_lines_survive(
    tmp_path: Path, first: list[dict[str, Any]], then: list[dict[str, Any]], data: st.DataObject
) -> None:
    file = tmp_path / "log.jsonl"
    file.unlink(missing_ok=True)
    log = LineLog(file)
    log.append(first)
    log.close()
    content = file.read_bytes()
    kept = data.draw(st.integers(0, len(content)))
    file.write_bytes(content[:kept])
    complete = content[:kept].count(b"\n")

    again = LineLog(file)
    assert list(read_lines(file)) == first[:complete]
    again.append(then)
    again.close()
    assert list(read_lines(file)) == first[:complete] + then
    assert file.read_bytes().count(b"\n") == complete + len(then)


@pytest.mark.parametrize("partial", [b'{"n": 1', b'{"n": 1}', b"\x00\x00\x00", b'{"a": "\xc3'])
def test_partial_line_is_removed_if_it_is_the_only_one(partial: bytes, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(partial)
    log = LineLog(tmp_path / "log.jsonl")
    assert (tmp_path / "log.jsonl").read_bytes() == b""
    log.append([{"n": 2}])
    log.close()
    assert list(read_lines(tmp_path / "log.jsonl")) == [{"n": 2}]


def test_reader_sees_each_append_immediately(tmp_path: Path) -> None:
    log = LineLog(tmp_path / "new" / "log.jsonl")
    log.append([])
    assert list(read_lines(log.path)) == []
    log.append([{"n": 1}, {"n": 2}])
    assert list(read_lines(log.path)) == [{"n": 1}, {"n": 2}]
    log.append([{"n": 3}], sync=True)
    assert [record["n"] for record in read_lines(log.path)] == [1, 2, 3]
    log.close()


def test_batch_with_an_unserialisable_record_is_not_written(tmp_path: Path) -> None:
    log = LineLog(tmp_path / "log.jsonl")
    log.append([{"n": 1}])
    with pytest.raises(TypeError):
        log.append([{"n": 2}, {"n": object()}])
    log.append([{"n": 3}])
    log.close()
    assert list(read_lines(log.path)) == [{"n": 1}, {"n": 3}]


def test_invalid_line_is_skipped_and_its_number_reported(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'{"n": 1}\n{"n": \n{"n": 3}\n\xff\n')
    broken: list[int] = []
    assert list(read_lines(file, broken=broken.append)) == [{"n": 1}, {"n": 3}]
    assert broken == [2, 4]
    assert list(read_lines(file)) == [{"n": 1}, {"n": 3}]
    assert list(read_lines(tmp_path / "none.jsonl")) == []


APPENDER = """
import sys
from pathlib import Path
from trading.base.files import LineLog
log = LineLog(Path(sys.argv[1]))
start = sum(1 for _ in open(sys.argv[1]))
for n in range(start, 10**9):
    log.append([{"n": n, "reason": "x" * 20_000}])
    print(n, flush=True)
"""


def test_killed_writer_loses_no_acknowledged_line(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    acknowledged = -1
    for more in (3, 40, 90, 17):
        with running(APPENDER, file) as child:
            assert child.stdout is not None
            for line in child.stdout:
                acknowledged = int(line)
                more -= 1
                if more <= 0:
                    break
            child.kill()
            for line in child.stdout:  # lines printed before the kill
                with contextlib.suppress(ValueError):
                    acknowledged = max(acknowledged, int(line) if line.endswith("\n") else -1)
    LineLog(file).close()
    broken: list[int] = []
    numbers = [record["n"] for record in read_lines(file, broken=broken.append)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > acknowledged >= 100
    assert broken == []
