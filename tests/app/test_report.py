"""report.py: figures, pages and answers from logs alone, whatever state the logs are in."""

from __future__ import annotations

import contextlib
import gzip
import html.parser
import io
import json
import re
import shutil
import tempfile
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import report
from config import Settings
from tests.app.report_logs import DAY, mark, ny, trade, write_day
from trading.app import cli
from trading.base.calendar import new_york_calendar
from trading.base.clock import NEW_YORK, parse_instant
from trading.records.log_reader import LogReader
from trading.reports.look.glossary import GLOSSARY, anchor, with_terms
from trading.reports.traded.why import Question, answer
from trading.schedule.timetable import Marks

NEXT, AFTER = DAY + timedelta(days=1), DAY + timedelta(days=2)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "logs"
    folder.mkdir()
    mark(folder)
    write_day(folder, DAY)
    write_day(folder, NEXT, trade(NEXT, "BBB", "11:00", "9.81", exit_reason="STOP_LOSS", reached_target_first=False))
    return folder


@pytest.fixture
def logs(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "logs")


def run(logs: Path, *arguments: str) -> int:
    return cli.run(lambda: report.main([f"--logs-dir={logs}", "--env-file=/dev/null", *arguments]))


def figures(logs: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(logs, "--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


class Elements(html.parser.HTMLParser):
    """Attributes of every element, and what is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.found if (value := attrs.get(attribute)) is not None]


def test_the_figures_are_those_of_the_trades(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(logs, capsys)
    assert found["sessions"] == [str(DAY), str(NEXT)] and found["findings"] == []
    assert found["booked"]["trades"] == 3 and found["booked"]["result"] == pytest.approx(5 * (0.39 + 0.39 - 0.20))
    assert found["after_assumed_cost"]["cost"] == pytest.approx(3 * 5 * (10.01 * 0.001 - 0.01))  # a tick is paid
    assert found["booked"]["equity"][0] == 100_000.0
    assert all(found["booked"][name]["value"] is None for name in ("sharpe", "sortino", "calmar"))
    assert found["booked"]["exposure"] == pytest.approx((40 + 68) / (2 * 210))  # the audit closes both days at 13:00
    assert [one["name"] for one in found["groups"]["exit reason"]] == ["STOP_LOSS", "TAKE_PROFIT"]
    truth = found["live"]["all_models"]["comes_true"][-1]
    assert (truth["trades"], truth["came_true"]) == (3, 2)
    assert found["execution"][0]["mean"] == 58.0 and [one["stocks"] for one in found["universe"]] == [2, 2]
    assert figures(logs, capsys, f"--start={NEXT}")["booked"]["trades"] == 2
    assert figures(logs, capsys, "--days=1")["sessions"] == [str(NEXT)]
    assert not (logs / "report.html").exists()  # --json writes nothing


def test_all_bands_old_bars_and_only_the_days_with_predictions_are_counted(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = {"exit_reason": "STOP_LOSS", "reached_target_first": False}
    write_day(logs, AFTER, trade(AFTER, "BBB", "11:00", "9.81", confidence=0.66, **lost))
    (logs / f"predictions_{AFTER}.jsonl").unlink()
    found = figures(logs, capsys)
    said = "\n".join(found["verdict"])
    assert "The mean confidence was 70.0%, and 60.0% came true (of 5 trades:" in said
    assert "each after cost on 2 sessions of the 3; these trades brought" in said
    beside = found["against_universe"]
    assert (beside["sessions"], beside["trades"]) == (2, 3) and "an interval needs 20 sessions" in said
    assert beside["own"]["value"] == pytest.approx(
        sum(100 * (one / 10.01 - 1) for one in (10.4, 10.4, 9.81)) / 3, abs=1e-2
    )
    assert run(logs) == 0
    page = (logs / "report.html").read_text()
    assert "14 predictions of the newest 2 sessions. 2 had a bar that was too old for a purchase." in page


@pytest.fixture
def overnight(written: Path, tmp_path: Path) -> Path:
    """Two days with a trade each that is sold on the day after, and a third day without a file."""
    folder = tmp_path / "overnight"
    folder.mkdir()
    mark(folder)
    kept = {"exit_time": ny(NEXT, "09:30:42"), "exit_reason": "REBALANCE"}
    write_day(folder, DAY, trade(DAY, "CHK", "15:40", "9.51", **kept))
    write_day(folder, NEXT, trade(NEXT, "F", "15:41", "9.91", **kept | {"exit_time": ny(AFTER, "04:00:09")}))
    return folder


def test_a_trade_counts_where_its_sale_lies_and_is_named_if_it_was_carried_in_or_out(
    overnight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(*days: str) -> tuple[Any, ...]:
        found = figures(overnight, capsys, *days)
        assert found["findings"] == []
        carried = [[one["symbol"] for one in found[side]] for side in ("carried_in", "carried_out")]
        booked = found["booked"]
        return found["sessions"], booked["trades"], round(booked["result"], 2), *carried, booked["exposure"]

    each = 5 * 0.39
    first, second, third = str(DAY), str(NEXT), str(AFTER)
    minute = 1 / 210  # the audit closes the first two days at 13:00, so both are bought after the close
    assert of(f"--end={first}") == ([first], 1, round(each, 2), [], ["CHK"], pytest.approx(40 * minute))
    assert of(f"--start={second}", f"--end={second}") == (
        [second], 2, round(each - 2.5, 2), ["CHK"], ["F"], pytest.approx(40.7 * minute)
    )  # fmt: skip
    assert of("--days=1") == ([second, third], 3, round(each - 2.5 - 0.5, 2), ["CHK"], [], pytest.approx(40.7 / 600))
    assert of() == ([first, second, third], 4, round(2 * each - 3.0, 2), [], [], pytest.approx(80.7 / 810))
    lines = "\n".join(figures(overnight, capsys, f"--start={second}", f"--end={second}")["verdict"])
    assert "1 trade was bought before this range and sold in it (CHK, bought 2018-03-26)." in lines
    assert "Not counted: 1 position sold after this range (F, sold 2018-03-28)." in lines


def test_the_pages_of_a_carried_trade_say_where_it_counts(overnight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(overnight, "--why", "CHK", "15:39", f"--date={DAY}") == 0
    assert "Sold at 09:30:42 on 2018-03-27 for $9.51 (REBALANCE): -$2.50 booked." in capsys.readouterr().out
    assert run(overnight, f"--start={NEXT}", f"--end={NEXT}") == 0
    page = unescape((overnight / "report.html").read_text())
    assert "It was bought before this range, and counts on the day of its sale." in page
    assert '<span class="">sold later</span>' in page
    assert "It was sold after this range, so it is not counted." in page and "$9.91 on 2018-03-28 at 04:00" in page
    index = (overnight / "index.html").read_text()
    rows = re.findall(r"<td>(2018-[^<]*)</td><td>([^<]*)</td><td>([^<]*)</td>", index)
    assert rows == [(str(AFTER), "1", "-$0.50"), (str(NEXT), "2", "-$0.55"), (str(DAY), "1", "+$1.95")]


def test_the_pages_say_the_verdict_first_and_need_no_network(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(logs) == 0
    shown = capsys.readouterr().out
    assert (
        "3 trades earned $2.90 in all. A trade brought +1.93% of its price, on average." in shown
        and shown.splitlines()[-1] == str(logs / "index.html")
    )
    page = (logs / "report.html").read_text()
    elements = Elements(page)
    assert page.index("3 trades earned") < page.index('class="tile"') < page.index("data-chart")
    assert [*elements.of("src"), *elements.of("href")] == ["plotly.min.js", "index.html"]
    drawn = json.loads(page.split('id="figures">')[1].split("</script>")[0])
    assert set(elements.of("data-chart")) == set(drawn) and {"equity", "true", "earned", "trade2"} <= set(drawn)
    assert drawn["trade1"]["data"][0]["type"] == "candlestick"
    assert set(elements.of("popovertarget")) <= set(elements.of("id"))
    assert (logs / "plotly.min.js").stat().st_size > 1_000_000
    assert {"report.html"} == set(Elements((logs / "index.html").read_text()).of("href"))
    assert run(logs, "--html") == 0 and (logs / "report.html").read_text() == page


def test_a_hostile_text_in_the_logs_stays_text(logs: Path) -> None:
    path = logs / f"trades_{DAY}.json"
    path.write_text(path.read_text().replace('"TAKE_PROFIT"', '"</script><script>alert(1)</script>[/b]"'))
    assert run(logs) == 0
    page = (logs / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def _damage(kind: str, logs: Path) -> str:
    """Damage one file; returns what the line about it must say."""
    trades, audit = logs / f"trades_{DAY}.json", logs / f"audit_{DAY}.jsonl"
    said = logs / f"predictions_{DAY}.jsonl"
    if kind == "trades cut":
        trades.write_bytes(trades.read_bytes()[:300])
        return f"trades_{DAY}.json: is damaged"
    if kind == "no list":
        trades.write_text("{}")
        return f"trades_{DAY}.json: is not a trade log"
    if kind == "texts":
        trades.write_text('["AAA", "BBB"]')
        return f"trades_{DAY}.json: is not a trade log; it is left out"
    if kind == "a text among them":
        trades.write_text(trades.read_text().replace("[", '["AAA",', 1))
        return f"trades_{DAY}.json: trade 1 is left out (it is not the record of a trade"
    if kind == "a folder":
        trades.unlink()
        trades.mkdir()
        return f"trades_{DAY}.json: cannot be read"
    if kind == "trades gone":
        trades.unlink()
        return f"trades_{DAY}.json: is missing, but the audit of that day has 1 bought"
    if kind == "a price of 0":
        trades.write_text(trades.read_text().replace('"entry_price": 10.01', '"entry_price": 0.0'))
        return f"trades_{DAY}.json: trade 1 is left out (entry_price=0.0)"
    if kind == "a price of nothing":
        trades.write_text(trades.read_text().replace('"entry_price": 10.01', '"entry_price": 1e-300'))
        return f"trades_{DAY}.json: trade 1 is left out (entry_price=1E-300)"
    if kind == "a price in words":
        trades.write_text(trades.read_text().replace('"entry_price": 10.01', '"entry_price": "much"'))
        return f"trades_{DAY}.json: trade 1 is left out (entry_price='much' is no number)"
    if kind == "a result of 1e300":
        trades.write_text(trades.read_text().replace('"pnl_amount": 1.95', '"pnl_amount": 1e300'))
        return f"trades_{DAY}.json: pnl_amount of 1 trade cannot be true"
    if kind == "the year 9999":
        (logs / "trades_9999-12-31.json").write_text("[]")
        return "trades_9999-12-31.json: the year in its name is not 2000 to 2100"
    if kind == "another form of date":
        (logs / "trades_20180328.json").write_text("[]")
        return "trades_20180328.json: its name has no date"
    if kind == "the year 1":
        trades.write_text(trades.read_text().replace(f'"{DAY}T10:32:00-04:00"', '"0001-01-01T00:00:00+14:00"'))
        return f"trades_{DAY}.json: trade 1 is left out (entry_time=0001"
    if kind == "equity":
        audit.write_text(audit.read_text().replace('"equity":100000.0', '"equity":-1.0'))
        return f"audit_{DAY}.jsonl: an event 'day_started' has other fields"
    if kind == "twice":
        shutil.copy(trades, logs / "trades_2018-03-23.json")
        return "stands in the logs twice"
    if kind == "no date":
        shutil.copy(trades, logs / "trades_copy.json")
        return "trades_copy.json: its name has no date"
    if kind == "audit cut":
        audit.write_bytes(audit.read_bytes()[:-20])
        return f"audit_{DAY}.jsonl: 1 line damaged or cut short"
    if kind == "audit gone":
        audit.unlink()
        return f"audit_{DAY}.jsonl: is missing"
    if kind == "market":
        (logs / "market.json").write_text("{")
        return "market.json: is damaged"
    (logs / f"{said.name}.gz").write_bytes(gzip.compress(said.read_bytes(), mtime=0)[:-30])
    said.unlink()
    return f"predictions_{DAY}.jsonl: "


@pytest.mark.parametrize("kind", [
    "trades cut", "no list", "a folder", "trades gone", "a price of 0", "the year 1", "equity", "twice", "no date",
    "audit cut", "audit gone", "market", "predictions cut", "texts", "a text among them",
    "a price of nothing", "a price in words", "a result of 1e300", "the year 9999", "another form of date",
])  # fmt: skip
def test_what_is_damaged_is_one_line_and_the_rest_is_reported(
    kind: str, logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _damage(kind, logs)
    assert run(logs) == 0
    out, err = capsys.readouterr()
    warnings = [one for one in out.splitlines() if one.startswith("warning: ")]
    assert len([one for one in warnings if line in one]) == 1 and err == ""
    whole = kind in ("trades cut", "no list", "a folder", "trades gone", "texts")
    left = 2 if whole or kind in ("a price of 0", "a price of nothing", "a price in words", "the year 1") else 3
    assert f"{left} trades " in out and (f"the trades of {DAY} cannot be read" in " ".join(out.split())) == whole
    if whole:
        capsys.readouterr()
        assert run(logs, f"--start={DAY}", f"--end={DAY}") == 0
        alone = " ".join(capsys.readouterr().out.split())
        assert f"cannot be said: the trades of {DAY} cannot be read" in alone and "Nothing was sold" not in alone
    assert warnings[0].removeprefix("warning: ").split(" (")[0] in unescape((logs / "report.html").read_text())


def test_compressed_logs_are_read_alike(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = figures(logs, capsys)
    for path in [*logs.glob("*_2018-*")]:
        (logs / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    assert figures(logs, capsys) == before


@pytest.mark.parametrize(("asked", "said"), [
    (("aaa", "10:31"), (
        "bought 5 at $10.01.", "planned stop $9.80, target $10.40", "after the fill: stop $9.81, target $10.42.",
        "ranked 1 of 4", "Sold at 11:12:00 for $10.40", "+$1.95",
    )),
    (("BBB", "10:31:40"), ("10 of 10 positions are taken (the rule for the most pos", "0.6800", "ranked 3 of 4")),
    (("CCC", "10:31"), ("confidence 0.4123 was under the threshold 0.65", "ranked 4 of 4", "AAA with 0.7100")),
    (("DDD", "10:31"), ("newest bar was of 10:20, older than the 90 s",)),
    (("NEW", "10:31"), ("no prediction was made", "4 other stocks", "the first one of that day was at 10:32")),
    (("AAA", "10:32"), ("under the threshold", "It was held then: bought at 10:32 for $10.01")),
    (("AAA", "9:31"), ("each needs 20 minutes of bars",)),
    (("AAA", "10:40"), ("a STOP file was there",)),
    (("AAA", "15:56"), ("positions are sold before the close",)),
    (("AAA", "08:00"), ("the market was closed; that session was 09:30 to 16:00",)),
    (("AAA", f"{DAY}T14:31:00Z"), (f"on {DAY}: bought 5 at $10.01",)),
    (("AAA", "10:31", "--date=2018-03-25"), ("closed all day (Sunday)",)),
    (("AAA", "10:31", "--date=2018-03-30"), ("closed all day (Friday, a holiday)",)),
    (("ZZZ", "10:31"), (f"on {NEXT}: it was not among the 5 stocks of that day, so nothing was decided about it",)),
    (("ZZZ", "10:31", f"--date={DAY}"), ("it was not among the 5 stocks of that day",)),
])  # fmt: skip
def test_why_says_what_happened(
    asked: tuple[str, ...], said: tuple[str, ...], written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written, "--why", *asked) == 0
    out, err = capsys.readouterr()
    assert all(part in out for part in said) and err == ""


def test_why_of_a_minute_to_come_and_of_one_after_the_end_of_the_audit(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = new_york_calendar().following(datetime.now(NEW_YORK).date()).date
    assert run(logs, "--why", "AAA", "10:31", f"--date={later}") == 0
    assert capsys.readouterr().out == f"AAA at 10:31 New York time on {later}: that day has not come yet.\n"
    question, noon = Question.of("AAA", "12:01", DAY), ny(DAY, "12:00")
    found = answer(question, LogReader(logs), new_york_calendar(), lambda day: Settings(), noon)
    assert found.lines == [f"AAA at 12:01 New York time on {DAY}: that minute has not come yet."]
    audit = logs / f"audit_{DAY}.jsonl"
    audit.write_text(audit.read_text().partition('{"time":"2018-03-26T10:33')[0])
    assert run(logs, "--why", "AAA", "10:40", f"--date={DAY}") == 0
    out = capsys.readouterr().out
    assert "nothing is known of that minute: the audit of that day ends at 10:32." in out and "It was held" in out


def test_why_works_without_the_audit_or_the_predictions(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (logs / f"audit_{NEXT}.jsonl").unlink()
    assert run(logs, "--why", "AAA", "10:31") == 0
    assert f"on {NEXT}: bought 5 at $10.01; the audit has no record" in capsys.readouterr().out
    (logs / f"predictions_{DAY}.jsonl").unlink()
    assert run(logs, "--why", "BBB", "10:31", f"--date={DAY}", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "refused" and found["facts"]["refusal"]["rule"] == "positions"


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2018-03-26T10:31:00"])
def test_only_instants_of_the_calendar_are_read_from_files(at: str) -> None:
    assert parse_instant("2250-12-31T23:59:59-14:00").astimezone(NEW_YORK).year == 2251
    with pytest.raises(ValueError, match="lies outside the years 1990 to 2250"):
        parse_instant(at)
    with pytest.raises(ValueError, match="lies outside the years 1990 to 2250"):
        Marks.from_json({"since": at})


@pytest.mark.parametrize(("arguments", "line"), [
    (["--why", "AAA", "9:50:99"], "--why: '9:50:99' is no time; write it as 10:31, New York time"),
    (["--why", "AAA", "25:00"], "--why: '25:00' is no time; write it as 10:31, New York time"),
    (["--why", "AAA", "9999-12-31T23:59:59-14:00"], "lies outside the calendar, which has the years 1990 to 2250"),
    (["--why", "AAA", "0001-01-01T00:00:00+14:00"], "lies outside the calendar"),
    (["--why", "AAA", "23:59", "--date=9999-12-31"], "--why: 9999-12-31 lies outside the calendar"),
    (["--why", "AAA", "1\uff10:31"], "--why: '1\uff10:31' is no time"),
    (["--why", "A;B", "10:31"], "--why: 'A;B' is no symbol"),
    (["--why", "AAA", "10:31", "--date=2018-03-29"], "has no log of 2018-03-29; it has 2018-03-26 to 2018-03-27"),
    (["--start=2019-01-02"], "has no logs of 2019-01-02 or later (--start); it has 2018-03-26 to 2018-03-27"),
    (["--end=2017-01-03"], "has no logs of 2017-01-03 or earlier (--end); it has"),
    (["--start=2018-01-02", "--end=2018-01-03"], "has no logs of 2018-01-02 to 2018-01-03; it has"),
    (["--data-dir=d"], "--data-dir is read by --against-backtest alone"),
    (["--start=2018-03-27", "--end=2018-03-26"], "--start 2018-03-27 lies after --end 2018-03-26"),
    (["--days=3", "--start=2018-03-26"], "exclude each other"),
])  # fmt: skip
def test_bad_input_is_one_line(
    arguments: list[str], line: str, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and line in err and err.count("\n") == 1


def test_a_folder_without_logs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert run(folder) == 2
        assert re.fullmatch(r"error: .* (holds no logs|is no folder).*live_trader.py first\n", capsys.readouterr().err)


def test_a_range_without_a_sale_is_reported_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_day(tmp_path)
    (tmp_path / f"trades_{DAY}.json").write_text("[]")
    assert run(tmp_path) == 0
    assert f"Nothing was sold in this range (1 session, {DAY})" in capsys.readouterr().out
    assert "Nothing was sold" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(("marker", "market"), [
    ('{"market": "generated-1-60-0.5"}', "generated-1-60-0.5"),
    ('{"market": "bars-x", "description": "bars of x", "generated": false}', "bars of x"),
    ("[", "market not known"),
])  # fmt: skip
def test_the_trades_of_a_backtest_are_named_so(
    marker: str, market: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_day(tmp_path)
    for path in tmp_path.iterdir():
        if not path.name.startswith("trades_"):
            path.unlink()
    (tmp_path / "backtest.json").write_text(marker)
    assert run(tmp_path) == 0
    out, page = " ".join(capsys.readouterr().out.split()), (tmp_path / "report.html").read_text()
    assert f"2018-03-26; {market} These are the trades of a backtest: nothing was traded." in out
    assert "1 trade would have earned" in out and "warning" not in out
    assert "What a backtest would have traded" in page and "really traded" not in page and "audit" not in page
    assert ("market is generated" in page) == market.startswith("generated")
    assert run(tmp_path, "--why", "AAA", "10:31") == 0 and capsys.readouterr().err == ""


def test_every_statistical_word_has_its_meaning() -> None:
    shown = with_terms("Sharpe ratio, the sharpe ratio & <b> drawdowns drawdown")
    assert shown.count("popovertarget") == 2 and "&amp; &lt;b&gt; drawdowns" in shown
    assert all(anchor(term) in with_terms(f"x {term.upper()}.") for term in GLOSSARY)


REPLACEMENTS = (
    "null", "-1", "0", "1e300", "true", "[]", "{}", '"x"', '"\\u0000[red]</script>"', '"9999-12-31T23:59:59+00:00"',
    '"2018-03-26T10:31:02"', "99999999999999999999",
)  # fmt: skip
VALUE = re.compile(r'":\s*("[^"]*"|[-\d.e]+|null|true|false|\[[^\]]*\])')


@given(
    st.integers(0, 6),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(REPLACEMENTS)), min_size=1, max_size=3),
    st.sampled_from([(), ("--json",), ("--why", "AAA", "10:31"), ("--why", "NEW", "10:31"), ("--why", "BBB", "10:40")]),
)
@settings(max_examples=40)
def test_no_value_in_any_file_ends_a_report(
    written: Path, file: int, changes: list[tuple[float, str]], asked: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as root:
        logs = shutil.copytree(written, Path(root) / "logs")
        path = sorted(one for one in logs.iterdir() if one.suffix in (".json", ".jsonl"))[file]
        for where, value in changes:
            text = path.read_text()
            places = list(VALUE.finditer(text))
            place = places[int(where * len(places))]
            path.write_text(text[: place.start(1)] + value + text[place.end(1) :])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(logs, *asked)
        assert code == 0 or (code == 2 and err.getvalue().count("\n") == 1), err.getvalue()


def test_a_sum_and_a_mean_of_other_sign_are_both_said_plainly(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = logs / f"trades_{NEXT}.json"
    (cheap, dear), name = json.loads(path.read_text()), "client_order_id"
    dear |= {"qty": 500, name: f"{dear[name]}-x"}  # many shares lose 2%, few gain 4%
    path.write_text(json.dumps([cheap, dear]))
    assert run(logs) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "in all. A trade brought +" in said and "has another sign because" in said


def test_trades_that_cannot_be_read_are_one_line_and_not_taken_for_none(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = logs / f"trades_{NEXT}.json"
    fields = [{name: value for name, value in one.items() if name != "model"} for one in json.loads(path.read_text())]
    path.write_text(json.dumps(fields))
    assert run(logs) == 0
    said = capsys.readouterr().out
    assert "Missing in all figures: 2 trades cannot be read." in said and "1 trade earned $1.95. That is +3.90%" in said
    assert [line for line in said.splitlines() if "left out" in line] == [
        f"warning: trades_{NEXT}.json: 2 trades are left out (no field 'model')"
    ]
    assert run(logs, f"--start={NEXT}") == 0
    said = capsys.readouterr().out
    assert "cannot be said: 2 trades cannot be read." in said and "Nothing was sold" not in said


def test_damaged_predictions_are_no_session_with_bars(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (logs / f"predictions_{NEXT}.jsonl").write_text('{"cut')
    assert run(logs / ".." / logs.name) == 0
    out = capsys.readouterr().out
    assert "Bars are drawn for 1 session of 2" in (logs / "report.html").read_text()
    assert "after cost on 1 session of the 2;" in out and str(logs / "index.html") in out and ".." not in out
