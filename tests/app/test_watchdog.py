"""The watchdog: it says "dead" of a trader that gives no sign of life, once an hour, and "alive again" once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import watchdog
from config import FIELDS, Settings
from tests.alerts.receiver import receiver
from tests.app.report_logs import trade
from trading.app import cli
from trading.app.watchdog import Watchdog, look
from trading.base.market_folders import MarketId, claim_logs, market_of
from trading.records.heartbeat import FILE, Heartbeat
from trading.records.trade_log import TradeLog

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 3, 2, 15, 0, 1, tzinfo=UTC)
BEAT = Heartbeat(
    written=AT, now=AT, started=AT, pid=1, version="1", state="waiting", market="Alpaca, feed iex", simulated=False,
    next_event="tick", last_error="10:01 unclear",
)  # fmt: skip


@pytest.mark.parametrize(
    ("beat", "seconds", "condition", "said"),
    [
        (BEAT, 5, "alive", "alive, 5 s ago in state 'waiting', next: tick"),
        (BEAT, 60, "alive", ""),
        (BEAT, 61, "dead", "no sign of life since 2026-03-02 10:00:01 New York (61 s); it was in state 'waiting'"),
        (BEAT, 1e7, "dead", "in its audit, which need not be the cause: 10:01 unclear"),
        (BEAT, -30, "alive", "alive, 0 s ago"),
        (BEAT, -3600, "dead", "(-3,600 s)"),
        (replace(BEAT, state="stopped"), 1e7, "stopped", "stopped in order at 2026-03-02 10:00:01"),
        (None, 0, "dead", "heartbeat.json is missing or cannot be read"),
    ],
)
def test_a_beat_is_judged_by_its_age(
    tmp_path: Path, beat: Heartbeat | None, seconds: float, condition: str, said: str
) -> None:
    if beat is not None:
        beat.write(tmp_path)
    found = look(tmp_path, AT + timedelta(seconds=seconds))
    assert found.condition == condition and said in found.in_full


def test_a_damaged_heartbeat_is_dead(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"written": "20')
    assert look(tmp_path, AT).condition == "dead"
    for written in ("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"):
        BEAT.write(tmp_path)
        content = (tmp_path / FILE).read_text().replace(BEAT.written.isoformat(), written)
        (tmp_path / FILE).write_text(content)
        assert look(tmp_path, AT).condition == "dead" and written in content


def test_dead_is_told_once_an_hour_and_alive_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [AT]
    monkeypatch.setattr("trading.alerts.alerts.time.time", lambda: now[0].timestamp())
    said: list[str] = []
    with receiver() as web:
        settings = Settings.of(LOGS_DIR=tmp_path, ALERT_URLS=web.url)

        def watched(*parts: tuple[float, Heartbeat | None]) -> list[str]:
            """The titles that come while one watchdog looks every ten seconds, for so long with such beats."""
            web.got.clear()
            dog = Watchdog(settings, 60, lambda: now[0], said.append)
            dog._before = state[0]
            for seconds, beat in parts:
                end = now[0] + timedelta(seconds=seconds)
                while now[0] < end:
                    if beat is not None:
                        replace(beat, written=now[0]).write(tmp_path)
                    dog.look()
                    now[0] += timedelta(seconds=10)
            dog.close()
            state[:] = [dog._before]
            return web.titles

        state: list = [None]
        assert watched((300, BEAT)) == []
        assert watched((60, None)) == []
        log = TradeLog(tmp_path)
        log.start_day(AT.date())
        for symbol, sold in (("BBB", None), ("AAA", None), ("CCC", "10.40")):
            log.add(trade(AT.date(), symbol, sold=sold))
        log.save()
        assert watched((600, None)) == ["TRADER DEAD"]
        assert web.got[0]["type"] == "failure" and web.got[0]["message"] == (
            "No sign of life since 2026-03-02 10:04:51 New York (80 s); it was in state 'waiting' on Alpaca, feed iex. "
            "Its trade log holds 2 positions: AAA, BBB. Next: see at the broker's page that each position has its stop "
            '(stops and targets end with the session), then start the trader. Steps: docs/operations.md, "When it is '
            'dead". The newest trouble in its audit, which need not be the cause: 10:01 unclear'
        )
        assert watched((2900, None)) == [] and watched((600, None)) == ["TRADER DEAD"]
        assert [line.split()[2] for line in said] == ["alive:", "dead:"]
        assert watched((30, BEAT)) == ["trader alive again"] and web.got[0]["type"] == "info"
        (tmp_path / f"trades_{AT.date()}.json").write_text("[]")
        assert watched((600, BEAT)) == []
        assert watched((60, None)) == []
        assert watched((60, None)) == ["TRADER DEAD"]  # within the hour, after it was alive again
        now[0] += timedelta(hours=3)  # the watchdog does not run
        assert watched((60, BEAT)) == ["trader alive again"]
        flaps = watched(*[(90, None), (20, BEAT)] * 20)
        assert 8 <= len(flaps) <= 12 and flaps[:4] == ["TRADER DEAD", "trader alive again"] * 2
        assert watched((4000, BEAT)) in ([], ["trader alive again"])
        assert watched((30, replace(BEAT, state="stopped"))) == [] and watched((9000, None)) == []
        now[0] += timedelta(hours=9)  # the machine slept: one look finds an old beat, the next a new one
        BEAT.write(tmp_path)
        assert watched((10, None)) == [] and watched((10, replace(BEAT, simulated=True))) == []
        assert watched((600, None))[0] == "[simulated] TRADER DEAD"
        assert "Its trade log holds no position. Next: start it again." in web.got[0]["message"]


def test_one_look_answers_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FIELDS:
        monkeypatch.delenv(name, raising=False)
    logs = tmp_path / "logs"

    def code(*more: str) -> int:
        arguments = ["--once", f"--logs-dir={logs}", "--env-file=/dev/null", *more]
        return cli.run(lambda: watchdog.main(arguments))

    assert code() == 1 and not logs.exists()
    now = datetime.now(UTC)
    replace(BEAT, written=now - timedelta(seconds=30)).write(logs)
    assert code() == 0 and code("--after", "10") == 1
    replace(BEAT, written=now, state="stopped").write(logs)
    assert code() == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["dead:", "alive,", "dead:", "stopped:"]
    with pytest.raises(SystemExit):
        code("--after", "0")


def test_a_watchdog_that_looks_before_there_is_a_trader_does_not_keep_it_from_its_folder(tmp_path: Path) -> None:
    logs, market = tmp_path / "logs", MarketId("by-hand", "by hand")
    with receiver() as web:
        watching = Watchdog(Settings.of(LOGS_DIR=logs, ALERT_URLS=web.url), 60, lambda: AT, lambda line: None)
        assert [watching.look() for _ in range(3)] == ["alive", "dead", "dead"]
        watching.close()
        assert web.titles == ["TRADER DEAD"] and list(logs.iterdir())
    assert claim_logs(logs, market) is None and market_of(logs) == market
    # The folder of another market waits beside: it comes back.
    logs.rename(tmp_path / "logs.by-hand")
    (logs / "alerts_watchdog.json").parent.mkdir()
    (logs / "alerts_watchdog.json").write_text("{}")
    assert claim_logs(logs, market) is None and market_of(logs) == market
