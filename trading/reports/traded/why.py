"""`report.py --why SYMBOL TIME`: why a stock was bought, or not, in words, from the audit and the predictions alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from trading.base.calendar import at
from trading.base.clock import NEW_YORK, YEARS
from trading.base.errors import UserError
from trading.reports.traded import minute_of_decision as minutes
from trading.reports.traded.minute_of_decision import MinuteOfDecision
from trading.reports.traded.words import SALES, dollars, price, rule_in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from config import Settings
    from trading.base.calendar import MarketCalendar
    from trading.records.log_reader import LogReader
    from trading.records.trade_log import Trade

Kind = Literal[
    "bought", "not_filled", "refused", "below_threshold", "too_old", "no_prediction", "closed", "stopped", "no_minute",
    "not_considered",
]  # fmt: skip
"""What happened at the minute that was asked about."""

SATURDAY: Final = 5
TIME: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::[0-5][0-9])?")


@dataclass(frozen=True)
class Question:
    """A stock and a minute, New York time.

    Attributes:
        day: None for the newest day that has the stock; if none has it, for the newest day.
    """

    symbol: str
    minute: time
    day: date | None

    @classmethod
    def of(cls, symbol: str, text: str, day: date | None) -> Question:
        """Parse the arguments; an instant with its offset names its own day.

        Raises:
            UserError: the time cannot be read, or contradicts the day.
        """
        symbol = symbol.strip().upper()
        if not re.fullmatch(r"[A-Z][A-Z0-9.\-/]{0,14}", symbol):
            raise UserError(f"--why: {symbol[:20]!r} is no symbol; write it as AMD")
        if (found := TIME.fullmatch(text.strip())) and int(found[1]) < 24 and int(found[2]) < 60:
            if day is not None:
                _check_year(day.year, str(day))
            return cls(symbol, time(int(found[1]), int(found[2])), day)
        try:
            instant = datetime.fromisoformat(text.strip())
        except ValueError:
            raise UserError(f"--why: {text[:30]!r} is no time; write it as 10:31, New York time") from None
        _check_year(instant.year, text[:40])
        local = (instant if instant.tzinfo else instant.replace(tzinfo=NEW_YORK)).astimezone(NEW_YORK)
        if day is not None and day != local.date():
            raise UserError(f"--why: {text} lies on {local.date()} in New York, --date is {day}; leave one of them out")
        return cls(symbol, time(local.hour, local.minute), local.date())


def _check_year(year: int, text: str) -> None:
    if year not in YEARS:
        raise UserError(f"--why: {text} lies outside the calendar, which has the years {YEARS[0]} to {YEARS[-1]}")


@dataclass(frozen=True)
class Answer:
    """What happened, in words; `facts` are the records that it is taken from."""

    kind: Kind
    symbol: str
    day: date
    minute: time
    lines: list[str]
    facts: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return {
            "kind": self.kind, "symbol": self.symbol, "day": str(self.day), "time": f"{self.minute:%H:%M}",
            "answer": self.lines, "facts": self.facts,
        }  # fmt: skip


def answer(
    question: Question,
    reader: LogReader,
    calendar: MarketCalendar,
    settings_of: Callable[[date], Settings],
    now: datetime | None = None,
) -> Answer:
    """Answer a question.

    Args:
        settings_of: the settings in force on a day.
        now: the time; a later minute has no answer yet.  None: no minute is taken for a later one.

    Raises:
        UserError: the day has no log.
    """
    day = question.day or _newest_with(question.symbol, reader) or reader.days()[-1]
    instant = at(day, question.minute)
    said = f"{question.symbol} at {question.minute:%H:%M} New York time on {day}"

    def told(kind: Kind, *lines: str, **facts: Any) -> Answer:
        return Answer(kind, question.symbol, day, question.minute, [f"{said}: {lines[0]}", *lines[1:]], facts)

    if now is not None and day > now.astimezone(NEW_YORK).date():
        return told("no_minute", "that day has not come yet.")
    if not calendar.is_session(day):
        why = f"{day:%A}" if day.weekday() >= SATURDAY else f"{day:%A}, a holiday"
        return told("closed", f"the market was closed all day ({why}); nothing is decided then.")
    session = calendar.session(day)
    if not session.open <= instant < session.close:
        begin, end = (f"{one.astimezone(NEW_YORK):%H:%M}" for one in (session.open, session.close))
        was = "is" if now is not None and instant > now else "was"
        return told("closed", f"the market {was} closed; that session {was} {begin} to {end}.")
    if now is not None and instant > now:
        return told("no_minute", "that minute has not come yet.")
    if day not in reader.days():
        known = reader.days()
        raise UserError(f"{reader.folder} has no log of {day}; it has {known[0]} to {known[-1]}: name one with --date")
    found = minutes.read(question.symbol, day, question.minute, reader)
    if not found.is_known and question.symbol not in found.stocks:
        return told("not_considered", *_not_considered(found, question.symbol))
    settings = settings_of(day)
    held = _held(found.trades, instant)
    if found.intent is not None:
        return told(*_bought(found), intent=found.intent, outcome=found.outcome, prediction=found.prediction)
    if (trade := _decided_then(found.trades, instant)) is not None:  # the audit of that minute is missing
        return told("bought", *_by_trade(trade), prediction=found.prediction)
    if found.refusal is not None:
        reason = f"not bought: {rule_in_words(found.refusal)}."
        lines = [reason, *_standing(found, settings.prediction.MIN_CONFIDENCE), *held]
        return told("refused", *lines, refusal=found.refusal, prediction=found.prediction)
    if found.prediction is not None:
        return told(*_by_prediction(found, settings, held), prediction=found.prediction)
    flatten = session.flatten_at(settings.exits.FLATTEN_MINUTES_BEFORE_CLOSE)
    if instant >= flatten:
        since = f"{flatten.astimezone(NEW_YORK):%H:%M}"
        return told("stopped", f"nothing is bought from {since} on: positions are sold before the close.", *held)
    if found.predictions:
        return told("no_prediction", *_without_a_bar(found, instant), *held)
    return told(*_no_minute(found, f"{day}T{question.minute:%H:%M}"), *held)


def _newest_with(symbol: str, reader: LogReader) -> date | None:
    """The newest day on which the stock was considered, by the start of the day, its trades or its predictions."""
    named = f'"{symbol}"'.encode()
    with_audit = set(reader.days("audit"))
    for day in reversed(reader.days()):
        if day in with_audit and not reader.audit_has(day, b'"event":"day_started"'):
            with_audit.discard(day)
        if day in with_audit and not reader.audit_has(day, named):
            continue
        started = list(reader.audit(day, lambda line: b'"event":"day_started"' in line[:120]))
        if any(symbol in (record.get("symbols") or ()) for record in started):
            return day
        if started:
            continue
        if next(iter(reader.predictions(day, lambda line: named in line)), None) is not None:
            return day
        if any(trade.symbol == symbol for trade in reader.trades([day])):
            return day
    return None


def _not_considered(found: MinuteOfDecision, symbol: str) -> list[str]:
    if found.stocks:
        return [f"it was not among the {len(found.stocks)} stocks of that day, so nothing was decided about it."]
    return ["no log of that day has it, and none says which stocks were considered."]


def _bought(found: MinuteOfDecision) -> tuple[Any, ...]:
    """Kind and lines of an entry that was decided."""
    intent, outcome = found.intent or {}, found.outcome or {}
    decided = (
        f"decided at {str(intent['decision_time'])[11:19]} with confidence {float(intent['confidence']):.4f} at "
        f"{price(float(intent['decision_price']))}, planned stop {price(float(intent['stop']))}, target "
        f"{price(float(intent['target']))}, by model {intent['model']}"
    )
    rank = _rank(found)
    if outcome.get("event") != "bought":
        why = {
            "entry_refused": f"the broker refused the order ({outcome.get('reason', '')})",
            "entry_not_filled": f"its order was not filled ({outcome.get('status', 'ended')})",
            "entry_never_arrived": "its order never arrived at the broker",
        }.get(str(outcome.get("event")), "the logs do not say what became of its order")
        return "not_filled", f"it was to be bought, but {why}.", _sentence(decided), *rank
    lines = [
        f"bought {outcome['qty']} at {price(float(outcome['price']))}.",
        _sentence(decided),
        *rank,
    ]
    name = intent.get("client_order_id")
    trade = next((one for one in found.trades if one.client_order_id == name), None)
    if trade is not None:
        lines += [*_levels_after_the_fill(intent, trade), _fate(trade)]
    return "bought", *lines


def _levels_after_the_fill(intent: dict[str, Any], trade: Trade) -> list[str]:
    """The stop and the target of the trade where they differ from those planned: they follow the price of the fill."""
    planned = (price(float(intent["stop"])), price(float(intent["target"])))
    stop, target = price(float(trade.stop_loss)), price(float(trade.take_profit))
    return [] if (stop, target) == planned else [f"In force after the fill: stop {stop}, target {target}."]


def _decided_then(trades: list[Trade], instant: datetime) -> Trade | None:
    """The trade that was decided in a minute."""
    for trade in trades:
        decided = trade.decision_time
        if decided is not None and instant <= decided < instant + timedelta(minutes=1):
            return trade
    return None


def _by_trade(trade: Trade) -> list[str]:
    """An entry in the words of its trade alone."""
    lines = [f"bought {trade.qty} at {price(float(trade.entry_price))}; the audit has no record of the decision."]
    lines.append(
        f"Confidence {trade.confidence:.4f}, stop {price(float(trade.stop_loss))}, target "
        f"{price(float(trade.take_profit))}, by model {trade.model or 'not known'}."
    )
    return [*lines, _fate(trade)]


def _fate(trade: Trade) -> str:
    if trade.exit_time is None:
        return "It is still held, by the trade log."
    later = "" if trade.exit_day == trade.day else f" on {trade.exit_day}"
    at_ = f"{trade.exit_time.astimezone(NEW_YORK):%H:%M:%S}{later}"
    if trade.exit_price is None or trade.pnl_amount is None:
        return f"It ended at {at_} without a known price ({trade.exit_reason})."
    return (
        f"Sold at {at_} for {price(float(trade.exit_price))}"
        f"{f' {SALES[trade.exit_reason]}' if trade.exit_reason in SALES else ''} ({trade.exit_reason}): "
        f"{dollars(float(trade.pnl_amount))} booked{_doubt(trade)}."
    )


def _doubt(trade: Trade) -> str:
    """What is said of a price that no order tells."""
    source = trade.exit_price_source
    return "" if source is None else f", an estimate by the {source}: no order tells it"


def _standing(found: MinuteOfDecision, threshold: float) -> list[str]:
    """Confidence and rank of the prediction of the minute."""
    if found.prediction is None:
        return []
    confidence = float(found.prediction["confidence"])
    return [f"Its confidence was {confidence:.4f}, the threshold {threshold:g}.", *_rank(found)]


def _rank(found: MinuteOfDecision) -> list[str]:
    if found.prediction is None or not found.rank:
        return []
    best = "" if found.rank == 1 else f"; the most confident was {found.best[0]} with {found.best[1]:.4f}"
    return [f"It ranked {found.rank} of {found.predictions} predictions of that minute{best}."]


def _by_prediction(found: MinuteOfDecision, settings: Settings, held: list[str]) -> tuple[Any, ...]:
    """Kind and lines where a prediction was made and no rule spoke."""
    one, threshold = found.prediction or {}, settings.prediction.MIN_CONFIDENCE
    confidence = float(one["confidence"])
    if one.get("stale") is True:
        bar = str(one["bar_time"])[11:16]
        most = settings.prediction.MAX_BAR_AGE_SECONDS
        text = f"not bought: its newest bar was of {bar}, older than the {most} s that are allowed."
        return "too_old", text, *_standing(found, threshold), *held
    if one.get("meets_threshold") is not True:
        text = f"not bought: its confidence {confidence:.4f} was under the threshold {threshold:g}."
        return "below_threshold", text, *_rank(found), *held
    blocked = found.blocked or "the logs do not say why"
    return "refused", f"it reached the threshold and was not bought: {blocked}.", *_standing(found, threshold), *held


def _without_a_bar(found: MinuteOfDecision, instant: datetime) -> list[str]:
    """Why a stock had no prediction in a minute that has others."""
    first = f"no prediction was made, so it could not be bought; {found.predictions} other stocks had one."
    if found.held_only:
        return [first, "It was held, but not picked for that day: its bars are followed, and it is not bought again."]
    if found.no_profile:
        return [first, "Bars of the sessions before were missing, so its features could not be computed that day."]
    if found.first_seen is None:
        return [first, "It had no prediction on that day: fewer than 20 minutes of bars were there."]
    if instant < found.first_seen:
        seen = f"{found.first_seen.astimezone(NEW_YORK):%H:%M}"
        return [first, f"A prediction needs 20 minutes of bars; the first one of that day was at {seen}."]
    return [first, "Its window of 20 minutes had no bar."]


def _no_minute(found: MinuteOfDecision, when: str) -> tuple[Any, ...]:
    """Kind and lines where nothing was decided in the whole minute, `when`."""
    if found.blocked:
        return "stopped", f"nothing was decided in that minute: {found.blocked}."
    if found.empty_minute:
        return "no_prediction", "no stock had a prediction yet: each needs 20 minutes of bars."
    if not found.newest:
        return "no_minute", "nothing was decided in that minute; the audit of that day is missing, so why is not known."
    if found.newest < when:
        return "no_minute", f"nothing is known of that minute: the audit of that day ends at {found.newest[11:]}."
    return "no_minute", "nothing was decided in that minute, and the audit does not say why: the trader did not run."


def _held(trades: list[Trade], instant: datetime) -> list[str]:
    for trade in trades:
        if trade.entry_time <= instant and (trade.exit_time is None or instant < trade.exit_time):
            bought = f"{trade.entry_time.astimezone(NEW_YORK):%H:%M}"
            return [f"It was held then: bought at {bought} for {price(float(trade.entry_price))}. {_fate(trade)}"]
    return []


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
