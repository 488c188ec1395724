"""The verdict on a sweep, and its page: a best setting is never shown without what its choice is worth."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from trading.base.clock import NEW_YORK
from trading.performance.closed_trades import ClosedTrades
from trading.performance.figures import Sessions, performance
from trading.performance.groups import KEYS, groups
from trading.performance.universe import UniverseDay
from trading.records.trade_log import Trade
from trading.reports.backtested.charts import equity_of_settings, heat_map
from trading.reports.backtested.combinations import show_combinations
from trading.reports.backtested.material import About, Fall, Run, Setting, Sweep
from trading.reports.backtested.page import run_page, sweep_page, write_page
from trading.reports.backtested.words import of_sweep, percent
from trading.reports.page import fine
from trading.reports.traded import tables

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


def swept(returns: np.ndarray, down: int = 5, flipped: tuple[float, ...] = (0.1, 0.2)) -> Sweep:
    """A sweep of `down` thresholds and as many stops as there are columns for."""
    sessions, count = returns.shape
    days = [date(2018, 3, 1) + timedelta(days=n) for n in range(sessions)]
    about = About("by hand", ("Orders fill at once.",), days, 100_000.0, generated=False)
    values = [(f"{0.5 + i / 100:.2f}", f"{0.01 + j / 1000:.3f}") for i in range(down) for j in range(count // down)]
    settings = [Setting(one, 100_000.0, 3, 1, 12.5, Fall(7.5, 0.000075)) for one in values]
    return Sweep(about, ("MIN_CONFIDENCE", "STOP_LOSS_PCT"), settings, returns, flipped)


def noise(sessions: int = 30, count: int = 1000) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(7).normal(0.0, 0.004, (sessions, count))
    return found


def test_the_best_of_a_thousand_settings_without_skill_is_called_luck() -> None:
    said = of_sweep(swept(noise()))
    assert said[0].startswith("The best of 1,000 settings is what luck gives")
    assert re.search(r"Probability of overfitting \d+%", said[2])
    assert re.search(r"Deflated Sharpe ratio 0\.\d\d", said[3])
    assert "On 2 coin-flipped copies" in said[4] and "Chosen on the first 20 sessions alone" in said[5]


def test_a_setting_that_is_better_is_more_than_luck_unless_a_copy_without_direction_has_one_as_good() -> None:
    returns = noise(60, 50)
    returns[:, 11] += 0.006
    sweep = swept(returns)
    assert of_sweep(sweep)[0].startswith("The best of 50 settings did better than luck explains")
    assert "MIN_CONFIDENCE=0.51, STOP_LOSS_PCT=0.011" in of_sweep(sweep)[1]
    as_good = swept(returns, flipped=(0.1, 9.0))
    assert of_sweep(as_good)[0] == "The best of 50 settings is not shown to be more than luck."
    assert "1 of 2 times" in of_sweep(as_good)[4]


def test_without_coin_flipped_copies_a_good_setting_is_not_called_more_than_luck() -> None:
    returns = noise(60, 50)
    returns[:, 11] += 0.006
    sweep = swept(returns, flipped=())
    assert of_sweep(sweep)[0] == (
        "The best of 50 settings passes three of four tests of luck. The fourth, on coin-flipped bars, was not made, "
        "so it is not shown to be more than luck."
    )
    assert sweep_page(sweep).tiles[0].value == "cannot be said"
    assert sweep_page(swept(returns)).tiles[0].value == "yes"
    best = float(sweep.measured[11])  # a copy that is exactly as good shows luck too
    assert of_sweep(swept(returns, flipped=(0.1, best)))[0].endswith("is not shown to be more than luck.")


def test_every_place_of_the_page_names_the_setting_that_it_shows() -> None:
    """Settings without a trade, of which the first is one, and sessions whose first part chooses another setting."""
    returns = np.zeros((9, 6))
    returns[:, 1] = [0.010] * 6 + [-0.020] * 3  # the best of the first six sessions
    returns[:, 2] = [0.005] * 9  # the best of all
    returns[:, 4] = [-0.002] * 9
    returns[:, 5] = [-0.001] * 9  # the lower median of the four that traded
    sweep = swept(returns, down=2)
    settings = [replace(one, trades=i * 3, won=i, pnl=float(i)) for i, one in enumerate(sweep.settings)]
    sweep = replace(sweep, settings=[replace(one, trades=0) if i in (0, 3) else one for i, one in enumerate(settings)])
    names = [sweep.named(i) for i in range(6)]
    assert names[2] == "MIN_CONFIDENCE=0.50, STOP_LOSS_PCT=0.012"
    said = of_sweep(sweep)
    assert f"is {names[2]}: +4.59% over 9 sessions" in said[1]
    later = f"Chosen on the first 6 sessions alone, the best is {names[1]}: +6.15% there, and -5.88% on the 3 sessions"
    assert any(line.startswith(later) for line in said)
    page = sweep_page(sweep)
    sections = {block.section.title: block.section for block in page.blocks}
    figures = sections["Figures of the best and of the median setting"]
    assert figures.note == f"Best: {names[2]}. Median: {names[5]}."
    rows = {row[0]: (row[1], row[3]) for row in figures.rows}
    assert rows["trades"] == ("6", "15") and rows["booked by the backtest"] == ("+$2.00", "+$5.00")
    assert rows["return of the equity"] == (fine(1.005**9 - 1.0), fine(0.999**9 - 1.0))
    table = sections["Every combination"]
    after = [row[table.head.index("sessions after")] for row in table.rows]
    assert after == [percent(float(np.prod(1.0 + returns[6:, i]) - 1.0)) for i in range(6)]
    tiles = {tile.name: tile.value for tile in page.tiles}
    assert (tiles["Best setting"], tiles["Median setting"]) == (percent(1.005**9 - 1.0), percent(0.999**9 - 1.0))
    assert tiles["On the sessions after"] == percent(0.98**3 - 1.0)
    cells = heat_map(sweep)
    assert cells is not None
    assert [cells["layout"][axis]["title"]["text"] for axis in ("yaxis", "xaxis")] == list(sweep.names)
    assert (cells["data"][0]["x"], cells["data"][0]["y"]) == (["0.010", "0.011", "0.012"], ["0.50", "0.51"])


def test_a_best_setting_that_lost_is_no_choice() -> None:
    said = of_sweep(swept(noise(30, 50) - 0.02))
    assert said[0] == "Even the best of 50 settings lost on these sessions, so there is none to choose."


@pytest.mark.parametrize("sessions", [3, 30])
def test_a_setting_without_a_trade_is_not_the_best_of_settings_that_lost(sessions: int) -> None:
    returns = noise(sessions, 50) - 0.02
    returns[:, [4, 9]] = 0.0
    sweep = swept(returns)
    sweep = replace(sweep, settings=[replace(s, trades=0 if i in (4, 9) else 3) for i, s in enumerate(sweep.settings)])
    said = of_sweep(sweep)
    assert said[0] == "Even the best of 48 settings lost on these sessions, so there is none to choose."
    assert sweep.settings[sweep.choice.best].trades and "2 of 50 settings made no trade; they are not ranked." in said


def test_a_sweep_without_a_trade_has_no_best_setting(tmp_path: Path) -> None:
    sweep = swept(np.zeros((30, 20)))
    sweep = replace(sweep, settings=[replace(one, trades=0, won=0, pnl=0.0) for one in sweep.settings])
    said = of_sweep(sweep)
    assert said[0].startswith("No setting traded") and not any("he best by" in line for line in said)
    text = write_page(sweep, tmp_path, "20180401_200000").read_text()
    assert "No setting traded" in text and "Best setting" not in text and "Every combination" in text


@pytest.mark.parametrize(("sessions", "count"), [(19, 50), (40, 4), (1, 4)])
def test_too_little_is_said_in_the_headline(sessions: int, count: int) -> None:
    sweep = swept(noise(sessions, count), down=2, flipped=())
    said = of_sweep(sweep)
    assert "cannot be said" in said[0]
    assert ("20 are needed" in said[0]) == (sessions < 20) and ("5 are needed" in said[0]) == (count < 5)
    assert any("No coin-flipped copies" in line for line in said)
    assert sweep_page(sweep).tiles[0].value == "cannot be said"


@pytest.mark.parametrize(("sessions", "ratio"), [(3, False), (19, False), (20, True)])
def test_few_sessions_have_no_yearly_ratio_and_the_best_by_result(sessions: int, ratio: bool) -> None:
    returns: np.ndarray = np.tile([[0.00001], [0.00002]], (sessions, 8))[:sessions] * np.arange(1, 9)
    returns[:, 7] += np.random.default_rng(3).normal(0.0, 0.00001, sessions)  # the most, but not steady
    sweep = swept(returns, down=4)
    table = next(one.section for one in sweep_page(sweep).blocks if one.section.title == "Every combination")
    assert ("Sharpe ratio" in table.head) == ratio and "per session" in table.head
    assert table.rows[0][-1] == "-$7.50 (0.00750%)"
    each = [float(row[table.head.index("per session")].lstrip("+$")) for row in table.rows]
    assert each == pytest.approx(returns.mean(axis=0) * 100_000, abs=0.006)
    assert (sweep.choice.best == 7) != ratio
    assert ("The best by its Sharpe ratio" in of_sweep(sweep)[1]) == ratio
    assert ("mean result per session" in of_sweep(sweep)[1]) != ratio


@pytest.mark.parametrize(("sessions", "count", "ratio"), [(19, 10, False), (20, 10, True), (20, 1010, True)])
def test_the_table_on_the_screen_is_that_of_the_page(sessions: int, count: int, ratio: bool) -> None:
    sweep, console = swept(noise(sessions, count)), Console(file=io.StringIO(), width=150)
    show_combinations(sweep, console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    screen = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    page = next(one.section for one in sweep_page(sweep).blocks if one.section.title == "Every combination")
    both = [i for i, name in enumerate(page.head) if name not in ("after cost", "sessions after")]
    assert screen == [[row[i] for i in both] for row in page.rows[:1000]]
    assert f"{count:,} combinations, {sessions} sessions" in said and ("Sharpe ratio" in said) == ratio
    assert ("The first 1,000 of 1,010 combinations; the page has all." in said) == (count == 1010)


def test_the_title_tells_backtests_apart() -> None:
    sweep = swept(noise(3, 10))
    assert sweep_page(sweep).title == (
        "Backtest of 10 settings (MIN_CONFIDENCE, STOP_LOSS_PCT), 2018-03-01 to 2018-03-03"
    )
    assert sweep.about.title == "2018-03-01 to 2018-03-03"
    four = replace(sweep.about, days=sweep.about.days[:1], changed=("A=1", "B=2", "C=3", "D=4", "E=5"))
    assert four.title == "2018-03-01, A=1, B=2, C=3, 2 more settings"


def test_the_charts_hold_the_returns() -> None:
    sweep = swept(noise(30, 20))
    total = np.prod(1.0 + sweep.returns, axis=0) - 1.0
    cells = heat_map(sweep)
    assert cells is not None
    assert np.array(cells["data"][0]["z"]).ravel() == pytest.approx(total, abs=1e-6)
    lines = {one["name"]: one["y"] for one in equity_of_settings(sweep)["data"]}
    assert lines["best on all sessions"][-1] == pytest.approx(total[sweep.choice.best], abs=1e-6)
    assert lines["median setting"][-1] == pytest.approx(np.sort(total)[9], abs=1e-6)
    assert heat_map(swept(noise(30, 5), down=5)) is None, "one stop only"


def run_of(count: int) -> Run:
    """`count` sessions with a trade each, which loses, then gains, and so on."""
    days = [date(2018, 3, 1) + timedelta(days=n) for n in range(count)]
    about = About("by hand", ("Orders fill at once.",), days, 100_000.0, generated=False)
    trades = []
    for n, day in enumerate(days):
        entry = datetime(day.year, day.month, day.day, 10, 0, tzinfo=NEW_YORK)
        trades.append(Trade(
            symbol="AAA", qty=10, entry_price=Decimal("20.00"), entry_time=entry, confidence=0.6 + n % 2 / 10,
            model="m1", stop_loss=Decimal("19.00"), take_profit=Decimal("21.00"),
            exit_price=Decimal("20.50" if n % 2 else "19.80"),
            exit_time=entry + timedelta(minutes=5 + n), exit_reason="TAKE_PROFIT" if n % 2 else "STOP_LOSS",
        ))  # fmt: skip
    closed = ClosedTrades.of(trades, 0.001, 1.0)
    of = Sessions.of(days, closed, {}, about.start, np.full(count, 390.0))
    booked, net = (performance(closed, of, after_cost=cost) for cost in (False, True))
    universe = [UniverseDay(day, 3, 0.1, n % 3 / 10) for n, day in enumerate(days)]
    by_day = [(1, n % 2, 1.0, 100_000.0) for n in range(count)]
    return Run(about, closed, booked, net, {by: groups(closed, by, of.days) for by in KEYS}, by_day, universe=universe)


def test_the_page_of_a_run_has_every_breakdown_and_says_why_a_figure_has_no_interval() -> None:
    run = run_of(24)
    page = run_page(run)
    sections = {block.section.title: block.section for block in page.blocks}
    assert set(tables.TITLES.values()) <= set(sections)
    by_day = sections["By day"]
    assert by_day.rows[0][by_day.head.index("after cost")] == "+$4.90"  # ten shares of $20: a tick is half of 0.1%
    whole = sections["By week"]
    assert sum(int(row[1]) for row in whole.rows) == 24
    figures = sections["All figures"]
    assert all(" to " in row[2] or row[2] == tables.SEE_BELOW for row in figures.rows)
    without = [row[0] for row in figures.rows if row[2] == tables.SEE_BELOW]
    assert without == [*("deepest drawdown", "it began", "it lasted"), "deepest drawdown at the close of a session"]
    assert "order in which the sessions came" in figures.note
    (compared,) = (line for line in page.verdict if line.startswith("Buying every stock of the day"))
    assert "on 24 sessions; these trades brought" in compared and "its 95% interval" in compared
    falls = page.figures["equity"]["data"][3]  # after cost, and the first trade loses: its peak is the start
    assert falls["name"] == "fall, after the assumed cost" and falls["y"][:3] == [0.0, -2.1, 0.0]


def test_the_breakdown_of_a_best_setting_says_that_it_was_chosen_after_the_fact() -> None:
    sweep = replace(swept(noise(24, 50)), best_run=run_of(24))
    page = sweep_page(sweep)
    detail = [
        block.section.title for block in page.blocks if "best" in block.charts or "setting, ch" in block.section.title
    ]
    assert len(detail) == 2 + len(KEYS)
    assert all(title.startswith("Best setting, chosen after the fact: ") for title in detail)
    first = next(block.section for block in page.blocks if "best" in block.charts)
    assert first.text.startswith(f"{sweep.named(sweep.choice.best)}. It was chosen because it did best here")
    assert sum("chosen after the fact: Buying every stock" in line for line in page.verdict) == 1
    assert not any("after the fact: " in block.section.title for block in sweep_page(swept(noise(24, 50))).blocks)


def test_the_page_fits_a_phone_and_begins_with_the_verdict(browser: Browser, tmp_path: Path) -> None:
    sweep = replace(swept(noise(30, 60)), best_run=run_of(30))
    path = write_page(sweep, tmp_path, "20180401_200000")
    page = browser.new_page(viewport={"width": 390, "height": 900}, color_scheme="dark")
    page.set_default_timeout(180_000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda asked: troubles.append(asked.url) if asked.url.startswith("http") else None)
    page.goto(path.as_uri())
    page.wait_for_function("[...document.querySelectorAll('[data-chart] .main-svg')].length >= 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("main > section").first.inner_text().startswith("The best of 60 settings")
    assert page.locator("main > section").first.locator("button.term").count() >= 3
    assert 60 in [page.locator("tbody").nth(i).locator("tr").count() for i in range(page.locator("tbody").count())]
    assert troubles == []
    page.close()
