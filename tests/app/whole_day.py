"""Tools for tests of whole days: small recorded bars, runs of the scripts, and checks against the exchange's state."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import live_trader
from config import FIELDS
from paper_exchange.market.generator.market import GeneratedMarket
from trading.app import cli
from trading.base.calendar import Session, new_york_calendar
from trading.base.files import line_files, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROJECT = Path(live_trader.__file__).parent
CALENDAR = new_york_calendar()

FRIDAY, MONDAY = date(2025, 3, 7), date(2025, 3, 10)  # the clocks go forward on the Sunday between
MOST = 6

QUICK = {
    "HISTORY_DAYS": 4,
    "N_ESTIMATORS": 20,
    "EVENING_CONTROLS": "never",
    "TRAIN_EVERY_NTH_ROW": 3,
    "FOREST_MIN_SAMPLES_LEAF": 20,
    "MIN_CONFIDENCE": 0.55,
    "MARKET_STOCKS": 40,
    "LEARNABILITY": 1,
}
"""Settings that train fast and trade often."""


def write_bars(folder: Path, first: date, last: date, stocks: int = 14, seed: int = 5) -> list[Session]:
    """Write a predictable generated market as a folder of recorded bars, `SYMBOL.csv`."""
    market = GeneratedMarket(seed, stocks, first_session=first, learnability=1.0)
    sessions = CALENDAR.between(first, last)
    folder.mkdir(parents=True, exist_ok=True)
    for listing in market.listings:
        with open(folder / f"{listing.symbol}.csv", "w", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(["symbol", "timestamp", "open", "high", "low", "close", "volume"])
            for session in sessions:
                bars = market.session_bars(listing.symbol, session.date)
                for i, start in enumerate(bars.start):
                    moment = datetime.fromtimestamp(int(start) / 1e9, tz=session.open.tzinfo)
                    prices = (bars.open[i], bars.high[i], bars.low[i], bars.close[i])
                    stamp = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
                    lines.writerow([listing.symbol, stamp, *(repr(float(p)) for p in prices), int(bars.volume[i])])
    return sessions


def cut_bars(source: Path, target: Path, last: date) -> None:
    """Copy a folder of bars without the days after `last`."""
    target.mkdir(parents=True)
    for path in source.glob("*.csv"):
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines[1:] if line.split(",")[1][:10] <= last.isoformat()]
        (target / path.name).write_text("".join([lines[0], *kept]))


@dataclass(frozen=True)
class Place:
    """The folders and the settings of one run."""

    root: Path

    @staticmethod
    def make(root: Path, **settings: Any) -> Place:
        root.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}\n" for name, value in {**QUICK, **settings}.items()]
        (root / "settings.env").write_text("".join(lines))
        return Place(root)

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def models(self) -> Path:
        return self.root / "models"

    def arguments(self, *more: object) -> list[str]:
        folders = [f"--{name}-dir={self.root / name}" for name in ("data", "models", "logs")]
        return [*folders, f"--env-file={self.root / 'settings.env'}", *map(str, more)]

    def trades(self) -> list[dict[str, Any]]:
        """Every trade of the log, in order."""
        return [trade for path in sorted(self.logs.glob("trades_*.json")) for trade in json.loads(path.read_text())]

    def audit(self) -> list[dict[str, Any]]:
        return [event for path in sorted(self.logs.glob("audit_*.jsonl")) for event in lines_of(path)]

    def predictions(self) -> list[dict[str, Any]]:
        return [line for path in line_files(self.logs, "predictions") for line in read_lines(path)]

    def logged(self, *kinds: str) -> dict[str, bytes]:
        """Name -> bytes of the log files of these kinds, as they were before they were compressed."""
        return logged_in(self.logs, *kinds)


def logged_in(folder: Path, *kinds: str) -> dict[str, bytes]:
    """Name -> bytes of the log files of these kinds in a folder, as they were before they were compressed."""
    files = [path for kind in kinds for path in sorted(folder.glob(f"{kind}_*"))]
    return {
        path.name.removesuffix(".gz"): gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in files
    }


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@contextmanager
def clean_environment() -> Iterator[None]:
    """An environment without settings and keys."""
    with pytest.MonkeyPatch.context() as patch:
        for name in FIELDS:
            patch.delenv(name, raising=False)
        yield


def trade(place: Place, *more: object) -> int:
    """Run `live_trader.py` in this process; returns the exit code."""
    with clean_environment():
        return cli.run(lambda: live_trader.main(place.arguments(*more)))


def environment() -> dict[str, str]:
    """The environment of a process: no settings or keys, and unbuffered output."""
    return {name: value for name, value in os.environ.items() if name not in FIELDS} | {"PYTHONUNBUFFERED": "1"}


def start(place: Place, *more: object, script: str = "live_trader.py") -> subprocess.Popen[str]:
    """Start a script as a process with stdout and stderr in pipes."""
    return subprocess.Popen(
        [sys.executable, str(PROJECT / script), *place.arguments(*more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=place.root,
    )


def until(process: subprocess.Popen[str], words: str, times: int = 1) -> list[str]:
    """Read the output of a process until `words` have appeared `times` times."""
    said: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        times -= words in line
        if not times:
            return said
    raise AssertionError(f"the process ended without {words!r}: {''.join(said[-20:])}{process.communicate()[1]}")


@dataclass(frozen=True)
class ExchangeState:
    """The account of the exchange, read directly from its state file."""

    start: Decimal
    cash: Decimal
    realised: Decimal
    holdings: list[dict[str, Any]]
    fills: list[dict[str, Any]]
    orders: dict[str, dict[str, Any]]

    @staticmethod
    def of(logs: Path) -> ExchangeState:
        with contextlib.closing(sqlite3.connect(logs / "paper_exchange.sqlite")) as db:
            body = json.loads(db.execute("SELECT body FROM state").fetchone()[0])
            fills = [json.loads(row[0]) for row in db.execute("SELECT body FROM fills ORDER BY sequence")]
            orders = [json.loads(row[0]) for row in db.execute("SELECT body FROM orders")]
        return ExchangeState(
            Decimal(body["start"]),
            Decimal(body["cash"]),
            Decimal(body["realised"]),
            body["holdings"],
            fills,
            {order["id"]: order for order in orders},
        )


AVERAGED = Decimal("0.00001")
"""Dollars by which a trade may differ from its fills: a broker gives the average price of several with six decimals."""
TERMINAL = {"filled", "canceled", "expired", "rejected", "replaced"}


def check_against_the_exchange(place: Place, most_positions: int = 10, most_shares: int = 5) -> None:
    """Check that the trade log matches the account of the exchange, and that every fill kept the limits."""
    trades, state = place.trades(), ExchangeState.of(place.logs)
    fills: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fill in state.fills:
        fills[fill["order_id"]].append(fill)
    claimed: list[str] = []
    for one in trades:
        bought = fills[one["entry_order_id"]]
        sold = [fill for order_id in one["sell_order_ids"] for fill in fills[order_id]]
        assert _agree(_total(bought), one["qty"], one["entry_price"]), one
        assert {fill["side"] for fill in bought} == {"buy"}
        assert {fill["symbol"] for fill in [*bought, *sold]} == {one["symbol"]}
        if one["status"] == "CLOSED":
            assert _agree(_total(sold), one["qty"], one["exit_price"]), one
        assert {fill["side"] for fill in sold} <= {"sell"}
        claimed += [one["entry_order_id"], *(order_id for order_id in one["sell_order_ids"] if fills[order_id])]
    assert sorted(claimed) == sorted(order_id for order_id in fills if fills[order_id]), (
        "a fill belongs to no trade, or to two"
    )
    pnl = sum(Decimal(repr(one["pnl_amount"])) for one in trades if one["status"] == "CLOSED")
    assert abs(pnl - state.realised) < AVERAGED * len(trades) + AVERAGED
    cost = sum(Decimal(holding["cost"]) for holding in state.holdings)
    assert state.start + state.realised == state.cash + cost
    held: dict[str, int] = defaultdict(int)
    for fill in state.fills:
        held[fill["symbol"]] += fill["qty"] if fill["side"] == "buy" else -fill["qty"]
        assert 0 <= held[fill["symbol"]] <= most_shares
        assert sum(1 for qty in held.values() if qty) <= most_positions


def _agree(total: tuple[int, Decimal], qty: int, price: float) -> bool:
    return total[0] == qty and abs(total[1] - Decimal(repr(price)) * qty) < AVERAGED


def _total(fills: Sequence[dict[str, Any]]) -> tuple[int, Decimal]:
    return sum(fill["qty"] for fill in fills), sum((fill["qty"] * Decimal(fill["price"]) for fill in fills), Decimal(0))


def check_flat(place: Place) -> None:
    """Check that no position and no order is left, and that every exit was before the close of its session."""
    state = ExchangeState.of(place.logs)
    assert state.holdings == []
    assert [order for order in state.orders.values() if order["status"] not in TERMINAL] == []
    for one in place.trades():
        assert one["status"] == "CLOSED", one
        decided, entered, left = (
            datetime.fromisoformat(one[name]) for name in ("decision_time", "entry_time", "exit_time")
        )
        session = CALENDAR.session(entered.date())
        assert session.open < decided < session.flatten_at(5), one
        assert decided < entered <= left <= session.close, one
