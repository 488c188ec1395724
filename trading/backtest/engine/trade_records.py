"""The trades of a backtest as the trade log has them: the fields that do not decide anything, and the files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from trading.market.bars import check_bars
from trading.rules.trade_answers import minute_of_entry, note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from config import ExitSettings
    from trading.backtest.engine.fills import Fills
    from trading.backtest.engine.position import Position
    from trading.backtest.engine.session_market import SessionMarket
    from trading.records.trade_log import TradeLog


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

    def update(self, positions: Sequence[Position]) -> None:
        """Write again the trades of earlier sessions whose orders have changed.

        Raises:
            OSError: the log cannot be written.
        """
        for one in positions:
            self._number(one)
            self.log.mark_changed(one.trade)
        self.log.save()

    def _complete(self, one: Position, market: SessionMarket) -> None:
        from trading.execution.orders.order_cache import order_name  # imports the broker's client

        trade, exits = one.trade, self.exits
        minute = market.session.open + timedelta(minutes=one.minute)
        quote = self.fills.quote(one.price)
        trade.market, trade.decision_bid, trade.decision_ask = self.market, quote.bid, quote.ask
        trade.client_order_id = order_name("", minute, one.symbol, "entry")
        trade.label, trade.label_target, trade.label_stop = exits.LABEL, exits.LABEL_TARGET_PCT, exits.STOP_LOSS_PCT
        trade.label_within_minutes = exits.LABEL_WITHIN_MINUTES
        self._number(one)
        flatten_at = market.session.flatten_at(exits.FLATTEN_MINUTES_BEFORE_CLOSE)
        seen = market.bars[one.stock]
        checked, _ = check_bars(seen, [market.session])
        for bars in (seen, checked):  # what the minutes have shown, then what the evening corrects
            since = bars.since(minute_of_entry(trade))
            note(trade, since.open, since.high, since.low, since.start, flatten_at)

    def _number(self, one: Position) -> None:
        trade, orders = one.trade, one.orders
        trade.entry_order_id = self.order_id(orders.entry)
        trade.stop_order_id, trade.target_order_id = self.order_id(orders.stop), self.order_id(orders.target)
        legs = (orders.entry + 1, orders.entry + 2)
        trade.sell_order_ids = [self.order_id(number) for number in (*legs, *orders.sales)]
        if trade.is_open and one.reason:
            trade.exit_reason = one.reason
