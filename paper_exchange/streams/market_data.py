"""The market-data stream's protocol: encodings, subscriptions and messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgpack  # type: ignore[import-untyped]
import numpy as np

from paper_exchange.base.body import UNUSABLE
from paper_exchange.base.wire import MINUTE, JsonObject, parse_instant
from paper_exchange.market_data import ticks
from paper_exchange.market_data.pages import day_json, to_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paper_exchange.base.calendar import Session
    from paper_exchange.market.tape import Tape

FEEDS = ("iex", "sip", "delayed_sip", "test")
CHANNELS = {"trades": "t", "quotes": "q", "bars": "b", "updatedBars": "u", "dailyBars": "d"}
CHANNELS |= {"statuses": "s", "lulds": "l"}  # accepted subscriptions; this exchange sends no such messages
MAX_TICKS = 30  # symbols with trades and quotes in the Basic plan
INVALID_SYNTAX = {"T": "error", "code": 400, "msg": "invalid syntax"}


class Wire:
    """Encodes JSON in text frames, or msgpack in binary frames if the client requested that."""

    def __init__(self, packed: bool) -> None:
        self._packed = packed

    def pack(self, messages: list[JsonObject]) -> str | bytes:
        """Encode messages as one frame."""
        if not self._packed:
            return json.dumps(messages)
        packed: bytes = msgpack.packb([_with_timestamp(message) for message in messages])
        return packed

    def unpack(self, frame: str | bytes) -> JsonObject | None:
        """Decode a frame; None if it holds no message."""
        try:
            found = msgpack.unpackb(frame) if self._packed and isinstance(frame, bytes) else json.loads(frame)
        except (ValueError, msgpack.UnpackException, RecursionError):
            return None
        return found if isinstance(found, dict) else None


def _with_timestamp(message: JsonObject) -> JsonObject:
    if "t" not in message:
        return message
    seconds, fraction = divmod(parse_nanoseconds(message["t"]), 10**9)
    return message | {"t": msgpack.Timestamp(seconds, fraction)}


def parse_nanoseconds(text: str) -> int:
    """Nanoseconds of an instant in `wire.rfc3339`'s format, exactly."""
    head, _, fraction = text.removesuffix("Z").partition(".")
    return parse_instant(head + "Z", "t") + int(fraction.ljust(9, "0") or 0)


class DataClient:
    """The subscriptions of one authenticated connection to a feed."""

    def __init__(self, key: str, feed: str, wire: Wire) -> None:
        self.key = key
        self.feed = feed
        self.wire = wire
        self._wanted: dict[str, set[str]] = {channel: set() for channel in CHANNELS}

    @property
    def symbols(self) -> set[str]:
        """All subscribed symbols of any channel; `*` means all."""
        return set().union(*self._wanted.values())

    @property
    def ticking(self) -> set[str]:
        """The symbols whose trades or quotes are subscribed; `*` means all."""
        return self._wanted["trades"] | self._wanted["quotes"]

    def wants(self, message: JsonObject) -> bool:
        """Whether the client subscribes to a message's channel and symbol."""
        channel = next(name for name, kind in CHANNELS.items() if kind == message["T"])
        return not self._wanted[channel].isdisjoint({message["S"], "*"})

    def answer(self, message: JsonObject) -> list[JsonObject]:
        """The reply to a message; it may change the subscriptions."""
        action = message.get("action")
        if action == "auth":
            return [{"T": "error", "code": 403, "msg": "already authenticated"}]
        if action not in ("subscribe", "unsubscribe"):
            return [INVALID_SYNTAX]
        changed = {channel: set(found) for channel, found in self._wanted.items()}
        for channel, found in changed.items():
            names = message.get(channel) or []
            if not isinstance(names, list) or not all(map(_is_text, names)):
                return [INVALID_SYNTAX]
            (found.update if action == "subscribe" else found.difference_update)(names)
        if len(changed["trades"]) + len(changed["quotes"]) > MAX_TICKS:
            return [{"T": "error", "code": 405, "msg": "symbol limit exceeded"}]
        self._wanted = changed
        return [{"T": "subscription"} | {channel: sorted(found) for channel, found in changed.items()}]


def _is_text(name: object) -> bool:
    return isinstance(name, str) and not UNUSABLE.search(name)


def messages_between(tape: Tape, symbols: set[str], ticking: set[str], after: int, until: int) -> list[JsonObject]:
    """Messages about (after, until], oldest first: bars of `symbols`, trades and quotes of `ticking` (`*`: all)."""
    found = [item for symbol in _listed(tape, ticking) for item in _ticks(tape, symbol, after, until)]
    calendar = tape.calendar
    first, last = calendar.opened_by(after).index, tape.iex.newest_session(until).index
    for session in calendar.sessions[first : last + 1]:
        if not tape.covers(session):
            continue
        for name in _listed(tape, symbols):
            for kind, start in tape.iex.day.published_between(name, session, after, until):
                found += [(start + MINUTE, message) for message in _bars(tape, name, session, kind, start, until)]
    return [message for _, message in sorted(found, key=lambda item: item[0])]


def _listed(tape: Tape, symbols: set[str]) -> Iterable[str]:
    return tape.listings if "*" in symbols else [name for name in tape.listings if name in symbols]


def _ticks(tape: Tape, symbol: str, after: int, until: int) -> Iterator[tuple[int, JsonObject]]:
    for quote in ticks.quotes_between(tape, symbol, after, until):
        yield quote.at, {"T": "q", "S": symbol} | ticks.quote_json(tape, symbol, quote)
    for trade in ticks.trades_between(tape, symbol, after, until):
        yield trade.at, {"T": "t", "S": symbol} | ticks.trade_json(tape, symbol, trade)


def _bars(tape: Tape, symbol: str, session: Session, kind: str, start: int, now: int) -> list[JsonObject]:
    bars = tape.iex.day.published(symbol, session, now)
    index = int(np.searchsorted(bars.start, start))
    row = {"T": kind, "S": symbol} | to_rows(bars, index, index + 1)[0][1]
    if kind == "u" or not session.open <= start < session.close:  # daily bars are of the core session
        return [row]
    day = tape.iex.day_bar(symbol, session, now)
    return [row, *([{"T": "d", "S": symbol} | day_json(day)] if day else [])]
