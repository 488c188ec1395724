"""The verdict of the comparison of live trades with a backtest, in plain words, and its JSON."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from trading.reports.against.material import KINDS, ComparedTrade, pnl_of
from trading.reports.page import GENERATED, counted
from trading.reports.traded.words import dollars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.records.trade_log import Trade
    from trading.reports.against.material import Comparison, Kind

BELIEVABLE: Final = 0.95
"""Share of live trades that the backtest has, from which on it trades the same in this sense."""


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
    apart = abs(live - backtest)
    sums = f"P&L {dollars(float(live))} live and {dollars(float(backtest))} in the backtest"
    if equal == len(trades):
        return [
            f"The backtest trades what was traded: all {counted(len(ours), 'live trade')} of {_days(found)} are in the "
            f"backtest with the same shares, prices and reason of the sale, and it has no other. {sums}: $0.00 apart."
        ]
    head = _headline(trades, ours, both)
    alone = sum(one.live is None for one in trades)
    lines = [
        f"{head} Of {counted(len(ours), 'live trade')} on {_days(found)}, {len(both)} are in the backtest, {equal} of "
        f"them with the same shares, prices and reason of the sale; P&L {dollars(float(apart), sign=False)} apart.",
        f"{sums}. {counted(len(ours) - len(both), 'trade')} only live, {counted(alone, 'trade')} only in the backtest.",
    ]
    reasons = counted_reasons(trades)
    known = [f"{KINDS[kind]} ({count})" for kind, count in reasons if kind != "not explained"]
    unknown = f"not explained ({dict(reasons).get('not explained', 0)})"
    differ = counted(len(trades) - equal, "difference")
    lines.append(f"Reasons of the {differ}: {'; '.join([*known, unknown])}.")
    return lines


def _headline(trades: Sequence[ComparedTrade], ours: Sequence[ComparedTrade], both: Sequence[ComparedTrade]) -> str:
    unknown = sum(one.reason is not None and one.reason.kind == "not explained" for one in trades)
    share = len(both) / max(len(ours), len(trades) - len(ours) + len(both), 1)
    if 2 * unknown > sum(not one.is_equal for one in trades):
        return "Do not believe a backtest of these days yet: most differences are not explained."
    if 2 * sum(one.is_equal for one in both) < len(both) and share >= 0.5:
        return "A backtest of these days shows what was bought, not what it earned: most prices or shares differ."
    if share >= BELIEVABLE:
        return "A backtest of these days can be believed: it makes nearly the same trades."
    if share >= 0.5:
        return "A backtest of these days is roughly right: it makes most of the same trades."
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
