"""The exchange as a server: a real socket and a real process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alpaca.data.enums import DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest, StockLatestBarRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import LimitOrderRequest

from paper_exchange import PaperExchange
from paper_exchange.__main__ import main, parser
from paper_exchange.base.calendar import xnys
from paper_exchange.base.clock import ScaledClock
from paper_exchange.base.wire import to_ns
from paper_exchange.market.generator.market import GeneratedMarket
from paper_exchange.serving import market_of
from tests.exchange.exchange_world import MONDAY, ny
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two sessions of one stock."""
    lines = ["symbol,timestamp,open,high,low,close,volume"]
    for day in (0, 1):
        for minute in range(390):
            stamp = ny(MONDAY, "09:30") + timedelta(days=day, minutes=minute)
            lines.append(f"AAA,{stamp.isoformat()},10.0,10.1,9.9,10.0,1000")
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars" / "AAA.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "bars"


def serve(folder: Path, port: int, state: Path, *more: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "paper_exchange",
        "--port",
        str(port),
        "--bars",
        str(folder),
        "--state",
        str(state),
    ]
    process = subprocess.Popen([*command, *more], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_until_it_listens(process)
    return process


def wait_until_it_listens(server: subprocess.Popen) -> None:
    assert server.stdout is not None
    if not any(line.startswith("listening") for line in server.stdout):
        raise AssertionError("the server ended before it listened")


def test_it_serves_the_real_client_and_keeps_its_state(folder: Path, tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "state.sqlite"
    server = serve(folder, port, state, "--start", "2018-03-26T10:31:02", "--cash", "5000")
    try:
        client: Any = TradingClient("any", "keys", url_override=f"http://127.0.0.1:{port}")
        order = client.submit_order(
            LimitOrderRequest(symbol="AAA", qty=1, side="buy", limit_price=9.0, time_in_force="gtc")
        )
        assert client.get_account().buying_power == "9991"  # of a margin account
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=120) == 0
    server = serve(folder, port, state)
    try:
        client = TradingClient("any", "keys", url_override=f"http://127.0.0.1:{port}")
        assert client.get_order_by_id(order.id).status == "new"
        assert client.get_clock().timestamp >= ny(MONDAY, "10:31:02")
    finally:
        server.kill()
        server.wait(timeout=120)


def test_the_default_account_is_alpacas_paper_account(folder: Path, tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "state.sqlite"
    server = serve(folder, port, state, "--start", "2018-03-26T10:31:02")
    try:
        client: Any = TradingClient("any", "keys", url_override=f"http://127.0.0.1:{port}")
        assert client.get_account().shorting_enabled is True
        assert client.get_asset("AAA").fractionable is True
        short = LimitOrderRequest(symbol="AAA", qty=1, side="sell", limit_price=12.0, time_in_force="day")
        assert client.submit_order(short).position_intent == "sell_to_open"
        client.cancel_orders()
        while client.get_orders():  # a cancel may be pending
            time.sleep(0.05)
        half = LimitOrderRequest(symbol="AAA", qty=0.5, side="buy", limit_price=9.0, time_in_force="day")
        assert client.submit_order(half).qty == "0.5"
    finally:
        server.kill()
        server.wait(timeout=120)


def sessions_ago(count: int) -> date:
    """The session that lies `count` sessions before the latest one that has opened."""
    calendar = xnys()
    return calendar.sessions[calendar.opened_by(to_ns(datetime.now(UTC))).index - count].day


@pytest.mark.parametrize("symbols", [[], ["--symbols", "SPY,AAPL"]])
def test_a_generated_market_that_starts_now_makes_a_few_months_and_not_all_years_before(symbols: list[str]) -> None:
    options = parser().parse_args(["--start", "now", *symbols])
    earliest = sessions_ago(71)
    market = market_of(options)
    assert earliest <= market.first_session <= sessions_ago(70)
    assert market.identity.endswith(f" from {market.first_session}")
    assert market_of(options, kept="a generated market, as before from 2025-03-03").first_session == date(2025, 3, 3)
    assert market_of(options, kept="bars of files from 2018-03-26").first_session >= earliest
    assert market_of(parser().parse_args(symbols)).first_session == date(2025, 1, 2)
    near, late = (market_of(parser().parse_args(["--start", day, *symbols])) for day in ("2025-12-31", "2026-11-27"))
    assert (near.first_session, late.first_session) == (date(2025, 1, 2), date(2026, 8, 19))


def test_a_generated_market_has_real_symbols_and_todays_date(tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "state.sqlite"
    first = sessions_ago(80)  # a market that was started ten sessions ago goes on
    market = GeneratedMarket(1, ["SPY", "AAPL"], first)
    PaperExchange(market, lambda: datetime.now(UTC) - timedelta(days=14), state_path=state).close()
    options = ["--port", str(port), "--symbols", "SPY,AAPL", "--start", "now", "--state", str(state)]
    command = [sys.executable, "-m", "paper_exchange", *options]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        said = [server.stdout.readline() for _ in range(3)]
        assert "not real prices" in said[0] and "AAPL, SPY" in said[0]
        keys, origin = ("any", "keys"), f"http://127.0.0.1:{port}"
        trading: Any = TradingClient(*keys, url_override=origin)
        assert abs(trading.get_clock().timestamp - datetime.now(UTC)) < timedelta(seconds=30)
        assert [one.symbol for one in trading.get_all_assets() if one.tradable] == ["AAPL", "SPY"]
        data: Any = StockHistoricalDataClient(*keys, url_override=origin)
        request = StockLatestBarRequest(symbol_or_symbols=["SPY", "AAPL"], feed=DataFeed.IEX)
        found = data.get_stock_latest_bar(request)
        assert {bar.timestamp > datetime.now(UTC) - timedelta(days=6) for bar in found.values()} == {True}
        assert found["SPY"].close != found["AAPL"].close
        days = StockBarsRequest(
            symbol_or_symbols="SPY",
            timeframe=TimeFrame.Day,
            start=ny(first, "00:00") - timedelta(days=9),
            feed=DataFeed.IEX,
        )
        assert data.get_stock_bars(days)["SPY"][0].timestamp.date() == first
    finally:
        server.kill()
        server.wait(timeout=120)


def test_a_bot_that_knows_only_the_documentation_trades_spy_on_a_market_of_this_week() -> None:
    calendar = xnys()
    newest = calendar.opened_by(to_ns(datetime.now(UTC) - timedelta(days=1))).day
    port = free_port()
    options = ["--port", str(port), "--symbols", "SPY,AAPL", "--start", f"{newest}T10:31:02", "--speed", "60"]
    server = subprocess.Popen(
        [sys.executable, "-m", "paper_exchange", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_until_it_listens(server)
        bot = [sys.executable, str(ROOT / "tests/exchange/stranger_bot.py"), f"http://127.0.0.1:{port}"]
        done = subprocess.run(bot, capture_output=True, text=True, timeout=200, check=False)
    finally:
        server.kill()
        server.wait(timeout=120)
    assert done.returncode == 0, done.stderr
    fills = [line for line in done.stdout.splitlines() if line.startswith("update: fill")]
    assert fills == ["update: fill buy SPY", "update: fill sell SPY"]
    assert "position: 2 SPY" in done.stdout and "flat: 0 positions" in done.stdout


def test_a_bar_is_shown_a_second_after_its_minute_unless_bar_delay_is_0(folder: Path) -> None:
    found = []
    for options in ([], ["--bar-delay", "0"]):
        port = free_port()
        start = ["--start", "2018-03-26T10:31:00.5", "--speed", "0.001", "--port", str(port), "--bars", str(folder)]
        server = subprocess.Popen(
            [sys.executable, "-m", "paper_exchange", *start, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            wait_until_it_listens(server)
            data: Any = StockHistoricalDataClient("key", "secret", url_override=f"http://127.0.0.1:{port}")
            latest = data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="AAA"))["AAA"]
            found.append(latest.timestamp.minute)
        finally:
            server.kill()
            server.wait(timeout=120)
    assert found == [29, 30]


TEXTS = ("--bars", "--symbols", "--state", "--host", "--start", "--cash", "--behaviour", "--faults", "--timezone")
NO_SYMBOLS = {"SPY,a b": "a b", ",": "", "SPY,": "", "spy": "spy", "A/B": "A/B", "SPY, AAPL": " AAPL", "A.B.C": "A.B.C"}


LONG = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "0"], "--port 0: choose one from 1 to 65535"),
        (["--port", "8_765"], "--port: '8_765' is not a whole number"),
        (["--port", "\uff11"], "--port: '\uff11' is not a whole number"),
        (["--speed", "-1"], "--speed -1.0: choose one above 0"),
        (["--speed", "nan"], "--speed: 'nan' is not a number"),
        (["--speed", "0x10"], "--speed: '0x10' is not a number"),
        (["--cash", "much"], "--cash much: give dollars"),
        (["--cash", "NaN"], "--cash NaN: give dollars"),
        (["--cash", "1e6"], "--cash 1e6: give dollars"),
        (["--cash", "1_0"], "--cash 1_0: give dollars"),
        (["--cash", "10.001"], "--cash 10.001: give dollars and cents"),
        (["--cash", "-1"], "--cash -1: give dollars"),
        (["--cash", "1000000000000.01"], "give dollars and cents up to 1000000000000"),
        (["--chance-seed", "-1"], "--chance-seed -1: choose a whole number from 0 on"),
        *(([option, ""], f"{option} is empty; give a value") for option in TEXTS),
        (["--rate-limit", "0"], "--rate-limit 0"),
        (["--latency", "61", "--seed", "1"], "latency=61.0 is outside 0 to 60"),
        (["--bar-delay", "61", "--seed", "1"], "bar_delay=61.0: give seconds from 0 to 60"),
        (["--spread-ticks", "1001", "--seed", "1"], "spread_ticks=1001 is outside 0 to 1000"),
        (["--spread-of-range", "1.1", "--seed", "1"], "spread_of_range=1.1 is outside 0 to 1"),
        (["--coverage", "half"], "--coverage: invalid choice: 'half'"),
        (["--behaviour", "worse"], "--behaviour worse: 'worse' is no preset"),
        (["--stream-port", "-1"], "--stream-port -1: choose one from 1 to 65535"),
        (["--partial-fills", "2", "--seed", "1"], "partial_fills=2.0 is not a probability"),
        (["--late-bars", "2", "--seed", "1"], "late_bars=2.0 is not a probability"),
        (["--bars", "nowhere"], "--bars nowhere: no such folder"),
        (["--seed", "-1"], "seed=-1 is negative"),
        (["--start", "soon"], "--start soon: not a date"),
        *((["--symbols", text], f"--symbols {text}: {name!r} is no symbol") for text, name in NO_SYMBOLS.items()),
        (["--symbols", "SPY,AAPL,SPY"], "--symbols SPY,AAPL,SPY: SPY is named twice"),
        (["--start", "20250214"], "--start 20250214: not a date"),
        (["--symbols", "SPY", "--bars", "."], "--symbols: only for a generated market"),
        (["--start", "2025-07-04"], "--start 2025-07-04: not a trading day"),
        (["--start", "2018-03-26"], "--start 2018-03-26: the market has bars from 2025-01-02"),
        (["--start", "0001-01-01T00:00:00+14:00"], "--start 0001-01-01T00:00:00+14:00: not a date"),
        (["--faults", "no.json"], "--faults no.json: No such file or directory; name a JSON file of a fault plan"),
        (["--faults", "."], "--faults .: not a file; name a JSON file of a fault plan"),
        (["--faults", "\uff17"], "--faults \uff17: No such file or directory"),
        (["--faults", LONG], "File name too long; name a JSON file of a fault plan"),
        (["--bars", LONG], "no such folder"),
        *((["--state", path], f"{path}: not a regular file; name another one") for path in ("/dev/null", ".")),
        (["--host", "ff02::1"], "--host ff02::1: a multicast address; choose one of this machine"),
        (["--host", "[::1]"], "--host [::1]: no address and no name of a machine"),
        (["--host", "ff02::1", "--symbols", "?"], "--host ff02::1"),
        (["--state", LONG], "File name too long; name another one"),
        (["--state", f"{__file__}/s.sqlite"], f"s.sqlite: {__file__} is no folder; name another one"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as end:  # the parser's own refusal
        code = end.code
    got = capsys.readouterr().err
    assert (code, message in got, got.count("\n")) == (2, True, 1), got


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "plan.json: not JSON (Expecting value: line 1 column 1 (char 0)); name a JSON file"),
        (b"\xff\xfe{", "plan.json: not a text in UTF-8; name a JSON file"),
        (b"[" * 100_000, "plan.json: not JSON ("),
        (b" " * (1 << 20) + b"7", "plan.json: longer than 1048576 bytes"),
        (b"{}", 'plan.json: a plan is {"seed": 7'),
        (b'{"rules": [{"fault": "halt", "rate": "often"}]}', "plan.json: rule 1: rate='often': give a number"),
        (b'{"rules": [{"fault": "halt", "rate": NaN}]}', "plan.json: halt: rate=nan: give a probability"),
        (b'{"rules": [{"fault": "delay", "seconds": -1}]}', "plan.json: delay: seconds=-1: give a number from 0"),
        (b'{"rules": [{"fault": "delay", "most": 1.5}]}', "plan.json: rule 1: most=1.5: give a whole number"),
        (b'{"rules": [{"fault": "delay", "on": 5}]}', "plan.json: rule 1: on=5: give a text"),
        (b'{"rules": [{"fault": ["halt"]}]}', "plan.json: rule 1: fault=['halt']: give a text"),
    ],
)
def test_a_fault_plan_that_is_none_is_named(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_bytes(content)
    assert main(["--faults", str(plan)]) == 2
    got = capsys.readouterr().err
    assert message in got and got.startswith("paper_exchange: --faults ") and got.count("\n") == 1, got


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("fe80::1", "--host fe80::1: a link-local address needs its network interface; write it as fe80::1%eth0"),
        ("192.0.2.7", "--host 192.0.2.7: no address of this machine; choose one, such as 127.0.0.1"),
        ("2001:db8::7", "--host 2001:db8::7: no address of this machine"),
        ("ä" * 70, "no address and no name of a machine; write it as 127.0.0.1, ::1 or localhost"),
        ("1:2", "--host 1:2: no address and no name of a machine"),
    ],
)
def test_an_address_that_cannot_be_used_is_named(
    host: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--bars", str(folder), "--port", str(free_port()), "--host", host]) == 2
    got = capsys.readouterr().err
    assert message in got and got.count("\n") == 1, got


def test_a_port_in_use_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port), "--bars", str(folder)]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_the_clock_runs_at_a_multiple_of_real_time() -> None:
    wall = [100.0]
    clock = ScaledClock(ny(MONDAY, "10:00"), 60, lambda: wall[0])
    wall[0] += 1.5
    assert clock() == ny(MONDAY, "10:01:30")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        "try: runpy.run_module('paper_exchange', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([name for name in ('numpy', 'flask', 'pandas', 'aiohttp', 'orjson') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
