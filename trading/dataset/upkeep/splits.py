"""Stocks whose stored bars are on another scale than new ones: splits and symbol changes since they were fetched.

A source adjusts history for the splits until now.  Stored bars are from before a later split, so the whole history of
such a stock is fetched anew.  Announced corporate actions say which; a jump of the price is looked at as well, because
announcements come late, or cannot be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.base.errors import UserError
from trading.market.bars import Bars, check_bars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from trading.base.calendar import Session
    from trading.dataset.dataset import Dataset
    from trading.market.source import Source

JUMP: Final = 1.15
"""Ratio of the first new open and the last stored close, either way, from which on a split is looked for."""

SAME_SCALE: Final = 0.01
"""Fetched again, a session has the same prices within this fraction, unless the stock was split."""


@dataclass(frozen=True)
class Announced:
    """What corporate actions say about the stored bars of some stocks.

    Attributes:
        known: whether the source answered; if not, only jumps tell.
        anew: stock -> why its stored bars are dropped and its history is fetched again.
        gone: old symbols of stocks that are stored under a new one from now on -> why they are dropped.
    """

    known: bool
    anew: Mapping[str, str]
    gone: Mapping[str, str]


def announced(source: Source, dataset: Dataset, symbols: Sequence[str], last: date) -> Announced:
    """Ask the source for the corporate actions of these stocks that took effect by the session `last`.

    A source that does not answer gets one note, and the jump of prices remains.
    """
    through = dataset.adjusted_through()
    if not through or not symbols:
        return Announced(True, {}, {})
    first = min(through.values())
    try:
        actions = source.corporate_actions(symbols, first, last)
    except UserError as error:
        source.notes.append(f"corporate actions are not known, so only a jump of its price shows a split ({error})")
        return Announced(False, {}, {})
    anew: dict[str, str] = {}
    gone: dict[str, str] = {}
    for split in actions.splits:
        if split.symbol in symbols and (known := through.get(split.symbol)) is not None and known < split.day:
            anew[split.symbol] = f"split {split.ratio:.4g} for 1 on {split.day}"
    for change in actions.changes:
        why = f"{change.old} is {change.new} since {change.day}"
        if (known := through.get(change.new)) is not None and known < change.day and change.new in symbols:
            anew[change.new] = why  # what is stored was another company's, or was fetched under the old symbol
        if (known := through.get(change.old)) is not None and known < change.day:
            (anew if change.old in symbols else gone)[change.old] = why
    return Announced(True, anew, gone)


def jumped(source: Source, dataset: Dataset, bars: Mapping[str, Bars], run: Sequence[Session]) -> dict[str, float]:
    """The stocks whose new bars show a split since their stored bars were fetched, and the factor of their prices.

    A jump from the last stored close is no proof: the newest stored session is fetched again, and compared with what
    is stored.

    Args:
        bars: new bars of the sessions `run`, by symbol.
    """
    found = {}
    for symbol, new in bars.items():
        last = dataset.last_close(symbol, before=run[0]) if len(new) else None
        if last is None or max(new.open[0] / last, last / new.open[0]) < JUMP:
            continue
        stored, sessions = dataset.history(symbol)
        session = sessions[-1]
        again, _ = check_bars(source.bars([symbol], [session]).get(symbol, Bars.empty()), [session])
        old = stored.between(session.open, session.close)
        common = np.intersect1d(old.start, again.start)
        if not len(common):
            continue
        is_common = np.isin(again.start, common)
        ratio = float(np.median(again.close[is_common] / old.close[np.isin(old.start, common)]))
        if abs(ratio - 1.0) >= SAME_SCALE:
            found[symbol] = ratio
    return found
