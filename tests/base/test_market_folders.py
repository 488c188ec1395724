"""One market a folder, one writer a folder, and no step at which a crash loses a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.base.errors import UserError
from trading.base.market_folders import MarketId, claim, lock, market_of

PROJECT = Path(__file__).resolve().parents[2]
REAL = MarketId("alpaca-iex", "Alpaca, feed iex")
BARS = MarketId("bars-us-2018-1a2b3c4d", "recorded bars of us-2018")
MADE_UP = MarketId("generated-1-60-0.5", "a generated market (seed 1)", generated=True)


def test_a_folder_is_made_for_its_market_and_stays_its(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    assert market_of(folder) is None
    assert claim(folder, MADE_UP) is None
    assert market_of(folder) == MADE_UP
    (folder / "AMD.csv").write_text("1")
    assert claim(folder, MADE_UP) is None
    assert sorted(os.listdir(folder)) == ["AMD.csv", "market.json"]
    assert os.listdir(folder.parent) == ["data"]


def test_another_market_s_folder_is_put_aside_whole_and_taken_back(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    claim(folder, MADE_UP)
    (folder / "AMD.csv").write_text("generated")
    assert claim(folder, REAL) == ("data/ held a generated market (seed 1): put aside as data.generated-1-60-0.5/")
    assert os.listdir(folder) == ["market.json"]
    (folder / "AMD.csv").write_text("real")
    assert claim(folder, MADE_UP) == "data/ held Alpaca, feed iex: put aside as data.alpaca-iex/"
    assert (folder / "AMD.csv").read_text() == "generated"
    assert (tmp_path / "data.alpaca-iex" / "AMD.csv").read_text() == "real"
    assert sorted(os.listdir(tmp_path)) == ["data", "data.alpaca-iex"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([REAL, BARS, MADE_UP]), min_size=1, max_size=8))
def test_whatever_the_order_each_market_finds_all_of_its_files_and_no_other_s(markets: list[MarketId]) -> None:
    written: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "models"
        for n, market in enumerate(markets):
            claim(folder, market)
            mine = written.setdefault(market.slug, [])
            assert sorted(os.listdir(folder)) == sorted([*mine, "market.json"])
            (folder / f"{n}.pkl").write_text(market.slug)
            mine.append(f"{n}.pkl")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    claim(tmp_path / "logs", REAL)
    assert market_of(tmp_path / "logs") == REAL


def test_an_empty_folder_does_not_keep_the_one_put_aside_from_coming_back(tmp_path: Path) -> None:
    claim(tmp_path / "data", REAL)
    (tmp_path / "data" / "AMD.csv").write_text("real")
    (tmp_path / "data").rename(tmp_path / "data.alpaca-iex")  # killed between the two renames
    (tmp_path / "data").mkdir()
    claim(tmp_path / "data", REAL)
    assert (tmp_path / "data" / "AMD.csv").read_text() == "real"
    assert os.listdir(tmp_path) == ["data"]


def test_a_marker_that_a_killed_process_was_writing_is_no_stranger_s_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".market.json.4711-1.tmp").write_text('{"slug": "al')
    claim(tmp_path / "data", REAL)
    assert os.listdir(tmp_path / "data") == ["market.json"]


def test_somebody_else_s_folder_is_left_alone(tmp_path: Path) -> None:
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
def test_a_damaged_marker_is_named_and_nothing_is_moved(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "market.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"market\.json: damaged .* move .*data away and run again"):
        claim(folder, REAL)
    assert os.listdir(tmp_path) == ["data"]


def test_a_file_in_a_folder_s_place_is_an_error_that_the_command_line_explains(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises((NotADirectoryError, FileExistsError)):
        claim(tmp_path / "data", REAL)


def test_the_marker_says_that_a_market_is_generated(tmp_path: Path) -> None:
    claim(tmp_path / "data", MADE_UP)
    said = json.loads((tmp_path / "data" / "market.json").read_text())
    assert said == {"slug": "generated-1-60-0.5", "description": "a generated market (seed 1)", "generated": True}


# --- locks -----------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from trading.base.market_folders import lock
held = lock(Path(sys.argv[1]), "trader")
print("held", flush=True)
sys.stdin.read()
"""


def test_another_process_is_refused_until_the_holder_dies_by_kill_9(tmp_path: Path) -> None:
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
        with pytest.raises(UserError, match="logs: another trader is at work on it"):
            lock(folder, "trader")
        lock(folder, "dataset build").release()  # another right on the same folder
        lock(tmp_path / "other", "trader").release()
    finally:
        child.kill()
        child.communicate()
    lock(folder, "trader").release()


def test_the_right_is_free_again_once_released_and_is_not_shared_within_a_process(tmp_path: Path) -> None:
    held = lock(tmp_path / "models", "trainer")
    with pytest.raises(UserError, match="another trainer"):
        lock(tmp_path / "models", "trainer")
    held.release()
    lock(tmp_path / "models", "trainer").release()


def test_the_right_survives_the_folder_s_being_put_aside(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    held = lock(folder, "dataset build")
    claim(folder, MADE_UP)
    claim(folder, REAL)
    with pytest.raises(UserError, match="another dataset build"):
        lock(folder, "dataset build")
    held.release()
