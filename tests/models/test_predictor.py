"""The prediction stage: the document's dictionary, one pass for all stocks, stale bars, and its command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from werkzeug.serving import make_server

import ml_predictor
from config import Settings
from paper_exchange import PaperExchange
from tests.dataset.data_world import CALENDAR, bars_of, fetched
from tests.exchange.exchange_world import MONDAY, HandMade, ny
from tests.execution.trading_world import KEY, SECRET, Fault, TradingWorld, flat, page
from tests.settings import label_rules
from trading.app import cli
from trading.app.learn.retrain import retrain
from trading.base.calendar import at
from trading.base.clock import NEW_YORK
from trading.base.market_folders import MarketId, claim
from trading.dataset.dataset import Dataset
from trading.execution.entries import signals_of
from trading.execution.live_feed import fetch
from trading.features import document
from trading.features.document import FEATURES, LOOKBACK_BARS, features
from trading.features.session_bars import SessionBars, Windows, to_reply
from trading.learning.fitting import Scorer, probabilities
from trading.learning.forest import ForestWalk
from trading.market.bars import from_ns
from trading.models.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trading.models.store import LoadedModel

ROOT = Path(__file__).parents[2]
SESSIONS = CALENDAR.between(MONDAY.replace(day=19), MONDAY)
MARKET = MarketId("by-hand", "bars made by hand, generated", generated=True)
SETTINGS = Settings.of(N_ESTIMATORS=12, TRAIN_EVERY_NTH_ROW=2, FOREST_MIN_SAMPLES_LEAF=20)
DOCUMENT = ["symbol", "signal", "confidence", "price", "recommendation", "meets_threshold", "timestamp"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, `models` and one model."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("data", "models"):
        claim(folder / name, MARKET)
    Dataset(folder / "data").update(fetched(SESSIONS), label_rules(), source="bars", feed="recorded")
    retrain(folder / "data", folder / "models", SETTINGS, at(MONDAY, SETTINGS.schedule.RETRAIN_TIME), champion=None)
    universe = {"date": str(MONDAY), "symbols": [{"symbol": name} for name in ("AAA", "BBB")]}
    (folder / "data" / f"universe_{MONDAY}.json").write_text(json.dumps(universe))
    return folder


@pytest.fixture(scope="module")
def model(home: Path) -> LoadedModel:
    from trading.models.store import ModelStore

    return ModelStore(home / "models").newest()


NOW = ny(MONDAY, "11:00:02")


def windows(*seeds: int, until: datetime = NOW) -> Windows:
    names = tuple(f"S{seed}" for seed in seeds)
    bars = SessionBars(SESSIONS[-1], names)
    history = {name: bars_of(SESSIONS[-1:], seed) for name, seed in zip(names, seeds, strict=True)}
    bars.take({name: to_reply(one) for name, one in history.items()}, until)
    return bars.windows()


def test_the_documents_dictionary_comes_first_under_its_names(model: LoadedModel) -> None:
    (one,) = Predictor(model, SETTINGS.prediction).predict(windows(1), NOW)
    record = one.as_json()
    assert list(record)[:7] == DOCUMENT
    assert json.loads(json.dumps(record)) == record | {"features": list(record["features"])}
    assert record["symbol"] == "S1" and record["timestamp"] == "2018-03-26T11:00:02-04:00"
    assert record["bar_time"] == "2018-03-26T10:59:00-04:00" and record["model"] == model.timestamp
    assert 0.0 <= record["confidence"] <= 1.0 and 0.0 <= record["win_probability"] <= 1.0


def test_price_and_features_are_those_of_the_newest_twenty_bars_and_confidence_is_the_models(
    model: LoadedModel,
) -> None:
    predictions = Predictor(model, SETTINGS.prediction).predict(windows(1, 2, 3), NOW)
    for one, seed in zip(predictions, (1, 2, 3), strict=True):
        bars = bars_of(SESSIONS[-1:], seed).take(slice(0, 90)).take(slice(-LOOKBACK_BARS, None))
        vector = features(bars.open, bars.high, bars.low, bars.close, bars.volume)[-1]
        assert np.array(one.features).tobytes() == vector.tobytes()
        assert one.price == bars.close[-1] == one.features[FEATURES.index("Close")]
        own = probabilities(model.scaler, model.model, vector[None, :])[0]
        assert one.model_probability == pytest.approx(own, abs=1e-12) and one.confidence == one.model_probability


def test_all_stocks_share_one_feature_pass_and_one_call_of_the_model(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counting(owner: Any, name: str, rows: Callable[[Any], int]) -> None:
        original = getattr(owner, name)

        def counted(*args: Any) -> Any:
            calls.append(rows(args))
            return original(*args)

        monkeypatch.setattr(owner, name, counted)

    counting(document, "features", lambda args: args[0].shape[1])
    counting(Scorer, "probabilities", lambda args: len(args[1]))
    assert len(Predictor(model, SETTINGS.prediction).predict(windows(*range(12)), NOW)) == 12
    assert calls == [12, 12]


def test_the_trees_of_a_forest_are_laid_out_once_for_all_minutes(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[Any] = []

    def counted(walk: ForestWalk, trees: Any) -> None:
        laid_out.append(trees)
        original(walk, trees)

    original = ForestWalk.__init__
    monkeypatch.setattr(ForestWalk, "__init__", counted)
    predictor = Predictor(replace(model), SETTINGS.prediction)  # a copy that has not predicted yet
    for minute in range(3):
        assert predictor.predict(windows(0), NOW + timedelta(minutes=minute))
    assert len(laid_out) == 1


def test_a_prediction_does_not_depend_on_the_other_stocks(model: LoadedModel) -> None:
    together = {one.symbol: one for one in Predictor(model, SETTINGS.prediction).predict(windows(*range(8)), NOW)}
    for seed in range(8):
        (alone,) = Predictor(model, SETTINGS.prediction).predict(windows(seed), NOW)
        assert alone == together[alone.symbol]


def test_no_stocks_give_no_predictions(model: LoadedModel) -> None:
    assert Predictor(model, SETTINGS.prediction).predict(windows(), NOW) == []


@pytest.mark.parametrize(("late", "stale"), [(90.0, False), (90.001, True), (600.0, True)])
def test_a_bar_that_ended_too_long_ago_gives_no_signal(model: LoadedModel, late: float, stale: bool) -> None:
    eager = Settings.of(MIN_CONFIDENCE=1e-9)
    now = ny(MONDAY, "11:00") + timedelta(seconds=late)
    (one,) = Predictor(model, eager.prediction).predict(windows(1), now)
    assert one.stale == stale
    assert one.meets_threshold == (not stale)
    if stale:
        assert (one.signal, one.recommendation) == (0, "HOLD")
    assert (signals_of([one]) == []) == stale


@pytest.mark.parametrize("kind", ["model", "calibrated"])
def test_the_threshold_is_compared_with_the_chosen_probability(model: LoadedModel, kind: Any) -> None:
    found = Predictor(model, Settings.of(CONFIDENCE=kind).prediction).predict(windows(*range(10)), NOW)
    assert all(one.confidence == (one.model_probability if kind == "model" else one.win_probability) for one in found)
    exact = max(one.confidence for one in found)
    at_it = Predictor(model, Settings.of(CONFIDENCE=kind, MIN_CONFIDENCE=exact).prediction).predict(
        windows(*range(10)), NOW
    )
    over = Settings.of(CONFIDENCE=kind, MIN_CONFIDENCE=float(np.nextafter(exact, 1)))
    assert [one.confidence for one in signals_of(at_it)] == [exact] * len(signals_of(at_it)) and signals_of(at_it)
    assert signals_of(Predictor(model, over.prediction).predict(windows(*range(10)), NOW)) == []


def test_signals_come_the_most_confident_first(model: LoadedModel) -> None:
    found = signals_of(Predictor(model, Settings.of(MIN_CONFIDENCE=1e-9).prediction).predict(windows(*range(10)), NOW))
    assert [-one.confidence for one in found] == sorted(-one.confidence for one in found)


def test_bars_are_fetched_for_all_stocks_in_one_request_with_feed_and_end(tmp_path: Path) -> None:
    names = [f"S{n:02d}" for n in range(30)]
    here = TradingWorld(tmp_path, {name: {MONDAY: flat("09:30", "15:59")} for name in names}, ny(MONDAY, "10:30:02"))
    bars = SessionBars(here.session, names)
    fetch(here.clients.data, bars, here.clock.now(), "iex")
    assert len(bars.windows()) == 30
    (sent,) = here.wire.sent
    assert "feed=iex" in sent and "end=2018-03-26T14:30:02" in sent and "adjustment=raw" in sent
    here.at("10:31:02")
    fetch(here.clients.data, bars, here.clock.now(), "iex")
    assert "start=2018-03-26T14:25:02" in here.wire.sent[1]
    assert bars.next_request(ny(MONDAY, "10:31:03"))[0] == ny(MONDAY, "10:30"), "only the newest again within a minute"
    here.at("10:32:02")
    here.wire.faults = [Fault("bars", page(200, "<html>"), times=None)]
    with pytest.raises(Exception):  # noqa: B017 - as alpaca-py gives it; the trader takes each of them
        fetch(here.clients.data, bars, here.clock.now(), "iex")
    assert bars.next_request(here.clock.now())[0] == ny(MONDAY, "10:26:02"), "what was missed is asked for again"


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run the stage on a copy of the folders: (exit code, stdout, stderr)."""
    shutil.copytree(home, tmp_path / "copy")
    for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        folders = [f"--{name}-dir={tmp_path / 'copy' / name}" for name in ("data", "models", "logs")]
        code = cli.run(lambda: ml_predictor.main([*arguments, *folders, f"--env-file={os.devnull}"]))
        said = capsys.readouterr()
        return code, said.out, said.err

    yield call


def test_every_stock_of_the_data_as_of_its_newest_bar(run: Callable[..., Any], tmp_path: Path) -> None:
    code, out, _ = run()
    assert code == 0
    newest = from_ns(max(int(bars_of(SESSIONS[-1:], seed).start[-1]) for seed in (1, 2))) + timedelta(minutes=1)
    assert "AAA" in out and "BBB" in out and newest.astimezone(NEW_YORK).isoformat()[:16] in out
    assert "MIN_CONFIDENCE=0.65" in out
    logged = [json.loads(line) for path in (tmp_path / "copy" / "logs").glob("predictions_*") for line in path.open()]
    assert {"AAA", "BBB"} <= {record["symbol"] for record in logged}


def test_json_is_one_document_a_line(run: Callable[..., Any]) -> None:
    code, out, _ = run("--json", "--symbols", "bbb,AAA,bbb")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [record["symbol"] for record in records] == ["BBB", "AAA"]
    assert all(list(record)[:7] == DOCUMENT for record in records)


def one_line(err: str, *words: str) -> bool:
    return err.count("\n") == 1 and err.startswith("error: ") and all(word in err for word in words)


def test_an_unknown_symbol_is_named_with_the_known_ones(run: Callable[..., Any]) -> None:
    code, out, err = run("--symbols", "AAA,ZZZ")
    assert code == 2 and out == "" and one_line(err, "ZZZ", "AAA, BBB")


def test_without_a_model_it_says_what_to_run(run: Callable[..., Any], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "copy" / "models")
    code, out, err = run()
    assert code == 2 and out == "" and one_line(err, "models", "ml_trainer.py")


def test_a_damaged_model_is_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    for path in (tmp_path / "copy" / "models").glob("model_*.pkl"):
        path.write_bytes(path.read_bytes()[:-10])
    code, out, err = run()
    assert code == 2 and out == "" and "Traceback" not in err


def test_without_data_it_says_what_to_run(run: Callable[..., Any], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "copy" / "data")
    code, out, err = run()
    assert code == 2 and out == "" and one_line(err, "build_dataset.py")


def test_an_unwritable_history_is_reported_and_the_predictions_are_shown(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "copy" / "logs").write_text("a file where the folder should be")
    code, out, err = run("--json")
    assert code == 2 and len(out.splitlines()) >= 2 and "logs" in err and "Traceback" not in err


def test_as_a_script_of_its_own(home: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("APCA_")}
    command = [sys.executable, "ml_predictor.py", "--json", "--symbols=AAA", f"--env-file={os.devnull}"]
    folders = [f"--data-dir={home / 'data'}", f"--models-dir={home / 'models'}", f"--logs-dir={tmp_path}"]
    done = subprocess.run(
        [*command, *folders], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["symbol"] == "AAA"


# -- with keys, on a real socket ---------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, run: Any) -> Iterator[str]:
    """A paper exchange on loopback whose newest session has flat bars of AAA and BBB, and no other keys than ours."""
    now = datetime.now(UTC)
    session = CALENDAR.current_or_next(now)
    if session.open > now:
        session = CALENDAR.preceding(session.date)
    length = int((min(now, session.close) - session.open) / timedelta(minutes=1))
    minutes = [(session.open + timedelta(minutes=n)).astimezone(NEW_YORK) for n in range(length)]
    rows = [(f"{minute:%H:%M}", 10.0, 10.1, 9.9, 10.0) for minute in minutes]
    market = HandMade({"AAA": {session.date: rows}, "BBB": {session.date: rows}})
    exchange = PaperExchange(market, lambda: datetime.now(UTC), keys=(KEY, SECRET))
    server = make_server("127.0.0.1", 0, exchange.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("APCA_API_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    yield "early" if length < LOOKBACK_BARS else "ready"
    server.shutdown()
    thread.join(5)


def test_with_keys_the_bars_are_the_markets_newest(run: Callable[..., Any], served: str) -> None:
    code, out, err = run("--json", "--symbols=AAA,BBB,NONE")
    assert code == 0, err
    if served == "ready":
        assert [json.loads(line)["symbol"] for line in out.splitlines()] == ["AAA", "BBB"]
    assert "NONE" in err and KEY not in out + err and SECRET not in out + err


def test_wrong_keys_are_one_line_and_exit_code_two(
    run: Callable[..., Any], served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APCA_API_SECRET_KEY", "wrongwrongwrong")
    code, out, err = run("--symbols=AAA")
    assert code == 2 and out == "" and one_line(err, "403", "APCA_API_SECRET_KEY") and "wrongwrong" not in err
