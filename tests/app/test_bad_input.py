"""Mistakes of a new user: one line on stderr that names the cause and the remedy, exit code 2, and no file changed.

Most tests run the `main` of a script in this process; some need another process, another file system or a socket.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import LimitOrderRequest

import build_dataset
import live_trader
import market_scheduler
import ml_predictor
import ml_trainer
from paper_exchange import PaperExchange
from paper_exchange.market.generator.market import GeneratedMarket
from paper_exchange.streams.server import Server
from tests.app.whole_day import Place, clean_environment, trade, write_bars
from trading.app import cli
from trading.base.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEADER = "symbol,timestamp,open,high,low,close,volume\n"
ROW = "AAA,2025-03-03T14:30:00Z,5,5,5,5,100\n"
FIRST, LAST = date(2025, 3, 3), date(2025, 3, 7)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "bars"
    write_bars(folder, FIRST, LAST, stocks=6)
    return folder


@pytest.fixture(scope="module")
def traded(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Folders that hold data, a model and logs."""
    place = Place.make(tmp_path_factory.mktemp("traded"), HISTORY_DAYS=3)
    assert trade(place, "--bars", bars, "--start", date(2025, 3, 6)) == 0
    return place


def content(root: Path) -> dict[str, bytes]:
    """Path -> content of every file below a folder."""
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused(
    capsys: pytest.CaptureFixture[str], main: Callable[..., int], arguments: list[str], root: Path, *words: str
) -> None:
    """Check that a script ends with exit code 2 and one line with these words, and changes no file."""
    before = content(root)
    capsys.readouterr()
    with clean_environment():
        try:
            code = cli.run(lambda: main(arguments))
        except SystemExit as exit_:  # argparse
            code = int(exit_.code or 0)
    error = capsys.readouterr().err
    assert code == 2, error
    assert one_line(error), error
    for word in words:
        assert word in error
    assert content(root) == before


def one_line(error: str) -> bool:
    return error.startswith("error: ") and error.endswith("\n") and error.count("\n") == 1


# The command line and the settings

LIVE: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "outside the bars, a holiday": (["--bars=BARS", "--start=2025-01-09"], ("2025-01-09", "choose a day in between")),
    "beyond the end": (
        ["--bars=BARS", "--start=2025-03-05", "--sessions=9"],
        ("--sessions 9", "the bars end on 2025-03-07", "choose at most 3 sessions"),
    ),
    "more than there are": (
        ["--bars=BARS", "--sessions=9"],
        ("--sessions 9", "the bars hold 5 sessions", "choose at most 3"),
    ),
    "outside the bars": (["--bars=BARS", "--start=2018-03-26"], ("2018-03-26", "2025-03-03 and 2025-03-07")),
    "too early": (["--bars=BARS", "--start=2025-03-04"], ("2025-03-04", "start on 2025-03-05 or later")),
    "no date": (["--start=26.3.2018"], ("--start", "26.3.2018", "write it as 2018-03-26")),
    "holiday, generated": (["--start=2025-07-04"], ("2025-07-04", "the next session is 2025-07-07")),
    "weekend, generated": (["--start=2025-03-08"], ("2025-03-08", "the next session is 2025-03-10")),
    "before the market, generated": (["--start=2024-01-03"], ("2024-01-03", "lie between 2025-01-02")),
    "without history, generated": (["--start=2025-01-03"], ("2025-01-03", "start on 2025-01-06 or later")),
    "beyond the calendar, generated": (
        ["--start=2025-03-05", "--sessions=2000"],
        ("--sessions 2000: the exchange calendar ends on", "choose at most", "or an earlier start"),
    ),
    "no sessions": (["--sessions=0"], ("--sessions", "'0' is not a whole number of at least 1")),
    "no seed": (["--seed=x"], ("--seed", "'x'")),
    "unknown option": (["--begin=2025-03-05"], ("--begin", "see --help")),
    "no such folder": (["--bars=nowhere"], ("nowhere", "no such folder")),
    "no keys": (["--broker=alpaca"], ("APCA_API_KEY_ID", "leave --broker out")),
    "both": (["--broker=alpaca", "--bars=BARS"], ("--bars", "leave --broker alpaca out")),
}


@pytest.mark.parametrize("case", LIVE)
def test_command_lines(case: str, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, words = LIVE[case]
    place = Place.make(tmp_path)
    arguments = [option.replace("BARS", str(bars)) for option in options]
    refused(capsys, live_trader.main, place.arguments(*arguments), tmp_path, *words)


SETTINGS = {
    "mistyped": ("MIN_CONFIDANCE=0.65", ("settings.env", "MIN_CONFIDANCE", "did you mean MIN_CONFIDENCE?")),
    "a percentage": ("MIN_CONFIDENCE=65", ("settings.env", "MIN_CONFIDENCE=65", "did you mean 0.65?")),
    "no number": ("STOP_LOSS_PCT=two", ("STOP_LOSS_PCT=two",)),
    "no assignment": ("what is this", ("settings.env", "line 1", "NAME=value")),
    "half a pair of keys": ("APCA_API_KEY_ID=abc", ("APCA_API_SECRET_KEY is not",)),
    "no such features": ("FEATURE_SET=ratios", ("settings.env", "FEATURE_SET=ratios", "'document' or 'relative'")),
    "a profit in per cent": (
        "LABEL_MIN_PROFIT=0.2",
        ("settings.env", "LABEL_MIN_PROFIT=0.2", "0.002 for 0.2 per cent"),
    ),
    "no price": ("MAX_PRICE=1e300", ("MAX_PRICE=1e300", "less than or equal to 10000000")),
    "no time-out": ("READ_TIMEOUT_SECONDS=86400", ("READ_TIMEOUT_SECONDS=86400", "less than or equal to 60")),
    "no account": ("PAPER_CASH=1e15", ("PAPER_CASH=1e15", "less than or equal to 100000000000")),
    "more history than the generated market has": ("HISTORY_DAYS=100000", ("HISTORY_DAYS=100000", "choose at most")),
    "upside down": ("MIN_PRICE=30", ("MIN_PRICE=30", "below MAX_PRICE")),
    "the live host": (
        "APCA_API_KEY_ID=a\nAPCA_API_SECRET_KEY=b\nAPCA_API_BASE_URL=https://api.alpaca.markets",
        ("APCA_API_BASE_URL=https://api.alpaca.markets", "paper only"),
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, words = SETTINGS[case]
    place = Place(tmp_path)
    (tmp_path / "settings.env").write_text(lines)
    refused(capsys, live_trader.main, place.arguments(), tmp_path, *words)


def test_a_missing_settings_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, live_trader.main, Place(tmp_path).arguments(), tmp_path, "settings.env", "correct the name")


# Bars

FILES = {
    "empty": ("", "is empty"),
    "header only": (HEADER, "no bars"),
    "other columns": ("time,price\n1,2\n", "header must be"),
    "no number": (HEADER + ROW.replace(",5,5,", ",5,x,"), "'x'"),
    "no time": (HEADER + ROW.replace("2025-03-03T14:30:00Z", "yesterday"), "yesterday"),
    "not text": ("\x00\x01" * 50, "AAA.csv"),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("stage", ["live_trader", "build_dataset"])
def test_bar_files(case: str, stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, words = FILES[case]
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars" / "AAA.csv").write_text(text)
    place = Place.make(tmp_path)
    if stage == "live_trader":
        arguments = place.arguments("--bars", tmp_path / "bars", "--start", "2025-03-05")
        refused(capsys, live_trader.main, arguments, tmp_path, str(tmp_path / "bars" / "AAA.csv"), words)
    else:
        arguments = [f"--data-dir={place.data}", f"--bars={tmp_path / 'bars'}"]
        refused(capsys, build_dataset.main, arguments, tmp_path, str(tmp_path / "bars" / "AAA.csv"))


def test_unknown_symbols(bars: Path, traded: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--data-dir={tmp_path / 'data'}", f"--bars={bars}", "--symbols=NOPE"]
    refused(capsys, build_dataset.main, arguments, tmp_path, "NOPE", "no such stock")
    arguments = traded.arguments("--symbols", "NOPE")
    refused(capsys, ml_predictor.main, arguments, traded.root, "NOPE", "it holds")


def test_a_damaged_rows_file(traded: Place, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(traded.data.glob("*.csv"))
    whole = path.read_bytes()
    folders = [f"--data-dir={traded.data}", f"--models-dir={traded.models}"]
    try:
        for damaged in (b"", b"not,a,row\n", whole[: len(whole) // 2], whole.replace(b"0.", b"O.", 1)):
            path.write_bytes(damaged)
            refused(capsys, ml_trainer.main, folders, traded.root, str(path))
    finally:
        path.write_bytes(whole)


# Models


def test_no_data_and_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    arguments = [f"--data-dir={place.data}", f"--models-dir={place.models}"]
    refused(capsys, ml_trainer.main, arguments, tmp_path, "no dataset here", "run python build_dataset.py")
    refused(capsys, ml_predictor.main, place.arguments(), tmp_path, "no model in it", "run python ml_trainer.py")


def test_a_damaged_model_is_named_and_the_older_one_is_used(traded: Place, capsys: pytest.CaptureFixture[str]) -> None:
    models = sorted(traded.models.glob("model_*.pkl"))
    kept = {path: path.read_bytes() for path in models}
    try:
        models[-1].write_bytes(kept[models[-1]][:-1])
        with clean_environment():
            assert cli.run(lambda: ml_predictor.main(traded.arguments())) == 0
        warned = capsys.readouterr().err.splitlines()[0]
        assert warned.startswith("warning: ") and models[-1].name in warned and "damaged" in warned
        for path in models:
            path.write_bytes(b"no model")
        with clean_environment():
            assert cli.run(lambda: ml_predictor.main(traded.arguments())) == 2
        *warnings, last = capsys.readouterr().err.splitlines()
        assert len(warnings) == len(models) and all(line.startswith("warning: ") for line in warnings)
        assert last.startswith("error: ") and "run python ml_trainer.py" in last
    finally:
        for path, whole in kept.items():
            path.write_bytes(whole)


def test_dates_outside_the_calendar(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def main(arguments: list[str]) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["market_scheduler.py", *arguments])
            return market_scheduler.main()

    env = f"--env-file={os.devnull}"
    refused(capsys, main, ["--date=2300-01-01", env], tmp_path, "2300-01-01", "1990-01-02")
    refused(capsys, main, ["--date=2025-02-30", env], tmp_path, "2025-02-30", "write it as")


# Folders and disks


@pytest.mark.parametrize("name", ["data", "models", "logs"])
def test_a_file_in_place_of_a_folder(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    (tmp_path / name).write_text("mine")
    refused(capsys, live_trader.main, place.arguments(), tmp_path, str(tmp_path / name), "is a file, not a folder")


def test_a_folder_with_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.txt").write_text("mine")
    before = content(tmp_path / "models")
    with clean_environment():
        assert cli.run(lambda: live_trader.main(place.arguments())) == 2
    assert one_line(error := capsys.readouterr().err) and str(tmp_path / "models") in error
    assert content(tmp_path / "models") == before


def mount(disk: Path, options: str) -> None:
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written: by its permissions or, for root, because its file system is read-only."""
    folder = tmp_path / "read-only"
    if os.geteuid():
        folder.mkdir(mode=0o555)
        yield folder
        folder.chmod(0o755)
    else:
        mount(folder, "ro,size=64M")
        yield folder
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("name", ["data", "models", "logs"])
@pytest.mark.parametrize("itself", [True, False], ids=["itself", "above"])
def test_a_read_only_folder(
    name: str, itself: bool, read_only: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place.make(tmp_path / "run")
    folder = read_only if itself else read_only / name
    arguments = [*place.arguments(), f"--{name}-dir={folder}"]
    refused(capsys, live_trader.main, arguments, tmp_path, str(read_only), "another folder")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    disk = tmp_path / "disk"
    mount(disk, "size=400k")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("name", ["data", "models", "logs"])
def test_a_disk_without_room_for_a_day(
    name: str, small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place.make(tmp_path)
    arguments = [*place.arguments(), f"--{name}-dir={small_disk / name}"]
    refused(capsys, live_trader.main, arguments, tmp_path, str(small_disk / name), "free some space")


def test_a_disk_that_fills_up(bars: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_disk / "data"
    with clean_environment():
        assert cli.run(lambda: build_dataset.main([f"--data-dir={data}", f"--bars={bars}"])) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {data}") and "free some space" in error
    assert not list(data.rglob("*.tmp"))
    assert not (data / "dataset.json").exists()  # so readers see no dataset, and the next build starts over


# The network


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A paper exchange on a real socket that accepts one pair of keys."""
    market = GeneratedMarket(1, 12)
    exchange = PaperExchange(market, lambda: datetime(2025, 3, 3, 15, 0, tzinfo=UTC), keys=("key", "secret"))
    server = Server(exchange, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def settings_for(place: Place, address: str, secret: str) -> None:
    lines = (f"APCA_API_BASE_URL={address}", "APCA_API_KEY_ID=key", f"APCA_API_SECRET_KEY={secret}")
    (place.root / "settings.env").write_text("\n".join(lines))


def test_wrong_keys(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path)
    settings_for(place, address, "another-secret")
    with clean_environment():
        assert cli.run(lambda: live_trader.main(place.arguments())) == 2
    said = capsys.readouterr()
    assert one_line(said.err), said.err
    assert "401" in said.err and "APCA_API_SECRET_KEY" in said.err
    assert not list(place.data.glob("*.csv")) and not list(place.models.glob("*.pkl"))
    assert not list(place.logs.glob("trades_*"))
    everything = said.out + said.err + "".join(map(str, content(tmp_path / "logs").values()))
    assert "another-secret" not in everything


def test_an_account_that_another_trader_trades(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    person = TradingClient("key", "secret", paper=True, url_override=address)
    symbol = GeneratedMarket(1, 12).listings[0].symbol
    name = f"mlt-t99-20250303-{symbol}-1000-entry"
    person.submit_order(
        LimitOrderRequest(symbol=symbol, qty=1, side="buy", time_in_force="day", limit_price=0.5, client_order_id=name)
    )
    monkeypatch.setattr(SystemClock, "now", lambda self: datetime(2025, 3, 3, 15, 0, 40, tzinfo=UTC))
    place = Place(tmp_path)
    settings_for(place, address, "secret")
    with clean_environment():
        assert cli.run(lambda: live_trader.main(place.arguments())) == 2
    assert one_line(error := capsys.readouterr().err), error
    assert (
        f"trader t99 sent {name} at 2025-03-03 10:00:00 New York" in error
        and "after 10:02:00 with --take-over t99" in error
    )
    assert not list(place.data.glob("*.csv")) and not list(place.models.glob("*.pkl"))
    assert [order.client_order_id for order in person.get_orders()] == [name]  # type: ignore[union-attr]


def test_wrong_keys_when_building_the_dataset(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path)
    settings_for(place, address, "another-secret")
    arguments = [f"--data-dir={place.data}", f"--env-file={tmp_path / 'settings.env'}"]
    refused(capsys, build_dataset.main, arguments, tmp_path, "refuses the keys (401)")


def test_an_address_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path)
    settings_for(place, "http://127.0.0.1:9", "secret")
    with clean_environment():
        assert cli.run(lambda: live_trader.main(place.arguments())) == 1  # it may answer later: a service tries again
    assert one_line(error := capsys.readouterr().err), error
    assert "does not answer" in error and "APCA_API_BASE_URL" in error
