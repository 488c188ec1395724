"""Why a trade of the logs and the backtest differ, in words, from the audit, the predictions and the bars."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK, from_ns, to_ns
from trading.market.bars import MINUTE_NS
from trading.reports.against.bars import changed_bars
from trading.reports.against.material import ComparedTrade, Kind, Reason, decided_of, near
from trading.reports.against.sales import sale_reason
from trading.reports.traded.words import price, rule_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from trading.records.trade_log import Trade
    from trading.reports.against.logged_day import LoggedDay
    from trading.reports.against.material import BacktestDay
    from trading.reports.traded.minute_of_decision import MinuteOfDecision

WINDOW: Final = timedelta(minutes=20)
"""Bars that a prediction is made of."""

NEAR: Final = timedelta(minutes=5)
SAME: Final = 1e-9
"""Confidences that differ by less are equal."""

FOLLOWING: Final = frozenset({"positions", "not_owned"})
"""Rules whose refusal depends on the other trades."""

RULE_KINDS: Final[dict[str, Kind]] = {
    "spread": "quote", "same_bar": "late bars", "late_feed": "late bars", "stopped": "control file",
}  # fmt: skip
BLOCK_KINDS: Final[tuple[tuple[str, Kind], ...]] = (
    ("STOP", "control file"), ("FLATTEN", "control file"), ("late", "late bars"), ("no bars", "late bars"),
    ("stopped", "not running"), ("started", "not running"),
)  # fmt: skip
"""Word of a block (`trading.reports.traded.minute_of_decision.BLOCKS`) -> its kind; the others are of the broker."""

OUTCOMES: Final = {
    "entry_refused": "the broker refused the order",
    "entry_not_filled": "its order was not filled",
    "entry_never_arrived": "its order never arrived at the broker",
}


class Reasons:
    """Finds the reason of each difference of one day; what the logs do not explain is "not explained".

    Args:
        logged: the logs of the day.
        backtest: the backtest of the day.
        trades: all trades of the day.
    """

    def __init__(self, logged: LoggedDay, backtest: BacktestDay, trades: Sequence[ComparedTrade]) -> None:
        self._logged = logged
        self._backtest = backtest
        self._trades = trades

    def of(self, one: ComparedTrade) -> Reason:
        """The reason of one difference."""
        if one.live is not None and one.backtest is not None:
            found = self._of_both(one.live, one.backtest)
        elif one.live is not None:
            found = self._of_live(one, one.live)
        else:
            found = self._of_backtest(one)
        return found or self._neighbour(one) or Reason("not explained", "the logs and the bars do not explain it")

    # In both

    def _of_both(self, live: Trade, other: Trade) -> Reason | None:
        return (
            self._by_logs(live)
            or self._by_model(live)
            or self._by_shares(live, other)
            or self._by_entry(live, other)
            or sale_reason(self._logged, self._backtest, live, other)
        )

    def _by_logs(self, live: Trade) -> Reason | None:
        """The audit has another purchase or sale than the trade log."""
        bought = self._logged.of_order(live.client_order_id, "bought")
        sold = self._logged.of_order(live.client_order_id, "sold")
        for record, what, logged in ((bought, "bought", live.entry_price), (sold, "sold", live.exit_price)):
            if record is None or logged is None:
                continue
            audited = _number(record.get("price"))
            if audited is not None and abs(audited - float(logged)) > 1e-6:
                text = f"the trade log says {what} at {price(float(logged))}, the audit {price(audited)}"
                return Reason("logs", text)
        return None

    def _by_model(self, live: Trade) -> Reason | None:
        if not live.model or live.model == self._backtest.model:
            return None
        return Reason("model", f"model {live.model} decided it, {self._backtest.model} served when the session opened")

    def _by_shares(self, live: Trade, other: Trade) -> Reason | None:
        if live.qty == other.qty:
            return None
        intent = self._logged.of_order(live.client_order_id, "entry_intent")
        ordered = None if intent is None else _number(intent.get("qty"))
        if ordered is not None and live.qty < ordered:
            return Reason("parts", f"{live.qty} of {ordered:.0f} shares were filled")
        return Reason("follows", f"{live.qty} shares, not {other.qty}: another equity gives another size")

    def _by_entry(self, live: Trade, other: Trade) -> Reason | None:
        if live.entry_price == other.entry_price:
            return None
        decided = decided_of(live)
        moved = f"bought at {price(float(live.entry_price))}, in the backtest at {price(float(other.entry_price))}"
        if found := self._bars_of_decision(live.symbol, decided):
            return Reason(found.kind, f"{moved}: {found.text}")
        later = _seconds(other.decision_time, live.decision_time)
        if abs(later) >= 0.5:
            when = f"{abs(later):.0f} s {'later' if later > 0 else 'earlier'}"
            return Reason("late bars", f"{moved}: decided {when}{self._waited(decided)}")
        if self._backtest.draws_behaviour:
            return Reason("fill", moved)
        minute = decided, decided + timedelta(minutes=1)
        found = changed_bars(self._logged, self._backtest, live.symbol, *minute)
        return None if found is None else Reason(found.kind, f"{moved}: {found.text}")

    def _waited(self, decided: datetime) -> str:
        event = self._logged.minute_event(decided) or {}
        seconds = _number(event.get("bars_after_seconds"))
        return "" if seconds is None else f", because bars came {seconds:.0f} s after the minute"

    # Only live

    def _of_live(self, one: ComparedTrade, live: Trade) -> Reason | None:
        backtest = self._backtest
        if one.symbol not in backtest.universe:
            return Reason("universe", "it is not among the stocks that data/ gives for the day")
        if found := self._by_model(live) or self._bars_of_decision(one.symbol, one.decided):
            return found
        said = backtest.confidence(one.symbol, one.decided)
        if said is None:
            return Reason("bars", "the backtest has no prediction then: data/ lacks bars of its 20 minutes")
        if abs(said - live.confidence) > SAME:
            return self._other_confidence(one, live.confidence, said)
        held = [trade for trade in backtest.open_at(one.decided) if trade.symbol == one.symbol]
        if held:
            bought = f"{decided_of(held[0]).astimezone(NEW_YORK):%H:%M}"
            return Reason("follows", f"the backtest still held it, from its purchase of {bought}")
        if backtest.taken_at(one.decided) >= backtest.most_positions:
            return Reason("follows", f"all {backtest.most_positions} positions of the backtest were taken")
        return None

    # Only in the backtest

    def _of_backtest(self, one: ComparedTrade) -> Reason | None:
        logged = self._logged
        if logged.stocks and one.symbol not in logged.stocks:
            return Reason("universe", f"it was not among the {len(logged.stocks)} stocks that the trader chose")
        found = logged.minute(one.symbol, one.decided)
        if reason := self._by_order(found):
            return reason
        if found.refusal is not None:
            return _refused(found)
        said = logged.said(one.symbol, one.decided)
        if found.blocked and said is None:
            return _blocked(found.blocked)
        if said is None:
            return self._without_prediction(one, found)
        confidence, stale, start = said
        if stale or start < to_ns(one.decided) - MINUTE_NS:
            newest = f"{from_ns(start).astimezone(NEW_YORK):%H:%M}"
            return Reason("late bars", f"the newest bar that the trader had was of {newest}")
        if bars := self._bars_of_decision(one.symbol, one.decided):
            return bars
        other = self._backtest.confidence(one.symbol, one.decided)
        if other is not None and abs(other - confidence) > SAME:
            return self._other_confidence(one, confidence, other)
        return _blocked(found.blocked) if found.blocked else None

    def _by_order(self, found: MinuteOfDecision) -> Reason | None:
        """The trader did order it."""
        if found.intent is None:
            return None
        outcome = found.outcome or {}
        event = str(outcome.get("event"))
        if event == "bought":
            paid = _number(outcome.get("price"))
            at = "" if paid is None else f" at {price(paid)}"
            return Reason("logs", f"the audit has it as bought{at}; the trade log lacks it")
        why = OUTCOMES.get(event, "the logs do not say what became of its order")
        more = str(outcome.get("reason") or outcome.get("status") or "")[:120]
        return Reason("not filled", f"{why} ({more})" if more else why)

    def _without_prediction(self, one: ComparedTrade, found: MinuteOfDecision) -> Reason:
        if self._logged.predicted(one.decided):
            bar = f"{(one.decided - timedelta(minutes=1)).astimezone(NEW_YORK):%H:%M}"
            late = (one.symbol, to_ns(one.decided) - MINUTE_NS) in self._logged.changed
            after = ", which came after the decision" if late else ""
            return Reason(
                "late bars", f"the trader had no prediction of it: its bars up to {bar} were not all there{after}"
            )
        if found.empty_minute:
            return Reason("late bars", "no stock had a prediction in that minute")
        return Reason("not running", "the trader decided nothing in that minute")

    # Bars

    def _bars_of_decision(self, symbol: str, decided: datetime) -> Reason | None:
        return changed_bars(self._logged, self._backtest, symbol, decided - WINDOW, decided)

    def _other_confidence(self, one: ComparedTrade, live: float, backtest: float) -> Reason:
        words = f"confidence {live:.4f}, in the backtest {backtest:.4f}"
        begin, end = to_ns(one.decided - WINDOW), to_ns(one.decided)
        changed = [start for symbol, start in self._logged.changed if symbol == one.symbol and begin <= start < end]
        if changed:
            bar = f"{from_ns(min(changed)).astimezone(NEW_YORK):%H:%M}"
            return Reason("late bars", f"{words}: its bar of {bar} came late or was changed")
        return Reason("bars", f"{words}: the bars before the decision, or their volumes, differ")

    def _neighbour(self, one: ComparedTrade) -> Reason | None:
        other = near(self._trades, one, NEAR)
        if other is None:
            return None
        side = "the backtest" if one.backtest is None else "the trader"
        return Reason("follows", f"{side} bought it at {other.decided.astimezone(NEW_YORK):%H:%M} instead")


def _refused(found: MinuteOfDecision) -> Reason:
    rule = str((found.refusal or {}).get("rule"))
    kind: Kind = "follows" if rule in FOLLOWING else RULE_KINDS.get(rule, "guard")
    return Reason(kind, rule_in_words(found.refusal or {}))


def _blocked(text: str) -> Reason:
    for word, kind in BLOCK_KINDS:
        if word in text:
            return Reason(kind, text)
    return Reason("guard", text)


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _seconds(first: datetime | None, last: datetime | None) -> float:
    return 0.0 if first is None or last is None else (last - first).total_seconds()
