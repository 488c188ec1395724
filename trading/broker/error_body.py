"""The error bodies of Alpaca's replies: what they say, and whether the keys are at fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from trading.broker.fields import sum_or_none

if TYPE_CHECKING:
    from decimal import Decimal

    import requests

REFUSING: Final = frozenset({400, 403, 404, 422, 429})
"""Statuses with which Alpaca itself refuses a request; any other comes from a proxy, or says nothing certain."""

MOST_RELATED: Final = 20
"""Orders that are read of those that a refusal names."""


class ErrorBody(NamedTuple):
    """The error that a reply reports: its text on one line, and Alpaca's error code if it has one."""

    status: int
    message: str
    code: int | None = None
    is_alpacas: bool = False
    """Whether the body has the form of Alpaca's; pages of proxies do not have it."""
    existing: Decimal | None = None
    """Shares that the broker holds, where a refused sale says so."""
    related: tuple[str, ...] = ()
    """Ids of the orders that hold the shares of a refused sale, where the broker names them."""

    @property
    def is_refusal(self) -> bool:
        """Whether Alpaca's trading interface itself says no: other gateways send messages too, but no such code."""
        return self.status in REFUSING and self.code is not None

    @property
    def keys_problem(self) -> str | None:
        """One line if the reply means wrong keys, else None.  Alpaca's data hosts say so with 403, in JSON or HTML."""
        forbidden = self.code is None and (not self.is_alpacas or self.message.lower().startswith("forbidden"))
        if self.status != 401 and not (self.status == 403 and forbidden):
            return None
        proxy = "" if self.is_alpacas or self.status == 401 else "; or a proxy does not let the request through"
        return (
            f"the broker refuses the keys ({self.status}): check APCA_API_KEY_ID and APCA_API_SECRET_KEY in .env "
            f"(they must be the paper account's{proxy})"
        )


def error_body(reply: requests.Response | None) -> ErrorBody:
    """Parse the error body of a reply; a body that is not Alpaca's becomes the HTTP status."""
    if reply is None:
        return ErrorBody(0, "no reason given")
    status = reply.status_code
    fallback = f"HTTP {status} {reply.reason or ''}".strip()
    try:
        body = reply.json()
    except (ValueError, RecursionError):
        return ErrorBody(status, fallback)
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, str) or not message.strip():
        return ErrorBody(status, fallback)
    code = body.get("code")
    is_code = isinstance(code, int) and not isinstance(code, bool)
    existing = sum_or_none(body.get("existing_qty"))
    listed = body.get("related_orders")
    related = tuple(one for one in (listed if isinstance(listed, list) else ())[:MOST_RELATED] if isinstance(one, str))
    return ErrorBody(status, one_line(message), code if is_code else None, True, existing, related)


def one_line(text: object) -> str:
    """A text of at most 200 characters on one line, without anything that cannot be written to a file."""
    return " ".join(str(text).encode("utf-8", "replace").decode().split())[:200]
