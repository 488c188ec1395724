"""The dataset: rows without look-ahead, files that survive a kill, loading as of an instant."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.data_world import AROUND_CLOCK_CHANGE, CALENDAR, STOCKS, WITH_HALF_DAY, bars_of, content, fetched
from tests.settings import label_rules
from trading.base.errors import DataError
from trading.dataset.dataset import Dataset, Rows, _gathered
from trading.dataset.manifest import read_manifest
from trading.dataset.rows import SymbolRows, distinct_days, rows_of
from trading.dataset.symbol_files import Fetched
from trading.features.document import FEATURES, features
from trading.features.minute_grid import on_minutes
from trading.market.bars import MINUTE_NS, Bars, check_bars, read_bars_file, to_ns
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trading.base.calendar import Session

RULES = label_rules()
TIGHT = label_rules(STOP_LOSS_PCT=0.004, TAKE_PROFIT_PCT=0.008)
SESSIONS = AROUND_CLOCK_CHANGE
US_2018 = Path(__file__).parents[3] / "shared" / "bars" / "us-2018"


def build(
    folder: Path, steps: Sequence[Sequence[Session]], rules: LabelRules = RULES, symbols: Sequence[str] = tuple(STOCKS)
) -> Dataset:
    dataset = Dataset(folder, CALENDAR)
    for sessions in steps:
        dataset.update(fetched(sessions, symbols), rules, source="bars", feed="recorded")
    return dataset


def same(one: SymbolRows | Rows, other: SymbolRows | Rows) -> bool:
    names = ("start", "X", "outcome", "label")
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names)


# Rows


@pytest.mark.parametrize("sessions", [AROUND_CLOCK_CHANGE, WITH_HALF_DAY], ids=["change of clocks", "half day"])
def test_a_row_needs_a_whole_window_and_a_known_outcome(sessions: list[Session]) -> None:
    bars = bars_of(sessions, 1, thin=0.3)
    rows = rows_of(bars, CALENDAR, RULES)
    seen = dict(zip(rows.start.tolist(), range(len(rows)), strict=True))
    for session in sessions:
        day = bars.between(session.open, session.close)
        flatten = to_ns(session.flatten_at(RULES.flatten_minutes))
        for i in range(len(day)):
            start = int(day.start[i])
            entered = i + 1 < len(day) and day.start[i + 1] < min(flatten, start + 6 * MINUTE_NS)
            whole = start - day.start[0] >= 19 * MINUTE_NS
            assert (start in seen) == (whole and entered and day.start[-1] >= flatten), (session.date, i)
            if start in seen and i % 40 == 0:
                window = on_minutes(day.take(slice(0, i + 1)), np.zeros(i + 1, np.int64))[0].take(slice(-20, None))
                alone = features(window.open, window.high, window.low, window.close, window.volume)
                assert rows.X[seen[start]].tobytes() == alone.tobytes()
    assert set(rows.label.tolist()) == {0, 1}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.floats(0.0, 0.5))
def test_no_row_depends_on_later_bars(cut: int, seed: int, thin: float) -> None:
    bars = bars_of(WITH_HALF_DAY, seed, thin=thin)
    cut %= len(bars) + 1
    whole = rows_of(bars, CALENDAR, TIGHT)
    known = rows_of(bars.take(slice(0, cut)), CALENDAR, TIGHT)
    # Rows known at the cut never change; only rows whose outcome was still open are missing.
    there = np.isin(whole.start, known.start)
    kept = SymbolRows(whole.start[there], whole.X[there], whole.outcome[there], whole.label[there])
    assert same(kept, known)
    resolved = whole.start < (to_ns(WITH_HALF_DAY[0].open) if cut == 0 else _last_close_before(bars, cut))
    assert there[resolved].all()


def _last_close_before(bars: Bars, cut: int) -> int:
    """The open of the session that contains the cut; all sessions before it are complete."""
    last = int(bars.start[cut - 1])
    return max(to_ns(session.open) for session in WITH_HALF_DAY if to_ns(session.open) <= last)


def test_no_bars_make_no_rows() -> None:
    assert len(rows_of(Bars.empty(), CALENDAR, RULES)) == 0
    assert rows_of(bars_of(SESSIONS[:1], 1).take(slice(0, 5)), CALENDAR, RULES).X.shape == (0, 11)


# Files


def test_the_format_of_the_files(tmp_path: Path) -> None:
    dataset = build(tmp_path, [SESSIONS])
    lines = (tmp_path / "AAA.csv").read_text().splitlines()
    assert lines[0] == ",".join(["symbol", "timestamp", *FEATURES, "outcome_after_cost", "label"])
    assert lines[1].startswith("AAA,2018-03-07T14:49:00Z,")  # the 20th bar, before the clocks went forward
    assert any(line.startswith("AAA,2018-03-12T13:49:00Z,") for line in lines)
    assert lines[1][-2:] in (",0", ",1")
    record = dataset.manifest.symbols["AAA"]
    assert record.sessions == tuple(session.date.isoformat() for session in SESSIONS)
    assert (record.bars, record.rows) == (390 * len(SESSIONS), len(lines) - 1)
    assert read_bars_file(tmp_path / "bars" / "CC.A.csv").equals(fetched(SESSIONS)["CC.A"].bars)


ORDERS: dict[str, Callable[[list[Session]], list[list[Session]]]] = {
    "one by one": lambda s: [[one] for one in s],
    "newest first": lambda s: [[one] for one in reversed(s)],
    "a hole is filled": lambda s: [s[:2], s[4:], s[2:4]],
    "one comes twice": lambda s: [s[:4], s[2:]],
    "nothing new": lambda s: [s, []],
}


@pytest.mark.parametrize("order", ORDERS)
def test_several_updates_give_the_same_bytes_as_one(tmp_path: Path, order: str) -> None:
    build(tmp_path / "whole", [SESSIONS])
    build(tmp_path / "pieces", ORDERS[order](SESSIONS))
    assert content(tmp_path / "pieces") == content(tmp_path / "whole")


def test_changed_rules_make_the_rows_again_from_the_bars_on_disk(tmp_path: Path) -> None:
    build(tmp_path / "fresh", [SESSIONS], TIGHT)
    dataset = build(tmp_path / "changed", [SESSIONS], RULES)
    assert dataset.is_stale(TIGHT)
    dataset.update({}, TIGHT, source="bars", feed="recorded")
    assert not dataset.is_stale(TIGHT)
    assert content(tmp_path / "changed") == content(tmp_path / "fresh")


def test_a_session_without_bars_counts_as_fetched_and_leaves_no_file(tmp_path: Path) -> None:
    dataset = build(tmp_path, [SESSIONS])
    quiet = Fetched(Bars.empty(), [session.date for session in SESSIONS])
    dataset.update({"QQQ": quiet}, RULES, source="bars", feed="recorded")
    assert dataset.missing(["QQQ", "AAA", "NEW"], SESSIONS) == {"NEW": SESSIONS}
    assert "QQQ" not in dataset.symbols
    assert not list(tmp_path.rglob("QQQ*"))
    dataset.load()


def test_the_sessions_of_a_deleted_bars_file_are_missing(tmp_path: Path) -> None:
    dataset = build(tmp_path, [SESSIONS])
    before = content(tmp_path)
    dataset.bars_path("BBB").unlink()
    assert dataset.missing(list(STOCKS), SESSIONS) == {"BBB": SESSIONS}
    build(tmp_path, [SESSIONS], symbols=["BBB"])
    assert content(tmp_path) == before


def test_left_out_bars_are_counted_in_the_manifest(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path, CALENDAR)
    for session, count in zip(SESSIONS[:2], (3, 4), strict=True):
        new = Fetched(bars_of([session], 1), [session.date], {"duplicate": count})
        dataset.update({"AAA": new}, RULES, source="bars", feed="recorded")
    assert dataset.manifest.symbols["AAA"].left_out == {"duplicate": 7}


# A kill

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.dataset.data_world import AROUND_CLOCK_CHANGE, CALENDAR, fetched
from trading.dataset.dataset import Dataset
from tests.settings import label_rules

folder, stop, target, left = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
replace = os.replace

def dying(source, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    replace(source, target)

os.replace = dying
rules = label_rules(STOP_LOSS_PCT=stop, TAKE_PROFIT_PCT=target)
Dataset(folder, CALENDAR).update(fetched(AROUND_CLOCK_CHANGE[4:]), rules, source="bars", feed="recorded")
"""


@pytest.mark.parametrize("kind", ["session", "rules"])
@pytest.mark.parametrize("renames", [0, 1, 2, 5])
def test_a_killed_update_leaves_a_readable_folder_that_the_next_one_completes(
    tmp_path: Path, kind: str, renames: int
) -> None:
    rules = TIGHT if kind == "rules" else RULES
    folder = tmp_path / "killed"
    before = build(folder, [SESSIONS[:4]]).load()
    if kind == "rules" and renames > 0:  # after the first rename the manifest has the new rules
        before = build(tmp_path / "before", [SESSIONS[:4]], rules).load()
    command = [sys.executable, "-c", KILLED, str(folder), str(rules.stop_loss), str(rules.take_profit), str(renames)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert same(Dataset(folder, CALENDAR).load(), before)
    assert Dataset(folder, CALENDAR).missing(list(STOCKS), SESSIONS) == dict.fromkeys(STOCKS, SESSIONS[4:])
    build(folder, [SESSIONS[4:]], rules)
    build(tmp_path / "whole", [SESSIONS], rules)
    assert content(folder) == content(tmp_path / "whole")


# Loading


def test_loaded_rows_are_complete_sorted_and_typed(tmp_path: Path) -> None:
    dataset = build(tmp_path, [SESSIONS])
    rows = dataset.load()
    assert rows.symbols == dataset.symbols == ("AAA", "BBB", "CC.A")
    assert (rows.X.dtype, rows.X.shape[1], rows.X.flags.c_contiguous) == (np.float64, 11, True)
    assert (rows.start.dtype, rows.label.dtype, rows.session.dtype) == (np.int64, np.int8, np.dtype("M8[D]"))
    order = list(zip(rows.session.tolist(), rows.symbol.tolist(), rows.start.tolist(), strict=True))
    assert order == sorted(order)
    assert rows.sessions.tolist() == [session.date for session in SESSIONS]
    for code, symbol in enumerate(rows.symbols):
        alone = rows.take(rows.symbol == code)
        assert same(alone, rows_of(fetched(SESSIONS)[symbol].bars, CALENDAR, RULES))


def test_until_leaves_out_sessions_that_had_not_closed(tmp_path: Path) -> None:
    dataset = build(tmp_path, [SESSIONS])
    third = SESSIONS[2]
    for until, count in ((third.close, 3), (third.close - timedelta(seconds=1), 2), (SESSIONS[-1].close, 6)):
        assert dataset.load(until=until).sessions.tolist() == [session.date for session in SESSIONS[:count]]
    fresh = build(tmp_path / "fresh", [SESSIONS[:3]])
    assert same(dataset.load(until=third.close), fresh.load())
    with pytest.raises(DataError, match="no session with rows had closed"):
        dataset.load(until=SESSIONS[0].open)


def test_the_newest_sessions_are_loaded(tmp_path: Path) -> None:
    dataset = build(tmp_path, [SESSIONS])
    assert dataset.load(sessions=2).sessions.tolist() == [session.date for session in SESSIONS[-2:]]
    both = dataset.load(until=SESSIONS[3].close, sessions=2)
    assert both.sessions.tolist() == [session.date for session in SESSIONS[2:4]]
    assert len(dataset.load(sessions=100)) == len(dataset.load())


def test_an_empty_folder_is_refused_with_a_remedy(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"no dataset here; run python build_dataset\.py first"):
            Dataset(folder, CALENDAR).load()


def edited(number: int, field: str, value: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        lines = text.splitlines()
        cells = lines[number - 1].split(",")
        cells[lines[0].split(",").index(field)] = value
        lines[number - 1] = ",".join(cells)
        return "\n".join(lines) + "\n"

    return change


DAMAGE = {
    "empty": (lambda text: "", "is empty"),
    "header only": (lambda text: text.splitlines()[0] + "\n", "holds only a header"),
    "no header": (lambda text: text.split("\n", 1)[1], "column 'symbol' is missing"),
    "half a line": (lambda text: text[: text.rindex(",", 0, -20)], "cannot be read"),
    "a word": (edited(5, "VWAP", "high"), "line 5: VWAP is 'high'; write a plain number"),
    "no number": (edited(6, "MACD", ""), "line 6: MACD is nan"),
    "infinite": (edited(7, "outcome_after_cost", "inf"), "line 7: outcome_after_cost is inf"),
    "label 2": (edited(8, "label", "2"), "line 8: label is 2"),
    "no label": (edited(8, "label", ""), "line 8: label is nan"),
    "label yes": (edited(9, "label", "yes"), "line 9: label is 'yes'; write 0 or 1"),
    "other symbol": (edited(9, "symbol", "B"), "symbol is 'B', not 'AAA'"),
    "no time": (edited(9, "timestamp", "noon"), "line 9: timestamp is 'noon'"),
    "a line less": (lambda text: text[: text.rindex("\n", 0, -1) + 1], "rows, dataset.json says"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_reported_in_one_line(tmp_path: Path, kind: str) -> None:
    dataset = build(tmp_path, [SESSIONS[:1]])
    change, expected = DAMAGE[kind]
    path = dataset.rows_path("AAA")
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError) as caught:
        dataset.load()
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_damaged_manifest_are_reported(tmp_path: Path) -> None:
    dataset = build(tmp_path, [SESSIONS[:1]])
    dataset.rows_path("AAA").unlink()
    with pytest.raises(DataError, match=r"AAA\.csv: no such file"):
        dataset.load()
    manifest = tmp_path / "dataset.json"
    manifest.write_text(manifest.read_text().replace('"stop_loss": 0.02', '"stop_loss": "two"'))
    with pytest.raises(DataError, match=r"dataset\.json: stop_loss is damaged"):
        dataset.load()
    manifest.write_text("{")
    with pytest.raises(DataError, match="delete it and run python"):
        dataset.load()


@pytest.mark.skipif(not US_2018.is_dir(), reason="recorded bars of us-2018 are not here")
def test_recorded_bars_make_a_dataset(tmp_path: Path) -> None:
    sessions = CALENDAR.between(date(2018, 2, 16), date(2018, 4, 2))
    new = {}
    for symbol in ("AMD", "CPN", "PBR.A"):
        bars, left_out = check_bars(read_bars_file(US_2018 / f"{symbol}.csv.gz"), sessions)
        assert left_out == {}
        new[symbol] = Fetched(bars, [session.date for session in sessions])
    dataset = Dataset(tmp_path, CALENDAR)
    dataset.update(new, RULES, source="bars", feed="recorded")
    rows = dataset.load()
    assert rows.symbols == ("AMD", "CPN", "PBR.A")
    assert len(rows) == sum(record.rows for record in dataset.manifest.symbols.values()) > 20_000
    assert 0.1 < rows.label.mean() < 0.9
    shutil.rmtree(tmp_path / "bars")
    assert same(dataset.load(), rows)


def test_the_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = build(tmp_path, [SESSIONS]).manifest
    assert read_manifest(tmp_path) == manifest
    assert manifest.rules == RULES
    assert not replace(manifest, lookback=30).made_with(RULES)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_features_are_gathered_in_any_order_and_may_be_left_out(lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    parts = [random.random((length, 2)) for length in lengths]
    order = random.permutation(sum(lengths))[: random.integers(0, sum(lengths) + 1)]
    assert np.array_equal(_gathered(parts, order), np.concatenate(parts)[order])


@given(st.lists(st.integers(0, 3), max_size=20))
def test_the_distinct_days_are_those_of_numpy_in_any_order(days: list[int]) -> None:
    session = np.array(days, dtype="datetime64[D]")
    assert np.array_equal(distinct_days(session), np.unique(session))
