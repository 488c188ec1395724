"""Where a run trades, from when, and what it takes up from the run before."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from config import Settings
from paper_exchange import PaperExchange
from paper_exchange.market.generated import GeneratedMarket
from paper_exchange.streams.server import Server
from tests.app.whole_day import CALENDAR, write_bars
from trading.app import cli
from trading.app import worlds as startup
from trading.app.run import Run
from trading.app.signals import Stop, Stops
from trading.app.worlds import World, choose
from trading.base.clock import NEW_YORK, SimulatedClock, SystemClock
from trading.base.errors import BrokerError, UserError
from trading.broker.client import Broker
from trading.records.trade_log import Trade
from trading.reports.console import Output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "bars"
    write_bars(folder, date(2025, 3, 3), date(2025, 3, 11), stocks=3)
    return folder


def settings(root: Path, **values: Any) -> Settings:
    folders = {f"{name}_DIR": root / name.lower() for name in ("DATA", "MODELS", "LOGS")}
    return Settings.of(**{"MARKET_STOCKS": 40, **folders, **values})


def chosen(root: Path, options: dict[str, Any] | None = None, **values: Any) -> Any:
    given = {"broker": None, "bars": None, "start": None, "sessions": None} | (options or {})
    return choose(argparse.Namespace(**given), settings(root, **values), CALENDAR)


def opened(root: Path, options: dict[str, Any] | None = None, **values: Any) -> World:
    (root / "logs").mkdir(parents=True, exist_ok=True)
    return chosen(root, options, **values).open()


def new_york(world: World) -> str:
    return f"{world.clock.now().astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"


KEYS: dict[str, Any] = {"APCA_API_KEY_ID": "key", "APCA_API_SECRET_KEY": "secret"}


# Which world


def test_without_keys_it_is_the_generated_market_after_its_history(tmp_path: Path) -> None:
    world = opened(tmp_path, HISTORY_DAYS=3)
    assert world.market.generated and not world.anew
    assert isinstance(world.clock, SimulatedClock) and world.sessions == 1
    assert new_york(world) == "2025-01-06 20:00:00"  # three sessions are over: the 2nd, the 3rd and the 6th
    assert "simulated clock from" in world.said
    world.close()


def test_a_seed_and_other_numbers_make_another_market(tmp_path: Path) -> None:
    slugs = [chosen(tmp_path, **values).market.slug for values in ({}, {"SEED": 2}, {"LEARNABILITY": 0.0})]
    assert len(set(slugs)) == 3


def test_with_keys_it_is_alpaca_without_an_end(tmp_path: Path) -> None:
    world = opened(tmp_path, **KEYS)
    assert (world.market.slug, world.market.generated) == ("alpaca-iex", False)
    assert isinstance(world.clock, SystemClock) and world.sessions is None
    assert "no real money" in world.said


@pytest.mark.parametrize("options", [{"broker": "embedded"}, {"start": date(2025, 3, 3)}])
def test_keys_do_not_make_a_replay_or_the_embedded_broker_alpaca(tmp_path: Path, options: dict[str, Any]) -> None:
    assert chosen(tmp_path, options, **KEYS).market.generated


def test_alpaca_refuses_a_replay_missing_keys_and_the_live_host(bars: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave --broker alpaca out"):
        chosen(tmp_path, {"broker": "alpaca", "bars": bars}, **KEYS)
    with pytest.raises(BrokerError, match="APCA_API_KEY_ID"):
        chosen(tmp_path, {"broker": "alpaca"})
    with pytest.raises(UserError, match="paper only"):
        chosen(tmp_path, APCA_API_BASE_URL="https://api.alpaca.markets", **KEYS)


def test_recorded_bars_are_traded_from_the_day_given_and_by_default_to_their_end(bars: Path, tmp_path: Path) -> None:
    world = opened(tmp_path, {"bars": bars, "start": date(2025, 3, 10), "sessions": 2})
    assert world.anew and not world.market.generated
    assert new_york(world) == "2025-03-07 20:00:00"  # the evening before, in winter time
    world.close()
    world = opened(tmp_path, {"bars": bars, "sessions": 3})
    assert new_york(world) == "2025-03-06 20:00:00"
    world.close()


def test_other_bars_are_another_market(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    for path in bars.glob("*.csv"):
        (tmp_path / "bars" / path.name).write_bytes(path.read_bytes() + b"\n")
    slugs = [chosen(tmp_path, {"bars": folder}).market.slug for folder in (bars, tmp_path / "bars")]
    assert all(slug.startswith("bars-bars-") for slug in slugs) and len(set(slugs)) == 2


def test_bars_that_cannot_be_right_are_said(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    for path in bars.glob("*.csv"):
        header, first, *rest = path.read_text().splitlines(keepends=True)
        parts = first.split(",")
        parts[3] = "0.01"  # a high below the low
        (tmp_path / "bars" / path.name).write_text("".join([header, ",".join(parts), *rest]))
    world = opened(tmp_path, {"bars": tmp_path / "bars"})
    assert len(world.notes) == 1 and "left out" in world.notes[0] and "3 " in world.notes[0]
    world.close()


# The run before


def test_the_generated_market_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    first = opened(tmp_path, HISTORY_DAYS=3)
    account = Broker(first.clients).account()
    first.clock.sleep_until(datetime(2025, 1, 7, 16, 1, tzinfo=UTC))
    Broker(first.clients).account()
    first.close()
    second = opened(tmp_path, HISTORY_DAYS=3)
    assert new_york(second) == "2025-01-07 11:01:00"
    assert "goes on at 2025-01-07 11:01" in second.said
    assert Broker(second.clients).account().cash == account.cash
    second.close()


def test_a_replay_begins_anew_and_keeps_the_logs_before(bars: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for run in (1, 2):
        for name in ("trades_2025-03-07.json", "audit_2025-03-07.jsonl", "schedule.json", "market.json", "notes.txt"):
            (logs / name).write_text(f"{name} of run {run}")
        opened(tmp_path, {"bars": bars}).close()
        kept = logs / "earlier" / str(run)
        assert (kept / "trades_2025-03-07.json").read_text() == f"trades_2025-03-07.json of run {run}"
        assert not (kept / "market.json").exists() and (logs / "notes.txt").exists()
        assert not (logs / "schedule.json").exists()
    assert (logs / "earlier" / "2" / "paper_exchange.sqlite").exists()  # of the first replay


def test_a_damaged_account_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / startup.STATE_FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match=r"paper_exchange\.sqlite.* to begin with a new account"):
        opened(tmp_path)


# A real socket


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    exchange = PaperExchange(
        GeneratedMarket(1, 12), lambda: datetime(2025, 3, 3, 15, 0, tzinfo=UTC), keys=("key", "secret")
    )
    server = Server(exchange, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def test_an_exchange_on_loopback_is_traded_like_alpaca(address: str, tmp_path: Path) -> None:
    world = opened(tmp_path, APCA_API_BASE_URL=address, **KEYS)
    assert Broker(world.clients).account().cash == 100_000
    refused = opened(tmp_path, APCA_API_BASE_URL=address, **{**KEYS, "APCA_API_SECRET_KEY": "wrong"})
    with pytest.raises(BrokerError, match="401"):
        Broker(refused.clients).account()


# A broker that is silent at the start


def silent_start(root: Path, logs: dict[str, str]) -> Run:
    world = opened(root, APCA_API_BASE_URL="http://127.0.0.1:9", **KEYS)
    for name, text in logs.items():
        (root / "logs" / name).write_text(text)
    return Run(world, settings(root, APCA_API_BASE_URL="http://127.0.0.1:9", **KEYS), CALENDAR, Output())


def test_a_start_that_has_nothing_to_lose_ends_where_the_broker_is_silent(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"gives no answer.*APCA_API_BASE_URL"):
        silent_start(tmp_path, {"trades_2025-03-03.json": "[]"})._first_answer()


HELD = Trade("AAA", 5, Decimal(10), datetime(2025, 3, 3, 15, tzinfo=UTC), 0.7, Decimal("9.8"), Decimal("10.4"))
SENT = '{"time": "2025-03-03T10:00:02.000-05:00", "event": "entry_intent", "symbol": "AAA"}'


@pytest.mark.parametrize(
    "logs",
    [
        {"trades_2025-03-03.json": orjson.dumps([HELD.as_json()]).decode()},
        {"audit_2025-03-03.jsonl": SENT + chr(10)},
    ],
    ids=["a trade is open", "a purchase was sent"],
)
def test_a_start_that_may_hold_shares_goes_on_and_asks_again(tmp_path: Path, logs: dict[str, str]) -> None:
    run = silent_start(tmp_path, logs)
    assert run._first_answer() is None
    notes = [event["note"] for event in run.journal.newest_events(9) if event["event"] == "broker_unclear"]
    assert notes == ["shares may be held: it is asked again"]


# Folders


def test_folders_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    startup.check_folder(tmp_path / "not" / "there" / "yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(UserError, match="is a file, not a folder"):
            startup.check_folder(folder)


# Being stopped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_stage_with_the_shells_exit_code(
    number: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def main() -> int:
        os.kill(os.getpid(), number)
        threading.Event().wait(30)
        return 0

    assert cli.run(main) == code
    assert capsys.readouterr().err == "stopped\n"
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_signal_that_is_diverted_is_remembered_and_raises_nothing() -> None:
    called = []
    with Stops() as stops:
        stops.divert(lambda: called.append(1))
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert len(called) == 2
    assert stops.stop is not None and stops.stop.exit_code == 143  # the first one counts


def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stops():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stop_is_an_interrupt_so_that_nothing_takes_it_for_a_failure() -> None:
    assert issubclass(Stop, KeyboardInterrupt) and not issubclass(Stop, Exception)
