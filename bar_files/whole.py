"""What the bars of a file look like as a whole: their length, the clock of their stamps, one stock or several.

A file that is wrong as a whole must not be dropped bar by bar, and never be traded at the wrong hours.  Each test needs
enough bars to rule out chance; a file with fewer passes, and its bars are checked one by one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bar_files.errors import BarFileError
from bar_files.stamps import DAY, MINUTE, SECOND, offsets_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from bar_files.columns import Columns
    from bar_files.options import Reading

Ints = NDArray[np.int64]

NEW_YORK: Final = "America/New_York"
OPEN, CLOSE, HALF_DAY_CLOSE = 570, 960, 780
"""Minutes of the New York day at which the regular session begins and ends."""

CLOCKS: Final = (
    *(NEW_YORK, "UTC", "America/Chicago", "America/Denver", "America/Los_Angeles", "Europe/London", "Europe/Berlin"),
    *("Asia/Kolkata", "Asia/Singapore", "Asia/Tokyo", "Australia/Sydney"),
)
"""Time zones whose clock a file's stamps may show."""

LENGTHS: Final = (240, 120, 60, 30, 20, 15, 10, 5, 4, 3, 2)
"""Minutes of longer bars, in the order in which they are tried."""

FEW: Final = 20
"""A file or session with fewer bars is not judged by their spacing."""

CLOCK_FEW: Final = 60
"""A season of a file with fewer bars is not judged by its times."""

DENSE, SHIFT, SHIFTED = 200, 20, 3
"""Bars of a session that is judged by its hours, minutes that it lies off, and how many such sessions are no chance."""

EARLIEST, LATEST = 1990, 2100
"""Years that the exchange calendar covers."""


class _Clock(NamedTuple):
    """Instants (ns) with New York's offset from UTC (ns), and as minutes of its clock since 1970-01-01."""

    start: Ints
    offset: Ints
    local: Ints

    @classmethod
    def of(cls, start: Ints) -> _Clock:
        offset = offsets_at(start, NEW_YORK)
        return cls(start, offset, (start + offset) // MINUTE)


def complaint(columns: Columns, reading: Reading, read: Callable[[Reading], Columns]) -> str | None:
    """What is wrong with the bars of a file as a whole, and which option reads them; None if nothing is.

    Args:
        columns: the bars in the order of the file, read with `reading`.
        reading: the options in force.
        read: reads the file again with other options.
    """
    starts = columns.start if (np.diff(columns.start) > 0).all() else np.unique(columns.start)
    problem = _out_of_time(starts) or _mixed_up(columns) or _shorter(starts, reading)
    if problem is not None:
        return problem
    clock = _Clock.of(starts)
    as_filed = clock if starts is columns.start else _Clock.of(columns.start)
    return (
        _longer(clock)
        or (_two_stocks(columns) if len(starts) < len(columns) else None)
        or _other_clock(as_filed, columns, reading, read)
        or _other_end(clock, reading)
        or _shifted(clock)
    )


def _out_of_time(starts: Ints) -> str | None:
    """The newest bar lies before the calendar, or behind it."""
    if not len(starts):
        return None
    newest = int(starts[-1]) // SECOND
    years = 1970 + newest / (365.2425 * 86_400)
    if EARLIEST <= years < LATEST:
        return None
    shown = f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d}" if 1 <= years < 9999 else f"in the year {years:.0f}"
    return f"its newest bar is of {shown}; bars from {EARLIEST} to {LATEST - 1} can be used"


def _mixed_up(columns: Columns) -> str | None:
    """Prices that most bars cannot have: columns under each other's names."""
    high, low = columns.high, columns.low
    if len(columns) < FEW:
        return None
    swapped = int(np.count_nonzero(high < low))
    if swapped * 2 > len(columns):
        return (
            f"high is below low in {swapped:,} of its {len(columns):,} bars: the columns high and low look swapped; "
            "correct their names in the header"
        )
    for name, prices in (("open", columns.open), ("close", columns.close)):
        outside = int(np.count_nonzero((prices > high) | (prices < low)))
        if outside * 2 > len(columns):
            return (
                f"{name} lies outside low to high in {outside:,} of its {len(columns):,} bars: its columns look mixed "
                "up, or adjusted apart; correct the header, or download it again"
            )
    return None


def _shorter(starts: Ints, reading: Reading) -> str | None:
    seconds = starts % MINUTE
    off = int(np.count_nonzero(seconds >= SECOND))
    if len(starts) < FEW or off * 20 <= len(starts):
        return None
    seconds //= SECOND
    if not reading.bar_end and (seconds >= 58).all():
        shown = f"{datetime.fromtimestamp(int(starts[0]) // SECOND, UTC):%H:%M:%S} UTC"
        options = _changed(reading, bar_end=True).options
        return f"its time stamps look like the last second of each bar ({shown}): read them with {options}"
    step = int(np.median(np.diff(starts))) // SECOND
    length = f"bars of about {step} seconds" if 0 < step < 60 else "no bars of full minutes"
    return f"its {len(starts):,} bars look like {length}; give bars of one minute that start on a full minute"


def _longer(clock: _Clock) -> str | None:
    """Bars of another length than a minute: all starts, or those of one session, are multiples of more minutes."""
    starts, local = clock.start, clock.local
    first, count = _days(local)
    if len(first) == len(starts) and _same_time_of_day(starts // MINUTE % 1440, local % 1440):
        return f"its {len(starts):,} bars look like daily bars, one a day; give bars of one minute"
    by_one = np.append(np.diff(starts // MINUTE) == 1, False)
    if len(starts) >= FEW and np.count_nonzero(by_one) * 50 < len(starts) and (length := _common(local)) is not None:
        return f"its {len(starts):,} bars look like {length}-minute bars; give bars of one minute"
    if not len(starts):
        return None
    in_session = np.add.reduceat(by_one, first, dtype=np.int64)  # steps of one minute
    coarse = (count >= FEW) & (in_session * 50 < count)
    for begin, bars in zip(first[coarse].tolist(), count[coarse].tolist(), strict=True):
        if (length := _common(local[begin : begin + bars])) is not None:
            day = f"{datetime.fromtimestamp(int(starts[begin]) // SECOND, UTC):%Y-%m-%d}"
            return f"its {bars} bars of {day} look like {length}-minute bars; give bars of one minute"
    return None


def _same_time_of_day(utc: Ints, local: Ints) -> bool:
    midnight = not utc.any() or not local.any()
    same = len(set(utc.tolist())) == 1 or len(set(local.tolist())) == 1
    return (len(utc) >= 2 and midnight) or (len(utc) >= 5 and same)


def _days(local: Ints) -> tuple[Ints, Ints]:
    """Position of the first bar of each day, and its number of bars; `local` holds sorted minutes."""
    days = local // 1440
    first = np.flatnonzero(np.append(True, days[1:] != days[:-1])[: len(days)])
    return first, np.diff(np.append(first, len(days)))


def _common(minutes: Ints) -> int | None:
    """The longest length that 99 % of the starts are multiples of, counted from one of them."""
    for length in LENGTHS:
        if np.bincount(minutes % length).max() >= 0.99 * len(minutes):
            steps = np.diff(minutes)
            return max(length, int(np.bincount(steps[steps < 1440]).argmax())) if (steps < 1440).any() else length
    return None


def _two_stocks(columns: Columns) -> str | None:
    """Many minutes have two bars at different prices."""
    order = np.argsort(columns.start, kind="stable")
    start, close = columns.start[order], columns.close[order]
    differ = int(np.count_nonzero((start[1:] == start[:-1]) & (close[1:] != close[:-1])))
    if differ < FEW or differ * 20 < len(start):
        return None
    return (
        f"{differ:,} of its {len(start):,} bars have the minute of another bar, at another price: it looks like "
        "bars of two stocks; a file holds the bars of one"
    )


def _other_clock(
    as_filed: _Clock, columns: Columns, reading: Reading, read: Callable[[Reading], Columns]
) -> str | None:
    """Times that cannot be those of New York's session, while another clock makes them so."""
    here = _share_in_session(as_filed, columns)
    if here is None or here > 0.97:
        return None
    if reading.timezone is None:
        clock = read(_changed(reading, timezone="UTC")).start
        fits = {zone: clock - offsets_at(clock, zone) for zone in CLOCKS}
    else:
        as_written = _read_or_none(read, _changed(reading, timezone=None))
        clock = columns.start + offsets_at(columns.start, reading.timezone)
        fits = {zone: clock - offsets_at(clock, zone) for zone in CLOCKS if zone != reading.timezone}
        if as_written is not None:
            fits = {"": as_written.start} | fits
    shares = {zone: _share_in_session(_Clock.of(start), columns) or 0.0 for zone, start in fits.items()}
    best = max(shares, key=lambda zone: shares[zone])
    certain = shares[best] >= here + 0.3 or (shares[best] > 0.995 and here < 0.95)
    opens = _opening_jump(columns.start, columns) < 1.5 and _opening_jump(fits[best], columns) > 3.0
    if not certain and not (opens and shares[best] > here + 0.02):
        return _nowhere(here, columns) if here < 0.02 else None
    return (
        f"its times cannot be New York's session ({_span(columns)}): {100 * (1 - here):.0f} % of its volume lies "
        f"outside it; they look like {_named(best)}: read them with {_remedy(best, fits[best], reading)}"
    )


def _remedy(zone: str, start: Ints, reading: Reading) -> str:
    """The options that read the file, the end of the bars included."""
    shifted = _ends(_Clock.of(np.sort(start)))
    options = _changed(reading, timezone=zone or None, bar_end=shifted or reading.bar_end).options
    return options or f"no --timezone (leave {reading.options} out)"


def _named(zone: str) -> str:
    return "the offset that is written there" if not zone else f"the clock of {zone}"


def _nowhere(here: float, columns: Columns) -> str:
    return (
        f"its times cannot be New York's session ({_span(columns)}): {100 * (1 - here):.0f} % of its volume lies "
        "outside it, and no common time zone explains it; say whose clock it is with --timezone, or download it again"
    )


def _opening_jump(start: Ints, columns: Columns) -> float:
    """The volume of the ten minutes after New York's open as a multiple of that of the ten minutes before.

    The smaller of the two of summer and of winter.
    """
    offset = offsets_at(start, NEW_YORK)
    minute = (start + offset) % DAY // MINUTE
    volume = _volume(columns)
    before, after = ((minute >= first) & (minute < first + 10) for first in (OPEN - 10, OPEN))
    seasons = [offset == season for season in np.unique(offset)]
    return min(float(volume[after & part].sum() / max(volume[before & part].sum(), 1.0)) for part in seasons)


def _volume(columns: Columns) -> NDArray[np.float64]:
    """The volume of each bar; 1 for all if the file has none."""
    volume = np.nan_to_num(np.maximum(columns.volume, 0.0), posinf=0.0)
    return volume if volume.sum() > 0.0 else np.ones(len(columns))


def _share_in_session(clock: _Clock, columns: Columns) -> float | None:
    """The smaller of the shares of the volume that lie in New York's session in summer and in winter."""
    minute = clock.local % 1440
    inside = (minute >= OPEN) & (minute <= CLOSE)  # the last minute may be the end of a bar
    weight = _volume(columns)
    shares = []
    for season in set(clock.offset[np.diff(clock.offset, prepend=0) != 0].tolist()):
        of_season = clock.offset == season
        total = weight[of_season].sum()
        if np.count_nonzero(of_season) >= CLOCK_FEW and total > 0.0:
            shares.append(float(weight[of_season & inside].sum() / total))
    return min(shares) if shares else None


def _other_end(clock: _Clock, reading: Reading) -> str | None:
    """Stamps at the end of the bars read as starts, or the other way round."""
    if not reading.bar_end and _ends(clock):
        return (
            "its bars look labelled by their end (none at 09:30, the last of the day at 16:00): read them with "
            + _changed(reading, bar_end=True).options
        )
    if reading.bar_end and _starts_as_ends(clock):
        return "its bars look labelled by their start (the first at 09:30, the last at 15:59): leave --bar-end out"
    return None


def _shifted(clock: _Clock) -> str | None:
    """Dense sessions that begin and end by the same time before or after the regular session: a clock that is off."""
    starts, local = clock.start, clock.local
    first, count = _days(local)
    if not len(first):
        return None
    opened, closed = local[first] % 1440 - OPEN, local[first + count - 1] % 1440 - (CLOSE - 1)
    moved = (count >= DENSE) & (np.abs(opened) >= SHIFT) & (np.abs(opened - closed) <= SHIFT // 2)
    if np.count_nonzero(moved) < SHIFTED:
        return None
    by, day = int(np.median(opened[moved])), int(starts[first[moved][0]]) // SECOND
    return (
        f"the bars of {np.count_nonzero(moved)} of its {len(first)} sessions, the first on "
        f"{datetime.fromtimestamp(day, UTC):%Y-%m-%d}, lie {abs(by)} minutes {'after' if by > 0 else 'before'} the "
        "regular session: correct their times, or name their clock with --timezone"
    )


def _ends(clock: _Clock) -> bool:
    first, last, days = _edges(clock.local)
    closing = np.count_nonzero((last == CLOSE) | (last == HALF_DAY_CLOSE))
    return _enough(clock.start, days) and bool(closing * 2 >= days) and not np.count_nonzero(first <= OPEN) * 20 > days


def _starts_as_ends(clock: _Clock) -> bool:
    first, last, days = _edges(clock.local)
    opening = np.count_nonzero(first == OPEN - 1)
    closing = np.count_nonzero((last == CLOSE - 1) | (last == HALF_DAY_CLOSE - 1))
    return _enough(clock.start, days) and bool(opening * 2 >= days) and not closing * 20 > days


def _enough(start: Ints, days: int) -> bool:
    return days > 0 and (days >= 5 or len(start) >= 100 * days)


def _edges(local: Ints) -> tuple[Ints, Ints, int]:
    """First and last minute of the New York day of each day with bars, and the number of days; `local` is sorted."""
    first, count = _days(local)
    return local[first] % 1440, local[first + count - 1] % 1440, len(first)


def _changed(reading: Reading, **values: Any) -> Reading:
    return replace(reading, **values)


def _read_or_none(read: Callable[[Reading], Columns], reading: Reading) -> Columns | None:
    try:
        return read(reading)
    except BarFileError:
        return None


def _span(columns: Columns) -> str:
    """First and last minute of the day, in New York, of most bars."""
    minute = np.sort((columns.start + offsets_at(columns.start, NEW_YORK)) % DAY // MINUTE)
    low, high = minute[len(minute) // 100], minute[-1 - len(minute) // 100]
    return f"{low // 60:02}:{low % 60:02} to {high // 60:02}:{high % 60:02} New York"
