"""Fault plans: which requests, stocks or messages go wrong, and how; seeded, and described in JSON.

    {"seed": 7, "rules": [{"fault": "reset_after", "on": "^POST /v2/orders", "rate": 0.2},
                          {"fault": "halt", "rate": 0.1, "start": "15:30"}]}

A rule for requests applies to every request that `on` matches (a regular expression over
"METHOD /path?query body"), between `start` and `until` on the exchange's New York clock, at most `most` times; the
first rule that is drawn wins.  Rules for the market apply to every stock in every session, rules for the account to
every session.  The n-th draw of a rule is the same in every run with the same seed.  `faults.server` executes the plan.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from paper_exchange.base.wire import JsonObject

BEFORE: Final[dict[str, str]] = {
    "delay_before": "held for `seconds` before it is executed: an order arrives after its sender gave up",
    "reset_before": "connection reset; not executed",
    "429": "too many requests; not executed",
    "500": "internal server error; not executed",
    "502": "bad gateway, an HTML page; not executed",
    "503": "service unavailable, an HTML page; not executed",
}
"""Faults that occur before the request reaches the exchange."""

AFTER: Final[dict[str, str]] = {
    "delay": "executed at once, answered `seconds` later: beyond the client's time-out",
    "reset_after": "executed; connection reset instead of a reply",
    "504": "executed; gateway time-out, an HTML page",
    "cut_off": "executed; the connection ends in the middle of the body",
    "truncated": "executed; the JSON ends in the middle, with a matching Content-Length",
    "html": "executed; an HTML page with status 200",
    "null": "executed; null where a list belongs",
    "unknown_status": "executed; an undocumented order status",
    "stale_positions": "positions lag every fill by `seconds`",
    "stale_orders": "orders that filled within the last `seconds` appear unfilled, unlike the positions",
    "data_stops": "no bars that began after `start`",
    "wrong_clock": "the clock is off by `seconds`, and with it whether the market is open",
}
"""Faults of the reply; the request itself has been executed."""

MARKET: Final[dict[str, str]] = {
    "halt": "a stock does not trade from a random minute after `start` to the close",
    "stuck": "an order fills one share and no more until `until`",
    "gap": "a stock's price jumps by `size` (negative: down) at a random minute between `start` and `until`",
}
"""Faults of the market: `rate` is the share of stocks (for `stuck`: of orders) affected in a session."""

ACCOUNT: Final[dict[str, str]] = {
    "paper_only": "the account's status is PAPER_ONLY; it trades all the same",
    "account_limited": "the account's status is LIMITED, and new orders are refused",
    "trading_blocked": "`trading_blocked`: new orders are refused",
    "account_blocked": "`account_blocked`: new orders, replacements and cancels are refused",
}
"""States of the account: `rate` is the share of sessions affected, from `start` to `until`, or for `seconds` from a
random moment between them."""

STREAM: Final[dict[str, str]] = {
    "event_twice": "a stream's message comes twice",
    "event_late": "a message comes after its successor",
    "event_lost": "a message never comes",
    "silent": "the stream stays open but sends nothing for `seconds`",
    "dropped": "every connection of the stream is cut instead of a message",
}
"""Faults of a stream's messages: `on` is matched against "EVENT kind SYMBOL" ("EVENT fill AAPL", "EVENT bar AAPL")."""

SECONDS: Final[dict[str, float]] = {"stale_positions": 10.0, "stale_orders": 10.0, "wrong_clock": 420.0}
DELAY_SECONDS: Final = 20.0
MOST_SECONDS: Final = 86_400
MOST_BYTES: Final = 1 << 20
KINDS: Final = {"rate": "a number", "seconds": "a number", "size": "a number", "most": "a whole number"}
"""Fields of a rule that are no text, and what they are."""


REMEDY: Final = "name a JSON file of a fault plan, or give a whole number, the seed of a storm"


class PlanError(ValueError):
    """A plan that cannot be used; the message names the rule, the field and the value."""


@dataclass(frozen=True)
class Rule:
    """One kind of fault.  `rate` is a probability; `seconds` is exchange or real time, depending on the fault."""

    fault: str
    rate: float = 1.0
    on: str = ""
    start: str | None = None
    until: str | None = None
    most: int | None = None
    seconds: float | None = None
    size: float = -0.10

    def __post_init__(self) -> None:
        known = [*BEFORE, *AFTER, *MARKET, *ACCOUNT, *STREAM]
        if self.fault not in known:
            raise PlanError(f"fault={self.fault!r}: unknown; choose from {', '.join(known)}")
        if not 0.0 <= self.rate <= 1.0:
            raise PlanError(f"{self.fault}: rate={self.rate!r}: give a probability from 0 to 1")
        if self.seconds is not None and not 0.0 <= self.seconds <= MOST_SECONDS:
            raise PlanError(f"{self.fault}: seconds={self.seconds!r}: give a number from 0 to {MOST_SECONDS}")
        if not -0.95 <= self.size <= 10.0:
            raise PlanError(f"{self.fault}: size={self.size!r}: give a fraction from -0.95 to 10")
        for name in ("start", "until"):
            _clock_time(getattr(self, name), f"{self.fault}: {name}")
        try:
            re.compile(self.on)
        except re.error as error:
            raise PlanError(f"{self.fault}: on={self.on!r}: not a regular expression ({error})") from None

    @property
    def duration(self) -> float:
        """The rule's seconds, or the fault's default."""
        return SECONDS.get(self.fault, DELAY_SECONDS) if self.seconds is None else self.seconds

    def covers(self, at: time) -> bool:
        """Whether the rule applies at a New York time of day."""
        start, until = _clock_time(self.start, "start"), _clock_time(self.until, "until")
        return (start is None or at >= start) and (until is None or at < until)


def _clock_time(text: str | None, what: str) -> time | None:
    try:
        return None if text is None else time.fromisoformat(text)
    except (ValueError, TypeError):
        raise PlanError(f"{what}={text!r}: write a New York time as 15:30") from None


def _in_window(rule: Rule, chance: random.Random, at: datetime) -> bool:
    """Whether an instant lies in the rule's drawn window; without `seconds` that is all of its times."""
    if rule.seconds is None:
        return True
    start = _clock_time(rule.start, "start") or time(0)
    until = _clock_time(rule.until, "until") or time(23, 59, 59)
    first, last = (datetime.combine(at.date(), one, at.tzinfo) for one in (start, until))
    begin = first + max(timedelta(0), last - first - timedelta(seconds=rule.seconds)) * chance.random()
    return begin <= at < begin + timedelta(seconds=rule.seconds)


class FaultPlan:
    """What goes wrong, and how often it did.  Thread-safe.

    Attributes:
        counts: (fault, "METHOD /path without ids") -> the number of occurrences.
        requests: The number of requests drawn for.
    """

    def __init__(self, seed: int, rules: Sequence[Rule]) -> None:
        self.seed = seed
        self.rules = tuple(rules)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.requests = 0
        self._asked: Counter[tuple[int, str]] = Counter()
        self._hits: Counter[int] = Counter()
        self._patterns = [re.compile(rule.on) for rule in self.rules]
        self._lock = threading.Lock()

    def draw(self, line: str, at: time) -> Rule | None:
        """Draw the fault of a request, or None.

        Args:
            line: "METHOD /path?query body".
            at: The exchange's New York time of day.
        """
        self.requests += 1
        return self._draw(line, at, {*BEFORE, *AFTER})

    def draw_event(self, name: str, at: time, stream: str = "") -> Rule | None:
        """Draw the fault of a stream's message ("fill AAPL"), or None; each stream is drawn independently."""
        return self._draw(f"EVENT {name}", at, {*STREAM}, stream)

    def _draw(self, line: str, at: time, among: set[str], stream: str = "") -> Rule | None:
        with self._lock:
            for number, rule in enumerate(self.rules):
                if rule.fault not in among or not self._patterns[number].search(line) or not rule.covers(at):
                    continue
                if rule.most is not None and self._hits[number] >= rule.most:
                    continue
                self._asked[number, stream] += 1
                question = f"{stream} {self._asked[number, stream]}".strip()
                if self.random(number, question).random() < rule.rate:
                    self._hits[number] += 1
                    self.counts[rule.fault, kind_of(line)] += 1
                    return rule
        return None

    def market_faults(self, symbol: str, session: str) -> list[tuple[Rule, random.Random]]:
        """The rules that affect a stock in a session, each with its own random stream."""
        found = []
        for number, rule in enumerate(self.rules):
            if rule.fault in ("halt", "gap") and (not rule.on or re.search(rule.on, symbol)):
                chance = self.random(number, f"{symbol}:{session}")
                if chance.random() < rule.rate:
                    found.append((rule, chance))
        return found

    def stuck(self, sequence: int, at: time) -> bool:
        """Whether an order (by sequence number) fills no more than its first share at a New York time of day."""
        return any(
            rule.fault == "stuck" and rule.covers(at) and self.random(number, f"order {sequence}").random() < rule.rate
            for number, rule in enumerate(self.rules)
        )

    def account_state(self, at: datetime) -> str:
        """The fault of the account at a New York instant; empty if there is none.  The first rule wins."""
        for number, rule in enumerate(self.rules):
            if rule.fault in ACCOUNT and rule.covers(at.time()):
                chance = self.random(number, f"account {at.date()}")
                if chance.random() < rule.rate and _in_window(rule, chance, at):
                    return rule.fault
        return ""

    def random(self, number: int, question: int | str) -> random.Random:
        """The random stream of one draw of one rule."""
        return random.Random(f"{self.seed}:{number}:{question}")

    @property
    def total(self) -> int:
        """The number of request faults so far."""
        return sum(self.counts.values()) - self.events

    @property
    def events(self) -> int:
        """The number of message faults so far."""
        return sum(count for (_, line), count in self.counts.items() if line.startswith("EVENT"))

    def to_json(self) -> JsonObject:
        """The JSON object that `from_json` parses."""
        defaults = {field.name: field.default for field in fields(Rule)}
        rules = [{k: v for k, v in asdict(rule).items() if k == "fault" or v != defaults[k]} for rule in self.rules]
        return {"seed": self.seed, "rules": rules}

    @classmethod
    def from_json(cls, record: object) -> FaultPlan:
        """The plan of a JSON document.

        Raises:
            PlanError: it is not a plan; the message names the field and the value.
        """
        if not isinstance(record, Mapping) or not isinstance(record.get("rules"), list):
            raise PlanError('a plan is {"seed": 7, "rules": [{"fault": "reset_after", "rate": 0.1}, ...]}')
        seed = record.get("seed", 1)
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise PlanError(f"seed={seed!r}: give a whole number")
        known = {field.name for field in fields(Rule)}
        rules = []
        for number, given in enumerate(record["rules"], 1):
            if not isinstance(given, Mapping) or "fault" not in given:
                raise PlanError(f"rule {number}: the fault is missing; name one")
            unknown = sorted(set(given) - known)
            if unknown:
                raise PlanError(f"rule {number}: {unknown[0]} is not a field; choose from {', '.join(sorted(known))}")
            for name, value in given.items():
                _check_kind(f"rule {number}: {name}", value, KINDS.get(name, "a text"))
            rules.append(Rule(**given))
        return cls(seed, rules)

    @classmethod
    def load(cls, text: str) -> FaultPlan:
        """The plan named on a command line: a whole number (the seed of `storm`) or a JSON file.

        Raises:
            PlanError: it is neither.
        """
        if re.fullmatch(r"[0-9]{1,30}", text):
            return storm(int(text))
        try:
            return cls.from_json(json.loads(_content(text)))
        except OSError as error:
            raise PlanError(f"{text}: {error.strerror}; {REMEDY}") from None
        except UnicodeDecodeError:
            raise PlanError(f"{text}: not a text in UTF-8; {REMEDY}") from None
        except (json.JSONDecodeError, RecursionError) as error:
            raise PlanError(f"{text}: not JSON ({error}); {REMEDY}") from None
        except ValueError as error:
            raise PlanError(f"{text}: {error}") from None


def _content(path: str) -> str:
    """The text of a fault plan.

    Raises:
        PlanError: it is not a file, or longer than a plan can be.
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would wait for its writer
        raise PlanError(f"not a file; {REMEDY}")
    with open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise PlanError(f"longer than {MOST_BYTES} bytes; {REMEDY}")
    return content.decode("utf-8-sig")


def _check_kind(what: str, value: object, kind: str) -> None:
    """PlanError for a value of a rule that is not of its kind."""
    if kind == "a text":
        right = isinstance(value, str)
    else:
        right = isinstance(value, int if kind == "a whole number" else (int, float)) and not isinstance(value, bool)
    if not right and value is not None:
        raise PlanError(f"{what}={value!r}: give {kind}")


ORDERS: Final = " /v2/orders"


def storm(seed: int, rate: float = 0.10) -> FaultPlan:
    """All faults at once: about `rate` of all requests and messages go wrong, and some stocks halt or gap.

    Orders get the worst fault most often: executed, but not answered.
    """
    anywhere = (
        "delay",
        "429",
        "500",
        "502",
        "503",
        "504",
        "reset_before",
        "reset_after",
        "truncated",
        "cut_off",
        "html",
    )
    each = rate / (len(anywhere) + 1)
    writes = "^(POST|PATCH|DELETE)" + ORDERS
    rules = [
        Rule("reset_after", min(1.0, 0.5 * rate), writes),
        Rule("504", min(1.0, 0.4 * rate), writes),
        Rule("delay_before", min(1.0, 0.4 * rate), writes),
        *(Rule(fault, each) for fault in anywhere),
        Rule("null", each, "^(GET|POST)"),
        Rule("unknown_status", 2 * each, ORDERS),
        Rule("stale_positions", 4 * each, "^GET /v2/positions"),
        Rule("stale_orders", 2 * each, "^GET" + ORDERS),
        Rule("wrong_clock", each, "^GET /v[23]/clock"),
        Rule("data_stops", 1.0, "/bars", start="10:40", until="10:50"),
        Rule("halt", 0.06, start="10:30"),
        Rule("stuck", 0.10, until="12:45"),
        Rule("gap", 0.10, start="09:50", until="15:50"),
        *(Rule(fault, rate / 3) for fault in ("event_twice", "event_late", "event_lost")),
        Rule("silent", rate / 10),
        Rule("dropped", rate / 10),
        Rule("paper_only", 0.5, start="09:35", until="15:00", seconds=600.0),
        *(
            Rule(fault, 0.3, start="09:35", until="15:50", seconds=45.0)
            for fault in ("account_limited", "trading_blocked", "account_blocked")
        ),
    ]
    return FaultPlan(seed, rules)


def kind_of(line: str) -> str:
    """A request line without query, body and ids: "GET /v2/orders/ID"."""
    method, _, rest = line.partition(" ")
    path = re.split(r"[ ?]", rest, maxsplit=1)[0]
    path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", path)
    return f"{method} {path}"
