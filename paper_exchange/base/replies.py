"""JSON responses, and the decorator that passes a request's instant to its route."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING

from flask import Response, g

from paper_exchange.base.wire import encoded

if TYPE_CHECKING:
    from collections.abc import Callable


def reply(body: object, status: int = 200) -> Response:
    """A JSON response; status 204 has no body."""
    content = b"" if status == 204 else encoded(body)
    return Response(content, status=status, mimetype="application/json")


def with_now(route: Callable[..., Response]) -> Callable[..., Response]:
    """Pass the request's instant (ns since the epoch) to a route as its first argument."""

    @wraps(route)
    def call(**parts: str) -> Response:
        return route(g.now, **parts)

    return call
