"""Behaviour of the exchange beyond the rules: partial fills and latency."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from paper_exchange.base.wire import MINUTE, Shares


@dataclass(frozen=True)
class Behaviour:
    """Options of an exchange; by default it fills whole orders and executes requests at once.

    `partial_fills` is the probability (0 to 1) that a fill is partial; it is 0.1 on Alpaca's paper exchange.
    `latency` is how many seconds an order, a cancel or a replacement stays pending (at most 60).
    Random draws depend on `seed`, the order and the bar, not on how often the exchange is called.

    Raises:
        ValueError: a value is out of range.
    """

    partial_fills: float = 0.0
    latency: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.partial_fills <= 1:
            raise ValueError(f"partial_fills={self.partial_fills} is not a probability; give a number from 0 to 1")
        if not 0 <= self.latency <= 60:
            raise ValueError(f"latency={self.latency} is outside 0 to 60 seconds; give a number between them")

    @property
    def delay_ns(self) -> int:
        """The latency in nanoseconds."""
        return round(self.latency * 10**9)

    def fill_qty(self, qty: Shares, sequence: int, bar: int) -> Shares:
        """How many of `qty` shares an order (by sequence number) fills in a bar (by its start): at least one.

        Fractional quantities always fill whole.
        """
        if not self.partial_fills or qty < 2 or not isinstance(qty, int):
            return qty
        random = Random(f"{self.seed}:{sequence}:{bar // MINUTE}")
        return random.randint(1, qty - 1) if random.random() < self.partial_fills else qty
