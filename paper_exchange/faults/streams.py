"""Fault injection for streams: messages that are duplicated, reordered or lost, and connections that are cut."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from paper_exchange.base.wire import NEW_YORK

if TYPE_CHECKING:
    from collections.abc import Callable

    from paper_exchange.faults.plan import FaultPlan

Message = TypeVar("Message")


def _nothing() -> None:
    """The default for a stream without connections to cut."""


class FaultyStream(Generic[Message]):
    """Passes messages on as a plan decides; `streams.hub.Hub` puts one between the exchange and the clients.

        exchange_events.listen(FaultyStream(plan, now, lambda event: event.event, send))

    Args:
        plan: Its rules of `plan.STREAM` are drawn for every message.
        now: The exchange's clock.
        name_of: A message's name, such as "fill AAPL".
        send: Receives the messages.
        drop: Cuts every connection of the stream.
        stream: The stream's name; each stream is drawn independently.
    """

    def __init__(
        self,
        plan: FaultPlan,
        now: Callable[[], datetime],
        name_of: Callable[[Message], str],
        send: Callable[[Message], None],
        drop: Callable[[], None] = _nothing,
        stream: str = "",
    ) -> None:
        self._plan = plan
        self._now = now
        self._name_of = name_of
        self._send = send
        self._drop = drop
        self._stream = stream
        self._late: list[Message] = []
        self._silent_until: datetime | None = None

    def __call__(self, message: Message) -> None:
        """Process one message."""
        now = self._now()
        if self._silent_until is not None and now < self._silent_until:
            return
        rule = self._plan.draw_event(self._name_of(message), now.astimezone(NEW_YORK).time(), self._stream)
        match None if rule is None else rule.fault:
            case "silent":
                assert rule is not None
                self._silent_until = now + timedelta(seconds=rule.duration)
            case "event_late":
                self._late.append(message)
            case "event_lost":
                return
            case "dropped":
                self._drop()
            case fault:
                self._hand_on(message, 2 if fault == "event_twice" else 1)

    def _hand_on(self, message: Message, times: int) -> None:
        for _ in range(times):
            self._send(message)
        late, self._late = self._late, []
        for one in late:
            self._send(one)
