"""What the comparison of live trades with a backtest is made of, and which trades belong together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from trading.base.clock import NEW_YORK, from_ns, to_ns
from trading.market.bars import MINUTE_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date
    from decimal import Decimal

    from trading.backtest.engine.signals import Predictions
    from trading.base.calendar import Session
    from trading.market.bars import Bars
    from trading.records.trade_log import Trade

Kind = Literal[
    "bars", "late bars", "slippage", "parts", "fill", "not filled", "control file", "not running", "guard", "quote",
    "universe", "model", "logs", "other sale", "overnight", "follows", "not explained",
]  # fmt: skip

KINDS: Final[Mapping[Kind, str]] = {
    "bars": "data/ holds other bars than the trader saw",
    "late bars": "bars came late or were changed after the decision",
    "slippage": "the stop filled below its price",
    "parts": "filled or sold in parts",
    "fill": "the order filled at another price or time",
    "not filled": "the order was not filled, was refused or was cancelled",
    "control file": "a STOP or FLATTEN file",
    "not running": "the trader did not run, or was restarted",
    "guard": "a rule or a check that needs the broker refused it",
    "quote": "the spread was too wide, or there was no quote",
    "universe": "other stocks were chosen for the day",
    "model": "another model served",
    "logs": "the trade log and the audit disagree",
    "other sale": "it was sold in a way that a backtest does not know",
    "overnight": "held overnight; the backtest of a day ends with it",
    "follows": "it follows from another difference",
    "not explained": "not explained",
}
"""Kind of a reason -> its name in tables."""


class Reason(NamedTuple):
    """Why a trade differs: what kind of reason, and the case in words."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class ComparedTrade:
    """A trade of the logs, of the backtest, or of both.

    Attributes:
        decided: start of the minute of the decision.
        reason: None if the two agree in shares, prices and the reason of the sale.
    """

    day: date
    symbol: str
    decided: datetime
    live: Trade | None
    backtest: Trade | None
    reason: Reason | None = None

    @property
    def in_both(self) -> bool:
        return self.live is not None and self.backtest is not None

    @property
    def is_equal(self) -> bool:
        """Whether both have the same shares, prices and reason of the sale."""
        one, other = self.live, self.backtest
        if one is None or other is None:
            return False
        return _facts(one) == _facts(other)


@dataclass(frozen=True)
class ComparedDay:
    """One day.

    Attributes:
        model: TIMESTAMP of the model that served, and that the backtest used.
        trades: in the order of their decisions.
    """

    day: date
    model: str
    trades: Sequence[ComparedTrade]


@dataclass(frozen=True)
class Comparison:
    """All days that were compared.

    Attributes:
        left_out: day -> why it was not compared.
        notes: sentences on how the backtest was made.
        generated: whether the market is generated.
    """

    days: Sequence[ComparedDay]
    left_out: Mapping[date, str]
    notes: Sequence[str]
    generated: bool

    @property
    def trades(self) -> list[ComparedTrade]:
        """The trades of all days."""
        return [trade for day in self.days for trade in day.trades]


@dataclass(frozen=True)
class BacktestDay:
    """What the backtest knew of a day.

    Attributes:
        model: TIMESTAMP of the model.
        universe: the stocks of the day.
        predictions: of the universe.
        calibrated: whether the calibrated probability is compared with the threshold.
        bars: symbol -> its bars of the session.
        most_positions: MAX_OPEN_POSITIONS.
        draws_behaviour: whether the fills of the live loop were drawn or real: on Alpaca, and on the embedded exchange
            unless it was calm.
    """

    session: Session
    model: str
    universe: frozenset[str]
    predictions: Predictions
    calibrated: bool
    bars: Mapping[str, Bars]
    trades: Sequence[Trade]
    most_positions: int
    draws_behaviour: bool

    def confidence(self, symbol: str, decided: datetime) -> float | None:
        """The confidence at a decision; None without a prediction."""
        found = self.predictions
        if symbol not in found.symbols:
            return None
        minute = (to_ns(decided) - to_ns(self.session.open)) // MINUTE_NS - 1
        stock = found.symbols.index(symbol)
        at = np.flatnonzero((found.stock == stock) & (found.minute == minute))
        values = found.calibrated if self.calibrated else found.own
        return float(values[at[0]]) if len(at) else None

    def taken_at(self, instant: datetime) -> int:
        """Positions that are taken once the purchases of the minute that begins at an instant are made."""
        return len(self.open_at(instant)) + sum(decided_of(one) == instant for one in self.trades)

    def open_at(self, instant: datetime) -> list[Trade]:
        """The trades of the backtest that were held or being bought at an instant."""
        return [one for one in self.trades if decided_of(one) < instant and not _sold_by(one, instant)]


def decided_of(trade: Trade) -> datetime:
    """Start of the minute of a trade's decision; of its entry if the decision is not known."""
    return (trade.decision_time or trade.entry_time).replace(second=0, microsecond=0)


def pnl_of(trade: Trade | None) -> Decimal | None:
    """Dollars booked; None without a trade or a sale."""
    return None if trade is None else trade.pnl_amount


def matched(day: date, live: Sequence[Trade], backtest: Sequence[Trade]) -> list[ComparedTrade]:
    """The trades of a day side by side: the same stock, decided in the same minute."""
    ours, theirs = ({(to_ns(decided_of(one)), one.symbol): one for one in trades} for trades in (live, backtest))
    return [
        ComparedTrade(day, symbol, from_ns(decided).astimezone(NEW_YORK), ours.get(key), theirs.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        for decided, symbol in [key]
    ]


def explained(trades: Sequence[ComparedTrade], reason_of: Callable[[ComparedTrade], Reason]) -> list[ComparedTrade]:
    """The trades with a reason for each that is not equal in both."""
    return [one if one.is_equal else replace(one, reason=reason_of(one)) for one in trades]


def near(trades: Sequence[ComparedTrade], one: ComparedTrade, within: timedelta) -> ComparedTrade | None:
    """The same stock's trade of the other side alone, decided at most so much earlier or later."""
    for other in trades:
        alone = not other.in_both and (other.live is None) != (one.live is None)
        if alone and other.symbol == one.symbol and abs(other.decided - one.decided) <= within:
            return other
    return None


def _facts(trade: Trade) -> tuple[object, ...]:
    return trade.qty, trade.entry_price, trade.exit_price, trade.exit_reason


def _sold_by(trade: Trade, instant: datetime) -> bool:
    return trade.exit_time is not None and trade.exit_time < instant
