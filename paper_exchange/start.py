"""Where an exchange begins: a new account at an instant, or the one of its state file where it stopped."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.base.calendar import xnys
from paper_exchange.base.wire import DAY_FIRST, MINUTE, NEW_YORK, from_ns, number, to_ns

if TYPE_CHECKING:
    import argparse

    from paper_exchange.books.store import Saved
    from paper_exchange.market.interface import Market

NOW = "now"
WARM_UP_SESSIONS = 30  # history before the default start, so that a bot has bars to look back on


def check_account(options: argparse.Namespace, saved: Saved) -> None:
    """Check that the options on a new account do not contradict the account of the state file.

    Raises:
        ValueError: one does; the message names the option, what the account has, and the remedy.
    """
    opened = saved.ledger.start
    margin = saved.configurations.get("max_margin_multiplier", "1") != "1"
    fractions = bool(saved.configurations.get("fractional_trading", False))
    contradictions = {
        f"--cash {options.cash}": (
            options.cash is not None and Decimal(options.cash) != opened,
            f"was opened with {number(opened)} dollars",
        ),
        "--margin": (options.margin is True and not margin, "has no margin"),
        "--no-margin": (options.margin is False and margin, "has margin"),
        "--fractionable": (options.fractionable is True and not fractions, "has no fractional trading"),
        "--no-fractionable": (options.fractionable is False and fractions, "has fractional trading"),
    }
    for option, (contradicts, what) in contradictions.items():
        if contradicts:
            raise ValueError(
                f"{option}: the account of {options.state} {what}; leave it out, or name another state file"
            )


def start_of(text: str | None, market: Market, saved: Saved | None) -> datetime:
    """The instant at which the clock starts, in New York time: --start, else the stored one, else after a warm-up.

    An account that has passed --start goes on where it stopped.

    Raises:
        ValueError: --start is no instant, outside the market, or contradicts the state file.
    """
    if saved is None:
        return _new_start(text, market)
    # A killed exchange may have shown up to a minute more than it had saved: time must not go back.
    resumed = from_ns(saved.processed + MINUTE).astimezone(NEW_YORK)
    if text is None:
        return resumed
    start = _inside(text, parse_start(text), market)
    if text == NOW and to_ns(start) < saved.processed:
        already = shown(saved.processed)
        raise ValueError(f"--start now: the state file is already at {already}; leave it out to go on there")
    if to_ns(start) < saved.created_at:
        raise ValueError(
            f"--start {text}: the account of the state file was opened later, at {shown(saved.created_at)}; "
            "leave it out to go on there, or name another state file"
        )
    return max(start, resumed)


def resumption(options: argparse.Namespace, saved: Saved, start: datetime) -> str:
    """One line on the account that goes on, and at which instant."""
    passed = options.start not in (None, NOW) and start > parse_start(options.start)
    return (
        f"the account of {options.state}, opened at {shown(saved.created_at)} "
        f"with {number(saved.ledger.start)} dollars, goes on from {shown(to_ns(start))}"
        + (f"; it has passed --start {options.start}" if passed else "")
    )


def shown(instant: int) -> str:
    """An instant (ns since the epoch) as a person reads it, in New York time."""
    return f"{from_ns(instant).astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S %Z}"


def _new_start(text: str | None, market: Market) -> datetime:
    if text is not None:
        return _inside(text, parse_start(text), market)
    calendar = xnys()
    first = calendar.index_of[market.first_session] + WARM_UP_SESSIONS
    last = calendar.index_of[market.last_session]
    return from_ns(calendar.sessions[min(first, last)].open).astimezone(NEW_YORK)


def _inside(text: str, start: datetime, market: Market) -> datetime:
    first, last = market.first_session, market.last_session
    if not first <= start.date() <= last:
        raise ValueError(f"--start {text}: the market has bars from {first} to {last}; choose a date in between")
    return start


def parse_start(text: str) -> datetime:
    """The instant that `--start` names, in New York time; a date stands for its open.

    Raises:
        ValueError: it is none; the message names the option and the value.
    """
    if text == NOW:
        return datetime.now(NEW_YORK)
    try:
        if not DAY_FIRST.match(text):
            raise ValueError
        if len(text) > len("YYYY-MM-DD"):
            start = datetime.fromisoformat(text)
            return start.astimezone(NEW_YORK) if start.tzinfo else start.replace(tzinfo=NEW_YORK)
        day = date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(f"--start {text}: not a date (YYYY-MM-DD), an ISO instant or now") from None
    session = xnys().on(day)
    if session is None:
        raise ValueError(f"--start {text}: not a trading day; choose one, or give the time as well ({text}T12:00)")
    return from_ns(session.open).astimezone(NEW_YORK)
