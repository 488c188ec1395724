"""The exchange as a server: builds it from the options of the command line and listens."""

from __future__ import annotations

import os
import signal
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import waitress

from paper_exchange.account.store import stored_instant
from paper_exchange.base.calendar import xnys
from paper_exchange.base.clock import ScaledClock
from paper_exchange.base.wire import MINUTE, NEW_YORK, from_ns, to_ns
from paper_exchange.exchange import PaperExchange
from paper_exchange.faults.market import FaultyBehaviour, FaultyMarket
from paper_exchange.faults.plan import FaultPlan, PlanError
from paper_exchange.faults.server import FaultyApp, listen
from paper_exchange.market.generated import GeneratedMarket
from paper_exchange.market.recorded import RecordedMarket
from paper_exchange.orders.behaviour import Behaviour
from paper_exchange.streams.server import StreamServer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from paper_exchange.market.interface import Market

WARM_UP_SESSIONS = 30  # history before the default start, so that a bot has bars to look back on


def prepare(options: argparse.Namespace) -> Callable[[], None]:
    """Build the exchange and bind its ports; returns the function that serves until the process is stopped.

    Raises:
        ValueError: an option cannot be used; the message names it and the remedy.
        OSError: a file cannot be read or written.
    """
    signal.signal(signal.SIGTERM, _stop)
    plan = _plan(options.faults)
    exchange, clock, start = _exchange(options, plan)
    try:
        run = _listener(options, exchange, plan, clock)
    except OSError as error:
        raise ValueError(
            f"cannot listen on {options.host}:{options.port} ({error.strerror}); choose another --port"
        ) from error
    streams = _streams(options, exchange, plan, clock)
    print(exchange.description)
    where = f"ws://{options.host}:{_stream_port(options)}/stream and /v2/iex" if streams else "none"
    print(f"streams: {where}")
    print(
        f"listening on http://{options.host}:{options.port}; the exchange's clock shows {start:%Y-%m-%d %H:%M:%S %Z} "
        f"and runs at {options.speed:g} times real time; Ctrl-C stops it",
        flush=True,
    )

    def serve() -> None:
        try:
            run()
        finally:
            if streams:
                streams.close()
            exchange.close()
            if plan is not None:
                events = f", and {plan.events} stream messages" if plan.events else ""
                print(f"{plan.total} of {plan.requests} requests went wrong{events}", flush=True)

    return serve


def _exchange(options: argparse.Namespace, plan: FaultPlan | None) -> tuple[PaperExchange, ScaledClock, datetime]:
    """The exchange, its clock, and the instant at which the clock starts."""
    market = _market(options)
    random_events = {"partial_fills": options.partial_fills, "latency": options.latency, "seed": options.chance_seed}
    behaviour = Behaviour(**random_events) if plan is None else FaultyBehaviour(plan=plan, **random_events)
    state_path = Path(options.state) if options.state else None
    start = _start(options.start, market, stored_instant(state_path) if state_path else None)
    clock = ScaledClock(start, options.speed)
    exchange = PaperExchange(
        market if plan is None else FaultyMarket(market, plan),
        clock,
        cash=Decimal(options.cash),
        state_path=state_path,
        keys=_keys() if options.require_keys else None,
        rate_limit=options.rate_limit,
        behaviour=behaviour,
        late_bars=options.late_bars,
        revised_bars=options.revised_bars,
        margin=options.margin,
        fractionable=options.fractionable,
    )
    return exchange, clock, start


def _keys() -> tuple[str, str]:
    """The keys to accept, from the environment: other users of the machine can read a command line."""
    key, secret = (os.environ.get(name, "") for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"))
    if not (key and secret):
        raise ValueError("--require-keys: set APCA_API_KEY_ID and APCA_API_SECRET_KEY in the environment")
    return key, secret


def _listener(
    options: argparse.Namespace, exchange: PaperExchange, plan: FaultPlan | None, clock: ScaledClock
) -> Callable[[], None]:
    """The function that serves until it is stopped; the port is bound when this returns."""
    if plan is None:
        run: Callable[[], None] = waitress.create_server(
            exchange.app, host=options.host, port=options.port, threads=4
        ).run
        return run
    return listen(FaultyApp(exchange, plan, clock), options.host, options.port).serve_forever


def _stream_port(options: argparse.Namespace) -> int:
    port: int | None = options.stream_port
    return int(options.port) + 1 if port is None else port


def _streams(
    options: argparse.Namespace, exchange: PaperExchange, plan: FaultPlan | None, clock: ScaledClock
) -> StreamServer | None:
    """The streams; None if they are switched off, or if the default port for them is taken."""
    port = _stream_port(options)
    if not 0 < port < 65536:
        return None
    try:
        return StreamServer(exchange, options.host, port, plan, clock)
    except OSError as error:
        if options.stream_port is None:
            return None
        raise ValueError(f"cannot listen on {options.host}:{port} ({error}); choose another --stream-port") from error


def _stop(*_: object) -> NoReturn:
    raise SystemExit(0)


def _plan(text: str | None) -> FaultPlan | None:
    try:
        return FaultPlan.load(text) if text is not None else None
    except PlanError as error:
        raise ValueError(f"--faults {error}") from error


def _market(options: argparse.Namespace) -> Market:
    if options.bars:
        return RecordedMarket(Path(options.bars))
    return GeneratedMarket(seed=1 if options.seed is None else options.seed)


def _start(text: str | None, market: Market, stored: datetime | None) -> datetime:
    """The instant at which the clock starts, in New York time: --start, else the stored one, else after a warm-up."""
    calendar = xnys()
    if text is None:
        if stored is not None:
            # A killed exchange may have shown up to a minute more than it had saved: time must not go back.
            return from_ns(to_ns(stored) + MINUTE).astimezone(NEW_YORK)
        first = calendar.index_of[market.first_session] + WARM_UP_SESSIONS
        last = calendar.index_of[market.last_session]
        return from_ns(calendar.sessions[min(first, last)].open).astimezone(NEW_YORK)
    start = _parse_start(text)
    first_day, last_day = market.first_session, market.last_session
    if not first_day <= start.date() <= last_day:
        raise ValueError(
            f"--start {text}: the market has bars from {first_day} to {last_day}; choose a date in between"
        )
    if stored is not None and start < stored:
        raise ValueError(f"--start {text}: the state file is already at {stored.astimezone(NEW_YORK)}; leave it out")
    return start


def _parse_start(text: str) -> datetime:
    try:
        if len(text) > len("YYYY-MM-DD"):
            start = datetime.fromisoformat(text)
            return start.astimezone(NEW_YORK) if start.tzinfo else start.replace(tzinfo=NEW_YORK)
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--start {text}: not a date (YYYY-MM-DD) or an ISO instant") from None
    session = xnys().on(day)
    if session is None:
        raise ValueError(f"--start {text}: not a trading day; choose one, or give the time as well ({text}T12:00)")
    return from_ns(session.open).astimezone(NEW_YORK)
