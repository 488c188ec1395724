"""Logs of a few minutes, written by the real journal and trade log, for tests of report.py."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from config import Settings
from trading.app.recorded_settings import public
from trading.base.clock import NEW_YORK, SimulatedClock
from trading.base.files import write_json
from trading.records.journal import Journal, new_york_time
from trading.records.trade_log import Trade, TradeLog

if TYPE_CHECKING:
    from pathlib import Path

DAY = date(2018, 3, 26)
STOCKS = ["AAA", "BBB", "CCC", "DDD", "NEW"]


def ny(day: date, clock: str) -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), tzinfo=NEW_YORK)


def prediction(symbol: str, at: datetime, confidence: float, price: float = 10.0, **changes: Any) -> dict[str, Any]:
    bar = at.replace(second=0) - timedelta(minutes=1)
    known = {
        "symbol": symbol, "signal": 1, "confidence": confidence, "price": price, "recommendation": "BUY",
        "meets_threshold": confidence >= 0.65, "timestamp": new_york_time(at), "win_probability": confidence,
        "model_probability": confidence, "bar_time": new_york_time(bar), "stale": False, "model": "20180323_200000",
        "features": [price - 0.01, price + 0.02, price - 0.03, price, 100.0, 10.0, 0.0, 0.0, 0.0, 0.0, 10.0],
    }  # fmt: skip
    return known | changes


def trade(day: date, symbol: str = "AAA", clock: str = "10:32", sold: str | None = "10.40", **changes: Any) -> Trade:
    entry = ny(day, clock)
    decided = entry - timedelta(seconds=58)
    fields: dict[str, Any] = {
        "symbol": symbol, "qty": 5, "entry_price": Decimal("10.01"), "entry_time": entry, "confidence": 0.71,
        "stop_loss": Decimal("9.81"), "take_profit": Decimal("10.42"), "decision_time": decided,
        "decision_price": 10.0, "decision_bid": 9.99, "decision_ask": 10.01, "model": "20180323_200000",
        "exit_price": None if sold is None else Decimal(sold), "exit_reason": None if sold is None else "TAKE_PROFIT",
        "exit_time": None if sold is None else entry + timedelta(minutes=40), "label": "target_first",
        "label_target": 0.005, "label_stop": 0.02, "label_within_minutes": 0, "reached_target_first": True,
        "client_order_id": f"mlt-{day:%Y%m%d}-{symbol}-{decided:%H%M}-entry",
    }  # fmt: skip
    return Trade(**(fields | changes))


def write_day(folder: Path, day: date = DAY, *more: Trade) -> None:
    """One day: at 10:31 AAA is bought, BBB refused, CCC below the threshold, DDD too old, NEW without a bar."""
    clock = SimulatedClock(ny(day, "04:00"))
    journal = Journal(folder, clock)
    journal.event("started", settings=public(Settings()))
    journal.event("day_started", session=str(day), stocks=len(STOCKS), equity=Decimal(100_000), symbols=STOCKS)
    _go(clock, ny(day, "09:30"))
    journal.event("opened", session=str(day), planned=ny(day, "09:30"))
    _go(clock, ny(day, "09:31:02"))
    journal.event("minute", predictions=0, signals=0)
    _go(clock, ny(day, "10:31:02"))
    now = clock.now()
    journal.predictions([
        prediction("AAA", now, 0.71), prediction("BBB", now, 0.68), prediction("CCC", now, 0.4123),
        prediction("DDD", now, 0.7, stale=True, meets_threshold=False, bar_time=new_york_time(ny(day, "10:20"))),
    ])  # fmt: skip
    journal.event("minute", predictions=4, signals=2, best="AAA", best_confidence=0.71)
    own = trade(day)
    journal.commit(
        "entry_intent", symbol="AAA", qty=5, client_order_id=own.client_order_id, stop="9.80", target="10.40",
        confidence=0.71, win_probability=0.7, model=own.model, decision_time=now, decision_price=10.0,
    )  # fmt: skip
    reason = "10 of 10 positions are taken"
    journal.event("not_bought", symbol="BBB", confidence=0.68, price=10.0, rule="positions", reason=reason)
    _go(clock, ny(day, "10:32:02"))
    bought = {"symbol": "AAA", "client_order_id": own.client_order_id, "qty": 5, "price": own.entry_price}
    journal.event("bought", **bought, decision_price=10.0, stop=own.stop_loss, target=own.take_profit)
    journal.predictions([prediction(symbol, clock.now(), 0.3, price=10.1) for symbol in ("AAA", "BBB", "NEW")])
    journal.event("minute", predictions=3, signals=0)
    _go(clock, ny(day, "10:33:02"))
    journal.event("stopped_by_file", note="STOP file found: no orders are sent; resting orders stay")
    _go(clock, ny(day, "13:00:02"))
    journal.event("closed", session=str(day), planned=clock.now())
    journal.close()
    log = TradeLog(folder)
    log.start_day(day)
    for one in (own, *more):
        log.add(one)
    log.save()


def _go(clock: SimulatedClock, instant: datetime) -> None:
    clock.sleep_until(instant)


def mark(folder: Path) -> None:
    """The folder belongs to recorded bars."""
    write_json(folder / "market.json", {"slug": "bars-x", "description": "recorded bars of x", "generated": False})
