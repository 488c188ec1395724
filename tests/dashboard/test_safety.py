"""What the server refuses, and what no reply holds: a real process, and requests that a browser would not send."""

from __future__ import annotations

import gzip
import http.client
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import orjson
import pytest

import dashboard as script
from config import PROJECT
from tests.app.report_logs import DAY
from tests.dashboard.dashboard_world import MODEL, Dashboard, beat, dashboard, fill
from trading.app import cli
from trading.app.dashboard import command
from trading.dashboard.web.connections import MOST_OF_ADDRESS, REFUSAL
from trading.dashboard.web.guard import address_of
from trading.dashboard.web.limits import (
    MOST_FAILURES,
    MOST_STREAMS,
    MOST_STREAMS_OF_ADDRESS,
    WINDOW_SECONDS,
    Failures,
)
from trading.dashboard.web.token import make_token
from trading.records.heartbeat import Heartbeat

if TYPE_CHECKING:
    from pathlib import Path

PAGES = ("/", "/trades", "/trades/2018-03-26/0", "/why?symbol=AAA&time=10:31", "/models", "/health", "/control",
         "/control/ask?action=stop", "/metrics", "/nothing", "/healthz",
         f"/files/models/report_{MODEL}.html")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_every_reply_bears_the_protecting_headers_and_no_folder_of_this_machine(served: Dashboard, path: str) -> None:
    reply = served.ask(path)
    assert reply.status == (404 if path == "/nothing" else 200)
    policy = reply.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "unsafe-inline" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["referrer-policy"] == "same-origin" and reply.headers["cache-control"] == "no-store"
    assert str(served.root) not in reply.text and str(PROJECT) not in reply.text and "server" not in reply.headers
    assert "<style" not in reply.text and " style=" not in reply.text and " onclick" not in reply.text
    head = served.ask(path, "HEAD")
    assert (head.status, head.text) == (reply.status, "")


def test_a_foreign_host_is_refused_and_an_allowed_name_is_answered(served: Dashboard) -> None:
    port = urlsplit(served.url).port
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "", "127.0.0.1",
                 f"0.0.0.0:{port}", f"127.0.0.1:{port}@evil.example"):  # fmt: skip
        reply = served.ask("/", Host=host)
        assert reply.status in (400, 421) and "JKBP" not in reply.text and "Positions" not in reply.text, host
    for host in (f"127.0.0.1:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", f"trader.lan:{port}"):
        assert served.ask("/", Host=host).status == 200, host


def test_requests_of_other_sites_change_nothing(served: Dashboard) -> None:
    form, cookie = served.form_of("stop")
    own = {"Cookie": cookie, "Content_Type": "application/x-www-form-urlencoded"}
    body = urlencode(form)
    for origin in ("http://evil.example", "null", f"https://{served.host}.evil.example", "http://127.0.0.1:1", "x", ""):
        assert served.ask("/control/do", "POST", body, Origin=origin, **own).status == 403, origin
        assert served.ask("/", Origin=origin).status == 403, origin
    assert served.ask("/control/do", "POST", body, **own).status == 403  # without any Origin
    name = cookie.partition("=")[0]
    mine = {"Origin": served.url, "Content_Type": own["Content_Type"]}
    for wrong, kept in ((form | {"csrf": "0" * 64}, cookie), (form | {"csrf": ""}, cookie), (form, ""), (form, "a=b"),
                        (form, f"{name}=other"), (form | {"csrf": "é"}, cookie), ({}, cookie)):  # fmt: skip
        reply = served.ask("/control/do", "POST", urlencode(wrong), Cookie=kept, **mine)
        assert reply.status == 403 and "nothing was done" in reply.text
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert served.ask("/control/do", method, Origin=served.url).status == 405
    assert not list((served.root / "control").iterdir())
    asked = served.ask("/control/ask?action=stop").headers["set-cookie"].lower()
    assert "httponly" in asked and "samesite=strict" in asked


def test_bodies_are_limited_and_other_methods_are_refused(served: Dashboard) -> None:
    assert served.ask("/control/do", "POST", b"x" * 9000, Origin=served.url).status == 413
    address = urlsplit(served.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
    connection.request("POST", "/control/do", (b"x" * 1000 for _ in range(20)), {"Origin": served.url},
                       encode_chunked=True)  # fmt: skip
    assert connection.getresponse().status == 413
    connection.close()
    reply = served.ask("/", "POST", "", Origin=served.url)
    assert reply.status == 405 and "GET" in reply.headers["allow"]
    for action, target in (("rm", ""), ("stop", "AAA"), ("pause", ""), ("use", ""), ("__class__", "")):
        assert served.ask(f"/control/ask?action={action}&target={target}").status == 404
    for length in ("-1", "1e9", "99999999999"):
        assert served.ask("/", "POST", Origin=served.url, Content_Length=length).status in (400, 413)


def test_a_second_dashboard_on_a_port_is_refused_in_one_line(served: Dashboard) -> None:
    command = [sys.executable, str(PROJECT / "dashboard.py"), "--env-file=/dev/null", f"--logs-dir={served.logs}"]
    port = urlsplit(served.url).port
    done = subprocess.run([*command, f"--port={port}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and f"--port {port}: Address already in use" in done.stderr
    assert served.ask("/healthz").status == 200


def test_only_pages_of_the_list_are_served_from_the_folders(served: Dashboard, tmp_path: Path) -> None:
    models = served.root / "models"
    secret = tmp_path / "secret.html"
    secret.write_text("a secret")
    (models / "report_20180324_200000.html").symlink_to(secret)
    (models / "report_20180325_200000.html").mkdir()
    names = ("..%2f..%2fdashboard.token", "%2e%2e/logs/market.json", "../logs/audit_2018-03-26.jsonl", ".env",
             f"metrics_{MODEL}.json", f"model_random_forest_{MODEL}.pkl", "report_20180324_200000.html",
             "report_20180325_200000.html", f"report_{MODEL}.html%00", f"..%5creport_{MODEL}.html", "%ff",
             f"report_{MODEL}.html/", "in_service.json", "report.html")  # fmt: skip
    for name in names:
        reply = served.ask(f"/files/models/{name}")
        assert reply.status in (307, 404) and "secret" not in reply.text, name
    for path in ("/files/logs/audit_2018-03-26.jsonl", "/files/data/dataset.json", "/files/control/STOP",
                 "/static/../dashboard.py", "/static/%2e%2e%2fweb%2fapp.py", "/static/templates", "//etc/passwd",
                 "/files//etc/passwd"):  # fmt: skip
        assert served.ask(path).status == 404, path
    source = framed(served)
    policy = served.ask(source).headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'; ") and "models/x" in served.ask(source).text
    for wrong in (source.replace("report", "metrics"), source.replace("/models/", "/data/"),
                  source.replace("/inside/", "/inside/x"), f"/inside/x/models/report_{MODEL}.html"):  # fmt: skip
        assert served.ask(wrong).status == 404, wrong


def framed(served: Dashboard, **headers: str) -> str:
    """The address of the frame of a report."""
    page = served.ask(f"/files/models/report_{MODEL}.html", **headers)
    assert f"frame-src {served.url}/inside/" in page.headers["content-security-policy"]
    return page.text.partition('<iframe class="report" src="')[2].partition('"')[0]


def test_a_download_is_a_file_with_a_plain_name(served: Dashboard) -> None:
    for ending, kind in (("csv", "text/csv; charset=utf-8"), ("json", "application/json")):
        reply = served.ask(f"/download/trades_{DAY}.{ending}")
        assert (reply.status, reply.headers["content-type"]) == (200, kind)
        assert reply.headers["content-disposition"] == f'attachment; filename="trades_{DAY}.{ending}"'
        assert str(served.root) not in reply.text and "AAA" in reply.text
    assert served.ask("/download/..%2ftrades_2018-03-26.json").status == 404


DAMAGED = ("logs/audit_2018-03-26.jsonl", "logs/predictions_2018-03-26.jsonl", "logs/trades_2018-03-26.json",
           "logs/heartbeat.json", "logs/market.json", "logs/control_2018-03-26.jsonl", "logs/report.html",
           f"models/metrics_{MODEL}.json", "models/in_service.json", "control/STOP", "control/PAUSED")  # fmt: skip

SAY_SO = {"/health": DAMAGED[:5], "/models": DAMAGED[7:9], "/control": (DAMAGED[5], DAMAGED[10])}
"""Pages, and the files of which they say that they could not be read."""


def damage(path: Path, kind: str) -> None:
    """Put a thing of a kind in the place of a file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(5_000_000_000)
    elif kind == "bomb":
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(b"0" * 50_000_000, 1))
    else:
        path.write_bytes({"empty": b"", "garbage": b"\xff{\x00[" * 1000}[kind])


def test_every_page_answers_whatever_lies_in_the_place_of_a_file_and_the_server_ends(tmp_path: Path) -> None:
    fill(tmp_path)
    pages = [path for path in PAGES if path not in ("/nothing", "/trades/2018-03-26/0") and "/files/" not in path]
    kept = {name: (tmp_path / name).read_bytes() for name in DAMAGED if (tmp_path / name).exists()}
    with dashboard(tmp_path, "--control") as served:
        for kind in ("empty", "garbage", "bomb", "folder", "device", "sparse", "pipe"):
            for name in DAMAGED:
                (tmp_path / name).unlink(missing_ok=True)
                damage(tmp_path / name, kind)
            for path in pages * 2:
                reply = served.ask(path)
                assert reply.status == 200, (kind, path)
                for name in SAY_SO.get(path, ()) if kind in ("folder", "device", "sparse", "pipe") else ():
                    assert name.partition("/")[2] in reply.text, (kind, path, name)
            assert served.ask("/files/logs/report.html").status == (200 if kind in ("empty", "garbage") else 404)
            if kind == "pipe":
                served.process.terminate()
                assert served.process.wait(120) is not None
                return
            for name in DAMAGED:
                file = tmp_path / name
                if kind == "folder":
                    file.rmdir()
                file.unlink(missing_ok=True)
                file.with_name(f"{file.name}.gz").unlink(missing_ok=True)
                if name in kept:
                    file.write_bytes(kept[name])
            assert served.ask("/trades/2018-03-26/0").status == 200, kind


@pytest.mark.parametrize("field", ["written", "now", "started", "next_at"])
@pytest.mark.parametrize("year", ["0001", "9999", "1999"])
def test_a_beat_of_an_impossible_year_is_damaged(tmp_path: Path, field: str, year: str) -> None:
    beat(tmp_path)
    content = orjson.loads((tmp_path / "heartbeat.json").read_bytes())
    assert Heartbeat.read(tmp_path) is not None
    (tmp_path / "heartbeat.json").write_bytes(orjson.dumps(content | {field: f"{year}-01-01T00:00:00+00:00"}))
    assert Heartbeat.read(tmp_path) is None


def test_open_streams_are_limited_by_address_and_given_back(served: Dashboard) -> None:
    address = urlsplit(served.url)
    streams = []
    for _ in range(MOST_STREAMS_OF_ADDRESS):
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
        connection.request("GET", "/events")
        reply = connection.getresponse()
        assert reply.status == 200 and reply.readline() == b"retry: 2000\n"
        streams.append(connection)
    refused = served.ask("/events")
    assert refused.status == 503 and refused.headers["retry-after"] == "10"
    for connection in streams:
        connection.close()
    end = time.monotonic() + 120
    while time.monotonic() < end:
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
        connection.request("GET", "/events")
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
    raise AssertionError("closed streams are still counted")


def connect(served: Dashboard, source: str, sent: bytes) -> socket.socket:
    address = urlsplit(served.url)
    made = socket.create_connection((str(address.hostname), address.port or 0), 60, (source, 0))
    made.sendall(sent)
    return made


def ended_with(connection: socket.socket) -> bytes:
    """What a connection brought until the server closed it."""
    found = b""
    with connection:
        try:
            while more := connection.recv(65_536):
                found += more
        except ConnectionResetError:
            pass
    return found


def test_a_burst_of_streams_does_not_pass_the_limits(served: Dashboard) -> None:
    request = f"GET /events HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode()
    made = [(source, connect(served, source, b"")) for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
            for _ in range(15)]  # fmt: skip
    for _, connection in made:
        connection.sendall(request)
    allowed = Counter(source for source, connection in made if connection.recv(12) == b"HTTP/1.1 200")
    for _, connection in made:
        connection.close()
    assert max(allowed.values()) <= MOST_STREAMS_OF_ADDRESS and 1 <= sum(allowed.values()) <= MOST_STREAMS


def test_idle_connections_of_one_address_do_not_lock_others_out_and_end(served: Dashboard) -> None:
    parts = (b"", b"GET / HTTP/1.1\r\nHo", f"POST /control/do HTTP/1.1\r\nHost: {served.host}\r\n"
             f"Origin: {served.url}\r\nContent-Length: 100\r\n\r\na".encode())  # fmt: skip
    made = [connect(served, "127.0.0.7", parts[n % 3]) for n in range(75)]
    assert served.ask("/healthz").status == 200
    told = [ended_with(connection) for connection in made]  # each ends, or the socket's patience of 60 s does
    assert set(told[:MOST_OF_ADDRESS]) == {b""} and set(told[MOST_OF_ADDRESS::3]) == {REFUSAL}
    assert served.ask("/healthz", source="127.0.0.7").status == 200


def test_without_the_token_nothing_is_shown_and_with_it_everything(guarded: tuple[Dashboard, str]) -> None:
    served, token = guarded
    assert served.said[0].startswith("From a phone in the same network: ") and "0.0.0.0" not in served.said[0]
    for path in ("/", "/metrics", "/events", "/files/models/x", "/health", "/nothing"):
        assert served.ask(path).status == 401, path
    browser = served.ask("/", Accept="text/html")
    assert browser.status == 303 and browser.headers["location"] == "/login"
    for path in ("/login", "/healthz", "/static/style.css"):
        assert served.ask(path).status == 200, path
    source = framed(served, Authorization=f"Bearer {token}")  # the sandbox has no cookie
    for path in (source, source.replace(f"report_{MODEL}.html", "plotly.min.js")):
        assert served.ask(path, Origin="null").status == 200, path
        assert served.ask(path.replace("/inside/", "/inside/x")).status == 401, path
    assert "trader_equity_dollars" in served.ask("/metrics", Authorization=f"Bearer {token}").text
    for wrong in (f"Basic {token}", "Bearer", "", "Bearer é", f"Token {token}"):
        assert served.ask("/metrics", Authorization=wrong.encode("utf-8").decode("latin-1")).status == 401, wrong
    given = served.ask("/login", "POST", urlencode({"token": token}), Origin=served.url)
    cookie = given.headers["set-cookie"]
    assert given.status == 303 and "HttpOnly" in cookie and token not in cookie
    assert served.ask("/", Cookie=cookie.partition(";")[0]).status == 200
    assert served.ask("/", Cookie=f"dashboard_session_{urlsplit(served.url).port}=guess").status == 401
    assert served.ask("/control", Authorization=f"Bearer {token}").status == 404  # the page Control is off
    for host in ("evil.example", "127.0.0.1.evil.example", "127.0.0.1x", "[::1", "1.2.3.4:x", "999.1.1.1", ""):
        assert served.ask("/", Authorization=f"Bearer {token}", Host=host).status in (400, 421), host
    for host in ("192.168.1.5:9000", "[fd00::5]:8080", "localhost"):  # the port of a container is another one outside
        assert served.ask("/", Authorization=f"Bearer {token}", Host=host).status == 200, host
    assert token not in (served.root / "dashboard.token").read_text()


def test_wrong_tokens_are_rate_limited_and_the_right_one_passes(guarded: tuple[Dashboard, str]) -> None:
    served, token = guarded
    from_there = {"source": "127.0.0.9", "Origin": served.url}
    replies = [served.ask("/login", "POST", urlencode({"token": str(n)}), **from_there) for n in range(9)]
    assert {one.status for one in replies} <= {403, 429} and replies[-1].status == 429
    assert 0 < int(replies[-1].headers["retry-after"]) <= WINDOW_SECONDS
    other = {"source": "127.0.0.9", "X_Forwarded_For": "127.0.0.1"}
    assert served.ask("/metrics", Authorization="Bearer wrong", **other).status == 429
    assert served.ask("/metrics", Authorization=f"Bearer {token}", **other).status == 200
    assert served.ask("/login", "POST", urlencode({"token": token}), **from_there).status == 303
    assert served.ask("/metrics", Authorization="Bearer wrong").status == 401  # another address has its own count


def test_cookies_of_two_ports_of_one_host_do_not_meet(guarded: tuple[Dashboard, str]) -> None:
    served, token = guarded
    names = set()
    for host in ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1", "[::1]"):
        body = urlencode({"token": token})
        given = served.ask("/login", "POST", body, Host=host, Origin=f"http://{host}").headers["set-cookie"]
        cookie = given.partition(";")[0]
        names.add(cookie.partition("=")[0])
        assert served.ask("/", Cookie=cookie, Host=host).status == 200
        assert served.ask("/", Cookie=cookie, Host="127.0.0.1:3").status == 401
    assert len(names) == 3


def test_ipv4_addresses_on_a_socket_of_ipv6_are_themselves() -> None:
    failures = Failures(lambda: 0.0)
    for _ in range(MOST_FAILURES):
        assert failures.add("::ffff:192.0.2.1") == 0
    assert failures.wait("::ffff:192.0.2.1") and failures.wait("192.0.2.1") and not failures.wait("::ffff:192.0.2.2")
    assert address_of({"client": ("::ffff:192.0.2.1", 5)}) == "192.0.2.1"
    assert address_of({"client": ("2001:db8::1", 5)}) == "2001:db8::1" and address_of({}) == "unknown"


def test_failures_are_forgotten_after_a_while_and_counted_by_network() -> None:
    now = 0.0
    failures = Failures(lambda: now)
    for n in range(MOST_FAILURES):
        assert failures.wait(f"2001:db8::{n}") == 0
        failures.add(f"2001:db8::{n}")
    assert failures.wait("2001:db8::ffff") == WINDOW_SECONDS and failures.wait("2001:db8:0:1::1") == 0
    now = WINDOW_SECONDS + 1
    assert failures.wait("2001:db8::1") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host=0.0.0.0"], "needs a token"),
        (["--host=203.0.113.7", "--token-file={open}"], "chmod 600"),
        (["--token-file={damaged}"], "is no token file"),
        (["--token-file={missing}"], "cannot be read"),
        (["--token-file={pipe}"], "cannot be read (it is no file)"),
        (["--make-token", "--token-file={damaged}"], "is there already"),
        (["--host=not a host", "--token-file={good}"], "is no address of this machine"),
        (["--host=203.0.113.7", "--token-file={good}"], "choose another one"),
        (["--port=x"], "is no port"),
    ],
)
def test_bad_input_ends_in_one_line_and_nothing_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(command, "TOKEN_FILE", tmp_path / "none")
    files = {name: tmp_path / name for name in ("open", "damaged", "missing", "good")}
    files["pipe"] = tmp_path / "pipe"
    os.mkfifo(files["pipe"])
    files["open"].write_text('{"sha256": ""}')
    files["open"].chmod(0o644)
    files["damaged"].write_text("{")
    files["damaged"].chmod(0o600)
    make_token(files["good"])
    assert files["good"].stat().st_mode & 0o777 == 0o600
    options = ["--env-file=/dev/null", *(one.format(**files) for one in arguments)]
    try:
        code = cli.run(lambda: script.main(options))
    except SystemExit as ended:
        code = int(str(ended.code))
    shown = capsys.readouterr()
    assert code == 2 and said in shown.err and shown.err.count("\n") == 1 and not shown.out
