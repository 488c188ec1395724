"""What the pages say of control files and protection is true, with and without a trader, before and after the close."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.app.report_logs import DAY, mark, write_day
from tests.app.report_logs import ny as at
from tests.dashboard.dashboard_world import beat, still_open
from trading.base.clock import SimulatedClock
from trading.base.errors import UserError
from trading.dashboard.consequences import consequence
from trading.dashboard.control import Control
from trading.dashboard.state.live import Live, Places
from trading.dashboard.views.health import health_page
from trading.dashboard.views.metrics import metrics
from trading.dashboard.views.now import now_page
from trading.dashboard.views.status import pauses, standing, status
from trading.execution.control_files import ControlFiles
from trading.records.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def live(tmp_path: Path) -> Live:
    """A trader whose logs have one open position, BBB; its session is not over: 10:32 by its newest sign of life."""
    for name in ("logs", "control"):
        (tmp_path / name).mkdir()
    mark(tmp_path / "logs")
    write_day(tmp_path / "logs", DAY, still_open())
    audit = tmp_path / "logs" / f"audit_{DAY}.jsonl"
    audit.write_text("".join(line for line in audit.open() if '"closed"' not in line))
    beat(tmp_path / "logs")
    return Live(Places(tmp_path / "data", tmp_path / "models", tmp_path / "logs", tmp_path / "control"))


def write(live: Live, clock: str, event: str, **fields: object) -> None:
    journal = Journal(live.places.logs, SimulatedClock(at(DAY, clock)))
    journal.event(event, **fields)
    journal.close()


def test_flatten_is_refused_while_stop_is_there_and_both_together_say_that_nothing_is_sold(live: Live) -> None:
    files = ControlFiles(live.places.control)
    control = Control(files, live.places.logs, lambda model: model)
    files.stop()
    with pytest.raises(UserError, match="take back STOP first"):
        control.act("flatten", "", "me")
    assert not files.flatten_requested
    files.flatten()  # by hand
    with live.refreshed():
        assert "nothing is sold" in standing(live)[0] and standing(live)[0] in now_page(live).holds
        assert "nothing is sold" in consequence(live, "stop", "")


@pytest.mark.parametrize(
    ("age", "state", "says"),
    [
        (0.0, "minute", "The trader sells everything"),
        (999.0, "minute", "nothing is sold until the next start, which sells everything and ends"),
        (999.0, "stopped", "nothing is sold until the next start, which sells everything and ends"),
    ],
)
def test_the_question_of_flatten_says_whether_a_trader_is_there_to_sell(
    live: Live, age: float, state: str, says: str
) -> None:
    beat(live.places.logs, age=age, state=state)
    with live.refreshed():
        found = consequence(live, "flatten", "")
        assert says in found and "1 position is open" in found
        assert ("No trader lives" in consequence(live, "stop", "")) == (age > 0)


def test_the_banner_counts_positions_and_says_when_they_have_no_stop(live: Live) -> None:
    with live.refreshed():
        assert status(live).sentence.endswith("1 position is open.") and status(live).level == "good"
    beat(live.places.logs, age=999)
    with live.refreshed():
        assert "end with the session" in status(live).sentence
    write(live, "16:00:01", "closed", session=str(DAY))
    with live.refreshed():
        assert "after the close, without a stop" in status(live).sentence


def test_lost_protection_is_on_the_card_and_in_the_banner_until_it_has_ended(live: Live) -> None:
    beat(live.places.logs, last_error=f"{DAY} 09:00:00 an older trouble")
    write(live, "13:10:02", "unprotected", symbol="BBB", qty=5, remedy="a stop is placed")
    with live.refreshed():
        page = now_page(live)
        assert "have no resting order" in page.positions[0].troubles[0]
        assert page.status.level == "bad" and "No stop protects BBB" in page.status.sentence
        assert "5 BBB have no resting order" in page.trouble and "Ended" not in page.trouble
    write(live, "13:11:02", "minute", predictions=0, signals=0)
    with live.refreshed():
        page = now_page(live)
        assert page.positions[0].troubles == () and page.status.level == "good"
        assert "Ended at 13:11:02" in page.trouble
    note = "BBB cannot be sold or given a stop: cancel the order"
    write(live, "13:12:02", "order_in_the_way", symbol="BBB", qty=5, note=note)
    with live.refreshed():
        page = now_page(live)
        assert page.positions[0].troubles == (f"13:12:02: {note}",) and page.positions[0].to_stop != "no stop"
        assert page.status.level == "bad" and "in the way of stops and sales of BBB." in page.status.sentence
        assert note in page.trouble and note in health_page(live).discrepancies[0]
        counted = metrics(live).decode()
        assert 'trader_discrepancies_total{event="order_in_the_way"} 1.0' in counted
        assert 'trader_troubles_total{event="unprotected"} 1.0' in counted
    write(live, "13:13:02", "exit_sent", symbol="BBB")
    with live.refreshed():
        assert status(live).level == "good"
    beat(live.places.logs, last_error=f"{DAY} 14:00:00 a newer trouble")
    with live.refreshed():
        assert "a newer trouble" in now_page(live).trouble


def test_only_symbols_are_paused_and_their_words_are_true_under_stop(live: Live) -> None:
    files = ControlFiles(live.places.control)
    control = Control(files, live.places.logs, lambda model: model)
    for wrong in ("HELLO WORLD", "A1", "AAAAAAAAAAAA", ".A", "É"):
        with pytest.raises(UserError, match="is no symbol"):
            control.act("pause", wrong, "me")
    control.act("pause", "BRK.B", "me")
    with live.refreshed():
        assert "not among today's 5 stocks" in consequence(live, "pause", "BRK.B")
        assert consequence(live, "pause", "AAA") == "" and "stay protected" in pauses(live)
    files.stop()
    with live.refreshed():
        assert "protected" not in pauses(live) and "BRK.B" in pauses(live)
        assert "neither managed nor sold" in consequence(live, "pause", "AAA")


def test_only_what_is_no_part_of_a_normal_day_holds_entries_back_and_nothing_after_the_close(live: Live) -> None:
    audit = live.places.logs / f"audit_{DAY}.jsonl"
    audit.write_text("".join(line for line in audit.open() if "stopped_by_file" not in line))
    predictions = live.places.logs / f"predictions_{DAY}.jsonl"
    predictions.write_text("".join(line for line in predictions.open() if "T10:32" not in line))
    with live.refreshed():
        page = now_page(live)
        assert page.holds == ()
        assert page.refused == ("BBB: 10 of 10 positions are taken (the rule for the most positions at once)",)
        assert (
            page.invested
            == "1 position, $50.05 invested; $1.00 lost from the entries if every stop fills at its price."
        )
        assert "Next" in [tile.name for tile in page.tiles]
    write(live, "10:31:03", "not_bought", symbol="AAA", rule="daily_loss", reason="the loss of the day is reached")
    with live.refreshed():
        assert now_page(live).holds[0].startswith("AAA: the loss of the day is reached")
    write(live, "16:00:01", "closed", session=str(DAY))
    beat(live.places.logs, age=999)
    with live.refreshed():
        page = now_page(live)
        assert page.holds == page.refused == () and "Next" not in [tile.name for tile in page.tiles]
        assert "their stops have ended" in page.invested
