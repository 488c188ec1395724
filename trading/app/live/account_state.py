"""What a run knows of the account when it starts and when it ends: from the broker, or else from the logs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from trading.base.errors import BrokerSilent, UserError
from trading.broker.client import KeysRefused, Unclear
from trading.broker.transport import allowed_origin
from trading.execution.orders.entry_orders import INTENT, SETTLED
from trading.execution.orders.records import AUDITED_DAYS
from trading.records.this_machine import account_path, state_folder
from trading.reports.traded.words import price

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from config import BrokerSettings
    from trading.base.clock import Clock
    from trading.broker.client import Broker
    from trading.broker.messages import Account
    from trading.records.journal import Journal
    from trading.records.trade_log import TradeLog

STATE: Final = ("the account", "the positions", "the orders")
"""What a start establishes with the broker."""

PAUSES: Final = tuple(timedelta(seconds=seconds) for seconds in (2, 4, 8, 16, 30))
"""Pauses between the attempts of a start that the broker answers with a failure that may pass: a minute in all."""

RATE_LIMITED: Final = 429
T = TypeVar("T")


def path_of(broker: BrokerSettings) -> Path:
    """The file of the account on this machine that these settings name (`trading.records.this_machine`)."""
    key = "" if broker.APCA_API_KEY_ID is None else broker.APCA_API_KEY_ID.get_secret_value()
    return account_path(allowed_origin(broker.APCA_API_BASE_URL), key, state_folder())


def first_account(broker: Broker, log: TradeLog, journal: Journal, clock: Clock) -> Account | None:
    """The account at the start, requested before anything is built, so that wrong keys show at once.

    Returns:
        None if the broker does not answer but shares may be held: the run then continues, because they have to be
        sold before the close, and asks again every minute.

    Raises:
        BrokerError: the broker refuses the keys.
        BrokerSilent: it does not answer, and the logs know of no shares.
    """
    may_hold = bool(log.open_trades) or any(event["event"] == INTENT for event in journal.newest_events(1))
    try:
        return broker.account() if may_hold else patiently(broker.account, clock, journal)
    except KeysRefused:
        raise
    except Unclear as error:
        if may_hold:
            note = "shares may be held: the run continues and asks again"
            journal.event("broker_unclear", reason=str(error), note=note)
            return None
        journal.event("broker_unclear", reason=str(error), note="the logs know of no shares: the run ends")
        reason = str(error).split("(")[0]
        raise BrokerSilent(
            f"the broker does not answer ({reason}): {unknown(log, journal)}; {_remedy(error)}, and run again"
        ) from None


def patiently(call: Callable[[], T], clock: Clock, journal: Journal) -> T:
    """Make a call again, for a minute in all, while the broker answers with HTTP 429 or 5xx; the audit says so once.

    Raises:
        Unclear, UserError: as the last attempt.
    """
    for attempt, pause in enumerate(PAUSES):
        try:
            return call()
        except (Unclear, UserError) as error:
            if not _may_pass(_status_of(error)):
                raise
            if attempt == 0:
                journal.event("broker_unclear", reason=str(error), note="it is asked again for a minute")
        clock.sleep_until(clock.now() + pause)
    return call()


def unknown(log: TradeLog, journal: Journal, missing: Sequence[str] = STATE, reason: str = "") -> str:
    """One line without its full stop: what is not known of the account, why, and what the logs say instead.

    Args:
        missing: of `STATE`; empty if all of it was read before the run ended.
    """
    if not missing:
        return _by_the_logs(log, journal)
    what = " and ".join(part for part in (", ".join(missing[:-1]), missing[-1]) if part)
    why = f" ({reason})" if reason else ""
    return (
        f"{what} could not be established{why}, so it is unknown whether positions or orders are open; "
        f"{_by_the_logs(log, journal)}"
    )


def _by_the_logs(log: TradeLog, journal: Journal) -> str:
    """What is held and on its way as far as the logs know, and what of it rests at the broker."""
    held = [
        f"{trade.qty} {trade.symbol} (stop {price(trade.stop_loss)}, target {price(trade.take_profit)})"
        for trade in log.open_trades
    ]
    coming: dict[str, str] = {}
    for event in journal.newest_events(AUDITED_DAYS):
        name = str(event.get("client_order_id"))
        if event["event"] == INTENT and not log.has_entry(name):
            coming[name] = f"{event.get('qty')} {event.get('symbol')}"
        elif event["event"] in SETTLED:
            coming.pop(name, None)
    on_the_way = f"; entries without an answer: {', '.join(coming.values())}" if coming else ""
    rests = "; stops and targets rest at the broker as they were, until the session ends" if held or coming else ""
    return f"the trade log holds: {', '.join(held) or 'nothing'}{on_the_way}{rests}"


def _status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error; None if there was no answer."""
    status = getattr(error, "status", None)
    if status is None and error.__cause__ is not None:
        return _status_of(error.__cause__)
    return status if isinstance(status, int) else None


def _may_pass(status: int | None) -> bool:
    return status is not None and (status == RATE_LIMITED or status >= 500)


def _remedy(error: Unclear) -> str:
    if _status_of(error) == RATE_LIMITED:
        return "its rate limit was hit for a minute: stop what else uses these keys"
    if _may_pass(_status_of(error)):
        return "it failed for a minute: see its status page"
    return "check the network and APCA_API_BASE_URL"
