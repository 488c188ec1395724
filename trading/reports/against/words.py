"""The verdict of the comparison of live trades with a backtest, in plain words, and its JSON."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from trading.reports.against.material import KINDS, ComparedTrade, pnl_of
from trading.reports.page import GENERATED, counted, share
from trading.reports.traded.words import dollars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.records.trade_log import Trade
    from trading.reports.against.material import ComparedDay, Comparison, Kind

BELIEVABLE: Final = 0.95
"""Share of the trades in both, from which on the backtest makes nearly the same trades."""

EQUAL: Final = 0.9
"""Share of the live trades that are equal in the backtest, from which on its results can be believed."""


def verdict(found: Comparison) -> list[str]:
    """Whether a backtest of these days can be believed, the sums, the reasons, and what was not compared."""
    lines = [*_verdict(found), *_left_out(found)]
    if found.generated:
        lines.append(GENERATED)
    return [*lines, *found.notes]


def _verdict(found: Comparison) -> list[str]:
    trades = found.trades
    if not found.days:
        return ["Live trades and a backtest cannot be compared: no day of this range can be backtested."]
    live, backtest = total_pnl(trades, "live"), total_pnl(trades, "backtest")
    if not trades:
        return [f"Nothing was traded on {_days(found)}, neither live nor in the backtest: they agree."]
    ours, both = [one for one in trades if one.live], [one for one in trades if one.in_both]
    equal = sum(one.is_equal for one in both)
    sums = f"P&L {dollars(float(live))} live and {dollars(float(backtest))} in the backtest"
    if equal == len(trades):
        return [
            f"The backtest trades what was traded: all {counted(len(ours), 'live trade')} of {_days(found)} are in the "
            f"backtest with the same shares, prices and reason of the sale, and it has no other. {sums}: $0.00 apart "
            "on every day."
        ]
    head = _headline(found, ours, both)
    alone = sum(one.live is None for one in trades)
    same = f"{equal} ({share(equal / len(ours), 0)})" if ours else str(equal)
    by_day = dollars(float(total_apart(found)), sign=False)
    lines = [
        head,
        f"Of {counted(len(ours), 'live trade')} on {_days(found)}, {len(both)} are in the backtest, and {same} "
        "have the same shares, prices and reason of the sale there. "
        f"P&L apart: {by_day}, the sum of the absolute differences by day.",
        f"{sums}, net {dollars(float(live - backtest))}. {counted(len(ours) - len(both), 'trade')} only live, "
        f"{counted(alone, 'trade')} only in the backtest.",
    ]
    reasons = counted_reasons(trades)
    known = [f"{KINDS[kind]} ({count})" for kind, count in reasons if kind != "not explained"]
    unknown = f"not explained ({dict(reasons).get('not explained', 0)})"
    differ = len(trades) - equal
    of = "Reason of the one difference" if differ == 1 else f"Reasons of the {differ:,} differences"
    lines.append(f"{of}: {'; '.join([*known, unknown])}.")
    return lines


def _headline(found: Comparison, ours: Sequence[ComparedTrade], both: Sequence[ComparedTrade]) -> str:
    trades, equal = found.trades, sum(one.is_equal for one in both)
    unknown = sum(one.reason is not None and one.reason.kind == "not explained" for one in trades)
    in_both = len(both) / max(len(ours), len(trades) - len(ours) + len(both), 1)
    if 2 * unknown > sum(not one.is_equal for one in trades):
        return "Do not believe a backtest of these days yet: most differences are not explained."
    if 2 * equal < len(both) and in_both >= 0.5:
        return "A backtest of these days shows what was bought, not what it earned: most prices or shares differ."
    turned = [str(one.day) for one in found.days if sign_turned(one)]
    if in_both >= BELIEVABLE and equal >= EQUAL * len(ours) and not turned:
        return "A backtest of these days can be believed: it makes nearly the same trades."
    if in_both >= 0.5:
        wrong = f" On {_listed(turned)} one gained and the other lost." if turned else ""
        return f"A backtest of these days is roughly right: it makes most of the same trades.{wrong}"
    return "A backtest of these days does not show what was traded: it makes mostly other trades."


def _left_out(found: Comparison) -> list[str]:
    """The days that were not compared, with the reason of each; equal reasons in one sentence."""
    by_reason: dict[str, list[str]] = {}
    for day, why in found.left_out.items():
        by_reason.setdefault(why, []).append(str(day))
    return [f"Not compared: {_listed(days)}, because {why}." for why, days in by_reason.items()]


def _listed(days: Sequence[str]) -> str:
    return ", ".join(days) if len(days) <= 4 else f"{', '.join(days[:3])} and {len(days) - 3} other days"


def _days(found: Comparison) -> str:
    days = found.days
    return str(days[0].day) if len(days) == 1 else f"{len(days)} days ({days[0].day} to {days[-1].day})"


def total_pnl(trades: Sequence[ComparedTrade], side: str) -> Decimal:
    """Dollars booked by one side, "live" or "backtest"; open trades count nothing."""
    return sum((pnl_of(getattr(one, side)) or Decimal(0) for one in trades), Decimal(0))


def day_apart(day: ComparedDay) -> Decimal:
    """Dollars that a day brought live beyond what it brought in the backtest."""
    return total_pnl(day.trades, "live") - total_pnl(day.trades, "backtest")


def total_apart(found: Comparison) -> Decimal:
    """Sum of the absolute differences of the days, dollars: differences of opposite sign do not cancel out."""
    return sum((abs(day_apart(day)) for day in found.days), Decimal(0))


def sign_turned(day: ComparedDay) -> bool:
    """Whether a day gained live and lost in the backtest, or the other way round."""
    return total_pnl(day.trades, "live") * total_pnl(day.trades, "backtest") < 0


def apart(one: ComparedTrade) -> Decimal:
    """Dollars that a trade brought live beyond what it brought in the backtest."""
    return (pnl_of(one.live) or Decimal(0)) - (pnl_of(one.backtest) or Decimal(0))


def counted_reasons(trades: Sequence[ComparedTrade]) -> list[tuple[Kind, int]]:
    """How many differences have which kind of reason, the most frequent first."""
    found: Counter[Kind] = Counter(one.reason.kind for one in trades if one.reason is not None)
    return found.most_common()


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON values; amounts in dollars."""
    trades = found.trades
    return {
        "verdict": verdict(found),
        "days": [str(day.day) for day in found.days],
        "not_compared": {str(day): why for day, why in found.left_out.items()},
        "live_trades": sum(one.live is not None for one in trades),
        "backtest_trades": sum(one.backtest is not None for one in trades),
        "in_both": sum(one.in_both for one in trades),
        "equal": sum(one.is_equal for one in trades),
        "live_pnl": float(total_pnl(trades, "live")),
        "backtest_pnl": float(total_pnl(trades, "backtest")),
        "pnl_apart_by_day": {str(day.day): float(day_apart(day)) for day in found.days},
        "pnl_apart_absolute": float(total_apart(found)),
        "days_with_another_sign": [str(day.day) for day in found.days if sign_turned(day)],
        "reasons": dict(counted_reasons(trades)),
        "differences": [
            {
                "day": str(one.day), "symbol": one.symbol, "decided": one.decided.isoformat(),
                "live": _side(one.live), "backtest": _side(one.backtest), "pnl_apart": float(apart(one)),
                "reason": None if one.reason is None else one.reason.kind,
                "why": None if one.reason is None else one.reason.text,
            }
            for one in trades
            if not one.is_equal
        ],
    }  # fmt: skip


def _side(trade: Trade | None) -> dict[str, Any] | None:
    if trade is None:
        return None
    return {
        "qty": trade.qty,
        "entry_price": float(trade.entry_price),
        "exit_price": None if trade.exit_price is None else float(trade.exit_price),
        "exit_reason": trade.exit_reason,
        "pnl_amount": None if trade.pnl_amount is None else float(trade.pnl_amount),
    }
