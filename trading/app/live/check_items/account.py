"""The items that the broker is asked for: keys, account, clock, calendar, feed, positions, other traders."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.app.live.account_state import path_of
from trading.app.live.check_items.findings import Finding, Item, fail, ok, warn
from trading.base.clock import NEW_YORK
from trading.broker.client import Broker, KeysRefused, Unclear
from trading.broker.messages import OURS
from trading.broker.transport import without_password
from trading.execution.live_feed import LATE_FEED
from trading.execution.orders.order_cache import LOOK_BACK, instance_in
from trading.execution.preconditions import MAX_CLOCK_DIFFERENCE, broker_ahead, clock_difference
from trading.execution.shares.lots import is_entry, unsold_of
from trading.execution.shares.other_traders import ACTIVE_WITHIN, OtherTrader, other_trader
from trading.market.sources.alpaca import AlpacaSource
from trading.records.instance import INSTANCE_FILE, stored_instance
from trading.records.this_machine import gone_here, running_here
from trading.records.trade_log import TradeLog
from trading.reports.page import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from config import Settings
    from trading.app.live.check_items.disk import Files
    from trading.app.live.venues import OpenVenue
    from trading.base.calendar import MarketCalendar, Session
    from trading.broker.messages import Order, Orders, Positions
    from trading.records.trade_log import Trade

SMALL_DIFFERENCE: Final = timedelta(seconds=5)
"""Difference of the clocks up to which bars come in time."""


class AccountItems:
    """The account, the clock, the calendar and the feed of an open venue."""

    def __init__(
        self,
        venue: OpenVenue,
        settings: Settings,
        calendar: MarketCalendar,
        files: Files,
        sources: Mapping[str, str],
    ) -> None:
        self._venue = venue
        self._settings = settings
        self._calendar = calendar
        self._files = files
        self._sources = sources
        self._broker = Broker(venue.clients)

    def items(self) -> Iterator[Item]:
        """The items that are asked of the broker; the first one tells whether it answers."""
        yield "keys", self._keys
        yield "account", self._account
        yield "clock", self._clock
        yield "calendar", self._calendars
        yield "feed", self._feed
        yield "positions", self._positions
        yield "other traders", self._others

    @property
    def _session(self) -> Session:
        """The session that is open, or the next one."""
        return self._calendar.current_or_next(self._venue.clock.now())

    def _keys(self) -> Iterator[Finding]:
        if self._venue.market.embedded:
            also = "those that are set are not used here"
            if self._settings.broker.credentials is None:
                also = "python live_trader.py --setup asks for those of an Alpaca paper account"
            yield ok(f"none needed for {self._venue.description}; {also}")
            return
        url = without_password(self._settings.broker.APCA_API_BASE_URL)
        try:
            self._broker.account()
        except KeysRefused:
            raise
        except Unclear as error:
            yield fail(f"{url} gives no answer ({error}): check the network and APCA_API_BASE_URL, and check again")
            return
        yield ok(f"{url} accepts them (from {self._sources.get('APCA_API_KEY_ID', 'the settings')})")

    def _account(self) -> Iterator[Finding]:
        account = self._broker.account()
        margin = "margin unknown" if account.multiplier is None else f"buying power {account.multiplier:f} x equity"
        text = (
            f"status {account.status or 'unknown'}, equity ${account.equity:,.2f}, cash ${account.cash:,.2f}, {margin}"
        )
        invested = float(account.equity) * self._settings.entry.RISK_PER_TRADE
        if account.blocked is not None:
            yield fail(f"{text}; it may not trade ({account.blocked}): see the account's page at the broker")
        elif invested < self._settings.data.MIN_PRICE:
            yield warn(f"{text}: RISK_PER_TRADE of it (${invested:,.2f}) buys no share of MIN_PRICE; reset the account")
        else:
            yield ok(text)

    def _clock(self) -> Iterator[Finding]:
        difference = clock_difference(self._broker, self._venue.clock)
        seconds = abs(difference.total_seconds())
        if seconds < 1:
            yield ok("the broker's clock and this machine's agree")
            return
        side = "ahead of" if difference > timedelta(0) else "behind"
        text = f"the broker's clock is {seconds:,.0f} s {side} this machine's"
        if abs(difference) <= SMALL_DIFFERENCE:
            yield ok(text)
        else:
            level = warn if abs(difference) <= MAX_CLOCK_DIFFERENCE else fail
            yield level(f"{text}; set this machine's clock: from {MAX_CLOCK_DIFFERENCE.seconds} s on nothing is bought")

    def _calendars(self) -> Iterator[Finding]:
        session, now = self._session, self._venue.clock.now()
        opened, ours = (f"{one.astimezone(NEW_YORK):%H:%M}" for one in (session.open, session.close))
        when = "the session that is open" if session.open <= now else "the next session"
        early = " (an early close)" if session.minutes < 390 else ""
        text = f"{when} is {session.date:%a %Y-%m-%d}, {opened} to {ours}{early} New York"
        theirs = self._broker.session_close(session.date)
        if theirs == ours:
            yield ok(text)
        else:
            said = "the broker does not trade on that day" if theirs is None else f"the broker closes at {theirs}"
            yield warn(f"{text}, but {said}: nothing is bought on that day, an earlier close is kept; nothing to do")

    def _feed(self) -> Iterator[Finding]:
        name, now, session = self._settings.data.DATA_FEED, self._venue.clock.now(), self._session
        found = AlpacaSource(self._venue.clients, name, self._venue.market, self._calendar).newest_bar()
        if found is None:
            yield warn(f"{name}: no bar of any active stock; check again during a session")
            return
        symbol, start = found
        lag = max(timedelta(0), now - start - timedelta(minutes=1))
        text = f"{name}: newest bar {symbol} {start.astimezone(NEW_YORK):%a %Y-%m-%d %H:%M} New York"
        if session.open + LATE_FEED > now:
            last = self._calendar.last_completed(now, 1)[0]
            is_old = start.astimezone(NEW_YORK).date() < last.date
            missing = f"; there is none of {last.date}, the last session: check again later" if is_old else ""
            yield (warn if is_old else ok)(f"{text}, the market is closed{missing}")
        elif lag > LATE_FEED:
            yield warn(
                f"{text}, {lag.total_seconds() / 60:.0f} minutes late: nothing is bought on old bars; check again"
            )
        else:
            yield ok(f"{text}, {lag.total_seconds():.0f} s after its end")

    def _positions(self) -> Iterator[Finding]:
        log = TradeLog(self._files.logs) if not self._venue.is_replay else None
        positions, orders = self._broker.positions(), self._broker.orders(open_only=True)
        for line in () if log is None else (*log.damaged, *log.left_out):
            yield warn(f"{line}: a run moves what is damaged aside and recovers its positions from the broker")
        trades = [] if log is None else log.open_trades
        ours = {trade.symbol for trade in trades}
        yield from _held(positions, orders, trades, self._recoverable() if set(positions) - ours else {})

    def _history(self) -> list[Order]:
        """The orders that a start reads, with their legs."""
        found = self._broker.orders(after=self._venue.clock.now() - LOOK_BACK)
        return [one for order in found for one in order.with_legs()]

    def _recoverable(self) -> dict[str, set[str]]:
        """Stock -> ids of its legs, for shares that a run recovers because orders with our name bought them."""
        orders, other = self._history(), None
        if not self._venue.market.embedded:
            other = self._other(orders)
        theirs = None if other is None else other.instance
        found: dict[str, set[str]] = {}
        for order in orders:
            if is_entry(order) and unsold_of(order, orders) and instance_in(order.client_order_id) != theirs:
                found.setdefault(order.symbol, set()).update(leg.id for leg in order.with_legs())
        return found

    def _other(self, orders: list[Order]) -> OtherTrader | None:
        """The other trader that makes a start refuse, by the broker's orders; None if there is none."""
        instance = stored_instance(self._files.logs / INSTANCE_FILE) or ""
        gone = gone_here(path_of(self._settings.broker))
        ahead = broker_ahead(self._broker, self._venue.clock)
        other = other_trader(orders, self._broker.positions, instance, self._venue.clock.now() + ahead, gone)
        return None if other is None else replace(other, clock=ahead)

    def _others(self) -> Iterator[Finding]:
        if self._files.is_running:
            yield warn("a trader uses this logs folder now: a second one is refused, stop it first")
        if self._venue.market.embedded:
            yield ok("nobody else can reach an embedded account")
            return
        here = None if self._files.is_running else running_here(path_of(self._settings.broker))
        if here is not None:
            yield fail(f"{here} trades this account on this machine: stop it, or give this one an account of its own")
            return
        other = self._other(self._history())
        if other is None:
            minutes = ACTIVE_WITHIN.total_seconds() / 60
            yield ok(
                f"none: no order of another trader in the last {minutes:.0f} minutes, and nothing that one holds today"
            )
        else:
            yield fail(f"{other}, {other.remedy(self._venue.clock.now())}")


def _held(
    positions: Positions, orders: Orders, trades: list[Trade], recoverable: Mapping[str, set[str]]
) -> Iterator[Finding]:
    """What the account holds, what of it is ours, and whether a stop rests under it.

    Args:
        recoverable: stock -> ids of its legs, for shares that a run recovers although the trade log lacks them.
    """
    logged = {trade.symbol for trade in trades}
    ours = logged | (set(recoverable) & set(positions))
    sells = {order_id for trade in trades for order_id in trade.sell_order_ids}  # legs bear names of the broker
    sells = sells.union(*recoverable.values())
    everything = [order for one in orders for order in one.with_legs()]
    named = [order for order in everything if order.client_order_id.startswith(OURS) or order.id in sells]
    strangers = sorted(set(positions) - ours)
    stops = {order.symbol for order in everything if order.side == "sell" and order.stop_price}
    held = ", ".join(f"{positions[symbol].qty:f} {symbol}" for symbol in sorted(ours & set(positions)))
    yield ok(
        f"{counted(len(ours & set(positions)), 'position')} of ours{f' ({held})' if held else ''} and {len(strangers)} "
        f"of somebody else; {counted(len(named), 'open order')} of ours and {len(everything) - len(named)} of somebody "
        "else"
    )
    if unprotected := sorted((ours & set(positions)) - stops):
        yield warn(f"no stop rests under {', '.join(unprotected)}: start the trader, which places one at once")
    if gone := sorted(logged - set(positions) - {one.symbol for one in positions.refused if one.symbol}):
        yield warn(f"the trade log holds {', '.join(gone)}, the broker does not: the next run settles it")
    if unlogged := sorted(ours - logged):
        yield warn(f"not in the trade log: {', '.join(unlogged)}: bought under our name, and recovered by the next run")
    if strangers:
        yield warn(f"not in the trade log: {', '.join(strangers)}: left alone, but they count as open")
    for one in (*positions.refused, *orders.refused):
        yield warn(f"{one}: it is asked again by a run")
