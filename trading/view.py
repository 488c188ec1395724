"""What a run shows on the console: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trading.clock import NEW_YORK
from trading.snapshot import Snapshot
from trading.trade_log import TradeLog

LINES: Final[dict[str, str]] = {
    "day_started": "day started: {stocks} stocks, equity ${equity:,.2f}",
    "bought": "bought {qty} {symbol} at ${price:g}, stop ${stop:g}, target ${target:g}",
    "sold": "sold {qty} {symbol} at ${price:g}: {reason}, P&L ${pnl_amount:+.2f}",
    "entry_refused": "{symbol} not bought: the broker refuses: {reason}",
    "not_flat": "NOT FLAT: {qty} {symbol} still held after the close; {note}",
    "unprotected": "{qty} {symbol} have no resting order: {remedy}",
    "foreign_position": "{qty} {symbol} held that this system did not buy: never touched",
    "day_closed": "day closed: {trades} trades, {won} won, P&L ${pnl_amount:+.2f}, equity ${equity:,.2f}",
    "dataset_built": "bars: {bars:,} new, {rows:,} rows of {stocks} stocks over {sessions} sessions",
    "model_trained": "model {model} trained: {reason}",
    "retrain_failed": "retrain failed, the old model stays in service: {reason}",
    "broker_unclear": "the broker gives no clear answer ({reason}): {note}",
    "no_bars": "no bars: {reason}",
    "calendars_disagree": "the broker's calendar closes at {broker}, ours at {ours}: {note}",
    "position_taken_up": "taken up from before: {qty} {symbol}, stop ${stop:g}",
    "callback_failed": "{callback} failed: {error}",
    "ticks_skipped": "ticks skipped: {skipped}",
}


class View:
    """Shows the audit's weightier events as lines, and the account under them."""

    def __init__(self, console: Console, heading: str) -> None:
        self._console = console
        self._heading = heading
        self._live: Live | None = None
        self._last_status: datetime | None = None

    def event(self, record: dict[str, Any]) -> None:
        """Print an event of the audit that a person wants to see as it happens."""
        template = LINES.get(record["event"])
        if template is None:
            return
        try:
            line = template.format(**record)
        except (KeyError, ValueError, TypeError):
            line = ", ".join(f"{key}={value}" for key, value in record.items() if key != "time")
        self._console.print(
            f"{record['time'][:19].replace('T', ' ')}  {line}", highlight=False, markup=False, soft_wrap=True
        )

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, snapshot: Snapshot | None, next_event: Callable[[], tuple[str, datetime]]) -> None:
        """Show the account: the live table on a terminal, else one line an hour of the clock."""
        if snapshot is None:
            return
        if self._live is not None:
            self._live.update(Group(self._table(snapshot), Text(_status(snapshot, next_event()))))
            return
        hour = snapshot.at.replace(minute=0, second=0, microsecond=0)
        if hour != self._last_status:
            self._last_status = hour
            local = snapshot.at.astimezone(NEW_YORK)
            self._console.print(
                f"{local:%Y-%m-%d %H:%M:%S}  {_status(snapshot, next_event())}", highlight=False, markup=False
            )

    def _table(self, snapshot: Snapshot) -> Table:
        table = Table(title=f"{self._heading}  {snapshot.at.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York")
        for name in ("symbol", "shares", "entry", "price", "stop", "target", "P&L"):
            table.add_column(name, justify="left" if name == "symbol" else "right")
        for row in snapshot.rows:
            table.add_row(
                row.symbol,
                str(row.qty),
                f"{row.entry:g}",
                "-" if row.price is None else f"{row.price:g}",
                f"{row.stop:g}",
                f"{row.target:g}",
                "-" if row.pnl is None else f"{row.pnl:+.2f}",
            )
        return table


def _status(snapshot: Snapshot, following: tuple[str, datetime]) -> str:
    name, instant = following
    equity = "" if snapshot.equity is None else f", equity ${snapshot.equity:,.2f}"
    return (
        f"{len(snapshot.rows)} open, {snapshot.in_flight} in flight, "
        f"{snapshot.trades} trades today ({snapshot.won} won), "
        f"realised ${snapshot.realised:+.2f}{equity}; next: {name} at {instant.astimezone(NEW_YORK):%a %H:%M}"
    )


def summary(log: TradeLog, since: datetime, console: Console, folders: dict[str, Any], warning: str) -> None:
    """The trades of a run, day by day: trades, win rate, P&L, and where everything was written."""
    trades = [trade for trade in log.trades if trade.entry_time >= since]
    days = sorted({trade.day for trade in trades})
    table = Table(title="Summary")
    for name in ("day", "trades", "won", "win rate", "P&L $", "open"):
        table.add_column(name, justify="left" if name == "day" else "right")
    for label, chosen in [(str(day), [t for t in trades if t.day == day]) for day in days] + [("all", trades)]:
        closed = [trade for trade in chosen if not trade.is_open]
        won = sum(1 for trade in closed if (trade.pnl_amount or 0) > 0)
        rate = f"{won / len(closed):.0%}" if closed else "-"
        pnl = sum((trade.pnl_amount or Decimal(0) for trade in closed), Decimal(0))
        cells = (str(len(closed)), str(won), rate, f"{pnl:+.2f}", str(len(chosen) - len(closed)))
        table.add_row(label, *cells, end_section=label != "all" and label == str(days[-1]))
    console.print(table)
    if warning:
        console.print(warning, style="bold", markup=False)
    for name, folder in folders.items():
        console.print(f"{name}: {folder}", highlight=False, markup=False, soft_wrap=True)
