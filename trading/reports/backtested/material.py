"""What the page of a backtest is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.performance.intervals import MIN_SESSIONS
from trading.performance.overfitting import LATER_SHARE, Choice, choice, measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from trading.base.arrays import Floats
    from trading.performance.closed_trades import ClosedTrades
    from trading.performance.figures import Performance
    from trading.performance.groups import Group
    from trading.performance.universe import UniverseDay


MOST_NAMED: Final = 3
"""Settings that a title names."""


class Fall(NamedTuple):
    """The largest loss of equity from one close to a later one: the largest in dollars, and as a fraction."""

    dollars: float
    fraction: float


class Held(NamedTuple):
    """Positions that are still held after the last session, because their stocks traded no more.

    Attributes:
        symbols: their stocks.
        value: of all shares at the last prices, dollars.
        gain: what that is above the prices paid, dollars.
    """

    symbols: Sequence[str] = ()
    value: float = 0.0
    gain: float = 0.0


NOTHING_HELD: Final = Held()


@dataclass(frozen=True)
class Setting:
    """One combination of the settings that were swept, and its sums as the account booked them.

    Attributes:
        values: of the swept settings, in the order of their names.
        start: equity before the first session, dollars.
        trades, won: closed trades, and those with a profit.
        pnl: dollars.
        held: what it still holds at the end, which is in its returns, not in `trades` and `pnl`.
    """

    values: Sequence[str]
    start: float
    trades: int
    won: int
    pnl: float
    drawdown: Fall
    held: Held = NOTHING_HELD

    @property
    def is_idle(self) -> bool:
        """Whether it bought nothing."""
        return not self.trades and not self.held.symbols


@dataclass(frozen=True)
class About:
    """What was traded again.

    Attributes:
        what: market, range and models, one line.
        notes: sentences on sessions that the model has seen, how orders fill, and what is not charged.
        days: the sessions.
        start: equity before the first one, dollars.
        generated: whether the market is generated.
        changed: the settings that differ from their defaults, `NAME=value` each.
    """

    what: str
    notes: Sequence[str]
    days: Sequence[date]
    start: float
    generated: bool
    changed: Sequence[str] = ()

    @property
    def period(self) -> str:
        """`2018-03-26 to 2018-03-28`, or the only day."""
        first, last = self.days[0], self.days[-1]
        return str(first) if first == last else f"{first} to {last}"

    @property
    def title(self) -> str:
        """The days, and the first settings that differ from their defaults, which tell two backtests apart."""
        more = [f"{len(self.changed) - MOST_NAMED} more settings"] if len(self.changed) > MOST_NAMED else []
        return ", ".join([self.period, *self.changed[:MOST_NAMED], *more])


@dataclass(frozen=True)
class Sweep:
    """A backtest of several combinations of settings.

    Attributes:
        names: of the swept settings.
        settings: the combinations.
        returns: of each session and combination after the assumed cost, fractions, float64 (sessions, combinations).
        flipped: `measured` of the best combination of each coin-flipped copy.
        later_share: share of the sessions that the first choice does not see.
        best_run: the trades of the best combination, which was chosen after the fact; None: they are not known.
    """

    about: About
    names: Sequence[str]
    settings: Sequence[Setting]
    returns: Floats
    flipped: Sequence[float] = ()
    later_share: float = LATER_SHARE
    best_run: Run | None = None

    @cached_property
    def choice(self) -> Choice:
        """What the choice of the best combination is worth, among those that made a trade if any did."""
        kept = np.flatnonzero([not one.is_idle for one in self.settings])
        if len(kept) in (0, len(self.settings)):
            return choice(self.returns, self.later_share)
        found = choice(self.returns[:, kept], self.later_share)
        later = found.later and replace(found.later, chosen=int(kept[found.later.chosen]))
        return replace(found, best=int(kept[found.best]), median=int(kept[found.median]), later=later)

    @cached_property
    def measured(self) -> Floats:
        """The figure of each combination by which the best one is chosen, as `measure` gives it."""
        return measure(self.returns)

    @property
    def by_ratio(self) -> bool:
        """Whether that figure is the Sharpe ratio of a session; over few sessions it is the mean return."""
        return len(self.returns) >= MIN_SESSIONS

    def per_session(self, i: int) -> float:
        """The mean result of a session of a combination after the assumed cost, dollars of the equity at the start."""
        return float(self.returns[:, i].mean()) * self.settings[i].start if len(self.returns) else 0.0

    @property
    def traded(self) -> bool:
        """Whether any combination made a trade."""
        return not all(one.is_idle for one in self.settings)

    @property
    def idle(self) -> int:
        """Number of combinations without a trade, which are not ranked."""
        return sum(one.is_idle for one in self.settings)

    @property
    def as_good(self) -> int:
        """Number of coin-flipped copies whose best combination is at least as good as the best one here."""
        return int(np.sum(np.array(self.flipped) >= self.measured[self.choice.best])) if self.flipped else 0

    @property
    def more_than_luck(self) -> bool:
        """Whether the best combination is more than luck by all four proofs: three figures, and coin-flipped copies."""
        return self.choice.more_than_luck and bool(self.flipped) and not self.as_good

    @property
    def lacks_copies(self) -> bool:
        """Whether the three figures call the best combination more than luck, and no coin-flipped copy was traded."""
        return self.choice.more_than_luck and not self.flipped

    def named(self, i: int) -> str:
        """A combination in words: `MIN_CONFIDENCE=0.6, STOP_LOSS_PCT=0.01`."""
        return ", ".join(f"{name}={value}" for name, value in zip(self.names, self.settings[i].values, strict=True))


@dataclass(frozen=True)
class Run:
    """A backtest of one combination of settings.

    Attributes:
        closed: its trades.
        booked, after_cost: its figures as the account booked them, and after the assumed cost.
        groups: key of `trading.performance.groups.KEYS` -> the trades by it.
        by_day: per session: trades, trades with a profit, dollars booked, equity at the close.
        held: what is still held at the end, which is in the equity, not in `closed`, `booked` and `after_cost`.
        universe: what buying every stock in the morning would have brought, by session.
    """

    about: About
    closed: ClosedTrades
    booked: Performance
    after_cost: Performance
    groups: Mapping[str, Sequence[Group]]
    by_day: Sequence[tuple[int, int, float, float]]
    held: Held = NOTHING_HELD
    universe: Sequence[UniverseDay] = ()
