"""The end of the evening on a traded market: the audit and the training read what stays as before."""

from __future__ import annotations

import gc
import shutil
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from matplotlib.figure import Figure

from tests.app.test_ml_trainer import evening, settings
from tests.audit.test_command import MARKET, SESSIONS, TRADED, write_history
from tests.dataset.data_world import CALENDAR, fetched
from tests.settings import label_rules
from trading.alerts.picture import equity_curve
from trading.app.learn.retrain import learning_settings, model_store, retrain
from trading.app.live.run import Run
from trading.app.live.tidy import tidy
from trading.app.live.venues import OpenVenue
from trading.audit.command import audit
from trading.base.clock import SimulatedClock
from trading.base.files import line_files
from trading.base.market_folders import claim, lock
from trading.broker.client import connect
from trading.dataset.dataset import Dataset
from trading.models.predictor import Predictor
from trading.records.trade_log import Trade, TradeLog
from trading.reports.console import Output

if TYPE_CHECKING:
    from pathlib import Path

    from config import Settings

TODAY = SESSIONS[-1].date


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tidy")
    found = of(root)
    for folder in (found.folders.DATA_DIR, found.folders.LOGS_DIR):
        claim(folder, MARKET)
    Dataset(found.folders.DATA_DIR).update(fetched(SESSIONS), label_rules(), source="bars", feed="recorded")
    model, _ = retrain(found.folders.DATA_DIR, found.folders.MODELS_DIR, found, evening(SESSIONS[-3]))
    write_history(found, model)
    for n in range(20):  # old logs
        for kind in ("predictions", "audit"):
            (found.folders.LOGS_DIR / f"{kind}_{SESSIONS[0].date - timedelta(days=30 - n)}.jsonl").write_text("{}\n")
    return root


def of(root: Path, **values: int) -> Settings:
    return settings(DATA_DIR=root / "data", MODELS_DIR=root / "models", LOGS_DIR=root / "logs", **values)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def test_training_and_audit_find_what_they_found_before(root: Path) -> None:
    chosen = of(root, HISTORY_DAYS=4, KEEP_DAYS=1)  # the window is longer than what is to be kept
    data = Dataset(chosen.folders.DATA_DIR)
    window = data.load(sessions=4)
    before = {check.name: check.compared for check in audit(chosen.folders, learning_settings(chosen))}
    tidied = tidy(chosen, CALENDAR, TODAY, [])
    assert tidied.failures == ()
    assert tidied.data.sessions == 3 * (len(SESSIONS) - 4)
    after = data.load()
    assert (after.X.tobytes(), after.start.tobytes()) == (window.X.tobytes(), window.start.tobytes())
    assert [path.name for path in line_files(chosen.folders.LOGS_DIR, "predictions")][-1] == (
        f"predictions_{TRADED.date}.jsonl"
    )
    assert (chosen.folders.LOGS_DIR / f"predictions_{TRADED.date}.jsonl.gz").exists()
    checks = audit(chosen.folders, learning_settings(chosen))
    assert [check.told for check in checks] == [[]] * len(checks)
    compared = {check.name: check.compared for check in checks}
    assert compared["parity"] == before["parity"] > 100
    again = tidy(chosen, CALENDAR, TODAY, [])
    assert again.as_event() == {}
    assert tidied.as_event()["stock_sessions_removed"] == tidied.data.sessions


def test_an_open_trade_keeps_its_day(root: Path) -> None:
    chosen = of(root, HISTORY_DAYS=2, KEEP_DAYS=2)
    opened = SESSIONS[0].date - timedelta(days=20)
    tidy(chosen, CALENDAR, TODAY, [SESSIONS[-1].date, opened])
    days = [path.name[12:22] for path in line_files(chosen.folders.LOGS_DIR, "predictions")]
    assert days[0] == str(opened)
    assert len(Dataset(chosen.folders.DATA_DIR).load().sessions) == len(SESSIONS)


def test_zero_keeps_everything_and_still_compresses(root: Path) -> None:
    chosen = of(root, HISTORY_DAYS=2, KEEP_DAYS=0)
    tidied = tidy(chosen, CALENDAR, TODAY, [])
    assert (tidied.data.sessions, tidied.logs.removed, len(tidied.logs.compressed)) == (0, [], 21)


def test_a_data_folder_in_use_is_one_line_and_no_log_is_removed(root: Path) -> None:
    chosen = of(root, HISTORY_DAYS=2, KEEP_DAYS=2)
    held = lock(chosen.folders.DATA_DIR, "dataset build")
    try:
        tidied = tidy(chosen, CALENDAR, TODAY, [])
    finally:
        held.release()
    assert len(tidied.failures) == 1 and "not pruned this evening" in tidied.failures[0]
    assert "\n" not in tidied.failures[0]
    assert (tidied.data.sessions, tidied.logs.removed) == (0, [])
    assert tidied.logs.compressed


def test_a_damaged_manifest_is_one_line(root: Path) -> None:
    chosen = of(root, HISTORY_DAYS=2, KEEP_DAYS=2)
    (chosen.folders.DATA_DIR / "dataset.json").write_text("{")
    tidied = tidy(chosen, CALENDAR, TODAY, [])
    assert len(tidied.failures) == 1 and "dataset.json" in tidied.failures[0]
    assert tidied.logs.removed == []


def pictures() -> int:
    """Pictures of a day that this process holds."""
    return sum(type(one) is Figure for one in gc.get_objects())


def test_no_picture_of_a_day_stays_after_its_evening(root: Path) -> None:
    chosen, session = of(root, HISTORY_DAYS=4, KEEP_DAYS=4), SESSIONS[-3]
    clock = SimulatedClock(evening(session))
    clients = connect(chosen.broker, ("key", "secret"), clock)
    run = Run(OpenVenue(clock, clients, MARKET, "a test", 1), chosen, CALENDAR, Output())
    model = model_store(chosen).newest(now=clock.now(), market=MARKET, warn=print)
    run.learning.predictor = Predictor(model, chosen.prediction)  # made this evening, so there is nothing to train
    log = TradeLog(chosen.folders.LOGS_DIR)
    bought = session.open + timedelta(minutes=30)
    trade = Trade("AAA", 5, Decimal(10), bought, 0.7, Decimal("9.8"), Decimal("10.4"))
    trade.exit_price, trade.exit_time = Decimal("10.4"), bought + timedelta(minutes=5)
    log.add(trade)
    log.save()
    gc.collect()
    before = pictures()
    gc.disable()  # it would look at them some day
    try:
        for day in range(1, 4):
            assert equity_curve(chosen.folders.LOGS_DIR, session.date)
            assert pictures() == before + 1
            assert run._retrain(run._trader(), session)
            assert pictures() == before, f"after day {day}"
    finally:
        gc.enable()
