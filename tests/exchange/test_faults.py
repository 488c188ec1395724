"""Fault injection: drawn from the seed, executed on the wire, and distinguished from the true state."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time as wall
from contextlib import contextmanager, nullcontext
from datetime import datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests

from paper_exchange import PaperExchange
from paper_exchange.__main__ import main
from paper_exchange.books.ledger import Ledger
from paper_exchange.faults.market import FaultyBehaviour, FaultyMarket, gapped, halted
from paper_exchange.faults.plan import (
    ACCOUNT,
    AFTER,
    BEFORE,
    MARKET,
    STREAM,
    FaultPlan,
    PlanError,
    Rule,
    kind_of,
    storm,
)
from paper_exchange.faults.replies import with_null, with_unknown_status, without_new_bars
from paper_exchange.faults.server import FaultyAdapter, FaultyApp
from paper_exchange.faults.streams import FaultyStream
from paper_exchange.orders.order import Fill
from paper_exchange.streams.server import Server
from tests.exchange.exchange_world import MONDAY, HandMade, ny
from tests.exchange.test_server import ROOT, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paper_exchange.base.wire import Shares

KEYS = {"APCA-API-KEY-ID": "any", "APCA-API-SECRET-KEY": "keys"}
ROWS = [(f"{10 + n // 60}:{n % 60:02d}", 10.0, 10.1, 9.9, 10.0) for n in range(60)]
BUY = {"symbol": "AAA", "qty": 5, "side": "buy", "type": "market", "time_in_force": "day", "client_order_id": "one"}


class Venue:
    """An exchange with faults, its clock set by hand."""

    def __init__(self, *rules: Rule) -> None:
        self.time = ny(MONDAY, "10:31:02")
        self.plan = FaultPlan(1, rules)
        behaviour = FaultyBehaviour(plan=self.plan)
        self.exchange = PaperExchange(HandMade({"AAA": {MONDAY: ROWS}}), lambda: self.time, behaviour=behaviour)
        self.waits: list[float] = []
        self.app = FaultyApp(self.exchange, self.plan, lambda: self.time, self.waits.append)
        self._origin = ""

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Serve all requests meanwhile: a server takes two seconds to close."""
        server = Server(self.exchange, "127.0.0.1", 0, app=self.app)
        try:
            self._origin = f"http://127.0.0.1:{server.port}"
            yield self._origin
        finally:
            self._origin = ""
            server.close()

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """A request to the server that listens, or to one of its own."""
        with nullcontext(self._origin) if self._origin else self.listening() as origin:
            return requests.request(method, origin + path, headers=KEYS, timeout=60, **more)

    @property
    def taken(self) -> list[str]:
        return [order.client_order_id for order in self.exchange.snapshot().orders]


@pytest.mark.parametrize("fault", ["reset_before", "429", "500", "502", "503"])
def test_faults_before_the_request_prevent_its_execution(fault: str) -> None:
    world = Venue(Rule(fault))
    if fault == "reset_before":
        with pytest.raises(requests.ConnectionError):
            world.ask("POST", "/v2/orders", json=BUY)
    else:
        assert world.ask("POST", "/v2/orders", json=BUY).status_code == int(fault)
    assert world.taken == []


@pytest.mark.parametrize("fault", ["reset_after", "504", "cut_off", "truncated", "html", "unknown_status", "delay"])
def test_faults_after_the_request_leave_it_executed(fault: str) -> None:
    world = Venue(Rule(fault, on="^POST"))
    reply: requests.Response | None = None
    try:
        reply = world.ask("POST", "/v2/orders", json=BUY)
    except requests.RequestException as error:
        assert fault in ("reset_after", "cut_off")
        assert isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError))
    assert world.taken == ["one"]
    if fault == "504":
        assert reply is not None and reply.status_code == 504
    if fault in ("truncated", "html"):
        assert reply is not None
        with pytest.raises(ValueError, match=r"."):
            reply.json()
    if fault == "unknown_status":
        assert reply is not None and reply.json()["status"] == "pending_something"
    assert world.waits == ([20.0] if fault == "delay" else [])


def test_a_reset_sends_rst_on_the_socket() -> None:
    world = Venue(Rule("reset_after"))
    with pytest.raises(requests.ConnectionError, match=r"reset by peer|Connection aborted"):
        world.ask("GET", "/v2/account")


def test_a_delayed_request_is_executed_after_its_sender_gave_up() -> None:
    world = Venue(Rule("delay_before", on="^POST"))
    world.app._pause = lambda seconds: wall.sleep(0.3)
    with world.listening() as origin:
        with pytest.raises(requests.ReadTimeout):
            requests.post(f"{origin}/v2/orders", json=BUY, headers=KEYS, timeout=0.05)
        assert world.taken == []
        for _ in range(6000):
            if world.taken:
                break
            wall.sleep(0.01)
        assert world.taken == ["one"]


def test_positions_are_stale_for_ten_seconds_after_a_fill_and_orders_may_be_too() -> None:
    world = Venue(Rule("stale_positions", on="^GET /v2/positions"), Rule("stale_orders", on="^GET /v2/orders"))
    with world.listening():
        assert world.ask("POST", "/v2/orders", json=BUY).status_code == 200
        world.time = ny(MONDAY, "10:31:05")
        assert world.exchange.snapshot().positions["AAA"].qty == 5
        assert world.ask("GET", "/v2/positions").json() == []
        order = world.ask("GET", "/v2/orders", params={"status": "all"}).json()[0]
        assert (order["status"], order["filled_qty"], order["filled_at"]) == ("new", "0", None)
        world.time = ny(MONDAY, "10:31:13")
        assert world.ask("GET", "/v2/positions").json()[0]["qty"] == "5"
        assert world.ask("GET", "/v2/orders", params={"status": "all"}).json()[0]["status"] == "filled"


def test_a_stale_reply_still_shows_a_sold_position() -> None:
    world = Venue(Rule("stale_positions", on="^GET /v2/positions"))
    with world.listening():
        world.ask("POST", "/v2/orders", json=BUY)
        world.time = ny(MONDAY, "10:32:30")
        assert world.ask("GET", "/v2/positions").json()[0]["qty"] == "5"
        world.ask("POST", "/v2/orders", json=BUY | {"side": "sell", "client_order_id": "two"})
        world.time = ny(MONDAY, "10:32:35")
        assert world.exchange.snapshot().positions == {}
        assert world.ask("GET", "/v2/positions").json()[0]["qty"] == "5"


def test_stale_positions_handle_short_and_fractional_positions() -> None:
    """Each fill of the last seconds is undone, the first one of each stock first; an older one is not."""

    def fill(sequence: int, side: str, qty: Shares, at: int) -> Fill:
        return Fill(sequence, "o", "AAA", side, qty, Decimal(10), at=at, bar=0)

    def before(*fills: Fill) -> Shares:
        ledger = Ledger(Decimal(1000), Decimal(1000), margin=True)
        for one in fills:
            ledger.apply(one)
        shown = ledger.shown(lambda one: one.at > 5, since=5)
        return shown["AAA"].qty if "AAA" in shown else 0

    assert before(fill(1, "sell", 5, 9)) == 0
    assert before(fill(1, "sell", 5, 4), fill(2, "buy", 3, 9)) == -5
    assert before(fill(1, "sell", 5, 4), fill(2, "buy", 5, 9)) == -5
    assert before(fill(1, "buy", Decimal("1.25"), 4), fill(2, "buy", Decimal("0.25"), 9)) == Decimal("1.25")
    assert before(fill(1, "buy", 3, 6), fill(2, "sell", 3, 7), fill(3, "buy", 1, 8)) == 0


def test_null_replaces_lists() -> None:
    assert Venue(Rule("null")).ask("GET", "/v2/positions").json() is None
    assert with_null({"bars": {"AAA": []}, "next_page_token": None})["bars"] is None
    assert with_null({"id": "1", "legs": [{"id": "2"}]})["legs"] is None


def test_a_closed_order_keeps_its_status() -> None:
    order = {"client_order_id": "a", "status": "new", "legs": [{"client_order_id": "b", "status": "filled"}]}
    changed = with_unknown_status([order])
    assert (changed[0]["status"], changed[0]["legs"][0]["status"]) == ("pending_something", "filled")


def test_a_wrong_clock_also_reports_the_wrong_session() -> None:
    world = Venue(Rule("wrong_clock", on="clock", seconds=6 * 3600))
    told = world.ask("GET", "/v2/clock").json()
    assert (told["is_open"], told["next_open"][:16]) == (False, "2018-03-27T09:30")
    clocks = world.ask("GET", "/v3/clock").json()["clocks"]
    assert {one["phase"] for one in clocks} == {"post"}


def test_data_stops_and_the_clock_is_wrong() -> None:
    world = Venue(Rule("data_stops", on="/bars", start="10:20", until="11:00"), Rule("wrong_clock", on="/v2/clock"))
    query = {"symbols": "AAA", "timeframe": "1Min", "feed": "iex", "start": "2018-03-26T10:15:00-04:00"}
    bars = world.ask("GET", "/v2/stocks/bars", params=query).json()["bars"]["AAA"]
    assert len(bars) == 5
    latest = {"bars": {"AAA": {"t": "2018-03-26T14:30:00Z"}}}
    assert without_new_bars(latest, ny(MONDAY, "10:20"))["bars"] == {}
    told = datetime.fromisoformat(world.ask("GET", "/v2/clock").json()["timestamp"])
    assert (told - world.time).total_seconds() == 420.0


def test_stocks_gap_and_halt_through_the_close() -> None:
    market = HandMade({"AAA": {MONDAY: ROWS}})
    plan = FaultPlan(3, [Rule("halt", start="10:30"), Rule("gap", start="10:00", until="10:20", size=-0.2)])
    bars, whole = FaultyMarket(market, plan).session_bars("AAA", MONDAY), market.session_bars("AAA", MONDAY)
    assert 30 <= len(bars) < len(whole)
    assert bars.close[-1] == pytest.approx(8.0)
    again = FaultyMarket(market, FaultPlan(3, plan.rules)).session_bars("AAA", MONDAY)
    assert np.array_equal(bars.close, again.close)
    assert len(halted(whole, int(whole.start[7]))) == 7
    down = gapped(whole, int(whole.start[7]), -0.2)
    assert (down.low <= np.minimum(down.open, down.close)).all()
    assert (np.maximum(down.open, down.close) <= down.high).all()


def test_a_stuck_order_fills_one_share_and_then_nothing() -> None:
    plan = FaultPlan(1, [Rule("stuck", until="10:40")])
    clock = [ny(MONDAY, "10:31:02")]
    market = HandMade({"AAA": {MONDAY: ROWS}})
    exchange = PaperExchange(market, lambda: clock[0], behaviour=FaultyBehaviour(plan=plan))
    exchange.app.test_client().post("/v2/orders", json=BUY, headers=KEYS)
    for instant, held in (("10:32:02", 1), ("10:39:02", 1), ("10:41:02", 5)):
        clock[0] = ny(MONDAY, instant)
        assert exchange.snapshot().positions["AAA"].qty == held


def test_stream_messages_are_duplicated_reordered_or_lost() -> None:
    cases = [("event_twice", "aabbcc"), ("silent", ""), ("event_late", "bac"), ("event_lost", ""), ("dropped", "///")]
    for fault, wanted in cases:
        rule = Rule(fault, on="EVENT a" if fault == "event_late" else "EVENT")
        sent: list[str] = []
        cut = partial(sent.append, "/")
        stream = FaultyStream(FaultPlan(1, [rule]), lambda: ny(MONDAY, "10:31"), str, sent.append, cut)
        for message in "abc":
            stream(message)
        assert "".join(sent) == wanted
    assert FaultPlan(1, [Rule("silent")]).draw("GET /v2/orders", time(11)) is None


def test_a_silent_stream_resumes() -> None:
    clock = [ny(MONDAY, "10:31:00")]
    sent: list[str] = []
    plan = FaultPlan(1, [Rule("silent", most=1, seconds=30)])
    stream = FaultyStream(plan, lambda: clock[0], str, sent.append)
    for second, message in ((0, "a"), (29, "b"), (30, "c")):
        clock[0] = ny(MONDAY, f"10:31:{second:02d}")
        stream(message)
    assert sent == ["c"]


def test_in_process_resets_and_delays_raise_what_requests_raises() -> None:
    for fault, raised in (("reset_after", requests.ConnectionError), ("delay", requests.ReadTimeout)):
        world = Venue(Rule(fault))
        session = requests.Session()
        session.mount("http://", FaultyAdapter(world.app))
        with pytest.raises(raised):
            session.post("http://127.0.0.1:1/v2/orders", json=BUY, headers=KEYS)
        assert world.taken == ["one"]


def test_the_same_seed_draws_the_same_faults() -> None:
    lines = [f"GET /v2/orders/{n}" for n in range(300)]

    def of(seed: int) -> list[Rule | None]:
        plan = storm(seed, 0.3)
        return [plan.draw(line, time(11)) for line in lines]

    assert of(1) == of(1)
    assert of(1) != of(2)


# The documented faults, and the rule that causes each.
DOCUMENTED = {
    "delay beyond the client's time-out": ["delay", "delay_before"],
    "connection reset before and after the order was taken": ["reset_before", "reset_after"],
    "429": ["429"],
    "500": ["500"],
    "502": ["502"],
    "503": ["503"],
    "504 after accept": ["504"],
    "truncated JSON": ["truncated", "cut_off"],
    "an HTML page": ["html"],
    "null where a list belongs": ["null"],
    "unknown status": ["unknown_status"],
    "stale positions for 10 s after a fill": ["stale_positions"],
    "orders and positions that disagree": ["stale_orders"],
    "events out of order or twice": ["event_late", "event_twice"],
    "partial fills with no end": ["stuck"],
    "a halt through the close": ["halt"],
    "a gap through the stop": ["gap"],
    "a stream that goes silent": ["silent", "event_lost", "dropped"],
    "data that stops": ["data_stops"],
    "a wrong clock": ["wrong_clock"],
    "PAPER_ONLY": ["paper_only"],
    "the account is restricted or blocked": ["account_limited", "trading_blocked", "account_blocked"],
}


def test_the_seeded_storm_draws_every_documented_fault() -> None:
    plan = storm(3)
    lines = ["POST /v2/orders {}", "GET /v2/orders?a=b", "GET /v2/positions", "GET /v2/clock", "GET /v2/stocks/bars"]
    drawn = {rule.fault for _ in range(500) for line in lines if (rule := plan.draw(line, time(10, 45)))}
    drawn |= {rule.fault for _ in range(500) if (rule := plan.draw_event("fill AAA", time(11)))}
    drawn |= {rule.fault for number in range(100) for rule, _ in plan.market_faults(f"S{number}", "2018-03-26")}
    drawn |= {"stuck" for number in range(100) if plan.stuck(number, time(11))}
    moments = (ny(MONDAY, "09:35") + timedelta(days=day, seconds=20 * n) for day in range(9) for n in range(1120))
    drawn |= {plan.account_state(moment) for moment in moments} - {""}
    for words, faults in DOCUMENTED.items():
        assert drawn >= set(faults), words
    known = {*BEFORE, *AFTER, *MARKET, *ACCOUNT, *STREAM}
    assert drawn == {fault for faults in DOCUMENTED.values() for fault in faults} == known


@pytest.mark.parametrize(
    ("fault", "said", "answers"),
    [
        ("paper_only", {"status": "PAPER_ONLY", "trading_blocked": False}, [200, 204]),
        ("account_limited", {"status": "LIMITED", "account_blocked": False}, [403, 204]),
        ("trading_blocked", {"status": "ACTIVE", "trading_blocked": True}, [403, 204]),
        ("account_blocked", {"account_blocked": True, "trading_blocked": True}, [403, 403]),
    ],
)
def test_the_account_is_restricted_for_a_while(fault: str, said: dict, answers: list[int]) -> None:
    """Orders and cancels are refused as long as the account says so; what rests trades on."""
    world = Venue(Rule(fault, start="10:33", until="10:35"))
    with world.listening():
        resting = world.ask("POST", "/v2/orders", json=BUY | {"type": "limit", "limit_price": 9.0}).json()
        world.ask("POST", "/v2/orders", json=BUY | {"client_order_id": "two"})
        for clock, state, wanted in (("10:32:59", {"status": "ACTIVE"}, [200]), ("10:33:10", said, answers)):
            world.time = ny(MONDAY, clock)
            account = world.ask("GET", "/v2/account").json()
            assert {name: account[name] for name in state} == state
            done = [world.ask("POST", "/v2/orders", json=BUY | {"client_order_id": clock})]
            done += [world.ask("DELETE", f"/v2/orders/{resting['id']}")] if len(wanted) > 1 else []
            assert [one.status_code for one in done] == wanted
        refused = [one.json()["message"] for one in done if one.status_code == 403]
        assert set(refused) <= {"account is not authorized to trade"}
        change = world.ask("PATCH", f"/v2/orders/{resting['id']}", json={"limit_price": 9.1})
        assert change.status_code == (422 if answers == [200, 204] else 403)
        world.time = ny(MONDAY, "10:35:00")
        assert world.ask("POST", "/v2/orders", json=BUY | {"client_order_id": "after"}).status_code == 200
        assert world.ask("GET", "/v2/account").json()["status"] == "ACTIVE"


def test_a_state_of_the_account_lasts_for_its_seconds_from_a_drawn_moment() -> None:
    plan = FaultPlan(5, [Rule("trading_blocked", start="10:00", until="11:00", seconds=90)])
    at = [ny(MONDAY, "09:59") + timedelta(seconds=one) for one in range(62 * 60)]
    found = [one for one in at if plan.account_state(one)]
    assert len(found) == 90 and found[-1] - found[0] == timedelta(seconds=89)
    next_day = [one for one in at if plan.account_state(one + timedelta(days=1))]
    assert len(next_day) == 90 and next_day != found


def test_a_stop_is_gapped_through_and_a_position_is_held_through_the_close() -> None:
    rows = [(f"{15 + n // 60}:{n % 60:02d}", 10.0, 10.1, 9.9, 10.0) for n in range(60)]
    gap = Rule("gap", start="15:20", until="15:30", size=-0.2)
    for rule in (gap, Rule("halt", start="15:20", until="15:30")):
        clock = [ny(MONDAY, "15:10:02")]
        market = FaultyMarket(HandMade({"AAA": {MONDAY: rows}}), FaultPlan(2, [rule]))
        exchange = PaperExchange(market, partial(clock.__getitem__, 0))
        client = exchange.app.test_client()
        exits = {"take_profit": {"limit_price": 12}, "stop_loss": {"stop_price": 9.5}}
        client.post("/v2/orders", json=BUY | exits | {"order_class": "bracket"}, headers=KEYS)
        clock[0] = ny(MONDAY, "15:40:00")
        if rule is gap:
            assert [(fill.side, str(fill.price)) for fill in exchange.snapshot().fills] == [
                ("buy", "10.01"),  # the ask
                ("sell", "8.0"),
            ]
        else:
            client.delete("/v2/positions?cancel_orders=true", headers=KEYS)
            clock[0] = ny(MONDAY, "16:01:00")
            assert exchange.snapshot().positions["AAA"].qty == 5


def test_a_plan_counts_its_faults_and_stops_at_most() -> None:
    plan = FaultPlan(1, [Rule("500", most=2, start="10:00", until="11:00")])
    hits = [
        plan.draw("GET /v2/account", at) is not None for at in (time(9), time(10), time(10, 59), time(10), time(11))
    ]
    assert hits == [False, True, True, False, False]
    assert plan.counts == {("500", "GET /v2/account"): 2}
    assert (plan.total, plan.requests) == (2, 5)


def test_a_plan_survives_a_round_trip_through_json() -> None:
    plan = storm(7)
    text = json.dumps(plan.to_json())
    assert FaultPlan.from_json(json.loads(text)).rules == plan.rules
    assert {rule.fault for rule in plan.rules} >= {*BEFORE, *AFTER}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "a plan is"),
        ({"seed": "x", "rules": []}, "seed='x'"),
        ({"rules": [{"rate": 1}]}, "rule 1: the fault is missing"),
        ({"rules": [{"fault": "plague"}]}, "fault='plague': unknown; choose from delay_before"),
        ({"rules": [{"fault": "500", "rate": 3}]}, "500: rate=3: give a probability"),
        ({"rules": [{"fault": "500", "often": 3}]}, "rule 1: often is not a field"),
        ({"rules": [{"fault": "500", "start": "soon"}]}, "500: start='soon'"),
        ({"rules": [{"fault": "500", "on": "("}]}, "not a regular expression"),
    ],
)
def test_an_invalid_plan_is_refused_by_field_and_value(record: Any, message: str) -> None:
    with pytest.raises(PlanError, match=r".") as caught:
        FaultPlan.from_json(record)
    assert message in str(caught.value)


def test_a_plan_is_loaded_from_a_seed_or_a_file(tmp_path: Path) -> None:
    assert FaultPlan.load("5").seed == 5
    path = tmp_path / "plan.json"
    path.write_text('{"seed": 9, "rules": [{"fault": "500"}]}')
    assert FaultPlan.load(str(path)).rules == (Rule("500"),)
    with pytest.raises(PlanError, match="nowhere"):
        FaultPlan.load("nowhere")


def test_request_kinds_leave_out_ids() -> None:
    assert kind_of("DELETE /v2/orders/6f6e1a0e-3c4f-5d8a-9a57-0f0d5c7b2e11?nested=true {}") == "DELETE /v2/orders/ID"


def test_the_server_runs_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "1", "--faults", str(tmp_path / "none.json")]) == 2
    assert "--faults" in capsys.readouterr().err
    path = tmp_path / "plan.json"
    path.write_text('{"seed": 9, "rules": [{"fault": "503", "on": "account"}]}')
    port = free_port()
    command = [sys.executable, "-m", "paper_exchange", "--seed", "1", "--port", str(port), "--faults", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("listening"):
            assert line, "it ended before it listened"
        assert requests.get(f"http://127.0.0.1:{port}/v2/account", headers=KEYS, timeout=120).status_code == 503
        assert requests.get(f"http://127.0.0.1:{port}/v2/clock", headers=KEYS, timeout=120).status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert "1 of 2 requests went wrong" in said
