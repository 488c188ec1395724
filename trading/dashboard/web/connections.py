"""Limits of the connections themselves, which hold before there is a request: how many, and how long they may idle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from trading.dashboard.web.limits import network_of

if TYPE_CHECKING:
    import asyncio

MOST_CONNECTIONS: Final = 400
MOST_OF_ADDRESS: Final = 24

WHOLE_SECONDS: Final = 10
"""Seconds within which a request must have arrived as a whole, from the connection or the reply before it on."""

_TEXT: Final = b"Too many connections; close a page.\n"
REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 10\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)
)


class LimitedProtocol(H11Protocol):
    """A connection that is refused if its address has too many, and ends if its request does not arrive in time.

    Attributes:
        whole_seconds: see `WHOLE_SECONDS`.
    """

    whole_seconds: float = WHOLE_SECONDS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; `connections` are those of the server, this one included."""
        super().connection_made(transport)
        own = _network(self)
        of_address = sum(1 for one in self.connections if _network(one) == own)
        if len(self.connections) > MOST_CONNECTIONS or of_address > MOST_OF_ADDRESS:
            transport.write(REFUSAL)
            transport.close()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes, which may complete the request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Wait while a request is not whole; bytes of it do not extend the time."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY) or self.transport.is_closing():
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.whole_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _network(protocol: object) -> str:
    client = getattr(protocol, "client", None)
    return network_of(client[0]) if client else ""
