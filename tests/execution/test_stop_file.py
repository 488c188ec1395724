"""STOP: nothing is sent from the moment when the file is there, in whatever part of a minute it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.exchange.exchange_world import MONDAY, TUESDAY, ny
from tests.execution.test_containment import holding, owner, world
from tests.execution.trading_world import Fault, TradingWorld, lost_before
from trading.base.errors import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANGE: Final = "^(POST|PATCH|DELETE)"


def entries(folder: Path) -> tuple[TradingWorld, Callable[[], object]]:
    here = world(folder)
    return here, lambda: here.tick("10:31")


def lost_stops(folder: Path) -> tuple[TradingWorld, Callable[[], object]]:
    here = holding(folder)
    owner(here).cancel_orders()
    here.wire.faults = [Fault("POST", lost_before)]  # looked up, and sent again
    return here, lambda: here.tick("10:33")


def sales(folder: Path) -> tuple[TradingWorld, Callable[[], object]]:
    here = holding(folder)
    return here, lambda: flatten(here)


def flatten(here: TradingWorld) -> None:
    (here.controls / "FLATTEN").touch()
    here.tick("15:40")
    (here.controls / "FLATTEN").unlink()


def four_am(folder: Path) -> tuple[TradingWorld, Callable[[], object]]:
    here = holding(folder)
    here.at("16:00:01")
    here.trader.closed(here.session)
    here.at("04:00", TUESDAY)
    return here, lambda: here.trader.rebalance(here.session) and None


def the_open(folder: Path) -> tuple[TradingWorld, Callable[[], object]]:
    here = holding(folder)
    here.at("09:30:01", TUESDAY)
    return here, lambda: here.trader.opened(here.session)


def a_start(folder: Path) -> tuple[TradingWorld, Callable[[], object]]:
    here = holding(folder)
    owner(here).cancel_orders()
    here.start()
    return here, here.trader.recover


SCENES = [entries, lost_stops, sales, four_am, the_open, a_start]


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_is_sent_after_stop_at_whatever_request_it_is_made(
    tmp_path: Path, scene: Callable[[Path], tuple[TradingWorld, Callable[[], object]]]
) -> None:
    here, run = scene(tmp_path / "all")
    before = len(here.wire.sent)
    run()
    lines = here.wire.sent[before:]
    changes = [n for n, line in enumerate(lines) if not line.startswith("GET")]
    assert changes[-1] >= 1
    for made_at in sorted({0, *(n - 1 for n in changes if n)}):  # the moments at which the next request is a change
        here, run = scene(tmp_path / f"{made_at}")
        stop_at(here, made_at)
        run()
        sent = here.wire.sent[before:]
        assert not any(not line.startswith("GET") for line in sent[made_at + 1 :]), (made_at, sent[made_at:])
        assert here.events("stopped_by_file", "not_sent"), made_at
        go_on(here)


def stop_at(here: TradingWorld, request: int) -> None:
    """Make STOP while a request of now on is on its way, counted from 0."""
    begun = len(here.wire.sent)

    def make() -> None:
        if len(here.wire.sent) > begun + request:
            (here.controls / "STOP").touch()

    here.wire.before = make


def go_on(here: TradingWorld) -> None:
    """Remove STOP: what is held is protected or sold, and the log says what the exchange does."""
    here.wire.before, here.wire.faults = lambda: None, []
    (here.controls / "STOP").unlink()
    minute = "10:35" if here.clock.now() < ny(MONDAY, "10:35") else "15:41" if here.today == MONDAY else "09:32"
    here.tick(minute)
    for symbol in {trade.symbol for trade in here.log.open_trades if here.held(trade.symbol)}:
        assert any(kind in ("stop", "market") for _, kind, _ in here.open_orders(symbol)), here.open_orders(symbol)
    here.at(f"{minute}:59")
    here.trader.positions.try_reconcile()
    here.check_books()
    assert here.trader.positions.discrepancies == []


def test_a_sale_that_stop_interrupts_is_said_and_its_shares_are_protected_once_it_is_gone(tmp_path: Path) -> None:
    here = holding(tmp_path)

    def stop_with_the_legs_gone() -> None:
        if here.open_orders("AAA") == []:
            (here.controls / "STOP").touch()

    here.wire.before = stop_with_the_legs_gone
    flatten(here)
    assert (here.held("AAA"), here.open_orders("AAA")) == (5, [])
    assert "the exit of AAA" in {event["what"] for event in here.events("not_sent")}
    assert here.trade("AAA").exit_intent is None
    here.wire.before = lambda: None
    (here.controls / "STOP").unlink()
    here.tick("15:41")
    assert here.open_orders("AAA") == [("sell", "stop", 9.8)]


def test_no_path_to_the_broker_goes_past_stop(tmp_path: Path) -> None:
    """Calls of the client that no code of ours makes are held back too; reads are not."""
    here = holding(tmp_path)
    trading, sent = here.clients.trading, here.wire.count(CHANGE)
    (here.controls / "STOP").touch()
    for change in (trading.cancel_orders, trading.close_all_positions, lambda: trading.close_position("AAA")):
        with pytest.raises(Stopped, match="STOP is there"):
            change()
    assert len(here.broker.positions()) == 3
    assert here.wire.count(CHANGE) == sent
    (here.controls / "STOP").unlink()
    trading.cancel_orders()
    assert here.wire.count(CHANGE) > sent


@pytest.mark.parametrize("job", ["rebalance", "opened"])
def test_four_am_and_the_open_ask_for_nothing_while_stop_is_there(tmp_path: Path, job: str) -> None:
    here, _ = four_am(tmp_path) if job == "rebalance" else the_open(tmp_path)
    (here.controls / "STOP").touch()
    sent = len(here.wire.sent)
    getattr(here.trader, job)(here.session)
    assert len(here.wire.sent) == sent
    assert [event["event"] for event in here.events("stopped_by_file", "not_sent")] == ["stopped_by_file"]
