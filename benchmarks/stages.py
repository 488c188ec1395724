"""CPU seconds of each stage in the version whose folder is the working directory; run by `benchmarks.against_version`.

It uses the benchmarks of that version where they exist, and names that were moved since version 0.2.0 under both names.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import dataset, minute, retrain
from benchmarks.labels import RULES
from benchmarks.material import bar_folder, walk
from config import Settings
from trading.base.clock import SimulatedClock
from trading.features.document import features
from trading.features.relative import relative_features, session_state
from trading.features.session_bars import SessionBars
from trading.models.predictor import Predictor
from trading.records.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from config import ModelKind

BARS = 1_000_000
STOCKS = 10_000
MINUTES = 6


def _median(run: Callable[[], object], rounds: int = 5) -> float:
    """CPU seconds of `run`, of all threads, after one run that is not counted."""
    run()
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        spent.append(time.process_time() - began)
    return statistics.median(spent)


def _features(recorded: Path) -> Iterator[tuple[str, float]]:
    ohlcv = walk(BARS).ohlcv
    yield f"features of {BARS:,} bars", _median(lambda: features(*ohlcv))
    session, number = np.divmod(np.arange(BARS), 390)
    lengths = np.full(session[-1] + 1, 390)
    yield (
        f"relative features of {BARS:,} bars",
        _median(lambda: relative_features(*ohlcv, state=session_state(*ohlcv[:3], ohlcv[4], number, session, lengths))),
    )
    live = tuple(column.reshape(20, -1) for column in walk(20 * STOCKS, seed=2).ohlcv)
    yield f"features of {STOCKS:,} live windows", _median(lambda: features(*live), 15)


def _labels(recorded: Path) -> Iterator[tuple[str, float]]:
    start = 60 * 10**9 * np.arange(BARS, dtype=np.int64)
    for what, volatility in (("", 0.002), (", levels rarely met", 0.0004)):
        walked = walk(BARS, volatility)
        yield f"outcomes and labels of {BARS:,} bars{what}", _median(partial(_outcomes_and_labels, walked, start))


def _outcomes_and_labels(bars: Any, start: Any) -> object:
    """Outcome and default label of each bar, as a build of this version computes them."""
    exits = import_module("trading.rules.exits")
    if hasattr(exits, "labels"):  # until version 0.2
        outcome, _ = exits.outcomes(
            bars.open, bars.high, bars.low, bars.group, bars.flattening, RULES.stop_loss, RULES.take_profit
        )
        return exits.labels(outcome[~np.isnan(outcome)], RULES.won_above_pct)  # type: ignore[attr-defined]
    made = import_module("trading.rules.labels").outcomes_and_labels
    return made(bars.open, bars.high, bars.low, start, bars.group, bars.flattening, RULES)


def _minute(recorded: Path) -> Iterator[tuple[str, float]]:
    """The step from new bars to logged predictions; its first minute is not counted."""
    market = minute.Market(STOCKS, minute.FIRST + MINUTES)
    predictor = Predictor(minute.model("random_forest", 50_000), Settings().prediction)
    bars = SessionBars(minute.SESSION, market.symbols)
    bars.take(market.reply(0, minute.FIRST), minute.SESSION.open + timedelta(minutes=minute.FIRST))
    cpu = []
    with tempfile.TemporaryDirectory() as folder:
        clock = SimulatedClock(minute.SESSION.open)
        journal = Journal(Path(folder), clock)
        for at in range(minute.FIRST + 1, minute.FIRST + MINUTES + 1):
            now = minute.SESSION.open + timedelta(minutes=at, seconds=2)
            clock.sleep_until(now)
            cpu.append(minute._step(bars, predictor, journal, market.reply(at - minute.OVERLAP, at), now)[1])
        journal.close()
    yield f"minute step of {STOCKS:,} stocks, forest", statistics.median(cpu[1:])


def _dataset(recorded: Path) -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        folder, _ = bar_folder(recorded, Path(temporary) / "bars", quick=False)
        newest = _newest(folder)
        dataset._built(folder, newest, data)  # compilation, and the files in memory
        shutil.rmtree(data)
        yield "dataset, all of it", dataset._built(folder, newest - timedelta(hours=12), data).cpu
        yield "dataset, one night more", dataset._built(folder, newest, data).cpu


def _newest(folder: Path) -> datetime:
    source: Any = dataset.FolderSource  # type: ignore[attr-defined]  # its module was moved after version 0.2
    newest: datetime = source(folder).newest
    return newest


def _retrain(recorded: Path) -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        folder, _ = bar_folder(recorded, here / "bars", quick=False)
        dataset._built(folder, _newest(folder), here / "data")
        retrain._ours(here, "random_forest")  # imports
        kinds: tuple[ModelKind, ...] = ("random_forest", "gradient_boosting")
        for kind in kinds:
            yield f"retrain, {kind.replace('_', ' ')}", retrain._ours(here, kind).cpu


STAGES = {"features": _features, "labels": _labels, "minute": _minute, "dataset": _dataset, "retrain": _retrain}
"""Name -> function that yields what it measures, with its CPU seconds."""


def main(bars: Path, names: list[str]) -> None:
    """Print what was measured, with its CPU seconds, as one line of JSON."""
    print(json.dumps(dict(found for name in names for found in STAGES[name](bars))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
