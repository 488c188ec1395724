#!/usr/bin/env python3
"""Stage 2: data/ -> a model in models/, with figures that it has earned on sessions it never saw.

    python ml_trainer.py                              a forest of 200 trees, or what MODEL_KIND says
    python ml_trainer.py --model gradient_boosting    200 iterations of histogram gradient boosting
    python ml_trainer.py --list                       every model with its figures, and which is in service
    python ml_trainer.py --rollback                   back to the model that served before
    python ml_trainer.py --use 20180326_200000        put this model into service
    python ml_trainer.py --audit                      check the pipeline, from bars to predictions, for self-deception
    python ml_trainer.py --walk-forward               how it would have done, evening by evening: a page and its figures
    python ml_trainer.py --compare                    the same for every way to learn, side by side

The newest HISTORY_DAYS sessions of data/ are split by session: the oldest 80% train a model, the newest 20% test it.
Beside its accuracy, precision, recall and ROC-AUC stands what always saying no would score, and the same figures at
MIN_CONFIDENCE, where trading buys.  Then the model that is published is fitted on all sessions:

    model_<kind>_TIMESTAMP.pkl, scaler_TIMESTAMP.pkl, features_TIMESTAMP.pkl, metrics_TIMESTAMP.json

It goes into service if, on the newest session, it is not worse than the model in service; `metrics_*.json` says which,
and why.  A model that has already seen the newest session cannot be judged on it, and stays: a second run on the same
evening changes nothing.  What --rollback or --use chose serves until a new model is promoted.  The newest KEEP_MODELS
models are kept, and the one in service and the one before it in any case.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trading.app import cli

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, or what else the command line says; returns the exit code."""
    options = _options(arguments)
    from trading.app.training import run  # after parsing: --help waits for no library

    return run(options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--model", choices=("random_forest", "gradient_boosting"), help="kind of model (default: MODEL_KIND)"
    )
    parser.add_argument(
        "--seed", type=cli.seed, metavar="N", help="seed of everything random in training (default: SEED)"
    )
    action = parser.add_argument_group("instead of training").add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="show every model with its figures, and which serves")
    action.add_argument("--rollback", action="store_true", help="go back to the model that served before")
    action.add_argument("--use", metavar="TIMESTAMP", help="put this model into service")
    action.add_argument(
        "--walk-forward", action="store_true", help="score every session with a model of the evening before"
    )
    action.add_argument("--compare", action="store_true", help="walk every way to learn forward, and compare them")
    parser.add_argument(
        "--backend",
        choices=("joblib", "dask"),
        default="joblib",
        help="who fits: this machine's cores, or a Dask cluster (default: joblib)",
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="the cluster, as in tcp://127.0.0.1:8786")
    action.add_argument("--audit", action="store_true", help="check data, models and logs; exit code 1 on a finding")
    parser.add_argument("--why", default="", metavar="TEXT", help="reason to keep with --rollback or --use")
    cli.add_folders(parser, "data", "models", "logs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(cli.run(main))
