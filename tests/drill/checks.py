"""Checks after a run: the trade log against the exchange's own books, as pure functions of both."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from paper_exchange.base.wire import Shares, to_ns
from paper_exchange.books.ledger import Ledger
from tests.drill.owner import NAME
from trading.broker.messages import OURS
from trading.records.trade_log import Trade, TradeLog

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from paper_exchange.orders.order import Fill, Order

MAX_POSITIONS, MAX_SHARES = 10, 5
FOREVER = 1 << 62
CENT = Decimal("0.01")
MAX_UNPROTECTED = 60.0
"""Seconds for which shares may be without any sell order while the trader is alive."""

MAX_LEFT_RESTING = 90.0
"""Seconds for which a sell order may rest without shares while the trader is alive: the next minute ends it."""


@dataclass
class Findings:
    """Violations (kind, text) and figures of a run."""

    violations: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def wrong(self, kind: str, text: str) -> None:
        self.violations.append((kind, text))


@dataclass(frozen=True)
class Cover:
    """An order that could sell `qty` shares from `start` to `end` (ns since the epoch)."""

    start: int
    end: int
    qty: Shares


def check(
    orders: Sequence[Order],
    ledger: Ledger,
    logs: Path,
    close: datetime,
    own: Collection[str],
    halted: frozenset[str],
    down: Sequence[tuple[int, int]],
    longest: float = MAX_UNPROTECTED,
    unseen: Sequence[tuple[int, int]] = (),
) -> Findings:
    """Run every check of the drill.

    Args:
        orders, ledger: the exchange's books, from its own state file.
        logs: the trader's folder.
        close: of the session that was traded.
        own: the owner's stocks.
        halted: stocks that did not trade until the close.
        down: when the trader was dead (ns since the epoch), which does not count as unprotected time.
        longest: seconds that shares may be without stop and sale.
        unseen: when the trader was alive but had no minute, in which it cannot see what rests without shares.
    """
    found = Findings()
    ours = [order for order in orders if order.symbol not in own and not order.client_order_id.startswith(NAME)]
    fills = [fill for fill in ledger.fills if fill.symbol not in own]
    _readable(logs, found)
    _shorts(ledger.fills, found)
    _owners(orders, own, logs, found)
    try:
        trades = TradeLog(logs).trades
    except Exception as error:  # noqa: BLE001 - any exception is a violation
        found.wrong("logs unreadable", repr(error))
        return found
    _entries(ours, fills, found)
    _counts(ours, fills, found)
    _log_and_fills(trades, {order.id: order for order in ours}, fills, found)
    parts = _sold_in_part(trades, fills, found)
    _orphans(trades, ours, ledger, own, parts, found)
    _money(trades, fills, parts, found)
    _left_resting(ours, fills, to_ns(close), [*down, *unseen], found)
    _flat(fills, to_ns(close), halted, logs, found)
    in_the_way = [one for one in orders if one.client_order_id.startswith(NAME) and one.symbol not in own]
    _protection(ours, fills, to_ns(close), down, in_the_way, logs, longest, found)
    found.figures |= {
        "buys": sum(fill.side == "buy" for fill in fills),
        "trades": len(trades),
        "open trades sold in part": len(parts),
        "sells": sum(fill.side == "sell" for fill in fills),
        "pnl": float(sum((trade.pnl_amount or Decimal(0) for trade in trades), Decimal(0))),
    }
    return found


def ended(order: Order) -> int:
    """When an order became final (ns since the epoch)."""
    ends = (order.filled_at, order.canceled_at, order.expired_at, order.replaced_at, order.failed_at)
    return min((one for one in ends if one is not None), default=FOREVER)


def position(fills: Iterable[Fill], symbol: str, instant: int) -> Shares:
    """Shares held at an instant."""
    return sum(
        fill.qty if fill.side == "buy" else -fill.qty for fill in fills if fill.symbol == symbol and fill.at <= instant
    )


def _readable(logs: Path, found: Findings) -> None:
    for path in sorted(logs.glob("*.jsonl")):
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            try:
                json.loads(line)
            except ValueError:
                found.wrong("logs unreadable", f"{path.name}:{number}")
        if lines[-1]:
            found.wrong("logs unreadable", f"{path.name}: its last line is cut short")


def _shorts(fills: Sequence[Fill], found: Findings) -> None:
    """No position is ever negative: the account could sell short."""
    held: dict[str, Shares] = defaultdict(int)
    for fill in fills:
        held[fill.symbol] += fill.qty if fill.side == "buy" else -fill.qty
        if held[fill.symbol] < 0:
            found.wrong("short opened", f"{fill.symbol}: {held[fill.symbol]} shares")


def _owners(orders: Sequence[Order], own: Collection[str], logs: Path, found: Findings) -> None:
    """Nothing of the trader's in the owner's stocks, whose positions are all reported."""
    for order in orders:
        if order.symbol in own and order.client_order_id.startswith(OURS):
            found.wrong("external position touched", f"{order.side} {order.symbol} {order.client_order_id}")
    reported = {record.get("symbol") for record in _events(logs, b'"external_position"')}
    for symbol in own:
        if symbol not in reported:
            found.wrong("not said", f"the owner's position in {symbol}")


def _entries(orders: Sequence[Order], fills: Sequence[Fill], found: Findings) -> None:
    """No entry while the stock is held or has a pending entry."""
    buys = [order for order in orders if order.buy]
    for order in buys:
        at = order.submitted_at
        others = [one for one in buys if one is not order and one.symbol == order.symbol]
        if any(one.submitted_at <= at < ended(one) and one.sequence < order.sequence for one in others):
            found.wrong("duplicate entry", f"{order.symbol} {order.client_order_id}: another entry was open")
        if position(fills, order.symbol, at):
            found.wrong("duplicate entry", f"{order.symbol} {order.client_order_id}: it was held")
        if order.qty > MAX_SHARES:
            found.wrong("over 5 shares", f"{order.symbol} {order.qty}")


def _counts(orders: Sequence[Order], fills: Sequence[Fill], found: Findings) -> None:
    """At most 10 positions including pending entries, and at most 5 shares of each."""
    held: dict[str, Shares] = defaultdict(int)
    most = 0
    for fill in sorted(fills, key=lambda fill: (fill.at, fill.side == "buy")):
        held[fill.symbol] += fill.qty if fill.side == "buy" else -fill.qty
        if held[fill.symbol] > MAX_SHARES:
            found.wrong("over 5 shares", f"{fill.symbol}: {held[fill.symbol]}")
        most = max(most, sum(qty > 0 for qty in held.values()))
    if most > MAX_POSITIONS:
        found.wrong("over 10 positions", str(most))
    found.figures["most positions"] = most
    buys = [order for order in orders if order.buy]
    for order in buys:
        at = order.submitted_at
        symbols = {one.symbol for one in buys if one.submitted_at <= at < ended(one)}
        symbols |= {fill.symbol for fill in fills if position(fills, fill.symbol, at) > 0}
        if len(symbols) > MAX_POSITIONS:
            found.wrong("over 10 positions", f"{len(symbols)} held or being bought when {order.symbol} was sent")


def _log_and_fills(trades: Sequence[Trade], orders: dict[str, Order], fills: Sequence[Fill], found: Findings) -> None:
    """Every fill is in the log once, with its quantity and price."""
    by_order: dict[str, list[Fill]] = defaultdict(list)
    for fill in fills:
        by_order[fill.order_id].append(fill)
    claimed: dict[str, int] = defaultdict(int)
    for trade in trades:
        sells = [one for order_id in trade.sell_order_ids for one in by_order.get(order_id, ())]
        for order_id in {trade.entry_order_id, *trade.sell_order_ids}:
            claimed[order_id] += order_id in by_order
        _same(trade, "entry", trade.qty, trade.entry_price, by_order.get(trade.entry_order_id, []), found)
        if not trade.is_open:
            _same(trade, "exit", trade.qty, trade.exit_price, sells, found)
        elif sum(fill.qty for fill in sells) >= trade.qty:
            found.wrong("log and fills differ", f"{trade.symbol}: all {trade.qty} are sold, the log says open")
    for order_id in by_order:
        if claimed[order_id] == 0:
            order = orders[order_id]
            found.wrong("fill not in log", f"{order.symbol} {order.side} {order.role} {order.client_order_id}")
        if claimed[order_id] > 1:
            found.wrong("fill twice in log", f"{orders[order_id].symbol} {orders[order_id].side}")


def _same(trade: Trade, what: str, qty: int, price: Decimal | None, fills: Sequence[Fill], found: Findings) -> None:
    filled = sum(fill.qty for fill in fills)
    if filled != qty:
        found.wrong("log and fills differ", f"{trade.symbol} {what}: {qty} in the log, {filled} filled")
    elif filled and price is not None:
        average = sum((fill.qty * fill.price for fill in fills), Decimal(0)) / filled
        if abs(average - price) > Decimal("0.000001"):
            found.wrong("log and fills differ", f"{trade.symbol} {what}: {price} in the log, {average} filled")


def _sold_in_part(trades: Sequence[Trade], fills: Sequence[Fill], found: Findings) -> dict[str, tuple[Shares, Decimal]]:
    """Partly sold open trades by symbol: shares sold, and the profit on them in dollars."""
    parts: dict[str, tuple[Shares, Decimal]] = {}
    for trade in trades:
        sells = [fill for fill in fills if fill.order_id in trade.sell_order_ids]
        # A fill after the last reconciliation reaches the log after the next start.
        if trade.sold_qty > sum(fill.qty for fill in sells):
            found.wrong("log and fills differ", f"{trade.symbol}: {trade.sold_qty} sold in the log")
        if trade.is_open and sells:
            earned = sum((fill.qty * (fill.price - trade.entry_price) for fill in sells), Decimal(0))
            parts[trade.symbol] = (sum(fill.qty for fill in sells), earned)
    return parts


def _orphans(
    trades: Sequence[Trade],
    orders: Sequence[Order],
    ledger: Ledger,
    own: Collection[str],
    parts: dict[str, tuple[Shares, Decimal]],
    found: Findings,
) -> None:
    logged: dict[str, Shares] = defaultdict(int)
    for trade in trades:
        if trade.is_open:
            logged[trade.symbol] += trade.qty - parts.get(trade.symbol, (0, Decimal(0)))[0]
    held = {symbol: one.qty for symbol, one in ledger.holdings.items() if symbol not in own}
    for symbol in sorted({*logged, *held}):
        if logged.get(symbol, 0) != held.get(symbol, 0):
            text = f"{symbol}: the log holds {logged.get(symbol, 0)}, the exchange {held.get(symbol, 0)}"
            found.wrong("orphan position", text)
    for order in orders:
        # The next start adopts an exit that got no reply at the very end.
        adoptable = not order.buy and order.symbol in logged
        if order.is_open and order.awake and not adoptable:
            found.wrong("orphan order", f"{order.symbol} {order.side} {order.type} {order.client_order_id}")


def _left_resting(
    orders: Sequence[Order], fills: Sequence[Fill], close: int, down: Sequence[tuple[int, int]], found: Findings
) -> None:
    """No sell order rests for long after the shares of its stock are gone: it would open a short position."""
    longest = 0.0
    for order in orders:
        if order.buy or not order.awake:
            continue
        instants = sorted(fill.at for fill in fills if fill.symbol == order.symbol and fill.at > order.submitted_at)
        over = min(ended(order), close)
        for start, end in itertools.pairwise([*(at for at in instants if at < over), over]):
            if position(fills, order.symbol, start) == 0:
                seconds = _without(start, end, down) / 1e9
                longest = max(longest, seconds)
                if seconds > MAX_LEFT_RESTING:
                    text = f"{order.symbol} {order.type} {order.client_order_id}: {seconds:.0f} s after the last share"
                    found.wrong("order left resting", text)
    found.figures["longest order without shares, trader alive"] = longest


def _money(
    trades: Sequence[Trade], fills: Sequence[Fill], parts: dict[str, tuple[Shares, Decimal]], found: Findings
) -> None:
    logged = sum((trade.pnl_amount or Decimal(0) for trade in trades), Decimal(0))
    logged += sum((earned for _, earned in parts.values()), Decimal(0))
    booked = Ledger(Decimal(0), Decimal(0), margin=True)
    for fill in fills:
        booked.apply(fill)
    if abs(logged - booked.realised) >= CENT / 2:
        found.wrong("P&L differs", f"the log {logged}, the account {booked.realised}")


def _flat(fills: Sequence[Fill], close: int, halted: frozenset[str], logs: Path, found: Findings) -> None:
    """Only halted stocks are held over the close, and each is reported as not_flat."""
    reported = {record.get("symbol") for record in _events(logs, b'"not_flat"')}
    left = {symbol for symbol in {fill.symbol for fill in fills} if position(fills, symbol, close)}
    for symbol in sorted(left - halted):
        found.wrong("not flat at the close", symbol)
    for symbol in sorted(left - reported):
        found.wrong("not flat, and not reported", symbol)
    found.figures["halted over the close"] = len(left & halted)


def _events(logs: Path, part: bytes) -> list[dict[str, Any]]:
    """The audit's events whose line holds a part."""
    lines = (line for path in sorted(logs.glob("audit_*.jsonl")) for line in path.read_bytes().splitlines())
    return [_json(line) for line in lines if part in line]


def _json(line: bytes) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:
        return {}


def _protection(
    orders: Sequence[Order],
    fills: Sequence[Fill],
    close: int,
    down: Sequence[tuple[int, int]],
    in_the_way: Sequence[Order],
    logs: Path,
    longest_allowed: float,
    found: Findings,
) -> None:
    """Seconds of the session in which shares had no resting stop, and no sale at market either.

    A buy order of the owner in the stock (`in_the_way`) makes every new stop or sale a wash trade, which is refused.
    """
    by_id = {order.id: order for order in orders}
    without_stop = uncovered = uncovered_alive = longest = longest_uncovered = held_for = 0.0
    worst: dict[str, float] = {}
    for symbol in sorted({fill.symbol for fill in fills}):
        own = [fill for fill in fills if fill.symbol == symbol]
        stops = [_span(one, by_id) for one in orders if one.symbol == symbol and one.type.startswith("stop")]
        sales = [_span(one, by_id) for one in orders if one.symbol == symbol and not one.buy and _sells_at_once(one)]
        marks = sorted(
            {instant for cover in (*stops, *sales) for instant in (cover.start, cover.end)} | {fill.at for fill in own}
        )
        marks = [instant for instant in marks if instant < close] + [close]
        run = run_uncovered = 0.0
        for start, end in itertools.pairwise(marks):
            held, seconds = position(own, symbol, start), (end - start) / 1e9
            stopped, sold = _cover(stops, start), _cover(sales, start)
            held_for += seconds * (held > 0)
            run = run + seconds if held > stopped else 0.0
            excused = [*down, *((one.submitted_at, ended(one)) for one in in_the_way if one.symbol == symbol)]
            alive = _without(start, end, excused) / 1e9
            run_uncovered = run_uncovered + alive if held > max(stopped, sold) else 0.0
            uncovered_alive += alive * (held > max(stopped, sold))
            without_stop += seconds * (held > stopped)
            uncovered += seconds * (held > max(stopped, sold))
            longest, longest_uncovered = max(longest, run), max(longest_uncovered, run_uncovered)
            if run_uncovered > longest_allowed:
                worst[symbol] = max(run_uncovered, worst.get(symbol, 0.0))
    said = b"".join(path.read_bytes() for path in logs.glob("audit_*.jsonl"))
    for symbol, seconds in worst.items():
        found.wrong("unprotected too long", f"{symbol}: {seconds:.0f} s without any order")
        if f'"unprotected","symbol":"{symbol}"'.encode() not in said:
            found.wrong("not said", f"{symbol} was unprotected")
    found.figures |= {
        "held seconds": held_for,
        "seconds without a stop": without_stop,
        "longest without a stop": longest,
        "seconds without any order": uncovered,
        "seconds without any order, trader alive": uncovered_alive,
        "longest without any order, trader alive": longest_uncovered,
    }


def _sells_at_once(order: Order) -> bool:
    """Whether an order is an exit, or the market order with which the exchange replaces a stop that fires."""
    return order.role == "simple" or order.type == "market"


def _without(start: int, end: int, spans: Iterable[tuple[int, int]]) -> int:
    """The length of a span without the parts that other spans cover."""
    left = end - start
    for begun, over in sorted(spans):
        start = max(start, begun)
        if start < min(end, over):
            left -= min(end, over) - start
            start = over
    return left


def _span(order: Order, by_id: dict[str, Order]) -> Cover:
    """When a sell order could trade; a leg can only after its entry is filled completely."""
    start, qty = order.submitted_at, order.qty
    if order.parent is not None and order.role in ("stop", "target"):
        entry = by_id.get(order.parent)
        filled = entry.filled_at if entry is not None else None
        start = FOREVER if filled is None or not order.awake else max(start, filled)
        if entry is not None:
            qty = entry.filled_qty  # a leg shows less once its sibling has sold a part
    return Cover(start, max(start, ended(order)), qty)


def _cover(covers: Iterable[Cover], instant: int) -> Shares:
    return sum(cover.qty for cover in covers if cover.start <= instant < cover.end)
