"""Refused orders and positions that name no stock: how long one of them may be ours.

An account may hold what has no symbol of a stock, such as a CUSIP after a delisting.  It must not stop the trading.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from trading.broker.messages import OUR_NAME, OURS
from trading.execution.orders.order_cache import GIVE_UP_AFTER, OrderCache
from trading.execution.orders.records import Records

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from trading.base.clock import Clock
    from trading.broker.messages import Refused

MOST_TOLD: Final = 1000
"""Reasons that are remembered as written to the audit."""


class Unnamed:
    """Decides which refused items are discrepancies.

    One that names our stock or bears our name is.  One without a symbol is for `GIVE_UP_AFTER`, while a stock of ours
    is not shown and it may be this one.  After that it is named once in the audit and ignored: a missing position of
    ours is a discrepancy of its own.
    """

    def __init__(self, cache: OrderCache, records: Records, clock: Clock) -> None:
        self._cache = cache
        self._records = records
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[datetime, datetime]] = {}
        """By kind and client_order_id of an item without a symbol: when it was seen first and last."""
        self._told: set[str] = set()

    def judge(self, ours: Collection[str]) -> None:
        """Record the discrepancies among what the last `OrderCache.read` refused.

        Args:
            ours: symbols of our open trades and pending entries.
        """
        now = self._clock.now()
        self._seen = {key: seen for key, seen in self._seen.items() if now - seen[1] <= GIVE_UP_AFTER}
        shown = set(self._cache.positions) | self._cache.unreadable
        for one in self._cache.refused:
            self._records.contain("a refused item", partial(self._judge, one, ours, shown, now), one.symbol or "")

    def _judge(self, one: Refused, ours: Collection[str], shown: Collection[str], now: datetime) -> None:
        named = OUR_NAME.fullmatch(one.client_order_id)
        symbol = one.symbol or (named["symbol"] if named else "")
        if symbol in ours or (symbol and one.client_order_id.startswith(OURS)):
            self._records.doubt(symbol, str(one))
            self._records.journal.event("reply_refused", reason=str(one))
        elif not symbol:
            missing = set(ours).difference(shown) if one.what == "position" else set(ours)
            self._judge_unnamed(one, bool(missing), now)

    def _judge_unnamed(self, one: Refused, may_be_ours: bool, now: datetime) -> None:
        key = one.what, one.client_order_id
        first, _ = self._seen.get(key, (now, now))
        self._seen[key] = first, now
        if may_be_ours and now - first < GIVE_UP_AFTER:
            self._records.discrepancies.append(str(one))
            self._records.journal.event("reply_refused", reason=str(one))
        elif str(one) not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(str(one))
            note = "it names no stock of ours: left alone, and no entry waits for it"
            self._records.journal.event("reply_refused", reason=str(one), note=note)
