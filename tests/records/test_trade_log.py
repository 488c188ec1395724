"""The trade files: the document's fields, exact amounts, and valid JSON after a kill at any moment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.exchange_world import MONDAY, TUESDAY, ny
from trading.base import files
from trading.records import trade_log
from trading.records.trade_log import INDEX_FILE, LOADED_DAYS, Trade, TradeLog

DOCUMENT = Path(__file__).parents[3] / "shared" / "design-document.md"
FIELDS = [
    *("symbol", "side", "qty", "entry_price", "entry_time", "confidence", "stop_loss", "take_profit"),
    *("status", "exit_price", "exit_time", "pnl_pct", "pnl_amount"),
]


def bought(**changes: Any) -> Trade:
    fields: dict[str, Any] = {
        "symbol": "AAPL",
        "qty": 3,
        "entry_price": D("150.50"),
        "entry_time": ny(MONDAY, "10:35:00"),
        "confidence": 0.78,
        "stop_loss": D("147.49"),
        "take_profit": D("156.52"),
        "decision_time": ny(MONDAY, "10:34:02"),
        "decision_price": 150.4,
        "win_probability": 0.41,
        "model": "20180323_200000",
        "market": "by-hand",
        "client_order_id": "mlt-20180326-AAPL-1034-entry",
        "entry_order_id": "e",
        "sell_order_ids": ["s", "t"],
    }
    return Trade(**(fields | changes))


def sold(price: str = "154.25", **changes: Any) -> Trade:
    return bought(exit_price=D(price), exit_time=ny(MONDAY, "14:20:00"), exit_reason="TAKE_PROFIT", **changes)


def test_the_documents_thirteen_fields_come_first_with_its_names_and_units() -> None:
    record = sold().as_json()
    assert list(record)[:13] == FIELDS
    assert {name: record[name] for name in FIELDS} == {
        "symbol": "AAPL",
        "side": "BUY",
        "qty": 3,
        "entry_price": 150.5,
        "entry_time": "2018-03-26T10:35:00-04:00",
        "confidence": 0.78,
        "stop_loss": 147.49,
        "take_profit": 156.52,
        "status": "CLOSED",
        "exit_price": 154.25,
        "exit_time": "2018-03-26T14:20:00-04:00",
        "pnl_pct": 0.024917,
        "pnl_amount": 11.25,
    }


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the owner's document is not beside this clone")
def test_the_expected_fields_are_those_of_the_document() -> None:
    example = DOCUMENT.read_text(encoding="utf-8").split("```json")[1].split("```")[0]
    assert re.findall(r'"(\w+)":', example) == FIELDS


def test_an_open_trade_has_no_exit() -> None:
    record = bought().as_json()
    assert record["status"] == "OPEN"
    assert [record[name] for name in ("exit_price", "exit_time", "pnl_pct", "pnl_amount")] == [None] * 4


def test_a_trade_that_is_written_off_is_closed_without_a_price() -> None:
    record = bought(exit_time=ny(MONDAY, "12:00"), exit_reason="NOT_AT_BROKER").as_json()
    assert (record["status"], record["exit_price"], record["pnl_amount"]) == ("CLOSED", None, None)


cents = st.decimals(min_value="0.0001", max_value="999.9999", places=4)
instants = st.integers(1_400_000_000, 1_900_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(
    entry=cents,
    exit_=st.none() | cents,
    qty=st.integers(1, 1000),
    at=instants,
    confidence=st.floats(0, 1),
    reached=st.none() | st.booleans(),
    quote=st.none() | st.floats(0.01, 1000),
)
def test_a_trade_survives_a_round_trip_through_json(
    entry: D, exit_: D | None, qty: int, at: datetime, confidence: float, reached: bool | None, quote: float | None
) -> None:
    trade = bought(entry_price=entry, qty=qty, entry_time=at, confidence=confidence)
    trade.reached_target_first, trade.target_first_time = reached, None if reached is None else at
    trade.label, trade.label_target, trade.label_stop, trade.label_within_minutes = "target_first", 0.005, 0.02, 60
    trade.decision_bid = trade.decision_ask = quote
    if exit_ is not None:
        trade.exit_price, trade.exit_time, trade.exit_reason = exit_, at, "STOP_LOSS"
    again = Trade.from_json(json.loads(json.dumps(trade.as_json())))
    assert again == trade and again.as_json() == trade.as_json()


def test_a_trade_of_an_earlier_version_has_no_answer_and_no_quote() -> None:
    record = bought(label="target_first", label_target=0.005, reached_target_first=True, decision_bid=150.3).as_json()
    later = list(record)[list(record).index("decision_bid") :]
    assert len(later) == 10
    old = Trade.from_json({name: value for name, value in record.items() if name not in later})
    assert old == bought()


@given(entry=cents, fills=st.lists(st.tuples(st.integers(1, 5), cents), min_size=1, max_size=5))
def test_the_profit_is_exact_for_any_number_of_fills(entry: D, fills: list[tuple[int, D]]) -> None:
    qty = sum(shares for shares, _ in fills)
    value = sum((shares * price for shares, price in fills), D(0))
    trade = bought(
        entry_price=entry, qty=qty, exit_price=(value / qty).quantize(D("1e-8")), exit_time=ny(MONDAY, "12:00")
    )
    assert trade.pnl_amount == value - entry * qty
    assert Trade.from_json(json.loads(json.dumps(trade.as_json()))).pnl_amount == trade.pnl_amount


def test_inexact_floats_lose_no_cent() -> None:
    trade = sold("0.3", entry_price=D("0.1"), qty=3)
    assert trade.pnl_amount == D("0.6") and trade.as_json()["pnl_amount"] == 0.6


def test_a_trade_is_filed_under_the_new_york_day_of_its_entry(tmp_path: Path) -> None:
    log = TradeLog(tmp_path)
    late = bought(entry_time=datetime(2018, 3, 27, 1, 0, tzinfo=UTC))  # still Monday evening in New York
    log.add(late)
    log.add(bought(symbol="MSFT", entry_time=ny(TUESDAY, "10:00"), client_order_id="two"))
    log.start_day(date(2018, 3, 28))
    log.save()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"trades_2018-03-{day}.json" for day in (26, 27, 28)]
    assert json.loads((tmp_path / "trades_2018-03-28.json").read_text()) == []
    again = TradeLog(tmp_path)
    assert [trade.symbol for trade in again.trades] == ["AAPL", "MSFT"]
    assert again.has_entry("two") and not again.has_entry("three")
    again.trades[0].exit_price, again.trades[0].exit_time = D("151"), ny(TUESDAY, "09:30")
    again.mark_changed(again.trades[0])
    again.save()
    assert [trade.symbol for trade in TradeLog(tmp_path).open_trades] == ["MSFT"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("trades_2018-03-26.json", ""),
        ("trades_2018-03-26.json", '[{"symbol": "AAPL"'),
        ("trades_2018-03-26.json", "{}x"),
        ("trades_2018-03-26.json", '{"symbol": 1}'),
        ("trades_2018-03-26.json", "[1]"),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"entry_price": "much"}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"entry_time": "2018-03-26T10:35:00"}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"reached_target_first": "yes"}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"target_first_time": "2018-03-26T10:35:00"}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"label_target": "0.005"}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"entry_price": 0}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"qty": -5}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"sell_order_ids": [7]}])),
        ("trades_2018-03-26.json", json.dumps([bought(entry_time=ny(TUESDAY, "10:35")).as_json()])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"entry_time": "2031-03-26T10:35:00-04:00"}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"status": "CLOSED"}])),
        ("trades_2018-03-26.json", json.dumps([sold().as_json() | {"status": "OPEN"}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"symbol": "A\ud800PL"}])),
        ("trades_2018-03-26.json", json.dumps([bought().as_json() | {"symbol": ""}])),
    ],
)
def test_a_malformed_trade_file_is_named_and_moved_aside_before_it_is_replaced(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    log = TradeLog(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name] and log.trades == []  # reading writes nothing
    (line,) = log.set_damaged_aside()
    assert line.startswith(f"{tmp_path / name}: ") and "moved to trades_2018-03-26.json.damaged-1" in line
    assert "\n" not in line and log.damaged == []
    assert (tmp_path / f"{name}.damaged-1").read_text() == text
    assert json.loads((tmp_path / name).read_text()) == []


def test_a_copy_of_a_trade_file_under_another_day_doubles_no_trade(tmp_path: Path) -> None:
    log = TradeLog(tmp_path)
    log.add(bought())
    log.save()
    for day in (TUESDAY, date(2031, 3, 26)):
        (tmp_path / f"trades_{day}.json").write_bytes((tmp_path / f"trades_{MONDAY}.json").read_bytes())
    log = TradeLog(tmp_path)
    assert [trade.day for trade in log.open_trades] == [MONDAY] and len(log.set_damaged_aside()) == 2
    log.mark_changed(log.trades[0])
    log.save()
    assert [trade.day for trade in TradeLog(tmp_path).trades] == [MONDAY] and not TradeLog(tmp_path).damaged


def test_a_file_whose_name_has_no_date_is_left_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "trades_monday.json").write_text("[]")
    log = TradeLog(tmp_path)
    assert log.trades == log.damaged == [] and "trades_monday.json: its name has no date" in log.left_out[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.floats(0, 1), st.binary(max_size=6).filter(lambda tail: b"]" not in tail))
def test_the_trades_before_a_cut_are_kept_and_the_damaged_file_too(
    tmp_path_factory: pytest.TempPathFactory, trades: int, cut: float, tail: bytes
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    log = TradeLog(folder)
    ends = []
    for number in range(trades):
        log.add(bought(client_order_id=str(number), model="BÄH"))
        log.save()
        ends.append((folder / "trades_2018-03-26.json").read_bytes().rindex(b"}") + 1)
    path = folder / "trades_2018-03-26.json"
    length = int(cut * (path.stat().st_size - 4))
    content = path.read_bytes()[:length] + tail
    path.write_bytes(content)
    log = TradeLog(folder)
    whole = [str(number) for number, end in enumerate(ends) if end <= length]
    assert [trade.client_order_id for trade in log.trades] == whole
    assert log.damaged
    log.save()  # also without an explicit move nothing is overwritten
    assert [one.read_bytes() for one in folder.glob("*.damaged-1")] == [content]
    assert [trade.client_order_id for trade in TradeLog(folder).trades] == whole and not TradeLog(folder).damaged


def history(folder: Path, days: int, held: tuple[int, ...]) -> list[date]:
    """Trade files of the days before MONDAY with one closed trade each, an open one on some of them, and no index."""
    found = [MONDAY - timedelta(days=days - i) for i in range(days)]
    for i, day in enumerate(found):
        at: dict[str, Any] = {"entry_time": ny(day, "10:35"), "client_order_id": f"n{i}"}
        trade = bought(**at) if i in held else sold(**at)
        (folder / f"trades_{day}.json").write_text(json.dumps([trade.as_json()]))
    return found


def test_old_files_are_read_only_if_they_have_an_open_trade(tmp_path: Path) -> None:
    days = history(tmp_path, LOADED_DAYS + 6, held=(1, 3))
    log = TradeLog(tmp_path)  # without an index every file is read once; only what matters stays in memory
    assert (len(log.trades), log.unread, log.first_day) == (LOADED_DAYS + 2, 4, days[6])
    assert log.has_entry("n3") and not log.has_entry("n2")
    log.start_day(MONDAY)
    log.save()
    damaged = [tmp_path / f"trades_{days[i]}.json" for i in (0, 2, 4, 5)]
    for path in damaged:
        path.write_text("not a trade log")  # and not looked at
    log = TradeLog(tmp_path)
    assert [trade.client_order_id for trade in log.open_trades] == ["n1", "n3"] and log.unread == 5
    held = log.open_trades[0]
    held.exit_price, held.exit_time = D("151"), ny(MONDAY, "10:00")
    log.mark_changed(held)
    log.save()
    assert [trade.client_order_id for trade in TradeLog(tmp_path).open_trades] == ["n3"]
    late = bought(entry_time=ny(days[6], "11:00"), client_order_id="late")  # a day that has left the newest
    log.add(late)
    log.save()
    assert [trade.client_order_id for trade in TradeLog(tmp_path).open_trades] == ["n3", "late"]
    (tmp_path / INDEX_FILE).write_text("{")
    assert len(TradeLog(tmp_path).damaged) == 1 + len(damaged)  # every file counts again


@pytest.mark.parametrize("change", ["removed", "added"])
def test_an_index_of_other_files_is_not_believed(tmp_path: Path, change: str) -> None:
    days = history(tmp_path, LOADED_DAYS + 4, held=())
    log = TradeLog(tmp_path)
    log.start_day(MONDAY)
    log.save()
    assert TradeLog(tmp_path).unread == 5
    if change == "removed":
        (tmp_path / f"trades_{days[1]}.json").unlink()
    forgotten = bought(entry_time=ny(days[0] - timedelta(days=1), "10:35"), client_order_id="forgotten")
    if change == "added":
        (tmp_path / f"trades_{forgotten.day}.json").write_text(json.dumps([forgotten.as_json()]))
    (tmp_path / f"trades_{days[2]}.json").write_text(json.dumps([bought(entry_time=ny(days[2], "10:35")).as_json()]))
    assert len(TradeLog(tmp_path).open_trades) == (2 if change == "added" else 1)


def test_a_kill_while_an_old_trade_is_reopened_hides_it_from_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = history(tmp_path, LOADED_DAYS + 3, held=(1,))
    log = TradeLog(tmp_path)
    log.start_day(MONDAY)
    log.save()
    (held,) = log.open_trades
    held.exit_price, held.exit_time = D("151"), ny(MONDAY, "10:00")
    log.mark_changed(held)
    log.save()
    held.exit_price = held.exit_time = None  # as a position that was written off and is shown again
    log.mark_changed(held)
    real = files.write_bytes
    written: list[str] = []

    def killed_after_one(path: Path, content: bytes) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        real(path, content)

    monkeypatch.setattr(trade_log, "write_bytes", killed_after_one)
    with pytest.raises(KeyboardInterrupt):
        log.save()
    assert written == [INDEX_FILE]  # the day is named before its trade is open
    monkeypatch.setattr(trade_log, "write_bytes", real)
    log.save()
    assert [one.day for one in TradeLog(tmp_path).open_trades] == [days[1]]


WRITER = """
import os
import sys
from pathlib import Path
from datetime import UTC, datetime
from decimal import Decimal
from trading.records.trade_log import Trade, TradeLog
bought = lambda name, ids: Trade(
    "AAPL", 3, Decimal("150.5"), datetime(2018, 3, 26, 14, 35, tzinfo=UTC), 0.78, Decimal("147.49"), Decimal("156.52"),
    client_order_id=name, sell_order_ids=ids,
)
log = TradeLog(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(1_000_000):
    if number < 60:
        log.add(bought(f"{os.getpid()}-{number}", ["x" * 200] * (number % 9)))
    trade = log.trades[number % 60]
    trade.model = "m" * (number % 3000)
    log.mark_changed(trade)
    log.save()
    print(number, flush=True)
"""


def test_a_kill_at_any_moment_leaves_valid_json_with_all_saved_trades(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    kept = 0
    for round_ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        for _ in range(20 + 7 * round_):
            writer.stdout.readline()
        time.sleep(0.0007 * round_)
        writer.send_signal(signal.SIGKILL)
        saves = 20 + 7 * round_ + len(writer.stdout.read().splitlines())
        writer.wait()
        records = json.loads((tmp_path / "trades_2018-03-26.json").read_text())
        assert len(records) >= kept + min(60, saves)
        kept = len(TradeLog(tmp_path).trades)
        assert kept == len(records)


def test_a_trade_that_is_open_again_after_its_sale_counts_on_the_day_of_its_last_sale(tmp_path: Path) -> None:
    log, trade = TradeLog(tmp_path), sold()
    log.add(trade)
    assert (log.sold_on(MONDAY), log.sold_on(TUESDAY)) == ([trade], [])
    trade.exit_time = trade.exit_price = None  # the broker still holds it
    log.mark_changed(trade)
    assert (log.sold_on(MONDAY), log.sold_on(TUESDAY)) == ([], [])
    trade.exit_time, trade.exit_price = ny(TUESDAY, "09:30:42"), D("140")
    log.mark_changed(trade)
    assert (log.sold_on(MONDAY), log.sold_on(TUESDAY)) == ([], [trade])
    log.save()
    assert [one.symbol for one in TradeLog(tmp_path).sold_on(TUESDAY)] == ["AAPL"]
