"""A stream behind a bad line: messages that come twice, out of order, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

from paper_exchange.faults import FaultPlan
from paper_exchange.wire import NEW_YORK

Message = TypeVar("Message")


class FaultyStream(Generic[Message]):
    """Hands messages on as a plan has it; put it between what makes them and what sends them.

        exchange_events.listen(FaultyStream(plan, now, lambda event: event.event, send))

    Args:
        plan: whose rules "event_twice", "event_late" and "silent" are asked about every message.
        now: the exchange's clock.
        name_of: a message's name, "fill" of a trade event.
        send: where messages go.
    """

    def __init__(
        self,
        plan: FaultPlan,
        now: Callable[[], datetime],
        name_of: Callable[[Message], str],
        send: Callable[[Message], None],
    ) -> None:
        self._plan = plan
        self._now = now
        self._name_of = name_of
        self._send = send
        self._late: list[Message] = []

    def __call__(self, message: Message) -> None:
        """Take one message."""
        rule = self._plan.draw_event(self._name_of(message), self._now().astimezone(NEW_YORK).time())
        fault = None if rule is None else rule.fault
        if fault == "silent":
            return
        if fault == "event_late":
            self._late.append(message)
            return
        for _ in range(2 if fault == "event_twice" else 1):
            self._send(message)
        late, self._late = self._late, []
        for one in late:
            self._send(one)
