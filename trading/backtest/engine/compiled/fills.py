"""When, and at what price, an order fills, worked out with the functions of the exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trading.backtest.engine.compiled.arrays import DOLLAR, MINUTE, NO_REASON, SECOND, STOP_LOSS, TAKE_PROFIT
from trading.base.compiled import compilable
from trading.rules.exits import first_touch

if TYPE_CHECKING:
    from trading.backtest.engine.compiled.arrays import Delays, Exchange, Prices, Setup, State

ASSUMED: Final = SECOND // 8
"""A delay that is not known yet: the session is run again with it."""

_ASKED: Final = -2

NO_FILL: Final = -1


@compilable
def price_at(exchange: Exchange, prices: Prices, stock: int, instant: int) -> int:
    """The price of a stock, at the close at the latest; 0 if it has not traded yet."""
    minute = min(instant // MINUTE, prices.path.shape[1] - 1)
    bar = prices.path[stock, minute]
    return exchange.price(bar[0], bar[1], bar[2], bar[3], instant - minute * MINUTE)


@compilable
def ready_at(delays: Delays, state: State, stock: int, minute: int, slot: int, sent: int) -> int:
    """From when an order can trade that is sent at an instant, or a leg whose level is changed then."""
    delay: int = delays.known[stock, minute, slot]
    if delay >= 0:
        return sent + delay
    if delay != _ASKED and state.asked < len(delays.asked):
        delays.known[stock, minute, slot] = _ASKED
        asked = delays.asked[state.asked]
        asked[0], asked[1], asked[2] = stock, minute, slot
        state.asked += 1
    return sent + ASSUMED


@compilable
def trades(prices: Prices, stock: int, minute: int) -> bool:
    """Whether a stock trades in a minute: from its first bar to its last one."""
    first: int = prices.first[stock]
    last: int = prices.last[stock]
    return first <= minute <= last


@compilable
def market_fill(exchange: Exchange, setup: Setup, stock: int, ready: int, buy: bool) -> tuple[int, int]:
    """The price and the instant at which a market order fills; `NO_FILL` if it does not in the session."""
    prices = setup.prices
    end = prices.path.shape[1] * MINUTE
    while ready < end:
        minute = ready // MINUTE
        if trades(prices, stock, minute):
            bid = price_at(exchange, prices, stock, ready)
            return (exchange.ask(bid, setup.rules.ticks) if buy else bid), ready
        ready = (minute + 1) * MINUTE
    return 0, NO_FILL


@compilable
def leg_fill(
    exchange: Exchange,
    prices: Prices,
    stock: int,
    stop: int,
    target: int,
    stop_from: int,
    target_from: int,
    until: int,
) -> tuple[int, int, int]:
    """The leg that fills first, at `until` or before: its reason, price and instant; `NO_REASON` if neither does.

    Args:
        stop, target: the levels.
        stop_from, target_from: from when each can trade.
    """
    ready, both = min(stop_from, target_from), max(stop_from, target_from)
    end = min(prices.path.shape[1], until // MINUTE + 1)
    while ready // MINUTE < end:
        minute = ready // MINUTE
        if trades(prices, stock, minute):
            start = minute * MINUTE
            stopped = _reached(exchange, prices, stock, minute, stop, False, stop_from)
            taken = _reached(exchange, prices, stock, minute, target, True, target_from)
            at = stopped if stopped != NO_FILL and (taken == NO_FILL or stopped <= taken) else taken
            if at != NO_FILL:
                reason = STOP_LOSS if at == stopped else TAKE_PROFIT
                if start + at > until:
                    return NO_REASON, 0, NO_FILL
                return reason, price_at(exchange, prices, stock, start + at), start + at
        ready = (minute + 1) * MINUTE
        if ready >= both:
            touched = first_touch(
                prices.lowest[stock],
                prices.highest[stock],
                prices.block_lowest[stock],
                prices.block_highest[stock],
                minute + 1,
                end,
                stop / DOLLAR,
                target / DOLLAR,
            )
            ready = touched * MINUTE
    return NO_REASON, 0, NO_FILL


@compilable
def _reached(exchange: Exchange, prices: Prices, stock: int, minute: int, level: int, rising: bool, after: int) -> int:
    """How long after the start of a minute the bid reaches a level, not before the instant `after`; or `NO_FILL`."""
    bar = prices.path[stock, minute]
    beyond = max(bar[0], bar[2], bar[3]) < level if rising else min(bar[0], bar[1], bar[3]) > level
    if beyond or after >= (minute + 1) * MINUTE:
        return NO_FILL
    found = exchange.reached(bar[0], bar[1], bar[2], bar[3], level, rising, max(0, after - minute * MINUTE))
    return NO_FILL if found is None else found
