"""The trades of a backtest as the trade log has them: the fields that do not decide anything, and the files."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from trading.market.bars import check_bars
from trading.rules.trade_answers import minute_of_entry, note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from config import ExitSettings
    from trading.backtest.engine.fills import Fills
    from trading.backtest.engine.position import Position
    from trading.backtest.engine.session_market import SessionMarket
    from trading.market.bars import Bars
    from trading.records.trade_log import Trade, TradeLog


@dataclass(frozen=True)
class TradeRecords:
    """Completes the trades of a backtest and writes them through a trade log.

    Attributes:
        log: the log of a folder that is the backtest's alone.
        exits: the settings of exits and label.
        market: name of the market of the bars.
        order_id: the exchange's id of the order with a number, in the order in which it has taken them.
        fills: the exchange's quotes.
    """

    log: TradeLog
    exits: ExitSettings
    market: str
    order_id: Callable[[int], str]
    fills: Fills
    _undecided: dict[str, tuple[Bars, datetime]] = field(default_factory=dict)
    """By client_order_id of a trade held overnight that has reached neither target nor stop of its label: the bars of
    its session since the entry, and when that session sells."""

    def add_session(self, market: SessionMarket, positions: Sequence[Position]) -> None:
        """Add the trades that were entered in a session.

        Raises:
            OSError: the log cannot be written.
        """
        self.log.start_day(market.session.date)
        for one in positions:
            self._complete(one, market)
            self.log.add(one.trade)
        self.log.save()

    def update(self, market: SessionMarket, positions: Sequence[Position]) -> None:
        """Write again the trades of earlier sessions whose orders a session has changed.

        Raises:
            OSError: the log cannot be written.
        """
        for one in positions:
            self._number(one, market)
            self._note_sale(one.trade)
            self.log.mark_changed(one.trade)
        self.log.save()

    def _complete(self, one: Position, market: SessionMarket) -> None:
        trade, exits = one.trade, self.exits
        minute = market.session.open + timedelta(minutes=one.minute)
        quote = self.fills.quote(one.price)
        trade.market, trade.decision_bid, trade.decision_ask = self.market, quote.bid, quote.ask
        trade.client_order_id = _order_name(minute, one.symbol, "entry")
        trade.label, trade.label_target, trade.label_stop = exits.LABEL, exits.LABEL_TARGET_PCT, exits.STOP_LOSS_PCT
        trade.label_within_minutes = exits.LABEL_WITHIN_MINUTES
        self._number(one, market)
        flatten_at = market.session.flatten_at(exits.FLATTEN_MINUTES_BEFORE_CLOSE)
        seen = market.bars[one.stock]
        checked, _ = check_bars(seen, [market.session])
        for bars in (seen, checked):  # what the minutes have shown, then what the evening corrects
            since = bars.since(minute_of_entry(trade))
            note(trade, since.open, since.high, since.low, since.start, flatten_at)
        if trade.is_open and trade.reached_target_first is None:
            self._undecided[trade.client_order_id] = since, flatten_at

    def _note_sale(self, trade: Trade) -> None:
        """As the evening after the sale of a trade that was held overnight: its fill may decide."""
        if not trade.is_open and trade.client_order_id in self._undecided:
            since, flatten_at = self._undecided.pop(trade.client_order_id)
            note(trade, since.open, since.high, since.low, since.start, flatten_at)

    def _number(self, one: Position, market: SessionMarket) -> None:
        """Note the orders; an open trade has a sale that was sent at the close."""
        trade, orders = one.trade, one.orders
        trade.entry_order_id = self.order_id(orders.entry)
        trade.stop_order_id, trade.target_order_id = self.order_id(orders.stop), self.order_id(orders.target)
        legs = (orders.entry + 1, orders.entry + 2)
        trade.sell_order_ids = [self.order_id(number) for number in (*legs, *orders.sales)]
        if trade.is_open:
            trade.exit_reason = one.reason
            trade.exit_intent = _order_name(market.session.close, one.symbol, "exit")


def _order_name(instant: datetime, symbol: str, intent: str) -> str:
    """The client_order_id that the trading loop gives an order."""
    from trading.execution.orders.order_cache import order_name  # imports the broker's client

    return order_name("", instant, symbol, intent)
