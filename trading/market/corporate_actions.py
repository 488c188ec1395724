"""Splits and symbol changes, as Alpaca's corporate actions announce them."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from alpaca.data.enums import CorporateActionsType
from alpaca.data.requests import CorporateActionsRequest

from trading.market.source import SYMBOL, CorporateActions, Split, SymbolChange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alpaca.data.historical.corporate_actions import CorporateActionsClient

MARGIN: Final = timedelta(days=10)
"""The request filters by the day on which an action is processed, which may not be the day that it takes effect."""

PAGES: Final = 20
"""Pages of a reply that are read; each holds 1,000 actions."""

_KINDS: Final = ("forward_split", "reverse_split", "unit_split", "name_change")


def corporate_actions(
    client: CorporateActionsClient, symbols: Sequence[str], first: date, last: date
) -> CorporateActions:
    """The splits and symbol changes of these stocks that take effect from `first` to `last`; unreadable ones are left
    out.

    Raises:
        ValueError: a reply does not have the form of a page, or the pages do not end.
        Exceptions of alpaca-py and requests, unchanged.
    """
    query = CorporateActionsRequest(
        types=[CorporateActionsType(kind) for kind in _KINDS], start=first - MARGIN, end=last + MARGIN
    )
    fields = {**query.to_request_fields(), "symbols": ",".join(symbols), "types": ",".join(_KINDS), "limit": 1000}
    splits: list[Split] = []
    changes: list[SymbolChange] = []
    for kind, row in _rows(client, fields):
        if kind == "name_changes":
            changes += _change_of(row)
        else:
            splits += _split_of(row)
    return CorporateActions(
        tuple(one for one in splits if first <= one.day <= last),
        tuple(one for one in changes if first <= one.day <= last),
    )


def _rows(client: CorporateActionsClient, fields: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each announced action and the list that it stands in, page by page."""
    for _ in range(PAGES):
        reply = client.get("/corporate-actions", fields)
        lists = reply.get("corporate_actions") if isinstance(reply, dict) else None
        if not isinstance(lists, dict | None) or not isinstance(reply, dict):
            raise ValueError(f"expected a page of corporate actions, got {str(reply)[:60]}")
        for kind, rows in (lists or {}).items():
            for row in rows or ():
                if isinstance(row, dict):
                    yield kind, row
        token = reply.get("next_page_token")
        if not token:
            return
        fields["page_token"] = token
    raise ValueError(f"more than {PAGES} pages of corporate actions")


def _split_of(row: dict[str, Any]) -> list[Split]:
    try:
        symbol = row["symbol"] if "symbol" in row else row["new_symbol"]
        day = date.fromisoformat(row["ex_date"] if "ex_date" in row else row["effective_date"])
        ratio = float(row["new_rate"]) / float(row["old_rate"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return []
    good = _is_symbol(symbol) and math.isfinite(ratio) and ratio > 0.0 and ratio != 1.0
    return [Split(symbol, day, ratio)] if good else []


def _change_of(row: dict[str, Any]) -> list[SymbolChange]:
    try:
        change = SymbolChange(row["old_symbol"], row["new_symbol"], date.fromisoformat(row["process_date"]))
    except (KeyError, TypeError, ValueError):
        return []
    return [change] if _is_symbol(change.old) and _is_symbol(change.new) and change.old != change.new else []


def _is_symbol(text: object) -> bool:
    return isinstance(text, str) and SYMBOL.fullmatch(text) is not None
