"""One request to the broker: what it ends with, and how often it is made.

It returns, or raises `OrderRefused` (the broker said no and took nothing) or `Unclear` (no readable answer, so an order
may or may not exist).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import requests
from alpaca.common.exceptions import APIError
from pydantic import ValidationError

from trading.base.errors import BrokerError, UserError
from trading.broker.error_body import REFUSING, error_body, one_line
from trading.broker.fields import UNREADABLE
from trading.broker.messages import MalformedReply

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

NOT_FOUND = 40410000
"""Alpaca's error code for an order or a position that does not exist."""

T = TypeVar("T")


class OrderRefused(Exception):
    """Alpaca itself, not a proxy, refused the request and took nothing.  The text is its reason.

    `existing` is the number of shares that it holds, and `related` has the ids of the orders that hold them, where the
    refusal of a sale says so.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        code: int | None = None,
        existing: Decimal | None = None,
        related: tuple[str, ...] = (),
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.existing = existing
        self.related = related

    @property
    def is_unknown(self) -> bool:
        """The order or position does not exist.  A 404 without Alpaca's code, from a proxy, does not count."""
        return self.status == 404 and self.code == NOT_FOUND

    @property
    def is_duplicate(self) -> bool:
        """The broker already has an order with this client_order_id, so an earlier attempt did arrive."""
        return self.status == 422 and "client_order_id must be unique" in str(self)

    @property
    def is_rate_limited(self) -> bool:
        """The rate limit was hit; the same request may succeed a moment later."""
        return self.status == 429


class Unclear(Exception):
    """There is no readable answer, so what the broker did is unknown.  `status` is the HTTP status of an error."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Unreadable(Unclear):
    """There is an answer, and it cannot be true."""


class KeysRefused(BrokerError, Unclear):
    """The broker refuses the keys: an error of the user at the start, and unclear in mid-run, where it may pass."""


def market_data(call: Callable[[], T]) -> T:
    """Make a request for market data whose failure is reported to the user.

    Raises:
        BrokerError: the keys are refused.
        UserError: the request is refused or gets no answer; one line with the reason.
    """
    try:
        return ask(call)
    except KeysRefused:
        raise
    except OrderRefused as refusal:
        raise UserError(f"market data: HTTP {refusal.status}: {refusal}") from refusal
    except Unclear as error:
        hint = "" if error.status in REFUSING else "; check the network and run again"
        raise UserError(f"market data: {error}{hint}") from error


def parsed_reply(read: Callable[[object], T], reply: object) -> T:
    """What `read` makes of a reply; `Unreadable` if it refuses that."""
    try:
        return read(reply)
    except MalformedReply as error:
        raise Unreadable(one_line(error)) from error


def look_up(parse: Callable[[object], T], call: Callable[[], object]) -> T | None:
    """Look one thing up; None if the broker says that it does not exist."""

    def once() -> T | None:
        try:
            return parse(ask(call))
        except OrderRefused as refusal:
            if refusal.is_unknown:
                return None
            raise Unclear(f"HTTP {refusal.status}: {refusal}", refusal.status) from refusal

    return _again_if_untrue(once)


def read_state(parse: Callable[[object], T], call: Callable[[], object]) -> T:
    """Make a request that changes nothing: if it is refused, the state remains unknown."""

    def once() -> T:
        try:
            return parse(ask(call))
        except OrderRefused as refusal:
            raise Unclear(f"HTTP {refusal.status}: {refusal}", refusal.status) from refusal

    return _again_if_untrue(once)


def _again_if_untrue(attempt: Callable[[], T]) -> T:
    """Ask once more after a reply that cannot be true: shares may be without a stop until it is understood.

    What is left unanswered, or is answered with 429 or 5xx, has been repeated by the transport already.
    """
    try:
        return attempt()
    except MalformedReply:
        pass
    except Unclear as error:
        if error.status is None or error.status == 429 or error.status >= 500:
            raise
    return parsed_reply(lambda _: attempt(), None)


def ask(call: Callable[[], T]) -> T:
    """Make one request and translate its failures.

    Raises:
        KeysRefused, OrderRefused, Unclear: as described there.
    """
    try:
        return call()
    except APIError as error:
        body = error_body(error.response)
        method = getattr(error.request, "method", None)
        # A page without Alpaca's words on an order may come from a proxy behind which the order was taken.
        if body.keys_problem and (method == "GET" or body.is_alpacas or body.status == 401):
            raise KeysRefused(body.keys_problem, body.status) from None
        if body.is_refusal:
            raise OrderRefused(body.status, body.message, body.code, body.existing, body.related) from error
        raise Unclear(f"HTTP {body.status}: {body.message}", body.status) from error
    except (
        requests.RequestException,
        ValidationError,
        MalformedReply,
        *UNREADABLE,
        AttributeError,
    ) as error:
        raise Unclear(f"{type(error).__name__}: {one_line(error)}") from error
