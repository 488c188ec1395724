"""The figures of a report as tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from trading.performance.execution_quality import AT_SALE
from trading.performance.intervals import MIN_SESSIONS
from trading.reports.page import NONE, Section, counted, fine, interval, per_cent, plain, share
from trading.reports.traded.words import RULES, dollars, moment, seldom

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trading.learning.session_statistics import Estimate
    from trading.performance.execution_quality import Spread
    from trading.performance.figures import Drawdown, Performance
    from trading.performance.groups import Group
    from trading.reports.traded.material import Material

MOST_ROWS: Final = 60
"""Rows that a table of groups shows; `--json` has all."""

TITLES: Final = {
    "day": "By day", "week": "By week", "month": "By month", "stock": "By stock", "hour": "By hour of the purchase",
    "exit reason": "By reason of the sale", "confidence": "By confidence",
    "model": "Models that served, and their trades",
}  # fmt: skip


SEE_BELOW: Final = "see below"
WITHOUT_INTERVAL: Final = (
    "Intervals draw whole sessions anew, so they have other sessions in another order. The deepest drawdown, its "
    "beginning and its length belong to the order in which the sessions came, and have no interval. The drawdown at "
    "the close and the Calmar ratio have none if the drawn ones leave out their value, and the profit factor has none "
    "if a draw has no loss."
)


FEW_IN_A_GROUP: Final = f"Trades of fewer than {MIN_SESSIONS} sessions have no interval."


def figures(booked: Performance, net: Performance) -> Section:
    """Every figure, as booked and after the assumed cost (`net`), with the interval of the latter."""
    both = (net, booked)
    rows: list[list[str]] = []

    def add(name: str, texts: Sequence[str], range_: str) -> None:
        unexplained = range_ == NONE and texts[0] != NONE and net.sessions >= MIN_SESSIONS
        rows.append([name, texts[0], SEE_BELOW if unexplained else range_, texts[1]])

    of = net.intervals
    add("result", [dollars(x.result) for x in both], _between(of.result, dollars))
    add("return of the equity", [fine(x.total_return["value"]) for x in both], _range(net, "total_return", 3))
    add(
        "expectancy in dollars",
        [dollars(x.expectancy["value"] or 0.0) if x.trades else NONE for x in both],
        _between(net.expectancy, dollars),
    )
    add(
        "expectancy in per cent of the price",
        [per_cent(x.expectancy_pct["value"]) for x in both],
        _with_sign(interval(net.expectancy_pct, 2, sign=True)),
    )
    add("win rate", [share(x.win_rate["value"]) for x in both], interval(net.win_rate, 1, unit="%"))
    add("profit factor", [plain(x.profit_factor["value"], 2) for x in both], interval(net.profit_factor, 2))
    add("deepest drawdown", [_depth(x.drawdown) for x in both], NONE)
    add("it began", [moment(x.drawdown.peak_ns) for x in both], NONE)
    add("it lasted", [_length(x.drawdown) for x in both], NONE)
    falls = [fine(x.max_drawdown["value"]) for x in both]
    add("deepest drawdown at the close of a session", falls, _between(net.max_drawdown, fine))
    for name, field in (("Sharpe ratio", "sharpe"), ("Sortino ratio", "sortino"), ("Calmar ratio", "calmar")):
        shown = [getattr(x, field) for x in both]
        texts = [seldom(y["value"], y["sessions"], plain(y["value"], 2)) for y in shown]
        add(name, texts, interval(shown[0], 2))
    add("exposure", [share(x.exposure) for x in both], _between(of.exposure, share))
    add("mean share of the equity that was invested", [fine(x.invested) for x in both], _between(of.invested, fine))
    add("mean time held", [_minutes(x.hold_minutes) for x in both], _between(of.hold_minutes, _minutes))
    add("turnover per session", [fine(x.turnover) for x in both], _between(of.turnover, fine))
    add("all trades: cost beyond the spread", [dollars(-net.cost), NONE], _between(of.cost, lambda x: dollars(-x)))
    return Section(
        "All figures",
        "Drawdown is seen at every sale, in the Calmar ratio at the close of each session; "
        "positions count once they are sold. Yearly ratios and intervals need "
        f"{MIN_SESSIONS} sessions; they take a year as 252 sessions and the rate of risk-free money as 0.",
        head=("", "after cost", "95% interval", "booked"),
        rows=rows,
        note=WITHOUT_INTERVAL,
        method="bootstrap",
    )


def group_section(by: str, found: Sequence[Group]) -> Section:
    """The groups of one kind; days, weeks and months newest first, the others by name or by result."""
    if by in ("day", "week", "month", "model"):
        shown = list(reversed(found))
    elif by in ("stock", "exit reason"):
        shown = sorted(found, key=lambda one: one.after_cost)
    else:
        shown = list(found)
    left = len(shown) - MOST_ROWS
    note = f"{left:,} more are in --json." if left > 0 else ""
    if left > 0 and by == "stock":
        shown = [*shown[: MOST_ROWS // 2], *shown[-(MOST_ROWS // 2) :]]
        note = f"The {MOST_ROWS // 2} worst and best; {note}"
    first = {"week": "week from", "hour": "hour", "exit reason": "reason"}.get(by, by)
    return Section(
        TITLES[by],
        ("Trades count on the day of their sale. " if by in ("day", "week", "month") else "") + FEW_IN_A_GROUP,
        head=(first, "trades", "won", "sessions", "booked", "after cost", "each", "95% interval"),
        rows=[
            [
                one.name or "not known", f"{one.trades:,}", share(one.won / one.trades, 0), str(one.sessions),
                dollars(one.booked), dollars(one.after_cost), per_cent(one.outcome_pct["value"]),
                _with_sign(interval(one.outcome_pct, 2, sign=True)),
            ]
            for one in shown[:MOST_ROWS]
        ],
        note=note,
        method="bootstrap",
    )  # fmt: skip


def models(material: Material) -> Section:
    """The models with trades, and those that the audit has in service without one."""
    found = group_section("model", material.groups["model"])
    traded = {one.name for one in material.groups["model"]}
    idle = sorted({model for one in material.audits for model in one.models} - traded)
    newest = f"{', '.join(idle[-5:])}{f' and {len(idle) - 5} earlier ones' if len(idle) > 5 else ''}"
    return replace(found, note=f"In service without a trade: {newest}." if idle else found.note)


def between_decision_and_fill(quality: Sequence[Spread], unmeasured: int) -> Section:
    """Time and slippage; `unmeasured` sales have no price at their decision."""
    rows = [
        [one.name, f"{one.n:,}", *(_unit(x, one.unit) for x in (one.mean, one.median, one.low, one.high))]
        for one in quality
    ]
    if unmeasured:
        rows.append([AT_SALE, f"{unmeasured:,}", "not measured", NONE, NONE, NONE])
    why = "Not measured: the audit has no price at the decision to sell (logs up to version 0.4), or there is no audit."
    return Section(
        "Between the decision and the fill",
        "Slippage in per cent of the price: above 0 the trade paid more, or got less, than the price "
        "it is held against. "
        "A market order is filled within the minute, a buy at the ask and a sale at the bid.",
        head=("", "trades", "mean", "median", "5% below", "5% above"),
        rows=rows,
        note=why if unmeasured else "",
    )


def arrival_of_bars(material: Material) -> Section:
    """How late the newest bar was at each prediction, for the sessions whose predictions were read."""
    lags: dict[int, int] = {}
    for one in material.bars.values():
        for seconds, times in one.lag.items():
            lags[seconds] = lags.get(seconds, 0) + times
    total = sum(lags.values())
    rows = []
    for name, low, high in (
        ("within 10 seconds", -(10**9), 10), ("10 to 60 seconds", 10, 60), ("1 to 2 minutes", 60, 120),
        ("2 to 5 minutes", 120, 300), ("later", 300, 10**9),
    ):  # fmt: skip
        inside = sum(times for seconds, times in lags.items() if low <= seconds < high)
        if inside:
            rows.append([name, f"{inside:,}", share(inside / total)])
    stale = sum(one.stale for one in material.bars.values())
    late = sum(one.late for one in material.audits)
    feed = f"late {counted(late, 'time')}" if late else "never late"
    read = "the newest session" if len(material.bars) == 1 else f"the newest {len(material.bars):,} sessions"
    return Section(
        "How late the bars were",
        f"From the end of a stock's newest bar to the prediction on it: {counted(total, 'prediction')} of "
        f"{read}. {stale:,} had a bar that was too old for a purchase. The feed as a whole was "
        f"{feed} in the range.",
        head=("prediction after the bar's end", "predictions", "share"),
        rows=rows,
    )


def refusals(material: Material) -> Section:
    """Which rule refused how many signals, and what else went wrong."""
    refused: dict[str, int] = {}
    trouble: dict[str, int] = {}
    for one in material.audits:
        for into, counts in ((refused, one.refused), (trouble, one.trouble)):
            for name, times in counts.items():
                into[name] = into.get(name, 0) + times
    minutes = sum(one.minutes for one in material.audits)
    signals = sum(one.signals for one in material.audits)
    rows = [
        [f"refused by the rule for {RULES.get(name, name)}", f"{times:,}"]
        for name, times in sorted(refused.items(), key=_most)
    ]
    rows += [[f"event {name}", f"{times:,}"] for name, times in sorted(trouble.items(), key=_most)]
    return Section(
        "What was not bought, and what went wrong",
        f"{counted(minutes, 'minute')} with a decision, {counted(signals, 'signal')} that reached the threshold. "
        "Ask for one: report.py --why SYMBOL TIME.",
        head=("", "times"),
        rows=rows,
    )


def _most(pair: tuple[str, int]) -> tuple[int, str]:
    return -pair[1], pair[0]


def _with_sign(text: str) -> str:
    return text if text == NONE else f"{text.replace(' to', '% to')}%"


def _range(found: Performance, field: str, decimals: int) -> str:
    figure = getattr(found, field)
    low, high = figure["low"], figure["high"]
    return NONE if low is None or high is None else f"{100 * low:+.{decimals}f}% to {100 * high:+.{decimals}f}%"


def _between(figure: Estimate, text: Callable[[float], str]) -> str:
    """Both ends of an interval in the form of the figure, or a dash."""
    low, high = figure["low"], figure["high"]
    return NONE if low is None or high is None else f"{text(low)} to {text(high)}"


def _depth(found: Drawdown) -> str:
    return NONE if not found.dollars else f"{dollars(-found.dollars)} ({fine(-found.fraction)})"


def _length(found: Drawdown) -> str:
    if found.peak_ns is None:
        return NONE
    end = "" if found.recovered_ns is not None else ", not made up yet"
    return f"{counted(found.sessions, 'session')}{end}"


def _minutes(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f} minutes"


def _unit(value: float, unit: str) -> str:
    return f"{value:.1f} s" if unit == "s" else f"{value:+.3f}%"
