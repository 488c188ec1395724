"""Alerts: each event of its kind arrives once, at a real service, and nothing there disturbs the trader."""

from __future__ import annotations

import json
import os
import resource
import socket
import time
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import pytest

import live_trader
from config import FIELDS, AlertKind, Settings, load_settings
from tests.alerts.receiver import TOKEN, hanging, mail_server, receiver, rude
from tests.app.report_logs import trade
from tests.exchange.exchange_world import MONDAY, ny
from trading.alerts import services as services_module
from trading.alerts.alerts import TOLD_FILE, Alerts
from trading.alerts.kinds import LONGEST_BODY, SOURCES, Messages
from trading.alerts.network_failures import in_words
from trading.alerts.ping import Pinger, ping
from trading.alerts.services import services_of
from trading.app import cli
from trading.base.clock import SimulatedClock
from trading.base.errors import UserError
from trading.records.journal import Journal
from trading.records.trade_log import TradeLog

if TYPE_CHECKING:
    from pathlib import Path


EVENTS: dict[str, dict[str, Any]] = {
    "started": {"market": "by hand"},
    "bought": {"qty": 5, "symbol": "AAA", "price": 10.01, "stop": 9.81, "target": 10.42, "client_order_id": "mlt-1"},
    "sold": {"qty": 5, "symbol": "AAA", "price": 10.4, "reason": "TAKE_PROFIT", "pnl_amount": 1.95,
             "client_order_id": "mlt-1"},
    "not_bought": {"rule": "daily_loss", "symbol": "BBB", "reason": "the day has lost $3.00"},
    "not_flat": {"symbol": "AAA", "qty": 5, "note": "sold at 4 AM"},
    "stop_refused": {"symbol": "AAA", "qty": 5, "reason": f"refused, see https://broker.example/{TOKEN}"},
    "fraction_left": {"symbol": "AAA", "qty": 0.5, "reason": "asset AAA is not fractionable"},
    "stock_disputed": {"symbol": "AAA", "reason": "the log holds 5, the broker 4", "note": "not bought"},
    "order_in_the_way": {"symbol": "AAA", "about": "AAA o1", "bare": 5, "note": "AAA cannot be sold: cancel it"},
    "not_sent": {"what": "the exit of AAA", "symbol": "AAA", "reason": "the file STOP is there"},
    "no_control_file": {"file": "STOP.txt", "note": "'STOP.txt' is no control file"},
    "callback_failed": {"callback": "tick", "error": "ValueError: x", "session": str(MONDAY)},
    "model_trained": {"model": "20180326_200000", "in_service": False, "reason": "no better", "figures": {}},
    "retrain_failed": {"reason": "no bars", "session": str(MONDAY)},
    "day_closed": {"session": str(MONDAY), "trades": 1, "won": 1, "pnl_amount": 1.95, "equity": 100001.95},
    "stopped": {"open": ["AAA"], "unclear": None},
}  # fmt: skip
"""An event of each kind, as the audit has it."""


def messages(*on: AlertKind, prefix: str = "") -> Messages:
    return Messages(on or get_args(AlertKind), prefix, [TOKEN])


def journal(folder: Path, told: Alerts, at: str = "10:31:02") -> tuple[Journal, SimulatedClock]:
    clock = SimulatedClock(ny(MONDAY, at))
    return Journal(folder, clock, told.event), clock


def a_closed_trade(folder: Path) -> None:
    log = TradeLog(folder)
    log.start_day(MONDAY)
    log.add(trade(MONDAY))
    log.save()


def test_each_kind_of_alert_arrives_once_by_http_and_by_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_module, "PAUSE_SECONDS", 0.0)
    a_closed_trade(tmp_path)
    with receiver() as web, mail_server() as (box, mail):
        told = Alerts(services_of(f"{web.url} {mail}"), messages(prefix="[simulated] "), tmp_path)
        audit, _ = journal(tmp_path, told)
        for name, fields in EVENTS.items():
            for _ in range(3):
                audit.event(name, **fields)
            audit.event("minute", predictions=5, signals=0)
            audit.event("not_bought", rule="spread", symbol="CCC", reason="too wide")
        told.tell(messages().made("dead", "dead", "trader dead", "no beat for 60 s"))
        told.close(60)
        assert told.dropped == 0
        by_title = {one["title"]: one for one in web.got}
        assert len(web.got) == len(by_title) == len(EVENTS) + 1 == len(box.mails)
        assert sorted(mail["Subject"] for mail in box.mails) == sorted(by_title)
        assert {SOURCES[name].kind for name in EVENTS} | {"dead"} == set(get_args(AlertKind))
        assert by_title["[simulated] bought"]["message"] == "bought 5 AAA at $10.01, stop $9.81, target $10.42"
        assert by_title["[simulated] no more entries today"]["message"].endswith("today: the day has lost $3.00")
        assert by_title["[simulated] model rejected"]
        assert by_title["[simulated] trader stopped"]["message"] == "it holds: AAA"
        refused = by_title["[simulated] shares without a stop"]
        assert refused["type"] == "warning" and refused["message"].endswith("see (address)")
        assert TOKEN not in json.dumps(web.got) + "".join(map(str, box.mails))
        (summary,) = (mail for mail in box.mails if mail["Subject"] == "[simulated] day closed")
        pictures = [part.get_payload(decode=True) for part in summary.walk() if part.get_content_type() == "image/png"]
        assert len(pictures) == 1 and pictures[0].startswith(b"\x89PNG") and len(pictures[0]) > 5_000
        assert by_title["[simulated] day closed"]["attachments"]


def test_a_kind_that_is_not_wanted_and_a_cause_told_within_the_hour_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    monkeypatch.setattr("trading.alerts.alerts.time.time", lambda: now[0])
    with receiver() as web:

        def told_in(minutes: float, reason: str = "no bars") -> list[str]:
            """What a process tells that starts so much later, and sees the same events."""
            web.got.clear()
            now[0] += 60 * minutes
            wanted = messages("not_flat", "retrain_failed")
            told = Alerts(services_of(web.url), wanted, tmp_path, told=tmp_path / TOLD_FILE)
            audit, _ = journal(tmp_path, told)
            for symbol in ("AAA", "BBB", "AAA"):
                audit.event("not_flat", symbol=symbol, qty=1, note="")
            audit.event("bought", **EVENTS["bought"])
            audit.event("retrain_failed", reason=reason, session=str(MONDAY))
            told.close(60)
            return web.titles

        assert told_in(0) == ["NOT FLAT", "NOT FLAT", "retrain failed"]
        assert told_in(29) == []
        assert told_in(30, "no memory") == ["retrain failed"]
        (tmp_path / TOLD_FILE).write_text("{half")
        assert len(told_in(0)) == 3
        assert len(told_in(61)) == 3
        assert len(told_in(-600)) == 3  # the clock was set back: nothing was told in the future


def test_a_start_after_a_stop_is_told_and_a_loop_of_them_has_a_bound(tmp_path: Path) -> None:
    with receiver() as web:
        for time_of in range(12):
            told = Alerts(services_of(web.url), messages(), tmp_path, told=tmp_path / TOLD_FILE)
            audit, _ = journal(tmp_path, told)
            audit.event("started", market="by hand")
            if time_of:
                audit.event("stopped", **EVENTS["stopped"])
            told.close(60)
        assert web.titles == ["trader started", "trader stopped"] + ["trader started", "trader stopped"] * 5


DAMAGED: dict[str, bytes] = {
    "deep": b"[" * 100_000, "deep object": b'{"a":' * 100_000, "list": b"[1]", "text": b'"dead"', "null": b"null",
    "no time": b'{"dead": "now", "alive": null, "a": [], "b": {}, "c": true}', "no text": b"\xff\xfe\0", "empty": b"",
    "absurd": b'{"dead": 1e400, "alive": -1e308, "not_flat AAA": 99999999999999999999999999}', "nan": b'{"dead": NaN}',
    "surrogate": b'{"\\ud800": 1}', "long": b" " * 5_000_000 + b"{}", "pipe": b"", "folder": b"", "circle": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_of_what_was_told_counts_as_none_and_alerts_are_sent(tmp_path: Path, name: str) -> None:
    path = tmp_path / TOLD_FILE
    match name:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "circle":
            path.symlink_to(path)
        case _:
            path.write_bytes(DAMAGED[name])
    told = Alerts((), messages(), tmp_path, told=path)
    for cause in ("not_flat AAA", "dead"):
        told.tell(messages().made("dead", cause, cause, "x", undoes="alive" if cause == "dead" else ""))
    told.close(60)
    assert told.dropped == 0 and told.newest("dead", "alive") == "dead"
    if name != "folder":
        assert {"dead", "not_flat AAA"} <= set(json.loads(path.read_bytes()))


def test_shares_are_without_a_stop_if_the_one_that_was_placed_did_not_hold() -> None:
    made = messages()
    at = ny(MONDAY, "10:31:02")

    def unprotected(symbol: str, **later: float) -> object:
        time = (at + timedelta(**later)).isoformat()
        return made.of({"time": time, "event": "unprotected", "symbol": symbol, "qty": 2, "remedy": "stop at 9.81"})

    assert unprotected("AAA") is None and unprotected("BBB", seconds=1) is None
    assert unprotected("AAA", seconds=5) is None  # the same round
    assert unprotected("AAA", minutes=1, seconds=5) is not None
    assert unprotected("BBB", minutes=30) is None


def test_a_broker_that_gives_no_answer_for_minutes_is_told_and_one_hiccup_is_not() -> None:
    made, at = messages(), ny(MONDAY, "10:31:02")
    told = []
    for minutes in (0, 1, 2, 20, 21, 22, 23):
        time = (at + timedelta(minutes=minutes)).isoformat()
        if one := made.of({"time": time, "event": "broker_unclear", "reason": "no reply", "note": "no entries"}):
            told.append((minutes, one.body))
    assert told == [(23, "the broker gives no clear answer (no reply): no entries")]


@pytest.mark.parametrize("event", [{"event": "not_flat"}, {"event": "sold", "price": "x"}, {"event": 5}, {},
                                   {"event": "feed_late"}, {"event": "stopped", "open": None}])  # fmt: skip
def test_an_event_without_its_fields_is_told_as_far_as_it_goes(event: dict[str, Any]) -> None:
    made = messages().of({"time": "2018-03-26T10:31:02-04:00", **event})
    assert made is None or (made.title and made.body)


def test_no_message_is_longer_than_services_take_or_holds_an_address() -> None:
    text = f"x{TOKEN} tgram://123:{TOKEN}/ and HTTPS://h/?key=1 " + "long " * 1000
    made = messages().made("trouble", "x", "x", text)
    assert made is not None and len(made.body) == LONGEST_BODY
    assert made.body.startswith("x(secret) (address) and (address) long")


def test_a_service_that_fails_is_tried_twice_and_counted_and_the_others_get_theirs(tmp_path: Path) -> None:
    with receiver() as good, receiver() as bad:
        bad.status = 500
        told = Alerts(services_of(f"{bad.url},{good.url}"), messages(), tmp_path, retry_seconds=0.01)
        audit, _ = journal(tmp_path, told)
        audit.event("not_flat", symbol="AAA", qty=1, note="")
        told.close(60)
        assert (len(bad.got), len(good.got), told.dropped) == (2, 1, 1)


def test_a_service_that_hangs_delays_nobody_and_what_it_misses_is_counted(tmp_path: Path) -> None:
    with hanging() as address, receiver() as good:
        told = Alerts(services_of(f"{address} {good.url}"), messages(), tmp_path)
        audit, _ = journal(tmp_path, told)
        for number in range(20):
            audit.event("not_flat", symbol=f"A{number}", qty=1, note="")
        while told._outboxes[1]._done < 20:  # it has their answers too
            time.sleep(0.01)
        told.close(0.2)
        assert told.dropped == 20 and len(good.got) == 20


RUDE: list[tuple[str, bytes, bool]] = [
    ("json", b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n", False),
    ("json", b"HTTP/1.1 20", False),
    ("json", b"", False),
    ("mailto", b"421 too many connections\r\n", False),
    ("mailto", b"220 hello\r\n", False),
    ("mailto", b"220 hello\r\n", True),
]
"""Scheme, what it sends, and whether it then hangs or drops the connection."""


def test_services_that_refuse_drop_or_hang_are_tried_twice_and_the_others_get_each_alert_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as servers:
        bad = [servers.enter_context(rude(scheme, reply, hangs=hangs)) for scheme, reply, hangs in RUDE]
        web, (box, mail) = servers.enter_context(receiver()), servers.enter_context(mail_server())
        services = services_of(" ".join([*(url for _, url in bad), web.url, mail]))
        with monkeypatch.context() as short:
            short.setattr(services_module, "CONNECT_SECONDS", 1.0)  # mail has no other time-out than this one
            for service in services[: len(bad)]:
                service.start()
        told = Alerts(services, messages(), tmp_path, retry_seconds=0.01)
        audit, _ = journal(tmp_path, told)
        for _ in range(3):
            audit.event("not_flat", symbol="AAA", qty=1, note=f"see json://h/{TOKEN}")
        told.close(120)
        assert told.dropped == len(bad)
        assert [len(taken) for taken, _ in bad] == [2] * len(bad)
        assert web.titles == ["NOT FLAT"] and [one["Subject"] for one in box.mails] == ["NOT FLAT"]
        assert TOKEN not in json.dumps(web.got) + str(box.mails[0])


def test_a_reply_without_end_takes_no_memory_of_the_trader_and_the_next_message_arrives() -> None:
    with receiver() as web:
        (service,) = services_of(web.url)
        first, second = (messages().made("trouble", name, name, name) for name in "xy")
        assert first is not None and second is not None
        web.endless = True
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert service.send(first, seconds=60) == "its reply is too long"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
        web.endless = False
        assert service.send(second, seconds=60) is None and web.titles == ["x", "y"]
        process = service.start()
        process.kill()
        process.wait()
        assert service.send(first, seconds=60) is None  # in a new process
        service.close()
        failure = service.send(second, seconds=60)
        assert failure is not None and len(web.got) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_address_that_only_leads_to_another_one_has_taken_nothing(status: int) -> None:
    with receiver() as web:
        web.status = status
        assert ping(f"http://127.0.0.1:{web.server_port}/") == f"HTTP status {status}: it leads to another address"
        if status in (302, 307):
            (service,) = services_of(web.url)
            web.status = status
            alert = messages().made("trouble", "x", "x", "x")
            assert alert is not None
            assert service.send(alert, seconds=60) == f"not taken (HTTP status {status}: it leads to another address)"
            service.close()
        assert "/elsewhere" not in web.pings


def test_a_late_answer_counts_and_the_message_is_not_sent_again() -> None:
    with receiver() as web:
        (service,) = services_of(web.url)
        alert = messages().made("trouble", "x", "x", "x")
        other = messages().made("trouble", "y", "y", "y")
        assert alert is not None and other is not None
        web.hold.clear()
        assert service.send(alert, seconds=0.05) == "no answer within 0 s"
        assert service.send(other, seconds=0.05) == "an earlier message has no answer yet"
        web.hold.set()
        assert service.send(alert, seconds=60) is None and service.send(other, seconds=60) is None
    assert web.titles == ["x", "y"]


def test_more_events_than_can_be_told_are_dropped_and_counted(tmp_path: Path) -> None:
    with receiver() as web:
        told = Alerts(services_of(web.url), messages(), tmp_path, told=tmp_path / TOLD_FILE)
        record = {"time": "2018-03-26T10:31:02-04:00", "event": "not_flat", "qty": 1, "note": ""}
        for number in range(5000):
            told.event({**record, "symbol": f"A{number}"})
        told.close(600)  # it ends with the last message, although the full queue had no room for the end
        assert told.dropped > 0 and told.dropped + len(web.got) == 5000


@pytest.mark.parametrize(
    ("urls", "said"),
    [("nonsense", "address 1 (no scheme)"), (f"json://h/x {TOKEN}", "address 2 (no scheme)"),
     (f"telegramm://{TOKEN}", "address 1 (scheme telegramm)"), (f"tgram://{TOKEN}", "address 1 (scheme tgram)")],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_named_by_its_place_and_scheme_only(urls: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        services_of(urls)
    assert said in str(caught.value) and TOKEN not in str(caught.value) and "appriseit.com" in str(caught.value)


def test_addresses_are_separated_by_blanks_or_commas() -> None:
    found = services_of("json://h/a,b,c, jsons://h/d\n ntfy://topic,mailto://u:p@h.example ")
    assert [one.scheme for one in found] == ["json", "jsons", "ntfy", "mailto"]
    assert services_of("  ") == ()


# The settings and --alert-test


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FIELDS:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "settings.env"


def test_the_alert_test_says_per_service_whether_it_was_taken(env: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with receiver() as web, receiver() as broken:
        lines = f"ALERT_URLS={web.url} {broken.url}\nHEARTBEAT_URL=http://127.0.0.1:{web.server_port}/{TOKEN}\n"
        env.write_text(lines)
        assert cli.run(lambda: live_trader.main(["--alert-test", "--env-file", str(env)])) == 0
        assert len(web.got) == len(broken.got) == 1 and web.pings == [f"/{TOKEN}"]
        broken.status = 403
        assert cli.run(lambda: live_trader.main(["--alert-test", "--env-file", str(env)])) == 2
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err
    assert said.out.splitlines()[3:6] == [
        "ok    ALERT_URLS 1 (json): taken", "FAIL  ALERT_URLS 2 (json): not taken (HTTP status 403)",
        "ok    HEARTBEAT_URL: taken",
    ]  # fmt: skip


def test_the_alert_test_says_why_there_was_no_answer_without_the_address(
    env: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:  # bound and not listening: a connection is refused
        closed.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{closed.getsockname()[1]}/{TOKEN}"
        env.write_text(f"ALERT_URLS=json://{at} mailto://me:{TOKEN}@reset.invalid\nHEARTBEAT_URL=http://{at}\n")
        assert cli.run(lambda: live_trader.main(["--alert-test", "--env-file", str(env)])) == 2
    said = capsys.readouterr()
    refused, no_host = "the connection was refused: nothing listens", "its host is not found"
    for line, words in zip(
        said.out.splitlines(), (f"not taken ({refused}", f"not taken ({no_host}", refused), strict=False
    ):
        assert line.startswith("FAIL") and words in line and TOKEN not in line and "invalid" not in line
    assert said.err == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("HTTPSConnectionPool(host='refused.reset'): url: /x (Caused by ConnectTimeout('timed out'))", "no answer"),
        ("HTTPSConnectionPool(host='h', port=1): url: /x (Caused by SSLError(1, 'WRONG_VERSION_NUMBER'))", "no secure"),
        ("[Errno 101] Network is unreachable", "cannot be reached"),
        ("(535, b'5.7.8 authentication failed')", "refuses the user name"),
        ("('Connection aborted.', RemoteDisconnected('x'))", "cut off"),
        ("something else at reset.example (Caused by X)", ""),
    ],
)  # fmt: skip
def test_the_cause_of_a_failed_request_is_in_words_and_hosts_are_no_cause(text: str, words: str) -> None:
    assert in_words(text).count(words) and bool(in_words(text)) == bool(words)


@pytest.mark.parametrize(
    ("line", "said"),
    [("", "neither ALERT_URLS nor HEARTBEAT_URL"), (f"HEARTBEAT_URL=hc-ping.com/{TOKEN}", "https://HOST/PATH"),
     (f"HEARTBEAT_URL=ftp://h/{TOKEN}", "https://HOST/PATH"), (f"ALERT_URLS=tgrm://{TOKEN}", "(scheme tgrm)"),
     ("ALERT_ON=fills", "ALERT_ON")],
)  # fmt: skip
def test_settings_of_alerts_that_cannot_be_used_are_one_line_without_them(
    env: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    env.write_text(line)
    for command in (["--alert-test"], ["--check"]) if TOKEN in line else (["--alert-test"],):
        assert cli.run(partial(live_trader.main, [*command, "--env-file", str(env)])) == 2
        shown = "".join(capsys.readouterr())
        assert said in shown and TOKEN not in shown and len(shown.splitlines()) <= 2


def test_what_is_told_is_a_list_with_commas(env: Path) -> None:
    env.write_text("ALERT_ON=fill, not-flat,DEAD\n")
    assert load_settings(env).alerts.ALERT_ON == ("fill", "not_flat", "dead")
    assert Settings.of(ALERT_ON="none").alerts.ALERT_ON == ()
    settings = Settings.of(ALERT_URLS=f"json://h/{TOKEN} ntfy://x", APCA_API_KEY_ID="PK", APCA_API_SECRET_KEY="S")
    assert settings.secrets() == [f"json://h/{TOKEN} ntfy://x", f"json://h/{TOKEN}", "ntfy://x", "PK", "S"]
    assert TOKEN not in repr(settings)


# Outside monitors


def test_pings_come_while_all_is_well_and_failures_are_counted_without_the_address() -> None:
    with receiver() as web:
        well = [True]
        url = f"http://127.0.0.1:{web.server_port}/{TOKEN}"
        pinger = Pinger(url, lambda: well[0], seconds=0.01)
        while len(web.pings) < 3:
            time.sleep(0.01)
        well[0] = False
        web.status = 404
        assert ping(url) == "HTTP status 404"
        pinger.close()
    assert (ping(url) or "").startswith("the connection was refused") and ping("http://[bad") is not None
