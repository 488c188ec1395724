"""The state file: failed saves, listeners, and who may use the file."""

from __future__ import annotations

import logging
import resource
import shutil
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.exchange.exchange_world import ORIGIN, TUESDAY
from tests.exchange.order_requests import FLAT, bracket, limit, nested, venue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from paper_exchange.orders.events import TradeEvent
    from tests.exchange.exchange_world import Venue

HEADERS = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
ROWS = (("10:31", *FLAT), ("10:32", 10.0, 10.5, 10.0, 10.5))


@contextmanager
def full_disk(state: Path) -> Iterator[None]:
    """A disk on which the state's write-ahead log cannot grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (state.with_name(f"{state.name}-wal").stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def status(here: Venue, method: str = "GET", path: str = "/v2/account", **more: object) -> int:
    return here.trading._session.request(method, f"{ORIGIN}{path}", headers=HEADERS, **more).status_code


def test_a_failed_save_is_retried_and_no_fill_is_applied_by_half(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state.sqlite"
    here = venue(*ROWS, at="10:31:02", state=state)
    heard: list[TradeEvent] = []
    here.exchange.listen(heard.append)
    entry = here.trading.submit_order(bracket())
    reached = here.exchange.advance()
    heard.clear()
    with caplog.at_level(logging.WARNING), full_disk(state):
        here.at("10:32:01")
        assert here.exchange.advance() == reached  # what the streams call: it neither fails nor shows what may be lost
        assert [status(here), status(here, "POST", "/v2/orders", json={})] == [503, 503]
        assert here.exchange.advance() == reached
        assert heard == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "state.sqlite" in caplog.text
    got = nested(here, entry)
    assert (got.status, [leg.status for leg in got.legs]) == ("filled", ["new", "held"])
    assert [event.event for event in heard] == ["fill", "new"]
    here.at("10:33")
    assert nested(here, entry).legs[0].status == "filled"
    again = venue(*ROWS, at="10:33:00", state=killed(state))
    assert again.exchange.snapshot() == here.exchange.snapshot()


def test_an_order_whose_save_fails_is_answered_503_and_is_there_once_the_disk_has_room(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    here = venue(state=state)
    here.trading.get_account()
    body = {"symbol": "AAA", "qty": 1, "side": "buy", "type": "limit", "limit_price": 9, "time_in_force": "day"}
    with full_disk(state):
        assert status(here, "POST", "/v2/orders", json=body) == 503
        assert status(here, "PATCH", "/v2/account/configurations", json={"suspend_trade": True}) == 503
    assert [order.qty for order in here.trading.get_orders()] == ["1"]
    assert not here.trading.get_account_configurations().suspend_trade


def test_changed_configurations_are_saved_in_the_transaction_of_their_request(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    here = venue(state=state)
    here.trading.get_account()
    change = {"suspend_trade": True}
    with full_disk(state):
        assert status(here, "PATCH", "/v2/account/configurations", json=change) == 503
    here.exchange.advance()
    assert venue(state=killed(state)).trading.get_account_configurations().suspend_trade


def test_a_listener_that_fails_is_dropped_and_nothing_else_suffers(caplog: pytest.LogCaptureFixture) -> None:
    here = venue(*ROWS)
    heard: list[TradeEvent] = []

    def broken(event: TradeEvent) -> None:
        raise RuntimeError("Event loop is closed")

    here.exchange.listen(broken)
    stop = here.exchange.listen(heard.append)
    entry = here.trading.submit_order(bracket())
    here.at("10:32:01")
    got = nested(here, entry)
    assert (got.status, [leg.status for leg in got.legs]) == ("filled", ["new", "held"])
    assert [event.event for event in heard] == ["new", "fill", "new"]
    assert caplog.text.count("Event loop is closed") == 1
    stop()
    here.at("09:31", TUESDAY)
    here.trading.submit_order(limit(9.0))
    assert len(heard) == 3


def test_half_a_character_in_an_old_state_file_does_not_spoil_the_lists(tmp_path: Path) -> None:
    here = venue(state=tmp_path / "state.sqlite")
    here.trading.submit_order(limit(9.0, client_order_id="mine"))
    old = killed(tmp_path / "state.sqlite")
    with sqlite3.connect(old) as db:
        db.execute("UPDATE orders SET body = replace(body, 'mine', '\\ud800')")
    db.close()
    again = venue(state=old)
    assert [order["client_order_id"] for order in again.raw.get_orders()] == ["\ud800"]


def killed(state: Path) -> Path:
    """A copy of the state file as a killed process leaves it."""
    folder = state.parent / "killed"
    folder.mkdir()
    for path in state.parent.glob(f"{state.name}*"):
        shutil.copy(path, folder)
    return folder / state.name
