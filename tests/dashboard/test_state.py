"""What the state makes of files that grow, are cut, replaced, compressed or damaged while it looks."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Settings
from tests.app.report_logs import DAY, mark, prediction, trade, write_day
from tests.app.report_logs import ny as at
from tests.dashboard.dashboard_world import beat, still_open
from trading.base import files
from trading.base.clock import SimulatedClock
from trading.dashboard.state.live import Live, Places
from trading.dashboard.state.tail import Tail
from trading.dashboard.views.metrics import metrics
from trading.dashboard.views.now import now_page
from trading.dashboard.views.trades import Filter, trade_of, trade_page, trades_page
from trading.dashboard.views.words import audit_line, shown
from trading.dashboard.web.guard import Access
from trading.dashboard.web.site import Site
from trading.records.journal import Journal
from trading.records.trade_log import TradeLog


def live_of(root: Path) -> Live:
    return Live(Places(root / "data", root / "models", root / "logs", root / "control"))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    mark(folder)
    write_day(folder, DAY, still_open())
    return folder


LINES = st.lists(
    st.one_of(
        st.integers(0, 9).map(lambda n: orjson.dumps({"n": n})),
        st.sampled_from([b"{", b"[1]", b"null", b"\xff\x00", b'{"n":', b'{"a":"\\n"}', b""]),
    ),
    max_size=12,
)


@given(LINES, st.lists(st.integers(0, 90), max_size=8))
def test_each_whole_line_is_read_once_however_its_bytes_arrive(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("tail") / "audit.jsonl"
    content = b"".join(line + b"\n" for line in lines)
    ends = [*sorted(min(cut, len(content)) for cut in cuts), len(content)]
    tail, found, begin = Tail(path), [], 0
    for end in ends:
        with open(path, "ab") as file:
            file.write(content[begin:end])
        found += list(tail.records())
        begin = end
    objects = [one for one in (_parsed(line) for line in lines) if isinstance(one, dict)]
    assert found == objects
    assert tail.damaged == sum(1 for line in lines if line.strip() and not isinstance(_parsed(line), dict))
    assert list(tail.records()) == []


def _parsed(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def test_a_file_that_is_replaced_cut_or_compressed_is_read_again_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "predictions_2018-03-26.jsonl"
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(b'{"n":0}\n')
    tail = Tail(path)
    assert list(tail.records()) == [{"n": 0}]
    path.write_bytes(b'{"n":1}\n{"n":2}\n')
    assert [one["n"] for one in tail.records()] == [1, 2]
    other = tmp_path / "aside"
    other.write_bytes(b'{"n":3}\n{"n":4}\n{"n":5}\n')
    os.replace(other, path)
    assert [one["n"] for one in tail.records()] == [3, 4, 5]
    path.write_bytes(b'{"n":6}\n')
    assert [one["n"] for one in tail.records()] == [6] and tail.restarts == 2
    path.unlink()
    assert list(tail.records()) == []
    damaged = tmp_path / "audit_2018-03-26.jsonl"
    damaged.with_name(f"{damaged.name}.gz").write_bytes(gzip.compress(b'{"n":7}\n' * 9)[:-12])
    other_tail = Tail(damaged)
    list(other_tail.records())
    assert other_tail.damaged == 1


def test_the_page_now_has_the_position_the_refusals_and_what_holds_entries_back(logs: Path, tmp_path: Path) -> None:
    live = live_of(tmp_path)
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "PAUSED").write_text("CCC\n")
    audit = logs / f"audit_{DAY}.jsonl"
    audit.write_text("".join(line for line in audit.open() if '"closed"' not in line))
    with live.refreshed():
        page = now_page(live)
    assert [one.symbol for one in page.positions] == ["BBB"] and page.status.word == "unknown"
    assert page.positions[0].result == "+$0.45"  # 5 shares from 10.01 to 10.10
    tiles = {tile.name: tile.value for tile in page.tiles}
    assert tiles["P&L of the day"] == "+$2.40" and tiles["Equity"] == "$100,002.40"  # 1.95 of AAA, 0.45 open
    assert any("CCC" in line for line in page.holds) and any("STOP file" in line for line in page.holds)
    assert page.minute == "10:32" and page.best[0][3] == "under the threshold 0.65"
    version = live.version
    assert live.look() == version
    (tmp_path / "control" / "PAUSED").unlink()
    assert live.look() == version + 1


def test_best_predictions_say_why_they_were_not_bought(logs: Path, tmp_path: Path) -> None:
    lines = (logs / f"predictions_{DAY}.jsonl").read_bytes().splitlines(keepends=True)
    (logs / f"predictions_{DAY}.jsonl").write_bytes(b"".join(lines[:4]))  # those of 10:31
    live = live_of(tmp_path)
    with live.refreshed():
        why = {symbol: reason for symbol, _, _, reason in now_page(live).best}
    assert why == {
        "AAA": "bought",
        "BBB": "10 of 10 positions are taken (the rule for the most positions at once)",
        "CCC": "under the threshold 0.65", "DDD": "its newest bar was of 10:20, too old",
    }  # fmt: skip


def test_a_fill_is_seen_with_the_next_look_and_orders_in_flight_until_then(logs: Path, tmp_path: Path) -> None:
    live = live_of(tmp_path)
    journal = Journal(logs, SimulatedClock(at(DAY, "13:10:02")))
    new = trade(DAY, "CCC", "13:11", None)
    name = new.client_order_id
    with live.refreshed():
        before = len(live.open_trades)
    journal.event("entry_intent", symbol="CCC", qty=5, client_order_id=name, decision_price=10.0, confidence=0.7,
                  stop=9.8, target=10.4, model="m")  # fmt: skip
    with live.refreshed():
        assert [row[1] for row in now_page(live).in_flight] == ["buy"]
    log = TradeLog(logs)
    log.add(new)
    log.save()
    journal.event("bought", symbol="CCC", client_order_id=name, qty=5, price=10.01, stop=9.8, target=10.4)
    with live.refreshed():
        page = now_page(live)
        assert len(live.open_trades) == before + 1 and page.in_flight == ()
        assert page.events[0][1] == "bought 5 CCC at $10.01, stop $9.80, target $10.40"
    journal.close()


@pytest.mark.parametrize("content", [b"", b"{", b"[{}]", b'[{"symbol": "AAA"}]', b"\x00" * 100, b"null", b'"x"'])
def test_damaged_files_change_no_page_into_an_error(logs: Path, tmp_path: Path, content: bytes) -> None:
    live = live_of(tmp_path)
    with live.refreshed():
        known = len(live.trades)
    for path in logs.iterdir():
        path.write_bytes(content)
    (logs / "heartbeat.json").write_bytes(content)
    for one in (live, live_of(tmp_path)):
        with one.refreshed():
            page = now_page(one)
            trades_page(one, Filter())
            assert page.status.word == "unknown" and metrics(one)
    with live.refreshed():
        assert len(live.trades) == (0 if b"symbol" in content else known)  # a damaged file keeps what was read


def test_a_folder_without_logs_and_one_that_is_missing_show_that_there_is_nothing(tmp_path: Path) -> None:
    live = live_of(tmp_path)
    with live.refreshed():
        page = now_page(live)
    assert page.day == "" and page.positions == () and page.status.level == "warn"


def test_a_compressed_log_of_endless_lines_is_damaged_from_a_bound_on(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_LINES", 100)
    (logs / f"audit_{DAY}.jsonl").unlink()
    (logs / f"audit_{DAY}.jsonl.gz").write_bytes(gzip.compress(b"\n" * 100_000))
    live = live_of(tmp_path)
    with live.refreshed():
        assert f"audit_{DAY}.jsonl: 1 line damaged or with other fields; left out" in live.findings
    assert list(live.reader.audit(DAY)) == []
    assert f"audit_{DAY}.jsonl: 101 lines damaged or cut short; the others are reported" in live.reader.findings


def test_the_sign_of_life_says_alive_stopped_or_dead(logs: Path, tmp_path: Path) -> None:
    live = live_of(tmp_path)
    for age, state, word in (
        (0.0, "minute", "alive"),
        (61.0, "minute", "dead"),
        (-61.0, "minute", "dead"),
        (-9e8, "minute", "dead"),
        (-30.0, "minute", "alive"),
        (500.0, "stopped", "stopped"),
    ):
        beat(logs, age=age, state=state)
        with live.refreshed():
            assert now_page(live).status.word == word
            assert f"trader_up {float(word == 'alive')}" in metrics(live).decode()


def test_a_trade_has_its_chart_and_its_lines_in_words_and_filters_find_it(logs: Path, tmp_path: Path) -> None:
    live = live_of(tmp_path)
    with live.refreshed():
        rows = trades_page(live, Filter(symbol="AAA", exit="TAKE_PROFIT")).rows
        assert [(row.symbol, row.number) for row in rows] == [("AAA", 0)]
        assert trades_page(live, Filter(exit="OPEN")).rows[0].symbol == "BBB"
        assert trades_page(live, Filter(model="other")).rows == ()
        found = trade_of(live, str(DAY), "0")
        assert found is not None
        page = trade_page(live, *found)
        for day, number in (
            ("2018-03-27", "0"),
            ("x", "0"),
            *((str(DAY), one) for one in ("9", "-1", "../0", "\uff10")),
        ):
            assert trade_of(live, day, number) is None
    assert page.lines[0] == ("10:31:02", "to be bought: 5 AAA, decided at $10.00 with confidence 0.7100, planned "
                             "stop $9.80, target $10.40, by model 20180323_200000")  # fmt: skip
    assert page.lines[1][1].startswith("bought 5 AAA at $10.01") and page.minute == "10:31"
    assert {one["type"] for one in page.figures["trade"]["data"]} >= {"candlestick"}


def test_a_later_day_takes_the_place_of_the_day_before(logs: Path, tmp_path: Path) -> None:
    live = live_of(tmp_path)
    with live.refreshed():
        assert live.day == DAY
    later = DAY.replace(day=27)
    write_day(logs, later)
    with live.refreshed():
        assert live.day == later and live.audit.counts["day_started"] == 1
        assert {one.day for one in live.trades} == {DAY, later}


@given(st.text(max_size=60), st.sampled_from(["/home/u/x/logs/a.json", "C:\\Users\\me\\a.json", "~/t/a.json", "/a/b"]))
def test_no_folder_of_a_path_is_shown(text: str, path: str) -> None:
    found = shown(f"{text} {path} cannot be written")
    assert "/home" not in found and "Users" not in found and "~/t" not in found and "/a/b" not in found
    assert shown("sold 5 A at $5.40: 10/26/2018, BRK/B, 50%") == "sold 5 A at $5.40: 10/26/2018, BRK/B, 50%"


def test_folders_of_this_machine_are_removed_and_links_stay(tmp_path: Path) -> None:
    for root in (tmp_path / "x", Path("/")):  # in a container, the folders lie below the root
        live = Live(Places(root / "data", root / "models", root / "logs", root))
        site = Site(live, Access(frozenset()), lambda reader, day: Settings())
        text = site.without_folders(
            f'<a href="/models"></a> {tmp_path}/x/logs/a.json <a href="/files/logs/report.html">'
        )
        assert '<a href="/models"></a>' in text and "/files/logs/report.html" in text
        assert root == Path("/") or str(tmp_path) not in text


def test_bars_come_once_and_in_order_though_predictions_are_repeated(logs: Path, tmp_path: Path) -> None:
    live = live_of(tmp_path)
    journal = Journal(logs, SimulatedClock(at(DAY, "13:10:02")))
    journal.predictions([prediction("AAA", at(DAY, clock), 0.5, price) for clock, price in
                         (("12:00:02", 10.0), ("11:00:02", 9.0), ("12:00:02", 11.0))])  # fmt: skip
    journal.close()
    with live.refreshed():
        bars = live.predictions.bars("AAA")
        assert [bar[0] for bar in bars] == sorted({bar[0] for bar in bars})
        assert live.predictions.price("AAA") == 11.0 and bars[-2][4] == 9.0


def test_the_audit_names_the_level_that_was_moved() -> None:
    record = {"event": "leg_moved", "symbol": "AAA", "was": "10.31", "now": "10.32"}
    assert audit_line({**record, "level": "stop"}) == "the stop was moved from $10.31 to $10.32"
    assert audit_line(record) == "the level was moved from $10.31 to $10.32", "an audit of an earlier version"
