"""The owner of the account, who trades beside the trader: own positions and orders, and orders in its way."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paper_exchange.exchange import PaperExchange

KEYS: Final = {"APCA-API-KEY-ID": "drill", "APCA-API-SECRET-KEY": "drill"}
NAME: Final = "owner-"
"""Prefix of the client_order_id of the owner's orders."""

FIRST_SHARES: Final = 7
EVERY: Final = timedelta(minutes=11)
"""Mean time between two actions in the owner's own stocks."""

LAST_ACTION: Final = timedelta(minutes=15)
"""Before the close; an order in a stock of the trader's is gone by `GONE_BY`, since nothing sells beside it."""

GONE_BY: Final = timedelta(minutes=10)
FAR_BELOW: Final = "0.5"
"""Limit of a buy order that never fills, dollars."""


@dataclass
class Owner:
    """Acts on the exchange itself, past all faults and lies, at instants that the seed gives.

    Args:
        own: the owner's stocks, in which the trader has no business.
        others: stocks in which the owner has an order now and then, never a position.
    """

    exchange: PaperExchange
    seed: int
    own: Sequence[str]
    others: Sequence[str]
    close: datetime
    orders: int = 0
    next_action: datetime | None = None
    resting: list[tuple[datetime, str]] = field(default_factory=list)
    """Until when an order rests, and its id."""

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed}:owner")

    def begin(self) -> None:
        """Buy the first shares of the own stocks."""
        for symbol in self.own:
            self._send(symbol, "buy", FIRST_SHARES)

    def act(self, now: datetime) -> None:
        """Do what is due at an instant of the exchange."""
        for until, order_id in [one for one in self.resting if one[0] <= now]:
            self.resting.remove((until, order_id))
            self._client.delete(f"/v2/orders/{order_id}", headers=KEYS)
        if self.next_action is None:
            self.next_action = now + self._pause()
        if now < self.next_action or now > self.close - LAST_ACTION or not self.own:
            return
        self.next_action = now + self._pause()
        match self._chance.randrange(4):
            case 0:
                self._send(self._chance.choice(self.own), "buy", self._chance.randrange(1, 4))
            case 1:
                self._send(self._chance.choice(self.own), "sell", 1)
            case 2:
                self._rest(self._chance.choice(self.own), now)
            case 3:
                self._rest(self._chance.choice(self.others), now)

    def _rest(self, symbol: str, now: datetime) -> None:
        order = self._send(symbol, "buy", 1, type="limit", limit_price=FAR_BELOW)
        if order is not None:
            minutes = self._chance.choice((1, 3, 10))
            self.resting.append((min(now + timedelta(minutes=minutes), self.close - GONE_BY), order["id"]))

    def _send(self, symbol: str, side: str, qty: int, **more: str) -> dict[str, Any] | None:
        self.orders += 1
        name = f"{NAME}{self.orders}"
        order = {"symbol": symbol, "qty": str(qty), "side": side, "type": "market", "time_in_force": "day"}
        reply = self._client.post("/v2/orders", json=order | {"client_order_id": name} | more, headers=KEYS)
        return reply.get_json() if reply.status_code == 200 else None

    @property
    def _client(self) -> Any:
        return self.exchange.app.test_client()

    def _pause(self) -> timedelta:
        return EVERY * self._chance.uniform(0.3, 1.7)
