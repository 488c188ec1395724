"""How the exchange behaves beyond the rules: how often it fills in parts, how long it takes to answer for an order."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from paper_exchange.base.wire import MINUTE, Shares


@dataclass(frozen=True)
class Behaviour:
    """Options of an exchange; the defaults are an exchange that fills whole and does at once what it is asked to.

    `partial_fills` is the probability (0 to 1) that a fill is of a part only, as 0.1 is on Alpaca's paper exchange.
    `latency` is how many seconds an order, a cancel or a replacement stays pending (at most a minute).
    What is drawn depends on `seed`, the order and the bar, never on how often the exchange is asked.

    Raises:
        ValueError: a value out of its range.
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
        """Nanoseconds that a request about an order stays pending."""
        return round(self.latency * 10**9)

    def fill_qty(self, qty: Shares, sequence: int, bar: int) -> Shares:
        """How many of `qty` shares an order (by its sequence number) gets in a bar (by its start): at least one.

        What is no whole number of shares is filled at once.
        """
        if not self.partial_fills or qty < 2 or not isinstance(qty, int):
            return qty
        random = Random(f"{self.seed}:{sequence}:{bar // MINUTE}")
        return random.randint(1, qty - 1) if random.random() < self.partial_fills else qty
