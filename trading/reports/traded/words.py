"""The verdict of a report in plain words, and the names of its figures."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from trading.base.clock import NEW_YORK, from_ns
from trading.learning.session_statistics import above, below
from trading.performance.intervals import MIN_SESSIONS
from trading.performance.universe import against_universe
from trading.reports.live import APART, DIRECTION
from trading.reports.page import GENERATED, NONE, counted, per_cent, sentence, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.performance.figures import Performance
    from trading.performance.universe import AgainstUniverse
    from trading.records.trade import Trade
    from trading.reports.traded.material import Material

RULES: Final = {
    "paused": "the file PAUSED", "stopped": "the file STOP",
    "confidence": "the threshold", "market_open": "the hours of the market", "price": "the price band",
    "not_owned": "one position in a stock", "positions": "the most positions at once", "size": "the size of a position",
    "buying_power": "the buying power", "daily_loss": "the loss of a day", "cool_down": "the pause after a stop",
    "losing_run": "losses in a row", "spread": "the widest spread", "same_bar": "one decision per bar",
    "late_feed": "bars in time",
    "account": "the state of the account", "one_trader": "one trader for an account",
    "discrepancy": "agreement with the broker", "journal": "a written audit", "other_order": "orders of others",
}  # fmt: skip
"""Name of a rule in the audit -> what it is about."""

SALES: Final = {"TAKE_PROFIT": "at its target", "STOP_LOSS": "at its stop", "END_OF_DAY": "before the close"}
"""Reason of a sale -> its words."""

MOST_DAYS: Final = 3
"""Days without readable trades that a sentence names."""

MOST_CARRIED: Final = 5
"""Trades bought or sold outside the range that a sentence names."""

BACKTEST: Final = "These are the trades of a backtest: nothing was traded."
CUT_OFF: Final = " The backtest was cut off, or still runs: sessions at its end are missing."


def dollars(value: float | Decimal, sign: bool = True) -> str:
    """`+$1,234.50`; without `sign`, only a minus is shown."""
    exact = round(Decimal(str(value)), 6)  # half a cent is rounded as the console rounds its Decimals
    mark = "-" if round(exact, 2) < 0 else "+" if sign else ""
    return f"{mark}${abs(exact):,.2f}"


def price(value: float | Decimal) -> str:
    """A share's price as it is quoted: cents; below a dollar, and between two cents, hundredths of a cent."""
    value = float(value)
    return f"${value:,.{2 if value >= 1 and abs(value * 100 - round(value * 100)) < 1e-6 else 4}f}"


def moment(ns: int | None) -> str:
    """An instant in New York time, to the minute."""
    return NONE if ns is None else f"{from_ns(ns).astimezone(NEW_YORK):%Y-%m-%d %H:%M}"


def period(material: Material) -> str:
    """The range of the report: `3 sessions, 2018-03-26 to 2018-03-28`."""
    days = material.days
    if not days:
        return "no session"
    if len(days) == 1:
        return f"1 session, {days[0]}"
    return f"{counted(len(days), 'session')}, {days[0]} to {days[-1]}"


def verdict(material: Material) -> list[str]:
    """What happened, whether it can be luck, what it is worth beside doing nothing clever, and what it does not say."""
    return [*_some(_of_backtest(material)), *_verdict(material)]


def _of_backtest(material: Material) -> str:
    if not material.backtest:
        return ""
    return f"{BACKTEST}{CUT_OFF if material.cut_off else ''}"


def _verdict(material: Material) -> list[str]:
    found = material.after_cost
    unread = _unread(material)
    if not found.trades and unread:
        return [f"What was earned or lost in this range cannot be said: {unread}.", *_some(not_counted(material))]
    if not found.trades:
        nothing = f"Nothing was sold in this range ({period(material)}), so nothing was earned or lost."
        return [nothing, *_some(not_counted(material))]
    booked = material.booked
    direction = "earned" if found.result > 0.005 else "lost" if found.result < -0.005 else "came out even at"
    if material.backtest:
        direction = f"would have {direction.replace('came', 'come')}"
    in_all = " in all" if found.trades > 1 else ""
    lines = [
        f"After the assumed cost of buying and selling, {counted(found.trades, 'trade')} {direction} "
        f"{dollars(abs(found.result), sign=False)}{in_all}. {_mean(found)} "
        f"{sentence(booked_in_words(material.backtest))} {dollars(booked.result)}.",
        *_some(f"Missing in all figures: {unread}." if unread else ""),
        luck(found),
    ]
    lines += _some(carried_in(material))
    if compared := universe_in_words(against_universe(material.closed, material.universe), len(material.days)):
        lines.append(compared)
    if calibrated := came_true(material):
        lines.append(calibrated)
    if material.generated:
        lines.append(GENERATED)
    return [*lines, *_some(not_counted(material)), DIRECTION]


def _mean(found: Performance) -> str:
    """What a trade brought on average in per cent of its price, and why that may have another sign than the dollars."""
    each = found.expectancy_pct["value"] or 0.0
    if found.trades == 1:
        return f"That is {per_cent(each)} of its price."
    words = f"A trade brought {per_cent(each)} of its price, on average"
    if round(each, 2) * round(found.result, 2) < 0.0:
        return f"{words}; the sum of dollars has another sign because dearer shares weigh more in it."
    return f"{words}."


def booked_in_words(backtest: bool) -> str:
    """Who booked the results, as the subject of a sentence begins and goes on."""
    return "the backtest booked" if backtest else "the account booked"


def rule_in_words(refusal: dict[str, Any]) -> str:
    """A refusal of the audit: `10 of 10 positions are taken (the rule for the most positions at once)`."""
    rule, reason = str(refusal.get("rule")), str(refusal.get("reason", ""))[:160]
    return f"{reason} (the rule for {RULES.get(rule, rule)})"


def _some(text: str) -> list[str]:
    return [text] if text else []


def _unread(material: Material) -> str:
    """Which trades cannot be read; empty if all can."""
    days = [str(day) for day in material.unreadable]
    more = f" and {len(days) - MOST_DAYS} other days" if len(days) > MOST_DAYS else ""
    parts = [f"the trades of {', '.join(days[:MOST_DAYS])}{more}"] if days else []
    if material.left_out:
        parts.append(f"{counted(material.left_out, 'other trade' if days else 'trade')}")
    return f"{' and '.join(parts)} cannot be read" if parts else ""


def not_counted(material: Material) -> str:
    """Trades that are in no figure: still open, sold after the range, or ended without a known price."""
    still, lost = len(material.still_open), sum(_is_lost(trade) for trade in material.trades)
    later = material.carried_out
    parts = [f"{counted(still, 'position')} still open"] if still else []
    parts += [f"{counted(len(later), 'position')} sold after this range ({_carried(later, 'sold')})"] if later else []
    parts += [f"{counted(lost, 'trade')} that ended without a known price"] if lost else []
    return f"Not counted: {' and '.join(parts)}." if parts else ""


def _is_lost(trade: Trade) -> bool:
    return not trade.is_open and trade.exit_price is None


def carried_in(material: Material) -> str:
    """Trades that count although they were bought before the range."""
    found = [trade for trade in material.carried_in if not _is_lost(trade)]
    if not found:
        return ""
    was = "1 trade was" if len(found) == 1 else f"{len(found):,} of these trades were"
    return f"{was} bought before this range and sold in it ({_carried(found, 'bought')})."


def _carried(trades: Sequence[Trade], side: Literal["bought", "sold"]) -> str:
    """`CHK, bought 2018-03-27; F, bought 2018-03-26; and 3 others`."""
    days = [trade.day if side == "bought" else trade.exit_day for trade in trades]
    named = [f"{trade.symbol}, {side} {day}" for trade, day in zip(trades, days, strict=True)][:MOST_CARRIED]
    more = len(trades) - len(named)
    return "; ".join([*named, *([f"and {counted(more, 'other')}"] if more else [])])


def luck(found: Performance) -> str:
    """Whether the mean result of a trade can be luck."""
    figure = found.expectancy_pct
    if found.sessions >= MIN_SESSIONS and figure["low"] is None:
        return "Whether that is luck cannot be said: too few of the sessions had a sale for an interval."
    if figure["low"] is None:
        have = counted(found.sessions, "session")
        return f"Whether that is luck cannot be said: {have} of the {MIN_SESSIONS} that a bootstrap interval needs."
    low, high = per_cent(figure["low"]), per_cent(figure["high"])
    range_ = f"The 95% interval of a trade's result is {low} to {high}"
    if below(figure, 0.0):
        return f"{range_}: a loss that luck alone does not explain."
    if above(figure, 0.0):
        return f"{range_}: above zero. Luck alone would rarely bring that, but many ranges and settings may be tried."
    return f"{range_}, which includes zero: no evidence of profit."


def universe_in_words(found: AgainstUniverse | None, sessions: int) -> str:
    """The trades beside buying every stock in the morning; empty without trades to compare.

    Args:
        sessions: of the range, of which fewer may be compared.
    """
    if found is None:
        return ""
    compared = counted(found.sessions, "session")
    own = "these trades" if found.trades > 1 else "the trade"
    of = f" of the {sessions}" if found.sessions < sessions else ""
    return (
        f"Buying every stock of the day in the morning and selling it before the close would have brought "
        f"{per_cent(found.held['value'])} each after cost on {compared}{of}; {own} brought "
        f"{per_cent(found.own['value'])}. {_difference(found)}"
    )


def _difference(found: AgainstUniverse) -> str:
    """Whether the trades differ from holding the universe beyond luck."""
    figure = found.difference
    if figure["low"] is None or figure["high"] is None:
        needed = f"an interval needs {MIN_SESSIONS} sessions" if found.sessions < MIN_SESSIONS else "it has no interval"
        return f"The difference is {per_cent(figure['value'])}; {needed}."
    range_ = f"{per_cent(figure['low'])} to {per_cent(figure['high'])}"
    said = f"The difference is {per_cent(figure['value'])}, its 95% interval {range_}"
    if above(figure, 0.0):
        return f"{said}: the trades did better than the universe."
    if below(figure, 0.0):
        return f"{said}: the trades did worse than the universe."
    return f"{said}, which includes zero: the choice of the trades is not shown to be worth anything."


def came_true(material: Material) -> str:
    """`The mean confidence was 70.2%, and 68.1% came true (of 64 trades: ...)`."""
    found = material.live["all_models"]["comes_true"]
    if not found:
        return ""
    whole = found[-1]
    return (
        f"The mean confidence was {share(whole['said'])}, and {share(whole['share'])} came true "
        f"(of {counted(whole['trades'], 'trade')}: {material.live['question']}). {APART}"
    )


def seldom(value: float | None, sessions: int, text: str) -> str:
    """A yearly ratio; in few sessions it says nothing and is not shown."""
    if sessions < MIN_SESSIONS:
        return f"needs {MIN_SESSIONS} sessions"
    return NONE if value is None else text
