"""Faults on demand: which request, or which stock, is to go wrong, and how.  Drawn from a seed, described in JSON.

    {"seed": 7, "rules": [{"fault": "reset_after", "on": "^POST /v2/orders", "rate": 0.2},
                          {"fault": "halt", "rate": 0.1, "start": "15:30"}]}

A rule of a request fault is asked about every request that `on` matches (a regular expression over
"METHOD /path?query body"), between `start` and `until` on the exchange's New York clock, at most `most` times; the
first rule that says yes wins.  Rules of the market are asked about every stock in every session.  The n-th question
to a rule has the same answer in every run of the same seed.  `fault_server` does what is drawn here.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from paper_exchange.base.wire import JsonObject

BEFORE: Final[dict[str, str]] = {
    "delay_before": "held for `seconds` before it is taken: an order arrives after its sender gave up",
    "reset_before": "connection reset; nothing was taken",
    "429": "too many requests; nothing was taken",
    "500": "internal server error; nothing was taken",
    "502": "bad gateway, an HTML page; nothing was taken",
    "503": "service unavailable, an HTML page; nothing was taken",
}
"""Faults that come before the request reaches the exchange."""

AFTER: Final[dict[str, str]] = {
    "delay": "taken at once, answered `seconds` later: beyond the client's time-out",
    "reset_after": "taken; connection reset instead of an answer",
    "504": "taken; gateway time-out, an HTML page",
    "cut_off": "taken; the connection ends in the middle of the body",
    "truncated": "taken; the JSON ends in the middle, and the length agrees with that",
    "html": "taken; an HTML page with status 200",
    "null": "taken; null where a list belongs",
    "unknown_status": "taken; an order status that no description knows",
    "stale_positions": "positions as they were `seconds` ago, for `seconds` after every fill",
    "stale_orders": "orders that filled within `seconds` are shown as not filled: they disagree with the positions",
    "data_stops": "no bar that began after `start`",
    "wrong_clock": "the clock is wrong by `seconds`, and so is whether the market is open",
}
"""Faults of the answer: whatever was asked has been done."""

MARKET: Final[dict[str, str]] = {
    "halt": "a stock does not trade from `start` (a minute drawn after it) through the close",
    "stuck": "an order gets one share, and no more until `until`: a partial fill with no end",
    "gap": "a stock's price jumps by `size` (negative: down) at a minute drawn between `start` and `until`",
}
"""Faults of the market: `rate` is the share of stocks (of orders: `stuck`) that are hit in a session."""

STREAM: Final[dict[str, str]] = {
    "event_twice": "a stream's message comes twice",
    "event_late": "a message comes after the one that followed it",
    "event_lost": "a message never comes",
    "silent": "nothing comes on the stream for `seconds`, though it stays open",
    "dropped": "every connection of the stream is cut in the place of a message",
}
"""Faults of a stream's messages: `on` is matched against "EVENT kind SYMBOL" ("EVENT fill AAPL", "EVENT bar AAPL")."""

SECONDS: Final[dict[str, float]] = {"stale_positions": 10.0, "stale_orders": 10.0, "wrong_clock": 420.0}
DELAY_SECONDS: Final = 20.0


class PlanError(ValueError):
    """A plan that cannot be used; the message names the rule, the field and the value."""


@dataclass(frozen=True)
class Rule:
    """One kind of fault.  `rate` is a probability; `seconds` is exchange or wall time, as the fault has it."""

    fault: str
    rate: float = 1.0
    on: str = ""
    start: str | None = None
    until: str | None = None
    most: int | None = None
    seconds: float | None = None
    size: float = -0.10

    def __post_init__(self) -> None:
        known = [*BEFORE, *AFTER, *MARKET, *STREAM]
        if self.fault not in known:
            raise PlanError(f"fault={self.fault!r}: not known; choose from {', '.join(known)}")
        if not 0.0 <= self.rate <= 1.0:
            raise PlanError(f"{self.fault}: rate={self.rate!r}: a probability from 0 to 1 is wanted")
        if not -0.95 <= self.size <= 10.0:
            raise PlanError(f"{self.fault}: size={self.size!r}: a fraction from -0.95 to 10 is wanted")
        for name in ("start", "until"):
            _clock_time(getattr(self, name), f"{self.fault}: {name}")
        try:
            re.compile(self.on)
        except re.error as error:
            raise PlanError(f"{self.fault}: on={self.on!r}: no regular expression ({error})") from None

    @property
    def duration(self) -> float:
        """Seconds of the fault, its own or the usual."""
        return SECONDS.get(self.fault, DELAY_SECONDS) if self.seconds is None else self.seconds

    def covers(self, at: time) -> bool:
        """Whether the rule holds at a New York wall time."""
        start, until = _clock_time(self.start, "start"), _clock_time(self.until, "until")
        return (start is None or at >= start) and (until is None or at < until)


def _clock_time(text: str | None, what: str) -> time | None:
    try:
        return None if text is None else time.fromisoformat(text)
    except (ValueError, TypeError):
        raise PlanError(f"{what}={text!r}: write a New York time as 15:30") from None


class FaultPlan:
    """What goes wrong, and a count of what did.  Safe to share between threads.

    Attributes:
        counts: (fault, "METHOD /path with the ids left out") -> how often it was drawn.
        requests: how many requests were asked about.
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
        """The fault of a request, or None.

        Args:
            line: "METHOD /path?query body".
            at: the exchange's New York wall time.
        """
        self.requests += 1
        return self._draw(line, at, {*BEFORE, *AFTER})

    def draw_event(self, name: str, at: time, stream: str = "") -> Rule | None:
        """The fault of a stream's message ("fill AAPL", "bar AAPL"), or None; each stream has its own chance."""
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
        """What happens to a stock in a session: the rules that hit it, each with its own stream of chance."""
        found = []
        for number, rule in enumerate(self.rules):
            if rule.fault in ("halt", "gap") and (not rule.on or re.search(rule.on, symbol)):
                chance = self.random(number, f"{symbol}:{session}")
                if chance.random() < rule.rate:
                    found.append((rule, chance))
        return found

    def stuck(self, sequence: int, at: time) -> bool:
        """Whether an order (by its sequence number) gets no more than its first share at a New York wall time."""
        return any(
            rule.fault == "stuck" and rule.covers(at) and self.random(number, f"order {sequence}").random() < rule.rate
            for number, rule in enumerate(self.rules)
        )

    def random(self, number: int, question: int | str) -> random.Random:
        """The stream of chance of one question to one rule."""
        return random.Random(f"{self.seed}:{number}:{question}")

    @property
    def total(self) -> int:
        """Faults of requests so far."""
        return sum(self.counts.values()) - self.events

    @property
    def events(self) -> int:
        """Faults of the streams' messages so far."""
        return sum(count for (_, line), count in self.counts.items() if line.startswith("EVENT"))

    def to_json(self) -> JsonObject:
        """As `from_json` takes it."""
        defaults = {field.name: field.default for field in fields(Rule)}
        rules = [{k: v for k, v in asdict(rule).items() if k == "fault" or v != defaults[k]} for rule in self.rules]
        return {"seed": self.seed, "rules": rules}

    @classmethod
    def from_json(cls, record: object) -> FaultPlan:
        """The plan of a JSON document.

        Raises:
            PlanError: it is none; the message names what is wrong.
        """
        if not isinstance(record, Mapping) or not isinstance(record.get("rules"), list):
            raise PlanError('a plan is {"seed": 7, "rules": [{"fault": "reset_after", "rate": 0.1}, ...]}')
        seed = record.get("seed", 1)
        if not isinstance(seed, int):
            raise PlanError(f"seed={seed!r}: a whole number is wanted")
        known = {field.name for field in fields(Rule)}
        rules = []
        for number, given in enumerate(record["rules"], 1):
            if not isinstance(given, Mapping) or "fault" not in given:
                raise PlanError(f"rule {number}: it names no fault")
            unknown = sorted(set(given) - known)
            if unknown:
                raise PlanError(f"rule {number}: {unknown[0]} is no field; choose from {', '.join(sorted(known))}")
            try:
                rules.append(Rule(**given))
            except TypeError as error:
                raise PlanError(f"rule {number}: {error}") from None
        return cls(seed, rules)

    @classmethod
    def load(cls, text: str) -> FaultPlan:
        """The plan that a command line names: a whole number (the seed of `storm`) or a JSON file.

        Raises:
            PlanError: it is neither.
        """
        if text.isdigit():
            return storm(int(text))
        try:
            with open(text, encoding="utf-8") as file:
                return cls.from_json(json.load(file))
        except (OSError, ValueError) as error:
            raise PlanError(f"{text}: {error}") from None


ORDERS: Final = " /v2/orders"


def storm(seed: int, rate: float = 0.10) -> FaultPlan:
    """Everything at once: about `rate` of all requests and messages go wrong, and some stocks halt or gap.

    The likeliest fault of an order is the worst: taken, and not answered.
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
    ]
    return FaultPlan(seed, rules)


def kind_of(line: str) -> str:
    """The request without query, body and ids: "GET /v2/orders/ID"."""
    method, _, rest = line.partition(" ")
    path = re.split(r"[ ?]", rest, maxsplit=1)[0]
    path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", path)
    return f"{method} {path}"
