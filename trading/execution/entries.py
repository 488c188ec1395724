"""Entries: from the predictions of a minute to bracket orders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from trading.base.errors import Stopped
from trading.broker.client import Bracket, Broker, OrderRefused, Unclear
from trading.execution.live_feed import Quotes
from trading.execution.orders.entry_orders import INTENT
from trading.execution.orders.order_cache import order_name
from trading.execution.orders.others import open_order
from trading.execution.orders.pending_entry import PendingEntry
from trading.rules.entry import (
    Candidate,
    EntryContext,
    EntryRule,
    Losses,
    cost_to_buy,
    first_refusal,
    shares_to_buy,
)
from trading.rules.exits import levels, quantised
from trading.rules.spread import Quote, spread_refusal

if TYPE_CHECKING:
    from datetime import datetime

    from config import DataSettings, EntrySettings, ExitSettings
    from trading.base.calendar import Session
    from trading.base.clock import Clock
    from trading.broker.messages import Account
    from trading.execution.control_files import EntryPauses, Paused
    from trading.execution.reconciliation import PositionManager
    from trading.records.journal import Journal

Refusal = tuple[str, str]
"""Why nothing is bought: the name of a rule, and the reason in words."""

OTHER_ORDER: Final = "other_order"
"""The rule that refuses a stock because of an order of somebody else."""


class Signal(Protocol):
    """A prediction of one stock.  `trading.models`, which implements it, lies above this package.

    `confidence` and `win_probability` are probabilities; `price` is the close of the newest bar in dollars, `bar_time`
    the start of that bar, timezone-aware; `model` is the TIMESTAMP of the model.
    """

    @property
    def symbol(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def win_probability(self) -> float: ...
    @property
    def price(self) -> float: ...
    @property
    def bar_time(self) -> datetime: ...
    @property
    def stale(self) -> bool: ...
    @property
    def meets_threshold(self) -> bool: ...
    @property
    def model(self) -> str: ...
    def as_json(self) -> dict[str, Any]: ...


def signals_of(predictions: Iterable[Signal]) -> list[Signal]:
    """The predictions that reach the threshold, the most confident first."""
    return sorted((p for p in predictions if p.meets_threshold), key=lambda p: (-p.confidence, p.symbol))


def best_and_too_old(predictions: Sequence[Signal], threshold: float) -> dict[str, object]:
    """For the audit of a minute: the most confident prediction, and stocks whose signal comes from too old a bar."""
    if not predictions:
        return {}
    best = max(predictions, key=lambda p: (p.confidence, p.symbol))
    too_old = [p.symbol for p in predictions if p.stale and p.confidence >= threshold]
    return {"best": best.symbol, "best_confidence": best.confidence, **({"too_old": too_old} if too_old else {})}


@dataclass(frozen=True)
class EntryPolicy:
    """The filters, the size and the levels of an entry.

    Attributes:
        rules: the filters and guards, in the order in which they are applied.
        entry: position size and limits.
        exits: the rules that set stop, target and the time of the last entry.
        data: the price band and the feed.
        quote_of: the newest quote of a stock in dollars, or None if unknown.
    """

    rules: Sequence[EntryRule]
    entry: EntrySettings
    exits: ExitSettings
    data: DataSettings
    quote_of: Callable[[str], Quote | None] = lambda symbol: None


@dataclass
class _Minute:
    """What the decisions of one minute share; `context` counts the entries that were sent, or may be."""

    instant: datetime
    context: EntryContext
    paused: Paused
    account_refusal: Refusal | None
    others: Mapping[str, str]
    quotes: Quotes


class Entries:
    """Sends entry orders for the signals that pass every filter."""

    def __init__(
        self,
        broker: Broker,
        positions: PositionManager,
        journal: Journal,
        clock: Clock,
        policy: EntryPolicy,
        pauses: EntryPauses,
    ) -> None:
        self._broker = broker
        self._positions = positions
        self._journal = journal
        self._clock = clock
        self._policy = policy
        self._pauses = pauses

    def consider(
        self,
        signals: Sequence[Signal],
        account: Account,
        session: Session,
        instant: datetime,
        losses: Losses | None = None,
        others: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Buy every signal that no filter refuses, in the order given.

        Args:
            signals: predictions that reach the threshold, the most confident first.
            account: balances before this minute's entries.
            session: the current session.
            instant: the minute of the decision, timezone-aware; it is part of the client_order_id.
            losses: the day's losses so far.
            others: symbols in which somebody else has an open order, and that order in words.

        An order whose outcome is unclear counts as held until it is known.  Whatever the decision on one stock raises,
        the others are decided on.
        """
        context = EntryContext(
            now=self._clock.now(),
            session=session,
            flatten_at=session.flatten_at(self._policy.exits.FLATTEN_MINUTES_BEFORE_CLOSE),
            equity=account.equity,
            buying_power=account.buying_power,
            held=self._positions.held,
            fractions=self._positions.cache.fractions - {trade.symbol for trade in self._positions.open},
            losses=losses or Losses(),
        )
        minute = _Minute(
            instant,
            context,
            self._pauses.read(),  # again: the bars of a minute are waited for
            self._account_refusal(account),  # once: a defect in one stock does not forbid the others of the minute
            others,
            Quotes(self._policy.quote_of, required=self._policy.entry.MAX_SPREAD_PCT > 0.0),
        )
        self._positions.for_each("the decision on", signals, partial(self._consider, minute=minute))

    def _consider(self, signal: Signal, minute: _Minute) -> None:
        candidate = Candidate(signal.symbol, signal.price, signal.confidence)
        refusal = (
            self._stop_refusal()
            or _pause_refusal(signal.symbol, minute.paused)
            or minute.account_refusal
            or self._journal_refusal()
            or first_refusal(self._policy.rules, candidate, minute.context)
            or _other_order_refusal(signal.symbol, minute.others)
            or self._spread_refusal(signal.symbol, minute.quotes)
            or self._position_refusal(signal.symbol)
        )
        if refusal is not None:
            if refusal[0] == OTHER_ORDER:
                self._positions.others.name_once(signal.symbol, refusal[1])
            self._journal.event(
                "not_bought",
                symbol=signal.symbol,
                confidence=signal.confidence,
                price=signal.price,
                rule=refusal[0],
                reason=refusal[1],
            )
            return
        before = minute.context
        entry = self._pending_entry(signal, before, minute.instant, minute.quotes.of(signal.symbol))
        cost = cost_to_buy(before.equity, signal.price, self._policy.entry)
        # Before it is sent: whatever the sending raises, the order may exist.
        minute.context = replace(before, buying_power=before.buying_power - cost, held=before.held | {signal.symbol})
        if not self._buy(entry):
            minute.context = before

    def _stop_refusal(self) -> Refusal | None:
        """STOP, which may have been made while the bars of the minute were waited for."""
        try:
            self._pauses.controls.forbid_orders()
        except Stopped as stop:
            return "stopped", str(stop)
        return None

    def _journal_refusal(self) -> Refusal | None:
        return None if self._journal.fault is None else ("journal", self._journal.fault)

    def _account_refusal(self, account: Account) -> Refusal | None:
        """What forbids every entry of a minute: a blocked account, another trader, a discrepancy."""
        if account.blocked is not None:
            return "account", f"the account is blocked: {account.blocked}"
        if not self._positions.is_ours or self._positions.other_trader is not None:
            return "one_trader", f"another trader: {self._positions.other_trader or 'not known yet'}"
        if self._positions.unread_orders:
            return "discrepancy", f"not established: {self._positions.unread_orders}"
        if self._positions.discrepancies:
            return "discrepancy", f"not established: {self._positions.discrepancies[0]}"
        return None

    def _position_refusal(self, symbol: str) -> Refusal | None:
        """What the broker says when it is asked for the stock alone.

        The list of positions may have left it out, and a position lags the order of somebody else that bought it.
        """
        try:
            position = self._broker.position(symbol)
            by_others = None if position is not None else self._positions.others.refusal(symbol)
        except Unclear as error:
            return "discrepancy", f"whether {symbol} is held is not established: {error}"
        if by_others is not None:
            return OTHER_ORDER, by_others
        return None if position is None else ("not_owned", f"{symbol} is held: the list of positions left it out")

    def _spread_refusal(self, symbol: str, quotes: Quotes) -> Refusal | None:
        widest = self._policy.entry.MAX_SPREAD_PCT
        return spread_refusal(symbol, quotes.of(symbol), widest) if widest else None

    def _pending_entry(
        self, signal: Signal, context: EntryContext, instant: datetime, quote: Quote | None
    ) -> PendingEntry:
        exits = self._policy.exits
        stop, target = levels(signal.price, exits.STOP_LOSS_PCT, exits.TAKE_PROFIT_PCT)
        return PendingEntry(
            symbol=signal.symbol,
            qty=shares_to_buy(context.equity, signal.price, self._policy.entry),
            client_order_id=order_name(self._positions.cache.instance, instant, signal.symbol, "entry"),
            stop=quantised(stop),
            target=quantised(target),
            confidence=signal.confidence,
            win_probability=signal.win_probability,
            model=signal.model,
            decision_time=context.now,
            decision_price=signal.price,
            decision_bid=None if quote is None else quote.bid,
            decision_ask=None if quote is None else quote.ask,
        )

    def _buy(self, entry: PendingEntry) -> bool:
        """Send the entry order; False if the broker certainly did not take it."""
        name = entry.client_order_id
        try:
            self._journal.commit(INTENT, **entry.as_intent())
        except OSError:
            return False  # logged by the journal; without a durable intent nothing is sent
        self._positions.pending[name] = entry
        bracket = Bracket(entry.symbol, entry.qty, entry.stop, entry.target, name)
        try:
            order = self._broker.buy(bracket)
        except Stopped as stop:  # made in this very moment
            del self._positions.pending[name]
            self._journal.event(
                "entry_refused", symbol=entry.symbol, client_order_id=name, status=None, reason=f"not sent: {stop}"
            )
            return False
        except OrderRefused as refusal:
            # An earlier attempt did arrive, so the order is ours; or the refusal was the reply to another request.
            if refusal.is_duplicate or self._positions.cache.exists(name):
                self._journal.event("entry_unclear", symbol=entry.symbol, client_order_id=name, reason=str(refusal))
                return True
            del self._positions.pending[name]
            self._journal.event(
                "entry_refused",
                symbol=entry.symbol,
                client_order_id=name,
                status=refusal.status,
                reason=str(refusal),
            )
            return False
        except Unclear as error:
            self._journal.event("entry_unclear", symbol=entry.symbol, client_order_id=name, reason=str(error))
            return True  # it counts as held until the broker's answer is known
        self._positions.cache.entries.note(order.id, name, entry.symbol, entry.qty)
        self._journal.event("entry_sent", symbol=entry.symbol, client_order_id=name, order_id=order.id)
        return True


def _pause_refusal(symbol: str, paused: Paused) -> Refusal | None:
    reason = paused.refusal(symbol)
    return None if reason is None else ("paused", reason)


def _other_order_refusal(symbol: str, others: Mapping[str, str]) -> Refusal | None:
    """An order of somebody else on the other side would make every later sale of ours a wash trade."""
    return (OTHER_ORDER, open_order(symbol, others[symbol])) if symbol in others else None
