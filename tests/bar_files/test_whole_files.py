"""Files of bars as other makers write them: read to the same bars, or refused in one line that names the option."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import build_dataset
import live_trader
from bar_files.errors import BarFileError
from bar_files.folder import read_file
from bar_files.options import AS_WRITTEN, Reading
from bar_files.splits import find_splits
from paper_exchange.market.recorded import RecordedMarket
from tests.app.whole_day import Place, clean_environment, write_bars
from trading.app import cli
from trading.base.calendar import new_york_calendar

NEW_YORK = ZoneInfo("America/New_York")
SHARED = Path(__file__).parents[3] / "shared" / "bars"


@dataclass(frozen=True)
class Bar:
    start: datetime
    price: float
    volume: int

    @property
    def local(self) -> datetime:
        return self.start.astimezone(NEW_YORK)


def bars_of(*days: date, every: int = 1, extended: bool = False, share: float = 1.0, seed: int = 1) -> list[Bar]:
    """Bars of New York's sessions, most volume at the open and the close; the price walks."""
    chance, price, found = random.Random(seed), 10.0, []
    for day in days:
        session = new_york_calendar().session(day)
        minutes = range(-330, session.minutes + 240) if extended else range(session.minutes)
        for minute in minutes[::every]:
            price = round(max(2.0, price + chance.choice([-0.02, -0.01, 0.0, 0.01, 0.02])), 4)
            inside = 0 <= minute < session.minutes
            edge = min(minute, session.minutes - 1 - minute)
            volume = chance.randint(100, 900) * (10 if inside and edge < 5 else 3 if inside else 1)
            if chance.random() < share * (1.0 if inside else 0.3):
                found.append(Bar(session.open + timedelta(minutes=minute), price, volume))
    return found


def weekdays(first: date, count: int) -> list[date]:
    sessions = new_york_calendar().between(first, first + timedelta(days=2 * count + 10))
    return [session.date for session in sessions][:count]


WINTER, SUMMER = weekdays(date(2018, 2, 20), 5), weekdays(date(2018, 6, 4), 5)
ACROSS = weekdays(date(2018, 3, 5), 10)  # daylight saving time begins on 2018-03-11
BARS = bars_of(*WINTER)


def utc(bar: Bar) -> str:
    return f"{bar.start:%Y-%m-%dT%H:%M:%SZ}"


def wall(bar: Bar) -> str:
    return f"{bar.local:%Y-%m-%d %H:%M:%S}"


def line(bar: Bar, stamp: Callable[[Bar], str] = utc, symbol: str = "AAA") -> str:
    return f"{symbol},{stamp(bar)},{bar.price},{bar.price},{bar.price},{bar.price},{bar.volume}"


HEADER = "symbol,timestamp,open,high,low,close,volume"


def write(path: Path, lines: Sequence[str], header: str = HEADER, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding=encoding)
    return path


def read(path: Path, bars: Sequence[Bar], reading: Reading = AS_WRITTEN) -> None:
    """Check that both readers find exactly these bars, oldest first."""
    found = read_file(path, reading)
    assert found.start.tolist() == [int(bar.start.timestamp()) * 10**9 for bar in bars]
    assert found.close.tolist() == [bar.price for bar in bars]
    assert found.volume.tolist() == [bar.volume for bar in bars]
    market = RecordedMarket(path.parent, reading)
    days = sorted({bar.local.date() for bar in bars})
    assert sum(len(market.session_bars("AAA", day)) for day in days) + sum(market.dropped.values()) == len(bars)


def refused(path: Path, *words: str, reading: Reading = AS_WRITTEN) -> str:
    with pytest.raises(BarFileError) as caught:
        read_file(path, reading)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


# The order of the bars

BY_DAY = [bar for day in reversed(WINTER) for bar in BARS if bar.local.date() == day]


@pytest.mark.parametrize(
    "order", [BARS[::-1], BY_DAY, random.Random(3).sample(BARS, len(BARS)), BARS[900:] + BARS[:900], BARS[1::-1]]
)
def test_a_file_in_another_order_is_sorted(tmp_path: Path, order: list[Bar]) -> None:
    read(write(tmp_path / "AAA.csv", list(map(line, order))), sorted(order, key=lambda bar: bar.start))


def test_a_few_bars_out_of_order_stay_wrong_bars(tmp_path: Path) -> None:
    order = [*BARS[:5], *BARS[6:100], BARS[5], *BARS[100:]]
    write(tmp_path / "AAA.csv", list(map(line, order)))
    assert RecordedMarket(tmp_path).dropped == {"out of order": 1}


# Time stamps that say what they are

OFFSETS: dict[str, Callable[[Bar], str]] = {
    "New York's offset, across the change of clocks": lambda bar: bar.local.isoformat(),
    "an offset without a colon": lambda bar: f"{bar.local:%Y-%m-%d %H:%M:%S%z}",
    "a blank before the offset": lambda bar: f"{bar.local:%Y-%m-%d %H:%M:%S} {bar.local:%z}",
    "without seconds": lambda bar: f"{bar.start:%Y-%m-%dT%H:%MZ}",
    "with milliseconds": lambda bar: f"{bar.start:%Y-%m-%dT%H:%M:%S}.000Z",
    "the word UTC": lambda bar: f"{bar.start:%Y-%m-%d %H:%M:%S} UTC",
    "seconds": lambda bar: str(int(bar.start.timestamp())),
    "milliseconds": lambda bar: str(int(bar.start.timestamp()) * 1000),
    "microseconds": lambda bar: str(int(bar.start.timestamp()) * 10**6),
    "nanoseconds": lambda bar: str(int(bar.start.timestamp()) * 10**9),
    "seconds as a float": lambda bar: f"{bar.start.timestamp():.1f}",
}


@pytest.mark.parametrize("kind", OFFSETS)
def test_instants_of_every_form_are_read(tmp_path: Path, kind: str) -> None:
    bars = bars_of(*ACROSS)
    read(write(tmp_path / "AAA.csv", [line(bar, OFFSETS[kind]) for bar in bars]), bars)


# Time stamps that need an option

ZONE = "--timezone America/New_York"
WALLS: dict[str, tuple[Callable[[Bar], str], str]] = {
    "New York's clock marked as UTC": (lambda bar: f"{bar.local:%Y-%m-%dT%H:%M:%SZ}", ZONE),
    "New York's clock with a fixed offset": (lambda bar: f"{bar.local:%Y-%m-%dT%H:%M:%S}-05:00", ZONE),
    "New York's clock as seconds": (lambda bar: f"{bar.local.replace(tzinfo=UTC).timestamp():.0f}", ZONE),
    "New York's clock without an offset": (wall, "--timezone"),
    "UTC without an offset": (lambda bar: f"{bar.start:%Y-%m-%d %H:%M:%S}", "--timezone"),
    "Chicago's clock marked as New York's": (
        lambda bar: f"{bar.start.astimezone(ZoneInfo('America/Chicago')):%Y-%m-%dT%H:%M:%S}{bar.local:%z}",
        "--timezone America/Chicago",
    ),
    "Berlin's clock marked as UTC": (
        lambda bar: f"{bar.start.astimezone(ZoneInfo('Europe/Berlin')):%Y-%m-%dT%H:%M:%SZ}",
        "--timezone Europe/Berlin",
    ),
    "written as in America": (lambda bar: f"{bar.local:%m/%d/%Y %H:%M}", "--timezone"),
    "written without separators": (lambda bar: f"{bar.local:%Y%m%d %H:%M:%S}", "--timezone"),
}
SEASONS = {"winter": WINTER, "summer": SUMMER, "both": [*WINTER[:3], *weekdays(date(2018, 3, 26), 4)]}


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("season", SEASONS)
@pytest.mark.parametrize("kind", WALLS)
def test_another_clock_is_named_and_read_with_the_option(
    tmp_path: Path, kind: str, season: str, extended: bool
) -> None:
    stamp, option = WALLS[kind]
    bars = bars_of(*SEASONS[season], extended=extended)
    path = write(tmp_path / "AAA.csv", [line(bar, stamp) for bar in bars])
    if (kind, season) == ("written as in America", "summer"):  # 06/04 may be the 6th of April
        refused(path, "ISO 8601", reading=Reading("America/New_York"))
        return
    if (kind, season) != ("New York's clock with a fixed offset", "winter"):  # the offset is right then
        refused(path, option)
    zone = {"UTC": "UTC", "Chi": "America/Chicago", "Ber": "Europe/Berlin"}.get(kind[:3], "America/New_York")
    read(path, bars, Reading(timezone=zone))


@pytest.mark.parametrize("extended", [False, True])
def test_a_needless_option_is_refused(tmp_path: Path, extended: bool) -> None:
    path = write(tmp_path / "AAA.csv", list(map(line, bars_of(*SUMMER, extended=extended))))
    refused(path, "leave --timezone America/New_York out", reading=Reading("America/New_York"))


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_bars_labelled_by_their_end_are_named_and_read_with_the_option(tmp_path: Path, share: float) -> None:
    for i, late in enumerate((60, 59)):
        bars = bars_of(*weekdays(date(2018, 2, 20), 20), share=share)
        ends = [replace(bar, start=bar.start + timedelta(seconds=late)) for bar in bars]
        folder = tmp_path / str(i)
        folder.mkdir()
        if share == 1.0 or late == 59:
            refused(write(folder / "AAA.csv", list(map(line, ends))), "--bar-end")
        read(write(folder / "AAA.csv", list(map(line, ends))), bars, Reading(bar_end=True))


def test_both_options_are_named_where_both_are_needed(tmp_path: Path) -> None:
    ends = [replace(bar, start=bar.start + timedelta(minutes=1)) for bar in BARS]
    path = write(tmp_path / "AAA.csv", [line(bar, WALLS["New York's clock marked as UTC"][0]) for bar in ends])
    refused(path, f"{ZONE} --bar-end")
    read(path, BARS, Reading("America/New_York", bar_end=True))


def test_starts_are_not_ends(tmp_path: Path) -> None:
    refused(write(tmp_path / "AAA.csv", list(map(line, BARS))), "leave --bar-end out", reading=Reading(bar_end=True))


# Bars of another length, of several stocks, of another time


@pytest.mark.parametrize("minutes", [-90, -60, -30, 30, 60, 120])
@pytest.mark.parametrize("since", [0, 6])
def test_sessions_at_other_hours_are_refused(tmp_path: Path, minutes: int, since: int) -> None:
    """A clock that is off all the time, or from the change to daylight saving time on."""
    bars, first = bars_of(*ACROSS), ACROSS[since]
    moved = [replace(bar, start=bar.start + timedelta(minutes=minutes * (bar.local.date() >= first))) for bar in bars]
    refused(write(tmp_path / "AAA.csv", [line(bar) for bar in moved]))


@pytest.mark.parametrize("minutes", [2, 3, 5, 10, 15, 30])
def test_longer_bars_are_refused(tmp_path: Path, minutes: int) -> None:
    bars = bars_of(*WINTER, every=minutes)
    refused(write(tmp_path / "AAA.csv", list(map(line, bars))), f"{minutes}-minute bars")
    mixed = bars + bars_of(*SUMMER)
    refused(write(tmp_path / "AAA.csv", list(map(line, mixed))), f"look like {minutes}-minute bars") if (
        minutes < 20
    ) else None


def test_hourly_bars_are_refused(tmp_path: Path) -> None:
    hours = [bar for bar in bars_of(*WINTER) if bar.local.minute == 30]
    refused(write(tmp_path / "AAA.csv", list(map(line, hours))), "60-minute bars")


@pytest.mark.parametrize("hour", [0, 9, 16])
@pytest.mark.parametrize("count", [2, 30])
def test_daily_bars_are_refused(tmp_path: Path, hour: int, count: int) -> None:
    days = weekdays(date(2018, 2, 20), count)
    if hour and count < 5:
        return  # two single bars at the open may be a thin stock
    midnights = [Bar(datetime(day.year, day.month, day.day, hour, tzinfo=NEW_YORK), 10.0, 1000) for day in days]
    refused(write(tmp_path / "AAA.csv", list(map(line, midnights))), "daily bars")
    if not hour:
        refused(
            write(tmp_path / "AAA.csv", [line(bar, lambda b: f"{b.local:%Y-%m-%d}") for bar in midnights]), "offset"
        )


def test_bars_of_seconds_are_refused(tmp_path: Path) -> None:
    bars = [Bar(BARS[0].start + timedelta(seconds=second), 10.0, 5) for second in range(0, 3600, 5)]
    refused(write(tmp_path / "AAA.csv", list(map(line, bars))), "5 seconds")


def test_two_stocks_in_one_file_are_refused(tmp_path: Path) -> None:
    other = bars_of(*WINTER, seed=2)
    both = [text for a, b in zip(BARS, other, strict=True) for text in (line(a), line(b, symbol="BBB"))]
    refused(write(tmp_path / "AAA.csv", both), "symbol is 'BBB', not 'AAA'")
    nameless = [text.split(",", 1)[1] for text in both]
    refused(write(tmp_path / "AAA.csv", nameless, HEADER.split(",", 1)[1]), "two stocks")


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:40],
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:200] + bytes(200) + packed[400:],
        lambda packed: packed[:2] + b"?" + packed[3:],
        lambda _: (HEADER + "\n").encode(),
        lambda _: b"",
    ],
    ids=["cut in the header", "cut in the bars", "zeros inside", "other packing", "not packed", "empty"],
)
def test_a_damaged_packed_file_is_refused_in_one_line(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    plain = write(tmp_path / "AAA.csv", list(map(line, BARS)))
    packed = gzip.compress(plain.read_bytes())
    path = tmp_path / "AAA.csv.gz"
    path.write_bytes(packed)
    assert (read_file(path).start == read_file(plain).start).all()
    path.write_bytes(damage(packed))
    refused(path)


def test_each_bar_twice_is_only_counted(tmp_path: Path) -> None:
    write(tmp_path / "AAA.csv", [line(bar) for bar in BARS for _ in range(2)])
    assert RecordedMarket(tmp_path).dropped == {"duplicate": len(BARS)}


def test_times_outside_the_calendar_are_refused(tmp_path: Path) -> None:
    old = [replace(bar, start=bar.start.replace(year=1931)) for bar in BARS]
    refused(write(tmp_path / "AAA.csv", list(map(line, old))), "1931", "1990")


# Columns and numbers


@pytest.mark.parametrize(
    "header",
    [
        "Symbol,Datetime,Open,High,Low,Close,Volume",
        "TICKER,DATE,OPEN,HIGH,LOW,CLOSE,VOL",
        "sym,t,o,h,l,c,v",
        "ticker,window_start,open_price,High Price,low,close,volume",
        '"symbol","timestamp","open","high","low","close","volume"',
        "\ufeffsymbol,timestamp,open,high,low,close,volume",
    ],
)
def test_common_names_of_columns_are_read(tmp_path: Path, header: str) -> None:
    read(write(tmp_path / "AAA.csv", list(map(line, BARS)), header), BARS)


def test_columns_of_any_order_without_the_symbol_are_read(tmp_path: Path) -> None:
    lines = [f"{bar.volume},{bar.price},x,{bar.price},{bar.price},{bar.price},{utc(bar)}" for bar in BARS]
    read(write(tmp_path / "AAA.csv", lines, "Volume,Close,Adj Close,Low,High,Open,Date"), BARS)


def test_date_and_time_in_two_columns_are_read(tmp_path: Path) -> None:
    lines = [
        f"{bar.local:%Y-%m-%d},{bar.local:%H:%M},{bar.price},{bar.price},{bar.price},{bar.price},{bar.volume}"
        for bar in BARS
    ]
    path = write(tmp_path / "AAA.csv", lines, "Date,Time,Open,High,Low,Close,Volume")
    refused(path, "no offset", "--timezone")
    read(path, BARS, Reading("America/New_York"))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_read(tmp_path: Path, separator: str) -> None:
    lines = [line(bar).replace(",", separator) for bar in BARS]
    read(write(tmp_path / "AAA.csv", lines, HEADER.replace(",", separator)), BARS)


def test_decimal_commas_and_thousands_are_read_where_they_are_certain(tmp_path: Path) -> None:
    def european(bar: Bar) -> str:
        price = str(bar.price).replace(".", ",")
        return f"AAA;{utc(bar)};{price};{price};{price};{price};{bar.volume}"

    read(write(tmp_path / "AAA.csv", list(map(european, BARS)), HEADER.replace(",", ";")), BARS)
    big = [replace(bar, price=1000 + bar.price, volume=10_000 * bar.volume) for bar in BARS]
    grouped = [
        f'AAA,{utc(bar)},"{bar.price:,}","{bar.price:,}","{bar.price:,}","{bar.price:,}","{bar.volume:,}"'
        for bar in big
    ]
    read(write(tmp_path / "AAA.csv", grouped), big)
    refused(
        write(tmp_path / "AAA.csv", [f"AAA;{utc(BARS[0])};1,234;1,234;1,234;1,234;5"], HEADER.replace(",", ";")),
        "'1,234'",
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (HEADER.encode(), "no bars"),
        (HEADER.encode("utf-16"), "UTF-8"),
        (line(BARS[0]).encode() + b"\n", "no header"),
        (b"timestamp,timestamp,open,high,low,close,volume\n", "'timestamp' is missing or occurs twice"),
    ],
)
def test_empty_files_and_files_without_a_header_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "AAA.csv"
    path.write_bytes(content)
    refused(path, words)


# Parquet


def table(bars: Sequence[Bar], stamps: pa.Array, name: str = "timestamp", **more: pa.Array) -> pa.Table:
    prices = pa.array([bar.price for bar in bars])
    columns = {name: stamps} | dict.fromkeys(("Open", "High", "Low", "Close"), prices)
    return pa.table(columns | {"Volume": pa.array([bar.volume for bar in bars])} | more)


def test_parquet_is_read_in_every_type_of_time(tmp_path: Path) -> None:
    path, starts = tmp_path / "AAA.parquet", [bar.start for bar in BARS]
    for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("us", "America/New_York"), pa.timestamp("ms", "UTC")):
        pq.write_table(table(BARS, pa.array(starts, kind), "datetime"), path)
        read(path, BARS)
    pq.write_table(table(BARS, pa.array([int(s.timestamp()) * 1000 for s in starts])), path)
    read(path, BARS)
    pq.write_table(table(BARS, pa.array([bar.local.isoformat() for bar in BARS]), "Date"), path)
    read(path, BARS)
    naive = pa.array([bar.local.replace(tzinfo=None) for bar in BARS], pa.timestamp("us"))
    pq.write_table(table(BARS, naive, "__index_level_0__", symbol=pa.array(["AAA"] * len(BARS))), path)
    refused(path, "no time zone", "--timezone")
    read(path, BARS, Reading("America/New_York"))


def test_parquet_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path, stamps = tmp_path / "AAA.parquet", pa.array([bar.start for bar in BARS], pa.timestamp("us", "UTC"))
    path.write_bytes(b"PAR1")
    refused(path, "cannot be read")
    pq.write_table(table(BARS, stamps, symbol=pa.array(["AAA"] * 5 + ["BBB"] * (len(BARS) - 5))), path)
    refused(path, "'BBB'")
    pq.write_table(table(BARS, stamps).drop_columns(["Open"]), path)
    refused(path, "'open'")
    pq.write_table(table(BARS, pa.array([bar.local.date() for bar in BARS])), path)
    refused(path, "no time zone")
    refused(path, reading=Reading("America/New_York"))


# Real bars, and the commands


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/bars is not there")
@pytest.mark.parametrize(
    ("name", "splits"),
    [("us-2018", {}), ("iex-2025", {"CETY": "2025-10-06", "ENVB": "2025-10-28", "MIGI": "2025-11-21"})],
)
def test_real_bars_of_dense_and_of_sparse_feeds_are_taken_as_they_are(name: str, splits: dict[str, str]) -> None:
    """All but three reverse splits, which the recording holds unadjusted."""
    files = sorted((SHARED / name).glob("*.csv.gz"))
    assert len(files) > 40
    found: dict[str, str] = {}
    for path in files:
        bars = read_file(path, Reading(splits="keep"))
        assert (np.diff(bars.start) > 0).all()
        found |= {path.name.split(".")[0]: one.day for one in find_splits(bars)}
    assert found == splits


def run(
    main: Callable[[list[str]], int], arguments: Sequence[object], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    with clean_environment():
        code = cli.run(lambda: main(list(map(str, arguments))))
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert code == 0 or printed.err.count("\n") == 1, printed.err
    return code, printed.err + printed.out


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "good"
    write_bars(folder, date(2025, 3, 3), date(2025, 3, 7), stocks=6)
    return folder


def changed(good: Path, target: Path, change: Callable[[list[str]], list[str]]) -> Path:
    target.mkdir()
    for path in good.glob("*.csv"):
        head, *rows = path.read_text().splitlines()
        (target / path.name).write_text("\n".join([head, *change(rows)]) + "\n")
    return target


def as_wall(rows: list[str]) -> list[str]:
    split = [row.split(",", 2) for row in rows]
    times = [datetime.fromisoformat(stamp).astimezone(NEW_YORK) for _, stamp, _ in split]
    return [f"{name},{time:%Y-%m-%dT%H:%M:%SZ},{rest}" for (name, _, rest), time in zip(split, times, strict=True)]


def test_the_dataset_of_a_folder_in_another_form_is_the_same(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest_first = changed(good, tmp_path / "newest", lambda rows: rows[::-1])
    walled = changed(good, tmp_path / "wall", as_wall)
    base = [f"--env-file={Place.make(tmp_path / 'place').root / 'settings.env'}", "--source=bars"]
    assert run(build_dataset.main, [*base, f"--bars={good}", f"--data-dir={tmp_path / 'd0'}"], capsys)[0] == 0
    assert run(build_dataset.main, [*base, f"--bars={newest_first}", f"--data-dir={tmp_path / 'd1'}"], capsys)[0] == 0
    code, text = run(build_dataset.main, [*base, f"--bars={walled}", f"--data-dir={tmp_path / 'd2'}"], capsys)
    assert (code, ZONE in text) == (2, True), text
    assert not (tmp_path / "d2").exists()
    zone = ["--timezone", "America/New_York"]
    assert run(build_dataset.main, [*base, *zone, f"--bars={walled}", f"--data-dir={tmp_path / 'd2'}"], capsys)[0] == 0
    names = sorted(path.name for path in (tmp_path / "d0").glob("*.csv"))
    assert names
    for name in names:
        for other in ("d1", "d2"):
            assert (tmp_path / other / name).read_bytes() == (tmp_path / "d0" / name).read_bytes()


def test_a_replay_refuses_the_wrong_clock_and_options_without_bars(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place.make(tmp_path / "place")
    walled = changed(good, tmp_path / "wall", as_wall)
    code, text = run(live_trader.main, place.arguments("--bars", walled), capsys)
    assert (code, ZONE in text) == (2, True), text
    code, text = run(live_trader.main, place.arguments("--bar-end"), capsys)
    assert (code, "--bars DIR" in text) == (2, True)
    code, text = run(live_trader.main, place.arguments("--bars", walled, "--timezone", "New York"), capsys)
    assert (code, "no such time zone" in text) == (2, True)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_sessions_for_a_replay_are_one_line(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = weekdays(date(2009, 3, 3), count)
    folder = tmp_path / "bars"
    folder.mkdir()
    write(folder / "AAA.csv", list(map(line, bars_of(*days))))
    place = Place.make(tmp_path / "place")
    for more in ([], [f"--start={days[-1]}"]):
        code, text = run(live_trader.main, place.arguments("--bars", folder, *more), capsys)
        assert (code, "at least 3 sessions" in text) == (2, True), text
    data = tmp_path / "data"
    code, text = run(build_dataset.main, [f"--bars={folder}", f"--data-dir={data}", *place.arguments()[3:]], capsys)
    assert code == 0, text
    assert f"{count}, {days[0]} to {days[-1]}" in text


# Prices


def test_columns_under_each_others_names_are_refused(tmp_path: Path) -> None:
    lines = list(map(line, BARS))
    swapped = HEADER.replace("high", "x").replace("low", "high").replace("x", "low")
    if all(bar_line.split(",")[3] == bar_line.split(",")[4] for bar_line in lines):
        lines = [with_range(one) for one in lines]
    refused(write(tmp_path / "AAA.csv", lines, swapped), "high is below low in", "look swapped", "header")
    moved = HEADER.replace("open", "x").replace("high", "open").replace("x", "high")
    refused(write(tmp_path / "AAA.csv", lines, moved), "open lies outside low to high", "mixed up")
    single = [*lines[:50], lines[50].replace(lines[50].split(",")[3], "1"), *lines[51:]]
    read_file(write(tmp_path / "AAA.csv", single))  # one wrong bar is dropped later


def with_range(bar_line: str) -> str:
    symbol, stamp, _, _, _, close, volume = bar_line.split(",")
    price = float(close)
    return f"{symbol},{stamp},{close},{price + 0.02:.4f},{price - 0.02:.4f},{close},{volume}"


def split_bars(ratio: float, *, volume: float | None = None, noise: float = 0.03) -> list[Bar]:
    """Bars whose stock is split before the third session, and moves by `noise` overnight."""
    found = []
    for bar in BARS:
        old = bar.local.date() < WINTER[2]
        shares = bar.volume * (1.0 if old else ratio if volume is None else volume)
        found.append(Bar(bar.start, round(bar.price * (ratio * (1 + noise) if old else 1.0), 4), max(1, round(shares))))
    return found


@pytest.mark.parametrize(
    ("ratio", "words"), [(2.0, "2:1"), (1.5, "3:2"), (5.0, "5:1"), (0.1, "1:10"), (1 / 30, "1:30"), (20.0, "20:1")]
)
def test_a_split_is_named_and_read_as_the_option_says(tmp_path: Path, ratio: float, words: str) -> None:
    bars = split_bars(ratio)
    path = write(tmp_path / "AAA.csv", list(map(line, bars)))
    refused(path, f"split about {words} on {WINTER[2]}", "--splits adjust", "--splits keep")
    kept, adjusted = (read_file(path, Reading(splits=splits)) for splits in ("keep", "adjust"))
    assert kept.close.tolist() == [bar.price for bar in bars]
    new = np.array([bar.local.date() >= WINTER[2] for bar in bars])
    assert (adjusted.close[new] == kept.close[new]).all() and (adjusted.volume[new] == kept.volume[new]).all()
    assert np.allclose(adjusted.close[~new], kept.close[~new] / ratio, atol=1e-4)
    assert np.allclose(adjusted.volume[~new], kept.volume[~new] * ratio, atol=0.5)


@pytest.mark.parametrize(
    ("ratio", "volume"), [(2.0, 12.0), (2.0, 1.0), (0.5, 8.0), (0.1, 1.0), (1.3, 1.3), (1.0, 1.0), (0.5, 1.0)]
)
def test_a_move_on_news_is_no_split(tmp_path: Path, ratio: float, volume: float) -> None:
    read_file(write(tmp_path / "AAA.csv", list(map(line, split_bars(ratio, volume=volume)))))


def test_two_splits_are_both_adjusted(tmp_path: Path) -> None:
    bars = []
    for bar in BARS:
        factor = 1.0 if bar.local.date() >= WINTER[3] else 2.0 if bar.local.date() >= WINTER[1] else 20.0
        bars.append(Bar(bar.start, round(bar.price * factor, 4), max(1, round(1_000 * bar.volume / factor))))
    path = write(tmp_path / "AAA.csv", list(map(line, bars)))
    refused(path, f"split about 10:1 on {WINTER[1]}")
    adjusted = read_file(path, Reading(splits="adjust"))
    assert np.allclose(adjusted.close, [bar.price for bar in BARS], atol=1e-3)
