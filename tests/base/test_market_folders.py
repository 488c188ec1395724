"""Market folders: one market and one writer per folder, and no file lost in a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.base.errors import UserError
from trading.base.market_folders import FolderBusy, MarketId, claim, lock, market_of, when_free

PROJECT = Path(__file__).resolve().parents[2]
REAL = MarketId("alpaca-iex", "Alpaca, feed iex")
BARS = MarketId("bars-us-2018-1a2b3c4d", "recorded bars of us-2018")
GENERATED = MarketId("generated-1-60-0.5", "a generated market (seed 1)", generated=True)


def test_claim_creates_the_folder_and_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    assert market_of(folder) is None
    assert claim(folder, GENERATED) is None
    assert market_of(folder) == GENERATED
    (folder / "AMD.csv").write_text("1")
    assert claim(folder, GENERATED) is None
    assert sorted(os.listdir(folder)) == ["AMD.csv", "market.json"]
    assert os.listdir(folder.parent) == ["data"]


def test_folder_of_another_market_is_renamed_and_later_restored(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    claim(folder, GENERATED)
    (folder / "AMD.csv").write_text("generated")
    assert claim(folder, REAL) == ("data/ held a generated market (seed 1): renamed to data.generated-1-60-0.5/")
    assert os.listdir(folder) == ["market.json"]
    (folder / "AMD.csv").write_text("real")
    assert claim(folder, GENERATED) == "data/ held Alpaca, feed iex: renamed to data.alpaca-iex/"
    assert (folder / "AMD.csv").read_text() == "generated"
    assert (tmp_path / "data.alpaca-iex" / "AMD.csv").read_text() == "real"
    assert sorted(os.listdir(tmp_path)) == ["data", "data.alpaca-iex"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([REAL, BARS, GENERATED]), min_size=1, max_size=8))
def test_each_market_finds_exactly_its_own_files_in_any_order(markets: list[MarketId]) -> None:
    written: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "models"
        for n, market in enumerate(markets):
            claim(folder, market)
            mine = written.setdefault(market.slug, [])
            assert sorted(os.listdir(folder)) == sorted([*mine, "market.json"])
            (folder / f"{n}.pkl").write_text(market.slug)
            mine.append(f"{n}.pkl")


def test_empty_folder_is_claimed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    claim(tmp_path / "logs", REAL)
    assert market_of(tmp_path / "logs") == REAL


def test_empty_folder_does_not_prevent_the_restore(tmp_path: Path) -> None:
    claim(tmp_path / "data", REAL)
    (tmp_path / "data" / "AMD.csv").write_text("real")
    (tmp_path / "data").rename(tmp_path / "data.alpaca-iex")  # killed between the two renames
    (tmp_path / "data").mkdir()
    claim(tmp_path / "data", REAL)
    assert (tmp_path / "data" / "AMD.csv").read_text() == "real"
    assert os.listdir(tmp_path) == ["data"]


def test_temporary_marker_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".market.json.4711-1.tmp").write_text('{"slug": "al')
    claim(tmp_path / "data", REAL)
    assert os.listdir(tmp_path / "data") == ["market.json"]


def test_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    home = tmp_path / "photos"
    home.mkdir()
    (home / "cat.jpg").write_text("meow")
    with pytest.raises(UserError, match=r"photos holds files but no market\.json"):
        claim(home, REAL)
    assert os.listdir(home) == ["cat.jpg"]
    assert os.listdir(tmp_path) == ["photos"]


def test_two_folders_of_one_market_are_not_mixed(tmp_path: Path) -> None:
    claim(tmp_path / "data", REAL)
    claim(tmp_path / "data.alpaca-iex", REAL)
    with pytest.raises(UserError, match=r"data holds alpaca-iex and .*data\.alpaca-iex exists too"):
        claim(tmp_path / "data", BARS)
    assert market_of(tmp_path / "data") == REAL


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"slug": "a"}', '{"slug": "a", "description": "b", "c": 1}', "\x80"]
)
def test_damaged_marker_is_reported_and_nothing_is_moved(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "market.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"market\.json: damaged .* move .*data away and run again"):
        claim(folder, REAL)
    assert os.listdir(tmp_path) == ["data"]


def test_file_instead_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises((NotADirectoryError, FileExistsError)):
        claim(tmp_path / "data", REAL)


def test_marker_records_that_a_market_is_generated(tmp_path: Path) -> None:
    claim(tmp_path / "data", GENERATED)
    marker = json.loads((tmp_path / "data" / "market.json").read_text())
    assert marker == {"slug": "generated-1-60-0.5", "description": "a generated market (seed 1)", "generated": True}


# --- locks -----------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from trading.base.market_folders import lock
held = lock(Path(sys.argv[1]), "trader")
print("held", flush=True)
sys.stdin.read()
"""


def test_other_process_is_refused_until_the_holder_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="logs: another trader is using it"):
            lock(folder, "trader")
        lock(folder, "dataset build").release()  # a different lock on the same folder
        lock(tmp_path / "other", "trader").release()
    finally:
        child.kill()
        child.communicate()
    lock(folder, "trader").release()


def test_a_call_that_needs_a_lock_waits_for_it_as_long_as_is_said_or_until_it_is_stopped(tmp_path: Path) -> None:
    held = lock(tmp_path / "models", "trainer")
    for seconds, is_stopping in ((0.0, lambda: False), (60.0, lambda: True)):
        with pytest.raises(FolderBusy, match="another trainer"):
            when_free(lambda: lock(tmp_path / "models", "trainer"), seconds, is_stopping)
    threading.Timer(0.5, held.release).start()
    when_free(lambda: lock(tmp_path / "models", "trainer"), 60.0).release()


def test_lock_is_exclusive_within_a_process_until_released(tmp_path: Path) -> None:
    held = lock(tmp_path / "models", "trainer")
    with pytest.raises(UserError, match="another trainer"):
        lock(tmp_path / "models", "trainer")
    held.release()
    lock(tmp_path / "models", "trainer").release()


def test_lock_survives_renaming_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    held = lock(folder, "dataset build")
    claim(folder, GENERATED)
    claim(folder, REAL)
    with pytest.raises(UserError, match="another dataset build"):
        lock(folder, "dataset build")
    held.release()


def test_a_folder_has_one_lock_by_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk" / "logs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "logs")
    (tmp_path / "link-to-link").symlink_to("link")
    (tmp_path / "parent").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path)
    names = ("disk/logs", "link", "link-to-link", "parent/logs", "disk/../disk/./logs", str(tmp_path / "link"))
    for name in names:
        held = lock(Path(name), "trader")
        for other in names:
            with pytest.raises(UserError, match="another trader is using it"):
                lock(Path(other), "trader")
        held.release()


def test_a_link_to_a_folder_that_is_not_there_yet_is_locked_as_that_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "logs")
    held = lock(tmp_path / "link", "trader")
    with pytest.raises(UserError, match="another trader"):
        lock(tmp_path / "disk" / "logs", "trader")
    assert claim(tmp_path / "link", REAL) is None and market_of(tmp_path / "disk" / "logs") == REAL
    held.release()


def test_the_lock_holds_while_a_linked_folder_changes_its_market(tmp_path: Path) -> None:
    claim(tmp_path / "disk" / "logs", GENERATED)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "logs")
    held = lock(tmp_path / "link", "trader")
    claim(tmp_path / "link", REAL)
    assert market_of(tmp_path / "link") == REAL and market_of(tmp_path / "disk" / "logs.generated-1-60-0.5")
    for name in ("link", "disk/logs"):
        with pytest.raises(UserError, match="another trader"):
            lock(tmp_path / name, "trader")
    held.release()


CONTENDER = """
import os, sys
from pathlib import Path
from trading.base.errors import UserError
from trading.base.market_folders import lock
folder, mark = Path(sys.argv[1]), Path(sys.argv[1] + ".mark")
taken = 0
while taken < 150:
    try:
        held = lock(folder, "trader")
    except UserError:
        continue
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails if another one is inside
    mark.unlink()
    held.release()
    taken += 1
"""


def test_a_released_lock_leaves_no_file_and_never_lets_two_in(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONTENDER, str(tmp_path / "logs")]
    contenders = [subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(one.communicate()[1], one.returncode) for one in contenders] == 3 * [("", 0)]
    assert os.listdir(tmp_path) == []


def test_links_in_a_circle_are_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="symbolic links lead in a circle"):
        lock(tmp_path / "a", "trader")
