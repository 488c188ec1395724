"""The audit has no finding on sound files, and every planted defect is found by the right check."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from tests.app.test_ml_trainer import evening, run, settings
from tests.dataset.data_world import CALENDAR, fetched
from tests.settings import label_rules
from trading.app.learn.retrain import learning_settings, retrain
from trading.audit.check import Check
from trading.audit.command import NAMES, REPORT, audit, run_audit
from trading.audit.reference_labels import slow_bars, slow_outcome
from trading.base.clock import SimulatedClock
from trading.base.files import compress_lines, packed_path
from trading.base.market_folders import MarketId, claim
from trading.dataset.dataset import Dataset
from trading.dataset.rows import SymbolRows, header, read_rows_file, rows_lines
from trading.features.session_bars import SessionBars, to_reply
from trading.learning.fitting import fit
from trading.learning.train import train
from trading.market.bars import MINUTE_NS, read_bars_file
from trading.models.predictor import Predictor
from trading.models.store import ModelStore
from trading.records.journal import Journal
from trading.rules.labels import UNKNOWN, outcomes_and_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from config import Settings

SESSIONS = CALENDAR.between(date(2018, 3, 21), date(2018, 3, 28))
MARKET = MarketId("bars-test", "bars made up")
TRADED = SESSIONS[-2]
DAY_NS = 86_400 * 1_000_000_000


def write_history(folders: Settings, model: Any, lines: Callable[[list[dict]], list[dict]] = lambda ones: ones) -> None:
    """The predictions of a trader on `TRADED`, every tenth minute."""
    clock = SimulatedClock(TRADED.open)
    journal = Journal(folders.folders.LOGS_DIR, clock)
    dataset = Dataset(folders.folders.DATA_DIR)
    predictor = Predictor(model, folders.prediction)
    for minute in range(15, TRADED.minutes, 10):
        now = TRADED.open + timedelta(minutes=minute, seconds=2)
        clock.sleep_until(now)
        store = SessionBars(TRADED, dataset.symbols)
        for symbol in dataset.symbols:
            bars = read_bars_file(dataset.bars_path(symbol))
            store.take({symbol: to_reply(bars.between(TRADED.open, now))}, now)
        journal.predictions(lines([p.as_json() for p in predictor.predict(store.windows(), now)]))
    journal.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A dataset, two models and a traded day, all of one market."""
    root = tmp_path_factory.mktemp("audit")
    found = settings(DATA_DIR=root / "data", MODELS_DIR=root / "models", LOGS_DIR=root / "logs")
    for folder in (found.folders.DATA_DIR, found.folders.LOGS_DIR):
        claim(folder, MARKET)
    Dataset(found.folders.DATA_DIR).update(fetched(SESSIONS), label_rules(), source="bars", feed="recorded")
    first, _ = retrain(found.folders.DATA_DIR, found.folders.MODELS_DIR, found, evening(SESSIONS[-3]))
    retrain(found.folders.DATA_DIR, found.folders.MODELS_DIR, found, evening(SESSIONS[-2]), champion=first)
    write_history(found, first)
    return found


# Sound files


def test_sound_files_have_no_finding_and_all_of_them_are_compared(folders: Settings) -> None:
    checks = audit(folders.folders, learning_settings(folders), sessions=6)
    assert [check.told for check in checks] == [[]] * len(checks)
    compared = {check.what.split(":")[0]: check.compared for check in checks}
    assert all(count > 5 for count in compared.values()), compared
    (history,) = (check for check in checks if check.what.startswith("logged predictions"))
    assert history.compared > 150
    assert not history.left_out


def test_the_command_prints_a_table_writes_json_and_exits_with_0_or_1(
    folders: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    arguments = ["--audit", "--env-file", os.devnull]
    for name in ("data", "models", "logs"):
        arguments += [f"--{name}-dir", str(getattr(folders.folders, f"{name.upper()}_DIR"))]
    assert run(*arguments) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("files", "parity", "split", "labels", "no finding"))
    report = json.loads((folders.folders.DATA_DIR / REPORT).read_text())
    assert report["findings"] == 0
    path = folders.folders.DATA_DIR / "AAA.csv"
    sound = path.read_bytes()
    lines = sound.decode().splitlines(keepends=True)
    wins = next(i for i, line in enumerate(lines) if line.endswith(",1\n"))
    lines[wins] = lines[wins][:-2] + "0\n"
    try:
        path.write_text("".join(lines))
        assert run_audit(folders.folders, learning_settings(folders), Console(), only=["files"]) == 1
    finally:
        path.write_bytes(sound)
    report = json.loads((folders.folders.DATA_DIR / REPORT).read_text())
    assert report["findings"] > 0
    assert "AAA.csv: differs from the rows that its bars make" in report["checks"][0]["told"][0]


def test_what_could_not_be_compared_is_counted_with_its_reason(folders: Settings, tmp_path: Path) -> None:
    alone = folders.changed(MODELS_DIR=tmp_path / "none")
    by_name = {
        check.what: check.left_out
        for check in audit(alone.folders, learning_settings(alone), only=["history", "published"])
    }
    reasons = [reason for left_out in by_name.values() for reason in left_out]
    assert "its model is gone (removed, or of other data)" in reasons
    assert "no model was published yet" in reasons
    short = tmp_path / "data"
    claim(short, MARKET)
    Dataset(short).update(fetched(SESSIONS[:-2], ["AAA"]), label_rules(), source="bars", feed="recorded")
    reasons = [
        r
        for check in audit(
            folders.changed(DATA_DIR=short).folders,
            learning_settings(folders.changed(DATA_DIR=short)),
            only=["history"],
        )
        for r in check.left_out
    ]
    assert {"its stock is not in data/", "its session is not in data/"} <= set(reasons)


@pytest.mark.parametrize(("minutes_later", "findings", "left_out"), [(None, 1, 0), (-1, 1, 0), (1, 0, 1)])
def test_a_prediction_may_differ_if_a_bar_of_it_changed_after_it(
    folders: Settings, tmp_path: Path, minutes_later: int | None, findings: int, left_out: int
) -> None:
    logs = tmp_path / "logs"
    shutil.copytree(folders.folders.LOGS_DIR, logs)
    (path,) = logs.glob("predictions_*")
    first, *others = [json.loads(line) for line in path.read_text().splitlines()]
    first["features"][3] += 0.01  # the close of a bar that was completed later
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, *others)))
    if minutes_later is not None:
        at = datetime.fromisoformat(first["timestamp"]) + timedelta(minutes=minutes_later)
        journal = Journal(logs, SimulatedClock(at))
        journal.event("bars_changed", bars=[[first["symbol"], first["bar_time"]]])
        journal.close()
    found = folders.changed(LOGS_DIR=logs)
    (check,) = audit(found.folders, learning_settings(found), only=["history"])
    assert (check.findings, sum(check.left_out.values())) == (findings, left_out)


# Planted defects


def planted(folders: Settings, tmp_path: Path, defect: Callable[[SymbolRows], SymbolRows]) -> Settings:
    """A copy of the data folder in which the rows of AAA have a defect."""
    data = tmp_path / "data"
    shutil.copytree(folders.folders.DATA_DIR, data)
    path = data / "AAA.csv"
    path.write_bytes(header("document") + rows_lines("AAA", defect(read_rows_file(path))))
    return folders.changed(DATA_DIR=data)


def findings(folders: Settings, *names: str) -> dict[str, list[str]]:
    """What each of these checks finds."""
    checks = audit(folders.folders, learning_settings(folders), sessions=40, only=names)
    return dict(zip([name for name in NAMES if name in names], [check.told for check in checks], strict=True))


def shifted(rows: SymbolRows, by: int) -> SymbolRows:
    """The features of each row are those of the row `by` after it."""
    return replace(rows, X=np.roll(rows.X, -by, axis=0))


def held_overnight(rows: SymbolRows) -> SymbolRows:
    """An outcome is replaced by one that only the next session shows."""
    last = np.flatnonzero(np.diff(rows.start) > 600 * MINUTE_NS)
    outcome = rows.outcome.copy()
    outcome[last] = rows.outcome[last] + 1.0
    return replace(rows, outcome=outcome)


def unknown_as_lost(rows: SymbolRows) -> SymbolRows:
    """A row for the last bar of the first session, whose outcome is unknown."""
    last = int(np.flatnonzero(np.diff(rows.start) > 600 * MINUTE_NS)[0])
    start = (rows.start[last] // DAY_NS) * DAY_NS + (20 * 60 - 1) * MINUTE_NS
    return SymbolRows(
        np.insert(rows.start, last + 1, start),
        np.insert(rows.X, last + 1, rows.X[last], axis=0),
        np.insert(rows.outcome, last + 1, -0.2),
        np.insert(rows.label, last + 1, np.int8(0)),
    )


@pytest.mark.parametrize("by", [1, -1])
def test_features_shifted_by_one_bar_are_found(folders: Settings, tmp_path: Path, by: int) -> None:
    changed = planted(folders, tmp_path, lambda rows: shifted(rows, by))
    assert "AAA.csv: differs from the rows that its bars make" in findings(changed, "files")["files"][0]


def test_an_outcome_of_the_next_session_is_found(folders: Settings, tmp_path: Path) -> None:
    found = findings(planted(folders, tmp_path, held_overnight), "files", "labels")
    assert found["files"] and "the reference gives" in found["labels"][0]


def test_an_unknown_outcome_with_a_label_is_found(folders: Settings, tmp_path: Path) -> None:
    told = findings(planted(folders, tmp_path, unknown_as_lost), "labels")["labels"]
    assert any("it has a row, but its outcome or label is unknown" in one for one in told)


def test_damaged_compressed_predictions_are_found(folders: Settings, tmp_path: Path) -> None:
    path = next(folders.folders.LOGS_DIR.glob("predictions_*.jsonl"))
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    compress_lines(copy)
    packed = packed_path(copy)
    assert findings(folders.changed(LOGS_DIR=tmp_path), "history") == {"history": []}
    packed.write_bytes(packed.read_bytes()[:-500])
    (told,) = findings(folders.changed(LOGS_DIR=tmp_path), "history").values()
    assert len(told) == 1 and f"{packed.name}: it is damaged" in told[0]


def test_predictions_of_another_model_are_found(folders: Settings, tmp_path: Path) -> None:
    path = next(folders.folders.LOGS_DIR.glob("predictions_*.jsonl"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    other = f"{evening(SESSIONS[-2]):%Y%m%d_%H%M%S}"
    assert other not in {line["model"] for line in lines}
    (tmp_path / path.name).write_text("".join(json.dumps({**line, "model": other}) + "\n" for line in lines))
    (told,) = findings(folders.changed(LOGS_DIR=tmp_path), "history").values()
    assert "model_probability" in told[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signal", lambda line: 1 - line["signal"]),
        ("meets_threshold", lambda line: not line["meets_threshold"]),
        ("win_probability", lambda line: np.nextafter(line["win_probability"], 1.0)),
        ("features", lambda line: [*line["features"][:-1], np.nextafter(line["features"][-1], 1e9)]),
        ("bar_time", lambda line: line["timestamp"]),
    ],
)
def test_a_history_that_differs_in_one_line_by_one_bit(
    folders: Settings, tmp_path: Path, field: str, value: Callable[[dict], Any]
) -> None:
    lines = next(folders.folders.LOGS_DIR.glob("predictions_*.jsonl")).read_text().splitlines()
    changed = json.loads(lines[50])
    changed[field] = value(changed)
    lines[50] = json.dumps(changed)
    (tmp_path / f"predictions_{TRADED.date}.jsonl").write_text("\n".join(lines) + "\n")
    (check,) = audit(
        folders.changed(LOGS_DIR=tmp_path).folders,
        learning_settings(folders.changed(LOGS_DIR=tmp_path)),
        only=["history"],
    )
    assert check.findings == 1


def test_a_published_scaler_that_was_fitted_on_other_rows(folders: Settings, tmp_path: Path) -> None:
    """As if it had been fitted on all sessions, the newest included."""
    rows = Dataset(folders.folders.DATA_DIR).load(until=evening(SESSIONS[-3]))
    trained = train(rows, learning_settings(folders))
    everything = Dataset(folders.folders.DATA_DIR).load()
    scaler, _ = fit(everything.X, everything.label, learning_settings(folders).training)
    store = ModelStore(tmp_path / "models")
    store.publish(replace(trained, scaler=scaler), now=evening(SESSIONS[-3]), market=MARKET)
    (check,) = audit(
        folders.changed(MODELS_DIR=store.folder).folders,
        learning_settings(folders.changed(MODELS_DIR=store.folder)),
        only=["published"],
    )
    assert "its scaler was not fitted on exactly its own rows" in check.told[0]


# The reference


@pytest.mark.parametrize(("label_kind", "within"), [("profit", 0), ("target_first", 0), ("target_first", 20)])
def test_reference_outcomes_agree_with_the_fast_ones_on_volatile_bars(label_kind: str, within: int) -> None:
    """Gaps over levels, bars that span both, prices around a dollar."""
    random = np.random.default_rng(5)
    rules = replace(label_rules(LABEL=label_kind), label_within_minutes=within)
    for price in (0.98, 1.02, 3.0, 17.0):
        n = 200
        close = price * np.exp(np.cumsum(random.normal(0.0, 0.01, n)))
        open_ = np.round(close * np.exp(random.normal(0.0, 0.02, n)), 4)
        high = np.round(np.maximum(open_, close) * 1.005, 4)
        low = np.round(np.minimum(open_, close) * 0.995, 4)
        start = 60 * 10**9 * np.arange(n, dtype=np.int64)
        flat = 190 * 60 * 10**9
        group = np.zeros(n, dtype=np.int64)
        fast, label = outcomes_and_labels(open_, high, low, start, group, start >= flat, rules)
        bars = slow_bars(start.tolist(), open_.tolist(), high.tolist(), low.tolist())
        for i in range(n):
            slow = slow_outcome(bars, i, flat, rules)
            assert (slow is None) == bool(np.isnan(fast[i]))
            if slow is not None:
                assert slow.outcome == pytest.approx(fast[i], abs=1e-9)
                assert (UNKNOWN if slow.label is None else slow.label) == label[i]


def test_findings_are_counted_and_the_first_are_described() -> None:
    check = Check("split", "what")
    for number in range(100):
        check.expect(number % 2 == 0, f"number {number}")
    assert (check.compared, check.findings, len(check.told)) == (100, 50, 20)
