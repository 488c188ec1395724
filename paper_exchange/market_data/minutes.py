"""The 1-minute bars of the current session as JSON that is encoded once.

A live loop requests the newest minutes of all stocks every minute, and most bars several times.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson

from paper_exchange.market.interface import BarColumns
from paper_exchange.market_data.pages import PageRequest, Row, minute_rows, tape_with, to_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paper_exchange.base.calendar import Session
    from paper_exchange.market.tape import Tape, Versions

MOST_STOCKS: Final = 512
"""Stocks of a tape whose bars are kept encoded, some 90 kB each; those of further ones are encoded for each reply."""


class EncodedMinutes:
    """A `pages.RowSource` of 1-minute bars, the same as `pages.minute_rows`; thread-safe.

    What is kept is that of the session in which `now` lies, until another one is requested.
    """

    def __init__(self) -> None:
        self._kept: dict[Tape, tuple[int, dict[str, _Bars]]] = {}

    def __call__(self, tape: Tape, symbol: str, session: Session, request: PageRequest) -> Sequence[Row]:
        if not session.pre_open <= request.now < session.after_close:
            return minute_rows(tape, symbol, session, request)
        source = tape_with(tape, session, request)
        index, kept = self._kept.get(source, (-1, {}))
        if index != session.index:
            kept = {}
            self._kept[source] = session.index, kept
        bars = kept.get(symbol)
        if bars is None:
            if len(kept) >= MOST_STOCKS:
                return minute_rows(tape, symbol, session, request)
            bars = kept[symbol] = _Bars(source.versions(symbol, session))
        return bars.rows(request)


class _Bars:
    """The bars of one stock and session."""

    def __init__(self, known: Versions) -> None:
        self._start = known.bars.start.tolist()
        self._final = list(zip(self._start, _encoded(known.bars), strict=True))
        self._shown = array("q", known.shown.tolist())
        self._right = array("q", known.right.tolist())
        # From when on no bar up to each one changes any more.
        self._settled = array("q", np.maximum.accumulate(known.right).tolist())
        completed = np.flatnonzero(known.right > known.shown)
        first = BarColumns(*(column[completed] for column in vars(known.first).values()))
        starts = first.start.tolist()
        self._first = dict(zip(completed.tolist(), zip(starts, _encoded(first), strict=True), strict=True))

    def rows(self, request: PageRequest) -> Sequence[Row]:
        """The requested bars that are published, each in the version of `request.now`."""
        now, final, first = request.now, self._final, self._first
        low, high = bisect_left(self._start, request.start), bisect_right(self._start, request.end)
        settled = min(max(low, bisect_right(self._settled, now)), high)
        rows = final[low:settled]
        for i in range(settled, high):
            if self._shown[i] <= now:
                rows.append(final[i] if self._right[i] <= now else first[i])
        return rows


def _encoded(bars: BarColumns) -> list[orjson.Fragment]:
    """Each bar as JSON."""
    rows = [row for _, row in to_rows(bars, 0, len(bars))]
    # Encoded in one call; the text between two bars stands nowhere else, because their only text is the instant.
    parts = orjson.dumps(rows)[2:-2].split(b"},{") if rows else []
    return [orjson.Fragment(b"{" + part + b"}") for part in parts]
