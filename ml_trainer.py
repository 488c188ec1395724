#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Stage 2: train a model on data/, test it on unseen sessions, and publish it in models/.

    python ml_trainer.py                              the MODEL_KIND of the settings, by default a random forest
    python ml_trainer.py --model gradient_boosting    histogram gradient boosting
    python ml_trainer.py --list                       every model with its figures, and the one in service
    python ml_trainer.py --rollback                   return to the model that was in service before
    python ml_trainer.py --use 20180326_200000        put this model into service
    python ml_trainer.py --audit                      check data, models and logs for look-ahead and other errors
    python ml_trainer.py --walk-forward               score every session with a model trained the evening before
    python ml_trainer.py --compare                    compare ten variants of model, features and label

The newest HISTORY_DAYS sessions of data/ are split by session: the oldest 80% train a model, the newest 20% test it.
The report shows accuracy, precision, recall and ROC-AUC beside the score of a model that always says no, and the same
figures at MIN_CONFIDENCE, the threshold of trading.  The published model is then fitted on all sessions:

    model_<kind>_TIMESTAMP.pkl, scaler_TIMESTAMP.pkl, features_TIMESTAMP.pkl, metrics_TIMESTAMP.json

It is promoted, that is put into service, unless the settings of the training have changed since the model in service
and the new ones are worse on the test sessions beyond the 95% interval; metrics_*.json holds the decision and its
reason.  A second training on the same sessions with the same settings changes nothing.  A model that --rollback or
--use chose stays until the next promotion.  The newest KEEP_MODELS models are kept, and always the model in service
and the one before it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trading.app import cli

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    from trading.app.learn.training import run  # after parsing, so that --help stays fast

    return run(options)


def parser() -> cli.Parser:
    """The parser of the command line."""
    found = cli.Parser(__doc__, "data", "models", "logs")
    found.add_argument(
        "--model", choices=("random_forest", "gradient_boosting"), help="kind of model (default: MODEL_KIND)"
    )
    found.add_argument("--seed", type=cli.seed, metavar="N", help="random seed of the training (default: SEED)")
    found.add_argument(
        "--backend",
        choices=("joblib", "dask"),
        default="joblib",
        help="train on the cores of this machine, or on a Dask cluster (default: joblib)",
    )
    found.add_argument("--scheduler", metavar="ADDRESS", help="address of the cluster, such as tcp://127.0.0.1:8786")
    action = found.add_argument_group("instead of training").add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="show every model with its figures")
    action.add_argument("--rollback", action="store_true", help="return to the model that was in service before")
    action.add_argument("--use", metavar="TIMESTAMP", help="put this model into service")
    action.add_argument("--audit", action="store_true", help="check data, models and logs; exit code 1 on a finding")
    action.add_argument(
        "--walk-forward", action="store_true", help="score every session with a model trained the evening before"
    )
    action.add_argument("--compare", action="store_true", help="compare ten variants of model, features and label")
    found.add_argument("--why", default="", metavar="TEXT", help="reason to record with --rollback or --use")
    return found


def command() -> int:
    """The console script `ml-trainer`."""
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(command())
