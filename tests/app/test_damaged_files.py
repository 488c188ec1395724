"""A start whose files are missing, damaged or of something else: what is held is recovered, and nothing is deleted."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from config import BrokerSettings, Settings
from paper_exchange import PaperExchange, WsgiAdapter
from tests.exchange.exchange_world import MONDAY, ORIGIN, HandMade, ny
from tests.execution.trading_world import CALENDAR, Faulty, Script, flat, with_bars
from trading.app.live.mending import MARKS_FILE, claim_folders
from trading.app.live.run import Run
from trading.app.live.venues import OpenVenue
from trading.base.clock import SimulatedClock
from trading.base.errors import UserError
from trading.base.market_folders import MarketId
from trading.broker.client import connect
from trading.dataset.manifest import new_manifest, write_manifest
from trading.market.source import Pick, Universe, write_universe
from trading.models.choice import Choice, choice_bytes
from trading.records.instance import INSTANCE_FILE
from trading.records.this_machine import AccountLock
from trading.records.trade_log import INDEX_FILE
from trading.reports.console import Output
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from collections.abc import Callable

    from trading.execution.trader import Trader

MARKET = MarketId("alpaca-iex", "Alpaca, feed iex")
FALL = with_bars(flat("09:30", "15:59"), ("10:33", 9.7, 9.7, 9.7, 9.7))
BARS = {"AAA": {MONDAY: flat("09:30", "15:59")}, "BBB": {MONDAY: FALL}}
SIGNALS = {"10:31": {"AAA": 0.8, "BBB": 0.7}}


class SteppedClock(SimulatedClock):
    """A simulated clock that passes for the system's, so that orders bear the instance."""

    simulated = False


class Account:
    """One account on one exchange, and starts of a trader on folders of choice."""

    def __init__(self) -> None:
        self.clock = SteppedClock(ny(MONDAY, "10:30"))
        exchange = PaperExchange(HandMade(BARS), self.clock.now, spread_ticks=0)
        self.exchange = exchange
        self.wire = Faulty(WsgiAdapter(exchange.app))
        self.state: Path | None = None
        """The file of the account on this machine."""

    def start(self, root: Path) -> tuple[Run, Trader]:
        """Start a run as `live_trader.py` does, with a scripted model, and recover."""
        settings = Settings.of(**{f"{name}_DIR": root / name.lower() for name in ("DATA", "MODELS", "LOGS", "CONTROL")})
        clients = connect(BrokerSettings(APCA_API_BASE_URL=ORIGIN), ("key", "secret"), self.clock, self.wire)
        places = settings.folders
        said: list[str] = []
        self.state = self.state or root.with_name(f"{root.name}-state") / "account.json"
        mended = claim_folders((places.DATA_DIR, places.MODELS_DIR, places.LOGS_DIR), MARKET, said.append)
        alone = AccountLock(self.state)
        venue = OpenVenue(self.clock, clients, MARKET, "a test", None)
        run = Run(venue, settings, CALENDAR, Output(), mended, alone=alone)
        alone.release()  # as a kill does
        for line in run.mended:
            run.journal.event("damaged_file", line=line)
        script: Any = Script(SIGNALS)
        script.model = SimpleNamespace(timestamp="20180323_200000", kind="random_forest")
        run.learning.predictor = script
        trader = run._trader()
        trader.predictor = script
        run._scheduler(trader)  # reads the marks
        trader.recover()
        return run, trader

    def tick(self, trader: Trader, *minutes: str) -> None:
        for minute in minutes:
            self.clock.sleep_until(ny(MONDAY, f"{minute}:02"))
            trader.tick(CALENDAR.session(MONDAY), ny(MONDAY, minute))


@dataclass(frozen=True)
class Traded:
    """An account that holds AAA and has sold BBB, and the folders of its trader."""

    account: Account
    root: Path
    open: list[dict[str, Any]]
    closed: list[dict[str, Any]]


def records(run: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The open and the closed trades."""
    found = [trade.as_json() for trade in run.log.trades]
    return [one for one in found if one["status"] == "OPEN"], [one for one in found if one["status"] == "CLOSED"]


def audit(root: Path, *events: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for path in root.glob("logs/audit_*.jsonl") for line in path.read_text().splitlines()]
    return [line for line in lines if line["event"] in events]


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Traded:
    root = tmp_path_factory.mktemp("traded")
    account = Account()
    universe = Universe(MONDAY, "by hand", (Pick("AAA", 9, 10.0), Pick("BBB", 9, 10.0)))
    rules = LabelRules.of(Settings.of().exits)
    claim_folders((root / "data", root / "models", root / "logs"), MARKET, print)
    write_universe(root / "data", universe, "iex", account.clock.now(), None)
    write_manifest(root / "data", new_manifest(rules, source="alpaca", feed="iex", symbols={}))
    (root / "models" / "metrics_20180323_200000.json").write_text(json.dumps({"market": {"slug": MARKET.slug}}))
    chosen = Choice("20180323_200000", None, "20180323_200000", "use", "2018-03-25T12:00:00-04:00", "me", "a test")
    (root / "models" / "in_service.json").write_bytes(choice_bytes(chosen))
    run, trader = account.start(root)
    run.journal.event("day_started", session=str(MONDAY), stocks=2, symbols=["AAA", "BBB"])
    account.tick(trader, "10:31", "10:32", "10:33", "10:34", "10:35", "10:36")
    run._scheduler(trader)._prepare()  # writes the marks
    (root / "logs" / INDEX_FILE).write_text('{"through": "2018-01-02", "files": 0, "open_days": []}')
    (root / "logs" / f"predictions_{MONDAY}.jsonl").write_text("{}\n")
    opened, closed = records(run)
    assert [one["symbol"] for one in opened] == ["AAA"] and [one["symbol"] for one in closed] == ["BBB"]
    run.journal.close()
    account.clock.sleep_until(ny(MONDAY, "10:40:30"))
    return Traded(account, root, opened, closed)


TRADES, AUDIT = f"logs/trades_{MONDAY}.json", f"logs/audit_{MONDAY}.jsonl"
PREDICTIONS = f"logs/predictions_{MONDAY}.jsonl"
UNIVERSE = f"data/universe_{MONDAY}.json"
FILES = [
    TRADES, AUDIT, f"logs/{INDEX_FILE}", f"logs/{MARKS_FILE}", f"logs/{INSTANCE_FILE}", UNIVERSE, "data/dataset.json",
    PREDICTIONS, "logs/market.json", "data/market.json", "models/market.json",
    "models/in_service.json",
]  # fmt: skip
"""Every file that a start reads, or appends to, before it asks the broker."""

OTHER = json.dumps([{"symbol": "AAA", "qty": 5}])


def of_another_market(path: Path) -> None:
    if path.name == "market.json":
        path.write_text(json.dumps({"slug": "bars-x-1", "description": "recorded bars of x", "generated": False}))
    elif path.name.startswith("trades"):
        record = next(one for one in json.loads(path.read_text()) if one["symbol"] == "AAA")
        record |= {"symbol": "ZZZ", "market": "bars-x", "client_order_id": "mlt-20180326-ZZZ-0940-entry"}
        path.write_text(json.dumps([record | {"entry_order_id": "x", "sell_order_ids": [], "stop_order_id": None}]))
    else:
        path.write_text("[]" if path.suffix == ".json" else "[1]\n")


def instead(make: Callable[[Path], object], path: Path) -> None:
    """Put something else in the place of a file."""
    path.unlink()
    make(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3]),
    "no JSON": lambda path: path.write_bytes(b"\x00\xff" * 300),
    "another type": lambda path: path.write_text(OTHER),
    "a number": lambda path: path.write_text("17"),
    "of another market": of_another_market,
    "read-only": lambda path: path.chmod(0o444),
    "a folder": partial(instead, Path.mkdir),
    "a pipe": partial(instead, os.mkfifo),
    "a link to nothing": partial(instead, lambda path: path.symlink_to("nowhere")),
    "huge": lambda path: os.truncate(path, 3_000_000_000),
}
WHOLE = {"missing", "read-only"}
"""Damages after which there is nothing to move aside."""

MARKERS = [name for name in FILES if name.endswith("market.json")]
SAID = {*((name, "missing") for name in MARKERS), (AUDIT, "cut short")}
"""What is said although nothing is moved aside: a marker is written again, a line of the audit is skipped."""

UNSAID = {
    *((name, "of another market") for name in (*MARKERS, TRADES)), (AUDIT, "empty"),
    *((PREDICTIONS, one) for one in ("empty", "cut short", "no JSON", "another type", "a number", "of another market")),
}  # fmt: skip
"""What is no damage: a folder of another market is renamed, a position that the broker does not know is written off by
the minutes, the lines of the audit are read one by one, and the predictions are not read."""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_start_recovers_what_is_held_and_moves_the_damaged_file_aside(
    traded: Traded, tmp_path: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(traded.root, root)
    inode = (root / "logs" / INSTANCE_FILE).stat().st_ino
    own = json.loads((traded.root / "logs" / INSTANCE_FILE).read_text())["instance"]
    (root / "logs" / INSTANCE_FILE).write_text(json.dumps({"instance": own, "inode": inode}))
    DAMAGES[damage](root / name)
    sent = traded.account.wire.count("POST|PATCH|DELETE")
    run, _ = traded.account.start(root)
    opened, closed = records(run)
    run.journal.close()
    holds = ("symbol", "qty", "entry_price", "stop_loss", "take_profit", "client_order_id", "sell_order_ids")
    ours = [one for one in opened if one["symbol"] == "AAA"]
    assert [[one[key] for key in holds] for one in ours] == [[one[key] for key in holds] for one in traded.open]
    moved_whole = name == "logs/market.json" and damage == "of another market"
    if name not in (TRADES, AUDIT) and not moved_whole:
        assert (opened, closed) == (traded.open, traded.closed)
    if name == TRADES:  # the audit knows what the broker does not: confidence and model, and the end of BBB
        keys = ("confidence", "model", "exit_reason", "exit_price", "pnl_amount")
        assert [[one[key] for key in keys] for one in closed] == [[one[key] for key in keys] for one in traded.closed]
        assert [one["confidence"] for one in ours] == [0.8]
    tried = (name, damage) == (TRADES, "of another market")  # a stop for ZZZ tells that the broker does not hold it
    assert traded.account.wire.count("POST|PATCH|DELETE") == sent + tried  # stop and target rest already
    if name != AUDIT and not moved_whole:
        told = Counter((event["event"], event["symbol"]) for event in audit(root, "bought", "sold"))
        assert told == {("bought", "AAA"): 1, ("bought", "BBB"): 1, ("sold", "BBB"): 1}
    if name in (f"logs/{INSTANCE_FILE}", AUDIT) and damage not in WHOLE:
        assert run.instance == own or name == AUDIT
    lines = [event["line"] for event in audit(root, "damaged_file")]
    shown = capsys.readouterr().out
    assert all(shown.count(line) == 1 for line in lines)
    said = (name, damage) in SAID
    aside = not said and damage not in WHOLE and (name, damage) not in UNSAID
    assert len(list(root.rglob("*.damaged-1"))) == int(aside)
    assert len(lines) == int(said or aside) and all(name in line for line in lines), lines


def test_the_run_goes_on_after_its_logs_are_lost_and_ends_the_day_flat(tmp_path: Path) -> None:
    account = Account()
    run, trader = account.start(tmp_path)
    account.tick(trader, "10:31", "10:32", "10:35")
    run.journal.close()
    for path in (tmp_path / "logs").iterdir():
        path.write_bytes(path.read_bytes()[:7])
    account.clock.sleep_until(ny(MONDAY, "10:40:30"))
    _, trader = account.start(tmp_path)
    account.tick(trader, "10:41", "15:55", "15:56", "15:57")
    assert account.exchange.snapshot().positions == {}
    books = account.exchange.snapshot()
    trades = json.loads((tmp_path / TRADES).read_text())
    assert {one["status"] for one in trades} == {"CLOSED"}
    assert sum(one["pnl_amount"] for one in trades) == pytest.approx(float(books.realised))


def test_the_account_of_the_embedded_exchange_is_not_lost_with_a_marker(tmp_path: Path) -> None:
    generated = MarketId("generated-1", "a generated market", generated=True)
    folders = (tmp_path / "data", tmp_path / "models", tmp_path / "logs")
    claim_folders(folders, generated, print)
    (tmp_path / "logs" / "paper_exchange.sqlite").write_text("the account")
    (tmp_path / "logs" / "market.json").write_text("")
    with pytest.raises(UserError, match=r"market\.json: damaged .* move .*logs away"):
        claim_folders(folders, generated, print)
    assert (tmp_path / "logs" / "paper_exchange.sqlite").exists()
