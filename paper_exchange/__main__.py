"""`python -m paper_exchange`: the exchange as a server of its own.  Everything heavy is imported after `--help`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from paper_exchange.base.clock import ScaledClock
    from paper_exchange.exchange import PaperExchange
    from paper_exchange.faults.faults import FaultPlan
    from paper_exchange.market.market import Market
    from paper_exchange.streams.streams import StreamServer

CHANCES = {
    "partial-fills": "probability that a fill is of a part only; Alpaca's paper has 0.1",
    "late-bars": "probability that a bar is shown up to 90 s late",
    "revised-bars": "probability that a bar is at first shown wrong",
    "latency": "seconds that an order, a cancel or a replacement stays pending",
}
WARM_UP_SESSIONS = 30  # history before the default start, so that a bot has bars to look back on


class BadInput(Exception):
    """What the command line asks for cannot be done; the message is the one line that says so."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m paper_exchange",
        description="A paper exchange that speaks Alpaca's interface, on recorded or generated 1-minute bars.",
        epilog="Point a bot at it with url_override='http://127.0.0.1:8765'; any non-empty keys will do.",
    )
    found.add_argument("--port", type=int, default=8765, help="port to listen on (default: 8765)")
    found.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    source = found.add_mutually_exclusive_group()
    source.add_argument("--bars", metavar="DIR", help="folder of SYMBOL.csv or SYMBOL.csv.gz with 1-minute bars")
    source.add_argument("--seed", type=int, help="seed of a generated market (default: 1)")
    found.add_argument(
        "--start", metavar="DATE", help="YYYY-MM-DD (at 09:30 New York) or an ISO instant with its offset"
    )
    found.add_argument(
        "--speed", type=float, default=1.0, help="exchange seconds for a second of the wall (default: 1)"
    )
    found.add_argument("--cash", default="100000", help="opening balance in dollars (default: 100000)")
    found.add_argument("--state", metavar="FILE", help="file that keeps the account over a restart (default: none)")
    found.add_argument(
        "--rate-limit", metavar="N", type=int, help="answer 429 after N requests a minute (default: never)"
    )
    found.add_argument(
        "--require-keys",
        action="store_true",
        help="take no keys but APCA_API_KEY_ID and APCA_API_SECRET_KEY of the environment (default: any)",
    )
    found.add_argument(
        "--faults", metavar="PLAN", help="make it hostile: a JSON plan of faults, or the seed of a storm of them"
    )
    found.add_argument(
        "--stream-port", metavar="N", type=int, help="port of the websocket streams (default: port + 1; 0: none)"
    )
    found.add_argument(
        "--margin", action="store_true", help="a margin account, 2x, which may sell short (default: a cash account)"
    )
    found.add_argument(
        "--fractionable", action="store_true", help="take orders for parts of shares and for dollars (default: not)"
    )
    for name, what in CHANCES.items():
        found.add_argument(f"--{name}", metavar="P", type=float, default=0.0, help=f"{what} (default: 0)")
    found.add_argument("--chance-seed", metavar="N", type=int, default=0, help="seed of what is drawn (default: 0)")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit code: 0, or 2 for bad input (with one line on stderr)."""
    options = parser().parse_args(arguments)
    try:
        check(options)
        return serve(options)
    except (BadInput, OSError) as error:
        print(f"paper_exchange: {error}", file=sys.stderr)
        return 2


def check(options: argparse.Namespace) -> None:
    """What can be checked without loading anything.

    Raises:
        BadInput: a value out of its range.
    """
    if not 0 < options.port < 65536:
        raise BadInput(f"--port {options.port}: choose one from 1 to 65535")
    if not 0 < options.speed <= 1_000_000:
        raise BadInput(f"--speed {options.speed}: choose one above 0, at most 1000000")
    if options.stream_port is not None and not 0 <= options.stream_port < 65536:
        raise BadInput(f"--stream-port {options.stream_port}: choose one from 1 to 65535, or 0 for none")
    if options.rate_limit is not None and options.rate_limit < 1:
        raise BadInput(f"--rate-limit {options.rate_limit}: choose at least 1, or leave it out")
    try:
        cash = Decimal(options.cash)
    except InvalidOperation:
        cash = Decimal(-1)
    if not (cash.is_finite() and cash >= 0):
        raise BadInput(f"--cash {options.cash}: give dollars, such as 100000")
    if options.bars and not Path(options.bars).is_dir():
        raise BadInput(f"--bars {options.bars}: no such folder; give one that holds SYMBOL.csv or SYMBOL.csv.gz")


def serve(options: argparse.Namespace) -> int:
    """Build the exchange and listen."""
    signal.signal(signal.SIGTERM, _stop)
    plan = _plan(options.faults)
    exchange, clock, start = _exchange(options, plan)
    try:
        run = _listener(options, exchange, plan, clock)
    except OSError as error:
        raise BadInput(
            f"cannot listen on {options.host}:{options.port} ({error.strerror}); choose another --port"
        ) from error
    streams = _streams(options, exchange, plan, clock)
    print(exchange.description)
    where = f"ws://{options.host}:{_stream_port(options)}/stream and /v2/iex" if streams else "none"
    print(f"streams: {where}")
    print(
        f"listening on http://{options.host}:{options.port}; the exchange's clock shows {start:%Y-%m-%d %H:%M:%S %Z} "
        f"and runs {options.speed:g} times as fast as the wall's; Ctrl-C ends it",
        flush=True,
    )
    try:
        run()
    finally:
        if streams:
            streams.close()
        exchange.close()
        if plan is not None:
            events = f", and {plan.events} messages of the streams" if plan.events else ""
            print(f"{plan.total} of {plan.requests} requests went wrong{events}", flush=True)
    return 0


def _exchange(options: argparse.Namespace, plan: FaultPlan | None) -> tuple[PaperExchange, ScaledClock, datetime]:
    """The exchange, its clock, and the instant at which that starts."""
    from paper_exchange.account.store import StateError
    from paper_exchange.base.clock import ScaledClock
    from paper_exchange.exchange import PaperExchange
    from paper_exchange.faults.market import FaultyConduct, FaultyMarket
    from paper_exchange.orders.conduct import Conduct

    market = _market(options)
    drawn = {"partial_fills": options.partial_fills, "latency": options.latency, "seed": options.chance_seed}
    try:
        conduct = Conduct(**drawn) if plan is None else FaultyConduct(plan=plan, **drawn)
        start = _start(options.start, market, _stored_instant(options.state))
        clock = ScaledClock(start, options.speed)
        exchange = PaperExchange(
            market if plan is None else FaultyMarket(market, plan),
            clock,
            cash=Decimal(options.cash),
            state_path=Path(options.state) if options.state else None,
            keys=_keys() if options.require_keys else None,
            rate_limit=options.rate_limit,
            conduct=conduct,
            late_bars=options.late_bars,
            revised_bars=options.revised_bars,
            margin=options.margin,
            fractionable=options.fractionable,
        )
    except (StateError, ValueError) as error:
        raise BadInput(str(error)) from error
    return exchange, clock, start


def _keys() -> tuple[str, str]:
    """The keys to accept.  Of the environment: a command line is for all to see."""
    found = tuple(os.environ.get(name, "") for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"))
    if not all(found):
        raise BadInput("--require-keys: set APCA_API_KEY_ID and APCA_API_SECRET_KEY in the environment")
    return found[0], found[1]


def _listener(
    options: argparse.Namespace, exchange: PaperExchange, plan: FaultPlan | None, clock: ScaledClock
) -> Callable[[], None]:
    """What serves until it is stopped; the port is taken when this returns."""
    if plan is None:
        import waitress

        return waitress.create_server(exchange.app, host=options.host, port=options.port, threads=4).run
    from paper_exchange.faults.server import FaultyApp, listen

    return listen(FaultyApp(exchange, plan, clock), options.host, options.port).serve_forever


def _stream_port(options: argparse.Namespace) -> int:
    return options.port + 1 if options.stream_port is None else options.stream_port


def _streams(
    options: argparse.Namespace, exchange: PaperExchange, plan: FaultPlan | None, clock: ScaledClock
) -> StreamServer | None:
    """The streams; none where their port is 0, or is one that nobody asked for and somebody has."""
    from paper_exchange.streams.streams import StreamServer

    port = _stream_port(options)
    if not 0 < port < 65536:
        return None
    try:
        return StreamServer(exchange, options.host, port, plan, clock)
    except OSError as error:
        if options.stream_port is None:
            return None
        raise BadInput(f"cannot listen on {options.host}:{port} ({error}); choose another --stream-port") from error


def _stop(*_: object) -> NoReturn:
    raise SystemExit(0)


def _stored_instant(path: str | None) -> int | None:
    """How far a state file has lived (ns since the epoch); None without one, or for a new one."""
    from paper_exchange.account.store import Store

    if path is None or not Path(path).exists():
        return None
    store = Store(Path(path))
    try:
        saved = store.load()
    finally:
        store.close()
    return saved.processed if saved else None


def _plan(text: str | None) -> FaultPlan | None:
    from paper_exchange.faults.faults import FaultPlan, PlanError

    try:
        return FaultPlan.load(text) if text is not None else None
    except PlanError as error:
        raise BadInput(f"--faults {error}") from error


def _market(options: argparse.Namespace) -> Market:
    if options.bars:
        from paper_exchange.market.recorded import RecordedMarket

        try:
            return RecordedMarket(Path(options.bars))
        except ValueError as error:
            raise BadInput(str(error)) from error
    from paper_exchange.market.generated import GeneratedMarket

    try:
        return GeneratedMarket(seed=1 if options.seed is None else options.seed)
    except ValueError as error:
        raise BadInput(str(error)) from error


def _start(text: str | None, market: Market, stored: int | None) -> datetime:
    """The instant at which the clock starts, in New York time: as asked, as stored, or after some history."""
    from paper_exchange.base.calendar import xnys
    from paper_exchange.base.wire import MINUTE, NEW_YORK, from_ns, to_ns

    calendar = xnys()
    if text is None:
        if stored is not None:
            # A killed exchange may have shown up to a minute more than it had saved: time must not go back.
            return from_ns(stored + MINUTE).astimezone(NEW_YORK)
        first = calendar.index_of[market.first_session] + WARM_UP_SESSIONS
        last = calendar.index_of[market.last_session]
        return from_ns(calendar.sessions[min(first, last)].open).astimezone(NEW_YORK)
    start = _instant_of(text)
    first_day, last_day = market.first_session, market.last_session
    if not first_day <= start.date() <= last_day:
        raise BadInput(f"--start {text}: the market has bars from {first_day} to {last_day}; choose a date in between")
    if stored is not None and to_ns(start) < stored:
        raise BadInput(
            f"--start {text}: the state file has lived up to {from_ns(stored).astimezone(NEW_YORK)}; leave it out"
        )
    return start


def _instant_of(text: str) -> datetime:
    from paper_exchange.base.calendar import xnys
    from paper_exchange.base.wire import NEW_YORK, from_ns

    try:
        if len(text) > len("YYYY-MM-DD"):
            start = datetime.fromisoformat(text)
            return start.astimezone(NEW_YORK) if start.tzinfo else start.replace(tzinfo=NEW_YORK)
        day = date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--start {text}: not a date (YYYY-MM-DD) or an ISO instant") from None
    session = xnys().on(day)
    if session is None:
        raise BadInput(f"--start {text}: not a trading day; choose one, or give the hour as well ({text}T12:00)")
    return from_ns(session.open).astimezone(NEW_YORK)


if __name__ == "__main__":
    sys.exit(main())
