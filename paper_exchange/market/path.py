"""The path of a price within a minute, derived from the minute's bar.  Pure functions.

A bar records four prices and not when they traded.  The path is one that it allows: the price stands at the open for 10
seconds, moves in a straight line to the low (second 25), to the high (second 42) and to the close (second 59), and
stands there until the minute is over.  The low always comes before the high, which is the worse order for a long
position: a bar that spans a stop and a target reaches the stop first.

Prices are whole millionths of a dollar, and instants whole microseconds, so that the arithmetic is exact.  Between the
prices of the bar the path takes only prices of the grid (a cent, or $0.0001 below $1), each from the microsecond on in
which the line has reached it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paper_exchange.base.wire import MINUTE, price_of

if TYPE_CHECKING:
    from decimal import Decimal

    from paper_exchange.market.interface import Bar

MICROSECOND, SECOND = 1000, 10**9
CORNERS = (10 * SECOND, 25 * SECOND, 42 * SECOND, 59 * SECOND)
"""When the path leaves the open, reaches the low, the high and the close; after the start of the minute."""

DOLLAR = 1_000_000
TICK, SMALL_TICK = 10_000, 100  # steps of the price grid at $1 and over, and below


class Move(NamedTuple):
    """The price moves in a straight line from `first` to `last` (millionths of a dollar) in [start, end) (ns)."""

    start: int
    end: int
    first: int
    last: int


def millionths(price: float | Decimal) -> int:
    """A price in millionths of a dollar, rounded to one."""
    return round(price * DOLLAR)


def dollars(price: int) -> Decimal:
    """A price in dollars."""
    return price_of(price / DOLLAR)


def tick_at(price: int) -> int:
    """The step of the price grid at a price."""
    return TICK if price >= DOLLAR else SMALL_TICK


def moves_of(start: int, opened: int, low: int, high: int, close: int) -> tuple[Move, ...]:
    """The path of the bar that starts at `start` (ns)."""
    leaves, lowest, highest, closes = CORNERS
    return (
        Move(start, start + leaves, opened, opened),
        Move(start + leaves, start + lowest, opened, low),
        Move(start + lowest, start + highest, low, high),
        Move(start + highest, start + closes, high, close),
        Move(start + closes, start + MINUTE, close, close),
    )


def price_at(move: Move, instant: int) -> int:
    """The price at an instant of a move."""
    start, end, first, last = move
    if first == last or instant <= start:
        return first
    span, since = (end - start) // MICROSECOND, (instant - start) // MICROSECOND
    if last > first:
        return max(first, grid_below(first + (last - first) * since // span))
    return min(first, grid_above(first - (first - last) * since // span))


def price_along(moves: tuple[Move, ...], instant: int) -> int:
    """The price at an instant of a path."""
    for move in moves:
        if instant < move.end:
            return price_at(move, instant)
    return moves[-1].last


def reached(move: Move, level: int, rising: bool, after: int) -> int | None:
    """The first instant of a move, not before `after`, at which the price is at `level` or beyond; None if never.

    Beyond is above if `rising`, else below.
    """
    since = max(after, move.start)
    if since >= move.end:
        return None
    price = price_at(move, since)
    if price >= level if rising else price <= level:
        return since
    goal = grid_above(level) if rising else grid_below(level)
    way = move.last - move.first
    if (way <= 0 or goal > move.last) if rising else (way >= 0 or goal < move.last):
        return None
    exact = (goal - move.first) * ((move.end - move.start) // MICROSECOND)  # times `way`, after the start
    found = move.start - (-exact // way) * MICROSECOND  # rounded up
    return found if found < move.end else None


def reached_along(moves: tuple[Move, ...], level: int, rising: bool, after: int) -> int | None:
    """The first instant of a path, not before `after`, at which the price is at `level` or beyond; None if never."""
    for move in moves:
        instant = reached(move, level, rising, after)
        if instant is not None:
            return instant
    return None


def first_reached(bar: Bar, level: Decimal, *, rising: bool) -> int | None:
    """The instant (ns since the epoch) at which a bar's price is first at `level` or beyond; None if never."""
    prices = (millionths(price) for price in (bar.open, bar.low, bar.high, bar.close))
    return reached_along(moves_of(bar.start, *prices), millionths(level), rising, bar.start)


def changes(moves: tuple[Move, ...]) -> list[tuple[int, int]]:
    """The instants at which the price changes, and the new prices; the first instant of the path comes first."""
    found: list[tuple[int, int]] = []
    for move in moves:
        price = move.first
        if not found or found[-1][1] != price:
            found.append((move.start, price))
        rising = move.last > move.first
        while price != move.last:
            step = grid_above(price + 1) if rising else grid_below(price - 1)
            at = reached(move, step, rising=rising, after=move.start)
            if at is None:
                break
            price = step
            found.append((at, price))
    return found


def grid_below(price: int) -> int:
    """The price of the grid at a price or below."""
    tick = tick_at(price)
    return price // tick * tick


def grid_above(price: int) -> int:
    """The price of the grid at a price or above."""
    tick = tick_at(price)
    return -(-price // tick) * tick
