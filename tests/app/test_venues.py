"""The venue of a run: which one, from when, and what it resumes; and the signals that stop a run."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from config import Settings
from paper_exchange import PaperExchange
from paper_exchange.market.generator.market import GeneratedMarket
from paper_exchange.streams.server import Server
from tests.app.whole_day import CALENDAR, write_bars
from trading.app import cli
from trading.app.inputs import check_folder
from trading.app.live import venues
from trading.app.live.account_state import first_account
from trading.app.live.run import Run
from trading.app.live.signals import SignalHandler, StopSignal
from trading.app.live.venues import AlpacaVenue, EmbeddedVenue, OpenVenue, choose_venue
from trading.base.clock import NEW_YORK, SimulatedClock, SystemClock
from trading.base.errors import BrokerError, UserError
from trading.broker.client import Broker
from trading.records.trade_log import Trade
from trading.reports.console import Output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trading.broker.messages import Account


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "bars"
    write_bars(folder, date(2025, 3, 3), date(2025, 3, 11), stocks=3)
    return folder


def settings(root: Path, **values: Any) -> Settings:
    folders = {f"{name}_DIR": root / name.lower() for name in ("DATA", "MODELS", "LOGS")}
    return Settings.of(**{"MARKET_STOCKS": 40, **folders, **values})


def chosen(root: Path, options: dict[str, Any] | None = None, **values: Any) -> AlpacaVenue | EmbeddedVenue:
    given = {"broker": None, "bars": None, "start": None, "sessions": None, "timezone": None, "bar_end": False}
    return choose_venue(argparse.Namespace(**given | (options or {})), settings(root, **values), CALENDAR)


def opened(root: Path, options: dict[str, Any] | None = None, **values: Any) -> OpenVenue:
    (root / "logs").mkdir(parents=True, exist_ok=True)
    return chosen(root, options, **values).open()


def new_york(venue: OpenVenue) -> str:
    return f"{venue.clock.now().astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"


KEYS: dict[str, Any] = {"APCA_API_KEY_ID": "key", "APCA_API_SECRET_KEY": "secret"}


# The choice of the venue


def test_without_keys_the_venue_is_the_generated_market_after_its_history(tmp_path: Path) -> None:
    venue = opened(tmp_path, HISTORY_DAYS=3)
    assert venue.market.generated and not venue.is_replay
    assert isinstance(venue.clock, SimulatedClock) and venue.sessions == 1
    assert new_york(venue) == "2025-01-06 20:00:00"  # three sessions have closed: the 2nd, the 3rd and the 6th
    assert "simulated clock from" in venue.description
    venue.close()


def test_each_seed_and_learnability_is_a_market_of_its_own(tmp_path: Path) -> None:
    slugs = [chosen(tmp_path, **values).market.slug for values in ({}, {"SEED": 2}, {"LEARNABILITY": 0.0})]
    assert len(set(slugs)) == 3


def newest_minutes(venue: OpenVenue, instant: datetime) -> set[str]:
    """The starts of the newest bars of all stocks at an instant."""
    venue.clock.sleep_until(instant)
    symbols = [asset["symbol"] for asset in venue.clients.trading.get("/assets", {"status": "active"})]
    found: Any = venue.clients.data.get("/stocks/bars/latest", {"symbols": ",".join(symbols)})
    return {bar["t"][11:16] for bar in found["bars"].values()}


def test_the_embedded_exchange_shows_bars_seconds_late_unless_it_is_told_not_to(tmp_path: Path) -> None:
    minute = datetime(2025, 1, 7, 15, 31, tzinfo=UTC)
    for name, delay, early in (("alpaca", {}, False), ("at-once", {"BAR_DELAY_SECONDS": 0}, True)):
        venue = opened(tmp_path / name, None, **{"HISTORY_DAYS": 3, **delay})
        assert ("15:30" in newest_minutes(venue, minute + timedelta(seconds=0.9))) is early
        assert "15:30" in newest_minutes(venue, minute + timedelta(seconds=3))
        venue.close()


def test_with_the_coverage_of_iex_the_market_is_another_one_with_fewer_bars(bars: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"bars": bars, "start": date(2025, 3, 10)}
    iex: dict[str, Any] = {"MARKET_COVERAGE": "iex", "BAR_DELAY_SECONDS": 0}
    whole, thin = opened(tmp_path / "whole", options, BAR_DELAY_SECONDS=0), opened(tmp_path / "iex", options, **iex)
    assert thin.market.slug == f"{whole.market.slug}-as-iex" and "IEX" in thin.market.description
    minute = datetime(2025, 3, 10, 14, 31, 1, tzinfo=UTC)
    assert min(newest_minutes(thin, minute)) < min(newest_minutes(whole, minute))
    whole.close()
    thin.close()


def test_with_keys_the_venue_is_alpaca_without_a_limit_of_sessions(tmp_path: Path) -> None:
    venue = opened(tmp_path, **KEYS)
    assert (venue.market.slug, venue.market.generated) == ("alpaca-iex", False)
    assert isinstance(venue.clock, SystemClock) and venue.sessions is None
    assert "no real money" in venue.description


@pytest.mark.parametrize("options", [{"broker": "embedded"}, {"start": date(2025, 3, 3)}])
def test_a_replay_and_the_embedded_broker_ignore_the_keys(tmp_path: Path, options: dict[str, Any]) -> None:
    assert chosen(tmp_path, options, **KEYS).market.generated


def test_alpaca_refuses_a_replay_missing_keys_and_the_live_host(bars: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave --broker alpaca out"):
        chosen(tmp_path, {"broker": "alpaca", "bars": bars}, **KEYS)
    with pytest.raises(BrokerError, match="APCA_API_KEY_ID"):
        chosen(tmp_path, {"broker": "alpaca"})
    with pytest.raises(UserError, match="paper only"):
        chosen(tmp_path, APCA_API_BASE_URL="https://api.alpaca.markets", **KEYS)


def test_recorded_bars_are_traded_from_the_start_or_else_up_to_their_end(bars: Path, tmp_path: Path) -> None:
    venue = opened(tmp_path, {"bars": bars, "start": date(2025, 3, 10), "sessions": 2})
    assert venue.is_replay and not venue.market.generated
    assert new_york(venue) == "2025-03-07 20:00:00"  # the evening before, in winter time
    venue.close()
    venue = opened(tmp_path, {"bars": bars, "sessions": 3})
    assert new_york(venue) == "2025-03-06 20:00:00"
    venue.close()


def test_different_bars_are_different_markets(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    for path in bars.glob("*.csv"):
        (tmp_path / "bars" / path.name).write_bytes(path.read_bytes() + b"\n")
    slugs = [chosen(tmp_path, {"bars": folder}).market.slug for folder in (bars, tmp_path / "bars")]
    assert all(slug.startswith("bars-bars-") for slug in slugs) and len(set(slugs)) == 2


def test_implausible_bars_are_reported(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    for path in bars.glob("*.csv"):
        header, first, *rest = path.read_text().splitlines(keepends=True)
        parts = first.split(",")
        parts[3] = "0.01"  # a high below the low
        (tmp_path / "bars" / path.name).write_text("".join([header, ",".join(parts), *rest]))
    venue = opened(tmp_path, {"bars": tmp_path / "bars"})
    assert len(venue.notes) == 1 and "left out" in venue.notes[0] and "3 " in venue.notes[0]
    venue.close()


# The previous run


def test_the_generated_market_resumes_where_the_last_run_ended(tmp_path: Path) -> None:
    first = opened(tmp_path, HISTORY_DAYS=3)
    account = Broker(first.clients).account()
    first.clock.sleep_until(datetime(2025, 1, 7, 16, 1, tzinfo=UTC))
    Broker(first.clients).account()
    first.close()
    second = opened(tmp_path, HISTORY_DAYS=3)
    assert new_york(second) == "2025-01-07 11:01:00"
    assert "resumes at 2025-01-07 11:01" in second.description
    assert Broker(second.clients).account().cash == account.cash
    second.close()


def test_a_replay_starts_from_scratch_and_keeps_the_earlier_logs(bars: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for run in (1, 2):
        moved = ("trades_2025-03-07.json", "audit_2025-03-07.jsonl", "schedule.json", "report.html", "index.html")
        for name in (*moved, "market.json", "notes.txt"):
            (logs / name).write_text(f"{name} of run {run}")
        opened(tmp_path, {"bars": bars}).close()
        kept = logs / "earlier" / str(run)
        for name in moved:
            assert (kept / name).read_text() == f"{name} of run {run}"
            assert (logs / name).exists() == (name == "index.html")  # a new one, which links to the earlier report
        assert f'href="earlier/{run}/report.html"' in (logs / "index.html").read_text()
        assert not (kept / "market.json").exists() and (logs / "notes.txt").exists()
    assert (logs / "earlier" / "2" / "paper_exchange.sqlite").exists()  # of the first replay


def test_a_damaged_account_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / venues.STATE_FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match=r"paper_exchange\.sqlite.* to begin with a new account"):
        opened(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_an_account_that_is_lost_does_not_silently_become_a_new_one(tmp_path: Path, damage: str) -> None:
    opened(tmp_path, HISTORY_DAYS=3).close()
    logs = tmp_path / "logs"
    for path in logs.glob(f"{venues.STATE_FILE}*"):
        path.unlink()
    opened(tmp_path, HISTORY_DAYS=3).close()  # nothing was traded: a new one is as good
    (logs / "trades_2025-01-07.json").write_text("[]")
    for path in logs.glob(f"{venues.STATE_FILE}*"):
        path.unlink() if damage == "missing" else path.write_bytes(b"")
    with pytest.raises(UserError, match=r"paper_exchange\.sqlite: the account is lost.*move .*logs away"):
        opened(tmp_path, HISTORY_DAYS=3)


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
    venue = opened(tmp_path, APCA_API_BASE_URL=address, **KEYS)
    assert Broker(venue.clients).account().cash == 100_000
    refused = opened(tmp_path, APCA_API_BASE_URL=address, **{**KEYS, "APCA_API_SECRET_KEY": "wrong"})
    with pytest.raises(BrokerError, match="401"):
        Broker(refused.clients).account()


# A broker that does not answer at the start


def silent_start(root: Path, logs: dict[str, str]) -> Run:
    venue = opened(root, APCA_API_BASE_URL="http://127.0.0.1:9", **KEYS)
    for name, text in logs.items():
        (root / "logs" / name).write_text(text)
    return Run(venue, settings(root, APCA_API_BASE_URL="http://127.0.0.1:9", **KEYS), CALENDAR, Output())


def account_at_start(run: Run) -> Account | None:
    return first_account(run.broker, run.log, run.journal, run.venue.clock)


def test_a_run_without_shares_ends_if_the_broker_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"does not answer.*APCA_API_BASE_URL"):
        account_at_start(silent_start(tmp_path, {"trades_2025-03-03.json": "[]"}))


HELD = Trade("AAA", 5, Decimal(10), datetime(2025, 3, 3, 15, tzinfo=UTC), 0.7, Decimal("9.8"), Decimal("10.4"))
SENT = '{"time": "2025-03-03T10:00:02.000-05:00", "event": "entry_intent", "symbol": "AAA"}'


@pytest.mark.parametrize(
    "logs",
    [
        {"trades_2025-03-03.json": orjson.dumps([HELD.as_json()]).decode()},
        {"audit_2025-03-03.jsonl": SENT + chr(10)},
    ],
    ids=["a trade is open", "an entry was sent"],
)
def test_a_run_that_may_hold_shares_continues_and_asks_again(tmp_path: Path, logs: dict[str, str]) -> None:
    run = silent_start(tmp_path, logs)
    assert account_at_start(run) is None
    notes = [event["note"] for event in run.journal.newest_events(9) if event["event"] == "broker_unclear"]
    assert notes == ["shares may be held: the run continues and asks again"]


# Folders


def test_folders_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    check_folder(tmp_path / "not" / "there" / "yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(UserError, match="is a file, not a folder"):
            check_folder(folder)


# Signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_script_with_the_exit_code_of_a_shell(
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


def test_a_diverted_signal_is_recorded_and_raises_nothing() -> None:
    called = []
    with SignalHandler() as handler:
        handler.divert(lambda: called.append(1))
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert len(called) == 2
    assert handler.received is not None and handler.received.exit_code == 143  # the first signal counts


def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalHandler():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_no_handler_of_failures_catches_a_stop_signal() -> None:
    assert issubclass(StopSignal, KeyboardInterrupt) and not issubclass(StopSignal, Exception)
