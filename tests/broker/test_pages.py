"""Bars page by page: whatever the tokens say, the pages end."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.exchange.exchange_world import MONDAY
from tests.execution.test_reconciliation import holding
from tests.execution.trading_world import CALENDAR, Act, Fault, page
from trading.broker import pages
from trading.market.source import SourceError
from trading.market.sources.alpaca import AlpacaSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BAR = {"t": "2018-03-26T14:00:00Z", "o": 10, "h": 10, "l": 10, "c": 10, "v": 100}
NUMBERS = itertools.count()
TOKENS: dict[str, Callable[[], Any]] = {
    "the same again": lambda: "QUFB",
    "always another": lambda: f"token {next(NUMBERS)}",
    "two in turn": lambda: f"token {next(NUMBERS) % 2}",
    "a number": lambda: 7,
    "a list": lambda: [1],
}


def leading_on(kind: str) -> Act:
    def act(request: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
        body = json.dumps({"bars": {"AAA": [BAR]}, "next_page_token": TOKENS[kind]()})
        return page(200, body)(request, send)

    return act


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", TOKENS)
def test_pages_without_end_end_the_minute_with_its_positions_managed(tmp_path: Path, kind: str) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("stocks/bars", leading_on(kind), times=None)]
    before = here.wire.count("stocks/bars")
    here.tick("10:33")
    assert "EndlessPages" in here.events("no_bars")[-1]["reason"]
    assert here.wire.count("stocks/bars") - before <= 12
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]


def test_slow_pages_that_do_end_cost_the_minute_no_more_than_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight pages of 8 s each: the minute gives up after the fourth, and goes on with its positions."""
    here = holding(tmp_path)
    seconds = itertools.count(0, 8)
    monkeypatch.setattr(pages, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    tokens = iter([*map(str, range(7)), None])

    def slow(request: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
        body = json.dumps({"bars": {"AAA": [BAR]}, "next_page_token": next(tokens)})
        return page(200, body)(request, send)

    here.wire.faults = [Fault("stocks/bars", slow, times=None)]
    before = here.wire.count("stocks/bars")
    here.tick("10:33")
    assert here.wire.count("stocks/bars") - before == 4 and len(here.events("no_bars")) == 1
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", TOKENS)
def test_pages_without_end_end_a_build(tmp_path: Path, kind: str) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("stocks/bars", leading_on(kind), times=None)]
    with pytest.raises(SourceError, match="EndlessPages"):
        AlpacaSource(here.clients, "iex").bars(["AAA"], [CALENDAR.session(MONDAY)])
    assert here.wire.count("stocks/bars") <= 14
