"""The pages of reports through the dashboard: every link of them leads to a page, whatever the folders are called."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin

import pytest

import report
from tests.app.report_logs import DAY, mark, write_day
from tests.dashboard.dashboard_world import MODEL, dashboard, write_page
from trading.app.live.venues import move_logs_away
from trading.reports.look.models_index import write_models_index

if TYPE_CHECKING:
    from pathlib import Path

HREF = re.compile(r'href="(/files/[^"#]+|/inside/[^"#]+|[^"/#:]*[^":#]*\.html)"')

FRAMED = re.compile(r'src="(/inside/[^"]+)"')
SECRET = re.compile(r"/inside/[^/]+/")


def assert_links_lead_to_files(folder: Path) -> None:
    pages = list(folder.rglob("*.html"))
    for page in pages:
        for link in HREF.findall(page.read_text()):
            assert (page.parent / unquote(unescape(link))).is_file(), f"{page}: {link}"


@pytest.mark.parametrize(("models", "logs"), [("logs", "models"), ("my models", 'trades "A&B" 100%')])
def test_every_link_leads_to_a_page_whatever_the_folders_are_called(models: str, logs: str, tmp_path: Path) -> None:
    (tmp_path / models).mkdir()
    mark(tmp_path / models)
    mark(tmp_path / logs)
    write_day(tmp_path / logs)
    write_page(tmp_path / models)
    (tmp_path / "env").write_text(f"MODELS_DIR='{tmp_path / models}'\n")
    asked = [f"--logs-dir={tmp_path / logs}", f"--env-file={tmp_path / 'env'}", "--html"]
    write_models_index(tmp_path / models, MODEL, None)
    assert report.main(asked) == 0
    assert report.main(asked) == 0  # now the report links to the index of the models, and that to the logs
    for _ in range(2):
        move_logs_away(tmp_path / logs, tmp_path / models)
        assert_links_lead_to_files(tmp_path)
        write_day(tmp_path / logs)
        assert report.main(asked) == 0
        assert_links_lead_to_files(tmp_path)
    with dashboard(tmp_path, f"--models-dir={tmp_path / models}", f"--logs-dir={tmp_path / logs}") as one:
        seen, left = {}, ["/models"]
        while left:
            path = left.pop()
            reply = one.ask(path)
            assert reply.status == 200, path
            at = path
            if framed := FRAMED.search(reply.text):
                at, reply = framed[1], one.ask(framed[1])
                assert reply.status == 200 and "sandbox" in reply.headers["content-security-policy"]
            assert bool(framed) == (path != "/models")
            seen[path] = reply.text
            found = {SECRET.sub("/files/", urljoin(at, unescape(link))) for link in HREF.findall(reply.text)}
            left += found - {*seen, *left}
        assert set(seen) == {
            "/models", f"/files/models/report_{MODEL}.html", "/files/models/index.html", "/files/logs/index.html",
            "/files/logs/report.html",
            *(f"/files/logs/earlier/{n}/{name}.html" for n in (1, 2) for name in ("report", "index")),
        }  # fmt: skip
        assert str(DAY) in seen["/files/logs/earlier/1/report.html"]
        script = re.search(r'src="(/inside/[^"/]+/logs/plotly.min.js)"', seen["/files/logs/earlier/1/report.html"])
        assert script is not None and one.ask(script[1]).headers["content-type"].startswith("text/javascript")
        assert re.search('href="/inside/[^"/]+/logs/index.html"', seen["/files/models/index.html"])
        assert one.ask("/files/logs/earlier/1/trades_2018-03-26.json").status == 404
        assert one.ask("/files/logs/earlier/../report.html").status == 404
