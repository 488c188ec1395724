"""The yardstick: outcomes against the same minute, controls and their cache, the rule for a claim, who is scored."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from config import Settings
from tests.app.test_ml_trainer import MARKET, QUICK, SESSIONS, evening, fill, random_walk
from tests.learning.learning_rows import known, made_up_rows
from tests.settings import label_rules, learning_settings
from trading.app.learn.retrain import retrain
from trading.audit.command import audit
from trading.backtest.compare import Comparison, Difference, _corrected, verdicts
from trading.backtest.figures import figures
from trading.backtest.verdict import skill_line, verdict
from trading.backtest.walk_forward import Variant, Walk, walk
from trading.backtest.workers import Workers
from trading.backtest.yardstick import control_cache
from trading.backtest.yardstick.control_cache import ControlCache
from trading.backtest.yardstick.controls import Evaluation, Source, controls, entry_costs
from trading.backtest.yardstick.skill import BEST_TENTH, SIGNALS, judged, measure_of, measures
from trading.backtest.yardstick.variants_tried import NAME, record_variants
from trading.base.calendar import new_york_calendar
from trading.base.market_folders import claim
from trading.dataset.dataset import Dataset, Rows
from trading.dataset.rows import header, read_rows_file, rows_lines
from trading.dataset.symbol_files import Fetched
from trading.dataset.universes import Universes, scored_rows
from trading.learning.same_minute import against_minute, auc_within_minute, best_tenth, sessions_needed
from trading.learning.session_statistics import holm, mean_of_sessions, p_value
from trading.market.bars import MINUTE_NS, Bars, join
from trading.market.source import Pick, Universe, write_universe

if TYPE_CHECKING:
    from pathlib import Path

    from trading.backtest.yardstick.skill import Measures
    from trading.learning.session_statistics import Estimate

TREES = learning_settings(**QUICK, MIN_CONFIDENCE=0.55)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("yardstick") / "data"
    fill(folder, SESSIONS, MARKET)
    dataset = Dataset(folder)
    return Source(dataset, dataset.all_bars())


@pytest.fixture(scope="module")
def evaluation(source: Source) -> Evaluation:
    rows = source.dataset.rows_of(source.bars, label_rules(), "document")
    return Evaluation(Variant.of(TREES), rows, np.ones(len(rows), dtype=np.bool_), TREES, 30)


# Against the same minute

minutes = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.booleans()), min_size=1, max_size=80)


@given(minutes)
def test_ranking_within_the_minute_is_the_share_of_pairs_in_order(rows: list[tuple[int, int, bool]]) -> None:
    start, p, y = (np.array(column) for column in zip(*rows, strict=True))
    right = pairs = 0.0
    for minute in set(start.tolist()):
        won, lost = p[(start == minute) & y], p[(start == minute) & ~y]
        right += sum((a > b) + 0.5 * (a == b) for a in won for b in lost)
        pairs += len(won) * len(lost)
    found = auc_within_minute(p.astype(float), y.astype(np.int8), start, np.zeros(len(p), dtype=np.int64), 1)
    assert found["value"] == (pytest.approx(right / pairs) if pairs else None)


@given(minutes)
def test_the_best_tenth_is_a_tenth_of_each_minute_and_the_most_likely(rows: list[tuple[int, int, bool]]) -> None:
    start, p = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=float)
    chosen = best_tenth(p, start)
    for minute in set(start.tolist()):
        inside = start == minute
        n = int(inside.sum())
        assert chosen[inside].sum() == (max(1, n // 10) if n > 1 else 0)
        if chosen[inside].any():
            assert p[inside & chosen].min() >= p[inside & ~chosen].max()
    assert np.allclose([against_minute(p, start)[start == minute].sum() for minute in set(start.tolist())], 0.0)


def test_a_score_that_follows_the_days_level_is_above_half_by_session_and_half_within_the_minute() -> None:
    """Pure random walks of 20 stocks with common shocks: the score is the common level, the label its later rise."""
    random = np.random.default_rng(4)
    by_session, values = [], []
    for _ in range(60):
        level = np.cumsum(random.normal(size=200))
        p = np.tile(-level, 20)  # after a fall of the day, up to the mean of the day is the likelier way
        y = (np.tile(level[-1] - level, 20) + random.normal(size=4000) > 0).astype(np.int8)
        start = np.tile(np.arange(200), 20)
        if 0 < y.sum() < len(y):
            by_session.append(float(roc_auc_score(y, p)))
        values.append(auc_within_minute(p, y, start, np.zeros(4000, dtype=np.int64), 1)["value"])
    assert np.mean(by_session) > 0.7
    assert np.allclose([value for value in values if value is not None], 0.5)


def test_the_sessions_that_an_edge_needs_are_those_of_the_z_test() -> None:
    """A spread of 0.27% between sessions: 57 sessions for 10 basis points, 229 for 5."""
    random = np.random.default_rng(1)
    values = random.normal(size=40)
    values = 0.27 * (values - values.mean()) / values.std(ddof=1)
    ten, five = sessions_needed(mean_of_sessions(list(values)))
    assert (ten["edge_pct"], ten["sessions"], ten["missing"]) == (0.10, 58, 18)
    assert (five["edge_pct"], five["sessions"]) == (0.05, 229)
    shown = 0
    for _ in range(400):  # the power that it promises, with Student's t instead of z
        found = mean_of_sessions(list(random.normal(0.10, 0.27, size=58)))
        shown += known(found["low"]) > 0.0
    assert 0.72 < shown / 400 < 0.88
    assert sessions_needed(mean_of_sessions([0.1]))[0]["sessions"] is None


# Holm


def test_holm_on_a_worked_example() -> None:
    """Four hypotheses with p = 0.01, 0.04, 0.03, 0.005: 0.005 x 4, 0.01 x 3, 0.03 x 2, and never less than before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def test_p_values_agree_with_the_t_test() -> None:
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(2).normal(0.4, 1.0, size=12)
    assert p_value(mean_of_sessions(list(values))) == pytest.approx(float(ttest_1samp(values, 0.0).pvalue))


def test_verdicts_without_a_difference_are_corrected_for_their_number() -> None:
    """Fifty comparisons of noise in 25 sessions: uncorrected some differ, corrected none."""
    random = np.random.default_rng(6)
    table = []
    for i in range(50):
        estimate = mean_of_sessions(list(random.normal(size=25)))
        table.append(
            Comparison(f"v{i}", "own", {"log loss": Difference(estimate, "too few sessions", p_value(estimate))})
        )
    found = [one.differences["log loss"].verdict for one in _corrected(table)]
    assert "no difference after the correction" in found
    assert not {"better", "worse"} & set(found)
    assert verdicts(table) == 50


# The rule


def estimate(value: float, half: float = 0.05) -> Estimate:
    return {"value": value, "low": value - half, "high": value + half, "sessions": 20}


def with_tenth(found: Measures, value: float) -> Measures:
    return {**found, BEST_TENTH: estimate(value), SIGNALS: estimate(value)}


@pytest.fixture(scope="module")
def some(source: Source, evaluation: Evaluation) -> Measures:
    walked = walk(evaluation.rows, evaluation.variant, TREES, window=30, lean=True)
    return measures(walked, entry_costs(walked, evaluation.rows.symbols, source.bars), 0.55)


@pytest.mark.parametrize(
    ("real", "copies", "claimed"),
    [
        (0.30, [0.02, -0.03, 0.01], True),
        (0.30, [0.02, 0.31, 0.01], False),  # one copy has as much
        (0.04, [0.02, -0.03, 0.01], False),  # the interval includes zero
        (0.06, [0.02, -0.03, 0.01], False),  # the 95% interval excludes zero, the 99% interval includes it
        (-0.30, [0.02, -0.03, 0.01], False),
        (0.30, [], False),
        (0.60, [0.30, 0.28, 0.01], False),  # most copies know the future
    ],
)
def test_skill_is_claimed_outside_the_controls_and_beyond_the_interval_only(
    some: Measures, real: float, copies: list[float], claimed: bool
) -> None:
    found = judged(with_tenth(some, real), [with_tenth(some, value) for value in copies])
    assert found["claimed"] is found["signals_claimed"] is claimed
    assert ("chose better" in skill_line(found)) is claimed
    assert found["look_ahead"] == ("looks ahead" in skill_line(found)) == (copies == [0.30, 0.28, 0.01])
    assert measure_of(found, BEST_TENTH)["controls"] == copies


def test_signals_are_no_skill_without_the_best_tenth(some: Measures) -> None:
    found = judged(
        {**some, BEST_TENTH: estimate(0.04), SIGNALS: estimate(0.30)},
        [with_tenth(some, value) for value in (0.02, -0.03)],
    )
    assert measure_of(found, SIGNALS)["outside"] == "above"
    assert (found["claimed"], found["signals_claimed"]) == (False, False)


def test_cost_alone_is_no_skill() -> None:
    """Stocks that differ in nothing but their cost, and a model that leaves out the dear ones."""
    rows = made_up_rows(sessions=8, symbols=20, minutes=30, strength=0.0)
    dear = rows.symbol >= 10
    gross = np.random.default_rng(3).normal(scale=0.3, size=len(rows))
    cost = np.where(dear, 0.8, 0.1)
    scored = rows.session >= rows.sessions[5]
    n = int(scored.sum())
    walked = walk(rows, Variant(), TREES, window=30, lean=True)
    walked = replace(walked, p=np.where(dear[scored], 0.3, 0.7)[:n], outcome=(gross - cost)[scored])
    after_cost = figures(walked, min_confidence=0.55)["pooled"]["model"]["against_minute"]["best_tenth"]
    assert known(after_cost["low"]) > 0.2
    before = measures(walked, cost[scored], 0.55)[BEST_TENTH]
    assert known(before["low"]) < 0.0 < known(before["high"])


# Controls


def test_a_lean_walk_has_the_probabilities_of_the_whole(evaluation: Evaluation) -> None:
    whole = walk(evaluation.rows, evaluation.variant, TREES, window=30)
    lean = walk(evaluation.rows, evaluation.variant, TREES, window=30, lean=True)
    assert np.array_equal(whole.p, lean.p)


@pytest.mark.parametrize("window", [30, None])
def test_controls_do_not_depend_on_workers_and_are_kept(
    source: Source, evaluation: Evaluation, tmp_path: Path, window: int | None
) -> None:
    newest = evaluation.rows.session >= evaluation.rows.sessions[-2]
    one = replace(evaluation, window=window, scored=newest)
    (alone,) = controls([one], source, 2, ControlCache(tmp_path / "a"))
    (several,) = controls([one], source, 2, ControlCache(tmp_path / "b"), at=Workers(jobs=2))
    assert alone == several and alone[0] != alone[1]
    said: list[str] = []
    again = controls([one], source, 2, ControlCache(tmp_path / "a"), progress=lambda what, done, of: said.append(what))
    assert again == [alone]
    assert not [line for line in said if "copy" in line], "they came from the cache"


def test_a_damaged_file_is_made_again_and_another_input_has_another_file(
    source: Source, evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(evaluation, window=None, scored=evaluation.rows.session >= evaluation.rows.sessions[-1])
    cache = ControlCache(tmp_path)
    (first,) = controls([one], source, 1, cache)
    (path,) = cache.folder.glob("*.json")
    whole = path.read_bytes()
    for damage in (
        b"",
        whole[: len(whole) // 2],
        b"[]",
        b'{"signals": 1}',
        whole.replace(b'"sessions":1', b'"sessions":"x"'),
    ):
        path.write_bytes(damage)
        assert controls([one], source, 1, cache) == [first]
        assert path.read_bytes() == whole
    other = {**source.bars, "AAA": source.bars["AAA"].take(slice(0, -30))}
    controls([one], replace(source, bars=other), 1, cache)
    controls([replace(one, settings=TREES.changed(N_ESTIMATORS=13))], source, 1, cache)
    controls([replace(one, settings=TREES.changed(KEEP_MODELS=7, CONTROLS=9))], source, 1, cache)
    assert len(list(cache.folder.glob("*.json"))) == 3
    monkeypatch.setattr(control_cache, "KEPT", 2)
    os.utime(path, (1, 1))
    cache.prune()
    assert len(list(cache.folder.glob("*.json"))) == 2 and not path.exists()


def test_no_copies_no_controls(source: Source, evaluation: Evaluation, tmp_path: Path) -> None:
    assert controls([evaluation], source, 0, ControlCache(tmp_path)) == [[]]
    assert not list(tmp_path.iterdir())


def shifted(rows: Rows) -> Rows:
    """Rows whose features are those of the next bar of their stock: a look-ahead of one bar."""
    X = rows.X.copy()
    same = (rows.symbol[1:] == rows.symbol[:-1]) & (rows.start[1:] - rows.start[:-1] == MINUTE_NS)
    X[:-1][same] = rows.X[1:][same]
    return replace(rows, X=X)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Fourteen sessions of eight random walks."""
    sessions = new_york_calendar().between(date(2018, 3, 9), date(2018, 3, 28))
    folder = tmp_path_factory.mktemp("wide") / "data"
    days = [session.date for session in sessions]
    fetched = {s * 3: Fetched(join([random_walk(s * 3, one) for one in sessions]), days) for s in "ABCDEFGH"}
    claim(folder, MARKET)
    dataset = Dataset(folder)
    dataset.update(fetched, label_rules(), source="bars", feed="recorded")
    return Source(dataset, dataset.all_bars())


@pytest.mark.parametrize("ahead", ["nowhere", "in the real rows", "in the code"])
def test_a_planted_look_ahead_of_one_bar_is_found(wide: Source, tmp_path: Path, ahead: str) -> None:
    """In the real rows it lies outside the controls; in the code the controls themselves show skill."""
    settings = TREES.changed(MODEL_KIND="gradient_boosting", N_ESTIMATORS=40, LABEL_WITHIN_MINUTES=2)
    used = replace(wide, dataset=Ahead(wide.dataset.folder)) if ahead == "in the code" else wide
    rows = used.dataset.rows_of(used.bars, label_rules(LABEL_WITHIN_MINUTES=2), "document")
    rows = shifted(rows) if ahead == "in the real rows" else rows
    scored = np.ones(len(rows), dtype=np.bool_)
    one = Evaluation(Variant.of(settings), rows, scored, settings, 30)
    (found,) = controls([one], used, 3, ControlCache(tmp_path))
    walked = walk(rows, one.variant, settings, window=30, lean=True)
    cost = entry_costs(walked, rows.symbols, used.bars)
    said = verdict(figures(walked, min_confidence=0.55, controls=found, cost=cost))[0]
    words = {"nowhere": "No evidence of skill", "in the real rows": "It chose better", "in the code": "looks ahead"}
    assert words[ahead] in said
    assert ("--audit" in said) is (ahead != "nowhere")


class Ahead(Dataset):
    """A dataset whose code makes features one bar too late."""

    def rows_of(self, *arguments: Any, **options: Any) -> Rows:
        return shifted(super().rows_of(*arguments, **options))


def test_rows_on_disk_that_look_ahead_lie_outside_the_controls_and_the_audit_names_them(
    wide: Source, tmp_path: Path
) -> None:
    """A training on features of the next bar: its page shows them outside the controls, `--audit` says where."""
    data = tmp_path / "data"
    shutil.copytree(wide.dataset.folder, data)
    dataset = Dataset(data)
    dataset.update({}, label_rules(LABEL_WITHIN_MINUTES=2), source="bars", feed="recorded")
    for symbol in dataset.symbols:
        rows = read_rows_file(dataset.rows_path(symbol))
        next_bar = np.minimum(np.arange(len(rows)) + 1, len(rows) - 1)
        ahead = replace(rows, X=rows.X[next_bar])
        dataset.rows_path(symbol).write_bytes(header("document") + rows_lines(symbol, ahead))
    values = {**QUICK, "MODEL_KIND": "gradient_boosting", "N_ESTIMATORS": 40, "TEST_SIZE": 0.5, "CONTROLS": 3}
    values |= {"LABEL_WITHIN_MINUTES": 2}
    folders = {"DATA_DIR": data, "MODELS_DIR": tmp_path / "models", "LOGS_DIR": tmp_path / "logs"}
    settings = Settings.of(**values, **folders)
    said: list[str] = []
    retrain(data, tmp_path / "models", settings, evening(SESSIONS[-1]), say=said.append)
    assert "It chose better" in said[0] and "--audit" in said[0]
    (found,) = audit(settings.folders, TREES, only=["files"])
    assert found.findings == len(dataset.symbols)
    assert "AAA.csv: differs from the rows that its bars make" in found.told[0]


# The universe of each date


def bars_of(volume: float, close: float, days: int = 3) -> Bars:
    start = np.array([int(session.open.timestamp()) * 10**9 for session in SESSIONS[:days]])
    price = np.full(days, close)
    return Bars(start, price, price, price, price, np.full(days, volume))


def test_the_universe_is_the_most_active_of_the_evening_before_within_the_band(source: Source, tmp_path: Path) -> None:
    bars = {
        "BIG": bars_of(900.0, 50.0),
        "MID": bars_of(500.0, 10.0),
        "LOW": bars_of(100.0, 10.0),
        "NEW": bars_of(9e9, 9.0, 2),
    }
    universes = Universes(tmp_path, lambda: bars, source.dataset.calendar, Settings.of(TOP_STOCKS=2).data)
    days = [session.date for session in SESSIONS]
    assert universes.universe_before(days[0]) == frozenset(), "nothing is known before the first session"
    assert universes.universe_before(days[1]) == {"NEW", "MID"}
    assert universes.universe_before(days[3]) == {"MID", "LOW"}, "NEW had no bar the evening before"


@pytest.mark.parametrize(
    ("picked", "expected"),
    [("2018-03-20T04:00:00-04:00", {"LOW"}), ("2018-03-20T20:00:00-04:00", {"MID", "LOW"}), (None, {"MID", "LOW"})],
)
def test_a_universe_file_counts_if_it_was_written_before_the_open(
    source: Source, tmp_path: Path, picked: str | None, expected: set[str]
) -> None:
    bars = {"MID": bars_of(500.0, 10.0), "LOW": bars_of(100.0, 10.0)}
    at = datetime.fromisoformat(picked or "2018-03-20T04:00:00-04:00")
    write_universe(tmp_path, Universe(SESSIONS[1].date, "by hand", (Pick("LOW"),)), "iex", at)
    path = tmp_path / "universe_2018-03-20.json"
    if picked is None:  # as versions before 0.3 wrote it
        path.write_text(path.read_text().replace("picked_at", "other"))
    universes = Universes(tmp_path, lambda: bars, source.dataset.calendar, Settings().data)
    assert universes.universe_before(SESSIONS[1].date) == expected


def test_a_stock_is_not_scored_on_a_session_on_which_it_could_not_be_picked(
    source: Source, evaluation: Evaluation
) -> None:
    """BBB trades at $10 and closes one session at $25: it is learnt from, but not scored on the next session."""
    one = source.bars["BBB"]
    inside = np.flatnonzero(one.start < int(SESSIONS[5].close.timestamp()) * 10**9)
    prices = {name: getattr(one, name).copy() for name in ("open", "high", "low", "close")}
    prices["close"][inside[-1]] = prices["high"][inside[-1]] = 25.0
    bars = {**source.bars, "BBB": replace(one, **prices)}
    universes = Universes(source.dataset.folder, lambda: bars, source.dataset.calendar, Settings().data)
    rows = evaluation.rows
    scored = scored_rows(rows, universes)
    b = rows.symbol == rows.symbols.index("BBB")
    next_day = rows.session == np.datetime64(SESSIONS[6].date)
    assert not scored[b & next_day].any() and scored[~b & next_day].all()
    walked: Walk = walk(rows, evaluation.variant, TREES, window=30, lean=True, scored=scored)
    day = walked.sessions.tolist().index(SESSIONS[6].date)
    names = {rows.symbols[i] for i in walked.symbol[walked.group == day]}
    assert names == {"AAA", "CCC"}
    everything = walk(rows, evaluation.variant, TREES, window=30, lean=True)
    kept = scored[rows.session >= rows.sessions[5]]
    assert np.array_equal(walked.p, everything.p[kept]), "what is scored changes nothing of the models"


# Variants tried


def test_variants_are_counted_once_and_only_on_the_same_sessions(evaluation: Evaluation, tmp_path: Path) -> None:
    now = evening(SESSIONS[-1])
    first = walk(evaluation.rows, evaluation.variant, TREES, window=30, lean=True)
    other = replace(first, settings=TREES.changed(N_ESTIMATORS=13))
    earlier = replace(first, settings=TREES.changed(SEED=9), sessions=first.sessions - 100)
    assert record_variants(tmp_path, [first], "--walk-forward", now, Settings().data) == (1, 0)
    assert record_variants(tmp_path, [first], "--walk-forward", now, Settings().data) == (1, 0)
    assert record_variants(tmp_path, [earlier], "--walk-forward", now, Settings().data) == (1, 0)
    with open(tmp_path / NAME, "ab") as file:
        file.write(b'{"cut": \n[1]\n{"sessions": 3}\n')
    assert record_variants(tmp_path, [first, other], "--compare", now, Settings().data) == (2, 3)
    assert record_variants(tmp_path, [first], "--walk-forward", now, Settings().data.changed(MAX_PRICE=6.0)) == (3, 3)
