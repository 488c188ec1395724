"""The audit: clean on a pipeline that is sound, and every planted defect is caught, and by the check that should."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.preprocessing import StandardScaler

from tests.app.test_ml_trainer import evening, run, settings
from tests.dataset.data_world import CALENDAR, STOCKS, bars_of, fetched
from tests.settings import label_rules
from trading.app.retrain import learning_settings, retrain
from trading.audit.checks import Amount
from trading.audit.command import REPORT, audit, run_audit
from trading.audit.data import Check, Pipeline, live_vectors
from trading.audit.reference_labels import slow_bars, slow_outcome
from trading.base.clock import SimulatedClock
from trading.base.market_folders import MarketId, claim
from trading.dataset.dataset import Dataset
from trading.dataset.rows import SymbolRows, rows_of, sessions_around
from trading.features.document import LOOKBACK_BARS
from trading.features.session_bars import SessionBars
from trading.learning.train import train
from trading.market.bars import MINUTE_NS, Bars, session_numbers, to_ns
from trading.models.predictor import Predictor
from trading.records.journal import Journal
from trading.rules.exits import labels, outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from config import Settings
    from trading.base.calendar import MarketCalendar, Session
    from trading.dataset.manifest import LabelRules

SESSIONS = CALENDAR.between(date(2018, 3, 21), date(2018, 3, 28))
MARKET = MarketId("bars-test", "bars made up")
TRADED = SESSIONS[-2]
FEW = Amount(cuts=6, sessions=6, minutes=4)


def write_history(folders: Settings, model: Any, lines: Callable[[list[dict]], list[dict]] = lambda ones: ones) -> None:
    """What a trader would have written on `TRADED`, every tenth minute."""
    clock = SimulatedClock(TRADED.open)
    journal = Journal(folders.folders.LOGS_DIR, clock)
    dataset = Dataset(folders.folders.DATA_DIR)
    predictor = Predictor(model, folders.prediction)
    for minute in range(15, TRADED.minutes, 10):
        now = TRADED.open + timedelta(minutes=minute, seconds=2)
        clock.sleep_until(now)
        store = SessionBars(TRADED, dataset.symbols)
        for symbol in dataset.symbols:
            bars = row_functions_bars(dataset, symbol)
            store.take({symbol: reply(bars.between(TRADED.open, now))}, now)
        journal.predictions(lines([p.as_json() for p in predictor.predict(store.windows(), now)]))
    journal.close()


def row_functions_bars(dataset: Dataset, symbol: str) -> Bars:
    from trading.market.bars import read_bars_file

    return read_bars_file(dataset.bars_path(symbol))


def reply(bars: Bars) -> list[dict[str, Any]]:
    from trading.market.bars import from_ns

    columns = zip(bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
    return [{"t": from_ns(t).isoformat(), "o": o, "h": h, "l": lo, "c": c, "v": v} for t, o, h, lo, c, v in columns]


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


def caught(folders: Settings, pipeline: Pipeline, *names: str) -> None:
    """Each of these checks alone catches the defect."""
    for name in names:
        (check,) = audit(folders.folders, learning_settings(folders), pipeline, amount=FEW, only=[name])
        assert check.findings, name


# A sound pipeline


def test_a_sound_pipeline_is_clean_and_all_of_it_was_compared(folders: Settings) -> None:
    checks = audit(folders.folders, learning_settings(folders), amount=FEW)
    assert [check.told for check in checks] == [[]] * len(checks)
    compared = {check.what.split(":")[0]: check.compared for check in checks}
    assert all(count > 5 for count in compared.values()), compared
    (history,) = (check for check in checks if check.what.startswith("written predictions"))
    assert history.compared > 150
    assert not history.left_out


def test_the_command_prints_a_table_writes_json_and_exits_with_0_or_1(
    folders: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    arguments = ["--audit", "--env-file", os.devnull]
    for name in ("data", "models", "logs"):
        arguments += [f"--{name}-dir", str(getattr(folders, f"{name.upper()}_DIR"))]
    assert run(*arguments) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("look-ahead", "parity", "split", "labels", "no finding"))
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
    assert "AAA.csv: not the rows that its bars make" in report["checks"][0]["told"][0]


def test_what_could_not_be_compared_is_counted_with_its_reason(folders: Settings, tmp_path: Path) -> None:
    alone = folders.changed(MODELS_DIR=tmp_path / "none")
    by_name = {
        check.what: check.left_out
        for check in audit(alone.folders, learning_settings(alone), only=["history", "published"])
    }
    reasons = [reason for left_out in by_name.values() for reason in left_out]
    assert "its model is gone (pruned, or of other data)" in reasons
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


# Planted defects


def shifted(by: int) -> Callable[[Bars, MarketCalendar, LabelRules], SymbolRows]:
    """Rows whose features are those of another bar: `by` = 1 of the next one, -1 of the one before."""

    def defective(bars: Bars, calendar: MarketCalendar, rules: LabelRules) -> SymbolRows:
        rows = rows_of(bars, calendar, rules)
        return replace(rows, X=np.roll(rows.X, -by, axis=0)) if len(rows) else rows

    return defective


@pytest.mark.parametrize("by", [1, -1])
def test_a_feature_shifted_by_one_bar(folders: Settings, by: int) -> None:
    caught(folders, Pipeline(rows_of=shifted(by)), "live", "history", "files")
    if by == 1:
        caught(folders, Pipeline(rows_of=shifted(by)), "look-ahead")


def reads_on(bars: Bars, calendar: MarketCalendar, rules: LabelRules) -> SymbolRows:
    """Positions are held over night, so that labels read the next session."""
    rows = rows_of(bars, calendar, rules)
    everything = np.zeros(len(bars), dtype=np.int64)
    held, _ = outcomes(
        bars.open,
        bars.high,
        bars.low,
        everything,
        np.zeros(len(bars), dtype=np.bool_),
        rules.stop_loss,
        rules.take_profit,
    )
    outcome = held[np.searchsorted(bars.start, rows.start)]
    known = ~np.isnan(outcome)
    return SymbolRows(rows.start[known], rows.X[known], outcome[known], labels(outcome[known], rules.won_above_pct))


def test_a_label_that_reads_the_next_session(folders: Settings) -> None:
    caught(folders, Pipeline(rows_of=reads_on), "labels", "split")


def unknown_as_0(bars: Bars, calendar: MarketCalendar, rules: LabelRules) -> SymbolRows:
    """A row for every whole window; what is not known counts as lost."""
    sessions = sessions_around(bars.start, calendar)
    group = session_numbers(bars.start, sessions)
    from trading.features.document import features, window_is_whole

    X = features(bars.open, bars.high, bars.low, bars.close, bars.volume)
    whole = window_is_whole(group)
    start = bars.start[LOOKBACK_BARS - 1 :][whole]
    known = rows_of(bars, calendar, rules)
    outcome, label = np.zeros(len(start)), np.zeros(len(start), dtype=np.int8)
    place = np.searchsorted(start, known.start)
    outcome[place], label[place] = known.outcome, known.label
    return SymbolRows(start, X[whole], outcome, label)


def test_unknown_outcomes_labelled_0(folders: Settings) -> None:
    caught(folders, Pipeline(rows_of=unknown_as_0), "labels", "look-ahead")


def random_split(session: NDArray[Any], test_size: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    test = np.random.default_rng(1).random(len(session)) < test_size
    return ~test, test


def test_a_random_split(folders: Settings) -> None:
    caught(folders, Pipeline(split=random_split), "split")


def test_a_scaler_fitted_on_all(folders: Settings) -> None:
    def defective(rows: Any, chosen: Any) -> Any:
        return train(replace(rows, X=StandardScaler().fit_transform(rows.X)), chosen)

    caught(folders, Pipeline(train=defective), "split")


def test_a_training_that_mixes_its_sessions(folders: Settings) -> None:
    def defective(rows: Any, chosen: Any) -> Any:
        mixed = np.random.default_rng(1).permutation(len(rows.label))
        return train(replace(rows, X=rows.X[mixed], label=rows.label[mixed]), chosen)

    caught(folders, Pipeline(train=defective), "split")


def test_thinning_that_drops_stocks(folders: Settings) -> None:
    def defective(symbol: NDArray[Any], session: NDArray[Any], every: int) -> NDArray[np.bool_]:
        return symbol == symbol[0]

    caught(folders, Pipeline(thin=defective), "split")


def test_a_predictor_that_uses_the_unfinished_bar(folders: Settings) -> None:
    def defective(session: Session, bars: Mapping[str, Bars], now: datetime) -> dict[str, Any]:
        early = {symbol: replace(one, start=one.start) for symbol, one in bars.items()}
        return live_vectors(session, early, now + timedelta(minutes=1))

    caught(folders, Pipeline(live_vectors=defective), "live")


def test_a_stale_window(folders: Settings) -> None:
    def defective(session: Session, bars: Mapping[str, Bars], now: datetime) -> dict[str, Any]:
        return {
            symbol: (start + MINUTE_NS, vector)
            for symbol, (start, vector) in live_vectors(session, bars, now - timedelta(minutes=1)).items()
        }

    caught(folders, Pipeline(live_vectors=defective), "live")


def test_a_model_that_predicts_otherwise_than_it_was_trained(folders: Settings) -> None:
    def defective(model: Any, X: NDArray[np.float64]) -> tuple[Any, Any]:
        p = model.model.predict_proba(X)[:, 1]  # not scaled
        return p, p

    caught(folders, Pipeline(scores=defective), "history")


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
    """As if it had been fitted before the newest session was cut off."""
    from trading.learning.train import fit
    from trading.models.store import ModelStore

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
    assert "its scaler was not fitted on its own rows" in check.told[0]


# The slow version


def test_the_slow_outcomes_agree_with_the_fast_ones_on_wild_bars() -> None:
    """Gaps over levels, bars that span both, prices around a dollar."""
    random = np.random.default_rng(5)
    rules = label_rules()
    for price in (0.98, 1.02, 3.0, 17.0):
        n = 200
        close = price * np.exp(np.cumsum(random.normal(0.0, 0.01, n)))
        open_ = np.round(close * np.exp(random.normal(0.0, 0.02, n)), 4)
        high = np.round(np.maximum(open_, close) * 1.005, 4)
        low = np.round(np.minimum(open_, close) * 0.995, 4)
        start = np.arange(n, dtype=np.int64)
        flat = 190
        fast, _ = outcomes(
            open_, high, low, np.zeros(n, dtype=np.int64), start >= flat, rules.stop_loss, rules.take_profit
        )
        bars = slow_bars(start.tolist(), open_.tolist(), high.tolist(), low.tolist())
        for i in range(n):
            slow = slow_outcome(bars, i, flat, rules.stop_loss, rules.take_profit)
            assert (slow is None) == bool(np.isnan(fast[i]))
            if slow is not None:
                assert slow.outcome == pytest.approx(fast[i], abs=1e-9)


def test_findings_are_counted_and_the_first_are_told() -> None:
    check = Check("split", "what")
    for number in range(100):
        check.hold(number % 2 == 0, f"number {number}")
    assert (check.compared, check.findings, len(check.told)) == (100, 50, 20)


def test_the_made_up_bars_hold_what_the_defects_need() -> None:
    """A thin stock with unknown outcomes, and positions that end with the day."""
    bars = bars_of(SESSIONS[:2], *STOCKS["CC.A"][:1], thin=0.6)
    assert len(rows_of(bars, CALENDAR, label_rules())) < len(unknown_as_0(bars, CALENDAR, label_rules()))
    assert to_ns(datetime(2018, 3, 19, 13, 30, tzinfo=UTC)) <= int(bars.start[0])
