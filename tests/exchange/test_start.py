"""Where an exchange begins: --start, --state and the options of a new account, which must not contradict the file."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.client import TradingClient

from paper_exchange import PaperExchange
from paper_exchange.__main__ import main
from paper_exchange.market.recorded import RecordedMarket
from tests.exchange.exchange_world import MONDAY, ny
from tests.exchange.test_server import ROOT, folder, free_port

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["folder"]
START = "2018-03-26T10:31:02"


@pytest.fixture
def state(folder: Path, tmp_path: Path) -> Path:
    """A cash account of 5,000 dollars without fractions, opened at `START` and left ten minutes later."""
    clock = [ny(MONDAY, "10:31:02")]
    path = tmp_path / "state.sqlite"
    exchange = PaperExchange(
        RecordedMarket(folder),
        lambda: clock[0],
        cash=Decimal(5000),
        state_path=path,
        margin=False,
        fractionable=False,
    )
    clock[0] += timedelta(minutes=10)
    exchange.snapshot()
    exchange.close()
    return path


class Begun:
    """`python -m paper_exchange` until it listens: what it says, and its clock."""

    def __init__(self, *options: str) -> None:
        port = free_port()
        command = [sys.executable, "-m", "paper_exchange", "--port", str(port), *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("listening"):
                break
        client: Any = TradingClient("any", "keys", url_override=f"http://127.0.0.1:{port}")
        self.clock, self.account = client.get_clock().timestamp, client.get_account()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)


def test_the_same_command_goes_on_after_a_kill(folder: Path, tmp_path: Path) -> None:
    options = ("--bars", str(folder), "--start", START, "--state", str(tmp_path / "s.sqlite"), "--cash", "5000.00")
    first = Begun(*options, "--no-margin")
    first.kill()
    assert not any("goes on" in line for line in first.said)
    assert ny(MONDAY, "10:31:02") <= first.clock
    again = Begun(*options, "--no-margin")
    again.kill()
    assert again.clock > first.clock
    assert again.account.multiplier == "1"
    (said,) = (line for line in again.said if "goes on" in line)
    pattern = (
        rf"opened at 2018-03-26 10:31:02 EDT with 5000 dollars, goes on from 2018-03-26 10:3.*passed --start {START}"
    )
    assert re.search(pattern, said)


def test_a_later_start_is_reached_and_the_account_stays(folder: Path, state: Path) -> None:
    begun = Begun("--bars", str(folder), "--start", "2018-03-26T11:00:00", "--state", str(state))
    begun.kill()
    assert ny(MONDAY, "11:00") <= begun.clock < ny(MONDAY, "11:05")
    assert (begun.account.cash, begun.account.multiplier) == ("5000", "1")
    assert any(
        "opened at 2018-03-26 10:31:02 EDT with 5000 dollars, goes on from 2018-03-26 11:00:00" in line
        for line in begun.said
    )


def test_the_clock_stands_until_the_exchange_listens(folder: Path) -> None:
    begun = Begun("--bars", str(folder), "--start", START, "--speed", "0.0001")
    begun.kill()
    assert begun.clock - ny(MONDAY, "10:31:02") < timedelta(milliseconds=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cash", "5001"], "--cash 5001: the account of .* was opened with 5000 dollars; leave it out"),
        (["--cash", "100000"], "--cash 100000: the account of .* was opened with 5000 dollars"),
        (["--margin"], "--margin: the account of .* has no margin; leave it out, or name another state file"),
        (["--fractionable"], "--fractionable: the account of .* has no fractional trading"),
        (
            ["--start", "2018-03-26T10:31:01"],
            "--start .*: the account of the state file was opened later, at 2018-03-26 10:31:02",
        ),
        (["--start", "2018-03-26"], "--start 2018-03-26: the account of the state file was opened later"),
        (["--start", "2018-03-29"], "--start 2018-03-29: the market has bars from 2018-03-26 to 2018-03-27"),
    ],
)
def test_what_contradicts_the_state_file_is_refused(
    options: list[str], message: str, folder: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state.read_bytes()
    assert main(["--port", str(free_port()), "--bars", str(folder), "--state", str(state), *options]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1
    assert state.read_bytes() == before
