"""The audit and the predictions stay readable after failures of disk, process and console."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import Fault, TradingWorld, flat, page
from trading.base.clock import SimulatedClock
from trading.base.files import to_json
from trading.records.journal import Journal, Watcher, new_york_time

ROOT = Path(__file__).parents[2]


def journal(folder: Path, *watchers: Watcher, at: str = "10:31:02") -> Journal:
    return Journal(folder, SimulatedClock(ny(MONDAY, at)), *watchers)


def lines(folder: Path, kind: str = "audit", day: str = "2018-03-26") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{kind}_{day}.jsonl").read_text().splitlines()]


def test_an_event_has_its_new_york_time_its_name_and_json_values(tmp_path: Path) -> None:
    book = journal(tmp_path)
    book.event(
        "bought", price=D("10.05"), at=ny(MONDAY, "10:32"), ids=("a", "b"), held={"x": D(1)}, much=np.float64(0.5)
    )
    assert lines(tmp_path) == [
        {
            "time": "2018-03-26T10:31:02-04:00",
            "event": "bought",
            "price": 10.05,
            "at": "2018-03-26T10:32:00-04:00",
            "ids": ["a", "b"],
            "held": {"x": 1.0},
            "much": 0.5,
        }
    ]


def test_values_without_a_json_type_are_written_as_text(tmp_path: Path) -> None:
    book = journal(tmp_path)
    book.event("odd", path=Path("/x"), error=ValueError("y"), day=MONDAY, which=frozenset({"z"}), nan=float("nan"))
    (record,) = lines(tmp_path)
    assert (record["path"], record["error"], record["day"], record["which"]) == ("/x", "y", "2018-03-26", ["z"])


def test_each_new_york_day_has_its_own_files(tmp_path: Path) -> None:
    clock = SimulatedClock(ny(MONDAY, "23:59:59"))
    book = Journal(tmp_path, clock)
    book.event("late")
    book.predictions([{"symbol": "AAA"}])
    clock.sleep_until(clock.now() + timedelta(seconds=1))
    book.event("early")
    book.commit("sure")
    book.close()
    assert [record["event"] for record in lines(tmp_path)] == ["late"]
    assert [record["event"] for record in lines(tmp_path, day="2018-03-27")] == ["early", "sure"]
    assert lines(tmp_path, "predictions") == [{"symbol": "AAA"}]
    assert [record["event"] for record in book.newest_events(1)] == ["early", "sure"]
    assert [record["event"] for record in book.newest_events(9)] == ["late", "early", "sure"]


def test_a_line_cut_short_is_dropped_and_the_others_are_read(tmp_path: Path) -> None:
    book = journal(tmp_path)
    book.event("one")
    book.close()
    with open(tmp_path / "audit_2018-03-26.jsonl", "ab") as file:
        file.write(b'{"time": "2018-03-26T10:3')
    assert [record["event"] for record in journal(tmp_path).newest_events(1)] == ["one"]
    again = journal(tmp_path)
    again.event("two")
    assert [record["event"] for record in lines(tmp_path)] == ["one", "two"]


def test_microseconds_are_written_only_if_there_are_any() -> None:
    assert new_york_time(ny(MONDAY, "10:31:02")) == "2018-03-26T10:31:02-04:00"
    assert new_york_time(ny(MONDAY, "10:31:02.5")) == "2018-03-26T10:31:02.500000-04:00"


def test_a_lost_console_does_not_stop_the_audit(tmp_path: Path) -> None:
    shown: list[str] = []

    def watcher(record: dict[str, Any]) -> None:
        shown.append(record["event"])
        raise BrokenPipeError(32, "Broken pipe")

    others: list[Any] = []
    book = journal(tmp_path, watcher, others.append)
    book.event("one")
    book.commit("two")
    assert [record["event"] for record in lines(tmp_path)] == ["one", "two"] and shown == ["one"]
    assert len(others) == 2  # another watcher goes on


def test_an_unwritable_folder_is_a_fault_until_it_is_writable(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.write_text("a file where the folder should be")
    book = journal(folder)
    book.event("lost")
    book.predictions([{"symbol": "AAA"}, {"symbol": "BBB"}])
    assert book.lost == 3 and book.fault is not None and "logs" in book.fault
    with pytest.raises(OSError):
        book.commit("insists")
    folder.unlink()
    book.event("back")
    assert book.fault is None and [record["event"] for record in lines(folder)] == ["back"]


FULL_DISK = """
import resource, signal, sys
from decimal import Decimal
from pathlib import Path
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import TradingWorld, flat

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
here = TradingWorld(
    Path(sys.argv[1]), {"AAA": {MONDAY: flat("09:30", "15:59")}, "BBB": {MONDAY: flat("09:30", "15:59")}},
    ny(MONDAY, "04:00"), {"10:31": {"AAA": 0.8}, "10:34": {"BBB": 0.9}, "10:36": {"BBB": 0.9}},
)
here.trader.recover()
here.trader.rebalance(here.session)
here.minutes("10:31", "10:33")
used = (here.folder / "audit_2018-03-26.jsonl").stat().st_size
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (min(100, used), hard))  # the disk is full from here on
here.minutes("10:34", "10:35")
orders = [(o.symbol, o.side) for o in here.exchange.snapshot().orders]
here.minutes("15:55", "15:57")  # the exit is sent nevertheless
assert here.held("AAA") == 0, here.held("AAA")
assert here.journal.fault and here.journal.lost, here.journal.fault
assert not any(symbol == "BBB" for symbol, _ in orders), orders
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))  # and has room again
here.close_day()
assert here.journal.fault is None
here.check_books()
here.restart()
here.check_books()
print("survived", here.trade().exit_reason)
"""


def test_a_full_disk_allows_no_entries_but_exits(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "survived END_OF_DAY", done.stderr[-3000:]
    for path in tmp_path.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            json.loads(line)


class Rude:
    """An object that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


ODD_VALUES = (
    "half an emoji \ud83d",
    "\udc00",
    "control \x00 \x07 \x1b[2J \x7f \x85 \u2028 \u2029 \r\n end",
    {"key \ud83d": {"\ud800"}, 3: {None: b"\xff"}, ("a", 1): D("sNaN")},
    2**70,
    -(2**70),
    D("1e400"),
    complex(1, 2),
    np.int64(3),
    np.arange(3),
    Rude(),
    nested(2000),
    circle(),
    datetime.max.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    "a" * 100_000,
    ValueError("\ud83d"),
)


@pytest.mark.parametrize("value", ODD_VALUES, ids=[type(v).__name__ + str(n) for n, v in enumerate(ODD_VALUES)])
def test_any_value_is_written_as_one_readable_line(value: object, tmp_path: Path) -> None:
    shown: list[dict[str, Any]] = []
    book = journal(tmp_path, shown.append)
    book.event("odd", value=value, inside=[{"deep": value}])
    book.synced_event("odd", value=value)
    book.commit("odd", value=value)
    book.predictions([{"value": value}])
    records = list(book.newest_events(1))
    assert [record["event"] for record in records] == 3 * ["odd"] and "value" in records[0]
    assert records == lines(tmp_path) == shown and (book.lost, book.fault) == (0, None)
    (prediction,) = lines(tmp_path, "predictions")
    assert "value" in prediction
    for record in shown:
        str(record).encode()  # a console can print it


def test_lone_surrogates_are_escaped_and_control_characters_are_kept(tmp_path: Path) -> None:
    book = journal(tmp_path)
    book.event("odd", reason="no \ud83d", screen="\x1b[2J\x85\u2028", emoji="\U0001f600")
    (record,) = lines(tmp_path)
    assert (record["reason"], record["screen"], record["emoji"]) == (r"no \ud83d", "\x1b[2J\x85\u2028", "\U0001f600")
    raw = (tmp_path / "audit_2018-03-26.jsonl").read_text()
    assert not any(character in raw for character in "\x1b\x85\u2028")


@given(st.recursive(st.text() | st.characters() | st.floats() | st.integers() | st.binary(), st.lists))
@settings(max_examples=150, deadline=None)
def test_no_text_and_no_number_is_refused(value: object) -> None:
    assert json.loads(to_json({"value": value}))["value"] is not Ellipsis
    assert len(to_json({"value": value}).splitlines()) == 1 == len(to_json({"value": value}).decode().splitlines())


def test_an_event_that_cannot_be_shown_is_written_and_later_ones_are_shown(tmp_path: Path) -> None:
    shown: list[str] = []

    def watcher(record: dict[str, Any]) -> None:
        shown.append(record["event"])
        raise LookupError(record["event"])

    book = journal(tmp_path, watcher)
    book.event("one")
    book.commit("two")
    assert [record["event"] for record in lines(tmp_path)] == ["one", "two"] == shown


@pytest.mark.parametrize("message", [r"no \ud83d", r"\u0000\u001b[2J \u0085 \u2028 \udfff"])
def test_whatever_the_broker_says_no_stock_stays_without_a_stop(message: str, tmp_path: Path) -> None:
    bars = {symbol: {MONDAY: flat("09:30", "15:59")} for symbol in ("AAA", "BBB")}
    here = TradingWorld(tmp_path / "logs", bars, ny(MONDAY, "04:00"), {"10:31": {"AAA": 0.9, "BBB": 0.8}})
    here.trader.recover()
    here.trader.rebalance(here.session)
    here.at("09:30")
    here.trader.opened(here.session)
    here.minutes("10:31", "10:33")
    for order in [order for order in here.broker.orders(open_only=True) if order.side == "sell"]:
        here.broker.cancel(order.id)
    here.wire.faults = [Fault("POST /v2/orders", page(403, f'{{"code":40310000,"message":"{message}"}}'), times=3)]
    here.minutes("10:34", "10:36")
    for symbol in ("AAA", "BBB"):
        assert here.held(symbol) == 0 or here.open_orders(symbol), symbol
    assert here.events("stop_refused") and here.journal.lost == 0
