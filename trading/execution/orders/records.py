"""The trader's own records beside the cache of the broker's: the trade log, the audit, and the discrepancies."""

from __future__ import annotations

import logging
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from trading.base.clock import NEW_YORK
from trading.base.errors import Stopped
from trading.broker.client import Unclear
from trading.broker.messages import OUR_NAME
from trading.execution.orders.order_cache import GIVE_UP_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from trading.base.clock import Clock
    from trading.broker.messages import Order
    from trading.records.journal import Journal
    from trading.records.trade_log import Trade, TradeLog

log = logging.getLogger(__name__)

AUDITED_DAYS: Final = 5
"""Days of audit in which a start looks for pending entries and past reports; the crash may lie days back."""

RENAMED: Final = "symbol_changed"
"""Audit event of a trade that takes another symbol."""

CORRECTED: Final = "corrected by its entry order"
"""Note of a `RENAMED` event: the log was wrong, the stock was not renamed."""

ONCE: Final = frozenset({"bought", "sold"})
"""Audit events that stand for money that was moved."""


T = TypeVar("T")


class InStock(Protocol):
    """What belongs to one stock: a trade, an entry, an order or a signal."""

    @property
    def symbol(self) -> str: ...


S = TypeVar("S", bound=InStock)


class Records:
    """The trade log, the audit, and the discrepancies.  A disk that cannot be written does not end the day."""

    def __init__(self, log: TradeLog, journal: Journal, clock: Clock) -> None:
        self.log = log
        self.journal = journal
        self._clock = clock
        self.discrepancies: list[str] = []
        """What could not be established since the last reconciliation; while there is any, there are no entries."""
        self.held_back = False
        """Whether STOP has kept an order from being sent since the last reconciliation began."""
        self.held_back_at: datetime | None = None
        """When STOP last did; sales that had begun by then are not taken up when it is gone."""
        self.disputed: dict[str, str] = {}
        """Discrepancies by stock that have lasted for `GIVE_UP_AFTER`; they prevent entries in that stock alone."""
        self._since: dict[str, datetime] = {}
        """By stock: since when there are discrepancies, with pauses shorter than `GIVE_UP_AFTER`."""
        self._newest: dict[str, datetime] = {}
        """By stock: when its newest discrepancy was recorded."""
        self._told_disputed: set[str] = set()
        """Stocks of `_since` that the audit has as disputed."""
        self._doubted: set[str] = set()
        self._told: dict[str, dict[tuple[str, str], str]] = {}
        """Purchases and sales in the audit of the newest `AUDITED_DAYS`, as a start reads them: day of the audit ->
        (event, client_order_id) -> reason of a sale."""
        self._symbols: dict[str, set[str]] = {}
        """By client_order_id of a trade: the symbols that its stock was renamed from and to."""

    def recover(self, events: Iterable[Mapping[str, Any]]) -> None:
        """After a start: note the purchases and sales that the audit has, so that they are not written again.

        The renamed stocks are noted too.
        """
        for event in events:
            if event["event"] == RENAMED and event.get("note") != CORRECTED:
                names = {str(event.get("old")), str(event.get("symbol"))}
                self._symbols.setdefault(str(event.get("client_order_id")), set()).update(names)
            if event["event"] in ONCE:
                key = event["event"], str(event.get("client_order_id"))
                self._note_told(str(event.get("time"))[:10], key, event.get("reason"))

    def rename(self, trade: Trade, symbol: str, note: str) -> None:
        """Give a trade another symbol; unless the log was wrong (`CORRECTED`), its stock was renamed."""
        old, trade.symbol = trade.symbol, symbol
        if note != CORRECTED:
            self._symbols.setdefault(trade.client_order_id, set()).update((old, symbol))
        self.log.mark_changed(trade)
        name = trade.client_order_id
        self.journal.event(RENAMED, old=old, symbol=symbol, qty=trade.qty, client_order_id=name, note=note)

    def symbols_of(self, trade: Trade) -> frozenset[str]:
        """The symbols under which a stock is known to have traded since the trade bought it."""
        named = OUR_NAME.fullmatch(trade.client_order_id)
        known = self._symbols.get(trade.client_order_id, set())
        return frozenset({trade.symbol, *known, *([named["symbol"]] if named else [])})

    def is_renamed(self, trade: Trade) -> bool:
        """Whether the symbol of a trade is known to be a new or an old one of its stock."""
        return trade.symbol in self._symbols.get(trade.client_order_id, ())

    def is_told(self, event: str, client_order_id: str) -> bool:
        """Whether the audit of the newest days has an event of `ONCE` of a trade."""
        return any((event, client_order_id) in known for known in self._told.values())

    def told_reason(self, client_order_id: str) -> str:
        """The reason of a sale that an earlier run wrote into the audit; empty if it did not."""
        key = "sold", client_order_id
        return next((known[key] for known in self._told.values() if key in known), "")

    def _note_told(self, day: str, key: tuple[str, str], reason: object) -> None:
        self._told.setdefault(day, {})[key] = str(reason or "")
        for past in sorted(self._told)[:-AUDITED_DAYS]:
            del self._told[past]

    def forget_sale(self, client_order_id: str) -> None:
        """Forget that the audit has the sale of a trade, because it was none."""
        for known in self._told.values():
            known.pop(("sold", client_order_id), None)

    def event_once(self, name: str, *, client_order_id: str, **fields: object) -> None:
        """Write an event of `ONCE`, unless the audit has it: what is recovered was bought, and sold, only once."""
        if not self.is_told(name, client_order_id):
            today = str(self._clock.now().astimezone(NEW_YORK).date())
            self._note_told(today, (name, client_order_id), fields.get("reason"))
            self.journal.event(name, client_order_id=client_order_id, **fields)

    def start_round(self) -> None:
        """Begin a reconciliation: forget the discrepancies, and the stocks about which the last one had none.

        How long those of a stock have lasted is forgotten after `GIVE_UP_AFTER` without one: a discrepancy that comes
        back every minute would otherwise prevent the entries in all stocks for the whole day.
        """
        self.discrepancies, self.held_back = [], False
        recent = self._clock.now() - GIVE_UP_AFTER
        self._newest = {symbol: at for symbol, at in self._newest.items() if symbol in self._doubted or at > recent}
        self._since = {symbol: since for symbol, since in self._since.items() if symbol in self._newest}
        self._told_disputed &= self._since.keys()
        self.disputed = {symbol: reason for symbol, reason in self.disputed.items() if symbol in self._doubted}
        self._doubted = set()

    def doubt(self, symbol: str, reason: str) -> None:
        """Record a discrepancy of one stock.

        It prevents every entry until it has lasted for `GIVE_UP_AFTER`, and then the entries in its stock alone.
        """
        self._doubted.add(symbol)
        self._newest[symbol] = self._clock.now()
        lasted = self._newest[symbol] - self._since.setdefault(symbol, self._newest[symbol])
        if not symbol or lasted < GIVE_UP_AFTER:
            self.discrepancies.append(reason)
            return
        if symbol not in self._told_disputed:
            self._told_disputed.add(symbol)
            note = "this stock is not bought until it is settled; the others are"
            self.journal.event("stock_disputed", symbol=symbol, reason=reason, note=note)
        self.disputed[symbol] = reason

    def contain(self, what: str, step: Callable[[], None], symbol: str = "") -> bool:
        """Run the step of one stock; whatever it raises is a discrepancy, so that the steps of the others go on.

        `Stopped` is none: it is noted in `held_back`, and the audit says what was not sent.

        Args:
            what: the step in words, for the discrepancy.
            symbol: the stock; empty for a step of the whole account.

        Returns:
            Whether the step raised nothing.
        """
        try:
            step()
        except Stopped as error:  # no discrepancy: it is what a person wants
            self.held_back, self.held_back_at = True, self._clock.now()
            self.journal.event("not_sent", what=what, symbol=symbol, reason=str(error))
            return False
        except Unclear as error:
            self.doubt(symbol, f"{what}: {error}")
            self.journal.event("unclear", what=what, reason=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - a defect; the other stocks are still to be protected and sold
            self.note_failure(what, error, symbol)
            return False
        return True

    def note_failure(self, what: str, error: Exception, symbol: str = "") -> None:
        """Record an exception that only a defect raises; arguments as for `contain`."""
        log.error("%s failed", what, exc_info=error)
        reason = traceback.format_exception_only(error)[-1].strip()[:300]  # its own text may raise too
        self.doubt(symbol, f"{what}: {reason}")
        self.journal.event("step_failed", what=what, reason=reason, where=_place_of(error))

    def for_each(self, what: str, items: Iterable[S], step: Callable[[S], None]) -> None:
        """Run the same step for each of several stocks, each contained; every loop over stocks goes through here.

        Args:
            what: the step in words; the symbol is appended.
            items: a copy of these is walked, so that the step may change where they are from.
        """
        for item in list(items):
            self.contain(f"{what} {item.symbol}", partial(step, item), item.symbol)

    def answer(self, what: str, item: S, question: Callable[[S], T], otherwise: T) -> T:
        """The answer to a question about one stock, such as a sort key; `otherwise` if it raises (see `contain`)."""
        answers = [otherwise]
        self.contain(f"{what} {item.symbol}", lambda: answers.append(question(item)), item.symbol)
        return answers[-1]

    def note_cancel(self, reason: str, order: Order, accepted: bool | None) -> None:
        """Record a cancellation request; `accepted` is None if it got no answer."""
        self.journal.event("cancel", symbol=order.symbol, order_id=order.id, reason=reason, accepted=accepted)

    def save(self) -> None:
        """Write the trade log; a failed write is a discrepancy, and the next save tries again."""
        try:
            self.log.save()
        except (OSError, TypeError, ValueError, ArithmeticError) as error:  # the disk, or a value that JSON lacks
            reason = str(error.strerror if isinstance(error, OSError) else error)
            self.discrepancies.append(f"the trade log cannot be written: {reason}")
            self.journal.event("trade_log_unwritten", reason=reason)


def _place_of(error: Exception) -> str:
    """The function and line that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}" if frames else ""
