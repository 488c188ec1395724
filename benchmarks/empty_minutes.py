"""A row whose next minute has no bar: entered at the next bar's open, or at the last close as an order would be.

    python -m benchmarks.empty_minutes [--bars DIR ...]        (half a minute)

The dataset enters at the open of the next bar.  A live order fills at once, in a minute without a trade at the ask that
stands, which the embedded exchange puts a tick above the last close.  The second way is measured with the same label
code on bars in which every minute after a gap's last bar is filled with that bar's close.  All outcomes are after cost,
of one feed (OUTCOME_FEED=same).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.harness import PROJECT
from benchmarks.label_choice import printed
from config import LabelKind, Settings
from tests.learning.truth_rows import generated_bars
from trading.base.arrays import Ints
from trading.base.calendar import new_york_calendar
from trading.dataset.rows import SymbolRows, rows_of, sessions_around
from trading.features.document import LOOKBACK_BARS
from trading.market.bars import MINUTE_NS, Bars, check_bars, read_bars_file, session_numbers
from trading.rules.labels import LabelRules

FOLDERS: Final = tuple(PROJECT.parent / "shared" / "bars" / name for name in ("us-2018", "iex-2025"))
LABELS: Final[tuple[LabelKind, ...]] = ("target_first", "profit")


def gaps(bars: Bars) -> Ints:
    """Positions of the bars whose session goes on, but not in the next minute."""
    group = session_numbers(bars.start, sessions_around(bars.start, new_york_calendar()))
    return np.flatnonzero((np.diff(bars.start) > MINUTE_NS) & (np.diff(group) == 0))


def filled(bars: Bars) -> Bars:
    """The bars with one at the last close, without volume, in the first minute of each gap."""
    before = gaps(bars)
    close = bars.close[before]
    start = np.insert(bars.start, before + 1, bars.start[before] + MINUTE_NS)
    open_, high, low, close = (
        np.insert(column, before + 1, close) for column in (bars.open, bars.high, bars.low, bars.close)
    )
    return Bars(start, open_, high, low, close, np.insert(bars.volume, before + 1, 0.0))


def answered(bars: Bars, label: LabelKind) -> tuple[SymbolRows, SymbolRows]:
    """The rows of the bars, entered at the next open and at the last close; those that both ways have."""
    rules = LabelRules.of(Settings.of(LABEL=label, OUTCOME_FEED="same").exits)
    at_open, at_close = (rows_of(one, new_york_calendar(), rules) for one in (bars, filled(bars)))
    common = np.intersect1d(at_open.start, at_close.start)

    def of_common(rows: SymbolRows) -> SymbolRows:
        kept = np.isin(rows.start, common)
        return SymbolRows(rows.start[kept], rows.X[kept], rows.outcome[kept], rows.label[kept])

    return of_common(at_open), of_common(at_close)


def line(name: str, stocks: Iterable[Bars], label: LabelKind) -> tuple[str, ...]:
    """The cells of one market and label."""
    rows = empty = others = 0
    moved = np.empty(0)
    for bars in stocks:
        at_open, at_close = answered(bars, label)
        rows += len(at_open)
        empty += int(np.isin(at_open.start, bars.start[gaps(bars)]).sum())
        others += int((at_open.label != at_close.label).sum())
        moved = np.concatenate([moved, at_close.outcome - at_open.outcome])
    return (
        name, label, f"{rows:,}", f"{empty / rows:.2%}", f"{np.mean(np.abs(moved) > 1e-9):.2%}", f"{others / rows:.3%}",
        f"{100.0 * moved.mean():+.2f}",
    )  # fmt: skip


def stocks_of(folder: Path) -> list[Bars]:
    """The checked bars of each stock of a folder that has enough for a row."""
    found = []
    for path in sorted(folder.glob("*.csv*")):
        bars = read_bars_file(path)
        found.append(check_bars(bars, sessions_around(bars.start, new_york_calendar()))[0])
    return [bars for bars in found if len(bars) > LOOKBACK_BARS]


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=Path, nargs="*", default=FOLDERS, metavar="DIR", help="folders of bars")
    markets = {folder.name: stocks_of(folder) for folder in parser.parse_args().bars}
    markets["generated, 10 sessions"] = list(generated_bars(1, 60, 10, 0.5)[0].values())
    header = ("market", "label", "rows", "next minute empty", "other outcome", "other label", "outcome changes, bp")
    printed(header)
    printed(["---"] * len(header))
    for name, stocks in markets.items():
        for label in LABELS:
            printed(line(name, stocks, label))


if __name__ == "__main__":
    main()
