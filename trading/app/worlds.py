"""Where `live_trader.py` trades: Alpaca paper, or the embedded exchange on recorded or generated bars."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from trading.base.calendar import MarketCalendar, Session, at
from trading.base.clock import NEW_YORK, Clock, SimulatedClock, SystemClock
from trading.base.errors import BrokerError, UserError
from trading.base.market_folders import MarketId
from trading.broker.client import Clients, connect
from trading.broker.transport import allowed_origin

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from datetime import date
    from pathlib import Path

    from config import Settings
    from paper_exchange import PaperExchange
    from paper_exchange.market.interface import Market

STATE_FILE = "paper_exchange.sqlite"
LOG_FILES = ("trades_*.json", "predictions_*.jsonl", "audit_*.jsonl", "schedule.json", f"{STATE_FILE}*")
KEPT_FOLDER = "earlier"

ROOM = 32_000_000
"""Bytes; the predictions of a day alone are some 10 MB."""

FEWEST_HISTORY = 2
"""Sessions before the first traded one: one to train on, one to test on."""


@dataclass
class World:
    """Where a run trades, and on which clock.

    Attributes:
        clock: the wall's, or a simulated one.
        clients: guarded alpaca-py clients.
        market: whose data, models and logs these are.
        said: one line about the clock and the account.
        sessions: how many sessions to trade; None for no end.
        anew: a replay: nothing of an earlier run is taken up.
        notes: what is worth knowing of the bars.
        close: to be called when the run is over.
    """

    clock: Clock
    clients: Clients
    market: MarketId
    said: str
    sessions: int | None
    anew: bool = False
    notes: Sequence[str] = ()
    close: Callable[[], None] = lambda: None


class Opening(Protocol):
    """A world that is chosen and checked; its folders may be claimed before it opens."""

    @property
    def market(self) -> MarketId: ...

    def open(self) -> World: ...


def choose(options: argparse.Namespace, settings: Settings, calendar: MarketCalendar) -> Opening:
    """The world that the command line and the keys ask for.

    Args:
        options: broker, bars, start, sessions of `live_trader.py`.

    Raises:
        UserError: they contradict each other, or the bars do not hold what is asked for.
    """
    replay = options.bars is not None or options.start is not None
    broker = options.broker or ("alpaca" if settings.broker.credentials and not replay else "embedded")
    if broker == "alpaca":
        if replay:
            raise UserError("--bars and --start replay the past on the embedded exchange: leave --broker alpaca out")
        return OnAlpaca(settings, options.sessions)
    return Embedded(settings, calendar, options.bars, options.start, options.sessions)


class OnAlpaca:
    """Alpaca paper, or a paper exchange that listens on loopback, on the wall's clock."""

    def __init__(self, settings: Settings, sessions: int | None) -> None:
        if settings.broker.credentials is None:
            raise BrokerError(
                "--broker alpaca needs APCA_API_KEY_ID and APCA_API_SECRET_KEY in .env or the environment; "
                "leave --broker out to trade on the embedded exchange"
            )
        allowed_origin(settings.broker.APCA_API_BASE_URL)
        self._settings = settings
        self._keys = settings.broker.credentials
        self._sessions = sessions
        self.market = MarketId(f"alpaca-{settings.data.DATA_FEED}", f"Alpaca, feed {settings.data.DATA_FEED}")

    def open(self) -> World:
        clock = SystemClock()
        clients = connect(self._settings.broker, self._keys, clock)
        said = f"a paper account at {self._settings.broker.APCA_API_BASE_URL}: no real money"
        return World(clock, clients, self.market, said, self._sessions)


class Embedded:
    """The exchange in this process, on a simulated clock."""

    def __init__(
        self,
        settings: Settings,
        calendar: MarketCalendar,
        bars: Path | None,
        start: date | None,
        sessions: int | None,
    ) -> None:
        self._settings = settings
        self._calendar = calendar
        self._sessions = sessions or 1
        self._anew = bars is not None or start is not None
        if bars is not None:
            self._market, self.market, self._notes = _recorded(bars)
        else:
            self._market, self.market, self._notes = *_generated(settings), ()
        self._first = self._first_session(start)

    def open(self) -> World:
        from paper_exchange import PaperExchange, WsgiAdapter
        from paper_exchange.account.store import StateError, stored_instant

        logs = self._settings.folders.LOGS_DIR
        if self._anew:
            set_aside(logs)
        evening = at(self._calendar.preceding(self._first.date).date, self._settings.schedule.RETRAIN_TIME)
        try:
            resumed = stored_instant(logs / STATE_FILE)
            clock = SimulatedClock(resumed or evening)
            exchange = PaperExchange(
                self._market,
                clock.now,
                cash=Decimal(str(self._settings.exchange.PAPER_CASH)),
                state_path=logs / STATE_FILE,
            )
        except StateError as error:
            raise UserError(f"{error}; or move {logs} away to begin with a new account") from None
        settings = self._settings.broker.changed(APCA_API_BASE_URL="http://127.0.0.1:8765")
        clients = connect(settings, ("embedded", "embedded"), clock, WsgiAdapter(exchange.app))
        said = (
            f"the embedded paper exchange, simulated clock {'goes on at' if resumed else 'from'} "
            f"{clock.now().astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York, no network"
        )
        return World(
            clock, clients, self.market, said, self._sessions, self._anew, self._notes, lambda: self._close(exchange)
        )

    def _close(self, exchange: PaperExchange) -> None:
        try:
            exchange.close()
        except sqlite3.Error as error:
            path = self._settings.folders.LOGS_DIR / STATE_FILE
            raise UserError(f"{path}: the account cannot be saved ({error}); free some space and run again") from None

    def _first_session(self, start: date | None) -> Session:
        """The first session to trade; all of them must lie within the market, with enough history before."""
        first, last = self._market.first_session, self._market.last_session
        sessions = self._calendar.between(first, last)
        if start is None:
            index = len(sessions) - self._sessions if self._anew else self._settings.data.HISTORY_DAYS
        else:
            index = self._index_of(start, sessions)
        if index < FEWEST_HISTORY:
            raise UserError(
                f"--start {sessions[max(index, 0)].date}: the bars begin on {first}, and a model needs at least "
                f"{FEWEST_HISTORY} sessions of history; start on {sessions[FEWEST_HISTORY].date} or later"
            )
        if index + self._sessions > len(sessions):
            raise UserError(
                f"--sessions {self._sessions}: the bars end on {last}, {len(sessions) - index} sessions from "
                f"{sessions[index].date}; ask for fewer, or start earlier"
            )
        return sessions[index]

    def _index_of(self, start: date, sessions: list[Session]) -> int:
        first, last = sessions[0].date, sessions[-1].date
        if not first <= start <= last:
            raise UserError(f"--start {start}: the bars lie between {first} and {last}; choose a day in between")
        if not self._calendar.is_session(start):
            following = self._calendar.following(start).date
            raise UserError(f"--start {start}: the exchange is closed on that day; the next session is {following}")
        return sessions.index(self._calendar.session(start))


def _recorded(folder: Path) -> tuple[Market, MarketId, tuple[str, ...]]:
    from paper_exchange.market.recorded import MarketDataError, RecordedMarket
    from trading.market.recorded import FolderSource

    try:
        market, identity = RecordedMarket(folder), FolderSource(folder).market
    except MarketDataError as error:
        raise UserError(f"--bars: {error}") from None
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in market.dropped.items())
    return market, identity, (f"bars left out because they cannot be right: {left_out}",) if left_out else ()


def _generated(settings: Settings) -> tuple[Market, MarketId]:
    from paper_exchange.market.generated import GeneratedMarket

    market = GeneratedMarket(
        settings.training.SEED, settings.exchange.MARKET_STOCKS, learnability=settings.exchange.LEARNABILITY
    )
    slug = f"generated-{settings.training.SEED}-{settings.exchange.MARKET_STOCKS}-{settings.exchange.LEARNABILITY:g}"
    return market, MarketId(slug, market.description, generated=True)


def check_folder(folder: Path) -> None:
    """See that a day's files can be written to `folder`, which may not be there yet, and fit on its disk.

    Raises:
        UserError: they cannot, or do not.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{folder}: {there} is a file, not a folder; name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: {there} cannot be written; mend its permissions or name another folder")
    free = shutil.disk_usage(there).free
    if free < ROOM:
        raise UserError(
            f"{folder}: its disk has {free / 1e6:.1f} MB left, a day needs {ROOM / 1e6:.0f}: free some space, or name "
            "another folder"
        )


def set_aside(logs: Path) -> None:
    """Move the logs of an earlier run into `logs/earlier/N/`: a replay writes its own from the beginning."""
    found = sorted({path for pattern in LOG_FILES for path in logs.glob(pattern)})
    if not found:
        return
    kept = logs / KEPT_FOLDER
    numbers = [int(path.name) for path in kept.glob("[0-9]*") if path.name.isdigit()]
    target = kept / str(max(numbers, default=0) + 1)
    target.mkdir(parents=True)
    for path in found:
        shutil.move(path, target / path.name)
