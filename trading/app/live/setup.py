"""The command `live_trader.py --setup`: ask for keys, feed, folders, alerts, test each answer, and write `.env`."""

from __future__ import annotations

import getpass
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from pydantic import SecretStr

from config import ENV_FILE, FIELDS, AlertSettings, DataSettings, Settings, load_settings
from trading.app.alert_test import tests_of
from trading.app.inputs import check_folder
from trading.app.live.venues import AlpacaVenue
from trading.base.clock import NEW_YORK, SystemClock
from trading.base.env_file import write_env_file
from trading.base.errors import BrokerError, UserError, as_started
from trading.base.folders import misplaced, overlapping
from trading.base.market_folders import LOGS_BY_HAND, foreseen
from trading.broker.client import Broker, KeysRefused, Unclear, connect
from trading.broker.transport import ALPACA_PAPER, allowed_origin, without_password
from trading.market.sources.alpaca import AlpacaSource
from trading.models.trust import distrust

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

KEYS: Final = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")
FOLDERS: Final = {"DATA_DIR": "bars and the dataset", "MODELS_DIR": "models", "LOGS_DIR": "trades, audit, predictions"}
FEEDS: Final = get_args(DataSettings.model_fields["DATA_FEED"].annotation)

EXPLAINED: Final = """\
This asks for the keys of an Alpaca paper account, the feed, three folders and where alerts go, and tests each answer.
Nothing is written before the last question; then the answers stand in {path}, which only you may read.
After that, live_trader.py fetches the bars, trains a model and trades on paper until Ctrl-C."""


def setup(options: argparse.Namespace) -> int:
    """Ask, test, and write the file of settings; returns the exit code.

    Raises:
        UserError: there is no terminal, the broker gives no answer, or the input ends; nothing is written then.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("--setup asks questions, so it needs a terminal; without one, write .env (see .env.example)")
    path = options.env_file or ENV_FILE
    read = path if path.exists() or options.env_file is None else Path(os.devnull)
    given = {"DATA_DIR": options.data_dir, "MODELS_DIR": options.models_dir, "LOGS_DIR": options.logs_dir}
    settings = load_settings(read, **given)
    allowed_origin(settings.broker.APCA_API_BASE_URL)
    print(EXPLAINED.format(path=path))
    try:
        answers = _Questions(settings).ask()
        if input(f"Write {', '.join(answers)} to {path}? [Y/n] ").strip().lower() not in ("", "y", "yes"):
            print("nothing was written")
            return 0
    except EOFError:
        raise UserError("the input has ended: nothing was written") from None
    write_env_file(path, answers)
    for name in answers:
        if os.environ.get(name):
            print(f"note: the environment has {name}, which comes before {path}: unset it there")
    print(as_started(f"written: {path}. Next: python live_trader.py --check, then python live_trader.py"))
    return 0


class _Questions:
    """The questions; each is asked again until its answer passes its test."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def ask(self) -> dict[str, str]:
        """The answers by the name of their setting; a folder only if it is not the default.

        Raises:
            UserError: the broker gives no answer.
            EOFError: the input has ended.
        """
        keys = self._keys()
        answers = dict(zip(KEYS, keys, strict=True))
        self._settings = self._settings.changed(**answers)
        feed = self._until_good("Feed of bars, iex (free) or sip (paid)", self._settings.data.DATA_FEED, self._feed)
        self._settings = self._settings.changed(DATA_FEED=feed)
        answers["DATA_FEED"] = feed
        for name, what in FOLDERS.items():
            now = getattr(self._settings.folders, name)
            folder = self._until_good(f"Folder of {what}", str(now), partial(self._folder, name))
            self._settings = self._settings.changed(**{name: folder})
            if Path(folder) != FIELDS[name].default:
                answers[name] = folder
        if (urls := self._alerts()) is not None:
            answers["ALERT_URLS"] = urls
        return answers

    def _alerts(self) -> str | None:
        """Addresses that each took a test alert, not echoed; empty for none, None to leave what is set."""
        none = "Enter keeps those that are set, - for none" if self._settings.alerts.ALERT_URLS else "Enter for none"
        question = f"ALERT_URLS, where alerts go, see docs/operations.md (not shown; {none}): "
        while True:
            typed = getpass.getpass(question).strip()
            if typed in ("", "-"):
                return None if not typed else ""
            try:
                tested = list(tests_of(AlertSettings(ALERT_URLS=SecretStr(typed))))
            except UserError as error:
                print(f"  {error}; try again")
                continue
            for name, failure in tested:
                print(f"  {name}: {'a test alert was taken' if failure is None else failure}")
            if all(failure is None for _, failure in tested):
                return typed
            print("  try again")

    def _until_good(self, question: str, default: str, test: Callable[[str], str]) -> str:
        """The first answer that `test` takes, as it returns it; no answer means the default."""
        while True:
            text = input(f"{question} [{default}]: ").strip() or default
            try:
                return test(text)
            except (UserError, OSError) as error:
                print(f"  {error}")

    def _keys(self) -> tuple[str, str]:
        """Two keys that the broker accepts; they are not echoed."""
        known = self._settings.broker.credentials
        keep = " (not shown; Enter keeps the one that is set)" if known else " (not shown)"
        where = without_password(self._settings.broker.APCA_API_BASE_URL)
        while True:
            typed = [getpass.getpass(f"{name}{keep}: ").strip() for name in KEYS]
            key, secret = (text or (known[i] if known else "") for i, text in enumerate(typed))
            try:
                self._check_form(key, secret)
                account = self._connected(key, secret).account()
            except (BrokerError, KeysRefused) as error:
                print(f"  {error}; try again, or Ctrl-C")
                continue
            except Unclear as error:
                raise UserError(
                    f"{where} gives no answer ({error}): nothing was written; check the network and run again"
                ) from None
            print(f"  accepted by {where}: status {account.status}, equity ${account.equity:,.2f}")
            if account.blocked is not None:
                print(f"  but the account may not trade ({account.blocked}): see its page at the broker")
            return key, secret

    def _check_form(self, key: str, secret: str) -> None:
        for name, text in zip(KEYS, (key, secret), strict=True):
            if not re.fullmatch(r"[!-~]+", text):
                raise BrokerError(f"{name}: it is empty, or holds a blank or a character that no key has")
        if allowed_origin(self._settings.broker.APCA_API_BASE_URL) == ALPACA_PAPER and key.startswith("AK"):
            raise BrokerError(
                "APCA_API_KEY_ID: AK begins a key of a live account; this system takes those of paper, PK"
            )

    def _connected(self, key: str, secret: str) -> Broker:
        return Broker(connect(self._settings.broker, (key, secret), SystemClock()))

    def _feed(self, text: str) -> str:
        name = text.lower()
        if name not in FEEDS:
            raise UserError(f"{text!r} is no feed: type {' or '.join(FEEDS)}")
        credentials = self._settings.broker.credentials
        assert credentials is not None  # asked before
        newest = AlpacaSource(self._connected(*credentials).clients, name).newest_bar()
        said = ""
        if newest is not None:
            symbol, start = newest
            said = f"; newest bar: {symbol} {start.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York"
        print(f"  it answers{said or ', without a bar yet'}")
        return name

    def _folder(self, name: str, text: str) -> str:
        if not text.isprintable():
            raise UserError(f"{name}: the name holds a character that cannot be printed; type it again")
        folder = Settings.of(**{name: text}).folders.model_dump()[name]
        others = {one: getattr(self._settings.folders, one) for one in FOLDERS}
        if found := overlapping(others | {name: folder}):
            raise UserError(f"{found[2]}; give each a folder of its own")
        if wrong := misplaced({name: folder}):
            raise UserError(f"{wrong[1]}: name another folder")
        check_folder(folder)
        market = AlpacaVenue(self._settings, None).market
        _, renamed = foreseen(folder, market, LOGS_BY_HAND if name == "LOGS_DIR" else "")
        if name == "MODELS_DIR" and (reason := distrust(folder)):
            raise UserError(reason)
        if renamed is not None:
            print(f"  it {renamed}")
        return str(folder)
