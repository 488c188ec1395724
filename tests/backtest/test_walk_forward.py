"""Walk-forward: no fit uses the future, figures equal a slow reference, intervals have their coverage."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from config import Settings
from tests.app.test_ml_trainer import QUICK, SESSIONS, evening, fill, run, settings
from tests.learning.learning_rows import FEW_TREES, KINDS, covers, known, made_up_rows
from tests.settings import label_rules
from trading.app.learn.retrain import learning_settings, retrain
from trading.backtest.compare import FEATURE_SETS, compare, in_common, variants
from trading.backtest.figures import figures
from trading.backtest.simulated_trades import (
    AccountRules,
    SimulatedTrade,
    evolution,
    simulated_trades,
    trade_figures,
    trades_against_minute,
)
from trading.backtest.verdict import verdict
from trading.backtest.walk_forward import Variant, Walk, walk
from trading.base.calendar import new_york_calendar
from trading.base.errors import DataError
from trading.dataset.dataset import Dataset
from trading.learning.fitting import probabilities
from trading.learning.metrics import ranking
from trading.learning.session_statistics import differences, mean_of_sessions, pooled_difference, pooled_mean
from trading.market.bars import read_bars_file
from trading.models.store import ModelStore
from trading.rules.exits import exit_in_bar, levels
from trading.rules.labels import profit_labels

if TYPE_CHECKING:
    from pathlib import Path

    from config import ModelKind
    from trading.dataset.dataset import Rows
    from trading.market.bars import Bars

ROWS = made_up_rows(sessions=8, symbols=3, minutes=60)
TREES = FEW_TREES.changed(
    N_ESTIMATORS=8,
    FOREST_MAX_SAMPLES=0.5,
    TRAIN_EVERY_NTH_ROW=1,
    BOOSTING_LEARNING_RATE=0.3,
    BOOSTING_MIN_SAMPLES_LEAF=20,
)


def walked(rows: Rows = ROWS, kind: ModelKind = "random_forest", **options: Any) -> Walk:
    return walk(rows, Variant(kind), TREES, **{"window": 30, "least": 4, **options})


@pytest.fixture(scope="module")
def plain_walk() -> Walk:
    return walked()


# No look-ahead


@pytest.mark.parametrize("kind", KINDS)
def test_later_rows_change_no_bit_of_earlier_scores(kind: ModelKind) -> None:
    """From the seventh session on a feature gives the label away: only models of later evenings may know."""
    told = ROWS.session >= np.unique(ROWS.session)[6]
    X = ROWS.X.copy()
    X[told, 0] = np.where(ROWS.label[told] == 1, 1e6, -1e6)
    before, after = walked(kind=kind), walked(replace(ROWS, X=X), kind)
    assert np.array_equal(before.p[before.group < 2], after.p[after.group < 2])
    assert np.array_equal(before.calibrated[before.group < 2], after.calibrated[after.group < 2])
    auc = [ranking(after.p[after.group == i], after.label[after.group == i])["roc_auc"] for i in range(4)]
    assert auc[2] is not None and auc[2] < 0.95, "the session in which it begins cannot be known the evening before"
    assert auc[3] is not None and auc[3] > 0.98, "the evening after it can"


def test_the_outcomes_of_a_session_do_not_reach_the_model_that_scores_it() -> None:
    last = ROWS.session == ROWS.session.max()
    turned = replace(ROWS, label=np.where(last, 1 - ROWS.label, ROWS.label).astype(np.int8))
    assert np.array_equal(walked().p, walked(turned).p)


def test_window_and_least_sessions(plain_walk: Walk) -> None:
    assert plain_walk.known_sessions.tolist() == [4, 5, 6, 7]
    short = walked(window=3)
    assert short.known_sessions.tolist() == [3, 3, 3, 3, 3]
    assert len(short.sessions) == 5
    newest = walked(ROWS.take(ROWS.session >= np.unique(ROWS.session)[4]), window=3)
    assert np.array_equal(short.p[short.group == 4], newest.p), "what left the window is forgotten"


def test_too_few_sessions_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"more than 4 sessions, and the data has 4; .*--days"):
        walked(ROWS.take(ROWS.session < np.unique(ROWS.session)[4]))


def test_the_base_rate_is_that_of_the_history(plain_walk: Walk) -> None:
    for i, day in enumerate(plain_walk.sessions):
        assert plain_walk.base_rate[i] == np.mean(ROWS.label[ROWS.session < day])


def test_each_session_is_scored_as_the_nightly_model_would_score_it(tmp_path: Path) -> None:
    """Compared with the model that a retrain after the session before publishes."""
    fill(tmp_path / "data", SESSIONS)
    rows = Dataset(tmp_path / "data").load()
    chosen = settings(HISTORY_DAYS=5, TRAINING_REPORT=False)
    found = walk(rows, Variant(), learning_settings(chosen), window=5, least=4)
    for i, session in ((0, SESSIONS[4]), (2, SESSIONS[6])):
        before = SESSIONS[SESSIONS.index(session) - 1]
        model, _ = retrain(tmp_path / "data", tmp_path / "models", chosen, evening(before))
        inside = rows.session == np.datetime64(session.date)
        assert np.array_equal(found.p[found.group == i], probabilities(model.scaler, model.model, rows.X[inside]))


def test_a_variant_has_settings_and_a_name() -> None:
    own = Variant("gradient_boosting", "relative", "target_first", 0.0075, 60)
    assert Variant.of(own.applied(TREES)) == own
    assert own.name == "gradient_boosting, relative features, +0.75% first in 60 min"
    profit = Variant(label="profit", label_pct=0.002)
    assert Variant.of(profit.applied(TREES)) == profit
    assert profit.name == "random_forest, profit above 0.2%"
    assert len({one.name for one in variants(own)}) == len(variants(own)) == 10
    assert variants(own)[0] == own


# Figures


def test_figures_equal_those_of_a_slow_reference(plain_walk: Walk) -> None:
    found = figures(plain_walk, min_confidence=0.65)
    assert len(found["by_session"]) == 4
    aucs = []
    for i, day in enumerate(found["by_session"]):
        rows = np.flatnonzero(plain_walk.group == i)
        p, y, outcome = plain_walk.p[rows], plain_walk.label[rows], plain_walk.outcome[rows]
        pairs = [(a > b) + 0.5 * (a == b) for a in p[y == 1] for b in p[y == 0]]
        aucs.append(float(np.mean(pairs)))
        loss = -np.mean([math.log(a if won else 1 - a) for a, won in zip(p, y, strict=True)])
        rate = plain_walk.base_rate[i]
        base = -np.mean([math.log(rate if won else 1 - rate) for won in y])
        signals = [(won, o) for a, won, o in zip(p, y, outcome, strict=True) if a >= 0.65]
        assert day["model"]["roc_auc"] == pytest.approx(aucs[-1])
        assert day["model"]["log_loss"] == pytest.approx(loss)
        assert day["base_rate"]["log_loss"] == pytest.approx(base)
        assert day["base_rate"]["brier"] == pytest.approx(np.mean((rate - y) ** 2))
        assert day["model"]["signals"] == len(signals)
        assert signals
        assert day["model"]["precision"] == pytest.approx(np.mean([won for won, _ in signals]))
        assert day["model"]["outcome_per_signal_pct"] == pytest.approx(np.mean([o for _, o in signals]))
    assert found["pooled"]["model"]["roc_auc"]["value"] == pytest.approx(np.mean(aucs))
    signal = plain_walk.p >= 0.65
    assert found["pooled"]["model"]["outcome_per_signal_pct"]["value"] == pytest.approx(
        np.mean(plain_walk.outcome[signal])
    )
    for band in found["reliability"]["model"]:
        inside = [i for i, p in enumerate(plain_walk.p) if band["from"] <= p < band["to"]]
        assert band["rows"] == len(inside)
        assert band["won"]["value"] == pytest.approx(np.mean(plain_walk.label[inside]))
    assert sum(band["rows"] for band in found["reliability"]["model"]) == len(plain_walk.p)


def test_importance_finds_the_only_predictive_feature(plain_walk: Walk) -> None:
    found = figures(plain_walk, min_confidence=0.65)["importance"]
    assert found[0]["feature"] == "MACD"  # column 6 carries the made-up pattern
    assert known(found[0]["roc_auc_lost"]["low"]) > 0.1
    assert all(abs(known(entry["roc_auc_lost"]["value"])) < 0.05 for entry in found[1:])


def test_the_verdict_claims_no_skill_where_there_is_none() -> None:
    found = figures(walked(made_up_rows(sessions=8, strength=0.0)), min_confidence=0.65)
    assert verdict(found)[0].startswith("No skill is claimed without controls")
    interval = found["pooled"]["model"]["roc_auc"]
    assert covers(interval, 0.5)


@pytest.mark.parametrize(
    ("sessions", "probabilities", "edge"),
    [
        (4, "too few to tell", "Too few sessions"),
        (8, "that does not say that buying them earns", "Too few sessions"),
        (16, "that does not say that buying them earns", "An edge over the same minute shows"),
    ],
)
def test_the_verdict_says_only_what_so_many_sessions_can_show(sessions: int, probabilities: str, edge: str) -> None:
    found = figures(walked(made_up_rows(sessions=sessions + 2)), min_confidence=0.65)
    lines = verdict(found)
    assert f"“{found['question']}”" in lines[1] and probabilities in lines[1]
    assert lines[3].startswith(edge)


def test_the_verdict_does_not_say_that_a_model_without_skill_knows_which_stocks_move() -> None:
    found = figures(walked(made_up_rows(sessions=12, strength=0.0)), min_confidence=0.65)
    assert verdict(found)[1].endswith("So it is not shown that the model knows even which stocks move.")


def test_figures_hold_no_nan_even_where_there_is_no_signal_or_one_class(plain_walk: Walk) -> None:
    one_class = replace(plain_walk, label=np.zeros_like(plain_walk.label), p=np.full_like(plain_walk.p, 0.2))
    for case in (plain_walk, one_class):
        found = figures(case, min_confidence=0.99)
        json.dumps(found, allow_nan=False)
        assert verdict(found)
    assert found["pooled"]["model"]["precision"]["value"] is None
    assert found["by_session"][0]["model"]["roc_auc"] is None


# Intervals over sessions


def test_the_interval_is_the_jackknife_over_sessions() -> None:
    random = np.random.default_rng(3)
    groups = [random.normal(size=size) for size in (5, 1, 9, 30)]
    found = pooled_mean(np.array([g.sum() for g in groups]), np.array([float(len(g)) for g in groups]))
    left = [np.mean(np.concatenate([g for j, g in enumerate(groups) if j != i])) for i in range(4)]
    error = math.sqrt(3 / 4 * sum((value - np.mean(left)) ** 2 for value in left))
    assert found["value"] == pytest.approx(np.mean(np.concatenate(groups)))
    assert known(found["high"]) - known(found["value"]) == pytest.approx(
        3.1824463 * error
    )  # t of 3 degrees of freedom, 97.5%


def test_intervals_over_sessions_cover_the_truth_and_those_over_rows_do_not() -> None:
    """Days that differ: 25 sessions of uneven length, a day's own luck in every row of it, the true mean 0."""
    random = np.random.default_rng(11)
    over_sessions = over_rows = paired = trials = 0
    for _ in range(600):
        counts = random.integers(5, 60, size=25)
        rows = [random.normal() + random.normal(size=n) for n in counts]
        total, count = np.array([r.sum() for r in rows]), counts.astype(float)
        found = pooled_mean(total, count)
        every = np.concatenate(rows)
        half = 1.96 * np.std(every) / math.sqrt(len(every))
        other = np.array([(r + random.normal(size=len(r))).sum() for r in rows])
        difference = pooled_difference(other, count, total, count)
        trials += 1
        over_sessions += covers(found, 0.0)
        over_rows += abs(np.mean(every)) <= half
        paired += covers(difference, 0.0)
    assert 0.92 <= over_sessions / trials <= 0.98
    assert 0.92 <= paired / trials <= 0.98
    assert over_rows / trials < 0.6


def test_undefined_figures_are_none() -> None:
    nothing = pooled_mean(np.zeros(3), np.zeros(3))
    assert (nothing["value"], nothing["low"]) == (None, None)
    one = pooled_mean(np.array([2.0, 0.0]), np.array([4.0, 0.0]))
    assert (one["value"], one["low"]) == (0.5, None)
    assert mean_of_sessions([None, 0.5]) == {"value": 0.5, "low": None, "high": None, "sessions": 1}
    assert differences([1.0, None], [0.25, 1.0]) == [0.75, None]
    lonely = pooled_difference(np.array([1.0, 0.0]), np.array([2.0, 0.0]), np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    assert lonely["value"] == -0.5 and lonely["low"] is None


# Comparison


def test_a_comparison_is_paired_and_has_the_right_sign() -> None:
    good = walked()
    random = np.random.default_rng(2)
    noise = replace(good, p=random.uniform(0.3, 0.6, size=len(good.p)), calibrated=np.full_like(good.p, 0.4))
    found = [figures(one, min_confidence=0.65) for one in (good, noise)]
    worse = compare([good, noise], found, min_confidence=0.65)[0].differences
    better = compare([noise, good], found[::-1], min_confidence=0.65)[0].differences
    assert worse["ROC-AUC within the minute"].verdict == worse["log loss"].verdict == "worse"
    assert better["ROC-AUC within the minute"].verdict == better["log loss"].verdict == "better"
    within = [known(one["pooled"]["model"]["roc_auc_within_minute"]["value"]) for one in found]
    assert worse["ROC-AUC within the minute"].estimate["value"] == pytest.approx(within[1] - within[0])
    days = [[day["model"]["log_loss"] for day in one["by_session"]] for one in found]
    assert worse["log loss"].estimate["value"] == pytest.approx(np.mean(np.array(days[1]) - np.array(days[0])))
    same = compare([good, good], [found[0], found[0]], min_confidence=0.65)[0].differences
    ranked = same["ROC-AUC within the minute"]
    assert ranked.estimate["value"] == 0.0 and "no difference" in ranked.verdict


def test_log_losses_of_different_labels_are_not_comparable() -> None:
    usual = walked(kind="gradient_boosting")
    other = replace(ROWS, label=profit_labels(ROWS.outcome, 0.0395))
    assert np.mean(other.label) < np.mean(ROWS.label) - 0.05
    higher = walk(other, Variant("gradient_boosting", "document", "profit", 0.0395), TREES, window=30, least=4)
    found = [figures(one, min_confidence=0.65) for one in (usual, higher)]
    (entry,) = compare([usual, higher], found, min_confidence=0.65)
    loss = entry.differences["log loss"]
    assert loss.verdict == "not comparable"
    assert entry.differences["ROC-AUC within the minute"].verdict == "not comparable"
    assert entry.differences["outcome per signal, %"].verdict != "not comparable"


def test_rows_that_one_set_lacks_are_left_out_of_all(market: Path) -> None:
    dataset = Dataset(market)
    both = {name: dataset.make(label_rules(), name) for name in FEATURE_SETS}
    thinned = {**both, "document": both["document"].take(both["document"].start % 7 != 0)}
    rows, left_out = in_common(thinned)
    places = [
        {(one.symbols[s], t) for s, t in zip(one.symbol.tolist(), one.start.tolist(), strict=True)}
        for one in (*thinned.values(), *rows.values())
    ]
    assert places[2] == places[3] == places[0] & places[1]
    assert left_out == {"document": len(places[0] - places[1]), "relative": len(places[1] - places[0])}
    assert min(left_out.values()) > 0
    assert np.array_equal(rows["document"].session, rows["relative"].session)


# Trades


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walk") / "data"
    fill(folder, SESSIONS)
    return folder


def _slow_trades(found: Walk, rows: Any, bars: dict[str, Bars], most: int) -> list[tuple[int, str, float]]:
    """A minute-by-minute reference of the simulated trades."""
    calendar, held, trades = new_york_calendar(), {}, []  # type: ignore[var-annotated]
    for now in sorted(set(found.start.tolist())):
        for symbol in [s for s, until in held.items() if until <= now]:
            del held[symbol]
        minute = [i for i in np.flatnonzero(found.start == now) if found.p[i] >= 0.5]
        for i in sorted(minute, key=lambda i: (-found.p[i], found.symbol[i])):
            symbol = rows.symbols[found.symbol[i]]
            if symbol in held or len(held) >= most:
                continue
            day = found.sessions[found.group[i]].item()
            flatten = int(calendar.session(day).flatten_at(5).timestamp() * 1e9)
            b = bars[symbol]
            k = entry = int(np.flatnonzero(b.start == now)[0]) + 1
            stop, target = levels(b.open[entry], 0.02, 0.04)
            while b.start[k] < flatten and exit_in_bar(b.open[k], b.high[k], b.low[k], stop, target)[0] == 0:
                k += 1
            held[symbol] = int(b.start[k])
            trades.append((int(found.group[i]), symbol, float(found.outcome[i])))
    return trades


def test_simulated_trades_are_those_of_a_minute_by_minute_account(market: Path) -> None:
    dataset = Dataset(market)
    rows = dataset.load()
    scored = walk(rows, Variant(), TREES.changed(TRAIN_EVERY_NTH_ROW=8), window=30, least=4)
    scored = replace(scored, p=np.random.default_rng(1).uniform(size=len(scored.p)) ** 8)
    bars = {symbol: read_bars_file(dataset.bars_path(symbol)) for symbol in rows.symbols}
    chosen = Settings.of(MIN_CONFIDENCE=0.5, MAX_OPEN_POSITIONS=2)
    account = AccountRules(Decimal(100_000), chosen.prediction, chosen.data, chosen.entry, chosen.exits)
    trades = simulated_trades(scored, scored.p, rows.symbols, bars.__getitem__, dataset.calendar, account)
    assert len(trades) > 20
    slow = _slow_trades(scored, rows, bars, 2)
    assert [(t.session, t.symbol, pytest.approx(t.outcome)) for t in trades] == slow
    assert all(t.shares == 5 and t.pnl == pytest.approx(5 * t.price * t.outcome / 100.0) for t in trades)
    weeks = evolution(scored, scored.p, trades, Decimal(100_000))
    assert sum(week["trades"] for week in weeks) == len(trades)
    json.dumps(weeks, allow_nan=False)


def test_trade_figures_by_hand() -> None:
    trades = [SimulatedTrade(0, "A", 5, 10.0, 3.9, 1.0, 1.95), SimulatedTrade(0, "B", 5, 20.0, -2.1, 0.5, -2.1)]
    found = trade_figures(trades, Decimal(100_000), 2)
    assert found["win_rate"] == 0.5
    assert found["outcome_per_trade_pct"] == pytest.approx(0.9)
    assert found["against_minute_pct"] == pytest.approx(0.75)
    assert trades_against_minute([*trades, SimulatedTrade(1, "A", 5, 10.0, 1.0, 0.0, 0.5)], 2)["value"] == 0.5
    assert found["return_on_account_pct"] == pytest.approx(-0.00015)
    assert found["return_on_account_per_day_pct"] == pytest.approx(-0.000075)
    assert found["return_on_money_traded_pct"] == pytest.approx(-0.1)
    assert trade_figures([], Decimal(100_000), 1)["win_rate"] is None


# The command


def test_the_commands_write_json_page_and_table_and_leave_the_models_alone(
    market: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "170")
    models, env_file = tmp_path / "models", tmp_path / "env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in QUICK.items()))
    retrain(market, models, settings(), evening(SESSIONS[-1]))
    folders = ("--data-dir", market, "--models-dir", models, "--env-file", env_file)
    for flag, name in (("--walk-forward", "walk_forward"), ("--compare", "comparison")):
        assert run(flag, *folders, "--model", "gradient_boosting") == 0
        (path,) = models.glob(f"{name}_*.json")
        stored = json.loads(path.read_text(), parse_constant=pytest.fail)
        assert stored["market"]["generated"] and stored["format"] == 1
        assert path.with_suffix(".html").stat().st_size > 10_000
        said = capsys.readouterr().out
        assert str(path.with_suffix(".html")) in said and "prove nothing" in said
        if flag == "--walk-forward":
            assert stored["kind"] == "gradient_boosting" and len(stored["by_session"]) == len(SESSIONS) - 5
            assert "Performance evolution" in said and "random split" in said and "by_session" in stored
        else:
            assert [one["variant"] for one in stored["variants"]] == [
                "gradient_boosting, +0.5% first",
                "random_forest, +0.5% first",
                "gradient_boosting, relative features, +0.5% first",
                "random_forest, relative features, +0.5% first",
                "gradient_boosting, any profit",
                "gradient_boosting, +0.75% first",
                "gradient_boosting, +1% first",
                "gradient_boosting, +0.5% first in 60 min",
                "gradient_boosting, +0.75% first in 60 min",
                "gradient_boosting, +1% first in 60 min",
            ]
            assert stored["left_out"]["document"] > 0 == stored["left_out"]["relative"]
            assert "Differences from gradient_boosting" in said
    kept = {path.name for path in models.iterdir() if path.name.startswith(("walk_forward", "comparison"))}
    store = ModelStore(models)
    assert len(store.timestamps()) == 1
    retrain(market, models, settings(), evening(SESSIONS[-1]))  # its sweep takes leftovers only
    assert len(kept) == 4 and kept <= {path.name for path in models.iterdir()}
