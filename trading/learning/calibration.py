"""From a model's own probability to an honest one: Platt's sigmoid, two numbers.

John Platt, "Probabilistic Outputs for Support Vector Machines" (1999): a logistic regression on the model's score, here
on the log-odds of its probability.  Forests are overconfident; what "0.7" really won can only be learnt from sessions
that did not train the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = NDArray[np.float64]

EDGE: Final = 1e-6
"""A forest may say exactly 0 or 1; its log-odds are taken this far inside."""


@dataclass(frozen=True)
class Calibration:
    """win_probability = 1 / (1 + exp(-(a * log-odds + b))); `a` is never negative, so the order of stocks stays."""

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

    return logit(np.clip(p, EDGE, 1.0 - EDGE))


def fit_calibration(p: Floats, y: NDArray[np.int8]) -> Calibration:
    """The sigmoid that turns `p` into the frequency of `y`, fitted on rows that did not train the model.

    Where higher probabilities did not win more often (a <= 0), or all rows have one label, there is nothing to learn
    but the base rate: a = 0 and b its log-odds (with one win and one loss added, so that it is finite).

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

    with threadpool_limits(1):  # the sums of a BLAS depend on how many threads share them
        fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(_log_odds(p)[:, None], y)
    a, b = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return Calibration(a, b) if a > 0.0 else constant


def win_probability(p: Floats, calibration: Calibration) -> Floats:
    """Calibrated probabilities, float64 of shape (n,): the same bits alone or in a batch."""
    from scipy.special import expit

    return expit(calibration.a * _log_odds(p) + calibration.b)
