"""A trader on the embedded exchange, with hand-made bars, a simulated clock, and faults in chosen replies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import requests
from requests.adapters import BaseAdapter

from config import BrokerSettings, Settings
from paper_exchange import PaperExchange, WsgiAdapter
from tests.exchange.exchange_world import ORIGIN, HandMade, Row, ny
from trading.base.calendar import Session, new_york_calendar
from trading.base.clock import NEW_YORK, Clock, SimulatedClock
from trading.broker.client import Broker, Clients, connect
from trading.execution.control_files import ControlFiles
from trading.execution.entries import EntryPolicy
from trading.execution.live_feed import QUOTE_SECONDS, fetch, latest_quote
from trading.execution.trader import Trader
from trading.models.predictor import Prediction
from trading.records.journal import Journal
from trading.records.trade_log import Trade, TradeLog
from trading.rules.entry import EntryRule, document_rules

if TYPE_CHECKING:
    from pathlib import Path

    from paper_exchange.base.wire import Shares

CALENDAR = new_york_calendar()
INSTANCE = "test"
"""Id of the trader on a world's first logs folder; one on another folder has the id of that folder."""
KEY, SECRET = "PKTESTKEY0123456789", "s3cr3tS3CR3Ts3cr3t"


class Killed(BaseException):
    """Stands for SIGKILL: no handler may catch it."""


Act = Callable[[requests.PreparedRequest, Callable[[], requests.Response]], requests.Response]


def lost_before(request: requests.PreparedRequest, _: Callable[[], requests.Response]) -> requests.Response:
    raise requests.ConnectionError("connection reset before the request was taken", request=request)


def lost_after(request: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
    send()
    raise requests.ReadTimeout("the request was taken, its answer was lost", request=request)


def killed_before(request: requests.PreparedRequest, _: Callable[[], requests.Response]) -> requests.Response:
    raise Killed(f"before {request.method} {request.url}")


def killed_after(request: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
    send()
    raise Killed(f"after {request.method} {request.url}")


def page(status: int, body: str, *, taken: bool = False, headers: Mapping[str, str] | None = None) -> Act:
    """Reply with this; the exchange takes the request first (`taken`) or never sees it."""

    def act(request: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
        if taken:
            send()
        response = requests.Response()
        response.status_code, response._content, response.url = status, body.encode(), request.url or ""
        response.request = request
        response.headers.update(headers or {})
        return response

    return act


def edited(change: Callable[[Any], Any]) -> Act:
    """Let the exchange reply, and change the JSON of its reply."""

    def act(_: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
        response = send()
        response._content = json.dumps(change(response.json())).encode()
        return response

    return act


def cut_short(_: requests.PreparedRequest, send: Callable[[], requests.Response]) -> requests.Response:
    response = send()
    response._content = response.content[: len(response.content) // 2]
    return response


@dataclass
class Fault:
    """What happens to the first `times` requests whose "METHOD /path?query" matches (None: to all)."""

    pattern: str
    act: Act
    times: int | None = 1


class Faulty(BaseAdapter):
    """The transport between `trading.broker.transport.GuardedAdapter` and the exchange, with faults."""

    def __init__(self, inner: BaseAdapter) -> None:
        super().__init__()
        self.inner = inner
        self.faults: list[Fault] = []
        self.sent: list[str] = []
        self.bodies: list[Any] = []
        self.before: Callable[[], None] = lambda: None

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        line = f"{request.method} {unquote((request.url or '').removeprefix(ORIGIN))}"
        self.sent.append(line)
        self.bodies.append(json.loads(request.body) if request.body else None)

        def send() -> requests.Response:
            self.before()
            response = self.inner.send(request, *args, **kwargs)
            self.before()
            return response

        for fault in self.faults:
            if re.search(fault.pattern, line) and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                return fault.act(request, send)
        return send()

    def close(self) -> None:
        self.inner.close()

    def count(self, pattern: str) -> int:
        """The number of requests that match."""
        return sum(1 for line in self.sent if re.search(pattern, line))


@dataclass
class Script:
    """A predictor with scripted confidences by minute: {"10:31": {"AAA": 0.8}}."""

    signals: Mapping[str, Mapping[str, float]]
    prices: Mapping[str, float] = field(default_factory=dict)
    asked: list[datetime] = field(default_factory=list)
    bar_time: datetime | None = None
    """The bar that is decided on; None: a new one every minute."""

    def predict(self, windows: Any, now: datetime) -> list[Prediction]:
        self.asked.append(now)
        wanted = self.signals.get(f"{now.astimezone(NEW_YORK):%H:%M}", {})
        made = [prediction(symbol, held, self.prices.get(symbol, 10.0), now) for symbol, held in wanted.items()]
        return [one._replace(bar_time=self.bar_time or now) for one in made]


def prediction(symbol: str, confidence: float, price: float, now: datetime) -> Prediction:
    """A prediction with plausible values."""
    return Prediction(
        symbol=symbol,
        signal=int(confidence >= 0.5),
        confidence=confidence,
        price=price,
        recommendation="BUY" if confidence >= 0.5 else "HOLD",
        meets_threshold=confidence >= 0.65,
        timestamp=now,
        win_probability=confidence - 0.1,
        model_probability=confidence,
        bar_time=now,
        stale=False,
        model="20180323_200000",
        features=(0.0,) * 11,
    )


def flat(first: str, last: str, price: float = 10.0) -> list[Row]:
    """Bars of constant price, one a minute from `first` to `last`, both included."""
    start, end = (datetime.fromisoformat(f"2018-03-26T{text}:00") for text in (first, last))
    minutes = int((end - start) / timedelta(minutes=1)) + 1
    return [(f"{start + timedelta(minutes=n):%H:%M}", price, price, price, price) for n in range(minutes)]


def with_bars(rows: Iterable[Row], *changed: Row) -> list[Row]:
    """`rows` with the bars of some minutes replaced or added."""
    by_minute = {row[0]: row for row in rows}
    by_minute.update({row[0]: row for row in changed})
    return [by_minute[minute] for minute in sorted(by_minute)]


class TradingWorld:
    """One account on one exchange without a spread, and its current trader, which `restart` replaces."""

    def __init__(
        self,
        folder: Path,
        bars: Mapping[str, Mapping[date, Sequence[Row]]],
        at: datetime,
        signals: Mapping[str, Mapping[str, float]] | None = None,
        prices: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        self.folder = self.first_folder = folder
        self.clock = SimulatedClock(at)
        self.machine: Clock = self.clock
        """The trader's clock; `clock` is the exchange's."""
        self.market = HandMade(bars)
        self.exchange = PaperExchange(self.market, self.clock.now, **{"spread_ticks": 0} | options)
        self.wire = Faulty(WsgiAdapter(self.exchange.app))
        self.script = Script(signals or {}, prices or {})
        self.universe: Callable[[Session], list[str]] = lambda session: sorted(bars)
        self.controls = folder.with_name(f"{folder.name}-controls")
        self.controls.mkdir(exist_ok=True)
        self.guards: Sequence[EntryRule] = ()
        self.widest_spread = 0.0
        self.gone: frozenset[str] = frozenset()
        """Instances that do not run any more."""
        self.start()

    def start(self) -> None:
        """Build a trader on the logs folder, as `live_trader.py` does."""
        self.clients: Clients = connect(
            BrokerSettings(APCA_API_BASE_URL=ORIGIN), (KEY, SECRET), self.machine, self.wire
        )
        self.broker = Broker(self.clients)
        self.log = TradeLog(self.folder)
        self.journal = Journal(self.folder, self.machine)
        settings = Settings.of(MAX_SPREAD_PCT=self.widest_spread)
        self.trader = Trader(
            self.broker,
            self.log,
            self.journal,
            self.machine,
            CALENDAR,
            EntryPolicy(
                (*document_rules(settings.prediction, settings.data, settings.entry), *self.guards),
                settings.entry,
                settings.exits,
                settings.data,
                partial(latest_quote, self.clients, "iex", seconds=None if self.widest_spread else QUOTE_SECONDS),
            ),
            market="by-hand",
            predictor=self.script,
            fetch=partial(fetch, self.clients.data, feed="iex"),
            universe=lambda session: self.universe(session),
            controls=ControlFiles(self.controls),
            instance=INSTANCE if self.folder == self.first_folder else None,
            gone=self.gone,
        )

    def restart(self) -> None:
        """Abandon the trader as a kill would, and start another on the same folder."""
        self.wire.before = lambda: None
        self.start()
        self.trader.recover()

    # Time

    def at(self, clock: str, day: date | None = None) -> None:
        self.clock.sleep_until(ny(day or self.today, clock))

    @property
    def today(self) -> date:
        return self.clock.now().astimezone(NEW_YORK).date()

    @property
    def session(self) -> Session:
        return CALENDAR.session(self.today)

    def tick(self, *minutes: str) -> None:
        """Tick at two seconds past each minute."""
        for minute in minutes:
            self.at(f"{minute}:02")
            self.trader.tick(self.session, ny(self.today, minute))

    def minutes(self, first: str, last: str) -> None:
        """Tick every minute from `first` to `last`, both included."""
        self.tick(*[row[0] for row in flat(first, last)])

    def close_day(self) -> None:
        """The last tick and the close."""
        minute = f"{self.session.close.astimezone(NEW_YORK):%H:%M}"
        self.tick(minute)
        self.trader.closed(self.session)

    # State

    def trade(self, symbol: str = "AAA") -> Trade:
        """The newest trade of a stock."""
        return [trade for trade in self.log.trades if trade.symbol == symbol][-1]

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The audit of every day, or only the events of these names."""
        found = [
            json.loads(line) for path in sorted(self.folder.glob("audit_*")) for line in path.read_text().splitlines()
        ]
        return [event for event in found if not names or event["event"] in names]

    def open_orders(self, symbol: str = "AAA") -> list[tuple[str, str, float | None]]:
        """(side, type, price) of the exchange's open orders of a stock."""
        orders = [order for order in self.exchange.snapshot().orders if order.is_open and order.symbol == symbol]
        found = [(o.side, o.type, o.stop_price if o.stop_price is not None else o.limit_price) for o in orders]
        return sorted(((side, kind, None if price is None else float(price)) for side, kind, price in found), key=str)

    def held(self, symbol: str = "AAA") -> Shares:
        found = self.exchange.snapshot().positions.get(symbol)
        return 0 if found is None else found.qty

    def fills(self, symbol: str = "AAA") -> Iterator[tuple[str, Shares, Decimal]]:
        return ((f.side, f.qty, f.price) for f in self.exchange.snapshot().fills if f.symbol == symbol)

    def check_books(self) -> None:
        """Assert that the trade log equals the exchange's own books."""
        books = self.exchange.snapshot()
        on_disk = TradeLog(self.folder).trades
        for symbol in {fill.symbol for fill in books.fills}:
            bought = sum(fill.qty for fill in books.fills if fill.symbol == symbol and fill.side == "buy")
            assert bought == sum(trade.qty for trade in on_disk if trade.symbol == symbol), symbol
            held = sum(trade.qty for trade in on_disk if trade.symbol == symbol and trade.is_open)
            assert held == (books.positions[symbol].qty if symbol in books.positions else 0), symbol
        if not books.positions:
            assert sum((trade.pnl_amount or Decimal(0) for trade in on_disk), Decimal(0)) == books.realised
