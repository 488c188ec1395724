"""Fills whose time cannot be true: after `ASK_FOR` they count as of the first reply that showed them.

A wrong time hides neither shares nor their price: only the end of a trade waits for it.  Entries are judged by
`trading.execution.orders.entry_evidence`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trading.broker.messages import OUR_NAME
from trading.execution.orders.entry_evidence import ASK_FOR

if TYPE_CHECKING:
    from datetime import datetime

    from trading.base.clock import Clock
    from trading.broker.client import Broker
    from trading.broker.fill_times import DoubtfulTime
    from trading.execution.orders.records import Records


class DoubtfulFillTimes:
    """Settles the fills of one account that the broker's client reads without a time."""

    def __init__(self, broker: Broker, records: Records, clock: Clock) -> None:
        self._broker = broker
        self._records = records
        self._clock = clock
        self._since: dict[tuple[str, int], datetime] = {}
        """By order id and filled shares: since when the time of this fill is asked for."""

    def judge(self) -> None:
        """Settle the times that have been asked for long enough; the next reconciliation reads them."""
        now = self._clock.now()
        waiting = {_key(doubt): doubt for doubt in self._broker.doubtful_times() if not _is_entry(doubt)}
        self._since = {key: since for key, since in self._since.items() if key in waiting}
        for doubt in waiting.values():
            symbol = doubt.order.symbol
            self._records.contain(f"the time of a fill of {symbol}", partial(self._judge, doubt, now), symbol)

    def _judge(self, doubt: DoubtfulTime, now: datetime) -> None:
        key = _key(doubt)
        if key not in self._since:
            self._since[key] = now
            self._emit("fill_time_doubted", doubt, None, "not believed: it is asked for again")
        elif abs(now - self._since[key]) >= ASK_FOR:  # a clock may be set meanwhile
            instead, of = (doubt.date, "the first reply with this fill") if doubt.date else (now, "this moment")
            self._broker.settle_fill_time(doubt.order, instead)
            self._emit("fill_time_corrected", doubt, instead, f"not believed: the time of {of} is taken instead")

    def _emit(self, event: str, doubt: DoubtfulTime, instead: datetime | None, note: str) -> None:
        order = doubt.order
        self._records.journal.event(
            event,
            symbol=order.symbol,
            side=order.side,
            qty=order.filled_qty,
            shown=doubt.shown,
            instead=instead,
            order_id=order.id,
            note=note,
        )


def _key(doubt: DoubtfulTime) -> tuple[str, int]:
    return doubt.order.id, doubt.order.filled_qty


def _is_entry(doubt: DoubtfulTime) -> bool:
    named = OUR_NAME.fullmatch(doubt.order.client_order_id)
    return named is not None and named["intent"] == "entry"
