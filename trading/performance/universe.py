"""The yardstick of a session: buy every stock of the day's universe in the morning, and sell it before the close."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from trading.base.files import read_regular, to_json, write_bytes
from trading.performance.intervals import draws, estimates, session_sums
from trading.records.trade import LARGEST_PRICE
from trading.rules.costs import round_trip_cost_pct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trading.base.arrays import Floats, Ints
    from trading.learning.session_statistics import Estimate
    from trading.performance.closed_trades import ClosedTrades

UNIVERSE_FILE: Final = "universe.json"
"""File beside the trades of a backtest: day -> stock -> its first and its last price."""

MOST_BYTES: Final = 200_000_000
"""Longest file that is read: 100 stocks of a session are 3,000 bytes."""


class UniverseDay(NamedTuple):
    """What holding the universe for a session brought, per cent of the price, the mean of its stocks."""

    day: date
    stocks: int
    before_cost_pct: float
    after_cost_pct: float


def hold_universe(
    day: date, bought: Floats, sold: Floats, round_trip_cost: float, spread_ticks: float
) -> UniverseDay | None:
    """Equal dollars in every stock, bought and sold once.

    Args:
        bought, sold: first and last price of each stock in dollars, (stocks,); a stock without both is left out.
        round_trip_cost, spread_ticks: ROUND_TRIP_COST (a fraction) and SPREAD_TICKS.

    Returns:
        None without a stock.
    """
    known = np.isfinite(bought) & np.isfinite(sold) & (bought > 0) & (sold > 0)
    bought, sold = bought[known], sold[known]
    if not len(bought):
        return None
    gain = 100.0 * (sold / bought - 1.0)
    cost = round_trip_cost_pct(bought, round_trip_cost, spread_ticks)
    return UniverseDay(day, len(bought), float(gain.mean()), float((gain - cost).mean()))


class UniversePrices(NamedTuple):
    """The first and the last price of each stock of a session, dollars, float64 (stocks,)."""

    day: date
    symbols: Sequence[str]
    bought: Floats
    sold: Floats

    def universe(self, round_trip_cost: float, spread_ticks: float) -> UniverseDay | None:
        """`hold_universe` of this session."""
        return hold_universe(self.day, self.bought, self.sold, round_trip_cost, spread_ticks)


def write_universe(folder: Path, sessions: Sequence[UniversePrices]) -> None:
    """Write the prices of the sessions beside the trades of a backtest, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    found = {
        str(one.day): {
            symbol: pair for symbol, *pair in zip(one.symbols, one.bought.tolist(), one.sold.tolist(), strict=True)
        }
        for one in sessions
    }
    write_bytes(folder / UNIVERSE_FILE, to_json(found))


def read_universe(folder: Path) -> list[UniversePrices]:
    """The prices that a backtest wrote beside its trades; empty if it wrote none.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file; the message says which value is wrong.
    """
    try:
        content = json.loads(read_regular(folder / UNIVERSE_FILE, MOST_BYTES).decode())
    except FileNotFoundError:
        return []
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it holds no sessions")
    return [_prices(day, stocks) for day, stocks in sorted(content.items())]


def _prices(text: str, stocks: Any) -> UniversePrices:
    day = date.fromisoformat(text)
    if str(day) != text:
        raise ValueError(f"{text[:12]!r} is no day in the form 2018-03-26")
    if not isinstance(stocks, dict):
        raise ValueError(f"{day} has no stocks")
    for symbol, pair in stocks.items():
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_price(one) for one in pair):
            raise ValueError(f"{day} has no two prices of {symbol[:12]!r}")
    both = np.array(list(stocks.values()), dtype=np.float64).reshape(-1, 2)
    return UniversePrices(day, tuple(stocks), both[:, 0], both[:, 1])


def _is_price(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= LARGEST_PRICE


class AgainstUniverse(NamedTuple):
    """Trades beside holding the universe on the same sessions, after cost, per cent, with intervals over sessions.

    Attributes:
        sessions, trades: how many are compared.
        held: mean of the sessions, each of which is the mean of its stocks.
        own: mean of a trade.
        difference: `own` minus `held`, drawn together.
    """

    sessions: int
    trades: int
    held: Estimate
    own: Estimate
    difference: Estimate


def against_universe(closed: ClosedTrades, universe: Sequence[UniverseDay]) -> AgainstUniverse | None:
    """The trades that were sold on the days of `universe` beside holding it; None without one."""
    days = np.array(sorted(one.day for one in universe), dtype="datetime64[D]")
    same = closed.take(np.isin(closed.day, days))
    if not len(same):
        return None
    held = np.array([one.after_cost_pct for one in sorted(universe)])
    session = np.searchsorted(days, same.day)
    sums = np.column_stack([held, session_sums([same.outcome_pct, np.ones(len(same))], session, len(days))])

    def statistic(index: Ints) -> Floats:
        of_days, outcome, trades = (draws(index) @ sums).T
        with np.errstate(invalid="ignore", divide="ignore"):
            own = outcome / trades
        return np.array([of_days / len(days), own, own - of_days / len(days)])

    return AgainstUniverse(len(days), len(same), *estimates(statistic, len(days)))
