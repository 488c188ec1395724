"""Markets whose true pattern is known: the pipeline finds it, or finds nothing where there is nothing.

Small settings; `python -m benchmarks.truth` measures the same at the size that the system runs at.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console
from scipy.special import expit, logit
from scipy.stats import t as students_t

from config import ModelKind, load_settings
from tests.learning.learning_rows import KINDS, covers, known
from tests.learning.truth_rows import (
    generated_bars,
    generated_rows,
    independent_sessions,
    nothing_to_learn,
    planted,
    true_auc,
)
from tests.settings import learning_settings
from trading.base.clock import NEW_YORK
from trading.base.market_folders import MarketId
from trading.execution.entries import signals_of
from trading.features.session_bars import SessionBars, to_reply
from trading.learning.calibration import win_probability
from trading.learning.fitting import (
    LearningSettings,
    fit,
    probabilities,
)
from trading.learning.metrics import ranking
from trading.learning.rows import rows_to_fit, split_by_session, thin, weights_of
from trading.learning.session_statistics import mean_of_sessions
from trading.learning.trades.past_trades import PastTrade, PastTrades, with_past_trades
from trading.learning.train import train
from trading.models.predictor import Predictor
from trading.models.store import ModelStore
from trading.reports.trained.console import report

if TYPE_CHECKING:
    from trading.base.arrays import Floats
    from trading.dataset.dataset import Rows

MARKET = MarketId("generated-1", "a generated market", generated=True)
SMALL = learning_settings(N_ESTIMATORS=60, FOREST_MAX_SAMPLES=0.2)  # of few rows, a tree needs more
SESSIONS = 20
TRAINED = 12


def settings_of(kind: ModelKind) -> LearningSettings:
    """The small settings with this kind of model."""
    return SMALL.changed(MODEL_KIND=kind)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return generated_rows(seed=1, stocks=40, sessions=SESSIONS, learnability=0.5)


@pytest.fixture(scope="module")
def independent() -> Rows:
    return independent_sessions(30)


# Nothing to learn


@pytest.mark.parametrize("kind", KINDS)
def test_no_skill_is_found_where_there_is_none(rows: Rows, kind: ModelKind) -> None:
    """Ten draws, trained on 12 sessions and tested on 8.

    A 95% interval misses 0.5 once in twenty; three misses of ten would happen by chance once in eighty.
    """
    quick = settings_of(kind).changed(N_ESTIMATORS=20)
    days = np.unique(rows.session)
    tested = rows.session >= days[TRAINED]
    fitted = ~tested & thin(rows.symbol, rows.session, 8)
    missed, means = 0, []
    for seed in range(10):
        drawn = nothing_to_learn(rows, seed)
        p = probabilities(*fit(drawn.X[fitted], drawn.label[fitted], quick.training), drawn.X[tested])
        by_day = drawn.session[tested]
        aucs = [ranking(p[by_day == day], drawn.label[tested][by_day == day])["roc_auc"] for day in days[TRAINED:]]
        interval = mean_of_sessions(aucs)
        missed += not covers(interval, 0.5)
        means.append(known(interval["value"]))
    assert missed <= 2
    assert abs(np.mean(means) - 0.5) < 3 * np.std(means, ddof=1) / np.sqrt(len(means))
    assert abs(np.mean(means) - 0.5) < 0.01


def test_the_trainer_claims_no_skill_where_there_is_none(rows: Rows, tmp_path: Path) -> None:
    few = nothing_to_learn(rows.take(rows.session < np.unique(rows.session)[15]), seed=2)
    trained = train(few, SMALL.changed(N_ESTIMATORS=20))
    model = ModelStore(tmp_path / "models").publish(
        trained, now=datetime(2025, 2, 1, 20, tzinfo=NEW_YORK), market=MARKET
    )
    console = Console(record=True, width=150, file=open(os.devnull, "w"))  # noqa: SIM115
    report(model, tmp_path / "models", console)
    said = console.export_text()
    assert "Skill is claimed only beside controls" in said
    assert "better than" not in said
    assert "about profit they prove nothing" in said


def test_shuffled_outcomes_are_a_permutation(rows: Rows) -> None:
    shuffled = nothing_to_learn(rows, 1)
    assert np.array_equal(np.sort(shuffled.outcome), np.sort(rows.outcome))
    assert np.array_equal(shuffled.X, rows.X)
    assert np.mean(shuffled.label == rows.label) < 0.8


# A pattern of which the best possible ROC-AUC is known


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_pattern_is_found_to_95_per_cent_of_the_best_possible(rows: Rows, kind: ModelKind) -> None:
    drawn, p = planted(rows, seed=1)
    training, testing = split_by_session(drawn.session)
    fitted = training & thin(drawn.symbol, drawn.session, 8)
    scores = probabilities(*fit(drawn.X[fitted], drawn.label[fitted], settings_of(kind).training), drawn.X[testing])
    best, reached = true_auc(p[testing], p[testing]), true_auc(scores, p[testing])
    assert 0.65 < best < 0.75
    assert 0.95 <= (reached - 0.5) / (best - 0.5) <= 1.0


def test_the_trainers_figures_show_the_planted_pattern(rows: Rows) -> None:
    drawn, p = planted(rows, seed=2)
    figures = train(drawn, settings_of("gradient_boosting").changed(N_ESTIMATORS=100)).about["figures"]
    _, testing = split_by_session(drawn.session)
    assert known(figures["against_minute"]["best_tenth"]["low"]) > 0.0
    assert figures["roc_auc"] == pytest.approx(true_auc(p[testing], p[testing]), abs=0.01)


def test_the_best_possible_figure_is_the_best(rows: Rows) -> None:
    """By construction: any other score ranks worse, and the label's own ROC-AUC agrees within chance."""
    from sklearn.metrics import roc_auc_score

    drawn, p = planted(rows, seed=3)
    best = true_auc(p, p)
    assert roc_auc_score(drawn.label, p) == pytest.approx(best, abs=0.005)
    blurred = p + np.random.default_rng(1).normal(0.0, 0.05, len(p))
    assert 0.5 < true_auc(blurred, p) < best
    assert true_auc(np.random.default_rng(2).random(len(p)), p) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("kind", KINDS)
def test_figures_rise_as_sessions_accumulate(rows: Rows, kind: ModelKind) -> None:
    """A pattern of two features on ever more sessions, thinned much, tested on the same ones after them."""
    drawn, p = planted(rows, seed=1, columns=("VWAP_Deviation", "Volume"))
    days = np.unique(drawn.session)
    tested = drawn.session >= days[-4]
    found = []
    for count in (1, 4, 16):
        fitted = (drawn.session < days[-4]) & (drawn.session >= days[-4 - count])
        fitted &= thin(drawn.symbol, drawn.session, 64)
        model = fit(drawn.X[fitted], drawn.label[fitted], settings_of(kind).training)
        found.append(true_auc(probabilities(*model, drawn.X[tested]), p[tested]))
    assert (np.diff(found) > 0.0).all(), found
    assert found[-1] > found[0] + 0.02, found


# Past trades


def test_losing_trades_lower_the_probability_of_their_stocks(rows: Rows) -> None:
    """Fills far worse than the simulation's in three stocks: what the eleven features can say of it is the price."""
    _, testing = split_by_session(rows.session)
    price = np.array([np.median(rows.X[rows.symbol == i, 3]) for i in range(len(rows.symbols))])
    bad = np.argsort(price)[[8, 18, 28]]
    random = np.random.default_rng(1)
    places = [
        i for stock in bad for i in random.choice(np.flatnonzero(~testing & (rows.symbol == stock)), 160, replace=False)
    ]
    past = PastTrades(
        tuple(PastTrade(rows.symbols[rows.symbol[i]], int(rows.start[i]), rows.X[i], -2.3, 0) for i in places)
    )
    inside = np.isin(rows.symbol[testing], bad)
    found = []
    for weight in (0.0, 20.0):
        new, _ = with_past_trades(rows, past, weight)
        fitted = ~testing & rows_to_fit(new, 8)
        model = fit(
            new.X[fitted], new.label[fitted], settings_of("gradient_boosting").training, weights_of(new, fitted)
        )
        p = probabilities(*model, rows.X[testing])
        found.append((p[inside].mean(), p[~inside].mean()))
    (bad_before, others_before), (bad_after, others_after) = found
    assert bad_after < bad_before - 0.05
    assert bad_before - bad_after > 2 * (others_before - others_after)


# Calibrated probabilities


def off_by_band(calibrated: Floats, rows: Rows, seen: int, bands: int = 5) -> list[tuple[float, float]]:
    """For each fifth of the probabilities: share won less mean probability, over sessions: (mean, half its interval).

    Student's t over sessions, at 95% for all bands together (Bonferroni).  The calibration knows `seen` sessions only,
    so the mean of those is as uncertain as the mean of these: both are in the interval.
    """
    edges = np.quantile(calibrated, np.linspace(0, 1, bands + 1)[1:-1])
    band = np.searchsorted(edges, calibrated)
    found = []
    for index in range(bands):
        inside = band == index
        gaps = []
        for day in np.unique(rows.session):
            chosen = inside & (rows.session == day)
            if chosen.sum() >= 50:
                gaps.append(float(np.mean(rows.label[chosen]) - np.mean(calibrated[chosen])))
        half = (
            students_t.ppf(1 - 0.025 / bands, len(gaps) - 1) * np.std(gaps, ddof=1) * np.sqrt(1 / len(gaps) + 1 / seen)
        )
        found.append((float(np.mean(gaps)), float(half)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_win_probability_on_unseen_sessions_lies_within_its_band(independent: Rows, kind: ModelKind) -> None:
    """On sessions that are independent draws, as an interval over sessions takes them to be.

    In one market they are not: the level of volatility lasts for days, so that the next days share the error of the
    days that the calibration knows.  There, 8 sessions in a row were seen 10 points below it.
    """
    days = np.unique(independent.session)
    seen, unseen = (
        independent.take(part) for part in (independent.session < days[15], independent.session >= days[15])
    )
    trained = train(seen, settings_of(kind))
    own = probabilities(trained.scaler, trained.model, unseen.X)
    calibrated = win_probability(own, trained.calibration)
    for gap, half in off_by_band(calibrated, unseen, 15):
        assert abs(gap) <= half
    overconfident = expit(2.0 * logit(calibrated))
    assert any(
        abs(gap) > half for gap, half in off_by_band(overconfident, unseen, 15)
    )  # the band is narrow enough to reject overconfidence


@pytest.mark.parametrize("kind", KINDS)
def test_calibrated_confidence_is_what_the_predictor_trades_on(rows: Rows, kind: ModelKind, tmp_path: Path) -> None:
    days = np.unique(rows.session)
    trained = train(rows.take(rows.session < days[6]), settings_of(kind).changed(N_ESTIMATORS=20))
    model = ModelStore(tmp_path / "models").publish(
        trained, now=datetime(2025, 1, 12, 20, tzinfo=NEW_YORK), market=MARKET
    )
    bars, sessions = generated_bars(1, 40, 8, 0.5)
    session = sessions[7]
    now = session.open + timedelta(minutes=90, seconds=2)
    store = SessionBars(session, sorted(bars))
    store.take({name: to_reply(one.between(session.open, now)) for name, one in bars.items()}, now)
    probe = Predictor(model, load_settings(Path(os.devnull), {}).prediction).predict(store.windows(), now)
    assert len(probe) > 20
    widest = max(probe, key=lambda p: 0.0 if p.stale else abs(p.win_probability - p.model_probability))
    middle = (widest.win_probability + widest.model_probability) / 2
    chosen = {
        name: Predictor(
            model, load_settings(Path(os.devnull), {}, CONFIDENCE=name, MIN_CONFIDENCE=middle).prediction
        ).predict(store.windows(), now)
        for name in ("model", "calibrated")
    }
    for name, field in (("model", "model_probability"), ("calibrated", "win_probability")):
        for p in chosen[name]:
            assert p.confidence == getattr(p, field)
            assert p.meets_threshold == (p.confidence >= middle and not p.stale)
    bought = {name: {p.symbol for p in signals_of(found)} for name, found in chosen.items()}
    fresh = [p for p in chosen["calibrated"] if not p.stale]
    assert bought["calibrated"] == {p.symbol for p in fresh if p.win_probability >= middle}
    assert bought["model"] != bought["calibrated"]
