"""Recorded bars: what is read, what is dropped and counted, and which errors are reported."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bar_files.columns import HEADER
from bar_files.errors import BarFileError, unreadable
from paper_exchange.market.interface import Listing
from paper_exchange.market.recorded import RecordedMarket

US_2018 = Path(__file__).parents[3] / "shared" / "bars" / "us-2018"
OPEN = datetime(2018, 3, 26, 13, 30, tzinfo=UTC)  # a Monday, in daylight saving time
GOOD = "10.0,10.5,9.5,10.2,300"


def row(symbol: str, start: datetime, values: str = GOOD) -> str:
    return f"{symbol},{start:%Y-%m-%dT%H:%M:%SZ},{values}"


def write(folder: Path, symbol: str, *rows: str) -> Path:
    path = folder / f"{symbol}.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_bars_are_read_as_they_were_written(tmp_path: Path) -> None:
    minute = timedelta(minutes=1)
    write(
        tmp_path,
        "PBR.A",
        row("PBR.A", OPEN, "12.0,12.01,11.99,12.005,11267"),
        row("PBR.A", OPEN + 3 * minute, "12.1,12.1,12.1,12.1,0"),
        row("PBR.A", OPEN + timedelta(days=1), "13.0,13.5,12.5,13.1,7"),
    )
    market = RecordedMarket(tmp_path)
    bars = market.session_bars("PBR.A", date(2018, 3, 26))
    assert bars.start.tolist() == [int(OPEN.timestamp()) * 10**9, int((OPEN + 3 * minute).timestamp()) * 10**9]
    assert (bars.open.tolist(), bars.high.tolist()) == ([12.0, 12.1], [12.01, 12.1])
    assert (bars.low.tolist(), bars.close.tolist()) == ([11.99, 12.1], [12.005, 12.1])
    assert bars.volume.tolist() == [11267, 0]
    assert bars.volume.dtype == bars.start.dtype == np.int64
    assert market.session_bars("PBR.A", date(2018, 3, 27)).close.tolist() == [13.1]
    assert market.listings == (Listing("PBR.A", "PBR.A"),)
    assert (market.first_session, market.last_session) == (date(2018, 3, 26), date(2018, 3, 27))
    assert market.dropped == {}


def test_the_description_names_the_folder_without_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "my-bars"
    folder.mkdir()
    write(folder, "B", row("B", OPEN))
    write(folder, "A", row("A", OPEN + timedelta(days=1)))
    market = RecordedMarket(folder)
    assert market.description == "recorded bars of my-bars (2 stocks, 2018-03-26 to 2018-03-27)"
    assert [listing.symbol for listing in market.listings] == ["A", "B"]


def test_a_compressed_file_reads_as_a_plain_one_and_other_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "A.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{row('A', OPEN)}\n".encode()))
    (tmp_path / "README.md").write_text("not bars")
    assert RecordedMarket(tmp_path).session_bars("A", OPEN.date()).close.tolist() == [10.2]


@pytest.mark.parametrize("symbol", ["NA", "NAN", "TRUE", "BRK.B"])
def test_a_symbol_that_reads_like_a_missing_value_is_a_symbol(tmp_path: Path, symbol: str) -> None:
    write(tmp_path, symbol, row(symbol, OPEN))
    assert RecordedMarket(tmp_path).session_bars(symbol, OPEN.date()).close.tolist() == [10.2]


def test_sessions_without_bars_have_length_0_and_unknown_symbols_are_a_key_error(tmp_path: Path) -> None:
    write(tmp_path, "A", row("A", OPEN), row("A", OPEN + timedelta(days=2)))
    write(tmp_path, "B", row("B", OPEN + timedelta(days=1)))
    market = RecordedMarket(tmp_path)
    for day in (date(2018, 3, 27), date(2018, 3, 30), date(2018, 3, 25), date(2017, 1, 3), date(2030, 1, 2)):
        assert len(market.session_bars("A", day)) == 0
    assert len(market.session_bars("B", date(2018, 3, 27))) == 1
    with pytest.raises(KeyError):
        market.session_bars("C", date(2018, 3, 26))


def test_bars_are_read_only(tmp_path: Path) -> None:
    write(tmp_path, "A", row("A", OPEN))
    bars = RecordedMarket(tmp_path).session_bars("A", OPEN.date())
    for values in (bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


MINUTE_1 = OPEN + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("A", MINUTE_1, "0,10.5,9.5,10.2,300"), "price not positive"),
        (row("A", MINUTE_1, "10,10.5,-9.5,10.2,300"), "price not positive"),
        (row("A", MINUTE_1, "10,9.5,10.5,10.2,300"), "high below low"),
        (row("A", MINUTE_1, "11,10.5,9.5,10.2,300"), "open or close outside low to high"),
        (row("A", MINUTE_1, "10,10.5,9.5,9.4,300"), "open or close outside low to high"),
        (row("A", MINUTE_1, "nan,10.5,9.5,10.2,300"), "not a number"),
        (row("A", MINUTE_1, "10,inf,9.5,10.2,300"), "not a number"),
        (row("A", MINUTE_1, "10,10.5,9.5,,300"), "not a number"),
        (row("A", MINUTE_1, "10,10.5,9.5,10.2,"), "not a number"),
        (row("A", MINUTE_1, "10,10.5,9.5,10.2,-1"), "volume not a count of shares"),
        (row("A", MINUTE_1, "10,10.5,9.5,10.2,1.5"), "volume not a count of shares"),
        (row("A", MINUTE_1, "10,10.5,9.5,10.2,1e300"), "volume not a count of shares"),
        (row("A", OPEN), "duplicate"),
        (row("A", OPEN + timedelta(seconds=30)), "not on a full minute"),
        (row("A", OPEN - timedelta(minutes=1)), "outside the regular session"),
        (row("A", OPEN + timedelta(minutes=390)), "outside the regular session"),
        (row("A", datetime(2018, 3, 30, 15, 0, tzinfo=UTC)), "outside the regular session"),  # Good Friday
        (row("A", datetime(2018, 7, 3, 17, 0, tzinfo=UTC)), "outside the regular session"),  # closed at 13:00
        (row("A", datetime(1700, 1, 2, 15, 0, tzinfo=UTC)), "outside the regular session"),
    ],
)
def test_an_implausible_bar_is_dropped_and_counted(tmp_path: Path, bad: str, reason: str) -> None:
    write(tmp_path, "A", row("A", OPEN), bad, row("A", OPEN + timedelta(minutes=2)))
    market = RecordedMarket(tmp_path)
    assert market.dropped == {reason: 1}
    assert len(market.session_bars("A", OPEN.date())) == 2


def test_an_out_of_order_bar_is_dropped(tmp_path: Path) -> None:
    minutes = (0, 2, 1, 3)
    write(tmp_path, "A", *(row("A", OPEN + timedelta(minutes=minute)) for minute in minutes))
    market = RecordedMarket(tmp_path)
    assert market.dropped == {"out of order": 1}
    assert ((market.session_bars("A", OPEN.date()).start // 60_000_000_000) % 60).tolist() == [30, 32, 33]


price = st.sampled_from(["10", "10.5", "9.5", "-1", "0", "nan", "", "11"])
any_row = st.tuples(
    st.integers(-3, 12), st.sampled_from([0, 1, 4]), price, price, price, price, st.sampled_from(["5", "0", "-2", ""])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_row, max_size=25))
def test_kept_bars_are_valid_and_dropped_ones_are_counted(tmp_path: Path, rows: list[tuple]) -> None:
    sound = row("A", OPEN + timedelta(days=8))
    lines = [row("A", OPEN + timedelta(days=day, minutes=minute), ",".join(v)) for minute, day, *v in rows]
    write(tmp_path, "A", *lines, sound)
    try:
        market = RecordedMarket(tmp_path)
    except BarFileError as error:  # most of many random bars contradict themselves: then the file is wrong as a whole
        assert len(lines) + 1 >= 20 and ("look mixed up" in str(error) or "look swapped" in str(error))
        return
    kept = 0
    for day in range(10):
        bars = market.session_bars("A", OPEN.date() + timedelta(days=day))
        kept += len(bars)
        assert np.all(np.diff(bars.start) > 0)
        assert np.all((bars.low > 0) & (bars.low <= bars.open) & (bars.low <= bars.close))
        assert np.all((bars.high >= bars.open) & (bars.high >= bars.close) & (bars.volume >= 0))
    assert kept + sum(market.dropped.values()) == len(lines) + 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty", HEADER]),
        (HEADER + "\n", ["no bars"]),
        ("symbol,open,high,low,close,volume\nA,1,1,1,1,1\n", ["'timestamp'", "missing", HEADER]),
        ("symbol,timestamp,open,open,high,low,close,volume\n", ["'open'", HEADER]),
        (f"{HEADER}\n{row('A', OPEN, 'ten,10.5,9.5,10.2,300')}\n", ["row 2", "open", "'ten'", "number"]),
        (f"{HEADER}\n{row('A', OPEN)}\n{row('A', OPEN, '1,1,1,1,many')}\n", ["row 3", "volume", "'many'", "number"]),
        (f"{HEADER}\nA,yesterday,{GOOD}\n", ["row 2", "timestamp", "'yesterday'", "ISO 8601"]),
        (f"{HEADER}\nA,2018-03-26T13:30:00,{GOOD}\n", ["timestamp", "'2018-03-26T13:30:00'", "offset"]),
        (f"{HEADER}\nA,,{GOOD}\n", ["timestamp is empty", "1 row"]),
        (f"{HEADER}\n{row('B', OPEN)}\n", ["symbol is 'B', not 'A'"]),
        (f"{HEADER}\n{row('A', OPEN)}\n{row('', OPEN)}\n", ["symbol is '', not 'A'"]),
        (f"{HEADER}\nA,2018-03-26T13:30:00Z,1\n", ["cannot be read", "Expected 7 columns"]),
        (f"{HEADER}\n{row('A', OPEN, '0,1,1,1,1')}\n", ["no usable bars", "1 price not positive"]),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "A.csv").write_text(text)
    with pytest.raises(BarFileError) as caught:
        RecordedMarket(tmp_path)
    line = str(caught.value)
    assert "\n" not in line
    for word in ["A.csv", *words]:
        assert word in line


def test_damaged_duplicate_missing_and_empty_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BarFileError, match="no bar files"):
        RecordedMarket(tmp_path)
    with pytest.raises(BarFileError, match="nowhere: no such folder"):
        RecordedMarket(tmp_path / "nowhere")
    denied = unreadable(tmp_path / "A.csv", PermissionError(13, "Failed to open local file"))
    assert "permissions" in str(denied) and "download" not in str(denied)
    archive = tmp_path / "A.csv.gz"
    archive.write_bytes(b"this is no archive")
    with pytest.raises(BarFileError, match=r"A\.csv\.gz: cannot be read"):
        RecordedMarket(tmp_path)
    whole = gzip.compress(f"{HEADER}\n{row('A', OPEN)}\n".encode() * 50)
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BarFileError, match=r"A\.csv\.gz: "):
        RecordedMarket(tmp_path)
    write(tmp_path, "A", row("A", OPEN))
    with pytest.raises(BarFileError, match="remove one"):
        RecordedMarket(tmp_path)


@pytest.mark.skipif(not US_2018.is_dir(), reason="../shared/bars/us-2018 is not there")
def test_the_recorded_month_of_2018_is_read_completely() -> None:
    market = RecordedMarket(US_2018)
    assert market.description == "recorded bars of us-2018 (75 stocks, 2018-02-16 to 2018-04-02)"
    days = [market.first_session + timedelta(days=day) for day in range(46)]
    counts = {day: sum(len(market.session_bars(s.symbol, day)) for s in market.listings) for day in days}
    assert sum(counts.values()) == 864_567
    assert market.dropped == {}
    assert sum(count > 0 for count in counts.values()) == 30
    assert counts[date(2018, 2, 19)] == counts[date(2018, 3, 30)] == 0
    # Daylight saving time began on 2018-03-11.
    for day, opens in ((date(2018, 3, 9), "14:30"), (date(2018, 3, 12), "13:30")):
        first = int(market.session_bars("AMD", day).start[0])
        assert datetime.fromtimestamp(first / 1e9, UTC).strftime("%H:%M") == opens
