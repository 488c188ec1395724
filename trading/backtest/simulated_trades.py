"""Simulated trades: what the live rules would have bought on the signals of a walk-forward.

Every row at or above the threshold is a signal, and one rise makes many of them.  A trade is what the account would
have held: one position per stock, at most MAX_OPEN_POSITIONS, the most confident signal first, entered at the next
bar's open and closed by the rules of `trading.rules.exits`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict

import numpy as np

from trading.dataset.rows import telling
from trading.learning.metrics import session_date
from trading.learning.same_minute import against_minute
from trading.learning.session_statistics import Estimate, pooled_mean, sums
from trading.market.bars import Bars, to_ns
from trading.rules.entry import shares_to_buy
from trading.rules.exits import Exit, exit_in_bar, levels

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from config import DataSettings, EntrySettings, ExitSettings, PredictionSettings
    from trading.backtest.walk_forward import Walk
    from trading.base.arrays import Floats
    from trading.base.calendar import MarketCalendar

WEEK: Final = 5
"""Sessions in a week of trading."""

CLAIMS: Final = (
    ("Week 1", "52-58%", "40-45%", "-3% to +5%"),
    ("Week 2", "60-65%", "50-55%", "+2% to +10%"),
    ("Week 3-4", "65-70%", "55-60%", "+5% to +15%"),
    ("Week 3-4", "65-70%", "55-60%", "+5% to +15%"),
    ("Month 2", "70-75%", "60-65%", "+10% to +25%"),
    ("Month 2", "70-75%", "60-65%", "+10% to +25%"),
    ("Month 2", "70-75%", "60-65%", "+10% to +25%"),
    ("Month 2", "70-75%", "60-65%", "+10% to +25%"),
    ("Month 3+", "75-80%", "65-70%", "+15% to +50%+"),
)
"""The document's expectation for each week of trading (accuracy, win rate, return); the last is for all later weeks."""


@dataclass(frozen=True)
class AccountRules:
    """What simulated trades depend on: the account's equity in dollars, and the settings of entry and exit."""

    equity: Decimal
    prediction: PredictionSettings
    data: DataSettings
    entry: EntrySettings
    exits: ExitSettings


@dataclass(frozen=True)
class SimulatedTrade:
    """One simulated trade: prices in dollars, `pnl` in dollars after cost.

    Attributes:
        outcome: per cent of the entry price, after cost.
        against: the outcome minus the mean outcome of all scored stocks in the minute of the decision.
    """

    session: int
    symbol: str
    shares: int
    price: float
    outcome: float
    against: float
    pnl: float


class TradeFigures(TypedDict):
    """Trades and returns of some sessions; `pnl` in dollars, returns in per cent, all after cost."""

    trades: int
    win_rate: float | None
    outcome_per_trade_pct: float | None
    against_minute_pct: float | None
    pnl: float
    return_on_account_pct: float
    return_on_account_per_day_pct: float
    return_on_money_traded_pct: float | None


Claim = TypedDict("Claim", {"period": str, "accuracy": str, "win_rate": str, "return": str})
"""The document's expectation for a week."""

Week = TypedDict("Week", {"week": int, "from": str, "to": str, "sessions": int})
"""A week of scored sessions: its number, first and last date, and number of sessions."""


class WeekFigures(Week, TradeFigures):
    """The trades of a week beside the document's expectation."""

    accuracy: float
    accuracy_of_always_no: float
    claim: Claim


def simulated_trades(
    walked: Walk,
    p: Floats,
    symbols: tuple[str, ...],
    bars_of: Callable[[str], Bars],
    calendar: MarketCalendar,
    account: AccountRules,
) -> list[SimulatedTrade]:
    """The trades that the live rules make of `p`, in the order of their decisions.

    Args:
        walked: n scored rows; it must have `start`.
        p: the probability of each row that is compared with the threshold, shape (n,).
        symbols: the symbols that the numbers in `walked.symbol` stand for.
        bars_of: the bars of a symbol from which its rows were made.
        calendar: tells when positions must be closed.
        account: its equity stays constant, so that the figures measure the model, not compound interest.

    Raises:
        UserError: a session of `walked` is not in the calendar.
    """
    assert walked.start is not None
    exits = account.exits
    signals = np.flatnonzero(p >= account.prediction.MIN_CONFIDENCE)
    signals = signals[np.lexsort((walked.symbol[signals], -p[signals], walked.start[signals]))]
    bars = {int(number): bars_of(symbols[number]) for number in np.unique(walked.symbol[signals])}
    flatten = [
        to_ns(calendar.session(session_date(day)).flatten_at(exits.FLATTEN_MINUTES_BEFORE_CLOSE))
        for day in walked.sessions
    ]
    against = against_minute(walked.outcome, walked.start)
    held: dict[int, int] = {}
    found: list[SimulatedTrade] = []
    for row in signals.tolist():
        number, now, day = int(walked.symbol[row]), int(walked.start[row]), int(walked.group[row])
        held = {stock: until for stock, until in held.items() if until > now}
        if number in held or len(held) >= account.entry.MAX_OPEN_POSITIONS:
            continue
        known = bars[number]
        price = float(known.close[np.searchsorted(known.start, now)])
        shares = shares_to_buy(account.equity, price, account.entry)
        if not account.data.MIN_PRICE <= price <= account.data.MAX_PRICE or shares < 1:
            continue
        told = telling(known, exits.OUTCOME_FEED)
        entered = int(np.searchsorted(told.start, now, side="right"))
        held[number] = _exit_start(told, entered, flatten[day], exits)
        outcome = float(walked.outcome[row])
        entry = float(told.open[entered])
        pnl = shares * entry * outcome / 100.0
        found.append(SimulatedTrade(day, symbols[number], shares, entry, outcome, float(against[row]), pnl))
    return found


def _exit_start(bars: Bars, entry: int, flatten: int, exits: ExitSettings) -> int:
    """Start of the bar in which a position bought at the open of bar `entry` is closed."""
    stop, target = levels(float(bars.open[entry]), exits.STOP_LOSS_PCT, exits.TAKE_PROFIT_PCT)
    for k in range(entry, len(bars)):
        if bars.start[k] >= flatten:
            return int(bars.start[k])
        code, _ = exit_in_bar(bars.open[k], bars.high[k], bars.low[k], stop, target)
        if code != Exit.NONE:
            return int(bars.start[k])
    return int(bars.start[-1])


def evolution(walked: Walk, p: Floats, trades: list[SimulatedTrade], equity: Decimal) -> list[WeekFigures]:
    """The document's table of performance evolution, as measured: one line per week of scored sessions.

    Returns are per cent of the account's equity and of the money invested in the trades, after cost.

    Args:
        p: the model's own probability of each row of `walked`, shape (n,); accuracy counts 0.5 and more as yes.
        equity: dollars of the account, constant.
    """
    lines: list[WeekFigures] = []
    for first in range(0, len(walked.sessions), WEEK):
        last = min(first + WEEK, len(walked.sessions)) - 1
        inside = (walked.group >= first) & (walked.group <= last)
        week = [trade for trade in trades if first <= trade.session <= last]
        period, accuracy, win_rate, claimed_return = CLAIMS[min(first // WEEK, len(CLAIMS) - 1)]
        lines.append(
            {
                "week": first // WEEK + 1,
                "from": session_date(walked.sessions[first]).isoformat(),
                "to": session_date(walked.sessions[last]).isoformat(),
                "sessions": last - first + 1,
                "accuracy": float(np.mean((p[inside] >= 0.5) == (walked.label[inside] == 1))),
                "accuracy_of_always_no": float(np.mean(walked.label[inside] == 0)),
                **trade_figures(week, equity, last - first + 1),
                "claim": {"period": period, "accuracy": accuracy, "win_rate": win_rate, "return": claimed_return},
            }
        )
    return lines


def trade_figures(trades: list[SimulatedTrade], equity: Decimal, sessions: int) -> TradeFigures:
    """Number of trades, win rate and returns of some sessions; None where undefined without trades."""
    n = len(trades)
    pnl = sum(trade.pnl for trade in trades)
    money = sum(trade.shares * trade.price for trade in trades)
    return {
        "trades": n,
        "win_rate": sum(trade.outcome > 0.0 for trade in trades) / n if n else None,
        "outcome_per_trade_pct": sum(trade.outcome for trade in trades) / n if n else None,
        "against_minute_pct": sum(trade.against for trade in trades) / n if n else None,
        "pnl": pnl,
        "return_on_account_pct": 100.0 * pnl / float(equity),
        "return_on_account_per_day_pct": 100.0 * pnl / float(equity) / sessions,
        "return_on_money_traded_pct": 100.0 * pnl / money if money else None,
    }


def by_session(trades: list[SimulatedTrade], equity: Decimal, sessions: int) -> list[TradeFigures]:
    """The same for each session."""
    return [trade_figures([trade for trade in trades if trade.session == i], equity, 1) for i in range(sessions)]


def trades_against_minute(trades: list[SimulatedTrade], sessions: int) -> Estimate:
    """Mean outcome of the trades against the minutes of their decisions, with its interval over sessions."""
    session = np.array([trade.session for trade in trades], dtype=np.int64)
    against = np.array([trade.against for trade in trades])
    return pooled_mean(sums(against, session, sessions), sums(np.ones(len(trades)), session, sessions))
