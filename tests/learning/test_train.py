"""Training: no leak between sessions, and the same input gives the same bits."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from tests.learning.learning_rows import FEW_TREES, KINDS, covers, known, made_up_rows
from trading.base.errors import DataError
from trading.features.document import FEATURES
from trading.learning.calibration import Calibration, fit_calibration, win_probability
from trading.learning.fitting import LearningSettings, fit, probabilities
from trading.learning.metrics import at_threshold, evaluate, reliability
from trading.learning.promotion import Decision, FittedModel
from trading.learning.rows import split_by_session, thin
from trading.learning.session_statistics import above, mean_of_sessions, number
from trading.learning.train import out_of_sample, train

if TYPE_CHECKING:
    from config import ModelKind
    from trading.dataset.dataset import Rows


def settings_of(kind: ModelKind) -> LearningSettings:
    return FEW_TREES.changed(MODEL_KIND=kind)


# Split


@given(st.lists(st.integers(17_000, 17_040), min_size=1, max_size=200), st.floats(0.05, 0.5))
def test_no_session_is_on_both_sides_and_the_newest_are_tested(days: list[int], test_size: float) -> None:
    session = np.array(days, dtype="datetime64[D]")
    count = len(set(days))
    if count < 2:
        with pytest.raises(DataError, match="training needs two sessions, and the data has 1;"):
            split_by_session(session, test_size)
        return
    train_rows, test_rows = split_by_session(session, test_size)
    assert (train_rows ^ test_rows).all()
    assert train_rows.any()
    assert test_rows.any()
    assert session[train_rows].max() < session[test_rows].min()
    assert len(set(session[test_rows])) == max(1, round(test_size * count))


def test_thirty_sessions_train_on_24_and_test_on_6() -> None:
    session = np.repeat(np.datetime64("2018-02-16") + np.arange(30), 3)
    train_rows, test_rows = split_by_session(session)
    assert (len(np.unique(session[train_rows])), len(np.unique(session[test_rows]))) == (24, 6)


# Thinning


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 40)), max_size=8, unique_by=lambda g: g[:2]
    ),
    st.integers(1, 10),
)
def test_rows_are_thinned_and_every_stock_is_kept(groups: list[tuple[int, int, int]], every: int) -> None:
    groups.sort()
    session = np.repeat([g[0] for g in groups], [g[2] for g in groups]).astype("datetime64[D]")
    symbol = np.repeat([g[1] for g in groups], [g[2] for g in groups]).astype(np.int32)
    kept = thin(symbol, session, every)
    assert kept.shape == symbol.shape
    for day, stock, size in groups:
        inside = (session == np.datetime64(day, "D")) & (symbol == stock)
        assert size // every <= int(kept[inside].sum()) <= -(-size // every)
        positions = np.flatnonzero(kept[inside])
        assert (np.diff(positions) == every).all()


def test_thinning_keeps_rows_of_every_minute_of_the_day() -> None:
    rows = made_up_rows(sessions=2, symbols=8, minutes=40)
    kept = thin(rows.symbol, rows.session, 8)
    minute = np.tile(np.arange(40), 16)
    assert set(minute[kept]) == set(range(40))


# Fitting and predicting


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_and_settings_give_the_same_bytes_on_any_number_of_threads(kind: ModelKind) -> None:
    rows = made_up_rows()
    first = fit(rows.X, rows.label, settings_of(kind).training)
    with threadpool_limits(2):
        second = fit(rows.X, rows.label, settings_of(kind).training)
    assert pickle.dumps(first) == pickle.dumps(second)
    assert not np.array_equal(
        probabilities(*first, rows.X),
        probabilities(*fit(rows.X[::2], rows.label[::2], settings_of(kind).training), rows.X),
    )


def test_another_seed_gives_another_forest() -> None:
    rows = made_up_rows()
    one, other = (fit(rows.X, rows.label, FEW_TREES.changed(SEED=seed).training) for seed in (1, 2))
    assert not np.array_equal(probabilities(*one, rows.X), probabilities(*other, rows.X))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_the_same_probability_alone_in_a_batch_and_in_scikit_learn(kind: ModelKind) -> None:
    rows = made_up_rows()
    scaler, model = fit(rows.X, rows.label, settings_of(kind).training)
    batch = probabilities(scaler, model, rows.X)
    alone = np.concatenate([probabilities(scaler, model, rows.X[i : i + 1]) for i in range(100)])
    assert np.array_equal(batch[:100], alone)
    assert np.array_equal(batch[5::7], probabilities(scaler, model, rows.X[5::7]))  # not contiguous
    assert np.array_equal(batch, model.predict_proba(scaler.transform(rows.X))[:, 1])
    assert batch.dtype == np.float64
    assert probabilities(scaler, model, rows.X[:0]).shape == (0,)


def test_a_feature_that_is_not_finite_is_refused() -> None:
    rows = made_up_rows()
    scaler, model = fit(rows.X, rows.label, FEW_TREES.training)
    for bad in (np.nan, np.inf):
        X = rows.X[:3].copy()
        X[1, 4] = bad
        with pytest.raises(ValueError, match="NaN or infinite"):
            probabilities(scaler, model, X)


def test_rows_with_one_label_are_refused() -> None:
    rows = made_up_rows(sessions=3)
    lost = replace(rows, label=np.zeros_like(rows.label))
    with pytest.raises(DataError, match=r"all \d+ rows to train on have the label 0"):
        train(lost, FEW_TREES)
    with pytest.raises(DataError, match="no rows"):
        fit(rows.X[:0], rows.label[:0], FEW_TREES.training)


@pytest.mark.parametrize("column", ["X", "outcome"])
def test_an_unknown_value_is_refused_before_training(column: str) -> None:
    rows = made_up_rows(sessions=3)
    values = getattr(rows, column).copy()
    values[500] = np.nan
    with pytest.raises(DataError, match=r"1 row.* the first on 2018-03-02"):
        train(replace(rows, **{column: values}), FEW_TREES)


# No leaks


@pytest.mark.parametrize("kind", KINDS)
def test_the_newest_session_does_not_change_the_figures_of_the_others(kind: ModelKind) -> None:
    """A scaler fitted on all rows, or a split that is not by session, would carry these numbers into the model."""
    rows = made_up_rows()
    newest = rows.session == rows.session.max()
    strange = replace(
        rows,
        X=np.where(newest[:, None], rows.X * 1e12, rows.X),
        label=np.where(newest, 1 - rows.label, rows.label).astype(np.int8),
    )
    one, other = train(rows, settings_of(kind)), train(strange, settings_of(kind))
    figures, strange_figures = (trained.about["figures"]["by_session"] for trained in (one, other))
    assert len(figures) == 2
    assert figures[0] == strange_figures[0]
    assert figures[1] != strange_figures[1]


def test_the_judged_calibration_is_fitted_on_the_training_part_only() -> None:
    rows = made_up_rows()
    sampled = thin(rows.symbol, rows.session, FEW_TREES.training.TRAIN_EVERY_NTH_ROW)
    training, testing = split_by_session(rows.session)
    held_out = out_of_sample(rows, training & sampled, FEW_TREES.training)
    assert held_out is not None
    scaler, model = fit(rows.X[training & sampled], rows.label[training & sampled], FEW_TREES.training)
    judged = win_probability(
        probabilities(scaler, model, rows.X[testing]), fit_calibration(held_out, rows.label[training & sampled])
    )
    calibrated = train(rows, FEW_TREES).about["figures"]["calibrated"]
    assert calibrated is not None
    assert calibrated["log_loss"] == pytest.approx(log_loss(rows.label[testing], judged), abs=1e-12)


def test_out_of_sample_probabilities_do_not_depend_on_their_own_session() -> None:
    rows = made_up_rows(sessions=8)
    everything = np.ones(len(rows.label), dtype=np.bool_)
    block = np.isin(rows.session, np.unique(rows.session)[2:4])  # four blocks of two sessions
    turned = replace(rows, label=np.where(block, 1 - rows.label, rows.label).astype(np.int8))
    one, other = (out_of_sample(some, everything, FEW_TREES.training) for some in (rows, turned))
    assert one is not None
    assert other is not None
    assert np.array_equal(one[block], other[block])
    assert not np.array_equal(one[~block], other[~block])


def test_a_planted_pattern_is_found_and_noise_is_not() -> None:
    found = train(made_up_rows(sessions=15), FEW_TREES).about["figures"]
    assert known(found["roc_auc"]) > 0.7
    assert known(found["against_minute"]["best_tenth"]["low"]) > 0.0
    assert known(found["log_loss"]) < known(found["always_no"]["log_loss"])
    noise = train(made_up_rows(sessions=15, strength=0.0), FEW_TREES).about["figures"]
    assert abs(known(noise["roc_auc"]) - 0.5) < 0.05
    assert covers(noise["against_minute"]["best_tenth"], 0.0)


def test_what_is_published_is_the_model_of_all_rows() -> None:
    rows = made_up_rows(sessions=5)
    trained = train(rows, FEW_TREES)
    kept = thin(rows.symbol, rows.session, FEW_TREES.training.TRAIN_EVERY_NTH_ROW)
    expected = probabilities(*fit(rows.X[kept], rows.label[kept], FEW_TREES.training), rows.X)
    assert np.array_equal(probabilities(trained.scaler, trained.model, rows.X), expected)
    assert trained.trained_through == date(2018, 3, 5)
    assert trained.about["rows"] == {"all": 2000, "train": 1600, "test": 400, "fitted": 1000}


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and finite(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(finite(item) for item in value)
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (int, str, bool)


@pytest.mark.parametrize("threshold", [0.01, 0.65, 0.999999])
def test_figures_are_plain_numbers_or_null(threshold: float) -> None:
    rows = made_up_rows(sessions=3)
    newest = rows.session == rows.session.max()
    one_sided = replace(rows, label=np.where(newest, 0, rows.label).astype(np.int8))
    about = train(one_sided, FEW_TREES.changed(MIN_CONFIDENCE=threshold)).about
    assert finite(about)
    assert about["figures"]["roc_auc"] is None
    assert about["figures"]["roc_auc_interval_over_sessions"] is None
    assert about["figures"]["roc_auc_within_minute"]["value"] is None


# Figures


def test_a_figure_that_is_not_finite_is_null() -> None:
    assert [number(value) for value in (np.float64(0.5), 3, np.nan, np.inf)] == [0.5, 3.0, None, None]


def test_figures_at_a_threshold_by_hand() -> None:
    p = np.array([0.9, 0.65, 0.6, 0.2, 0.1])
    y = np.array([1, 0, 1, 0, 0], dtype=np.int8)
    outcome = np.array([4.0, -2.0, 1.0, -1.0, 0.05])
    assert at_threshold(p, y, outcome, 0.65) == {
        "threshold": 0.65,
        "signals": 2,
        "won": 1,
        "accuracy": 0.6,
        "precision": 0.5,
        "recall": 0.5,
        "mean_outcome_after_cost_pct": pytest.approx(1.0),
    }
    nothing = at_threshold(p, np.zeros(5, dtype=np.int8), outcome, 0.95)
    assert nothing["signals"] == 0
    assert nothing["precision"] is nothing["recall"] is nothing["mean_outcome_after_cost_pct"] is None


def test_always_no_uses_the_base_rate_of_the_training_part() -> None:
    y = np.array([1, 0, 0, 0], dtype=np.int8)
    session = np.array([1, 1, 2, 2])
    p = np.array([0.4, 0.3, 0.2, 0.1])
    figures = evaluate(p, None, y, np.zeros(4), session, np.arange(4), base_rate=0.5, min_confidence=0.65)
    assert figures["always_no"]["accuracy"] == 0.75
    assert figures["always_no"]["log_loss"] == pytest.approx(math.log(2))
    assert figures["always_no"]["brier"] == 0.25
    assert figures["calibrated"] is None
    assert [day["roc_auc"] for day in figures["by_session"]] == [1.0, None]


def test_reliability_counts_every_row_once() -> None:
    p = np.array([0.0, 0.05, 0.1, 0.55, 0.99, 1.0])
    y = np.array([0, 1, 0, 1, 1, 1], dtype=np.int8)
    table = reliability(p, y)
    assert [(band["from"], band["rows"], band["won"]) for band in table] == [
        (0.0, 2, 0.5),
        (0.1, 1, 0.0),
        (0.5, 1, 1.0),
        (0.9, 2, 1.0),
    ]


def test_the_interval_is_students_over_sessions() -> None:
    interval = mean_of_sessions([0.5, 0.6, None, 0.7])
    half = 4.302652729911275 * 0.1 / math.sqrt(3)  # t(0.975, 2 degrees of freedom), by the table
    assert [interval["low"], interval["high"]] == pytest.approx([0.6 - half, 0.6 + half])
    assert not above(interval, 0.5)
    assert mean_of_sessions([0.6])["low"] is None
    assert above(mean_of_sessions([0.6, 0.61]), 0.5)


# Calibration


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 1)), min_size=1, max_size=60))
def test_calibration_keeps_the_order_and_stays_finite(points: list[tuple[float, int]]) -> None:
    p = np.array([point[0] for point in points])
    y = np.array([point[1] for point in points], dtype=np.int8)
    calibration = fit_calibration(p, y)
    assert calibration.a >= 0.0
    honest = win_probability(np.sort(p), calibration)
    assert ((honest >= 0.0) & (honest <= 1.0)).all()
    assert (np.diff(honest) >= -1e-12).all()
    assert Calibration.from_json({"a": calibration.a, "b": calibration.b}) == calibration


def test_calibration_reduces_overconfidence() -> None:
    random = np.random.default_rng(3)
    log_odds = random.normal(size=20_000)
    y = (random.uniform(size=20_000) < 1.0 / (1.0 + np.exp(-log_odds))).astype(np.int8)
    overconfident = 1.0 / (1.0 + np.exp(-(3.0 * log_odds + 0.6)))
    calibration = fit_calibration(overconfident, y)
    assert calibration.a == pytest.approx(1 / 3, abs=0.02)
    assert calibration.b == pytest.approx(-0.2, abs=0.05)
    assert log_loss(y, win_probability(overconfident, calibration)) < log_loss(y, overconfident) - 0.1


def test_a_model_that_ranks_backwards_is_calibrated_to_the_base_rate() -> None:
    p = np.linspace(0.1, 0.9, 100)
    calibration = fit_calibration(p, (p < 0.3).astype(np.int8))
    assert calibration.a == 0.0
    assert win_probability(p, calibration) == pytest.approx(np.full(100, 26 / 102))


def test_calibrated_probabilities_have_the_same_bits_alone_and_in_a_batch() -> None:
    p = np.random.default_rng(1).uniform(size=1001)
    calibration = Calibration(0.37, -0.21)
    batch = win_probability(p, calibration)
    assert np.array_equal(batch, np.concatenate([win_probability(p[i : i + 1], calibration) for i in range(1001)]))
    assert np.array_equal(batch[::3], win_probability(p[::3], calibration))


@pytest.mark.parametrize(
    "stored", [{"a": -0.1, "b": 0.0}, {"a": float("nan"), "b": 0.0}, {"a": 1.0}, {"a": None, "b": 1}]
)
def test_an_invalid_calibration_is_refused(stored: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Calibration.from_json(stored)


# Promotion


def in_service(rows: Rows, settings: LearningSettings = FEW_TREES) -> FittedModel:
    trained = train(rows, settings)
    fitted = trained.scaler, trained.model
    return FittedModel("20180308_200000", trained.trained_through, FEATURES, *fitted, settings.by_name())


def decided(champion: FittedModel | None, rows: Rows, settings: LearningSettings = FEW_TREES) -> Decision:
    return train(rows, settings, champion).decision


TESTED = FEW_TREES.changed(TEST_SIZE=0.5)
"""Of ten sessions, five are tested on: enough to compare two recipes."""


def test_the_first_model_goes_into_service() -> None:
    decision = decided(None, made_up_rows(sessions=3))
    assert decision.in_service
    assert "no model trained before this day was in service" in decision.reason
    assert decision.challenger_log_loss is None


def test_a_second_training_with_the_same_settings_changes_nothing() -> None:
    rows = made_up_rows(sessions=5)
    decision = decided(in_service(rows), rows)
    assert not decision.in_service
    assert "has seen the newest session 2018-03-05" in decision.reason
    assert decision.champion == "20180308_200000"


def test_a_new_session_is_learnt_whatever_its_luck() -> None:
    """The champion learnt from shuffled labels, and the new model from good ones, or the other way round."""
    rows = made_up_rows()
    shuffled = replace(rows, label=np.roll(rows.label, 7))
    for old, new in ((shuffled, rows), (rows, shuffled)):
        decision = decided(in_service(old.take(old.session < old.session.max())), new)
        assert decision.in_service and not decision.judged_on
        assert "same settings, and the sessions through" in decision.reason


def test_a_change_of_settings_is_compared_on_the_test_sessions() -> None:
    rows = made_up_rows(sessions=10)
    poor = TESTED.changed(FOREST_MAX_DEPTH=1, N_ESTIMATORS=1)
    kept, better = decided(in_service(rows, TESTED), rows, poor), decided(in_service(rows, poor), rows, TESTED)
    assert not kept.in_service and better.in_service
    training, testing = split_by_session(rows.session, 0.5)
    days = np.unique(rows.session[testing])
    assert kept.judged_on == better.judged_on == tuple(str(day) for day in days)
    assert kept.rows == testing.sum()
    assert "FOREST_MAX_DEPTH" in kept.reason and "N_ESTIMATORS" in kept.reason and "log loss by +" in kept.reason
    thinned = thin(rows.symbol, rows.session, TESTED.training.TRAIN_EVERY_NTH_ROW) & training
    for settings, figure in ((TESTED, kept.champion_log_loss), (poor, kept.challenger_log_loss)):
        model = fit(rows.X[thinned], rows.label[thinned], settings.training)
        p, inside = probabilities(*model, rows.X[testing]), rows.take(testing)
        by_day = [log_loss(inside.label[inside.session == day], p[inside.session == day]) for day in days]
        assert figure == pytest.approx(np.mean(by_day), abs=1e-12)
    assert kept.log_loss_difference is not None and better.log_loss_difference is not None
    assert kept.log_loss_difference["low"] is not None and kept.log_loss_difference["low"] > 0
    assert better.log_loss_difference["value"] == pytest.approx(-known(kept.log_loss_difference["value"]))


def test_the_outcome_of_the_signals_is_recorded_and_decides_nothing() -> None:
    """Each row that only the new recipe calls a signal is ruinous: a log loss does not see it."""
    rows = made_up_rows(sessions=10, minutes=200)
    poor = TESTED.changed(FOREST_MAX_DEPTH=3, N_ESTIMATORS=7)
    champion, new = in_service(rows, poor), TESTED.changed(MIN_CONFIDENCE=0.5)
    fair = decided(champion, rows, new)
    assert fair.champion_signals and fair.challenger_signals
    training, testing = split_by_session(rows.session, 0.5)
    thinned = thin(rows.symbol, rows.session, TESTED.training.TRAIN_EVERY_NTH_ROW) & training
    model = fit(rows.X[thinned], rows.label[thinned], new.training)
    signal = testing.copy()
    signal[testing] = probabilities(*model, rows.X[testing]) >= 0.5
    older = fit(rows.X[thinned], rows.label[thinned], poor.training)
    also_old = testing.copy()
    also_old[testing] = probabilities(*older, rows.X[testing]) >= 0.5
    assert (signal & ~also_old).sum() > 5
    ruinous = replace(rows, outcome=np.where(signal & ~also_old, -50.0, np.where(signal, 1.0, rows.outcome)))
    decision = decided(champion, ruinous, new)
    assert decision.outcome_difference is not None and known(decision.outcome_difference["high"]) < 0
    assert decision.log_loss_difference == fair.log_loss_difference
    assert fair.in_service and decision.in_service and "which decides nothing" in decision.reason


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (FEW_TREES.changed(FOREST_MAX_DEPTH=1), "a judgement needs 5 test sessions, and the test has 1"),
        (TESTED.changed(LABEL_TARGET_PCT=0.01), "answers another question (LABEL_TARGET_PCT)"),
        (TESTED.changed(LABEL="profit"), "answers another question (LABEL,"),
    ],
)
def test_what_cannot_be_compared_goes_into_service_and_says_why(settings: LearningSettings, why: str) -> None:
    rows = made_up_rows(sessions=10 if settings.training.TEST_SIZE == 0.5 else 5)
    decision = decided(in_service(rows.take(rows.session < rows.session.max()), TESTED), rows, settings)
    assert decision.in_service and why in decision.reason and not decision.judged_on


def test_other_settings_that_cannot_be_compared_replace_no_model_of_the_same_evening() -> None:
    rows = made_up_rows(sessions=5)
    decision = decided(in_service(rows), rows, FEW_TREES.changed(FOREST_MAX_DEPTH=1))
    assert not decision.in_service and "stays in service" in decision.reason


def test_a_number_that_the_label_does_not_use_is_no_change() -> None:
    rows = made_up_rows(sessions=10)
    champion = in_service(rows.take(rows.session < rows.session.max()), TESTED)
    assert "same settings" in decided(champion, rows, TESTED.changed(LABEL_MIN_PROFIT=0.01)).reason


def test_another_length_of_history_is_a_change_that_cannot_be_compared() -> None:
    rows = made_up_rows(sessions=10)
    champion = in_service(rows.take(rows.session < rows.session.max()), TESTED)
    decision = decided(champion, rows, TESTED.changed(HISTORY_DAYS=5))
    assert decision.in_service and "(HISTORY_DAYS) but is not compared: another length of history" in decision.reason


def test_a_model_of_an_older_version_is_not_compared() -> None:
    rows = made_up_rows(sessions=10)
    champion = replace(in_service(rows, TESTED), settings={"n_estimators": 200})
    assert decided(champion, rows, TESTED).in_service
