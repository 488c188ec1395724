"""Reading one `trades_YYYY-MM-DD.json`: what is damaged is said, and what is whole in it is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from trading.base import written
from trading.base.files import why_unusable
from trading.records.trade import Trade, sound

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

MOST_BYTES: Final = 64_000_000
"""Bytes of a trade file; a day of a thousand trades has a fiftieth of that."""


class TradeFile(NamedTuple):
    """The trades of a file that can be true, and what is wrong with the file; empty if nothing is."""

    trades: list[Trade]
    damage: str


def read_trade_file(path: Path) -> TradeFile:
    """Read a trade file; whatever it holds, nothing is raised.

    Of a file that was cut, the trades before the cut are kept; a trade that cannot be true, or is of another day than
    the file's name, is left out.
    """
    day = day_of(path)
    if damage := why_unusable(path, MOST_BYTES):
        return TradeFile([], damage)
    try:
        content = path.read_bytes()
    except OSError as error:
        return TradeFile([], f"it cannot be read ({error.strerror})")
    if not content.strip():
        return TradeFile([], "it is empty")
    try:
        records, damage = orjson.loads(content), ""
    except ValueError:
        records, damage = _whole_records(content), "it is damaged or cut short"
    if not isinstance(records, list):
        return TradeFile([], "it is not a list of trades")
    found: list[Trade] = []
    names: set[str] = set()
    for number, record in enumerate(records, 1):
        try:
            trade = sound(Trade.from_json(record))
            if day is not None and trade.day != day:
                raise ValueError(f"entry_time={trade.entry_time.isoformat()}, which is another day")
            if trade.client_order_id in names:
                raise ValueError(f"{trade.client_order_id} stands in it twice")
        except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            damage = damage or f"trade {number} cannot be true ({' '.join(what.split())[:100]})"
            continue
        names |= {trade.client_order_id} - {""}
        found.append(trade)
    return TradeFile(found, damage)


def day_of(path: Path) -> date | None:
    """The day in the name of a trade file; None if it has none."""
    return written.day(path.stem.removeprefix("trades_"))


def _whole_records(content: bytes) -> list[Any]:
    """The records of a damaged list that stand before the damage."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        text = content[: error.start].decode()
    found: list[Any] = []
    decoder, position = json.JSONDecoder(), text.find("[")
    while (
        position >= 0 and (begin := text.find("{", position)) >= 0 and text[position + 1 : begin].strip() in ("", ",")
    ):
        try:
            record, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            break
        found.append(record)
        position = end - 1
    return found
