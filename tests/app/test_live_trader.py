"""Whole days of live_trader.py on recorded bars and on the generated market, through the real client and processes.

The trade log is compared with the account of the exchange, read from its state file.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections import Counter
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from config import Settings
from tests.app.whole_day import (
    CALENDAR,
    FRIDAY,
    MONDAY,
    MOST,
    QUICK,
    TERMINAL,
    ExchangeState,
    Place,
    check_against_the_exchange,
    check_flat,
    cut_bars,
    lines_of,
    logged_in,
    start,
    trade,
    until,
    write_bars,
)
from trading.dataset.dataset import Dataset
from trading.learning.trades.trade_labels import TradeLabels
from trading.records.log_reader import LogReader
from trading.records.trade_log import TradeLog
from trading.reports.live import DIRECTION
from trading.reports.traded.why import Question, answer

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 280  # seconds after which a process counts as hung; an idle machine needs a tenth of it
DOCUMENT_FIELDS = [
    "symbol",
    "side",
    "qty",
    "entry_price",
    "entry_time",
    "confidence",
    "stop_loss",
    "take_profit",
    "status",
    "exit_price",
    "exit_time",
    "pnl_pct",
    "pnl_amount",
]


# A replay of recorded bars


def test_both_sessions_are_traded_with_every_kind_of_exit(replayed: Place) -> None:
    trades = replayed.trades()
    assert Counter(one["entry_time"][:10] for one in trades).keys() == {str(FRIDAY), str(MONDAY)}
    assert {one["exit_reason"] for one in trades} == {"STOP_LOSS", "TAKE_PROFIT", "END_OF_DAY"}


def test_the_log_and_the_account_of_the_exchange_agree_to_the_cent(replayed: Place) -> None:
    check_against_the_exchange(replayed, most_positions=MOST)
    state = ExchangeState.of(replayed.logs)
    pnl = sum(round(100 * one["pnl_amount"]) for one in replayed.trades())
    assert round(100 * (state.cash - state.start)) == pnl != 0


def test_all_positions_are_closed_before_the_close_around_the_change_of_clocks(replayed: Place) -> None:
    check_flat(replayed)
    offsets = {one["entry_time"][:10]: one["entry_time"][-6:] for one in replayed.trades()}
    assert offsets == {str(FRIDAY): "-05:00", str(MONDAY): "-04:00"}
    opened = {e["time"] for e in replayed.audit() if e["event"] == "opened"}
    assert opened == {f"{FRIDAY}T09:30:00-05:00", f"{MONDAY}T09:30:00-04:00"}


def test_trades_have_the_fields_and_units_of_the_specification(replayed: Place) -> None:
    for one in replayed.trades():
        assert list(one)[: len(DOCUMENT_FIELDS)] == DOCUMENT_FIELDS
        assert one["side"] == "BUY" and one["status"] == "CLOSED"
        assert one["pnl_pct"] == pytest.approx(one["exit_price"] / one["entry_price"] - 1, abs=1e-6)
        assert one["pnl_amount"] == pytest.approx((one["exit_price"] - one["entry_price"]) * one["qty"], abs=1e-5)
        assert -1e-9 < one["stop_loss"] - 0.98 * one["entry_price"] < 0.01
        assert -1e-9 < one["take_profit"] - 1.04 * one["entry_price"] < 0.01


def test_every_trade_says_whether_its_target_came_first_and_teaches_the_same(replayed: Place) -> None:
    dataset = Dataset(replayed.data)
    labels = TradeLabels(dataset, dataset.manifest.rules)
    trades = TradeLog(replayed.logs).trades
    assert {one.reached_target_first for one in trades} == {True, False}
    assert [one.reached_target_first for one in trades] == [bool(labels.label(one)) for one in trades]
    assert all(one.target_first_time is not None and one.decision_ask is not None for one in trades)
    assert all(one.reached_target_first for one in trades if one.exit_reason == "TAKE_PROFIT")
    # The minutes had found the same: the evening had nothing to correct.
    assert {event["trades_changed"] for event in replayed.audit() if event["event"] == "targets_settled"} == {0}


def test_the_end_of_a_day_says_apart_what_comes_true_what_earns_and_what_is_paid(replayed: Place) -> None:
    for day in (FRIDAY, MONDAY):
        lines = [e["line"] for e in replayed.audit() if e["event"] == "live_figures" and e["time"][:10] == str(day)]
        assert [re.match(r"[A-Za-z ]+", line)[0].strip() for line in lines] == [
            "Does it come true", "Does it earn", "Cost of a round trip",
        ]  # fmt: skip
    newest = max(replayed.models.glob("metrics_*.json"))
    live = json.loads(newest.read_text())["live"]
    assert live["all_models"]["comes_true"][-1]["trades"] == len(replayed.trades())
    assert live["in_service"]["earns"][-1]["trades"] == len(
        [t for t in replayed.trades() if t["model"] == live["model"]]
    )


def test_the_logs_alone_explain_every_trade(replayed: Place) -> None:
    audit, predictions = replayed.audit(), replayed.predictions()
    said = {(line["timestamp"], line["symbol"]): line for line in predictions}
    intents = {event["client_order_id"]: event for event in audit if event["event"] == "entry_intent"}
    for one in replayed.trades():
        prediction = said[(one["decision_time"], one["symbol"])]
        assert prediction["meets_threshold"] and prediction["confidence"] == one["confidence"]
        assert prediction["model"] == one["model"] and prediction["price"] == one["decision_price"]
        assert intents[one["client_order_id"]]["time"] == one["decision_time"]
        assert (replayed.models / f"metrics_{one['model']}.json").exists()
    refused = {(event["time"], event["symbol"]): event for event in audit if event["event"] == "not_bought"}
    bought = {(event["time"], event["symbol"]) for event in intents.values()}
    flattening = [CALENDAR.session(day).flatten_at(5) for day in (FRIDAY, MONDAY)]
    for (at, symbol), line in said.items():
        assert not any(flat <= datetime.fromisoformat(at) for flat in flattening if str(flat.date()) == at[:10])
        if line["meets_threshold"]:
            assert ((at, symbol) in refused) != ((at, symbol) in bought)
    assert all(event["rule"] and event["reason"] for event in refused.values())
    assert {"not_owned", "positions"} <= {event["rule"] for event in refused.values()}


def test_the_report_answers_for_every_decision_of_a_day(replayed: Place) -> None:
    reader = LogReader(replayed.logs)
    settings = Settings.of(MIN_CONFIDENCE=QUICK["MIN_CONFIDENCE"])

    def kind(symbol: str, at: str) -> str:
        return answer(Question.of(symbol, at, None), reader, CALENDAR, lambda day: settings).kind

    audit = [one for one in replayed.audit() if one["time"][:10] == str(MONDAY)]
    ordered = [one for one in audit if one["event"] == "entry_intent"]
    filled = {one["client_order_id"] for one in audit if one["event"] == "bought"}
    refused = [one for one in audit if one["event"] == "not_bought"]
    said = [one for one in replayed.predictions() if one["timestamp"][:10] == str(MONDAY)]
    below = [one for one in said if not one["meets_threshold"] and not one["stale"]]
    assert filled and refused and below
    for one in ordered[:12]:
        expected = "bought" if one["client_order_id"] in filled else "not_filled"
        assert kind(one["symbol"], one["time"]) == expected
    assert {kind(one["symbol"], one["time"]) for one in refused[:: len(refused) // 8 + 1]} == {"refused"}
    assert {kind(one["symbol"], one["timestamp"]) for one in below[:: len(below) // 8 + 1]} == {"below_threshold"}
    assert reader.findings == []


def test_the_audit_says_how_the_stocks_of_each_day_were_chosen(replayed: Place) -> None:
    events = [line for line in replayed.audit() if line["event"] in ("universe_chosen", "day_started")]
    assert [event["event"] for event in events] == ["universe_chosen", "day_started"] * (len(events) // 2)
    chosen = [event["chosen"] for event in events[::2]]
    assert all("within the price band, of all listed stocks" in one and "feed recorded" in one for one in chosen)
    assert len({one.split(" on ")[1].split()[0] for one in chosen}) == len(chosen) == 2  # each by another evening
    for day, event in zip((event["session"] for event in events[1::2]), chosen, strict=True):
        universe = json.loads((replayed.data / f"universe_{day}.json").read_text())
        assert (universe["chosen"], universe["feed"]) == (event, "recorded")


def test_predictions_use_only_completed_bars(replayed: Place) -> None:
    for line in replayed.predictions():
        at, bar = datetime.fromisoformat(line["timestamp"]), datetime.fromisoformat(line["bar_time"])
        assert bar + timedelta(minutes=1) <= at


def test_the_model_of_a_day_was_trained_on_earlier_days(replayed: Place) -> None:
    models = {one["entry_time"][:10]: one["model"] for one in replayed.trades()}
    for day, model in models.items():
        metrics = json.loads((replayed.models / f"metrics_{model}.json").read_text())
        assert metrics["trained_through"] < day


def test_later_bars_do_not_change_the_logs_of_a_day(bars: Path, replayed: Place, tmp_path: Path) -> None:
    cut_bars(bars, tmp_path / "bars", last=FRIDAY)
    place = Place.make(tmp_path / "cut", MAX_OPEN_POSITIONS=MOST)
    assert trade(place, "--bars", tmp_path / "bars", "--start", FRIDAY) == 0
    name = json.loads((place.logs / "market.json").read_text())["slug"]
    whole = json.loads((replayed.logs / "market.json").read_text())["slug"]
    of_both = replayed.logged("trades", "predictions")
    for file, content in place.logged("trades", "predictions").items():
        assert content.replace(name.encode(), whole.encode()) == of_both[file], file
    cut, full = (lines_of(one.logs / f"audit_{FRIDAY}.jsonl") for one in (place, replayed))
    assert [line for line in cut if line["event"] not in ("scheduler_stopped", "stopped")] == full


def test_a_repeated_replay_writes_the_same_bytes_and_keeps_the_earlier_logs(bars: Path, replayed: Place) -> None:
    before = replayed.logged("trades", "predictions", "audit")
    assert len(before) == 7
    assert trade(replayed, "--bars", bars, "--start", FRIDAY, "--sessions", 2) == 0
    again = replayed.logged("trades", "predictions", "audit")
    kept = replayed.logs / "earlier" / "1"
    assert logged_in(kept, "trades", "predictions", "audit") == before
    assert before.keys() == again.keys()
    for file, content in again.items():
        if file.startswith("audit"):  # except for the amount of data that was there already
            assert _but_for_the_dataset(content) == _but_for_the_dataset(before[file])
        else:
            assert content == before[file], file


def _but_for_the_dataset(audit: bytes) -> list[bytes]:
    return [line for line in audit.splitlines() if b'"event":"dataset_built"' not in line]


def test_an_interrupted_replay_says_that_it_starts_again_and_does(bars: Path, replayed: Place, tmp_path: Path) -> None:
    place = Place.make(tmp_path, MAX_OPEN_POSITIONS=MOST)
    arguments = ("--bars", bars, "--start", FRIDAY)
    moments = ("Trading on", "  bought ", "  bars: 0")  # while it is prepared, while it trades, in the retrain
    for moved, words in enumerate(moments):
        process = start(place, *arguments)
        said = "".join(until(process, words))
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert (said + rest + errors).count(
            f"starts this replay again with its first session, {FRIDAY}, and a new"
        ) == 1
        assert "take" not in rest + errors and "goes on" not in rest + errors and "makes up" not in rest
        assert "recovered" not in said
        assert len(list((place.logs / "earlier").glob("*"))) == moved
    assert trade(place, *arguments) == 0
    both = replayed.logged("trades", "predictions")
    assert place.logged("trades", "predictions") == {name: both[name] for name in both if str(FRIDAY) in name}


def test_positions_are_closed_before_the_early_close_of_a_half_day(tmp_path: Path) -> None:
    half = date(2025, 7, 3)
    write_bars(tmp_path / "bars", date(2025, 6, 30), half, stocks=10)
    place = Place.make(tmp_path / "run", HISTORY_DAYS=3)
    assert trade(place, "--bars", tmp_path / "bars", "--start", half) == 0
    check_against_the_exchange(place)
    check_flat(place)
    assert place.trades()
    closed = [event["time"] for event in place.audit() if event["event"] == "day_closed"]
    (instant,) = map(datetime.fromisoformat, closed)  # once the bars of the last minute are there
    assert timedelta(0) < instant - CALENDAR.session(half).close <= timedelta(seconds=8)
    retrained = [event["time"] for event in place.audit() if event["event"] == "model_trained"]
    assert retrained[-1] == f"{half}T20:00:00-04:00"


# The generated market, in separate processes


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A generated market with data, model and account, stopped by SIGTERM before the first open."""
    place = Place.make(tmp_path_factory.mktemp("prepared"), HISTORY_DAYS=3, TOP_STOCKS=16)
    process = start(place)
    until(process, "day started")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (143, "")
    return place


@pytest.fixture(scope="module")
def uninterrupted(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, str]:
    """The first day from there to its end, and the output."""
    place = _copy(prepared, tmp_path_factory.mktemp("uninterrupted"))
    process = start(place)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    return place, output


def _copy(place: Place, folder: Path) -> Place:
    shutil.copytree(place.root, folder, dirs_exist_ok=True)
    return Place(folder)


def test_the_output_in_a_pipe_is_plain_and_ends_with_a_summary(uninterrupted: tuple[Place, str]) -> None:
    place, output = uninterrupted
    lines = output.splitlines()
    assert "a generated market, not real prices" in lines[0] and "no network" in lines[0]
    assert lines[1] == DIRECTION
    assert lines[-1].startswith("The market is generated")
    trades = place.trades()
    won = sum(one["pnl_amount"] > 0 for one in trades)
    *row, pnl = _summed(output)
    assert row == [str(len(trades)), str(won), f"{won / len(trades):.0%}"]
    assert round(100 * float(pnl.replace("$", "").replace(",", ""))) == sum(
        round(100 * one["pnl_amount"]) for one in trades
    )
    for folder in (place.logs, place.data, place.models):
        assert sum(str(folder) in line for line in lines) == 1
    assert "\x1b" not in output and "Traceback" not in output
    assert all(line.strip() for line in lines)
    stamps = [line[:19] for line in lines if line[:4] == "2025"]
    assert stamps == sorted(stamps)  # the hourly line has the account of its own minute
    last, closed = [
        line.rpartition("equity ")[2].split()[0] for line in lines if "closed today" in line or "day closed" in line
    ][-2:]
    assert last == closed  # all is sold, so both are the cash


def _summed(output: str) -> list[str]:
    """Trades, won, win rate and P&L of the last line of the summary."""
    row = next(line for line in output.splitlines() if "│ all" in line)
    return [cell.strip() for cell in row.split("│")[2:6]]


def test_the_log_of_a_generated_day_agrees_with_the_exchange(uninterrupted: tuple[Place, str]) -> None:
    place, _ = uninterrupted
    assert len(place.trades()) > 5
    check_against_the_exchange(place)
    check_flat(place)


def test_the_next_run_trades_the_next_day_even_with_a_closed_output(
    uninterrupted: tuple[Place, str], tmp_path: Path
) -> None:
    place = _copy(uninterrupted[0], tmp_path / "next")
    before = place.logged("trades")
    process = start(place)
    first = until(process, "day started")
    assert process.stdout is not None
    process.stdout.close()  # as `python live_trader.py | head` does
    assert process.wait(timeout=PATIENCE) == 0
    assert not any("trained:" in line or "bars:" in line for line in first)  # nothing is built again
    logged = place.logged("trades")
    assert [path[7:17] for path in logged] == ["2025-01-07", "2025-01-08"]
    assert before.items() <= logged.items()
    check_against_the_exchange(place)
    check_flat(place)


def test_a_day_interrupted_by_sigterm_ends_like_an_uninterrupted_one(
    prepared: Place, uninterrupted: tuple[Place, str], tmp_path: Path
) -> None:
    place = _copy(prepared, tmp_path / "terminated")
    process = start(place)
    until(process, "bought", times=4)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (143, "")
    still_open = [one for one in place.trades() if one["status"] == "OPEN"]
    assert still_open
    check_against_the_exchange(place)
    # A leg that was just moved may still be pending at the exchange.
    resting = [order for order in ExchangeState.of(place.logs).orders.values() if order["status"] not in TERMINAL]
    for one in still_open:
        begin = f"still open: {one['qty']} {one['symbol']} "
        line = next(line for line in output.splitlines() if line.startswith(begin))
        ids = {order["id"] for order in resting}
        assert f"stop at ${one['stop_loss']:.2f}" in line and one["stop_order_id"] in ids
        # A partly filled entry has a stop alone: its legs are cancelled with its rest.
        assert (f"limit at ${one['take_profit']:.2f}" in line) == (one["target_order_id"] in ids)
    second = start(place)
    output = "".join(until(second, "  bars:"))
    second.send_signal(signal.SIGINT)  # in the middle of the retrain
    rest, errors = second.communicate(timeout=PATIENCE)
    assert (second.returncode, errors) == (130, "")
    started = [event["symbols"] for event in place.audit() if event["event"] == "day_started"]
    assert len(started) == 3  # once per process, although the universe is picked only once
    assert started[0] == started[1] == started[2]
    assert "The same command goes on where this run stopped, with the same account, until the end of a session." in rest
    assert output.count("  recovered: ") == len(still_open)
    events = [event["event"] for event in place.audit()]
    second_life = events[len(events) - events[::-1].index("started") :]
    assert second_life.index("position_recovered") < second_life.index("model_in_service")
    check_against_the_exchange(place)
    check_flat(place)
    assert place.logged("trades") == uninterrupted[0].logged("trades")
    models = {path.name for path in place.models.glob("metrics_*.json")}
    third = start(place)
    output, errors = third.communicate(timeout=PATIENCE)
    assert (third.returncode, errors) == (0, "")
    made_up_for = {path.name for path in place.models.glob("metrics_*.json")} - models
    assert ("metrics_20250107_200000.json" in made_up_for) == ("retrain interrupted" in rest)


def test_repeated_kills_lose_no_trade_and_repeat_no_entry(prepared: Place, tmp_path: Path) -> None:
    place = _copy(prepared, tmp_path / "killed")
    for words in ("bought", "sold"):
        process = start(place)
        until(process, f"  {words}")
        process.kill()
        process.communicate()
    last = start(place)
    output, errors = last.communicate(timeout=PATIENCE)
    assert (last.returncode, errors) == (0, "")
    check_against_the_exchange(place)
    check_flat(place)
    assert _summed(output)[0] == str(len(place.trades()))  # the whole day, not what came after the last start
    names = [one["client_order_id"] for one in place.trades()]
    assert len(names) == len(set(names)) > 3
