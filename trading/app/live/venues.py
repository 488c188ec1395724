"""The venues of `live_trader.py`: an Alpaca paper account, or the embedded exchange on recorded or generated bars."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bar_files.errors import BarFileError
from bar_files.options import AS_WRITTEN, Reading
from paper_exchange import Behaviour, PaperExchange, WsgiAdapter
from paper_exchange.books.store import StateError, stored_instant
from paper_exchange.market.generator.market import GeneratedMarket
from paper_exchange.market.recorded import RecordedMarket
from paper_exchange.orders.behaviour import PRESETS
from trading.app.inputs import check_bars_apart, reading_from
from trading.app.pages import models_of
from trading.base import written
from trading.base.calendar import MarketCalendar, Session, at
from trading.base.clock import NEW_YORK, Clock, SimulatedClock, SystemClock
from trading.base.errors import BrokerError, UserError
from trading.base.market_folders import MarketId
from trading.broker.client import Clients, connect
from trading.broker.transport import allowed_origin
from trading.market.sources.recorded import FolderSource
from trading.reports.look import AGAINST, EARLIER, INDEX, REPORT, SCRIPT
from trading.reports.look.moved import move_page, write_index_of_earlier

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from datetime import date

    from config import Settings
    from paper_exchange.market.interface import Market

STATE_FILE: Final = "paper_exchange.sqlite"
LOG_FILES: Final = (
    *("trades_*.json", "predictions_*.jsonl*", "audit_*.jsonl", "schedule.json", f"{STATE_FILE}*"),
    *(REPORT, AGAINST, INDEX, SCRIPT),  # beside the logs that the pages are about
)

MIN_HISTORY: Final = 2
"""Sessions before the first traded one: one to train on and one to test on."""


@dataclass(frozen=True)
class OpenVenue:
    """A venue that is connected: the account, the market data and the clock of a run.

    Attributes:
        clock: the system clock, or a simulated one.
        clients: guarded alpaca-py clients.
        market: the market that the data, models and logs belong to.
        description: one line about the clock and the account.
        sessions: the number of sessions to trade; None for no limit.
        is_replay: whether the run starts from scratch and ignores the state of earlier runs.
        again: what the same command does after this run was interrupted, as a sentence.
        notes: remarks about the bars, one line each.
        bars_of: where the bars of every feed come from alike, "recorded" or "generated"; None: each feed has its own.
        close: releases the venue at the end of the run.
    """

    clock: Clock
    clients: Clients
    market: MarketId
    description: str
    sessions: int | None
    is_replay: bool = False
    again: str = ""
    notes: Sequence[str] = ()
    bars_of: str | None = None
    close: Callable[[], None] = lambda: None


def choose_venue(
    options: argparse.Namespace, settings: Settings, calendar: MarketCalendar
) -> AlpacaVenue | EmbeddedVenue:
    """The venue that the command line and the keys select; it writes nothing before it is opened.

    Args:
        options: broker, bars, start and sessions of `live_trader.py`.

    Raises:
        UserError: the options contradict each other, or the bars do not cover the requested sessions.
    """
    replay = options.bars is not None or options.start is not None
    broker = options.broker or ("alpaca" if settings.broker.credentials and not replay else "embedded")
    if broker == "alpaca":
        if replay:
            raise UserError("--bars and --start replay the past on the embedded exchange: leave --broker alpaca out")
        return AlpacaVenue(settings, options.sessions)
    check_bars_apart(options.bars, settings.folders)
    return EmbeddedVenue(settings, calendar, options.bars, options.start, options.sessions, reading_from(options))


class AlpacaVenue:
    """Alpaca paper, or a paper exchange that listens on a loopback address, on the system clock."""

    def __init__(self, settings: Settings, sessions: int | None) -> None:
        if settings.broker.credentials is None:
            raise BrokerError(
                "--broker alpaca needs APCA_API_KEY_ID and APCA_API_SECRET_KEY in .env or the environment; "
                "leave --broker out to trade on the embedded exchange"
            )
        allowed_origin(settings.broker.APCA_API_BASE_URL)
        self.again = "The same command takes up the positions and orders of the account, and goes on."
        self._broker = settings.broker
        self._keys = settings.broker.credentials
        self._sessions = sessions
        self.market = MarketId(f"alpaca-{settings.data.DATA_FEED}", f"Alpaca, feed {settings.data.DATA_FEED}")

    def open(self) -> OpenVenue:
        """Connect to the account; the first request is the caller's."""
        clock = SystemClock()
        clients = connect(self._broker, self._keys, clock)
        description = f"a paper account at {self._broker.APCA_API_BASE_URL}: no real money"
        return OpenVenue(clock, clients, self.market, description, self._sessions, again=self.again)

    def look(self, logs: Path) -> OpenVenue:
        """As `open`, which writes nothing here."""
        return self.open()


class EmbeddedVenue:
    """The paper exchange in this process, on a simulated clock."""

    def __init__(
        self,
        settings: Settings,
        calendar: MarketCalendar,
        bars: Path | None,
        start: date | None,
        sessions: int | None,
        reading: Reading = AS_WRITTEN,
    ) -> None:
        self._settings = settings
        self._calendar = calendar
        self._sessions = sessions or 1
        self._is_replay = bars is not None or start is not None
        if bars is not None:
            self._market, self.market, self._notes = _recorded(bars, reading)
        else:
            self._market, self.market, self._notes = *_generated(settings), ()
        if settings.exchange.MARKET_COVERAGE == "iex" and settings.data.DATA_FEED == "iex":
            self.market = as_iex(self.market)
        self._first = self._first_session(start)
        self.again = (
            f"The same command starts this replay again with its first session, {self._first.date}, and a new account; "
            f"the logs of this run move to {settings.folders.LOGS_DIR / EARLIER}."
            if self._is_replay
            else "The same command goes on where this run stopped, with the same account, until the end of "
            + ("a session." if self._sessions == 1 else f"{self._sessions} sessions.")
        )

    def open(self) -> OpenVenue:
        """Start the exchange; a replay first moves the logs of earlier runs away.

        Raises:
            UserError: the stored account cannot be read.
        """
        logs = self._settings.folders.LOGS_DIR
        if self._is_replay:
            move_logs_away(logs, self._settings.folders.MODELS_DIR)
        elif any(logs.glob("trades_*.json")) and not _has_content(logs / STATE_FILE):
            raise UserError(
                f"{logs / STATE_FILE}: the account is lost (no file, or an empty one), but {logs} has trades of it; "
                f"move {logs} away to begin with a new account"
            )
        return self._opened(logs)

    def look(self, logs: Path) -> OpenVenue:
        """The exchange as a run would find it, on a copy of its account that is removed when the venue is closed.

        Args:
            logs: the folder of the account; it need not exist.

        Raises:
            UserError: the stored account cannot be read.
        """
        copy = tempfile.TemporaryDirectory(prefix="look-")
        for path in () if self._is_replay else sorted(logs.glob(f"{STATE_FILE}*")):
            shutil.copy(path, copy.name)
        try:
            venue = self._opened(Path(copy.name))
        except UserError as error:
            copy.cleanup()
            raise UserError(str(error).replace(copy.name, str(logs))) from None
        opened = venue.close

        def close() -> None:
            opened()
            copy.cleanup()

        return replace(venue, close=close)

    def _opened(self, logs: Path) -> OpenVenue:
        """The exchange with the account of a folder, or a new one."""
        evening = at(self._calendar.preceding(self._first.date).date, self._settings.schedule.RETRAIN_TIME)
        try:
            resumed = stored_instant(logs / STATE_FILE)
            clock = SimulatedClock(resumed or evening)
            exchange = PaperExchange(
                self._market,
                clock.now,
                cash=Decimal(str(self._settings.exchange.PAPER_CASH)),
                state_path=logs / STATE_FILE,
                behaviour=Behaviour(
                    seed=self._settings.training.SEED, table=PRESETS[self._settings.exchange.EXCHANGE_BEHAVIOUR]
                ),
                bar_delay=self._settings.exchange.BAR_DELAY_SECONDS,
                updated_bars=self._settings.exchange.UPDATED_BARS,
                coverage=self._settings.exchange.MARKET_COVERAGE,
            )
        except StateError as error:
            raise UserError(f"{error}; or move {logs} away to begin with a new account") from None
        broker = self._settings.broker.changed(APCA_API_BASE_URL="http://127.0.0.1:8765")
        clients = connect(broker, ("embedded", "embedded"), clock, WsgiAdapter(exchange.app, clock.now))
        description = (
            f"the embedded paper exchange, simulated clock {'resumes at' if resumed else 'from'} "
            f"{clock.now().astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York, no network"
        )
        return OpenVenue(
            clock,
            clients,
            self.market,
            description,
            self._sessions,
            self._is_replay,
            self.again,
            self._notes,
            "generated" if self.market.generated else "recorded",
            lambda: _close(exchange, logs / STATE_FILE),
        )

    def _first_session(self, start: date | None) -> Session:
        """The first session to trade, once all traded sessions and the history before them lie within the market."""
        ends = "the exchange calendar ends" if self._calendar.last < self._market.last_session else "the bars end"
        first, last = self._market.first_session, min(self._market.last_session, self._calendar.last)
        sessions = self._calendar.between(first, last)
        if start is None:
            index = len(sessions) - self._sessions if self._is_replay else self._settings.data.HISTORY_DAYS
        else:
            index = self._index_of(start, sessions)
        if len(sessions) <= MIN_HISTORY:
            raise UserError(
                f"--bars: {self._market.description}: a replay needs at least {MIN_HISTORY + 1} sessions of bars, "
                f"{MIN_HISTORY} of history and one to trade"
            )
        if index < MIN_HISTORY and start is None and self._is_replay:
            raise UserError(
                f"--sessions {self._sessions}: the bars hold {len(sessions)} sessions ({first} to {last}), and the "
                f"first {MIN_HISTORY} are history for the model; choose at most {len(sessions) - MIN_HISTORY}"
            )
        if index < MIN_HISTORY:
            raise UserError(
                f"--start {sessions[max(index, 0)].date}: the bars begin on {first}, and a model needs at least "
                f"{MIN_HISTORY} sessions of history; start on {sessions[MIN_HISTORY].date} or later"
            )
        if index + self._sessions > len(sessions):
            left = len(sessions) - index
            if left < 1:
                raise UserError(
                    f"HISTORY_DAYS={index}: {ends} on {last}, after {len(sessions)} sessions, and at least one of them "
                    f"is traded; choose at most {len(sessions) - 1}"
                )
            raise UserError(
                f"--sessions {self._sessions}: {ends} on {last}, {left} sessions from {sessions[index].date}; choose "
                f"at most {left} sessions{', or an earlier start' if start is not None else ''}"
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


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _close(exchange: PaperExchange, path: Path) -> None:
    try:
        exchange.close()
    except sqlite3.Error as error:
        raise UserError(f"{path}: the account cannot be saved ({error}); free some space and run again") from None


def _recorded(folder: Path, reading: Reading) -> tuple[Market, MarketId, tuple[str, ...]]:
    try:
        market, identity = RecordedMarket(folder, reading), FolderSource(folder, reading=reading).market
    except BarFileError as error:
        raise UserError(f"--bars: {error}") from None
    omitted = ", ".join(f"{count:,} {reason}" for reason, count in market.dropped.items())
    return market, identity, (f"implausible bars left out: {omitted}",) if omitted else ()


def _generated(settings: Settings) -> tuple[Market, MarketId]:
    market = GeneratedMarket(
        settings.training.SEED, settings.exchange.MARKET_STOCKS, learnability=settings.exchange.LEARNABILITY
    )
    slug = f"generated-{settings.training.SEED}-{settings.exchange.MARKET_STOCKS}-{settings.exchange.LEARNABILITY:g}"
    return market, MarketId(slug, market.description, generated=True)


def as_iex(market: MarketId) -> MarketId:
    """The same market, seen through the prints of IEX only: its data and models are kept apart."""
    return replace(market, slug=f"{market.slug}-as-iex", description=f"{market.description}, with the bars of IEX only")


def move_logs_away(logs: Path, models: Path) -> None:
    """Move the logs and pages of the run before into `logs/earlier/N/`, so that a replay starts with none.

    Links of the pages still lead where they led.  If there was an index, a new one links to the earlier reports.
    """
    found = sorted({path for pattern in LOG_FILES for path in logs.glob(pattern)})
    had_index = (logs / INDEX).is_file()
    if had_index and not (logs / REPORT).exists():  # it was written here, by the replay before
        found.remove(logs / INDEX)
    if not found:
        return
    earlier = logs / EARLIER
    numbers = [written.whole(path.name) or 0 for path in earlier.glob("[0-9]*")]
    target = earlier / str(max(numbers, default=0) + 1)
    target.mkdir(parents=True)
    names = {path.name for path in found}
    for path in found:
        if path.suffix == ".html" and path.is_file():
            move_page(path, target, names)
        else:
            shutil.move(path, target / path.name)
    if had_index:
        write_index_of_earlier(logs, models_of(models, logs))
