"""What is held and what is being bought, kept in step with the broker's books.

A trade is known three times: in the trade log, as orders at the broker, as a position at the broker.  Every minute
the three are compared.  Nothing is sent a second time before it has been looked up by its client_order_id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

from trading.broker import Broker, OrderRefused, Unclear
from trading.clock import NEW_YORK, Clock
from trading.exits import Exit, ExitRules, exit_at_price, levels, quantised
from trading.journal import Journal
from trading.orders import OURS, Order, Position
from trading.trade_log import Trade, TradeLog

LOOK_UPS: Final = 3
"""An order that got no answer is looked up this many minutes before it is taken as never arrived."""

POLLS: Final = 10
"""Seconds that a cancellation is waited for; what takes longer is taken up again at the next minute."""

LAG: Final = timedelta(seconds=30)
"""Orders and positions may disagree for about 10 seconds after a fill."""


def order_name(day: str, symbol: str, minute: str, intent: str) -> str:
    """A client_order_id made of date, symbol, minute and intent: the same decision always bears the same name."""
    return f"{OURS}{day}-{symbol}-{minute}-{intent}"


@dataclass
class Entering:
    """A purchase that was decided and is not settled: sent, or perhaps sent."""

    symbol: str
    qty: int
    client_order_id: str
    stop: Decimal
    target: Decimal
    confidence: float
    win_probability: float
    model: str
    decision_time: datetime
    decision_price: float
    looked_up: int = 0

    def as_intent(self) -> dict[str, Any]:
        """What the audit keeps, so that a restarted trader can take it up again."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "looked_up"}

    @staticmethod
    def from_intent(record: Mapping[str, Any]) -> Entering:
        """The purchase that the audit kept."""
        return Entering(
            symbol=record["symbol"],
            qty=record["qty"],
            client_order_id=record["client_order_id"],
            stop=quantised(record["stop"]),
            target=quantised(record["target"]),
            confidence=record["confidence"],
            win_probability=record["win_probability"],
            model=record["model"],
            decision_time=datetime.fromisoformat(record["decision_time"]),
            decision_price=record["decision_price"],
        )


@dataclass
class Books:
    """The broker's side at one moment: positions, and the orders that were asked for, by id and by name."""

    positions: dict[str, Position]
    orders: dict[str, Order] = field(default_factory=dict)
    named: dict[str, Order] = field(default_factory=dict)

    def take(self, orders: Iterable[Order]) -> None:
        """Add orders with their legs."""
        for order in orders:
            for one in order.family():
                self.orders[one.id] = one
                self.named[one.client_order_id] = one


class Positions:
    """The open trades and the purchases in flight of one account."""

    def __init__(
        self, broker: Broker, log: TradeLog, journal: Journal, clock: Clock, rules: ExitRules, market: str
    ) -> None:
        self._broker = broker
        self._log = log
        self._journal = journal
        self._clock = clock
        self._rules = rules
        self._market = market
        self.entering: dict[str, Entering] = {}
        self.books = Books({})
        self.doubts: list[str] = []
        """What could not be established at the last comparison; while there is any, nothing is bought."""
        self._foreign: set[str] = set()

    # What there is

    @property
    def open(self) -> list[Trade]:
        """Trades that hold shares."""
        return self._log.open_trades

    @property
    def held(self) -> frozenset[str]:
        """Symbols held, being bought or being sold; positions that are not ours too."""
        ours = {trade.symbol for trade in self.open} | {entering.symbol for entering in self.entering.values()}
        return frozenset(ours | set(self.books.positions))

    def take_up(self, events: Iterable[Mapping[str, Any]]) -> None:
        """After a start: find the purchases of the day that were decided and never settled, in the audit."""
        pending: dict[str, Entering] = {}
        for event in events:
            name = event.get("client_order_id", "")
            if event.get("event") == "entry_intent":
                pending[name] = Entering.from_intent(event)
            elif event.get("event") in ("bought", "entry_refused", "entry_not_filled", "entry_never_arrived"):
                pending.pop(name, None)
        self.entering = {name: one for name, one in pending.items() if not self._log.knows(name)}
        for trade in self.open:
            self._journal.event("position_taken_up", symbol=trade.symbol, qty=trade.qty, stop=trade.stop_loss)
        for one in self.entering.values():
            self._journal.event("entry_taken_up", symbol=one.symbol, client_order_id=one.client_order_id)

    # The comparison

    def compare(self) -> None:
        """Bring entries, fills and exits up to what the broker's books say.

        Raises:
            Unclear: the books cannot be read; nothing has been changed.
        """
        self.books = self._read_books()
        self.doubts = []
        for entering in list(self.entering.values()):
            self._guarded(f"the purchase of {entering.symbol}", partial(self._settle, entering))
        for trade in self.open:
            self._guarded(f"the position in {trade.symbol}", partial(self._update, trade))
        self._check_positions()
        self.save()

    def _read_books(self) -> Books:
        books = Books(self._broker.positions())
        since = [entering.decision_time for entering in self.entering.values()]
        since += [trade.decision_time or trade.entry_time for trade in self.open]
        if since:
            books.take(self._broker.orders(after=min(since) - timedelta(minutes=1)))
        return books

    def _guarded(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Unclear as error:
            self.doubts.append(f"{what}: {error}")
            self._journal.event("unclear", what=what, reason=str(error))

    def _order(self, order_id: str) -> Order | None:
        if order_id not in self.books.orders:
            found = self._broker.order(order_id)
            if found is not None:
                self.books.take([found])
        return self.books.orders.get(order_id)

    def _order_named(self, name: str) -> Order | None:
        if name not in self.books.named:
            found = self._broker.order_called(name)
            if found is not None:
                self.books.take([found])
        return self.books.named.get(name)

    # Purchases

    def _settle(self, entering: Entering) -> None:
        order = self._order_named(entering.client_order_id)
        if order is None:
            entering.looked_up += 1
            if entering.looked_up >= LOOK_UPS:
                del self.entering[entering.client_order_id]
                self._journal.event(
                    "entry_never_arrived", symbol=entering.symbol, client_order_id=entering.client_order_id
                )
            return
        if order.filled_qty and not order.is_final:
            # Its legs sleep until the last share is bought: better fewer shares than unprotected ones.
            self._broker.cancel(order.id)
            self._wait_until_final([order.id])
            order = self.books.orders[order.id]
        if not order.is_final:
            return
        if order.filled_qty:
            self._bought(entering, order)
            return
        del self.entering[entering.client_order_id]
        self._journal.event(
            "entry_not_filled",
            symbol=entering.symbol,
            client_order_id=entering.client_order_id,
            order_id=order.id,
            status=order.status,
        )

    def _bought(self, entering: Entering, order: Order) -> None:
        if not order.legs:
            order = self._broker.order(order.id) or order
            self.books.take([order])
        price, instant = _fill_of(order)
        stop, target = levels(float(price), self._rules.stop_loss, self._rules.take_profit)
        legs = {("stop" if leg.type.startswith("stop") else "target"): leg.id for leg in order.legs}
        trade = Trade(
            symbol=entering.symbol,
            qty=order.filled_qty,
            entry_price=price,
            entry_time=instant,
            confidence=entering.confidence,
            stop_loss=quantised(stop),
            take_profit=quantised(target),
            win_probability=entering.win_probability,
            decision_time=entering.decision_time,
            decision_price=entering.decision_price,
            model=entering.model,
            market=self._market,
            client_order_id=entering.client_order_id,
            entry_order_id=order.id,
            stop_order_id=legs.get("stop"),
            target_order_id=legs.get("target"),
            sell_order_ids=[leg.id for leg in order.legs],
        )
        self._log.add(trade)
        self.save()
        del self.entering[entering.client_order_id]
        self._journal.event(
            "bought",
            symbol=trade.symbol,
            qty=trade.qty,
            price=trade.entry_price,
            decision_price=trade.decision_price,
            stop=trade.stop_loss,
            target=trade.take_profit,
            client_order_id=trade.client_order_id,
            order_id=order.id,
        )

    def cancel_entries(self, reason: str) -> None:
        """Withdraw every purchase that is not filled; what was filled meanwhile shows at the next comparison."""
        for entering in self.entering.values():
            order = self.books.named.get(entering.client_order_id)
            if order is not None and not order.is_final:
                self._guarded(f"withdrawing {entering.symbol}", partial(self._withdraw, order, reason))

    def _withdraw(self, order: Order, reason: str) -> None:
        taken = self._broker.cancel(order.id)
        self._journal.event("cancel", symbol=order.symbol, order_id=order.id, reason=reason, accepted=taken)

    # Sales

    def _update(self, trade: Trade) -> None:
        self._follow_replacements(trade)
        self._find_exit(trade)
        sells = self._sells(trade)
        sold = sum(order.filled_qty for order in sells)
        if sold >= trade.qty:
            self._sold(trade, sells)
        elif all(order.is_final for order in sells) and trade.exit_intent is None:
            self._protect(trade, trade.qty - sold)
        elif trade.exit_intent is None:
            self._move_legs(trade)

    def _follow_replacements(self, trade: Trade) -> None:
        """A leg that was moved lives on under another id, also where the answer to the move was lost."""
        for order_id in trade.sell_order_ids:  # grows while it is read: a leg can be moved more than once
            order = self._order(order_id)
            heir = order.replaced_by if order is not None else None
            if heir is None or heir in trade.sell_order_ids:
                continue
            trade.sell_order_ids.append(heir)
            trade.stop_order_id = heir if trade.stop_order_id == order_id else trade.stop_order_id
            trade.target_order_id = heir if trade.target_order_id == order_id else trade.target_order_id
            self._log.changed(trade)

    def _find_exit(self, trade: Trade) -> None:
        """What became of the sale that was sent: found, or, after some look-ups, known never to have arrived."""
        if trade.exit_intent is None:
            return
        order = self._order_named(trade.exit_intent)
        if order is None:
            self._journal.event("exit_not_found", symbol=trade.symbol, client_order_id=trade.exit_intent)
            if self._clock.now() - self._sent_at(trade) > timedelta(minutes=LOOK_UPS - 1):
                trade.exit_intent = None
                self._log.changed(trade)
            return
        if order.id not in trade.sell_order_ids:
            trade.sell_order_ids.append(order.id)
            self._log.changed(trade)
        if order.is_final and order.filled_qty < order.qty:
            self._journal.event(
                "exit_not_filled", symbol=trade.symbol, client_order_id=trade.exit_intent, status=order.status
            )
            trade.exit_intent = None
            self._log.changed(trade)

    def _sent_at(self, trade: Trade) -> datetime:
        parts = (trade.exit_intent or "").removeprefix(OURS).split("-")
        return datetime.strptime(f"{parts[0]} {parts[-2]}", "%Y%m%d %H%M").replace(tzinfo=NEW_YORK)

    def _sells(self, trade: Trade) -> list[Order]:
        found = (self._order(order_id) for order_id in trade.sell_order_ids)
        return [order for order in found if order is not None]

    def _sold(self, trade: Trade, sells: list[Order]) -> None:
        filled = [order for order in sells if order.filled_qty]
        value = sum((_fill_of(order)[0] * order.filled_qty for order in filled), Decimal(0))
        last = max(filled, key=lambda order: _fill_of(order)[1])
        average = value / trade.qty
        trade.exit_price = average if len(filled) == 1 else average.quantize(Decimal("0.000001"))
        trade.exit_time = _fill_of(last)[1]
        trade.exit_reason = self._reason(trade, last)
        trade.exit_intent = None
        self._log.changed(trade)
        self._journal.event(
            "sold",
            symbol=trade.symbol,
            qty=trade.qty,
            price=trade.exit_price,
            reason=trade.exit_reason,
            pnl_amount=trade.pnl_amount,
            client_order_id=trade.client_order_id,
            order_id=last.id,
        )

    @staticmethod
    def _reason(trade: Trade, last: Order) -> str:
        if last.client_order_id.startswith(OURS) and trade.exit_reason is not None:
            return trade.exit_reason
        return (Exit.STOP_LOSS if last.type.startswith("stop") else Exit.TAKE_PROFIT).name

    def _move_legs(self, trade: Trade) -> None:
        """Hold the legs to the price of the actual fill."""
        stop, target = self._leg(trade.stop_order_id), self._leg(trade.target_order_id)
        if stop is not None and stop.stop_price != trade.stop_loss:
            trade.stop_order_id = self._moved(trade, stop, stop=trade.stop_loss)
        if target is not None and target.limit_price != trade.take_profit:
            trade.target_order_id = self._moved(trade, target, limit=trade.take_profit)

    def _leg(self, order_id: str | None) -> Order | None:
        order = None if order_id is None else self._order(order_id)
        return None if order is None or order.is_final or order.filled_qty else order

    def _moved(self, trade: Trade, leg: Order, *, stop: Decimal | None = None, limit: Decimal | None = None) -> str:
        before = leg.stop_price if stop is not None else leg.limit_price
        wanted = stop if stop is not None else limit
        try:
            heir = self._broker.move(leg.id, stop=stop, limit=limit)
        except OrderRefused as refusal:
            self._journal.event(
                "leg_not_moved", symbol=trade.symbol, order_id=leg.id, stays=before, wanted=wanted, reason=str(refusal)
            )
            return leg.id
        self.books.take([heir])
        trade.sell_order_ids.append(heir.id)
        self._log.changed(trade)
        self._journal.event("leg_moved", symbol=trade.symbol, order_id=heir.id, was=before, now=wanted)
        return heir.id

    def _protect(self, trade: Trade, qty: int) -> None:
        """Shares that no order sells: rest a stop under them."""
        name = self._name(trade.symbol, "stop")
        self._journal.event("unprotected", symbol=trade.symbol, qty=qty, remedy=f"stop at {trade.stop_loss}")
        try:
            order = self._broker.protect(trade.symbol, qty, trade.stop_loss, name)
        except OrderRefused as refusal:
            self.doubts.append(f"{trade.symbol} has no stop: {refusal}")
            self._journal.event("stop_refused", symbol=trade.symbol, qty=qty, reason=str(refusal))
            return
        except Unclear:
            found = self._broker.order_called(name)
            if found is None:
                raise
            order = found
        self.books.take([order])
        trade.stop_order_id = order.id
        trade.sell_order_ids.append(order.id)
        self._log.changed(trade)

    def second_line(self, price_of: Callable[[str], float | None]) -> None:
        """Sell what trades beyond a level although its leg has not fired."""
        for trade in self.open:
            price = price_of(trade.symbol)
            if price is None or trade.exit_intent is not None:
                continue
            reason = exit_at_price(price, float(trade.stop_loss), float(trade.take_profit))
            if reason is not Exit.NONE:
                self.leave(trade, reason.name)

    def leave(self, trade: Trade, reason: str, limit: Decimal | None = None) -> None:
        """Cancel the legs, wait until they are gone, and sell what is left: at market, or at `limit` outside hours."""
        self._guarded(f"the sale of {trade.symbol}", lambda: self._leave(trade, reason, limit))
        self.save()

    def _leave(self, trade: Trade, reason: str, limit: Decimal | None) -> None:
        resting = [order for order in self._sells(trade) if not order.is_final]
        for order in resting:
            self._withdraw(order, reason)
        if not self._wait_until_final([order.id for order in resting]):
            raise Unclear("its legs are not cancelled yet")
        self._follow_replacements(trade)
        sells = self._sells(trade)
        left = trade.qty - sum(order.filled_qty for order in sells)
        if left <= 0:
            self._sold(trade, sells)
            return
        name = self._name(trade.symbol, "exit")
        trade.exit_intent, trade.exit_reason = name, reason
        self._log.changed(trade)
        # Durable before it is sent: a restarted trader looks it up instead of selling again.  Unlike a purchase, a
        # sale goes out even where the disk refuses.
        self.save()
        self._journal.event(
            "exit_intent", sync=True, symbol=trade.symbol, qty=left, reason=reason, client_order_id=name
        )
        try:
            if limit is None:
                order = self._broker.sell(trade.symbol, left, name)
            else:
                order = self._broker.sell_limit(trade.symbol, left, limit, name)
        except OrderRefused as refusal:
            trade.exit_intent = None
            self._log.changed(trade)
            self.doubts.append(f"the sale of {trade.symbol} was refused: {refusal}")
            self._journal.event("exit_refused", symbol=trade.symbol, client_order_id=name, reason=str(refusal))
            return
        trade.sell_order_ids.append(order.id)
        self.books.take([order])
        self._journal.event("exit_sent", symbol=trade.symbol, client_order_id=name, order_id=order.id)

    def _wait_until_final(self, order_ids: list[str]) -> bool:
        """Poll until none of the orders can trade any more."""
        for _ in range(POLLS):
            waiting = []
            for order_id in order_ids:
                order = self._broker.order(order_id)
                if order is not None:
                    self.books.take([order])
                    if not order.is_final:
                        waiting.append(order_id)
            if not waiting:
                return True
            self._clock.sleep_until(self._clock.now() + timedelta(seconds=1))
        return False

    def _name(self, symbol: str, intent: str) -> str:
        local = self._clock.now().astimezone(NEW_YORK)
        return order_name(f"{local:%Y%m%d}", symbol, f"{local:%H%M}", intent)

    # The positions themselves

    def _check_positions(self) -> None:
        ours = {trade.symbol: trade for trade in self.open}
        flying = {entering.symbol for entering in self.entering.values()}
        for symbol, position in self.books.positions.items():
            if symbol not in ours and symbol not in flying and symbol not in self._foreign:
                self._foreign.add(symbol)
                self._journal.event("foreign_position", symbol=symbol, qty=position.qty, note="not ours: never touched")
        for symbol, trade in ours.items():
            held = self.books.positions.get(symbol)
            settled = self._clock.now() - trade.entry_time > LAG
            if settled and trade.exit_intent is None and (held is None or held.qty < trade.qty):
                self.doubts.append(f"{symbol}: the log holds {trade.qty}, the broker {held.qty if held else 0}")
                self._journal.event(
                    "positions_disagree", symbol=symbol, logged=trade.qty, held=held.qty if held is not None else 0
                )

    def save(self) -> None:
        """Write the trade log; a disk that refuses is a doubt, not an end."""
        try:
            self._log.save()
        except OSError as error:
            self.doubts.append(f"the trade log cannot be written: {error.strerror}")
            self._journal.event("trade_log_unwritten", reason=str(error.strerror))


def _fill_of(order: Order) -> tuple[Decimal, datetime]:
    """Average price and time of a fill.

    Raises:
        Unclear: the broker tells of a fill without them.
    """
    if order.filled_avg_price is None or order.filled_at is None:
        raise Unclear(f"order {order.id} is filled without a price or a time")
    return order.filled_avg_price, order.filled_at
