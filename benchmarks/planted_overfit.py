"""How often a sweep takes luck for skill: `python -m benchmarks.planted_overfit` (a minute of CPU time a seed).

Each seed is a generated market with learnability 0, a random walk on which no setting can be better than another.  A
model is trained on its first sessions by `live_trader.py`, and `backtest.py` trades the later ones with 1,000 settings
drawn at random (ten values each of three settings).  No cost is assumed beyond the spread, so that the best setting may
gain.  No coin-flipped copies are traded, so only three of the four tests of luck can be passed, which is easier than
all four: the first line of the verdict is read as a user reads it, and passing these three counts as a claim.  At most
one of twenty seeds may claim.

`--engine VALUES` measures the engine and the tests alone, on drawn confidences and without a spread, with VALUES values
of each setting; coin-flipped copies are traded where the other three tests are passed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

import backtest
import live_trader
from paper_exchange.market.generator.market import GeneratedMarket
from tests.backtest.test_planted_overfit import returns_of_many
from trading.app import cli
from trading.app.backtest.sweep import COPIES
from trading.base.calendar import new_york_calendar
from trading.performance.overfitting import choice, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trading.base.calendar import Session

STOCKS: Final = 8
TRAINED, TRADED = 4, 20
"""Sessions that train the model, and sessions that are traded: the verdict needs 20."""

SWEPT: Final = {"MIN_CONFIDENCE": (0.5, 0.7), "STOP_LOSS_PCT": (0.004, 0.03), "TAKE_PROFIT_PCT": (0.004, 0.05)}
VALUES: Final = 10

SETTINGS: Final = {
    "HISTORY_DAYS": TRAINED,
    "N_ESTIMATORS": 20,
    "TRAIN_EVERY_NTH_ROW": 3,
    "FOREST_MIN_SAMPLES_LEAF": 20,
    "EVENING_CONTROLS": "never",
    "TRAINING_REPORT": "false",
    "MIN_CONFIDENCE": 0.99,
    "ROUND_TRIP_COST": 0.0,
    "EXCHANGE_BEHAVIOUR": "calm",
}
"""A small model, because what it knows does not matter; the session in which it is made is not traded."""

CLAIMS: Final = ("did better than luck explains", "passes three of four tests of luck")
VERDICTS: Final = (*CLAIMS, "is what luck gives", "is not shown to be", "so there is none to choose", "cannot be said")
"""Words of the first lines of the verdict."""


def write_market(folder: Path, seed: int) -> list[Session]:
    """Write the market of a seed as files of bars, `SYMBOL.csv`; returns its sessions."""
    market = GeneratedMarket(seed, STOCKS, learnability=0.0)
    begin, count = market.first_session, TRAINED + TRADED
    sessions = new_york_calendar().between(begin, begin + timedelta(days=2 * count + 10))[:count]
    folder.mkdir()
    for listing in market.listings:
        parts = []
        for session in sessions:
            bars = market.session_bars(listing.symbol, session.date)
            columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
            start = pd.to_datetime(bars.start, utc=True).strftime("%Y-%m-%dT%H:%M:%SZ")
            parts.append(pd.DataFrame({"symbol": listing.symbol, "timestamp": start, **columns}))
        pd.concat(parts).to_csv(folder / f"{listing.symbol}.csv", index=False)
    return sessions


def said_by(command: Callable[[Sequence[str]], int], *arguments: object) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it failed.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.run(lambda: command([str(one) for one in arguments]))
    if code:
        raise RuntimeError(said.getvalue())
    return said.getvalue()


def drawn_settings(seed: int) -> list[str]:
    """The options `--set` of a sweep of values that are drawn at random."""
    random, options = np.random.default_rng(seed), []
    for name, (low, high) in SWEPT.items():
        values = ",".join(f"{value:.4f}" for value in np.sort(random.uniform(low, high, VALUES)))
        options += ["--set", f"{name}={values}"]
    return options


def verdict(seed: int, root: Path) -> str:
    """The first line of the verdict on a sweep over the market of a seed."""
    env_file, bars = root / "settings.env", root / "bars"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in SETTINGS.items()))
    sessions = write_market(bars, seed)
    folders = [f"--models-dir={root / 'models'}", f"--env-file={env_file}", "--bars", str(bars)]
    first = ("--start", sessions[TRAINED].date, "--sessions", 1)
    said_by(live_trader.main, *folders, f"--data-dir={root / 'data'}", f"--logs-dir={root / 'logs'}", *first)
    model = min((root / "models").glob("metrics_*.json")).stem.removeprefix("metrics_")
    said = said_by(backtest.main, *folders, "--model", model, "--flipped", 0, *drawn_settings(seed)).splitlines()
    (line,) = (one for one in said if any(words in one for words in VERDICTS))
    return line


def engine_verdict(seed: int, values: int) -> str:
    """The four tests on a market of a seed; the copies are traded only if the other three are passed."""
    returns = returns_of_many(seed, values)
    found = choice(returns)
    line = f"probability of overfitting {found.overfitting:.2f}, deflated Sharpe ratio {found.deflated:.2f}"
    if not found.more_than_luck:
        return f"luck: {line}"
    best = measure(returns).max()
    as_good = sum(measure(returns_of_many(seed, values, coins=coins)).max() >= best for coins in range(COPIES))
    passed = CLAIMS[1] if as_good else CLAIMS[0]
    return f"{passed}: {line}; {as_good} of {COPIES} coin-flipped copies as good"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--engine", type=int, metavar="VALUES")
    options = parser.parse_args()
    seeds, claims = options.seeds, 0
    for seed in range(1, seeds + 1):
        if options.engine is None:
            with tempfile.TemporaryDirectory() as folder:
                line = verdict(seed, Path(folder))
            claims += any(words in line for words in CLAIMS)
        else:
            line = engine_verdict(seed, options.engine)
            claims += line.startswith(CLAIMS)
        print(f"seed {seed}: {line}", flush=True)
    print(f"at least three of the four tests passed: {claims} of {seeds}")
    return int(claims > max(1, seeds // 20))


if __name__ == "__main__":
    sys.exit(main())
