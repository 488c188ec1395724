"""With the rules that other backtesters have too, the engine makes the trades of plain Python, each one.

`python -m benchmarks --only backtest` holds vectorbt against the same plain Python.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from config import Settings
from tests.backtest.shared_rules import FLATTEN, AtOnce, engine_trades, plain_trades
from trading.backtest.engine.account import Account
from trading.backtest.engine.replay import Day, Replay, trade_days
from trading.backtest.engine.session_market import SessionMarket
from trading.backtest.engine.signals import Predictions
from trading.backtest.engine.trading_rules import TradingRules
from trading.base.arrays import Floats
from trading.base.calendar import new_york_calendar
from trading.market.bars import MINUTE_NS, Bars, to_ns

STOCKS, MINUTES = 6, 390
SESSIONS = [one for one in new_york_calendar().between(date(2018, 3, 1), date(2018, 3, 9)) if one.minutes == MINUTES][
    :3
]
SYMBOLS = tuple(f"S{i}" for i in range(STOCKS))


def market(seed: int, step: float) -> tuple[Floats, ...]:
    """Open, high, low, close and confidence; each minute opens at the last close, so no bracket is refused."""
    random = np.random.default_rng(seed)
    shape = (len(SESSIONS), STOCKS, MINUTES)
    close = random.uniform(3.0, 14.0, shape[:2])[..., None] * np.exp(np.cumsum(random.normal(0.0, step, shape), axis=2))
    close = np.clip(close, 2.0, 19.0).round(2)
    open_ = np.concatenate([close[..., :1], close[..., :-1]], axis=2)
    beyond = np.abs(random.normal(0.0, step / 2.0, (2, *shape))) * close
    high, low = (np.maximum(open_, close) + beyond[0]).round(2), (np.minimum(open_, close) - beyond[1]).round(2)
    return open_, high, low, close, random.beta(5.0, 6.0, shape)


@pytest.mark.parametrize(("seed", "step"), [(1, 0.001), (2, 0.0015), (3, 0.002), (4, 0.004), (5, 0.006)])
def test_with_the_rules_of_other_backtesters_each_trade_is_that_of_plain_python(seed: int, step: float) -> None:
    open_, high, low, close, confidence = market(seed, step)
    s = Settings.of(MIN_CONFIDENCE=0.65, MAX_OPEN_POSITIONS=STOCKS, MAX_DAILY_LOSS_PCT=0.0, TICK_SECOND=0)
    rules = TradingRules(s.prediction, s.data, s.entry, s.exits, s.schedule.TICK_SECOND)
    replay = Replay(rules, Account(Decimal(100_000)), AtOnce(s.training.SEED), trades=[])
    stock, minute = (one.astype(np.int32).ravel() for one in np.indices((STOCKS, MINUTES)))
    for i, session in enumerate(SESSIONS):
        start, volume = to_ns(session.open) + MINUTE_NS * np.arange(MINUTES), np.full(MINUTES, 1000.0)
        bars = {
            name: Bars(start, open_[i, s], high[i, s], low[i, s], close[i, s], volume) for s, name in enumerate(SYMBOLS)
        }
        p = confidence[i].ravel()
        found = Predictions("given", SYMBOLS, stock, minute, close[i].ravel(), p, p)
        trade_days([replay], [Day(SessionMarket.of(session, bars), found)])
    plain = plain_trades(open_, high, low, confidence)
    assert engine_trades(replay, SESSIONS, SYMBOLS) == plain
    ends = [one.left == MINUTES - FLATTEN for one in plain]
    assert len(plain) > 20 and any(ends) and not all(ends)
    assert any(one.sold < one.bought for one in plain) and any(one.sold > one.bought for one in plain)
