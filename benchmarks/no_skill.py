"""How often a claim is printed where there is nothing to claim: `python -m benchmarks.no_skill` (some minutes).

Twenty seeds each of two kinds of market: generated ones with learnability 0, and coin-flipped copies of recorded bars
(`--bars DIR`, default `../shared/bars/us-2018`; without them, of generated ones with learnability 1).  Every market is
walked forward with its controls, and the first line of the verdict is read as a user reads it.  At most one of twenty
may claim skill.  `--seeds N` takes other numbers of seeds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from bar_files.folder import files_of
from tests.learning.truth_rows import generated_bars
from tests.settings import label_rules, learning_settings
from trading.backtest.figures import figures
from trading.backtest.verdict import verdict
from trading.backtest.walk_forward import Variant, walk
from trading.backtest.workers import Workers
from trading.backtest.yardstick.coin_flip import flipped
from trading.backtest.yardstick.control_cache import ControlCache
from trading.backtest.yardstick.controls import Evaluation, Source, controls, entry_costs
from trading.base.calendar import new_york_calendar
from trading.dataset.dataset import Dataset
from trading.market.bars import check_bars, read_bars_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trading.market.bars import Bars

STOCKS: Final = 15
SESSIONS: Final = 12
CLAIMS: Final = ("chose better", "looks ahead", "lies above zero.")
"""Words of a verdict that claim skill, a defect, or a profit."""


def claims(bars: Mapping[str, Bars], seed: int, copies: int = 5) -> list[str]:
    """The lines of the verdict on these bars that claim something; the walk and its controls have `seed`."""
    settings = learning_settings(N_ESTIMATORS=30, SEED=seed, MIN_CONFIDENCE=0.6)
    with tempfile.TemporaryDirectory() as folder:
        source = Source(Dataset(Path(folder), new_york_calendar()), bars)
        rows = source.dataset.rows_of(bars, label_rules(), "document")
        walked = walk(rows, Variant.of(settings), settings, window=30, lean=True)
        scored = rows.session >= walked.sessions[0]
        one = Evaluation(Variant.of(settings), rows, scored, settings, 30)
        (found,) = controls([one], source, copies, ControlCache(Path(folder)), at=Workers(jobs=1))
    cost = entry_costs(walked, rows.symbols, bars)
    lines = verdict(figures(walked, min_confidence=0.6, controls=found, cost=cost))
    return [line for line in lines if any(words in line for words in CLAIMS)]


def nothing_known(seed: int) -> dict[str, Bars]:
    """A generated market in which nothing can be learnt."""
    return generated_bars(seed, 40, SESSIONS, 0.0)[0]


def recorded(folder: Path) -> dict[str, Bars]:
    """Bars of the first stocks and sessions of a folder."""
    found = {}
    for symbol, path in list(files_of(folder).items())[:STOCKS]:
        bars = read_bars_file(path)
        first, last = (bars.start[i].astype("datetime64[ns]").astype("datetime64[D]").item() for i in (0, -1))
        sessions = new_york_calendar().between(first, last)[:SESSIONS]
        found[symbol] = check_bars(bars, sessions)[0]
    return found


def markets(folder: Path, seeds: int) -> Iterator[tuple[str, int, dict[str, Bars]]]:
    real = recorded(folder) if folder.is_dir() else generated_bars(1, 40, SESSIONS, 1.0)[0]
    for seed in range(1, seeds + 1):
        yield "learnability 0", seed, nothing_known(seed)
        yield "coin-flipped bars", seed, flipped(real, 900_000_000 + seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=Path, default=Path("../shared/bars/us-2018"))
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    seeds = options.seeds
    console = Console(width=150)
    counts: dict[str, int] = {}
    for kind, seed, bars in markets(options.bars, seeds):
        said = claims(bars, seed)
        counts[kind] = counts.get(kind, 0) + bool(said)
        console.print(f"{kind}, seed {seed}: {' '.join(said) or 'no claim'}", highlight=False, markup=False)
    for kind, count in counts.items():
        console.print(f"{kind}: a claim in {count} of {seeds}", highlight=False, markup=False)
    return int(max(counts.values()) > max(1, seeds // 20))


if __name__ == "__main__":
    sys.exit(main())
