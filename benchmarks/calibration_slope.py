"""Slope of the calibration on sessions that the model has not seen.

    python -m benchmarks.calibration_slope --data data/        (some minutes on two cores)

A logistic regression of the label on the log-odds of `win_probability`: 1 is right, below 1 is overconfident, above 1
is too timid.  Every session is scored by the model and the calibration of the evening before; the 95% interval is the
jackknife over sessions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from benchmarks.label_choice import printed
from config import LabelKind, ModelKind
from tests.settings import learning_settings
from trading.backtest.walk_forward import Variant, Walk, walk
from trading.backtest.workers import workers
from trading.base.arrays import Floats
from trading.dataset.dataset import Dataset
from trading.learning.calibration import EDGE
from trading.learning.session_statistics import Estimate, jackknife
from trading.rules.labels import LabelRules

KINDS: Final[tuple[ModelKind, ...]] = ("random_forest", "gradient_boosting")
LABELS: Final[dict[LabelKind, float]] = {"target_first": 0.005, "profit": 0.0}
"""The labels that are measured, each with LABEL_TARGET_PCT or LABEL_MIN_PROFIT."""
BINS: Final = 400
"""Distinct values of the log-odds, so that one regression takes milliseconds."""


def slope(p: Floats, y: Floats, group: np.ndarray, sessions: int) -> Estimate:
    """The slope with its interval over sessions."""
    x = logit(np.clip(p, EDGE, 1.0 - EDGE))
    edges = np.quantile(x, np.linspace(0.0, 1.0, BINS + 1)[1:-1])
    cell = np.searchsorted(edges, x)
    place = group * BINS + cell
    count = np.bincount(place, minlength=sessions * BINS).reshape(sessions, BINS).astype(float)
    won = np.bincount(place, weights=y, minlength=sessions * BINS).reshape(sessions, BINS)
    total = np.bincount(cell, weights=x, minlength=BINS)
    middle = total / np.maximum(np.bincount(cell, minlength=BINS), 1)
    left_out = [_fitted(middle, won.sum(0) - won[i], count.sum(0) - count[i]) for i in range(sessions)]
    return jackknife(_fitted(middle, won.sum(0), count.sum(0)), np.array(left_out))


def _fitted(x: Floats, won: Floats, count: Floats) -> float:
    """Slope of a logistic regression with an intercept."""
    y = np.repeat([1, 0], len(x))
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    model.fit(np.concatenate([x, x])[:, None], y, sample_weight=np.concatenate([won, count - won]))
    return float(model.coef_[0, 0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table in Markdown, one line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that build_dataset.py has filled")
    parser.add_argument("--labels", nargs="*", choices=LABELS, default=tuple(LABELS), help="labels (default both)")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS, help="kinds of model (default both)")
    options = parser.parse_args(arguments)
    dataset = Dataset(options.data)
    printed(("model, label", "sessions", "own probability", "win_probability"))
    printed(["---"] * 4)
    with workers("joblib", None) as at:
        for label in options.labels:
            for kind in options.kinds:
                variant = Variant(kind, "document", label, LABELS[label])
                settings = variant.applied(learning_settings())
                rows = dataset.make(LabelRules.of(settings.exits), "document")
                printed((variant.name, *_cells(walk(rows, variant, settings, window=30, at=at))))
    return 0


def _cells(walked: Walk) -> list[str]:
    n = len(walked.sessions)
    found = [slope(p, walked.label.astype(float), walked.group, n) for p in (walked.p, walked.calibrated)]
    return [str(n), *(f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})" for one in found)]


if __name__ == "__main__":
    raise SystemExit(main())
