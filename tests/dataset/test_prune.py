"""Old sessions leave a data folder: what stays is what a build of the newer sessions makes, also after a kill."""

from __future__ import annotations

import json
import os
import shutil
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.dataset.data_world import CALENDAR, bars_of, content
from tests.settings import label_rules
from trading.dataset.dataset import Dataset
from trading.dataset.manifest import read_manifest
from trading.dataset.symbol_files import Fetched
from trading.dataset.upkeep.prune import prune_data

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from config import FeatureSet
    from trading.base.calendar import Session

RULES = label_rules()
SESSIONS = CALENDAR.between(date(2018, 3, 1), date(2018, 3, 21))
TODAY = SESSIONS[-1].date
SEEDS = {"AAA": 1, "BBB": 2, "CC.A": 3, "OLD": 4}


def build(folder: Path, sessions: Sequence[Session], feature_set: FeatureSet = "document") -> Dataset:
    """All stocks but OLD, which was last fetched on the third session."""
    dataset = Dataset(folder, CALENDAR)
    for part in (sessions[:3], sessions[3:]):
        names = [name for name in SEEDS if name != "OLD" or part[0].date < SESSIONS[3].date]
        new = {
            name: Fetched(bars_of(part, SEEDS[name], thin=0.1), [one.date for one in part], {"duplicate": 2})
            for name in names
        }
        dataset.update(new, RULES, source="bars", feed="recorded", feature_set=feature_set)
    return dataset


@pytest.mark.parametrize("feature_set", ["document", "relative"])
def test_what_stays_is_what_a_build_of_the_newer_sessions_makes(tmp_path: Path, feature_set: FeatureSet) -> None:
    build(tmp_path / "data", SESSIONS, feature_set)
    for session in SESSIONS:
        (tmp_path / "data" / f"universe_{session.date}.json").write_text("{}")
    done = prune_data(tmp_path / "data", CALENDAR, TODAY, 9, None)
    build(tmp_path / "new", SESSIONS[-9:], feature_set)
    files = {name: data for name, data in content(tmp_path / "data").items() if name.endswith(".csv")}
    assert files == {name: data for name, data in content(tmp_path / "new").items() if name.endswith(".csv")}
    old, new = read_manifest(tmp_path / "data"), read_manifest(tmp_path / "new")
    assert old is not None and new is not None
    shapes = [
        {name: (one.sessions, one.bars, one.rows, one.bars_bytes, one.rows_bytes) for name, one in m.symbols.items()}
        for m in (old, new)
    ]
    assert shapes[0] == shapes[1]
    assert (done.stocks, done.failures) == (["OLD"], [])
    assert done.sessions == 3 + 3 * (len(SESSIONS) - 9)
    assert len(done.universes) == len(SESSIONS) - 9
    before = content(tmp_path / "data")
    assert prune_data(tmp_path / "data", CALENDAR, TODAY, 9, None).sessions == 0
    assert content(tmp_path / "data") == before
    assert Dataset(tmp_path / "data", CALENDAR).missing(["AAA", "OLD"], SESSIONS[-9:]) == {"OLD": SESSIONS[-9:]}


def test_nothing_is_removed_without_need(tmp_path: Path) -> None:
    dataset = build(tmp_path, SESSIONS)
    before = content(tmp_path)
    for keep, needed in ((0, None), (len(SESSIONS), None), (500, None), (9, SESSIONS[0].date), (9, date(2017, 1, 3))):
        done = prune_data(tmp_path, CALENDAR, TODAY, keep, needed)
        assert (done.sessions, done.stocks, content(tmp_path)) == (0, [], before), (keep, needed)
    done = prune_data(tmp_path, CALENDAR, TODAY, 9, SESSIONS[2].date)  # an open trade of the third session
    assert {day for one in dataset.manifest.symbols.values() for day in one.sessions} == {
        str(session.date) for session in SESSIONS[2:]
    }
    assert done.stocks == []
    empty = prune_data(tmp_path / "none", CALENDAR, TODAY, 3, None)
    assert (empty.sessions, (tmp_path / "none").exists()) == (0, False)


def test_files_are_written_again_only_for_a_tenth_of_the_sessions(tmp_path: Path) -> None:
    sessions = CALENDAR.between(date(2018, 1, 2), date(2018, 2, 20))[:32]
    dataset = Dataset(tmp_path, CALENDAR)

    def add(part: Sequence[Session]) -> None:
        new = {"AAA": Fetched(bars_of(part, 1, thin=0.9), [one.date for one in part])}
        dataset.update(new, RULES, source="bars", feed="recorded")

    add(sessions[:22])
    before = (tmp_path / "bars" / "AAA.csv").read_bytes()
    assert prune_data(tmp_path, CALENDAR, TODAY, 21, None).sessions == 0
    assert (tmp_path / "bars" / "AAA.csv").read_bytes() == before
    add(sessions[22:23])
    assert prune_data(tmp_path, CALENDAR, TODAY, 21, None).sessions == 2
    assert len(dataset.manifest.symbols["AAA"].sessions) == 21


def test_a_replay_of_the_past_counts_no_session_that_it_has_not_reached(tmp_path: Path) -> None:
    dataset = build(tmp_path, SESSIONS)
    for number, left in ((8, 0), (9, 1)):
        done = prune_data(tmp_path, CALENDAR, SESSIONS[number].date, 9, None)
        days = {day for one in dataset.manifest.symbols.values() for day in one.sessions}
        assert days == {str(session.date) for session in SESSIONS[left:]}
        assert (done.sessions > 0) == (left > 0)


class Killed(BaseException):
    """The process ends here."""


def test_a_kill_at_any_step_loses_nothing_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "whole", SESSIONS)
    rows = Dataset(tmp_path / "whole", CALENDAR).load(sessions=9)
    shutil.copytree(tmp_path / "whole", tmp_path / "pruned")
    prune_data(tmp_path / "pruned", CALENDAR, TODAY, 9, None)
    final = content(tmp_path / "pruned")
    real_replace, real_unlink = os.replace, type(tmp_path).unlink
    steps = 0
    for at in range(100):
        folder = tmp_path / f"killed{at}"
        shutil.copytree(tmp_path / "whole", folder)
        left = [at]

        def step(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        def replace(*names: Any) -> None:
            step()
            real_replace(*names)

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if path.suffix == ".csv":
                step()
            real_unlink(path, missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            patch.setattr(type(tmp_path), "unlink", unlink)
            try:
                prune_data(folder, CALENDAR, TODAY, 9, None)
                break
            except Killed:
                steps += 1
        left_over = Dataset(folder, CALENDAR).load(sessions=9)
        assert left_over.X.tobytes() == rows.X.tobytes() and np.array_equal(left_over.start, rows.start), at
        assert Dataset(folder, CALENDAR).missing(["AAA", "BBB", "CC.A"], SESSIONS[-9:]) == {}
        prune_data(folder, CALENDAR, TODAY, 9, None)
        new = {"AAA": Fetched(bars_of(SESSIONS[-1:], 1, thin=0.1), [SESSIONS[-1].date])}  # replaces the same bars
        Dataset(folder, CALENDAR).update(new, RULES, source="bars", feed="recorded")
        for name in ("AAA.csv", "bars/AAA.csv"):
            assert content(folder)[name] == final[name], at
    assert steps >= 9  # three writes of the manifest, two files of three stocks and of the removed one


def test_a_file_that_cannot_be_removed_is_named_and_tried_again(tmp_path: Path) -> None:
    build(tmp_path, SESSIONS)
    (tmp_path / "OLD.csv").unlink()
    (tmp_path / "OLD.csv").mkdir()  # whoever tests is root, so permissions would not do
    (tmp_path / "universe_2018-02-28.json").mkdir()
    (tmp_path / "universe_2018-03-21.json").write_text("{}")
    done = prune_data(tmp_path, CALENDAR, TODAY, 9, None)
    assert [line.split(": ")[:2] for line in done.failures] == [
        [str(tmp_path / "OLD.csv"), "cannot be removed"],
        [str(tmp_path / "universe_2018-02-28.json"), "cannot be removed"],
    ]
    assert all("\n" not in line for line in done.failures)
    assert done.stocks == [] and Dataset(tmp_path, CALENDAR).symbols == ("AAA", "BBB", "CC.A")
    assert len(Dataset(tmp_path, CALENDAR).load()) > 0
    (tmp_path / "OLD.csv").rmdir()
    assert prune_data(tmp_path, CALENDAR, TODAY, 8, None).stocks == ["OLD"]
    assert "OLD" not in json.loads((tmp_path / "dataset.json").read_text())["symbols"]
