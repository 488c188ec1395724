"""Splits inside a file of bars that was never adjusted: found by the price and the volume, and taken out on request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from bar_files.columns import Columns
from bar_files.errors import BarFileError
from bar_files.stamps import DAY, SECOND, offsets_at

if TYPE_CHECKING:
    from pathlib import Path

    from bar_files.options import Reading

RATIOS: Final = (1.5, *range(2, 11), 12, 15, 16, 18, 20, 25, 30, 35, 40, 45, 50, 60, 75, 80, 100, 120, 150, 200)
"""New shares for an old one in a split, or old shares for a new one in a reverse split."""

NEAR: Final = 0.12
"""Largest distance of a jump from a ratio, as a logarithm: a price also moves overnight."""

NEAR_TWO: Final = 0.1
"""The same of a ratio of two; smaller ones must be met more closely, because moves of their size are common."""

SAME_MONEY: Final = 2.5
"""Largest factor, either way, between the dollars traded before and after a split."""

LARGE: Final = 4.0
"""From this ratio of a reverse split on, a volume that falls is proof enough: a price that multiplies on news is traded
more, not less."""

DAYS: Final = 3
"""Days before and after whose volume and prices are compared."""

FEW: Final = 3
"""Fewer bars in these days say nothing about a split."""


@dataclass(frozen=True)
class SplitFound:
    """A split before the first bar of a day.

    Attributes:
        first: position of that bar.
        day: its date in New York, ISO 8601.
        ratio: new shares for an old one; under 1 for a reverse split.
        before, after: the last close before it and the first open after it, dollars.
    """

    first: int
    day: str
    ratio: float
    before: float
    after: float

    @property
    def in_words(self) -> str:
        """The ratio as people write it: 2:1, 3:2, 1:10."""
        large = max(self.ratio, 1.0 / self.ratio)
        sides = (f"{large:g}", "1") if large == round(large) else (f"{2 * large:g}", "2")
        return ":".join(sides if self.ratio > 1.0 else sides[::-1])


def without_splits(path: Path, columns: Columns, reading: Reading) -> Columns:
    """The bars, or with `--splits adjust` the bars on the scale of the newest one.

    Raises:
        BarFileError: a split is found, and the options do not say what to do about it.
    """
    if reading.splits == "keep":
        return columns
    found = find_splits(columns)
    if found and reading.splits == "refuse":
        one = found[0]
        raise BarFileError(
            f"{path}: it looks split about {one.in_words} on {one.day} (the price goes from {one.before:.4g} to "
            f"{one.after:.4g} overnight, and the volume with it), and models would learn the jump as a move: read it "
            "adjusted with --splits adjust, or as it stands with --splits keep"
        )
    return _adjusted(columns, found) if found else columns


def find_splits(columns: Columns) -> list[SplitFound]:
    """The splits in bars that are sorted, oldest first.

    A split jumps overnight by a usual ratio, and the volume in shares changes by it, so that about the same money is
    traded as before.  A price that falls by half on bad news is traded many times as much, one that doubles too.
    """
    if not len(columns):
        return []
    days = (columns.start + offsets_at(columns.start, "America/New_York")) // DAY
    first = np.flatnonzero(np.append(True, days[1:] != days[:-1])[: len(days)])
    volume = np.add.reduceat(np.nan_to_num(np.maximum(columns.volume, 0.0), posinf=0.0), first)
    found = []
    for i in range(1, len(first)):
        at = int(first[i])
        before, after = float(columns.close[at - 1]), float(columns.open[at])
        if not (before > 0.0 and after > 0.0):
            continue
        ratio = _usual(before / after)
        if ratio is None or not _stays(columns, first, i, ratio):
            continue
        if _confirmed(volume[max(0, i - DAYS) : i], volume[i : i + DAYS], ratio):
            day = datetime.fromtimestamp(int(columns.start[at]) // SECOND, UTC)
            found.append(SplitFound(at, f"{day:%Y-%m-%d}", ratio, before, after))
    return found


def _usual(jump: float) -> float | None:
    """The ratio of a split that a jump is near, as new shares for an old one; None if there is none."""
    if not math.isfinite(jump) or abs(math.log(jump)) < math.log(min(RATIOS)) - NEAR:  # nearly every night
        return None
    ratios = [*RATIOS, *(1.0 / ratio for ratio in RATIOS)]
    best = min(ratios, key=lambda ratio: abs(math.log(jump / ratio)))
    near = min(NEAR, NEAR_TWO * abs(math.log2(best)))
    return float(best) if abs(math.log(jump / best)) <= near else None


def _stays(columns: Columns, first: NDArray[np.int64], i: int, ratio: float) -> bool:
    """Whether the prices of the days after are on the new scale: a wrong print jumps back."""
    at, end = int(first[i]), int(first[i + DAYS]) if i + DAYS < len(first) else len(columns)
    old, new = columns.close[first[max(0, i - DAYS)] : at], columns.close[at:end]
    old, new = old[np.isfinite(old)], new[np.isfinite(new)]
    if min(len(old), len(new)) < FEW:
        return False
    level = float(np.median(new)) * ratio / max(float(np.median(old[-len(new) :])), 1e-9)
    loose = -math.log(ratio) / 2.0 if ratio <= 1.0 / LARGE else 2.0 * NEAR
    return level > 0.0 and abs(math.log(level)) < loose


def _confirmed(before: NDArray[np.float64], after: NDArray[np.float64], ratio: float) -> bool:
    """Whether the volume (shares) of the days follows the ratio, at least half way and at about the same money."""
    old, new = float(np.median(before)), float(np.median(after))
    if not (old > 0.0 and new > 0.0):
        return False
    followed = math.log(new / old) / math.log(ratio)  # 1 if the shares traded change by the ratio
    if ratio <= 1.0 / LARGE:
        return followed >= 0.25
    return followed >= 0.5 and abs(math.log(new / old / ratio)) <= math.log(SAME_MONEY)


def _adjusted(columns: Columns, found: list[SplitFound]) -> Columns:
    """All bars on the scale of the newest: prices to a hundredth of a cent, volumes in whole shares."""
    factor = np.ones(len(columns))
    for one in found:
        factor[: one.first] *= one.ratio
    open_, high, low, close = (
        np.round(price / factor, 4) for price in (columns.open, columns.high, columns.low, columns.close)
    )
    volume = np.where(factor == 1.0, columns.volume, np.round(columns.volume * factor))
    return Columns(columns.start, open_, high, low, close, volume)
