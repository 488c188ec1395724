"""The state file: failed saves, listeners, and who may use the file."""

from __future__ import annotations

import json
import logging
import re
import resource
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paper_exchange import StateError
from paper_exchange.books.store import stored_instant
from paper_exchange.faults.market import FaultyMarket
from paper_exchange.faults.plan import FaultPlan
from paper_exchange.market.generator.market import GeneratedMarket
from tests.exchange.exchange_world import MONDAY, ORIGIN, TUESDAY, HandMade, Venue, killed, ny
from tests.exchange.order_requests import FLAT, bracket, limit, nested, venue
from tests.exchange.test_server import free_port, wait_until_it_listens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paper_exchange.market.interface import Market
    from paper_exchange.orders.events import TradeEvent

ROOT = Path(__file__).parents[2]
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


# -- who may use the file ----------------------------------------------------------------------------------------------


def test_a_state_file_in_use_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    link = tmp_path / "link.sqlite"
    link.symlink_to(state)
    here = venue(state=state)
    here.trading.submit_order(limit(9.0))
    for path in (state, link):
        with pytest.raises(StateError, match=r"sqlite is in use by another exchange; stop it, or name another file$"):
            venue(state=path)
        with pytest.raises(StateError, match="is in use"):
            stored_instant(path)
    assert status(here) == 200
    here.exchange.close()
    assert len(venue(state=link).trading.get_orders()) == 1


def test_a_second_server_is_refused_in_one_line_and_a_killed_one_leaves_the_file_free(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    command = [sys.executable, "-m", "paper_exchange", "--stream-port", "0", "--state", str(state), "--port"]
    with subprocess.Popen([*command, str(free_port())], cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        try:
            wait_until_it_listens(first)
            second = subprocess.run([*command, str(free_port())], cwd=ROOT, capture_output=True, text=True, check=False)
            assert second.returncode == 2
            assert re.fullmatch(r"paper_exchange: state file .* is in use by another exchange; .*\n", second.stderr)
        finally:
            first.kill()
    stored_instant(state)  # raises if the file is not free again


OTHER = HandMade({"ZZZ": {MONDAY: [("10:30", *FLAT)], TUESDAY: []}})


@pytest.mark.parametrize(
    ("market", "why"),
    [
        (GeneratedMarket(seed=2, stocks=2), "belongs to another market.*seed 1.*seed 2"),
        (GeneratedMarket(seed=1, stocks=2, learnability=0.1), "belongs to another market"),
        (HandMade({"ZZZ": {date(2025, 1, 2): [("10:30", *FLAT)]}}), "belongs to another market"),
    ],
)
def test_the_state_of_another_market_is_refused(tmp_path: Path, market: Market, why: str) -> None:
    state = tmp_path / "state.sqlite"
    at = ny(date(2025, 1, 3), "10:00")
    Venue(GeneratedMarket(seed=1, stocks=2), at, state=state).exchange.close()
    with pytest.raises(StateError, match=rf"state\.sqlite {why}.*name another file$"):
        Venue(market, at, state=state)
    Venue(FaultyMarket(GeneratedMarket(seed=1, stocks=2), FaultPlan(0, [])), at, state=state)


def test_a_state_file_without_a_market_must_agree_in_symbols_and_dates(tmp_path: Path) -> None:
    """Files of earlier versions name no market; recorded bars may grow and move, so they are known by their content."""
    state = tmp_path / "state.sqlite"
    here = venue(state=state)
    here.trading.submit_order(limit(9.0))
    here.exchange.close()
    with sqlite3.connect(state) as db:
        body = json.loads(db.execute("SELECT body FROM state").fetchone()[0])
        assert body.pop("market") == HandMade.identity
        db.execute("UPDATE state SET body = ?", [json.dumps(body)])
    db.close()
    with pytest.raises(StateError, match="holds AAA, which is not in this market"):
        Venue(OTHER, ny(MONDAY, "10:32"), state=state)
    later = HandMade({"AAA": {date(2018, 11, 23): [("10:30", *FLAT)]}})
    with pytest.raises(StateError, match="is at 2018-03-26, and this market has bars from 2018-11-23 to 2018-11-23"):
        Venue(later, ny(MONDAY, "10:32"), state=state)
    assert len(venue(state=state).trading.get_orders()) == 1
