"""Training on generated markets with known patterns: `python -m benchmarks.truth` (some minutes).

A longer version of `tests/learning/test_truth.py`, with the default settings.  The figures test the pipeline; they say
nothing about profit.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.learning.test_truth import off_by_band
from tests.learning.truth_rows import generated_rows, independent_sessions, nothing_to_learn, planted, true_auc
from tests.settings import learning_settings
from trading.learning.calibration import win_probability
from trading.learning.fitting import fit, probabilities
from trading.learning.metrics import ranking
from trading.learning.rows import rows_to_fit, split_by_session, weights_of
from trading.learning.session_statistics import mean_of_sessions
from trading.learning.trades.past_trades import PastTrade, PastTrades, with_past_trades
from trading.learning.train import train

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config import ModelKind
    from trading.base.arrays import Floats
    from trading.dataset.dataset import Rows

KINDS: tuple[ModelKind, ...] = ("random_forest", "gradient_boosting")
PATTERNS = (("VWAP_Deviation",), ("VWAP_Deviation", "Volume"), ("VWAP_Deviation", "MACD_Hist"))
COST = 0.001
Line = tuple[str, ...]


def scored(rows: Rows, kind: ModelKind, every: int = 8) -> Floats:
    """Probabilities for the newest fifth of the sessions by a model of the others."""
    training, testing = split_by_session(rows.session)
    fitted = training & rows_to_fit(rows, every)
    model = fit(
        rows.X[fitted], rows.label[fitted], learning_settings(MODEL_KIND=kind).training, weights_of(rows, fitted)
    )
    return probabilities(*model, rows.X[testing])


def nothing(walks: Rows) -> Iterator[Line]:
    """Markets without a pattern (outcomes still depend on volatility), and with random outcomes."""
    _, testing = split_by_session(walks.session)
    for kind in KINDS:
        for what, rows in (("random walks as they are", walks), ("random outcomes", nothing_to_learn(walks, 1))):
            p, y, session = scored(rows, kind), rows.label[testing], rows.session[testing]
            days = [ranking(p[session == day], y[session == day])["roc_auc"] for day in np.unique(session)]
            auc = mean_of_sessions(days)
            yield kind, what, f"ROC-AUC {auc['value']:.3f}, over sessions {auc['low']:.3f} to {auc['high']:.3f}"


def pattern(rows: Rows) -> Iterator[Line]:
    """Planted patterns: the share reached of the range from 0.5 to the best possible ROC-AUC."""
    _, testing = split_by_session(rows.session)
    for columns in PATTERNS:
        drawn, p = planted(rows, 1, columns)
        best = true_auc(p[testing], p[testing])
        for kind in KINDS:
            reached = true_auc(scored(drawn, kind), p[testing])
            share = (reached - 0.5) / (best - 0.5)
            yield kind, f"pattern in {' and '.join(columns)}", f"{reached:.4f} of {best:.4f} possible: {share:.1%}"


def more_sessions(rows: Rows) -> Iterator[Line]:
    """ROC-AUC on the same sessions by the number of sessions before them in training."""
    drawn, p = planted(rows, 1, PATTERNS[1])
    days = np.unique(drawn.session)
    tested = drawn.session >= days[-6]
    for kind in KINDS:
        found = []
        for count in (1, 2, 4, 8, 16, 24):
            fitted = ~tested & (drawn.session >= days[-6 - count]) & rows_to_fit(drawn, 32)
            model = fit(drawn.X[fitted], drawn.label[fitted], learning_settings(MODEL_KIND=kind).training)
            found.append(f"{count}: {true_auc(probabilities(*model, drawn.X[tested]), p[tested]):.3f}")
        yield kind, "ROC-AUC by training sessions, every 32nd row", ", ".join(found)


def reliability(rows: Rows, what: str) -> Iterator[Line]:
    """Share won minus win_probability on the sessions after the first 15, by fifths."""
    days = np.unique(rows.session)
    seen, unseen = rows.take(rows.session < days[15]), rows.take(rows.session >= days[15])
    for kind in KINDS:
        trained = train(seen, learning_settings(MODEL_KIND=kind))
        calibrated = win_probability(probabilities(trained.scaler, trained.model, unseen.X), trained.calibration)
        bands = ", ".join(f"{gap:+.3f}±{half:.3f}" for gap, half in off_by_band(calibrated, unseen, 15))
        yield kind, f"won minus win_probability, {what}", bands


def bad_fills(rows: Rows) -> Iterator[Line]:
    """Trades that lost 2.3% in four stocks: mean probability for these, for stocks of similar price, and for others."""
    _, testing = split_by_session(rows.session)
    price = np.array([np.median(rows.X[rows.symbol == i, 3]) for i in range(len(rows.symbols))])
    bad = np.argsort(price)[[8, 16, 24, 32]]
    near = [i for i in range(len(price)) if i not in bad and np.min(np.abs(np.log(price[i] / price[bad]))) < 0.1]
    for kind in KINDS:
        for count, weight in ((0, 1.0), (10, 1.0), (10, 20.0), (40, 1.0), (40, 20.0), (160, 1.0), (160, 20.0)):
            new, _ = with_past_trades(rows, PastTrades(tuple(_lost(rows, ~testing, bad, count))), weight)
            p = scored(new, kind)
            groups = (bad, near, [i for i in range(len(price)) if i not in bad and i not in near])
            means = [p[np.isin(rows.symbol[testing], group)].mean() for group in groups]
            words = "bad {:.3f}, others at their price {:.3f}, elsewhere {:.3f}".format(*means)
            yield kind, f"{count} lost trades in each of 4 stocks, weight {weight:g}", words


def _lost(rows: Rows, known: np.ndarray, stocks: np.ndarray, count: int) -> Iterator[PastTrade]:
    random = np.random.default_rng(1)
    for stock in stocks:
        for i in random.choice(np.flatnonzero(known & (rows.symbol == stock)), count, replace=False):
            yield PastTrade(rows.symbols[stock], int(rows.start[i]), rows.X[i], -2.3, 0)


def main() -> int:
    console = Console(width=150)
    table = Table("model", "what", "figure", title="Generated markets whose truth is known", title_justify="left")
    rows = generated_rows(1, 60, 30, 0.5)
    parts = (
        nothing(generated_rows(1, 60, 30, 0.0)),
        pattern(rows),
        more_sessions(rows),
        *(
            reliability(independent_sessions(30, 40, first=first), f"30 independent sessions from seed {first}")
            for first in range(1, 181, 30)
        ),
        reliability(independent_sessions(30, 60), "the first of them with 60 stocks"),
        reliability(rows, "one market"),
        bad_fills(rows),
    )
    with console.status("measuring"):
        for part in parts:
            for line in part:
                table.add_row(*line)
                console.print(*line, sep="  ", highlight=False)
            table.add_section()
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
