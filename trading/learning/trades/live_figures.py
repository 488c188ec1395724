"""What real trades tell about the model: does its confidence come true; does what it chooses earn; what is paid.

The first two are separate figures, because neither follows from the other: a confidence is the probability of the
label, what a trade earns is decided by the exit rules and the cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

import numpy as np

from trading.learning.metrics import bands
from trading.learning.session_statistics import INTERVAL, Estimate, pooled_mean, sums
from trading.learning.trades.trade_labels import outcome_after_cost
from trading.rules.costs import round_trip_cost_pct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.base.arrays import Floats, Mask
    from trading.records.trade_log import Trade
    from trading.rules.labels import LabelRules

LIVE_DAYS: Final = 60
"""Days with a trade file, the newest, that the figures are of."""

BAND: Final = 0.05
"""Width of a band of confidence."""


class ComesTrue(TypedDict):
    """How often the label came true among trades of a band of confidence (`from`, `to`).

    `share` of `trades` came true; `low` and `high` are its exact 95% interval (Clopper and Pearson, 1934), which takes
    the trades as independent.  Those of one day are not, so the true interval is wider.
    """

    band: list[float]
    trades: int
    said: float
    came_true: int
    share: float
    low: float
    high: float


class Earns(TypedDict):
    """What the trades of a band earned on average, per cent of the price after cost; the interval is over sessions."""

    band: list[float]
    trades: int
    outcome_pct: Estimate


class OfTrades(TypedDict):
    """The figures of a group of trades: by band of confidence, and the whole group (`[0, 1]`) last."""

    comes_true: list[ComesTrue]
    earns: list[Earns]


class Costs(TypedDict):
    """The cost of a round trip, assumed and paid, in per cent of the price, for trades with a quote at the decision.

    `assumed`: the cost that labels and outcomes are charged.  `paid`: twice the distance of the fill from the middle of
    the quote, which holds the move of the price until the fill too.  `quoted`: ask minus bid.
    """

    trades: int
    assumed_pct: Estimate
    paid_pct: Estimate
    quoted_pct: Estimate


class LiveFigures(TypedDict):
    """The figures of the newest trade files, as `metrics_*.json` has them.

    `undecided`: trades whose label is not known yet.  `other_label`: trades whose confidence answered another question
    than today's; they are counted nowhere else but in `costs`.
    """

    question: str
    first: str | None
    last: str | None
    all_models: OfTrades
    in_service: OfTrades | None
    model: str | None
    costs: Costs | None
    undecided: int
    other_label: int


def live_figures(
    trades: Sequence[Trade], rules: LabelRules, model: str | None, *, newest_days: int = LIVE_DAYS
) -> LiveFigures:
    """The figures of real trades.

    Args:
        trades: of one market, in any order; only those of the newest `newest_days` days with a trade count.
        rules: the label in force and the cost.
        model: timestamp of the model in service, whose trades are shown by themselves too.
    """
    days = sorted({trade.day for trade in trades})[-newest_days:]
    newest = [trade for trade in trades if days and trade.day >= days[0]]
    asked = [trade for trade in newest if _asks(trade, rules)]
    own = [trade for trade in asked if trade.model == model]
    return {
        "question": rules.question,
        "first": str(days[0]) if days else None,
        "last": str(days[-1]) if days else None,
        "all_models": _of_trades(asked, rules),
        "in_service": _of_trades(own, rules) if model is not None else None,
        "model": model,
        "costs": _costs(newest, rules),
        "undecided": sum(1 for trade in asked if _came_true(trade, rules) is None),
        "other_label": len(newest) - len(asked),
    }


def _asks(trade: Trade, rules: LabelRules) -> bool:
    """Whether the confidence of a trade answered the question of `rules`."""
    if trade.label != rules.label or rules.label == "profit":
        return trade.label == rules.label
    asked = (trade.label_target, trade.label_stop, trade.label_within_minutes)
    return asked == (rules.label_target, rules.stop_loss, rules.label_within_minutes)


def _came_true(trade: Trade, rules: LabelRules) -> bool | None:
    """Whether the label came true; None while that is not known."""
    if rules.label == "target_first":
        return trade.reached_target_first
    return None if trade.exit_price is None else outcome_after_cost(trade, rules) > 100.0 * rules.label_min_profit


def _of_trades(trades: Sequence[Trade], rules: LabelRules) -> OfTrades:
    known = [(trade.confidence, found) for trade in trades if (found := _came_true(trade, rules)) is not None]
    said, true = np.array([one for one, _ in known]), np.array([one for _, one in known], dtype=np.bool_)
    closed = [trade for trade in trades if trade.exit_price is not None]
    outcome = np.array([outcome_after_cost(trade, rules) for trade in closed])
    return {
        "comes_true": [_comes_true(band, said[inside], true[inside]) for band, inside in _groups(said)],
        "earns": [
            {"band": band, "trades": int(np.sum(inside)), "outcome_pct": _over_sessions(outcome, closed, inside)}
            for band, inside in _groups(np.array([trade.confidence for trade in closed]))
        ],
    }


def _groups(confidence: Floats) -> list[tuple[list[float], Mask]]:
    """The bands that hold trades, lowest first, then all trades, each with its mask; none without a trade."""
    if not len(confidence):
        return []
    found = [([band["from"], band["to"]], inside) for band, inside in bands(confidence, BAND)]
    return [*found, ([0.0, 1.0], np.ones(len(confidence), dtype=np.bool_))]


def _comes_true(band: list[float], said: Floats, true: Mask) -> ComesTrue:
    low, high = _exact_interval(int(np.sum(true)), len(true))
    return {
        "band": band,
        "trades": len(true),
        "said": float(np.mean(said)),
        "came_true": int(np.sum(true)),
        "share": float(np.mean(true)),
        "low": low,
        "high": high,
    }


def _exact_interval(true: int, n: int) -> tuple[float, float]:
    """95% interval of a share (Clopper and Pearson, 1934) by quantiles of the beta distribution."""
    from scipy.special import betaincinv  # scipy.stats has the same, but takes half a second to import

    tail = (1.0 - INTERVAL) / 2.0
    low = float(betaincinv(true, n - true + 1, tail)) if true else 0.0
    return low, float(betaincinv(true + 1, n - true, 1.0 - tail)) if true < n else 1.0


def _over_sessions(values: Floats, trades: Sequence[Trade], inside: Mask | None = None) -> Estimate:
    """The mean of one value per trade, with its interval over the sessions of the entries."""
    days = np.array([trade.day.toordinal() for trade in trades], dtype=np.int64)
    if inside is not None:
        values, days = values[inside], days[inside]
    sessions, group = np.unique(days, return_inverse=True)
    count = np.bincount(group, minlength=len(sessions)).astype(np.float64)
    return pooled_mean(sums(values, group, len(sessions)), count)


def _costs(trades: Sequence[Trade], rules: LabelRules) -> Costs | None:
    quoted = [trade for trade in trades if trade.decision_bid and trade.decision_ask]
    if not quoted:
        return None
    bid, ask = (np.array([getattr(trade, name) for trade in quoted]) for name in ("decision_bid", "decision_ask"))
    mid, paid = (bid + ask) / 2.0, np.array([float(trade.entry_price) for trade in quoted])
    assumed = round_trip_cost_pct(paid, rules.round_trip_cost, rules.spread_ticks)
    return {
        "trades": len(quoted),
        "assumed_pct": _over_sessions(assumed, quoted),
        "paid_pct": _over_sessions(200.0 * (paid - mid) / mid, quoted),
        "quoted_pct": _over_sessions(100.0 * (ask - bid) / mid, quoted),
    }
