"""A backtest over many sessions: the account goes on from one to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from trading.backtest.engine.account import PARTS, dollars
from trading.backtest.engine.session_run import SessionRun
from trading.backtest.engine.signals import Signals
from trading.rules.costs import cost_beyond_spread_pct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from numpy.typing import NDArray

    from trading.backtest.engine.account import Account
    from trading.backtest.engine.fills import Fills
    from trading.backtest.engine.position import Position
    from trading.backtest.engine.session_market import SessionMarket
    from trading.backtest.engine.signals import Predictions
    from trading.backtest.engine.trade_records import TradeRecords
    from trading.backtest.engine.trading_rules import TradingRules
    from trading.records.trade_log import Trade


@dataclass(frozen=True, eq=False)
class Day:
    """A session to trade.

    Attributes:
        market: bars of the day's universe, and of every stock that an earlier session may have left unsold.
        predictions: of the universe.
    """

    market: SessionMarket
    predictions: Predictions


@dataclass(frozen=True)
class SessionResult:
    """What one session earned.

    Attributes:
        date: of the session.
        trades, won: number of closed trades that were entered in it, or held overnight and sold in it, and of those
            with a profit.
        pnl: their profit, dollars.
        equity: of the account at the close, dollars.
        gain: change of the equity since the last close, as a fraction of it.
        unpaid: assumed cost of the closed trades beyond the spread that their fills contain, dollars.
    """

    date: date
    trades: int
    won: int
    pnl: Decimal
    equity: Decimal
    gain: float
    unpaid: float

    @property
    def gain_after_cost(self) -> float:
        """`gain` after the whole assumed cost of the trades (ROUND_TRIP_COST, SPREAD_TICKS)."""
        before = float(self.equity) / (1.0 + self.gain)
        return self.gain - self.unpaid / before


@dataclass(frozen=True)
class Total:
    """The sums of a backtest: closed trades, those with a profit, their profit in dollars, and the worst drawdown.

    The drawdown is the largest loss of equity from one close, or the start, to a later close: `drawdown` is the largest
    as a fraction of the equity before, `drawdown_dollars` the largest in dollars.
    """

    trades: int
    won: int
    pnl: Decimal
    drawdown: float
    drawdown_dollars: float


@dataclass
class Replay:
    """A backtest with one set of rules.

    Attributes:
        records: writes the trade files; None: nothing is written.
        sessions: the results so far.
        trades: all trades, if they are to be kept; None: they are not.
    """

    rules: TradingRules
    account: Account
    fills: Fills
    records: TradeRecords | None = None
    sessions: list[SessionResult] = field(default_factory=list)
    trades: list[Trade] | None = None
    _carried: list[Position] = field(default_factory=list)

    def signals(self, day: Day) -> Signals:
        """The signals of a day by this backtest's settings."""
        prediction = self.rules.prediction
        return Signals.of(
            day.predictions,
            day.market.symbols,
            day.market.minutes,
            prediction.MIN_CONFIDENCE,
            calibrated=prediction.CONFIDENCE == "calibrated",
        )

    def trade(self, market: SessionMarket, signals: Signals) -> SessionResult:
        """Trade the next session on the signals that this backtest's settings make of it.

        Raises:
            OSError: the trade files cannot be written.
        """
        before, carried = self.account.last_equity, self._carried
        run = SessionRun(market, signals, self.rules, self.account, self.fills, carried)
        found = run.run()
        self._carried = found.carried
        if self.records is not None:
            self.records.add_session(market, found.positions())
            self.records.update(market, carried)
        if self.trades is not None:
            self.trades.extend(one.trade for one in found.positions())
        closed = found.rows[found.closed]
        late = [one.trade for one in carried if one.trade.exit_price is not None]
        late_pnl = [(one.exit_price - one.entry_price) * one.qty for one in late if one.exit_price is not None]
        pnl = closed["pnl"]
        equity = self.account.last_equity
        result = SessionResult(
            date=market.session.date,
            trades=len(closed) + len(late),
            won=int(np.count_nonzero(pnl > 0)) + sum(one > 0 for one in late_pnl),
            pnl=dollars(int(pnl.sum())) + sum(late_pnl, Decimal(0)),
            equity=dollars(equity),
            gain=equity / before - 1.0,
            unpaid=self._unpaid(closed, late),
        )
        self.sessions.append(result)
        return result

    def _unpaid(self, closed: NDArray[np.void], late: Sequence[Trade]) -> float:
        exits = self.rules.exits
        paid = np.append(closed["bought"] / PARTS, [float(one.entry_price) for one in late])
        qty = np.append(closed["qty"].astype(np.float64), [float(one.qty) for one in late])
        pct = cost_beyond_spread_pct(paid, exits.ROUND_TRIP_COST, exits.SPREAD_TICKS)
        return float((paid * qty * pct).sum()) / 100.0

    @property
    def held(self) -> Sequence[Position]:
        """The positions that the last session could not sell, the oldest first."""
        return self._carried

    @property
    def returns(self) -> list[float]:
        """The return of each session, as a fraction of the equity at the close before."""
        return [one.gain for one in self.sessions]

    @property
    def total(self) -> Total:
        """The sums over all sessions."""
        gains = np.cumprod([1.0, *(1.0 + one.gain for one in self.sessions)])
        equity = np.array([float(one.equity) for one in self.sessions])
        equity = np.concatenate((equity[:1] / (1.0 + self.sessions[0].gain), equity)) if self.sessions else gains
        return Total(
            trades=sum(one.trades for one in self.sessions),
            won=sum(one.won for one in self.sessions),
            pnl=sum((one.pnl for one in self.sessions), Decimal(0)),
            drawdown=float(np.max(1.0 - gains / np.maximum.accumulate(gains))),
            drawdown_dollars=float(np.max(np.maximum.accumulate(equity) - equity)),
        )


def trade_days(replays: Sequence[Replay], days: Sequence[Day]) -> None:
    """Trade the next sessions with every one of these backtests; equal thresholds share their signals.

    Raises:
        OSError: the trade files cannot be written.
    """
    for day in days:
        known: dict[tuple[float, str], Signals] = {}
        for replay in replays:
            prediction = replay.rules.prediction
            key = prediction.MIN_CONFIDENCE, prediction.CONFIDENCE
            if key not in known:
                known[key] = replay.signals(day)
            replay.trade(day.market, known[key])


@dataclass(frozen=True)
class Block:
    """A task for a worker: some backtests, and the sessions that they trade next."""

    replays: Sequence[Replay]
    days: Sequence[Day]


def traded(block: Block) -> list[Replay]:
    """The backtests of a block after its sessions.  Raises as `trade_days`."""
    trade_days(block.replays, block.days)
    return list(block.replays)
