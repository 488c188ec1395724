"""What a run shows on the console: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trading.base.clock import NEW_YORK
from trading.records.events.kinds import Weight, template
from trading.reports.page import counted, sentence
from trading.reports.traded.words import dollars, price
from trading.reports.trained.console import signals_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from trading.broker.messages import Order
    from trading.execution.orders.pending_entry import PendingEntry
    from trading.execution.snapshot import Snapshot
    from trading.records.trade_log import Trade, TradeLog


class Output(Console):
    """A console whose loss (a pipe that was closed, a terminal that hung up, a full disk) never ends a trading day."""

    def on_broken_pipe(self) -> None:
        """Say nothing from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def say(self, line: str) -> None:
        """One line as it stands: not wrapped, not coloured."""
        with contextlib.suppress(OSError):  # all that is shown is in the logs too
            self.print(line, highlight=False, markup=False, soft_wrap=True)


GUARDS: Final = {
    "daily_loss": "unless what is held wins it back",
    "losing_run": "unless a position is sold without a loss",
}
"""Guard that ends buying for the day -> what lets it go on."""

NO_ENTRIES: Final = {
    "flatten_by_file": "the file FLATTEN was found, which ends buying and the run: remove it before the next start.",
    "stopped_by_file": "the file STOP was found, and no order is sent while it is there.",
}
"""Event of a control file -> why nothing was bought in a run."""


class View:
    """Shows the audit's weightier events as lines, and the account under them.

    Attributes:
        no_entries: why a control file kept this run from buying; empty if none did.
    """

    def __init__(self, console: Output, heading: str) -> None:
        self._console = console
        self._heading = heading
        self._live: Live | None = None
        self._hour: datetime | None = None
        self._ended: set[tuple[str, str]] = set()
        """Days and guards of which it is said that they ended buying."""
        self.no_entries = ""
        self._snapshot: Callable[[], Snapshot | None] = lambda: None
        self._next_event: Callable[[], tuple[str, datetime]] | None = None

    def follow(self, snapshot: Callable[[], Snapshot | None], next_event: Callable[[], tuple[str, datetime]]) -> None:
        """From now on show this account: in a live table on a terminal, elsewhere in a line every hour of its clock."""
        self._snapshot = snapshot
        self._next_event = next_event

    def event(self, record: dict[str, Any]) -> None:
        """Print an event of the audit that a person wants to see as it happens."""
        if self._live is None:
            self._hourly(datetime.fromisoformat(record["time"]))
        self.no_entries = NO_ENTRIES.get(str(record["event"]), self.no_entries)
        if line := self._end_of_buying(record) or in_words(record):
            self._console.say(f"{record['time'][:19].replace('T', ' ')}  {line}")

    def _end_of_buying(self, record: dict[str, Any]) -> str:
        """The first refusal of a day by a guard that ends its buying, in words; empty for every other event."""
        ended = str(record["time"])[:10], str(record.get("rule"))
        if record["event"] != "not_bought" or ended[1] not in GUARDS or ended in self._ended:
            return ""
        self._ended.add(ended)
        return (
            f"nothing more is bought today: {record.get('reason')}. Until the next session, {GUARDS[ended[1]]}; open "
            "positions keep their stops and targets"
        )

    def _hourly(self, now: datetime) -> None:
        """Once an hour, before what happens next, the account as it stood at the end of the last minute."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        snapshot = self._snapshot()
        if snapshot is not None and hour != self._hour and now - snapshot.at < timedelta(hours=1):
            self._hour = hour
            self._console.say(f"{snapshot.at.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}  {_status(snapshot)}")

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()

    def refresh(self) -> None:
        """On a terminal: show the account as it is now."""
        snapshot = self._snapshot()
        if self._live is not None and snapshot is not None and self._next_event is not None:
            local = snapshot.at.astimezone(NEW_YORK)
            name, instant = self._next_event()
            lines = (
                f"{self._heading}; {local:%a %Y-%m-%d %H:%M} New York",
                f"{_status(snapshot)}; next: {name} at {instant.astimezone(NEW_YORK):%a %H:%M}",
            )
            with contextlib.suppress(OSError):
                self._live.update(Group(Text(lines[0], style="bold"), _positions(snapshot), Text(lines[1])))


def _positions(snapshot: Snapshot) -> Table:
    table = Table()
    for name in ("symbol", "shares", "entry", "price", "stop", "target", "P&L"):
        table.add_column(name, justify="left" if name == "symbol" else "right", min_width=8)
    for row in snapshot.rows:
        prices = ("-" if one is None else price(one) for one in (row.entry, row.price, row.stop, row.target))
        table.add_row(row.symbol, str(row.qty), *prices, "-" if row.pnl is None else dollars(row.pnl))
    return table


def _status(snapshot: Snapshot) -> str:
    open_pnl = sum((row.pnl or 0.0 for row in snapshot.rows), 0.0)
    as_of = "" if snapshot.equity_as_of is None else _as_of(snapshot.equity_as_of)
    equity = "" if snapshot.equity is None else f", equity ${snapshot.equity:,.2f}{as_of} by the broker's prices"
    by_bars = " by the newest bars" if snapshot.rows else ""  # the broker's equity goes by its own prices
    return (
        f"{len(snapshot.rows)} open ({dollars(open_pnl)}{by_bars}), {snapshot.in_flight} in flight, "
        f"{counted(snapshot.trades, 'trade')} closed today ({snapshot.won} won, {dollars(snapshot.realised)}){equity}"
    )


def _as_of(instant: datetime) -> str:
    """The age of a figure that is an older one, as "as of 10:31"."""
    return f" as of {instant.astimezone(NEW_YORK):%H:%M}"


def in_words(record: dict[str, Any]) -> str | None:
    """An event of the audit in words; None where it is none for people."""
    words = template(record["event"], Weight.NOTICE)
    if not words:
        return None
    shown = dict(record)
    try:
        for name in ("price", "stop", "target"):
            if name in shown:
                shown[name] = price(shown[name])
        if "pnl_amount" in shown:
            shown["pnl_amount"] = dollars(shown["pnl_amount"])
        if "figures" in shown:
            shown["figures"], shown["reason"] = signals_in_words(shown["figures"]), sentence(shown["reason"])
        if record["event"] == "day_closed":
            shown["trades"] = counted(shown["trades"], "trade")
            as_of = shown.get("equity_as_of")
            shown["as_of"] = "" if as_of is None else _as_of(datetime.fromisoformat(as_of))
        return words.format(**shown)
    except (KeyError, ValueError, TypeError, ArithmeticError):
        return ", ".join(f"{key}={value}" for key, value in record.items() if key != "time")


def summary(log: TradeLog, since: datetime, console: Output, no_entries: str = "") -> None:
    """The trades that were open or closed from `since` on, by day of sale: trades, win rate, P&L, what was held then.

    Days that the log no longer has in memory are not summed up; a line says so.  `no_entries` is that of the view.
    """
    trades = [trade for trade in log.trades if trade.exit_time is None or trade.exit_time >= since]
    first = since.astimezone(NEW_YORK).date()
    days = sorted({day for trade in trades for day in (trade.day, trade.exit_day) if day is not None and day >= first})
    table = Table(title="Summary of this run", title_justify="left")
    for name in ("day", "trades", "won", "win rate", "P&L", "still open"):
        table.add_column(name, justify="left" if name == "day" else "right")
    for day in days:
        sold = [trade for trade in trades if trade.exit_day == day]
        held = [one for one in trades if one.day <= day and (one.exit_day is None or one.exit_day > day)]
        table.add_row(str(day), *_counts(sold), str(len(held)), end_section=day == days[-1])
    table.add_row("all", *_counts(trades), str(sum(trade.is_open for trade in trades)))
    with contextlib.suppress(OSError):
        console.print(table)
    if log.first_day is not None and log.unread and first < log.first_day:
        console.say(f"Days before {log.first_day} are not in the summary: see logs/trades_*.json.")
    if not trades:
        why = no_entries or "the audit has the best prediction of every minute, and each rule that refused."
        console.say(f"Nothing was bought: {why}")


def _counts(trades: list[Trade]) -> tuple[str, ...]:
    amounts = [trade.pnl_amount for trade in trades if trade.pnl_amount is not None]
    won = sum(1 for amount in amounts if amount > 0)
    rate = f"{won / len(amounts):.0%}" if amounts else "-"
    pnl = dollars(sum(amounts, Decimal(0)))
    return str(len(amounts)), str(won), rate, pnl


def left_behind(held: Sequence[tuple[Trade, list[Order]]], pending: Iterable[PendingEntry]) -> list[str]:
    """A line for each position, with the orders that rest under it, and each purchase that a stopped run leaves."""
    lines = []
    for trade, resting in held:
        levels = ((order, order.stop_price or order.limit_price) for order in resting)
        orders = [f"{order.type} at {price(level)}" if level else order.type for order, level in levels]
        under = " and ".join(orders) or "NOTHING: no order protects it"
        lines.append(f"still open: {trade.qty} {trade.symbol} bought at {price(trade.entry_price)}; resting: {under}")
    lines += [f"in flight: the entry order for {one.qty} {one.symbol}, with its stop and target" for one in pending]
    return lines


def whereabouts(folders: dict[str, Path]) -> list[str]:
    """Where everything was written, a line each."""
    holds = {
        "logs": "trades_*.json, predictions_*.jsonl (.gz), audit_*.jsonl",
        "data": "SYMBOL.csv, universe_*.json",
        "models": "model, scaler, features and metrics of every training",
    }
    return [f"{name:7} {folder}  ({holds[name]})" for name, folder in folders.items()]
