"""The settings FEATURE_SET and LABEL_MIN_PROFIT: data files, models, trades and the audit of both feature sets."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import build_dataset
from tests.app.test_ml_trainer import evening, run, settings
from tests.audit.test_command import MARKET
from tests.dataset.data_world import CALENDAR, STOCKS, content, fetched
from tests.settings import label_rules
from trading.app.learn.retrain import learning_settings, model_in_service, retrain
from trading.audit.command import audit
from trading.base.clock import NEW_YORK, SimulatedClock
from trading.base.errors import DataError, ModelError
from trading.base.market_folders import claim
from trading.dataset.dataset import Dataset
from trading.dataset.manifest import read_manifest
from trading.dataset.rows import header, rows_lines, rows_of
from trading.dataset.volume_profiles import session_bars
from trading.features.session_bars import to_reply
from trading.features.sets import COLUMNS
from trading.learning.trades.past_trades import past_trades
from trading.learning.trades.trade_labels import TradeLabels
from trading.market.bars import read_bars_file, to_ns
from trading.models.predictor import Predictor
from trading.models.store import ModelStore
from trading.records.journal import Journal
from trading.records.trade_log import Trade, TradeLog
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from pathlib import Path

    from config import Settings
    from trading.base.calendar import Session

SESSIONS = CALENDAR.between(date(2018, 3, 19), date(2018, 3, 28))
TRADED = SESSIONS[-2]
RELATIVE: dict[str, Any] = {"feature_set": "relative", "source": "bars", "feed": "recorded"}


def build(folder: Path, *parts: list[Session], rules: LabelRules | None = None, **about: Any) -> Dataset:
    dataset = Dataset(folder, CALENDAR)
    for part in parts:
        dataset.update(fetched(part), rules or label_rules(), **{**RELATIVE, **about})
    return dataset


# Files


def test_sessions_added_one_by_one_give_the_same_files_as_all_at_once(tmp_path: Path) -> None:
    """The volume profile of a new session comes from the bars in the folder."""
    whole = build(tmp_path / "whole", SESSIONS)
    build(tmp_path / "parts", SESSIONS[:3], *([one] for one in SESSIONS[3:]))
    assert content(tmp_path / "whole") == content(tmp_path / "parts")
    assert whole.manifest.feature_set == "relative"
    assert whole.load().sessions[0] == np.datetime64(SESSIONS[1].date)


def test_a_session_gets_rows_when_the_session_before_it_is_fetched_later(tmp_path: Path) -> None:
    build(tmp_path / "whole", SESSIONS)
    build(tmp_path / "later", SESSIONS[1:], SESSIONS[:1])
    assert content(tmp_path / "whole") == content(tmp_path / "later")


@pytest.mark.parametrize("rules", [label_rules(), label_rules(LABEL="profit", LABEL_MIN_PROFIT=0.01)])
def test_a_change_of_the_feature_set_makes_all_rows_again(tmp_path: Path, rules: LabelRules) -> None:
    document = build(tmp_path / "data", SESSIONS, feature_set="document")
    before = content(tmp_path / "data")
    assert document.is_stale(rules, "relative")
    document.update({}, rules, **RELATIVE)
    assert content(tmp_path / "data") == content(build(tmp_path / "fresh", SESSIONS, rules=rules).folder)
    document.update({}, label_rules(), **{**RELATIVE, "feature_set": "document"})
    assert content(tmp_path / "data") == before


def test_a_killed_build_leaves_the_rows_unchanged(tmp_path: Path) -> None:
    """The files hold older and newer sessions than the manifest; a reader sees those of the manifest."""
    data = build(tmp_path / "data", SESSIONS[2:-1])
    before, manifest = data.load(), (data.folder / "dataset.json").read_bytes()
    build(tmp_path / "data", SESSIONS)
    (data.folder / "dataset.json").write_bytes(manifest)
    after = data.load()
    assert all(getattr(before, name).tobytes() == getattr(after, name).tobytes() for name in ("start", "X", "label"))
    build(tmp_path / "data", SESSIONS)
    assert content(tmp_path / "data") == content(build(tmp_path / "fresh", SESSIONS).folder)


def test_rows_can_be_made_from_the_bars_regardless_of_the_row_files(tmp_path: Path) -> None:
    relative_rows = build(tmp_path / "relative", SESSIONS).load()
    made = build(tmp_path / "data", SESSIONS, feature_set="document").make(label_rules(), "relative")
    assert all(getattr(made, n).tobytes() == getattr(relative_rows, n).tobytes() for n in ("start", "X", "label"))


def test_unknown_features_in_a_data_folder_are_refused(tmp_path: Path) -> None:
    path = build(tmp_path / "data", SESSIONS[:2]).folder / "dataset.json"
    path.write_text(path.read_text().replace("From_Open", "From_Noon"))
    with pytest.raises(DataError, match=r"this version does not know its features; run python build_dataset\.py"):
        Dataset(tmp_path / "data").load()


def test_a_label_is_one_above_the_minimum_profit(tmp_path: Path) -> None:
    rules = label_rules(LABEL="profit", LABEL_MIN_PROFIT=0.01)
    rows = build(tmp_path / "data", SESSIONS, rules=rules).load()
    assert np.array_equal(rows.label, rows.outcome > 1.0) and 0 < rows.label.sum() < (rows.outcome > 0.0).sum()
    manifest = read_manifest(tmp_path / "data")
    assert manifest is not None and manifest.rules == rules and not manifest.made_with(label_rules(), "relative")


def test_without_keys_a_changed_setting_makes_the_rows_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(tmp_path / "data", MARKET)
    build(tmp_path / "data", SESSIONS, feature_set="document")
    env = tmp_path / "env"
    for lines, said in (
        ("FEATURE_SET=relative\n", "all made again"),
        ("FEATURE_SET=relative\nLABEL_TARGET_PCT=0.01\n", "all made again"),
        ("LABEL_TARGET_PCT=0.01\n", "nothing was fetched"),
    ):
        env.write_text(lines)
        arguments = ["--env-file", str(env), "--data-dir", str(tmp_path / "data")]
        assert build_dataset.main(arguments) == 0
        assert said in capsys.readouterr().out
        with pytest.raises(Exception, match="no Alpaca keys"):  # the rows match the settings
            build_dataset.main(arguments)
    header = (tmp_path / "data" / "AAA.csv").read_text().split("\n")[0]
    assert header == ",".join(["symbol", "timestamp", *COLUMNS["document"], "outcome_after_cost", "label"])


def test_data_of_an_earlier_version_is_made_again_from_its_bars(tmp_path: Path) -> None:
    """Its manifest knows no spread, and its column is the outcome before cost."""
    dataset = build(tmp_path / "data", SESSIONS, feature_set="document")
    whole = dataset.load()
    manifest = json.loads((dataset.folder / "dataset.json").read_text())
    for name in ("spread_ticks", "label", "label_target", "label_within_minutes"):
        del manifest[name]
    (dataset.folder / "dataset.json").write_text(json.dumps(manifest))
    for symbol in whole.symbols:
        path = dataset.rows_path(symbol)
        path.write_text(path.read_text().replace("outcome_after_cost", "outcome"))
    assert dataset.is_stale(label_rules())
    with pytest.raises(DataError, match="outcome_after_cost"):
        dataset.load()
    dataset.update({}, label_rules(), source="bars", feed="recorded")
    assert np.array_equal(dataset.load().outcome, whole.outcome)


# Models and trades


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A dataset of relative rows, two models trained on it, and a traded day."""
    root = tmp_path_factory.mktemp("relative")
    found = settings(DATA_DIR=root / "data", MODELS_DIR=root / "models", LOGS_DIR=root / "logs", FEATURE_SET="relative")
    for folder in (found.folders.DATA_DIR, found.folders.LOGS_DIR):
        claim(folder, MARKET)
    build(found.folders.DATA_DIR, SESSIONS)
    first, _ = retrain(found.folders.DATA_DIR, found.folders.MODELS_DIR, found, evening(SESSIONS[-3]))
    retrain(found.folders.DATA_DIR, found.folders.MODELS_DIR, found, evening(SESSIONS[-2]), champion=first)
    write_history(found, Predictor(first, found.prediction))
    return found


def write_history(folders: Settings, predictor: Predictor) -> None:
    """The predictions of a trader on `TRADED`, every tenth minute, with what `data/` held that morning."""
    clock = SimulatedClock(TRADED.open)
    journal = Journal(folders.folders.LOGS_DIR, clock)
    dataset = Dataset(folders.folders.DATA_DIR)
    for minute in range(15, TRADED.minutes, 10):
        now = TRADED.open + timedelta(minutes=minute, seconds=2)
        clock.sleep_until(now)
        store = session_bars(dataset, TRADED, dataset.symbols, folders.training.FEATURE_SET)
        bars = {symbol: read_bars_file(dataset.bars_path(symbol)) for symbol in dataset.symbols}
        store.take({symbol: to_reply(one.between(TRADED.open, now)) for symbol, one in bars.items()}, now)
        journal.predictions([p.as_json() for p in predictor.predict(store.windows(), now)])
    journal.close()


def test_a_model_names_its_feature_set_and_is_used_for_no_other(folders: Settings) -> None:
    store = ModelStore(folders.folders.MODELS_DIR, "relative")
    model = store.newest()
    assert (model.feature_set, model.features) == ("relative", COLUMNS["relative"])
    assert model.metrics["feature_set"] == model.metrics["settings"]["FEATURE_SET"] == "relative"
    said: list[str] = []
    other = ModelStore(folders.folders.MODELS_DIR, "document")
    with pytest.raises(ModelError, match=r"2 model\(s\) were trained on other features than FEATURE_SET=document"):
        other.newest(warn=said.append)
    assert len(said) == 1 and "was trained on FEATURE_SET=relative, the setting is document" in said[0]
    with pytest.raises(ModelError, match="was trained on FEATURE_SET=relative"):
        other.load(model.timestamp)


def test_a_model_in_service_with_other_features_is_not_compared(folders: Settings, tmp_path: Path) -> None:
    claim(tmp_path / "data", MARKET)
    build(tmp_path / "data", SESSIONS, feature_set="document")
    now = evening(SESSIONS[-1])
    chosen = folders.changed(FEATURE_SET="document", LOGS_DIR=tmp_path, MODELS_DIR=tmp_path / "m")
    champion = model_in_service(folders, MARKET, now)
    assert champion is not None
    assert model_in_service(folders.changed(FEATURE_SET="document"), MARKET, now) is not None
    model, decision = retrain(tmp_path / "data", tmp_path / "m", chosen, now, champion=champion)
    assert decision.in_service and decision.champion == champion.timestamp
    assert "trained on other features than FEATURE_SET=document and cannot serve with it" in decision.reason
    assert model.feature_set == "document"


def test_rows_of_another_set_are_refused_in_one_line(
    folders: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = tmp_path / "env"
    env.write_text("FEATURE_SET=document\n")
    assert run("--data-dir", folders.folders.DATA_DIR, "--models-dir", tmp_path / "models", "--env-file", env) == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith("its rows are not of FEATURE_SET=document; run python build_dataset.py")
    assert "\n" not in said


def test_a_prediction_has_the_price_and_names_its_set(folders: Settings) -> None:
    (path,) = folders.folders.LOGS_DIR.glob("predictions_*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) > 80 and {line["feature_set"] for line in lines} == {"relative"}
    bars = {symbol: read_bars_file(Dataset(folders.folders.DATA_DIR).bars_path(symbol)) for symbol in STOCKS}
    for line in lines:
        one = bars[line["symbol"]]
        at = np.searchsorted(one.start, to_ns(datetime.fromisoformat(line["bar_time"])))
        assert line["price"] == one.close[at] and len(line["features"]) == len(COLUMNS["relative"])


def test_trades_of_another_feature_set_are_counted_but_not_used(folders: Settings, tmp_path: Path) -> None:
    claim(tmp_path / "logs", MARKET)
    (path,) = folders.folders.LOGS_DIR.glob("predictions_*.jsonl")
    (tmp_path / "logs" / path.name).write_bytes(path.read_bytes())
    line = json.loads(path.read_text().splitlines()[5])
    decided = datetime.fromisoformat(line["timestamp"])
    write_trade(tmp_path / "logs", line["symbol"], decided)
    now = decided + timedelta(hours=9)
    labels = TradeLabels(Dataset(folders.folders.DATA_DIR), label_rules())
    kept = past_trades(tmp_path / "logs", MARKET.slug, now, labels, "relative")
    assert [one.X.tolist() for one in kept.trades] == [line["features"]] and not kept.left_out
    other = past_trades(tmp_path / "logs", MARKET.slug, now, labels, "document")
    assert not other.trades and other.left_out == {"its prediction used other features": 1}


@pytest.mark.parametrize(("least", "changed"), [(0.0, 1), (0.03, 0)])
def test_the_label_of_a_trade_uses_the_minimum_profit(
    folders: Settings, tmp_path: Path, least: float, changed: int
) -> None:
    """The trade of `write_trade` earns 1% and replaces a row that lost."""
    places = {f"{name}_DIR": tmp_path / name for name in ("DATA", "MODELS", "LOGS")}
    chosen = folders.changed(**places, LABEL="profit", LABEL_MIN_PROFIT=least, TRAINING_REPORT=False)
    for folder in (chosen.folders.DATA_DIR, chosen.folders.LOGS_DIR):
        claim(folder, MARKET)
    rows = build(chosen.folders.DATA_DIR, SESSIONS, rules=label_rules(LABEL="profit", LABEL_MIN_PROFIT=least)).load()
    lost = {(rows.symbols[rows.symbol[i]], int(rows.start[i])) for i in np.flatnonzero(rows.outcome < 0.0)}
    (path,) = folders.folders.LOGS_DIR.glob("predictions_*.jsonl")
    (chosen.folders.LOGS_DIR / path.name).write_bytes(path.read_bytes())
    lines = (json.loads(line) for line in path.read_text().splitlines())
    line = next(one for one in lines if (one["symbol"], to_ns(datetime.fromisoformat(one["bar_time"]))) in lost)
    write_trade(chosen.folders.LOGS_DIR, line["symbol"], datetime.fromisoformat(line["timestamp"]))
    model, _ = retrain(chosen.folders.DATA_DIR, chosen.folders.MODELS_DIR, chosen, evening(SESSIONS[-1]))
    assert (model.metrics["past_trades"]["entered"], model.metrics["past_trades"]["labels_changed"]) == (1, changed)


def write_trade(logs: Path, symbol: str, decided: datetime) -> None:
    local = decided.astimezone(NEW_YORK)
    stop, target = Decimal("9.80"), Decimal("10.40")
    trade = Trade(symbol, 5, Decimal(10), local, 0.7, stop, target, decision_time=local, market=MARKET.slug)
    trade.exit_price, trade.exit_time, trade.exit_reason = Decimal("10.10"), local + timedelta(minutes=9), "END_OF_DAY"
    log = TradeLog(logs)
    log.add(trade)
    log.save()


# The audit


def test_the_audit_of_relative_features_compares_everything_and_finds_nothing(folders: Settings) -> None:
    checks = audit(folders.folders, learning_settings(folders), sessions=6)
    assert [check.told for check in checks] == [[]] * len(checks)
    assert all(check.compared > 5 for check in checks), [(check.what, check.compared) for check in checks]
    (history,) = (check for check in checks if check.what.startswith("logged predictions"))
    assert history.compared > 150 and not history.left_out


def test_the_audit_counts_predictions_and_models_of_the_other_set(folders: Settings, tmp_path: Path) -> None:
    build(tmp_path / "data", SESSIONS, feature_set="document")
    changed = folders.changed(DATA_DIR=tmp_path / "data", FEATURE_SET="document")
    history, published = audit(changed.folders, learning_settings(changed), sessions=6, only=["history", "published"])
    assert not history.findings and any("not the document ones" in why for why in history.left_out)
    assert not published.findings and published.left_out == {"data/ holds other features": 2}


def test_a_row_without_the_session_before_is_found(tmp_path: Path) -> None:
    """AAA lacks a session: a relative row in the session after it is a finding."""
    gone = SESSIONS[4]
    parts = fetched(SESSIONS)
    bars = parts["AAA"].bars
    without = bars.take((bars.start < to_ns(gone.open)) | (bars.start > to_ns(gone.close)))
    found = settings(DATA_DIR=tmp_path / "data", MODELS_DIR=tmp_path / "m", LOGS_DIR=tmp_path / "l")
    Dataset(found.folders.DATA_DIR).update({"AAA": replace(parts["AAA"], bars=without)}, label_rules(), **RELATIVE)
    checks = audit(found.folders, learning_settings(found), sessions=12, only=["labels", "files"])
    assert not any(check.findings for check in checks)
    path = found.folders.DATA_DIR / "AAA.csv"
    document = rows_of(without, CALENDAR, label_rules())
    X = np.zeros((len(document), len(COLUMNS["relative"])))
    path.write_bytes(header("relative") + rows_lines("AAA", replace(document, X=X)))
    (labels,) = audit(found.folders, learning_settings(found), sessions=40, only=["labels"])
    assert any("it has a row, but no bars of the session before" in told for told in labels.told)
