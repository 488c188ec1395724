"""The exchange as a server: builds it from the options of the command line and listens."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import signal
import socket
import threading
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bar_files.options import reading_of
from paper_exchange.base.calendar import xnys
from paper_exchange.base.clock import ScaledClock
from paper_exchange.base.wire import NEW_YORK, to_ns
from paper_exchange.books.store import stored
from paper_exchange.exchange import PaperExchange
from paper_exchange.faults.market import FaultyBehaviour, FaultyMarket
from paper_exchange.faults.plan import FaultPlan, PlanError
from paper_exchange.faults.server import FaultyApp
from paper_exchange.market.generator.market import FIRST_SESSION, GeneratedMarket, first_session_of
from paper_exchange.market.recorded import RecordedMarket
from paper_exchange.orders.behaviour import Behaviour, table_of
from paper_exchange.start import NOW, check_account, parse_start, resumption, start_of
from paper_exchange.streams.server import Server

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from paper_exchange.books.store import Saved
    from paper_exchange.market.interface import Market

FAULTY_WORKERS = 64  # delayed requests hold a thread each
ANY_ADDRESS = ("0.0.0.0", "::")
DEFAULT_CASH = "100000"
LISTED_SYMBOL = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,4})?")  # as Alpaca writes those of US stocks
SESSIONS_BEFORE_START = 70  # history of a generated market that starts now, or late
LATE_START = 252  # sessions after the default first session: from then on the history is short


def prepare(options: argparse.Namespace) -> Callable[[], None]:
    """Build the exchange and bind its port; returns the function that serves until the process is stopped.

    Raises:
        ValueError: an option cannot be used; the message names it and the remedy.
        OSError: a file cannot be read or written.
    """
    signal.signal(signal.SIGTERM, _stop)
    _check_address(options)  # before the bars of a market are made, which takes seconds
    plan = _plan(options.faults)
    state_path = Path(options.state) if options.state else None
    saved = stored(state_path) if state_path else None
    market = market_of(options, saved.market if saved else None)
    first = market.first_session if isinstance(market, GeneratedMarket) else FIRST_SESSION
    exchange, clock, start = _exchange(options, market, plan, saved)
    stopping = threading.Event()
    server = _server(options, exchange, plan, clock, stopping)
    if options.start == NOW:
        start = datetime.now(NEW_YORK)
    print(exchange.description)
    if first != FIRST_SESSION:
        print(f"bars are generated from {first} on")
    origin = _origin("127.0.0.1" if options.host in ANY_ADDRESS else options.host, options.port)
    if saved:
        print(resumption(options, saved, start))
    print(f"streams: ws://{origin}/stream and ws://{origin}/v2/iex")
    print(
        f"listening on http://{origin}; the exchange's clock shows {start:%Y-%m-%d %H:%M:%S %Z} "
        f"and runs at {options.speed:g} times real time; Ctrl-C stops it",
        flush=True,
    )
    clock.release(start)

    def serve() -> None:
        try:
            server.wait()
        finally:
            stopping.set()
            server.close()
            exchange.close()
            if plan is not None:
                events = f", and {plan.events} stream messages" if plan.events else ""
                print(f"{plan.total} of {plan.requests} requests went wrong{events}", flush=True)

    return serve


def _exchange(
    options: argparse.Namespace, market: Market, plan: FaultPlan | None, saved: Saved | None
) -> tuple[PaperExchange, ScaledClock, datetime]:
    """The exchange, its clock, which is held, and the instant that it shows; `saved` is what the state file holds."""
    behaviour = _behaviour(options, plan)
    if saved:
        check_account(options, saved)
    start = start_of(options.start, market, saved)
    clock = ScaledClock(start, options.speed, held=True)  # a generated market first makes all sessions so far
    exchange = PaperExchange(
        market if plan is None else FaultyMarket(market, plan),
        clock,
        cash=Decimal(options.cash or DEFAULT_CASH),
        state_path=Path(options.state) if options.state else None,
        keys=_keys() if options.require_keys else None,
        rate_limit=options.rate_limit,
        behaviour=behaviour,
        bar_delay=options.bar_delay,
        updated_bars=options.updated_bars,
        late_bars=options.late_bars,
        revised_bars=options.revised_bars,
        spread_ticks=options.spread_ticks,
        spread_of_range=options.spread_of_range,
        coverage=options.coverage,
        extended_bars=options.extended_bars,
        margin=options.margin is not False,
        fractionable=options.fractionable is not False,
    )
    return exchange, clock, start


def _behaviour(options: argparse.Namespace, plan: FaultPlan | None) -> Behaviour:
    try:
        table = table_of(options.behaviour)
    except ValueError as error:
        raise ValueError(f"--behaviour {options.behaviour}: {error}") from None
    given = options.partial_fills, options.latency, options.chance_seed, table
    return Behaviour(*given) if plan is None else FaultyBehaviour(*given, plan=plan)


def _keys() -> tuple[str, str]:
    """The keys to accept, from the environment: other users of the machine can read a command line."""
    key, secret = (os.environ.get(name, "") for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"))
    if not (key and secret):
        raise ValueError("--require-keys: set APCA_API_KEY_ID and APCA_API_SECRET_KEY in the environment")
    return key, secret


def _server(
    options: argparse.Namespace,
    exchange: PaperExchange,
    plan: FaultPlan | None,
    clock: ScaledClock,
    stopping: threading.Event,
) -> Server:
    """The server, which already listens; `stopping` ends the delays of the fault plan."""
    ports = [options.port, *([options.stream_port] if options.stream_port not in (None, 0, options.port) else [])]
    try:
        if plan is None:
            return Server(exchange, options.host, *ports)
        app = FaultyApp(exchange, plan, clock, stopping.wait)
        return Server(exchange, options.host, *ports, app=app, plan=plan, now=clock, workers=FAULTY_WORKERS)
    except (OSError, UnicodeError) as error:
        raise ValueError(_cannot_listen(options.host, ports, error)) from error


def _check_address(options: argparse.Namespace) -> None:
    """Bind the address and free it again.

    Raises:
        ValueError: the server could not listen there.
    """
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
    except (OSError, UnicodeError) as error:
        raise ValueError(_cannot_listen(options.host, [options.port], error)) from error


def _origin(host: str, *ports: int) -> str:
    """An address as a URL has it, such as 127.0.0.1:8765 or [::1]:8765."""
    return f"[{host}]:{ports[0]}" if ":" in host else f"{host}:{' and '.join(map(str, ports))}"


def _cannot_listen(host: str, ports: Sequence[int], error: OSError | UnicodeError) -> str:
    """Why the server cannot listen, and what to do about it."""
    if _is_multicast(host):
        return f"--host {host}: a multicast address; choose one of this machine, such as 127.0.0.1 or ::1"
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    other_port = "choose another --port" + (" or --stream-port" if len(ports) > 1 else "")
    if number in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"--host {host}: no address of this machine; choose one, such as 127.0.0.1, or 0.0.0.0 for all"
    if number is None:
        return f"--host {host}: no address and no name of a machine; write it as 127.0.0.1, ::1 or localhost"
    if _lacks_interface(host):
        return f"--host {host}: a link-local address needs its network interface; write it as {host}%eth0"
    if number == errno.EACCES:
        other_port += ", from 1024 on"
    return f"cannot listen on {_origin(host, *ports)} ({os.strerror(number)}); {other_port}"


def _is_multicast(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_multicast
    except ValueError:
        return False


def _lacks_interface(host: str) -> bool:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return address.is_link_local and address.scope_id is None


def _stop(*_: object) -> NoReturn:
    raise SystemExit(0)


def _plan(text: str | None) -> FaultPlan | None:
    try:
        return FaultPlan.load(text) if text is not None else None
    except PlanError as error:
        raise ValueError(f"--faults {error}") from error


def market_of(options: argparse.Namespace, kept: str | None = None) -> Market:
    """The market that the options name; `kept` is the identity of the one that the state file belongs to.

    Raises:
        ValueError: an option cannot be used; the message names it and the remedy.
    """
    if options.bars and options.symbols is not None:
        raise ValueError("--symbols: only for a generated market; leave out --bars")
    reading = reading_of(options)
    if options.bars:
        return RecordedMarket(Path(options.bars), reading)
    seed = 1 if options.seed is None else options.seed
    first = _first_session(options.start, kept)
    if options.symbols is not None:
        return GeneratedMarket(seed, _symbols(options.symbols), first)
    return GeneratedMarket(seed=seed, first_session=first)


def _first_session(start: str | None, kept: str | None) -> date:
    """The first session of a generated market: a state file's, else one shortly before a late start, or the default.

    The exchange makes all sessions up to its start before it listens: those of years would take minutes.
    """
    found = first_session_of(kept) if kept else None
    if found is not None or start is None:
        return found or FIRST_SESSION
    calendar, instant = xnys(), parse_start(start)
    if start != NOW and instant.date() <= calendar.sessions[calendar.index_of[FIRST_SESSION] + LATE_START].day:
        return FIRST_SESSION
    if instant.date() > calendar.sessions[-1].day:
        return FIRST_SESSION  # beyond the calendar, which is refused later
    newest = calendar.opened_by(to_ns(instant))
    return calendar.sessions[newest.index - SESSIONS_BEFORE_START].day


def _symbols(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if not LISTED_SYMBOL.fullmatch(name):
            raise ValueError(f"--symbols {text}: {name!r} is no symbol; write them as SPY,AAPL,BRK.B")
        if names.count(name) > 1:
            raise ValueError(f"--symbols {text}: {name} is named twice; name each symbol once")
    return names
