"""The first commands of a user, --check and --setup, over a real socket and a real terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import stat
import sys
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import live_trader
from config import FIELDS, Settings
from paper_exchange import PaperExchange
from paper_exchange.streams.server import Server
from tests.alerts.receiver import TOKEN, receiver
from tests.app.whole_day import PROJECT, Place, trade, write_bars
from tests.exchange.exchange_world import MONDAY, NEW_YORK, HandMade, ny
from tests.execution.trading_world import CALENDAR, Fault, TradingWorld, edited, flat
from trading.app import cli
from trading.app.live.check_items.account import AccountItems
from trading.app.live.check_items.disk import Files
from trading.app.live.check_items.findings import Level
from trading.app.live.venues import OpenVenue
from trading.base.env_file import read_env_file, with_values
from trading.base.market_folders import MarketId, lock
from trading.broker.client import Bracket
from trading.records.instance import instance_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, SECRET = "PKFIRSTSTEPS", "s'ecret#1$x\\"
PATIENCE = 280  # seconds after which a test gives up
FOLDERS = ("DATA_DIR", "MODELS_DIR", "LOGS_DIR", "CONTROL_DIR")


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The address of a paper exchange that runs on this machine's clock and takes one pair of keys."""
    last = CALENDAR.last_completed(datetime.now(NEW_YORK), 1)[0].date
    exchange = PaperExchange(
        HandMade({"AAA": {last: flat("09:30", "12:59")}}), lambda: datetime.now(NEW_YORK), keys=(KEY, SECRET)
    )
    with closing(exchange), closing(Server(exchange, "127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def file(tmp_path: Path, origin: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of settings without keys, whose folders are in a folder of the test."""
    for name in FIELDS:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "my.env"
    lines = ["# mine", "MIN_CONFIDENCE=0.7", f"APCA_API_BASE_URL={origin}", "APCA_API_KEY_ID=", ""]
    lines += [f"{name}={tmp_path / name.lower()}" for name in FOLDERS]
    path.write_text("\n".join([*lines, "", "# end"]))
    (tmp_path / "control_dir").mkdir()
    return path


def with_keys(file: Path, key: str = KEY, secret: str = SECRET) -> Path:
    file.write_text(with_values(file.read_text(), {"APCA_API_KEY_ID": key, "APCA_API_SECRET_KEY": secret}))
    file.chmod(0o600)
    return file


def checked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, str]]:
    """The exit code of `--check`, and its lines by item; the last line of an item counts."""
    code = cli.run(lambda: live_trader.main(["--check", *map(str, arguments)]))
    said = capsys.readouterr().out
    assert SECRET not in said and KEY not in said
    items = re.findall(r"^(ok  |warn|FAIL)  (\S.*?)  +(.*)$", said, re.MULTILINE)
    return code, {name: f"{level} {text}" for level, name, text in items} | {"all": said}


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


# --check


def test_check_of_an_account_reads_everything_and_changes_nothing(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_keys(file)
    before = everything(file.parent)
    code, items = checked(capsys, "--env-file", file)
    assert code == 0, items["all"]
    assert everything(file.parent) == before
    assert re.match(r"ok .* accepts them \(from .*my\.env, line 4\)", items["keys"])
    assert "status ACTIVE, equity $100,000.00" in items["account"] and "buying power 2 x" in items["account"]
    assert items["clock"].startswith("ok") and items["calendar"].startswith("ok")
    assert "newest bar AAA" in items["feed"]
    assert items["model"].startswith("warn none serves") and items["other traders"].startswith("ok")
    for line in (
        f"MIN_CONFIDENCE=0.7  ({file}, line 2)",
        "APCA_API_SECRET_KEY=(set, not shown)",
        "TOP_STOCKS=100  (default)",
    ):
        assert line in items["all"]
    assert items["all"].splitlines()[-1].startswith("nothing failed, ")


def test_check_names_what_is_wrong_and_goes_on_with_the_rest(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(file, secret="wrong")
    file.chmod(0o644)
    (file.parent / "control_dir" / "STOP").touch()
    (file.parent / "control_dir" / "FLATTEN").touch()
    models = file.parent / "models_dir"
    models.mkdir()
    models.chmod(0o777)
    (file.parent / "data_dir").mkdir()
    (file.parent / "data_dir" / "of-somebody.txt").touch()
    monkeypatch.setenv("KEEP_DAYS", "60")
    code, items = checked(capsys, "--env-file", file, "--seed", 3)
    assert code == 2
    assert items["keys"].startswith("FAIL the broker refuses the keys (401)") and "account" not in items
    assert items["settings file"].startswith("warn") and "chmod 600" in items["settings file"]
    assert items["control files"].startswith("warn") and "no order is sent until it is removed" in items["all"]
    assert "FLATTEN is there too: without STOP a run sells everything and ends" in items["all"]
    assert "no market.json" in items["data"]
    assert "FAIL  models" in items["all"] and "chmod go-w" in items["all"]
    assert "KEEP_DAYS=60  (the environment)" in items["all"] and "SEED=3  (the command line)" in items["all"]


@pytest.mark.parametrize(
    "wrong",
    ["MIN_CONFIDENCE=7", "APCA_API_BASE_URL=https://user:s3cr3t@api.alpaca.markets", "DATA_DIR=models_dir", "NO=1"],
)
def test_check_of_settings_that_cannot_be_used_is_one_fail(
    file: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    with_keys(file)
    wrong = wrong.replace("models_dir", str(file.parent / "models_dir"))
    file.write_text(file.read_text() + f"\n{wrong}\n")
    code, items = checked(capsys, "--env-file", file)
    assert code == 2 and items["settings"].startswith("FAIL") and "s3cr3t" not in items["all"]
    assert len(items["all"].splitlines()) == 2


def test_check_works_on_the_generated_market_and_on_recorded_bars(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place.make(tmp_path / "place")
    bars = tmp_path / "bars"
    write_bars(bars, ny(MONDAY, "09:30").date(), MONDAY + timedelta(days=4), stocks=3)
    (place.logs).mkdir()
    (place.logs / "market.json").write_text('{"slug": "generated-7", "description": "a generated market"}')
    (place.logs / "trades_2018-03-26.json").write_text("[]")
    before = everything(tmp_path)
    for more in ((), ("--bars", bars, "--start", "2018-03-29")):
        assert trade(place, "--check", *more) == 0
        said = capsys.readouterr().out
        assert "none needed for the embedded paper exchange" in said and "the market is closed" in said
        assert "holds a generated market: a run renames it to logs.generated-7/" in said
    assert everything(tmp_path) == before


class Looked:
    """A world's account as `--check` looks at it, without the command around it."""

    def __init__(self, world: TradingWorld, market: MarketId | None = None) -> None:
        self.settings = Settings.of(LOGS_DIR=world.folder, CONTROL_DIR=world.controls)
        market = market or MarketId("alpaca-iex", "Alpaca")
        venue = OpenVenue(world.clock, world.clients, market, "", None)
        files = Files(self.settings, market, Path(os.devnull))
        self.items = dict(AccountItems(venue, self.settings, CALENDAR, files, {}).items())

    def find(self, name: str) -> list[tuple[Level, str]]:
        return [(one.level, one.text) for one in self.items[name]()]


def test_check_during_a_session_sees_positions_stops_strangers_and_a_late_feed(tmp_path: Path) -> None:
    bars = {name: {MONDAY: flat("09:30", "15:59")} for name in ("AAA", "BBB")}
    bars["BBB"][MONDAY] = flat("09:30", "10:32")
    world = TradingWorld(tmp_path / "logs", bars, ny(MONDAY, "04:00"), {"10:31": {"AAA": 0.8}}, margin=True)
    world.trader.rebalance(world.session)
    world.minutes("10:30", "10:32")
    looked = Looked(world)
    held = "1 position of ours (5 AAA) and 0 of somebody else; 2 open orders of ours and 0 of somebody else"
    assert [one for level, one in looked.find("positions") if level is Level.OK] == [held]
    assert looked.find("feed")[0][0] is Level.OK and "buying power 2 x" in looked.find("account")[0][1]
    for order in world.broker.orders(open_only=True):
        world.broker.cancel(order.id)
    world.at("10:33")
    assert looked.find("positions")[1:] == [
        (Level.WARN, "no stop rests under AAA: start the trader, which places one at once")
    ]
    held_lock = lock(world.folder, "trader")
    assert looked.find("other traders")[0][0] is Level.WARN
    held_lock.release()
    world.broker.buy(Bracket("BBB", 1, Decimal("9.80"), Decimal("10.40"), "mlt-tother1-20180326-BBB-1033-entry"))
    ((level, said),) = looked.find("other traders")
    assert level is Level.FAIL and "trader tother1 sent" in said
    late = {"bars": {"AAA": {"t": "2018-03-26T14:20:00Z"}}}
    world.wire.faults.append(Fault("/bars/latest", edited(lambda reply: late), None))
    late_feed = "iex: newest bar AAA Mon 2018-03-26 10:20 New York, 12 minutes late: nothing is bought on old bars"
    assert looked.find("feed") == [(Level.WARN, f"{late_feed}; check again")]


def test_check_knows_as_ours_what_a_run_recovers(tmp_path: Path) -> None:
    """With an empty trade log: positions of an embedded run, of this folder, and of a trader that counts as running."""
    bars = {"AAA": {MONDAY: flat("09:30", "15:59")}, "BBB": {MONDAY: flat("09:30", "15:59")}}
    world = TradingWorld(tmp_path / "logs", bars, ny(MONDAY, "10:30"))
    ours = ("mlt-20180326-AAA-1031-entry", f"mlt-{instance_of(world.folder)}-20180326-AAA-1031-entry")
    for embedded, name in zip((True, False), ours, strict=True):
        world.at("10:31" if embedded else "10:35")
        world.broker.buy(Bracket("AAA", 1, Decimal("9.80"), Decimal("10.40"), name))
        if embedded:
            world.at("10:32")
        else:
            world.broker.buy(
                Bracket("BBB", 2, Decimal("9.80"), Decimal("10.40"), "mlt-tother1-20180326-BBB-1035-entry")
            )
            world.at("10:50")
        looked = Looked(world, MarketId("generated-1", "a generated market") if embedded else None)
        lines = looked.find("positions")
        strangers = 0 if embedded else 1
        assert f"1 position of ours ({1 if embedded else 2} AAA) and {strangers} of somebody else" in lines[0][1]
        assert f"{2 if embedded else 4} open orders of ours and {2 * strangers} of somebody else" in lines[0][1]
        recovered = "not in the trade log: AAA: bought under our name, and recovered by the next run"
        assert (Level.WARN, recovered) in lines
        left = [text for _, text in lines if text.startswith("not in the trade log: BBB: left alone")]
        assert len(left) == strangers
    ((level, said),) = looked.find("other traders")
    assert level is Level.FAIL and "and has 2 BBB since" in said and "--take-over tother1" in said


# --setup


class Talk:
    """`live_trader.py --setup` in a terminal of its own."""

    def __init__(self, *arguments: object) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            command = [sys.executable, str(PROJECT / "live_trader.py"), "--setup", *map(str, arguments)]
            os.execv(sys.executable, command)
        self.said = ""

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], PATIENCE)
        assert ready, self.said
        try:
            data = os.read(self._fd, 4096)
        except OSError:  # the other side is closed
            return False
        self.said += data.decode()
        return bool(data)

    def answer(self, question: str, text: str) -> None:
        """Wait for a question after what was read before, and type an answer."""
        start = len(self.said)
        while question not in self.said[start:]:
            assert self._read(), self.said
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """The exit code, once it has ended."""
        while self._read():
            pass
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_setup_asks_until_every_answer_is_good_and_writes_them_for_the_owner_alone(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = Talk("--env-file", file)
    talk.answer("APCA_API_KEY_ID (not shown)", KEY + "\n")
    talk.answer("APCA_API_SECRET_KEY (not shown)", "wrong-secret\n")
    talk.answer("APCA_API_KEY_ID (not shown)", KEY + "\n")
    talk.answer("APCA_API_SECRET_KEY (not shown)", SECRET + "\n")
    talk.answer("Feed of bars", "nyse\n")
    talk.answer("Feed of bars", "sip\n")
    talk.answer("Feed of bars", "IEX\n")
    talk.answer("Folder of bars", "\n")
    talk.answer("Folder of models", f"{file.parent / 'data_dir' / 'inside'}\n")
    talk.answer("Folder of models", f"{file.parent / 'my models'}\n")
    talk.answer("Folder of trades", f"{file}\n")
    talk.answer("Folder of trades", "\n")
    with receiver() as web:
        talk.answer("ALERT_URLS, where alerts go", f"tgram://{TOKEN}\n")
        talk.answer("ALERT_URLS, where alerts go", f"{web.url} json://127.0.0.1:9/{TOKEN}\n")
        talk.answer("ALERT_URLS, where alerts go", f"{web.url}\n")
        talk.answer("[Y/n]", "y\n")
    assert web.titles == ["test alert", "test alert"] and TOKEN not in talk.said
    assert talk.end() == 0, talk.said
    same = f"--env-file {file}"
    assert f"Next: python live_trader.py {same} --check, then python live_trader.py {same}" in talk.said
    assert SECRET not in talk.said and "wrong-secret" not in talk.said and KEY not in talk.said
    for words in (
        "refuses the keys (401)",
        "'nyse' is no feed",
        "lie one in the other",
        "is a file, not a folder",
        "querying recent SIP",
        "address 1 (scheme tgram)",
        "ALERT_URLS 2 (json): not taken",
        "ALERT_URLS 1 (json): a test alert was taken",
    ):
        assert words in talk.said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = {name: one.value for name, one in read_env_file(file, may_be_missing=False).items()}
    assert (found["APCA_API_KEY_ID"], found["APCA_API_SECRET_KEY"]) == (KEY, SECRET)
    assert found["ALERT_URLS"] == web.url
    assert (found["DATA_FEED"], found["MODELS_DIR"]) == ("iex", str(file.parent / "my models"))
    lines = file.read_text().splitlines()
    assert lines[:2] == ["# mine", "MIN_CONFIDENCE=0.7"] and "# end" in lines and lines[3].startswith("APCA_API_KEY_ID")
    assert checked(capsys, "--env-file", file)[0] == 0


@pytest.mark.parametrize("how", ["ctrl-c", "no"])
def test_setup_that_is_ended_leaves_the_file_as_it_was(file: Path, how: str) -> None:
    before = everything(file.parent)
    talk = Talk("--env-file", with_keys(file) if how == "no" else file)
    if how == "no":
        before = everything(file.parent)
        for question in (
            "APCA_API_KEY_ID",
            "APCA_API_SECRET_KEY",
            "Feed",
            "of bars and",
            "of models",
            "of trades",
            "ALERT_URLS",
        ):
            talk.answer(question, "\n")
        talk.answer("[Y/n]", "n\n")
        assert talk.end() == 0 and "nothing was written" in talk.said
    else:
        talk.answer("APCA_API_KEY_ID (not shown)", KEY + "\n")
        talk.answer("APCA_API_SECRET_KEY (not shown)", "\x03")
        assert talk.end() == 130
    assert everything(file.parent) == before


def test_setup_without_a_terminal_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(lambda: live_trader.main(["--setup"])) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "needs a terminal" in said.err
