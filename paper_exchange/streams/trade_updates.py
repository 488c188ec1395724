"""The protocol of the trade-updates stream, `/stream`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from paper_exchange.base.wire import JsonObject


def frame(stream: str, data: JsonObject) -> bytes:
    """A message as a frame: JSON in binary frames, as Alpaca's paper stream sends it."""
    return json.dumps({"stream": stream, "data": data}).encode()


class Trader:
    """One connection's state: `authorised`, and whether it `listens` to trade updates."""

    def __init__(self, accepts: Callable[[str, str], bool], authorised: bool) -> None:
        self._accepts = accepts
        self.authorised = authorised
        self.listens = False

    def answer(self, text: str | bytes) -> bytes | None:
        """The reply to a message, if there is one."""
        message = _parse(text)
        inner = message.get("data")
        data: JsonObject = inner if isinstance(inner, dict) else message
        action = message.get("action")
        if action in ("authenticate", "auth"):
            key, secret = data.get("key_id", data.get("key")), data.get("secret_key", data.get("secret"))
            self.authorised = self._accepts(str(key or ""), str(secret or ""))
            status = "authorized" if self.authorised else "unauthorized"
            return frame("authorization", {"status": status, "action": "authenticate"})
        if not self.authorised:
            return frame("authorization", {"status": "unauthorized", "action": str(action)})
        if action == "listen":
            wanted = data.get("streams")
            streams = [name for name in wanted if name == "trade_updates"] if isinstance(wanted, list) else []
            self.listens = bool(streams)
            return frame("listening", {"streams": streams})
        return None


def _parse(text: str | bytes) -> JsonObject:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
