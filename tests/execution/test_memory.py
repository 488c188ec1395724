"""What a trader remembers in its memory does not grow with the days it has traded, except its newest trade files."""

from __future__ import annotations

import gc
from collections import deque
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from tests.exchange.exchange_world import MONDAY
from tests.execution.trading_world import CALENDAR, TradingWorld, flat
from trading.broker.network import KeepingSession
from trading.broker.transport import RateLimit
from trading.broker.validation import KnownOrders
from trading.execution.orders.records import AUDITED_DAYS
from trading.records.trade_log import TradeLog

if TYPE_CHECKING:
    from pathlib import Path

SESSIONS = CALENDAR.between(MONDAY, MONDAY.replace(month=5))[: AUDITED_DAYS + 4]
CONTAINERS = (dict, list, set, frozenset, tuple, deque)


BOUNDED = RateLimit | KeepingSession | KnownOrders


def entries_below(root: object) -> int:
    """The entries of all containers that belong to an object of ours.

    Left out are deques with a greatest length, the trade log, the rate limit, which holds the instants of a minute's
    requests at most, the requests that the broker's session keeps, 64 at most, and the parsed orders, which are
    forgotten every morning.
    """
    seen, waiting, total = {id(root)}, [root], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, CONTAINERS) and not (isinstance(one, deque) and one.maxlen):
            total += len(one)
        for found in gc.get_referents(one):
            ours = type(found).__module__.startswith("trading.") or isinstance(found, CONTAINERS)
            leave = isinstance(found, type | ModuleType | FunctionType | TradeLog | BOUNDED)
            if ours and not leave and id(found) not in seen:
                seen.add(id(found))
                waiting.append(found)
    return total


def test_a_trader_forgets_the_orders_of_closed_trades(tmp_path: Path) -> None:
    rows = flat("10:25", "10:35") + flat("15:50", "15:59")
    bars = {symbol: {session.date: rows for session in SESSIONS} for symbol in ("AAA", "BBB", "CCC")}
    signals = {"10:31": dict.fromkeys(bars, 0.8)}
    world = TradingWorld(tmp_path, bars, SESSIONS[0].open, signals)
    counts = []
    for session in SESSIONS:
        world.at("09:31", session.date)
        world.trader.start_day(session)
        # A refusal and a wish for an exit that nothing has ended, as an unclear reply leaves them.
        name = f"mlt-{session.date:%Y%m%d}-AAA-1031-entry"
        world.tick("10:31", "10:32", "10:33")
        world.trader.positions._exits._refused[name] = "held for orders"
        world.trader.positions._holdings._reported[name] = world.trade().entry_price
        world.minutes("15:55", "15:59")
        world.close_day()
        counts.append(entries_below(world.trader))
    assert len(world.log.trades) == 3 * len(SESSIONS) and not world.log.open_trades
    assert len(set(counts[AUDITED_DAYS:])) == 1, counts
    told = [world.trader.positions._records.is_told("sold", one.client_order_id) for one in world.log.trades[::3]]
    assert told == [False] * 4 + [True] * AUDITED_DAYS
