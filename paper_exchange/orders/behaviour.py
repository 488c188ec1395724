"""What an exchange does beyond the rules of matching: one table of behaviours, with presets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from paper_exchange.base.wire import MINUTE, Shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paper_exchange.orders.order import Fill

BEHAVIOURS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "partial_fill": "a fill takes only a part of the shares; size: the largest part, as a fraction",
        "pending_new": "an order is pending_new before it is new; size: seconds",
        "pending_cancel": "a cancel is pending inside the order's session; size: seconds",
        "cancel_until_open": "a cancel outside the order's session is pending until that session opens",
        "pending_replace": "a replacement is pending; size: seconds",
        "position_lag": "GET positions shows a fill late (the books have it at once); size: seconds",
        "stop_slippage": "a stop that is reached trades a moment later, at the price of that moment; size: seconds",
        "stop_beyond": "a stop that fires in a fast move fills where that move goes a moment later; size: seconds",
        "stop_replaced": "the stop leg that fires ends replaced, and a new market order in its place fills",
        "target_replaced": "the target leg ends replaced, not canceled, when the stop leg fills",
        "legs_abandoned": "once a target leg is filled in part, neither leg of its group fires again",
    }
)
"""The behaviours by name.  Each has a probability; some have a size."""

LONGEST: Final = 60.0
"""Seconds that a pending request or a position may lag at most."""


@dataclass(frozen=True)
class Chance:
    """One row of the table: the probability of a behaviour (0 to 1), and its size between `least` and `most`.

    Sizes are drawn log-uniformly, so that milliseconds are as likely as seconds; without `least` each is `most`.
    """

    probability: float = 0.0
    most: float = 0.0
    least: float | None = None

    def size(self, random: Random) -> float:
        """A size drawn from a random stream."""
        least = self.most if self.least is None else self.least
        return least * (self.most / least) ** random.random() if least else self.most


NEVER: Final = Chance()
CALM: Final[Mapping[str, Chance]] = MappingProxyType(dict.fromkeys(BEHAVIOURS, NEVER))

PRESETS: Final[Mapping[str, Mapping[str, Chance]]] = MappingProxyType(
    {
        "calm": CALM,
        "mild": MappingProxyType(
            {
                "partial_fill": Chance(0.1, 1.0),
                "pending_new": Chance(1.0, 0.25, 0.009),
                "pending_cancel": Chance(0.5, 3.0, 0.02),
                "cancel_until_open": Chance(0.5),
                "pending_replace": Chance(0.5, 1.0, 0.02),
                "position_lag": Chance(0.2, 3.0, 0.1),
                "stop_slippage": Chance(1.0, 0.25, 0.009),
                "stop_beyond": Chance(0.5, 20.0, 1.0),
                "stop_replaced": Chance(0.2),
                "target_replaced": Chance(0.2),
                "legs_abandoned": Chance(0.1),
            }
        ),
        "drill": MappingProxyType(
            {
                "partial_fill": Chance(0.25, 1.0),
                "pending_new": Chance(1.0, 2.0, 0.009),
                "pending_cancel": Chance(0.8, 20.0, 0.02),
                "cancel_until_open": Chance(1.0),
                "pending_replace": Chance(0.8, 5.0, 0.02),
                "position_lag": Chance(0.6, 10.0, 0.5),
                "stop_slippage": Chance(1.0, 2.0, 0.009),
                "stop_beyond": Chance(1.0, 60.0, 2.0),
                "stop_replaced": Chance(0.5),
                "target_replaced": Chance(0.5),
                "legs_abandoned": Chance(0.5),
            }
        ),
    }
)
"""Tables by name: `calm` does nothing, `mild` is an ordinary day on a paper account, `drill` a bad one."""


@dataclass(frozen=True)
class Behaviour:
    """The behaviours of one exchange; by default it fills whole orders and executes requests at once.

    Every draw depends on `seed`, the behaviour and the order (of a fill: also on which of the order's fills it is),
    never on how often the exchange is called.

    Args:
        partial_fills: The probability of `partial_fill`, in place of the table's; 0.1 on Alpaca's paper exchange.
        latency: How many seconds every order, cancel and replacement stays pending, in place of the table's.
        seed: The seed of all draws.
        table: A row for each behaviour; a missing one never occurs.

    Raises:
        ValueError: a value is out of range.
    """

    partial_fills: float | None = None
    latency: float | None = None
    seed: int = 0
    table: Mapping[str, Chance] = field(default_factory=lambda: CALM)

    def __post_init__(self) -> None:
        if self.partial_fills is not None and not 0 <= self.partial_fills <= 1:
            raise ValueError(f"partial_fills={self.partial_fills} is not a probability; give a number from 0 to 1")
        if self.latency is not None and not 0 <= self.latency <= LONGEST:
            raise ValueError(f"latency={self.latency} is outside 0 to 60 seconds; give a number between them")
        rows = dict(self.table)
        if self.partial_fills is not None:
            rows["partial_fill"] = Chance(self.partial_fills, 1.0)
        if self.latency is not None:
            pending = Chance(1.0 if self.latency else 0.0, self.latency)
            rows |= dict.fromkeys(("pending_new", "pending_cancel", "pending_replace"), pending)
        for name, row in rows.items():
            _check(name, row)
        object.__setattr__(self, "table", MappingProxyType({**CALM, **rows}))

    def draw(self, name: str, *of: object) -> float | None:
        """The size with which a behaviour occurs for an order and what else identifies the draw; None if it does not.

        Args:
            name: One of `BEHAVIOURS`.
            of: The order's sequence number first.
        """
        row = self.table[name]
        if not row.probability:
            return None
        random = Random(":".join(map(str, (self.seed, name, *of))))
        return row.size(random) if random.random() < row.probability else None

    def occurs(self, name: str, *of: object) -> bool:
        """Whether a behaviour occurs; arguments as for `draw`."""
        return self.draw(name, *of) is not None

    def delay(self, name: str, sequence: int) -> int:
        """How long a request about an order stays pending, in ns; 0 if it is executed at once."""
        return round((self.draw(name, sequence) or 0.0) * 10**9)

    def fill_qty(self, qty: Shares, sequence: int, filled: Shares, bar: int) -> Shares:
        """How many of `qty` more shares an order fills at once: at least one.  Fractional quantities fill whole.

        Args:
            qty: What is left of the order.
            sequence: Its sequence number.
            filled: What it has filled before.
            bar: The start of the minute (ns since the epoch).
        """
        row = self.table["partial_fill"]
        if not row.probability or qty < 2 or not isinstance(qty, int):
            return qty
        random = Random(f"{self.seed}:{sequence}:{bar // MINUTE}" + (f":{filled}" if filled else ""))
        part = random.randint(1, max(1, int((qty - 1) * row.most)))
        return part if random.random() < row.probability else qty

    def is_shown(self, fill: Fill, sequence: int, now: int) -> bool:
        """Whether GET positions shows a fill of an order (by sequence number) at an instant (ns since the epoch)."""
        return now >= fill.at + round((self.draw("position_lag", sequence, fill.cumulative) or 0.0) * 10**9)

    @property
    def longest_lag(self) -> int:
        """How long a position can lag a fill, in ns; 0 if none does."""
        row = self.table["position_lag"]
        return round(row.most * 10**9) if row.probability else 0

    def account_state(self, instant: int) -> str:
        """What is wrong with the account at an instant (ns since the epoch): a name of `account.checks.STATES`."""
        return ""


def _check(name: str, row: Chance) -> None:
    """ValueError for a row that is out of range."""
    if name not in BEHAVIOURS:
        raise ValueError(f"{name}: no such behaviour; choose from {', '.join(BEHAVIOURS)}")
    if not 0 <= row.probability <= 1:
        raise ValueError(f"{name}={row.probability} is not a probability; give a number from 0 to 1")
    longest = 1.0 if name == "partial_fill" else LONGEST
    least = row.most if row.least is None else row.least
    if not 0 <= least <= row.most <= longest:
        raise ValueError(f"{name}: size {least:g} to {row.most:g} is outside 0 to {longest:g}; give one within it")


def table_of(text: str) -> Mapping[str, Chance]:
    """The table that a text names: a preset, then rows in place of its own ("mild,position_lag=0.5:8,pending_new=0").

    A row is NAME=PROBABILITY or NAME=PROBABILITY:SIZE; without a size it keeps the preset's.

    Raises:
        ValueError: there is no such preset or behaviour, or a value is no number within its bounds.
    """
    preset, *changes = (part.strip() for part in text.split(","))
    if preset not in PRESETS:
        raise ValueError(f"{preset!r} is no preset; choose {', '.join(PRESETS)}")
    rows = dict(PRESETS[preset])
    for change in changes:
        name, _, value = change.partition("=")
        probability, _, size = value.partition(":")
        if name not in BEHAVIOURS:
            raise ValueError(f"{name!r} is no behaviour; choose from {', '.join(BEHAVIOURS)}")
        try:
            chance = _number(probability)
            row = Chance(chance, _number(size)) if size else Chance(chance, *_size(rows[name]))
        except ValueError:
            raise ValueError(f"{change!r}: write NAME=PROBABILITY or NAME=PROBABILITY:SIZE") from None
        _check(name, row)
        rows[name] = row
    return rows


def _number(text: str) -> float:
    """A number in ASCII digits; raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15}", text):
        raise ValueError(text)
    return float(text)


def _size(row: Chance) -> tuple[float, float | None]:
    return row.most, row.least
