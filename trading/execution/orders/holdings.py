"""The shares of open trades compared with the broker's positions: splits, renamed stocks, surplus, missing shares.

A difference ends as follows, and is audited with the old and the new quantity:

- A split (the value stays, the price differs): the trade takes the new quantity and price at once, also if an exit was
  sent, or filled, in numbers of before it.
- A renamed stock (same cost under a symbol that nobody bought): the trade takes the new symbol, and the new quantity.
- Orders that rest under a trade of an earlier day are cancelled for either.  Those of a trade of today contradict it:
  day orders do not outlive the night.  They are cancelled after `GIVE_UP_AFTER`.
- More shares than logged: those that somebody else bought are left alone; the others join the trade after
  `GIVE_UP_AFTER`, or at its exit, once the broker takes a stop for them.
- Fewer shares than logged, none, or a short position: the missing ones are written off after `GIVE_UP_AFTER`, if a
  second source agrees.  No live sell order holds them, and the broker refuses a stop for them (`Protection.try_stop`).
  Until then the stock is a discrepancy, its orders stay, and before the close the shares are sold, which the broker
  takes or refuses.
- A fraction of a share cannot rest under a stop: whole shares are protected and sold, then the fraction (`Fractions`).

Every change needs two replies that agree, the list of positions and the single position.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK
from trading.broker.client import Broker, Unclear
from trading.broker.messages import Position
from trading.execution.orders.exit_orders import ExitOrders
from trading.execution.orders.order_cache import BROKER_LAG, GIVE_UP_AFTER, OrderCache
from trading.execution.orders.others import OthersOrders, plain
from trading.execution.orders.protection import Protection
from trading.execution.orders.records import Records
from trading.execution.orders.sells.booking import PRICE_STEP
from trading.execution.orders.sells.fractions import Fractions
from trading.execution.orders.splits import Split, split_of
from trading.rules.exits import levels, quantised

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from config import ExitSettings
    from trading.base.clock import Clock
    from trading.records.trade_log import Trade

SAME_PRICE: Final = Decimal("0.0001")
"""Largest difference between two average prices or costs, as a fraction, that counts as none: rounding."""


NONE: Final = Decimal(0)

GONE_AFTER: Final = timedelta(minutes=30)
"""After this long, shares that neither positions nor live orders show are gone, even without a refusal that says so."""

LOOK_EVERY: Final = timedelta(minutes=1)
"""How often sell orders that contradict the positions are asked for alone."""


class Holdings:
    """Settles differences between the trade log and the broker's positions."""

    def __init__(
        self,
        broker: Broker,
        cache: OrderCache,
        records: Records,
        clock: Clock,
        protection: Protection,
        exits: ExitOrders,
        others: OthersOrders,
        settings: ExitSettings,
    ) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._journal = records.journal
        self._clock = clock
        self._protection = protection
        self._exits = exits
        self._others = others
        self._settings = settings
        self.fractions = Fractions(broker, cache, records, clock)
        self._since: dict[str, tuple[Decimal, datetime]] = {}
        """By client_order_id of a trade: the quantity at the broker that differs from the log, and since when."""
        self.external: dict[str, datetime] = {}
        """By symbol of a position that is not ours: when that was established."""
        self._looked: dict[str, datetime] = {}
        """By client_order_id of a trade: when its sell orders, which contradict the positions, were asked for alone."""
        self._unreserved: dict[str, datetime] = {}
        """By client_order_id of a trade: since when no live sell order holds shares that the positions lack."""
        self._reported: dict[str, Decimal] = {}
        """By client_order_id of a trade: the surplus that was reported as not ours."""

    def forget_closed(self, still_open: Collection[str]) -> None:
        """Forget what was noted of trades that are not among these client_order_ids."""
        self._since = {name: since for name, since in self._since.items() if name in still_open}
        self._reported = {name: qty for name, qty in self._reported.items() if name in still_open}
        self._others.forget_closed(set(still_open))

    def settle(self, trade: Trade, *, at_once: bool = False) -> None:
        """Compare the shares of an open trade with the broker's position, and settle a difference.

        Args:
            trade: its sell orders are adopted.
            at_once: let a surplus join without waiting, because the trade is about to be closed.

        Raises:
            Unclear: the broker's replies contradict each other, or one of them cannot be read.
        """
        now = self._clock.now()
        if now - trade.entry_time <= BROKER_LAG:
            return  # positions may lag a fill
        left, held = self._protection.shares_left(trade), self._protection.held(trade)
        position = self._cache.positions.get(trade.symbol)
        if held != left and (self._rename(trade, left) if position is None else self._split(trade, left, position)):
            return
        if trade.exit_intent is not None or now - self._last_fill(trade) <= BROKER_LAG:
            return
        if left <= 0 or held == left:
            self._since.pop(trade.client_order_id, None)
            self._unreserved.pop(trade.client_order_id, None)
            self._protection.listed_again(trade)
            return
        surplus = held - left
        if surplus > 0:
            surplus = self._without_others(trade, surplus)
            if surplus < 1:
                self._since.pop(trade.client_order_id, None)
                return
        reserved = 0 if surplus > 0 else self._reserved(trade, held)
        if surplus <= 0 and self._protection.shares_left(trade) != left:
            return  # an order that was asked for alone has sold some
        orders_say = f"; live sell orders hold {reserved}" if reserved > max(held, NONE) else ""
        self._records.doubt(trade.symbol, f"{trade.symbol}: the log holds {left}, the broker {plain(held)}{orders_say}")
        counted, since = self._since.get(trade.client_order_id, (held, now))
        if counted != held or trade.client_order_id not in self._since:
            since = now
            self._since[trade.client_order_id] = (held, since)
            self._journal.event("positions_disagree", symbol=trade.symbol, logged=left, held=plain(held))
        if not (at_once and surplus > 0) and now - since < GIVE_UP_AFTER:
            return
        self._confirm(trade.symbol, position)
        if surplus > 0:
            self._join(trade, left, int(surplus), position)
        elif reserved <= max(held, NONE) and self._lacks(trade):
            self._write_off(trade, left, held)

    def _lacks(self, trade: Trade) -> bool:
        """Whether the broker's answer to a stop agrees with the positions, or no order has held the shares for long."""
        answer, since = self._protection.broker_lacks(trade), self._unreserved[trade.client_order_id]
        return self._clock.now() - since >= GONE_AFTER if answer is None else answer

    def _reserved(self, trade: Trade, held: Decimal) -> int:
        """Shares that live sell orders hold; orders that contradict the positions are asked for alone once a minute."""
        reserved, now = self._protection.reserved(trade), self._clock.now()
        looked = self._looked.get(trade.client_order_id)
        if reserved > max(held, NONE) and (looked is None or now - looked >= LOOK_EVERY):
            self._looked[trade.client_order_id] = now
            self._cache.refresh(self._protection.resting(trade))
            reserved = self._protection.reserved(trade)
        if reserved > max(held, NONE):
            self._unreserved.pop(trade.client_order_id, None)
        else:
            self._unreserved.setdefault(trade.client_order_id, now)
        return reserved

    def _last_fill(self, trade: Trade) -> datetime:
        """When shares of a trade were last bought or sold."""
        sold = (order.filled_at for order in self._protection.orders(trade) if order.filled_qty)
        return max([trade.entry_time, *(at for at in sold if at is not None)])

    def _confirm(self, symbol: str, listed: Position | None) -> None:
        """See that the single position has the quantity of the listed one.

        Raises:
            Unclear: it has another one, so neither is believed.
        """
        single = self._broker.position(symbol)
        one, other = Decimal(0) if single is None else single.qty, Decimal(0) if listed is None else listed.qty
        if one != other:
            raise Unclear(f"the broker lists {plain(other)} shares, and {plain(one)} when asked for the stock alone")

    # More

    def _without_others(self, trade: Trade, surplus: Decimal) -> Decimal:
        """The surplus without the shares that orders of somebody else bought, which are reported once."""
        bought = self._others.bought(trade, self._cache.held(trade.symbol))
        external = min(surplus, bought) if surplus - bought >= 1 else surplus
        if surplus < 1 and self.fractions.is_ours(trade.symbol):
            return surplus - external
        if external > 0 and self._reported.get(trade.client_order_id) != external:
            self._reported[trade.client_order_id] = external
            note = "a fraction, or bought by somebody else: left alone"
            self._journal.event("external_shares", symbol=trade.symbol, qty=plain(external), ours=trade.qty, note=note)
        return surplus - external

    def _join(self, trade: Trade, left: int, surplus: int, position: Position | None) -> None:
        """Add shares that nobody is known to have bought to the trade, at the price that the broker's average implies.

        A stop for them, and for shares of the trade without one, comes first: the broker refuses it if they are not
        there.
        """
        if not self._protection.place_stop(trade, surplus + max(0, left - self._protection.reserved(trade))):
            return
        cost = trade.entry_price * trade.qty + _price_of_others(trade, left, position) * surplus
        price = (cost / (trade.qty + surplus)).quantize(PRICE_STEP)
        self._change(trade, left, left + surplus, price, price, "more shares than logged: they join the trade")

    # Split, renamed

    def _split(self, trade: Trade, left: int, position: Position) -> bool:
        """Take over a split that a position shows; False if it shows none, or orders that rest contradict it."""
        filled = [order for order in self._protection.orders(trade) if order.filled_qty]
        filled.sort(key=lambda order: order.filled_at or self._clock.now(), reverse=True)
        lags = self._clock.now() - self._last_fill(trade) <= BROKER_LAG
        split = split_of(trade.entry_price, left, [order.filled_qty for order in filled], position, lags=lags)
        if split is None or (split.sold and self._others.bought(trade, position.qty)):
            return False
        if not (self._is_older(trade) or not self._protection.resting(trade)):
            return False  # no split takes effect within a session: the orders of today say what is held
        self._confirm(trade.symbol, position)
        self._cancel_resting(trade, "SPLIT")
        if self._protection.shares_left(trade) == left:
            self._take_split(trade, split, position)
        return True

    def _may_cancel(self, trade: Trade) -> bool:
        """Whether what rests under a trade, if anything does, may be cancelled for a new symbol."""
        now, (_, since) = self._clock.now(), self._since.get(trade.client_order_id, (None, self._clock.now()))
        return self._is_older(trade) or now - since >= GIVE_UP_AFTER or not self._protection.resting(trade)

    def _is_older(self, trade: Trade) -> bool:
        return trade.day < self._clock.now().astimezone(NEW_YORK).date()

    def _cancel_resting(self, trade: Trade, reason: str) -> None:
        """Cancel what rests under a trade; raises `Unclear` until it is gone, so that the next look goes on."""
        if self._protection.resting(trade):
            self._exits.legs.cancel_legs(trade, reason, wait=False)

    def _take_split(self, trade: Trade, split: Split, position: Position) -> None:
        whole = int(split.now)
        self.fractions.own(trade.symbol, split.now, f"a split left it of {split.old} shares")
        if whole < 1 or position.avg_entry_price is None:
            self._write_off(trade, split.old, position.qty)
            return
        before = trade.qty - split.old  # sold before it
        cost = trade.entry_price * before + split.cost(trade.entry_price, position.avg_entry_price)
        price = (cost / (before + whole)).quantize(PRICE_STEP)
        note = f"split: {split.old} shares are {plain(split.now)} now"
        note += f", {split.sold} of which are sold" if split.sold else ""
        self._change(trade, split.old, whole, price, position.avg_entry_price, note)

    def _change(self, trade: Trade, left: int, now_left: int, price: Decimal, level_price: Decimal, note: str) -> None:
        """Give a trade another number of shares; `update` places a stop where none rests."""
        old, old_price = trade.qty, trade.entry_price
        stop, target = levels(float(level_price), self._settings.STOP_LOSS_PCT, self._settings.TAKE_PROFIT_PCT)
        trade.qty, trade.entry_price = trade.qty - left + now_left, price
        trade.stop_loss, trade.take_profit = quantised(stop), quantised(target)
        self._since.pop(trade.client_order_id, None)
        self._records.log.mark_changed(trade)
        self._journal.event(
            "quantity_changed",
            symbol=trade.symbol,
            old_qty=old,
            new_qty=trade.qty,
            old_price=old_price,
            new_price=price,
            stop=trade.stop_loss,
            target=trade.take_profit,
            client_order_id=trade.client_order_id,
            note=note,
        )

    def _rename(self, trade: Trade, left: int) -> bool:
        """Give a trade the new symbol of its stock, if exactly one unknown position has its quantity and price.

        A stock may be split at the same time: then the position has what the trade paid, at another price.
        """
        found = [one for one in self._cache.positions.values() if self._may_be(one, trade, left)]
        if len(found) != 1 or not self._may_cancel(trade):
            return False
        self._confirm(trade.symbol, None)
        self._confirm(found[0].symbol, found[0])
        self._cancel_resting(trade, "RENAMED")
        if self._protection.shares_left(trade) != left:
            return True
        self._broker.note_symbol(trade.client_order_id, found[0].symbol)
        self._records.rename(trade, found[0].symbol, "its position bears the new symbol")
        self.external.pop(found[0].symbol, None)
        if found[0].qty != left:
            self._take_split(trade, Split(left, found[0].qty, 0), found[0])
        return True

    def _may_be(self, position: Position, trade: Trade, left: int) -> bool:
        """Whether a position can be the `left` shares of a trade under a new symbol.

        Positions that were there before the trade are not, nor those that somebody has bought since it began.
        """
        symbol, begun = position.symbol, trade.decision_time or trade.entry_time
        if left < 1 or any(one.symbol == symbol for one in self._records.log.open_trades):
            return False
        if symbol in self.external and self.external[symbol] < trade.entry_time:
            return False
        return _same_cost(position, left, trade.entry_price) and not self._cache.orders_of(symbol, "buy", begun)

    def may_be_renamed(self, position: Position) -> bool:
        """Whether a position can be that of an open trade whose stock has a new symbol: it is not external yet."""
        lacking = [one for one in self._records.log.open_trades if one.symbol not in self._cache.positions]
        return any(self._may_be(position, one, self._protection.shares_left(one)) for one in lacking)

    # Fewer

    def _write_off(self, trade: Trade, left: int, held: Decimal) -> None:
        """Take the shares that the broker does not hold out of a trade; without any, end it without a price.

        An account that was reset leaves such trades; they must not block entries forever.  An entry that is shown as
        filled may still be working, so it is cancelled.
        """
        whole = max(0, int(held))
        entry = self._cache.order(trade.entry_order_id)
        if entry is not None:
            self._cache.request_cancel([entry], partial(self._records.note_cancel, "POSITION_GONE"))
        self._exits.legs.cancel_legs(trade, "POSITION_GONE")  # which also shows whether one of them has sold the shares
        if self._protection.shares_left(trade) != left:
            return
        self._since.pop(trade.client_order_id, None)
        is_told = held <= 0 or not held % 1 or self.fractions.is_ours(trade.symbol)
        if not is_told and not self._others.bought(trade, held):
            self.fractions.own(trade.symbol, held, f"the rest of {left} shares is gone")
        if whole:
            self._change(trade, left, whole, trade.entry_price, trade.entry_price, "fewer shares than logged")
            return
        sold = trade.qty - left
        self._journal.event(
            "position_gone",
            symbol=trade.symbol,
            qty=left,
            old_qty=trade.qty,
            new_qty=sold,
            held=plain(held),
            client_order_id=trade.client_order_id,
            note="the broker shows neither the shares nor a sale of them: written off",
        )
        if sold:
            trade.qty = sold
            self._records.log.mark_changed(trade)  # `update` ends it at the price of what was sold
        else:
            self._exits.booking.end(trade, self._clock.now(), "NOT_AT_BROKER")


def _price_of_others(trade: Trade, left: int, position: Position | None) -> Decimal:
    """What the shares of a position cost that are not the `left` ones of the trade, from the average of all; dollars.

    Returns:
        The entry price of the trade if the average is unknown; the average itself if the two contradict each other.
    """
    if position is None or position.avg_entry_price is None or position.qty <= left:
        return trade.entry_price
    average = position.avg_entry_price
    price = (average * position.qty - trade.entry_price * left) / (position.qty - left)
    return price if average / 2 < price < average * 2 else average


def _same_cost(position: Position, left: int, price: Decimal) -> bool:
    """Whether a position cost what `left` shares at `price` did; a fraction that was paid out is not accepted."""
    average, paid = position.avg_entry_price, price * left
    return average is not None and position.qty >= 1 and abs(average * position.qty - paid) <= SAME_PRICE * paid
