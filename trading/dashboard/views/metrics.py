"""The figures of `/metrics`, in the format of Prometheus."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from trading.base.clock import NEW_YORK
from trading.dashboard.results.account import account
from trading.dashboard.views.health import free_space
from trading.records.events.kinds import TROUBLES

if TYPE_CHECKING:
    from trading.dashboard.state.live import Live

MOST_KINDS: Final = 50
"""Kinds of replies and discrepancies that get a label each."""


def metrics(live: Live) -> bytes:
    """All figures that the files have now; one that is not known is left out."""
    registry = CollectorRegistry()
    found, beat, audit = account(live), live.heartbeat, live.audit
    gauges: list[tuple[str, str, float | None]] = [
        ("equity_dollars", "Equity of the account.", found.equity),
        ("pnl_dollars", "Profit and loss of the newest day, booked and open.", found.booked + found.open_pnl),
        ("open_positions", "Positions that are held.", float(len(live.open_trades))),
        ("trades_closed", "Trades that were sold on the newest day.", float(found.closed)),
        ("orders_in_flight", "Orders without an outcome yet.", float(len(audit.entries) + len(audit.exits))),
        ("discrepancies_open", "Discrepancies of the newest day that have not ended.",
         float(sum(1 for one in audit.discrepancies if not one.ended))),
        ("ticks_skipped", "Ticks skipped.", float(audit.ticks_skipped if beat is None else beat.ticks_skipped)),
        ("bar_lag_seconds", "Seconds after the minute until its bars were there.", _lag(live)),
        ("retrain_seconds", "How long the newest retraining took, by the run's clock.", _retrain_seconds(live)),
        ("model_age_seconds", "Age of the model in service, by the run's clock.", _model_age(live)),
        ("stop_file", "Whether STOP or FLATTEN is there.", float(live.controls.stop or live.controls.flatten)),
    ]  # fmt: skip
    disk = free_space(live.places.logs)
    gauges.append(("disk_free_bytes", "Free bytes on the disk of the logs.", None if disk is None else float(disk[0])))
    if beat is not None:
        gauges += [
            ("heartbeat_age_seconds", "Age of the sign of life, by this machine's clock.", beat.age(live.read_at)),
            ("up", "Whether the trader lives.", float(beat.is_alive(live.read_at))),
            ("tick_seconds", "How long the newest minute took.", beat.tick_seconds),
            ("request_seconds", "How long a request took, median of the newest.", beat.request_seconds),
            ("longest_request_seconds", "The longest of the newest requests.", beat.longest_request_seconds),
            ("clock_offset_seconds", "This machine's clock minus the broker's.", beat.clock_offset_seconds),
            ("memory_bytes", "Resident memory of the trader.",
             None if beat.memory_mb is None else beat.memory_mb * 1e6),
        ]  # fmt: skip
    for name, what, value in gauges:
        if value is not None:
            Gauge(f"trader_{name}", what, registry=registry).set(value)
    _counters(live, registry)
    return generate_latest(registry)


def _counters(live: Live, registry: CollectorRegistry) -> None:
    requests = Counter("trader_requests", "Replies of the broker since the start.", ["status"], registry=registry)
    if live.heartbeat is not None:
        for kind, n in sorted(live.heartbeat.requests.items())[:MOST_KINDS]:
            requests.labels(kind).inc(n)
    seen = Counter("trader_discrepancies", "Discrepancies of the newest day by event.", ["event"], registry=registry)
    for one in live.audit.discrepancies:
        seen.labels(one.event).inc()
    troubles = Counter("trader_troubles", "Troubles of the newest day by event.", ["event"], registry=registry)
    for event in sorted(TROUBLES & live.audit.counts.keys()):
        troubles.labels(event).inc(live.audit.counts[event])


def _lag(live: Live) -> float | None:
    found = live.audit.minute.get("bars_after_seconds") if live.heartbeat is None else live.heartbeat.bars_after_seconds
    return float(found) if isinstance(found, int | float) else None


def _retrain_seconds(live: Live) -> float | None:
    """From the audit's `retrain` to its `model_trained`; None before the evening of the newest day."""
    begun, done = live.audit.retrain_begun, live.audit.retrain_done
    if not begun or not done:
        return None
    try:
        seconds = (datetime.fromisoformat(done) - datetime.fromisoformat(begun)).total_seconds()
    except (ValueError, TypeError):
        return None
    return seconds if seconds >= 0.0 else None


def _model_age(live: Live) -> float | None:
    try:
        made = datetime.strptime(live.model, "%Y%m%d_%H%M%S").replace(tzinfo=NEW_YORK)
    except ValueError:
        return None
    return max(0.0, (live.now - made).total_seconds())
