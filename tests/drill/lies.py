"""Lies: a WSGI middleware between trader and exchange that changes replies by seed, whatever they hold.

It knows no field by name.  It walks the JSON of a reply and changes one value of it, or it changes the whole reply:
its status, its list, its time, or the request that it answers.  The exchange's books stay true, and each reply lies
with a probability of its own, so that the truth is heard in between.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final

from paper_exchange.base.wsgi import Reply, call
from paper_exchange.faults.server import request_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FIELD_LIES: Final = (
    *("missing", "null", "zero", "negative", "huge", "slipped", "other type", "not finite"),
    *("another item's", "an earlier value", "yesterday's"),
)
"""What a value of a reply can become."""

REPLY_LIES: Final = (
    *("another request's reply", "an earlier reply", "truncated", "a proxy's page", "empty"),
    *("an item missing", "an item twice", "items in another order"),
    *("date off", "date missing", "no date"),
)
"""What a whole reply, or its Date header, can become."""

PROXY_STATUSES: Final = (400, 401, 403, 404, 407, 408, 425, 451, 499)
PAGE: Final = b"<html><head><title>%d</title></head><body><h1>%d</h1><hr>nginx</body></html>\n"
NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?")
SYMBOL: Final = re.compile(r"[A-Z][A-Z0-9.]*")
LONGEST_KEPT: Final = 300_000
"""Bytes of the longest reply that is remembered."""

SAMPLE: Final = 40
"""Items of a list that are walked at most."""

HOLDER = tuple[Any, Any]
"""A JSON object or array, and the key or index of a value in it."""


@dataclass(frozen=True)
class LiePlan:
    """How often replies lie.

    Attributes:
        rate: probability that a reply lies.
        burst: probability that a lie begins a burst, in which the next replies lie too.
        longest_burst: replies of a burst at most; few, so that the truth is heard within the minute.
        whole: share of lies that change the whole reply rather than one value.
    """

    seed: int
    rate: float = 0.07
    burst: float = 0.1
    longest_burst: int = 4
    whole: float = 0.3


class Liar:
    """The middleware.  The n-th reply of a run lies in the same way in every run with the same seed and requests."""

    def __init__(self, app: Any, plan: LiePlan, now: Callable[[], datetime], over: Callable[[], bool]) -> None:
        self._app = app
        self._plan = plan
        self._now = now
        self._over = over
        self._asked = self._in_burst = 0
        self._lock = threading.Lock()
        self._earlier: dict[str, deque[Reply]] = {}
        self._replies: deque[tuple[str, Reply]] = deque(maxlen=60)
        self._values: dict[str, deque[Any]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        """(lie, "METHOD /path: field") -> how often it was told."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        line = request_line(environ)
        reply = call(self._app, environ)
        length = next((int(value) for name, value in reply.headers if name.lower() == "content-length"), None)
        is_whole = length is None or length <= len(reply.body)
        reply.headers = [(name, value) for name, value in reply.headers if name.lower() != "date"]
        reply.headers.append(("Date", format_datetime(self._now().astimezone(UTC), usegmt=True)))
        with self._lock:
            chance = self._draw()
            if chance is not None and is_whole:
                told = self._lie(line, reply, chance)
                if told is not None:
                    lie, field, changed = told
                    self.counts[lie, f"{place_of(line)}{field}"] += 1
                    self._remember(line, reply)
                    return changed.send(start_response)
            if is_whole:
                self._remember(line, reply)
        return reply.send(start_response, None if is_whole else length)

    def _draw(self) -> random.Random | None:
        """The random stream of a lie; None if this reply is true."""
        self._asked += 1
        chance = random.Random(f"{self._plan.seed}:lie:{self._asked}")
        if self._over() or not self._plan.rate:
            return None
        if self._in_burst:
            self._in_burst -= 1
            return chance
        if chance.random() >= self._plan.rate:
            return None
        if chance.random() < self._plan.burst:
            self._in_burst = chance.randrange(1, self._plan.longest_burst)
        return chance

    def _remember(self, line: str, reply: Reply) -> None:
        if len(reply.body) > LONGEST_KEPT:
            return
        kept = Reply(reply.status, list(reply.headers), reply.body)
        key = _key(line)
        self._earlier.setdefault(key, deque(maxlen=6)).append(kept)
        self._replies.append((key, kept))
        while len(self._earlier) > 500:
            self._earlier.pop(next(iter(self._earlier)))

    def _lie(self, line: str, reply: Reply, chance: random.Random) -> tuple[str, str, Reply] | None:
        """The lie, the field, and the reply that is sent; None if nothing fits."""
        body = _parsed(reply.body)
        if body is not None and chance.random() >= self._plan.whole:
            for _ in range(4):
                told = self._field_lie(body, chance)
                if told is not None:
                    changed = Reply(reply.status, reply.headers, json.dumps(body).encode())
                    return told[0], f": {told[1]}", changed
        for lie in chance.sample(REPLY_LIES, len(REPLY_LIES)):
            changed_reply = self._reply_lie(lie, line, reply, _parsed(reply.body), chance)
            if changed_reply is not None:
                return lie, "", changed_reply
        return None

    # One value

    def _field_lie(self, body: Any, chance: random.Random) -> tuple[str, str] | None:
        """Change one value of a body in place; returns the lie and the field.  Each field is as likely as any other."""
        fields: dict[str, list[HOLDER]] = {}
        for field, holder in values_of(body, chance):
            fields.setdefault(field, []).append(holder)
            value = holder[0][holder[1]]
            if not isinstance(value, dict | list):
                self._values.setdefault(_leaf(field), deque(maxlen=40)).append(value)
        if not fields:
            return None
        field = chance.choice(sorted(fields))
        container, key = chance.choice(fields[field])
        lie = chance.choice(FIELD_LIES)
        if lie == "missing":
            del container[key]
            return lie, field
        known = [one for one in self._values.get(_leaf(field), ()) if one != container[key]]
        changed, value = false_value(lie, container[key], known, chance)
        if not changed:
            return None
        container[key] = value
        return lie, field

    # The whole reply

    def _reply_lie(self, lie: str, line: str, reply: Reply, body: Any, chance: random.Random) -> Reply | None:
        match lie:
            case "another request's reply":
                others = [one for key, one in self._replies if key != _key(line) and one.body != reply.body]
                return chance.choice(others) if others else None
            case "an earlier reply":
                earlier = [one for one in self._earlier.get(_key(line), ()) if one.body != reply.body]
                return chance.choice(earlier) if earlier else None
            case "truncated":
                cut = reply.body[: chance.randrange(len(reply.body))] if reply.body else None
                return None if cut is None else Reply(reply.status, reply.headers, cut)
            case "a proxy's page":
                status = chance.choice(PROXY_STATUSES)
                headers = [(name, value) for name, value in reply.headers if name.lower() == "date"]
                return Reply(f"{status} Proxy", [*headers, ("Content-Type", "text/html")], PAGE % (status, status))
            case "empty":
                nothing = b"[]" if isinstance(body, list) else b"{}"
                return None if body in (None, [], {}) else Reply(reply.status, reply.headers, nothing)
            case "date off" | "date missing" | "no date":
                return _other_date(lie, reply, chance, self._now())
        items = _items(body)
        if not items:
            return None
        if lie == "an item missing":
            del items[chance.randrange(len(items))]
        elif lie == "an item twice":
            items.append(chance.choice(items))
        elif len(items) > 1:
            chance.shuffle(items)
        else:
            return None
        return Reply(reply.status, reply.headers, json.dumps(body).encode())


def values_of(body: Any, chance: random.Random, field: str = "") -> Iterator[tuple[str, HOLDER]]:
    """Every value of a JSON document under the name of its field, as "bars.*[].c": `[]` for items, `*` for symbols."""
    if isinstance(body, dict):
        keys = [(key, f"{field}.{'*' if SYMBOL.fullmatch(key) else key}".lstrip(".")) for key in body]
    elif isinstance(body, list):
        keys = [(index, f"{field}[]") for index in range(len(body))]
    else:
        return
    for key, name in chance.sample(keys, SAMPLE) if len(keys) > SAMPLE else keys:
        yield name, (body, key)
        yield from values_of(body[key], chance, name)


def false_value(lie: str, value: Any, known: list[Any], chance: random.Random) -> tuple[bool, Any]:
    """Whether the lie fits a value, and what the value becomes.

    Args:
        known: other values that fields of this name had.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_text_number = isinstance(value, str) and NUMBER.fullmatch(value) is not None
    as_it_was: Callable[[Any], Any] = str if is_text_number else lambda number: number
    match lie:
        case "null":
            return value is not None, None
        case "zero":
            for kind, zero in ((bool, False), (str, "0" if is_text_number else ""), (list, []), (dict, {})):
                if isinstance(value, kind):
                    return value != zero, zero
            return True, 0
        case "other type":
            return True, _other_type(value)
        case "another item's" | "an earlier value":
            return bool(known), (chance.choice(known) if lie == "another item's" else known[0]) if known else None
        case "yesterday's":
            if not isinstance(value, str) or not INSTANT.fullmatch(value):
                return False, None
            return True, _earlier_instant(value, chance.choice((1, 1, 7, 365, -1)))
    if isinstance(value, bool):
        return lie == "negative", not value
    if not (is_number or is_text_number):
        return False, None
    number = float(value)
    if lie == "slipped":
        return bool(number), as_it_was(type(value)(number * chance.choice((10, 0.1, 100, 0.01, 2, 0.5))))
    if lie == "huge":
        return True, as_it_was(1_000_000_000_000 * chance.choice((1, 10**6, 10**300)))
    if lie == "not finite":
        return True, as_it_was(chance.choice((float("nan"), float("inf"), float("-inf"))))
    return True, as_it_was(-abs(type(value)(value) if is_number else number) or -1)


def _other_type(value: Any) -> Any:
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list):
        return {"0": value[0]} if value else "none"
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value) else [value]
    return "null" if value is None else str(value)


def _earlier_instant(text: str, days: int) -> str:
    day = datetime.fromisoformat(text[:10]) - timedelta(days=days)
    return day.date().isoformat() + text[10:]


def _other_date(lie: str, reply: Reply, chance: random.Random, now: datetime) -> Reply:
    headers = [(name, value) for name, value in reply.headers if name.lower() != "date"]
    if lie == "date off":
        seconds = chance.choice((-86400, -3600, -60, -31, 31, 60, 3600, 86400))
        headers.append(("Date", format_datetime((now + timedelta(seconds=seconds)).astimezone(UTC), usegmt=True)))
    elif lie == "no date":
        headers.append(("Date", chance.choice(("today", "Thu, 01 Jan 1970 00:00:00 GMT", "0", "Mon, 99 Foo 2025"))))
    else:
        headers.append(("Date", ""))
    return Reply(reply.status, headers, reply.body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def _items(body: Any) -> list[Any] | None:
    """The list that a reply is, or the longest that it holds."""
    if isinstance(body, list):
        return body
    lists = [one for value in (body.values() if isinstance(body, dict) else ()) for one in _lists(value)]
    return max(lists, key=len, default=None)


def _lists(value: Any) -> list[list[Any]]:
    if isinstance(value, dict):
        return [one for one in value.values() if isinstance(one, list)]
    return [value] if isinstance(value, list) else []


def _leaf(field: str) -> str:
    return field.rsplit(".", 1)[-1].replace("[]", "")


def _key(line: str) -> str:
    """Requests with one key are the same request: method and path, with the ids."""
    return re.split(r"[?{]", line, maxsplit=1)[0].strip()


def place_of(line: str) -> str:
    """A request without query, body, ids and symbols."""
    path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", _key(line))
    return re.sub(r"/[A-Z][A-Z0-9.]*(?=/|$)", lambda found: "/ID" if found[0] == "/ID" else "/SYMBOL", path)
