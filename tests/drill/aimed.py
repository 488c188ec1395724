"""Aimed trouble: what random lies and faults rarely hit, in short sessions in process.

    python -m tests.drill.embedded --aim stop-lost --runs 10 --seed 1

An aim acts on the exchange's own orders before each minute, or changes replies for up to `LASTS`, in lists and single
replies alike.  A lie that lasts is never told for longer than a minute: until then, nothing that it shows is believed.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from paper_exchange.base.wire import to_ns
from paper_exchange.base.wsgi import Reply, call
from paper_exchange.faults.server import request_line
from trading.broker.messages import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from paper_exchange.exchange import PaperExchange
    from paper_exchange.orders.order import Order

AIMS: Final = ("stop-lost", "orders-left", "swapped", "contradictory")
RATE: Final = 0.3
"""Probability that an aim acts on a stock in a minute."""

LASTS: Final = timedelta(seconds=50)
SAID_WITHIN: Final = timedelta(seconds=60)
"""After a lie that lasts began to be told, the audit says something about the stock."""


@dataclass
class Told:
    """A lie about one order that lasts: since and until when, and how many replies told it."""

    order: Order
    since: datetime
    until: datetime
    replies: int = 0


@dataclass
class Aim:
    """One kind of aimed trouble on an exchange in process.

    - stop-lost: the exchange ends the stop of a position and leaves its target.
    - orders-left: when a leg has sold all shares, the exchange leaves the other one.
    - swapped: whatever is asked about one order of the trader is answered with another one of its stock.
    - contradictory: a stop that rests is shown as filled, with the status "new".
    """

    kind: str
    exchange: PaperExchange
    seed: int
    now: Callable[[], datetime]
    over: Callable[[], bool]
    told: list[Told] = field(default_factory=list)
    acted: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed}:aim")
        if self.kind == "orders-left":
            self._leave_orders()

    def _leave_orders(self) -> None:
        lifecycle = self.exchange._engine.lifecycle
        end_group = lifecycle.end_group

        def leave(order: Order, status: str, at: int) -> list[Order]:
            if order.status == "filled" and order.role in ("target", "stop") and not self.over():
                self.acted += 1
                return []
            return end_group(order, status, at)

        lifecycle.end_group = leave  # type: ignore[method-assign]

    def act(self) -> None:
        """Act on the stocks of the trader, before a minute."""
        if self.over() or self.kind not in ("stop-lost", "contradictory"):
            return
        for stop in [one for one in self._stops() if self._chance.random() < RATE]:
            self.acted += 1
            if self.kind == "stop-lost":
                self.exchange._engine.lifecycle.finish(self._real(stop), "canceled", to_ns(self.now()))
            else:
                self.told.append(Told(stop, self.now(), self.now() + LASTS))

    def _stops(self) -> list[Order]:
        """The resting stops of positions, each beside a resting target."""
        orders = [one for one in self.exchange.snapshot().orders if one.is_open and one.awake and not one.buy]
        targets = {one.symbol for one in orders if one.type == "limit"}
        return [one for one in orders if one.type == "stop" and one.symbol in targets and not one.filled_qty]

    def _real(self, order: Order) -> Order:
        return self.exchange._engine.registry.orders[order.id]

    def app(self, inner: Any) -> Any:
        """The exchange's application with the lies of this aim."""

        def lying(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            line = request_line(environ)
            reply = call(inner, environ)
            changed = self._changed(line, reply)
            return (changed or reply).send(start_response)

        return lying

    def _changed(self, line: str, reply: Reply) -> Reply | None:
        if self.over() or not reply.body or "/v2/orders" not in line or line.startswith("DELETE"):
            return None
        before = json.loads(reply.body)
        body = self._swapped(line, before) if self.kind == "swapped" else before
        if self.kind == "contradictory":
            for lie in [one for one in self.told if one.since <= self.now() < one.until]:
                body, shown = self._about(lie, body), body
                lie.replies += body != shown
        if body == before:
            return None
        headers = [(name, value) for name, value in reply.headers if name.lower() != "content-length"]
        return Reply(reply.status, headers, json.dumps(body).encode())

    def _swapped(self, line: str, body: Any) -> Any:
        """Another order of the stock, if this is an answer about one, and it is lied about."""
        if not isinstance(body, dict) or "client_order_id" not in body:
            return body
        ours = self._ours()
        order = next((one for one in ours if one.id in line or one.client_order_id in line), None)
        others = [one for one in ours if order is not None and one.id != order.id and one.symbol == order.symbol]
        if order is None or not others:
            return body
        lie = next((one for one in self.told if one.order.id == order.id), None)
        if lie is None:
            lasts = LASTS if self._chance.random() < RATE else timedelta(0)
            lie = Told(order, self.now(), self.now() + lasts)
            self.told.append(lie)
        if self.now() >= lie.until:
            return body
        lie.replies += 1
        self.acted += 1
        keys = {"APCA-API-KEY-ID": "drill", "APCA-API-SECRET-KEY": "drill"}
        other = random.Random(f"{self.seed}:{order.id}").choice(others)  # the same in every reply
        return self.exchange.app.test_client().get(f"/v2/orders/{other.id}", headers=keys).get_json()

    def _ours(self) -> list[Order]:
        """The orders of the trader, with their legs, in stocks that it has bought."""
        orders = self.exchange.snapshot().orders
        entries = {one.id for one in orders if one.client_order_id.startswith(OURS)}
        return [one for one in orders if one.id in entries or one.parent in entries]

    def _about(self, lie: Told, body: Any) -> Any:
        """A body with a lie in it."""
        if isinstance(body, list):
            return [self._about(lie, one) for one in body]
        if body.get("legs"):
            body = body | {"legs": [self._about(lie, one) for one in body["legs"]]}
        if body.get("id") != lie.order.id or body.get("status") not in ("new", "held"):
            return body
        filled = {"filled_qty": body["qty"], "filled_avg_price": body["stop_price"], "filled_at": lie.since.isoformat()}
        return body | filled | {"status": "new"}

    def unsaid(self, logs: Path) -> list[str]:
        """The lies that lasted, and about whose stock the audit says nothing meanwhile."""
        lines = [json.loads(line) for path in logs.glob("audit_*.jsonl") for line in path.read_text().splitlines()]
        said = [(datetime.fromisoformat(one["time"]), json.dumps(one)) for one in lines if one["event"] in SAYING]
        return [
            f"{one.replies} false replies about {one.order.type} {one.order.id} of {one.order.symbol}"
            for one in self.told
            if one.replies
            and not any(one.since <= at <= one.since + SAID_WITHIN and one.order.symbol in text for at, text in said)
        ]


SAYING: Final = ("unclear", "order_disowned", "discrepancy", "discrepancies", "positions_disagree")
"""Audit events by which a discrepancy is said."""
