"""Whether rejecting a model on its newest sessions helps: `python -m benchmarks.promotion --data data/` (some minutes).

Every evening from the tenth session on, two recipes are fitted on the same older sessions: the default, in service, and
another one, new.  Each rule decides on the sessions before the evening; what the new recipe would have done on the
next session, and on the next five, says whether its rejection was right.  A rejection is right if the new recipe's log
loss is higher there than that of the one in service.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.settings import learning_settings
from trading.backtest.walk_forward import Variant, Walk, walk
from trading.backtest.workers import workers
from trading.dataset.dataset import Dataset
from trading.learning.fitting import LearningSettings
from trading.learning.metrics import ranking
from trading.learning.session_statistics import above, mean_of_sessions
from trading.rules.labels import LabelRules

LEAST: Final = 5
JUDGED: Final = 5
TOLERANCE: Final = 0.002

RECIPES: Final[dict[str, dict[str, object]]] = {
    "same settings, another seed": {"SEED": 2},
    "gradient boosting": {"MODEL_KIND": "gradient_boosting"},
    "deep trees": {"FOREST_MAX_DEPTH": 30, "FOREST_MIN_SAMPLES_LEAF": 5, "FOREST_MAX_SAMPLES": 0.5},
    "stumps": {"FOREST_MAX_DEPTH": 2},
}


def losses(walked: Walk) -> np.ndarray:
    """Log loss of each scored session."""
    groups = range(len(walked.sessions))
    return np.array(
        [ranking(walked.p[walked.group == i], walked.label[walked.group == i])["log_loss"] for i in groups], dtype=float
    )


def rejections(difference: np.ndarray, rule: str) -> list[int]:
    """Positions of the evenings on which the new recipe is rejected; the session at that position is the newest."""
    found = []
    for evening in range(JUDGED - 1, len(difference) - 1):
        judged = difference[evening - JUDGED + 1 : evening + 1]
        if rule == "newest session":
            rejected = difference[evening] > TOLERANCE
        else:
            rejected = above(mean_of_sessions(judged.tolist()), 0.0)
        if rejected:
            found.append(evening)
    return found


def right(difference: np.ndarray, evenings: Sequence[int], ahead: int) -> str:
    """How many rejections the sessions after them confirm."""
    good = sum(float(np.mean(difference[one + 1 : one + 1 + ahead])) > 0.0 for one in evenings)
    return f"{good} of {len(evenings)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that build_dataset.py has filled")
    options = parser.parse_args(arguments)
    settings = learning_settings()
    rows = Dataset(options.data).make(LabelRules.of(settings.exits), "document")
    table = Table("new recipe", "rule", "evenings", "rejected", "right, next session", "right, next five", "difference")
    with workers("joblib", None) as at:

        def scored(changed: LearningSettings) -> np.ndarray:
            return losses(walk(rows, Variant.of(changed), changed, window=20, least=LEAST, at=at, lean=True))

        old = scored(settings)
        for name, values in RECIPES.items():
            difference = scored(settings.changed(**values)) - old
            for rule in ("newest session", f"newest {JUDGED}, beyond the interval"):
                rejected = rejections(difference, rule)
                evenings = len(difference) - JUDGED
                table.add_row(
                    name, rule, str(evenings), str(len(rejected)), right(difference, rejected, 1),
                    right(difference, rejected, JUDGED), f"{np.mean(difference):+.4f}",
                )  # fmt: skip
    Console(width=150).print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
