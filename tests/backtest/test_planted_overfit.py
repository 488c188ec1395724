"""A sweep over a market on which nothing can be known finds nothing, and one over a known future does.

`python -m benchmarks.planted_overfit` is the long version, with `backtest.py` itself.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from config import Settings
from paper_exchange.market.generator.market import GeneratedMarket
from tests.backtest.shared_rules import AtOnce
from trading.backtest.engine.account import Account
from trading.backtest.engine.replay import Day, Replay, trade_days
from trading.backtest.engine.session_market import SessionMarket, minutes_of
from trading.backtest.engine.signals import Predictions
from trading.backtest.engine.trading_rules import TradingRules
from trading.backtest.yardstick.coin_flip import flipped
from trading.base.calendar import new_york_calendar
from trading.market.bars import Bars
from trading.performance.intervals import MIN_SESSIONS
from trading.performance.overfitting import MOST_OVERFIT, choice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trading.base.arrays import Floats

STOCKS = 4
AHEAD = 20
"""Minutes that a forecast of the future looks ahead."""


def days(seed: int, knows: float, coins: int | None) -> Iterator[Day]:
    """A market with learnability 0 and confidences drawn at random; with `knows` they follow the price to come.

    Args:
        coins: seed of a coin-flipped copy of the bars; None: the bars themselves.
    """
    market, random = GeneratedMarket(seed, STOCKS, learnability=0.0), np.random.default_rng(seed)
    first = market.first_session
    for session in new_york_calendar().between(first, first + timedelta(days=2 * MIN_SESSIONS))[:MIN_SESSIONS]:
        bars = {}
        for one in sorted(listing.symbol for listing in market.listings):
            found = market.session_bars(one, session.date)
            bars[one] = Bars(found.start, found.open, found.high, found.low, found.close, found.volume.astype(float))
        bars = bars if coins is None else flipped(bars, coins)
        close = [one.close for one in bars.values()]
        gain = [one[np.minimum(np.arange(len(one)) + AHEAD, len(one) - 1)] / one - 1.0 for one in close]
        score = knows * np.concatenate(gain) / 0.005 + random.normal(0.0, 1.0, sum(map(len, close)))
        p = 1.0 / (1.0 + np.exp(-score))
        stock = np.repeat(np.arange(STOCKS, dtype=np.int32), list(map(len, close)))
        minute = np.concatenate([minutes_of(one, session) for one in bars.values()]).astype(np.int32)
        yield Day(
            SessionMarket.of(session, bars),
            Predictions("drawn", tuple(bars), stock, minute, np.concatenate(close), p, p),
        )


def returns_of_many(seed: int, values: int, knows: float = 0.0, coins: int | None = None) -> Floats:
    """The return of each session with `values` to the third settings, float64 (sessions, settings).

    There is neither spread nor cost: with these every setting loses, and a best one that loses misleads nobody.
    """
    random = np.random.default_rng(seed)
    drawn = (random.uniform(low, high, values).round(4) for low, high in ((0.6, 0.95), (0.003, 0.03), (0.003, 0.05)))
    replays = []
    for confidence, stop, target in product(*drawn):
        swept = {"MIN_CONFIDENCE": confidence, "STOP_LOSS_PCT": stop, "TAKE_PROFIT_PCT": target}
        s = Settings.of(**swept, ROUND_TRIP_COST=0.0, SPREAD_TICKS=0.0)
        rules = TradingRules(s.prediction, s.data, s.entry, s.exits, s.schedule.TICK_SECOND)
        replays.append(Replay(rules, Account(Decimal(100_000)), AtOnce(s.training.SEED)))
    trade_days(replays, list(days(seed, knows, coins)))
    return np.array([[one.gain_after_cost for one in replay.sessions] for replay in replays]).T


@pytest.mark.parametrize("seed", [1, 15])
def test_the_best_of_many_settings_is_luck_where_nothing_can_be_known(seed: int) -> None:
    found = choice(returns_of_many(seed, 5))
    assert found.known and not found.more_than_luck
    assert found.later is not None and found.later.result > 0.0, "a gain on the sessions after is no proof"


def test_the_best_of_many_settings_lasts_where_the_future_is_known() -> None:
    found = choice(returns_of_many(1, 4, knows=1.0))
    assert found.overfitting is not None and found.overfitting <= MOST_OVERFIT
    assert found.later is not None and found.later.result > found.later.median > 0.0
