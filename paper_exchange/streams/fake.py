"""The test stream `/v2/test`: made-up trades, quotes and bars of FAKEPACA at all hours, as on Alpaca."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paper_exchange.base.wire import MINUTE, rfc3339

if TYPE_CHECKING:
    from paper_exchange.base.wire import JsonObject

SYMBOL = "FAKEPACA"
SECOND = 10**9


def price(second: int) -> float:
    """The price in a second since the epoch, in dollars: two waves around 133."""
    return round(133 + 3 * math.sin(second / 977) + 0.4 * math.sin(second / 13), 2)


def messages(last: int, now: int) -> list[JsonObject]:
    """A trade and a quote at `now`, after the bar of the last whole minute if it ended after `last`."""
    second = now // SECOND
    minute = now // MINUTE
    found = [_bar((minute - 1) * MINUTE)] if last // MINUTE < minute else []
    trade = {"T": "t", "S": SYMBOL, "i": second, "x": "V", "p": price(second), "s": 100, "c": ["@"]}
    quote = {"T": "q", "S": SYMBOL, "bx": "V", "bs": 1, "ax": "V", "as": 1, "c": ["R"]}
    stamp = {"t": rfc3339(now), "z": "N"}
    return [*found, trade | stamp, quote | {"bp": round(price(second) - 0.01, 2), "ap": price(second)} | stamp]


def _bar(start: int) -> JsonObject:
    prices = [price(start // SECOND + i) for i in range(60)]
    ends = {"o": prices[0], "h": max(prices), "l": min(prices), "c": prices[-1]}
    mean = round(sum(prices) / 60, 6)
    return {"T": "b", "S": SYMBOL, "t": rfc3339(start), "v": 6000, "n": 60, "vw": mean} | ends
