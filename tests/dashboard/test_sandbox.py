"""A page of a report that wants to carry its content away reaches nobody, by none of the ways that a browser has."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.dashboard.dashboard_world import MODEL, dashboard, fill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

TRIES = """<!DOCTYPE html><title>Training</title><meta http-equiv=refresh content="60;{out}?refresh">
<p id=x>begun</p><a id=top href="{out}?a-top" target=_top>x</a><a id=blank href="{out}?a-blank" target=_blank>x</a>
<form id=f action="{out}?form" method=post target=_top><input name=a value=1></form>
<link rel=stylesheet href="{out}?css"><img src="{out}?img"><iframe src="{out}?iframe"></iframe>
<script>
const out = "{out}", tries = [
  () => fetch(out + "?fetch", {{ mode: "no-cors" }}), () => navigator.sendBeacon(out + "?beacon", "x"),
  () => new WebSocket(out.replace("http", "ws") + "?socket"), () => new EventSource(out + "?events"),
  () => {{ new Image().src = out + "?image"; }}, () => import(out + "?import"),
  () => window.open(out + "?open"), () => {{ top.location = out + "?top"; }},
  () => parent.location.replace(out + "?up"),
  () => document.getElementById("top").click(), () => document.getElementById("blank").click(),
  () => document.getElementById("f").submit(),
  () => {{ const one = document.createElement("link"); one.rel = "prefetch"; one.href = out + "?prefetch";
           document.head.append(one); }},
];
for (const one of tries) try {{ one()?.catch?.(() => 0); }} catch {{ }}
console.log("tried all");
setTimeout(() => {{ location.href = out + "?location"; }}, 500);
</script>"""


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server that notes what reaches it."""
    reached: list[str] = []

    class Noting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reached.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", reached
    server.shutdown()
    server.server_close()


def test_no_script_of_a_report_reaches_another_address(tmp_path: Path, browser: Browser) -> None:
    fill(tmp_path)
    with listener() as (out, reached), dashboard(tmp_path) as served:
        (tmp_path / "models" / f"report_{MODEL}.html").write_text(TRIES.format(out=out))
        page, said = browser.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{served.url}/files/models/report_{MODEL}.html")
        until = time.monotonic() + 120
        while not (reached or ("tried all" in said and page.frames[1].url.startswith("chrome-error:"))):
            assert time.monotonic() < until, said
            page.wait_for_timeout(100)  # until the last try, the navigation, was refused or went through
        assert reached == []
        assert page.url.startswith(served.url) and len(page.context.pages) == 1
        source = page.locator("iframe").get_attribute("src")
        page.goto(f"{served.url}{source}")  # the frame alone, which could be navigated, leads back to its page
        assert page.url == f"{served.url}/files/models/report_{MODEL}.html"
        page.close()
