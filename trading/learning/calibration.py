"""Calibration of a model's probability by Platt's sigmoid, which has two parameters.

John Platt, "Probabilistic Outputs for Support Vector Machines" (1999): a logistic regression on the model's score, here
on the log-odds of its probability.  Forests are overconfident; how often "0.7" wins can only be learnt from sessions
that did not train the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trading.base.arrays import Floats, Labels

EDGE: Final = 1e-6
"""Probabilities are clipped to [EDGE, 1 - EDGE], because a forest may return exactly 0 or 1."""


@dataclass(frozen=True)
class Calibration:
    """win_probability = 1 / (1 + exp(-(a * log-odds + b))); `a` is never negative, so the ranking of stocks is kept."""

    a: float = 1.0
    b: float = 0.0

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calibration:
        """The calibration that `metrics_*.json` holds.

        Raises:
            KeyError, TypeError, ValueError: it is not two finite numbers, the first of them not negative.
        """
        a, b = float(stored["a"]), float(stored["b"])
        if not (math.isfinite(a) and math.isfinite(b) and a >= 0.0):
            raise ValueError(f"calibration a={a}, b={b}")
        return cls(a, b)


def _log_odds(p: Floats) -> Floats:
    from scipy.special import logit

    odds: Floats = logit(np.clip(p, EDGE, 1.0 - EDGE))
    return odds


def fit_calibration(p: Floats, y: Labels) -> Calibration:
    """Fit the sigmoid that maps `p` to the frequency of `y`, on rows that did not train the model.

    If higher probabilities did not win more often (a <= 0), or all rows have one label, the result is the base rate:
    a = 0 and b its log-odds (with one win and one loss added, so that it is finite).

    Args:
        p: probabilities of the model, shape (n,).
        y: labels 0 or 1, shape (n,).

    Raises:
        ValueError: there are no rows.
    """
    if len(y) == 0:
        raise ValueError("no rows to calibrate on")
    wins = int(np.sum(y))
    base_rate = (wins + 1.0) / (len(y) + 2.0)
    constant = Calibration(0.0, math.log(base_rate / (1.0 - base_rate)))
    if wins in (0, len(y)):
        return constant
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the sums of a BLAS depend on the number of threads that share them
        fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(_log_odds(p)[:, None], y)
    a, b = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return Calibration(a, b) if a > 0.0 else constant


def win_probability(p: Floats, calibration: Calibration) -> Floats:
    """Calibrated probabilities, float64 of shape (n,): the same bits alone and in a batch."""
    from scipy.special import expit

    calibrated: Floats = expit(calibration.a * _log_odds(p) + calibration.b)
    return calibrated
