"""Pausing the entries in single stocks by the file PAUSED, and the control files as a program writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import Settings
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import CALENDAR, TradingWorld, flat
from trading.base.errors import UserError
from trading.execution.control_files import ALL, NOTHING_PAUSED, ControlFiles
from trading.records.log_reader import LogReader
from trading.reports.traded.why import Question, answer

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = flat("09:30", "15:59")


def world(folder: Path, signals: dict[str, dict[str, float]]) -> TradingWorld:
    stocks = {symbol: {MONDAY: DAY} for symbol in ("AAA", "BBB")}
    here = TradingWorld(folder, stocks, ny(MONDAY, "10:30"), signals)
    here.trader.recover()
    return here


def refused(here: TradingWorld) -> list[tuple[str, str]]:
    return [(event["symbol"], event["rule"]) for event in here.events("not_bought")]


def test_a_paused_stock_is_not_bought_its_position_is_managed_and_removing_the_line_resumes(tmp_path: Path) -> None:
    both = {"AAA": 0.8, "BBB": 0.9}
    here = world(tmp_path, {"10:31": {"AAA": 0.8}, "10:36": both, "10:41": {"BBB": 0.9}, "10:51": both})
    here.minutes("10:31", "10:35")
    path = here.controls / "PAUSED"
    path.write_text("# reverse split tomorrow\r\n\r\n  bbb  # mine\r\nAAA\r\n")
    here.broker.cancel(here.trade().stop_order_id or "")
    here.minutes("10:36", "10:43")
    assert refused(here) == [("BBB", "paused"), ("AAA", "paused"), ("BBB", "paused")] and here.held("BBB") == 0
    assert here.held("AAA") == 5 and here.open_orders("AAA") == [("sell", "stop", 9.8)]  # the lost stop is replaced
    assert [event["symbols"] for event in here.events("entries_paused")] == [["AAA", "BBB"]]
    ControlFiles(here.controls).resume("BBB")
    assert path.read_text().splitlines() == ["# reverse split tomorrow", "", "AAA"]
    here.minutes("10:44", "10:53")
    assert here.held("BBB") == 5 and refused(here)[-1] == ("AAA", "paused")
    said = answer(Question.of("BBB", "10:36", None), LogReader(here.folder), CALENDAR, lambda _: Settings.of())
    assert said.kind == "refused" and "not bought: entries in BBB are paused by PAUSED" in said.lines[0]
    here.tick("15:55", "15:56", "15:57")
    assert (here.held("AAA"), here.held("BBB")) == (0, 0)
    here.check_books()


@pytest.mark.parametrize("lines", ["AAA\n", "*\n", "17\n"])
def test_what_is_paused_is_not_called_protected_while_stop_is_there(tmp_path: Path, lines: str) -> None:
    (tmp_path / "PAUSED").write_text(lines)
    controls = ControlFiles(tmp_path)
    assert "stay protected" in (controls.paused() or NOTHING_PAUSED).in_words(stopped=controls.stop_requested)
    controls.stop()
    words = (controls.paused() or NOTHING_PAUSED).in_words(stopped=controls.stop_requested)
    assert "protected" not in words and "no lost stop" in words


@pytest.mark.parametrize("content", [b"AAA,BBB\n", b"AAA\n17\n", b"\xff\xfeA\0", b"A\0B", "ÄÖ".encode(), b"A" * 99_999])
def test_a_file_that_cannot_be_used_pauses_every_stock_and_says_so_once(tmp_path: Path, content: bytes) -> None:
    here = world(tmp_path, {"10:31": {"AAA": 0.8, "BBB": 0.9}, "10:33": {"AAA": 0.8}, "10:36": {"AAA": 0.8}})
    (here.controls / "PAUSED").write_bytes(content)
    here.minutes("10:31", "10:34")
    assert refused(here) == [("BBB", "paused"), ("AAA", "paused"), ("AAA", "paused")]
    (said,) = here.events("entries_paused")
    assert said["symbols"] == [ALL] and "PAUSED cannot be used" in said["note"]
    with pytest.raises(UserError, match="mend it"):
        ControlFiles(here.controls).pause("AAA")
    (here.controls / "PAUSED").unlink()
    here.minutes("10:35", "10:38")
    assert here.held("AAA") == 5 and len(here.events("entries_resumed")) == 1


def unreadable(path: Path) -> None:
    path.symlink_to(path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [Path.mkdir, unreadable, pipe])
def test_what_is_no_file_pauses_every_stock_and_is_never_waited_for(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "PAUSED")
    found = ControlFiles(tmp_path).paused()
    assert found is not None and found.fault and found.refusal("AMD")


SYMBOLS = st.sampled_from(["AMD", "F", "BRK.B", "GME", ALL])
NOISE = st.lists(st.sampled_from(["", "# why", "f", "  brk.b # note", "\t", "*"]), max_size=4)


@settings(max_examples=40)
@given(NOISE, st.lists(st.tuples(st.booleans(), SYMBOLS), max_size=8))
def test_pausing_and_resuming_change_that_stock_alone(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], steps: list[tuple[bool, str]]
) -> None:
    controls = ControlFiles(tmp_path_factory.mktemp("controls"))
    if before:
        (controls.folder / "PAUSED").write_text("\n".join(before))
    found = controls.paused() or NOTHING_PAUSED
    expected = set(found.symbols) | ({ALL} if found.all else set())
    for adds, symbol in steps:
        (controls.pause if adds else controls.resume)(symbol.lower())
        expected = expected | {symbol} if adds else expected - {symbol}
        found = controls.paused() or NOTHING_PAUSED
        assert found.symbols == expected - {ALL} and found.all == (ALL in expected) and not found.fault
        assert all((found.refusal(one) is not None) == (found.all or one in expected) for one in ("AMD", "BRK.B"))
    if (path := controls.folder / "PAUSED").exists():
        assert path.read_text().count("# why") == before.count("# why")


def test_stop_and_flatten_are_set_and_taken_back(tmp_path: Path) -> None:
    controls = ControlFiles(tmp_path / "controls")
    controls.take_back()
    for wanted in (controls.stop, controls.stop, controls.flatten):
        wanted()
    assert controls.stop_requested and controls.flatten_requested
    controls.pause("AMD")
    assert controls.take_back() == ("STOP", "FLATTEN") and controls.take_back() == ()
    (controls.folder / "FLATTEN").symlink_to("nowhere")
    assert controls.flatten_requested and controls.take_back() == ("FLATTEN",)
    assert [path.name for path in controls.folder.iterdir()] == ["PAUSED"]
    for wrong in ("", "# AMD", "AMD F", "AMD\nF", "../x", "A#B", "AMD #", "\u00df", "\ufb00", "\u0131"):
        with pytest.raises(UserError, match="PAUSED"):
            controls.pause(wrong)


PAUSE_FOUR = """
import sys, pathlib
from trading.execution.control_files import ControlFiles
for name in sys.argv[2:]:
    ControlFiles(pathlib.Path(sys.argv[1])).pause(name)
"""


def test_stocks_that_are_paused_at_the_same_time_are_all_paused(tmp_path: Path) -> None:
    names = [f"A{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWX"]
    command = [sys.executable, "-c", PAUSE_FOUR, str(tmp_path)]
    others = [subprocess.Popen([*command, *names[at : at + 4]]) for at in (0, 4)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ControlFiles(tmp_path).pause, names[8:]))
    assert [one.wait() for one in others] == [0, 0]
    found = ControlFiles(tmp_path).paused()
    assert found is not None and found.symbols == set(names) and not found.fault
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ControlFiles(tmp_path).resume, names))
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_is_what_is_true(tmp_path: Path) -> None:
    controls = ControlFiles(tmp_path)
    assert controls.resume("amd") == "Entries in AMD were not paused."
    assert controls.pause("amd") == "Entries in AMD are paused."
    assert controls.pause("AMD") == "Entries in AMD were paused already."
    assert controls.pause("*") == "Entries in every stock are paused."
    assert controls.resume("AMD") == (
        "Entries in AMD stay paused, because * in PAUSED pauses every stock: resume * too."
    )
    assert controls.pause("F") and controls.resume("*").startswith("* is removed from PAUSED; entries in F are paused")
    assert controls.resume("F") == "Entries in F are resumed." and controls.paused() is None


def test_a_symbolic_link_is_written_through_and_one_to_nothing_pauses_every_stock(tmp_path: Path) -> None:
    controls, real = ControlFiles(tmp_path / "controls"), tmp_path / "real" / "list"
    controls.folder.mkdir()
    (controls.folder / "PAUSED").symlink_to(real)
    found = controls.paused()
    assert found is not None and "symbolic link" in found.fault
    with pytest.raises(UserError, match="mend it"):
        controls.pause("AMD")
    real.parent.mkdir(exist_ok=True)
    real.write_text("F\n")
    controls.pause("AMD")
    assert real.read_text() == "F\nAMD\n" and (controls.folder / "PAUSED").is_symlink()
    controls.resume("AMD")
    controls.resume("F")
    assert real.read_text() == "" and controls.paused() == NOTHING_PAUSED


def test_names_that_only_look_like_control_files_are_told_once(tmp_path: Path) -> None:
    here = world(tmp_path, {})
    for name in ("STOP.txt", "paused", "Flatten.TXT", "stopped", "STOP.md"):
        (here.controls / name).touch()
    here.minutes("10:31", "10:33")
    assert [event["file"] for event in here.events("no_control_file")] == ["Flatten.TXT", "STOP.txt", "paused"]
    assert here.events("no_control_file")[1]["note"].startswith("'STOP.txt' is no control file")
