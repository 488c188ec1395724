"""Every event that the audit can hold: its words, its weight, and whether it is a discrepancy.

The console, the heartbeat, alerts, reports, the dashboard and `/metrics` draw their words and their choice from here.
A test reads the code for events that are written and missing here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Weight(IntEnum):
    """Where an event is shown; each has the places of those before it."""

    WRITTEN = 0
    """In the audit alone."""
    STOCK = 1
    """On the dashboard's page of a trade."""
    NOTICE = 2
    """On the console and among the newest events of the dashboard."""
    TROUBLE = 3
    """As the newest trouble of the heartbeat and the dashboard, in reports and in `/metrics`."""


class Kind(NamedTuple):
    """An event of the audit.

    Attributes:
        words: how it reads, with the names of its fields in braces; empty: by its name.
        is_discrepancy: broker, market and logs do not say the same, or shares are not as they should be.
    """

    weight: Weight
    words: str = ""
    is_discrepancy: bool = False


def _written(words: str = "") -> Kind:
    return Kind(Weight.WRITTEN, words)


def _stock(words: str, *, is_discrepancy: bool = False) -> Kind:
    return Kind(Weight.STOCK, words, is_discrepancy)


def _notice(words: str, *, is_discrepancy: bool = False) -> Kind:
    return Kind(Weight.NOTICE, words, is_discrepancy)


def _trouble(words: str, *, is_discrepancy: bool = False) -> Kind:
    return Kind(Weight.TROUBLE, words, is_discrepancy)


def _discrepancy(words: str) -> Kind:
    return Kind(Weight.TROUBLE, words, is_discrepancy=True)


RUN: Final[Mapping[str, Kind]] = {
    "started": _written("it trades on {market}"),
    "stopped": _written("it holds: {open}"),
    "scheduler_started": _written(),
    "scheduler_stopped": _written(),
    "marks_in_future": _written(),
    "marks_not_written": _trouble("the marks of the schedule cannot be written: {error}"),
    "clock_set_back": _trouble("this machine's clock was set back by {seconds} s"),
    "rebalance": _written(),
    "rebalance_skipped": _written(),
    "opened": _written(),
    "opened_skipped": _written(),
    "closed": _written(),
    "closed_skipped": _written(),
    "retrain": _written(),
    "retrain_skipped": _written(),
    "job_failed": _trouble("{job} of {session} failed; it is tried again at {again}"),
    "job_given_up": _trouble("{job} of {session} failed {attempts} times: given up until the next start"),
    "callback_failed": _trouble("{callback} failed: {error}"),
    "step_failed": _trouble("{what} failed: {reason}"),
    "ticks_skipped": _trouble("ticks skipped: {count}"),
    "trade_log_unwritten": _trouble("the trade log cannot be written: {reason}"),
    "damaged_file": _notice("{line}"),
    "alerts_dropped": _written("alerts dropped: {count}"),
    "pruned": _written(),
    "stopped_by_file": _trouble("{note}"),
    "not_sent": _trouble("{what}: nothing is sent, because {reason}"),
    "flatten_by_file": _trouble("{note}"),
    "flat": _notice("{note}"),
    "entries_paused": _notice("{note}"),
    "entries_resumed": _notice("{note}"),
    "no_control_file": _trouble("{note}"),
}
"""The process, its schedule and its control files."""

DAY: Final[Mapping[str, Kind]] = {
    "universe_chosen": _written(),
    "held_beside_universe": _written(),
    "no_volume_profile": _written(),
    "universe_skipped": _notice("{note}"),
    "day_started": _notice("day started: {stocks} stocks, equity ${equity:,.2f}"),
    "day_not_started": _trouble("the day cannot be started yet: {reason}"),
    "day_closed": _notice("day closed: {trades}, {won} won, P&L {pnl_amount}, equity ${equity:,.2f}{as_of}"),
    "no_trade": _notice("nothing was bought today: {why}"),
    "live_figures": _notice("{line}"),
    "minute": _written(),
    "no_bars": _trouble("no bars: {reason}"),
    "bars_changed": _written(),
    "feed_late": _trouble("bars are late: the newest bar ended {newest_bar_ended}"),
    "feed_current": _notice("bars come in time again"),
    "broker_unclear": _trouble("the broker gives no clear answer ({reason}): {note}"),
    "unclear": _trouble("{what}: no clear answer ({reason})"),
    "clocks_disagree": _discrepancy("the broker's clock differs from ours by {seconds} s: {note}"),
    "clocks_agree": _notice("the broker's clock differs from ours by {seconds} s: {note}"),
    "calendars_disagree": _discrepancy("the broker's calendar closes at {broker}, ours at {ours}: {note}"),
    "calendars_agree": _notice("the broker's calendar closes at {broker}, ours at {ours}: {note}"),
    "reply_refused": _discrepancy("a reply of the broker cannot be right: {reason}"),
}
"""The session, its bars and the broker's replies."""

LEARNING: Final[Mapping[str, Kind]] = {
    "dataset_built": _notice("bars: {bars:,} new; the dataset holds {rows:,} rows of {stocks} stocks"),
    "targets_settled": _written(),
    "trainer_says": _written("{text}"),
    "model_trained": _notice("model {model} trained; {figures} {reason}."),
    "model_in_service": _written("model {model} serves"),
    "model_refused": _written("{reason}"),
    "retrain_failed": _trouble("retrain failed, the old model stays in service: {reason}"),
    "retrain_interrupted": _notice("retrain interrupted: {note}"),
}
"""Dataset, training and models."""

ENTRIES: Final[Mapping[str, Kind]] = {
    "not_bought": _stock("not bought: {reason} (the rule for {rule})"),
    "entry_intent": _stock("to be bought: {qty} {symbol}, decided at {decision_price} with confidence {confidence}, "
                           "planned stop {stop}, target {target}, by model {model}"),
    "entry_intent_unreadable": _trouble("an entry that an earlier run announced cannot be read: {reason}"),
    "entry_sent": _stock("the order to buy is at the broker"),
    "entry_refused": _trouble("{symbol} not bought: the broker refuses: {reason}"),
    "entry_unclear": _stock("the broker gave no clear answer to the order to buy", is_discrepancy=True),
    "entry_recovered": _stock("the order to buy was found at the broker"),
    "entry_arrived_late": _stock("the order to buy arrived late"),
    "entry_not_filled": _stock("the order to buy ended without a fill ({status})"),
    "entry_never_arrived": _trouble("{symbol}: the order to buy never arrived at the broker"),
    "entry_by_evidence": _discrepancy("{symbol}: {qty} shares at {price}, by {price_source} ({note})"),
    "entry_price_corrected": _notice(
        "{symbol}: bought at {new_price}, not {old_price}: stop {stop}, target {target}"
    ),
    "bought": _notice("bought {qty} {symbol} at {price}, stop {stop}, target {target}"),
}  # fmt: skip
"""From the decision to the purchase."""

EXITS: Final[Mapping[str, Kind]] = {
    "leg_moved": _stock("the {level} was moved from {was} to {now}"),
    "leg_not_moved": _stock("a resting order was not moved from {stays} to {wanted}: {reason}"),
    "cancel": _stock("asked the broker to cancel a resting order ({reason}); accepted: {accepted}"),
    "exit_intent": _stock("to be sold: {qty} {symbol} ({reason})"),
    "exit_sent": _stock("the order to sell is at the broker"),
    "exit_refused": _trouble("the exit of {symbol} was refused: {reason}"),
    "exit_not_filled": _stock("the order to sell ended without a fill ({status})"),
    "exit_not_found": _stock("the order to sell was not found at the broker", is_discrepancy=True),
    "sold": _notice("sold {qty} {symbol} at {price}: {reason}, P&L {pnl_amount}"),
    "sold_by_evidence": _discrepancy(
        "{symbol}: {qty} shares sold at some {price}, by {price_source} ({reason}), P&L some {pnl_amount} ({note})"
    ),
    "shares_gone": _written(),
    "sale_unsettled": _discrepancy("{symbol}: its {qty} shares are gone since {since}; {note}"),
    "exit_price_corrected": _notice(
        "{symbol}: sold at {new_price}, not {old_price}: {reason}, P&L {pnl_amount}"
    ),
    "oversold": _discrepancy("OVERSOLD: {sold} {symbol} were sold, {held} were held"),
    "not_flat": _discrepancy("NOT FLAT: {qty} {symbol} still held; {note}"),
    "unprotected": _discrepancy("{qty} {symbol} have no resting order: {remedy}"),
    "stop_refused": _discrepancy("the stop of {symbol} was refused: {reason}"),
    "order_in_the_way": _discrepancy("{note}"),
    "other_order": _notice("{note}"),
    "order_disowned": _stock("an order of ours was shown as one of another stock ({shown_as})", is_discrepancy=True),
    "orphan_order_cancelled": _stock("an order of ours that belongs to no trade was cancelled"),
    "unlisted_shares": _discrepancy(
        "{symbol}: the positions lack {qty} shares of ours; a stop for them was {answer}"
    ),
}  # fmt: skip
"""From the purchase to the sale."""

HOLDINGS: Final[Mapping[str, Kind]] = {
    "position_recovered": _notice("recovered: {qty} {symbol}, stop {stop}"),
    "recovered_from_broker": _notice("recovered from the broker's orders: {qty} {symbol} at {price}"),
    "position_returned": _notice(
        "{symbol}: {qty} shares of a closed trade are still held, by the orders: it is open again"
    ),
    "position_gone": _discrepancy("{qty} {symbol}: {note}"),
    "positions_disagree": _discrepancy(
        "{symbol}: the log holds {logged}, the broker {held}; no entries until they agree"
    ),
    "stock_disputed": _discrepancy("{symbol} is not clear for minutes ({reason}): {note}"),
    "prices_disagree": _discrepancy("{symbol}: the bar says {bar}, the broker {position}; {note}"),
    "far_fill": _discrepancy("FILL FAR FROM THE PRICE: {side} {qty} {symbol} at {price} ({note})"),
    "far_fill_corrected": _discrepancy("FILL FAR FROM THE PRICE: {side} {qty} {symbol} at {price} ({note})"),
    "far_fill_doubted": _discrepancy("FILL FAR FROM THE PRICE: {side} {qty} {symbol} at {price} ({note})"),
    "fill_time_doubted": _notice("{side} {qty} {symbol} at a doubtful time ({shown}): {note}", is_discrepancy=True),
    "fill_time_corrected": _discrepancy("TIME OF A FILL: {side} {qty} {symbol} at {instead}, shown {shown} ({note})"),
    "quantity_changed": _notice(
        "{symbol}: {old_qty} shares at {old_price} are {new_qty} at {new_price} now ({note})", is_discrepancy=True
    ),
    "symbol_changed": _notice("{old} is {symbol} now: its {qty} shares are still ours"),
    "external_position": _discrepancy("{qty} {symbol} held that this system did not buy: left alone"),
    "external_shares": _notice("{symbol}: {qty} shares beside our {ours}: {note}", is_discrepancy=True),
    "fraction_owned": _notice("{symbol}: {qty} of a share is ours ({note}): it is sold after the whole shares"),
    "fraction_sent": _stock("the order to sell {qty} of a share is sent"),
    "fraction_gone": _notice("{symbol}: the fraction of a share is gone: {note}"),
    "fraction_left": _discrepancy("{symbol}: {qty} of a share cannot be sold and is left: {reason}"),
    "another_trader": _discrepancy("ANOTHER TRADER, {instance}, sent an order at {last_order}: {note}"),
    "taken_over": _notice("the positions of trader {instance}, last order {last_order}, are recovered; {note}"),
}
"""What is held, by the logs and by the broker."""

KINDS: Final[Mapping[str, Kind]] = {**RUN, **DAY, **LEARNING, **ENTRIES, **EXITS, **HOLDINGS}
"""Name of an event -> what it is."""

TROUBLES: Final = frozenset(name for name, kind in KINDS.items() if kind.weight is Weight.TROUBLE)
"""Events that a person wants to know of."""

DISCREPANCIES: Final = frozenset(name for name, kind in KINDS.items() if kind.is_discrepancy)
"""Events in which the broker, the market and the logs do not say the same, or shares are not as they should be."""


def template(event: object, least: Weight = Weight.WRITTEN) -> str:
    """The words of an event with the names of its fields; empty if it has none, is unknown or weighs less."""
    found = KINDS.get(event) if isinstance(event, str) else None
    return found.words if found is not None and found.weight >= least else ""
