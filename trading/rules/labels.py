"""The labels: what a row is asked, and how its answer is found with the exit rules.

`target_first` asks whether the price gains LABEL_TARGET_PCT before it loses STOP_LOSS_PCT; `profit` asks whether the
trade of the exit rules earns more than LABEL_MIN_PROFIT after cost.  Neither label changes how positions are sold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.base.arrays import Floats, Ints, Labels, Mask
from trading.rules.costs import round_trip_cost_pct
from trading.rules.exits import Exit, exit_in_bar, extremes, first_touch, levels
from trading.rules.outcomes import UNKNOWN as UNKNOWN
from trading.rules.outcomes import outcomes, outcomes_and_targets, tick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config import ExitSettings, LabelKind

SETTING_OF: Final = {
    "label": "LABEL", "label_target": "LABEL_TARGET_PCT", "label_within_minutes": "LABEL_WITHIN_MINUTES",
    "label_min_profit": "LABEL_MIN_PROFIT", "stop_loss": "STOP_LOSS_PCT", "take_profit": "TAKE_PROFIT_PCT",
    "round_trip_cost": "ROUND_TRIP_COST", "spread_ticks": "SPREAD_TICKS",
    "flatten_minutes": "FLATTEN_MINUTES_BEFORE_CLOSE", "outcome_feed": "OUTCOME_FEED",
}  # fmt: skip
"""Field of `LabelRules` -> the setting it comes from."""

KINDS: Final[tuple[LabelKind, ...]] = ("target_first", "profit")

ROUNDING_PCT: Final = 1e-9
"""Rounding error of an outcome, per cent."""

_TAKE_PROFIT: Final = int(Exit.TAKE_PROFIT)
_MINUTE_NS: Final = 60 * 1_000_000_000


@dataclass(frozen=True)
class LabelRules:
    """The numbers that outcomes and labels are made with, as `dataset.json` stores them.

    Attributes:
        stop_loss, take_profit, round_trip_cost: fractions of the entry price.
        flatten_minutes: minutes before the close at which positions are sold.
        label_min_profit: of the label `profit`, fraction of the entry price; 0 for another label.
        spread_ticks: ticks between bid and ask; -1: rows of before version 0.3, whose cost ignored the spread.
        label: the question.
        label_target: of the label `target_first`, fraction of the price paid; 0 for another label.
        label_within_minutes: minutes from the entry within which the target must be reached; 0: the session.
        outcome_feed: the bars that tell outcome and label: "sip" where there are some beside those of the feed that is
            traded on; "same": those of that feed.
    """

    stop_loss: float
    take_profit: float
    flatten_minutes: int
    round_trip_cost: float
    label_min_profit: float
    spread_ticks: float
    label: LabelKind
    label_target: float
    label_within_minutes: int
    outcome_feed: str = "same"

    @classmethod
    def of(cls, exits: ExitSettings) -> LabelRules:
        """The rules that the settings describe; a number that the label does not use is 0."""
        by_target = exits.LABEL == "target_first"
        return cls(
            stop_loss=exits.STOP_LOSS_PCT,
            take_profit=exits.TAKE_PROFIT_PCT,
            flatten_minutes=exits.FLATTEN_MINUTES_BEFORE_CLOSE,
            round_trip_cost=exits.ROUND_TRIP_COST,
            label_min_profit=0.0 if by_target else exits.LABEL_MIN_PROFIT,
            spread_ticks=exits.SPREAD_TICKS,
            label=exits.LABEL,
            label_target=exits.LABEL_TARGET_PCT if by_target else 0.0,
            label_within_minutes=exits.LABEL_WITHIN_MINUTES if by_target else 0,
            outcome_feed=exits.OUTCOME_FEED,
        )

    def differing(self, now: LabelRules) -> str:
        """The settings whose value differs from that of `now`, as `NAME=value of these rules`; empty if none does.

        With another LABEL only that is named, because its other numbers follow from it.
        """
        names = [name for name in SETTING_OF if getattr(self, name) != getattr(now, name)]
        if "label" in names:
            names = ["label"]
        return ", ".join(f"{SETTING_OF[name]}={getattr(self, name)}" for name in names)

    def after_cost(self, outcome: Floats, entry: Floats) -> Floats:
        """Outcomes in per cent of the entry prices (dollars), after the cost of a round trip; shape (n,)."""
        return outcome - round_trip_cost_pct(entry, self.round_trip_cost, self.spread_ticks)

    def paid(self, price: float) -> float:
        """What a market order pays at a printed price: the ask, `spread_ticks` above it; dollars."""
        return price + self.spread_ticks * tick(price)

    @property
    def question(self) -> str:
        """What a label of 1 means, in words."""
        if self.label == "profit":
            least = f"more than {100.0 * self.label_min_profit:g}%" if self.label_min_profit else "a profit"
            return f"the trade earns {least} after cost"
        within = f"within {self.label_within_minutes} minutes" if self.label_within_minutes else "in the session"
        return f"the price gains {100.0 * self.label_target:g}% before it loses {100.0 * self.stop_loss:g}%, {within}"


def question_of(settings: Mapping[str, object]) -> dict[str, object]:
    """What a label asks, from settings by name: LABEL, and the numbers that this kind of label uses.

    Models of before version 0.3, whose record has no LABEL, were asked for a profit.
    """
    kind = settings.get("LABEL", "profit")
    names = ("LABEL_TARGET_PCT", "LABEL_WITHIN_MINUTES") if kind == "target_first" else ("LABEL_MIN_PROFIT",)
    return {"LABEL": kind, **{name: settings.get(name, 0.0) for name in names}}


def outcomes_and_labels(
    open_: Floats, high: Floats, low: Floats, start: Ints, group: Ints, flattening: Mask, rules: LabelRules
) -> tuple[Floats, Labels]:
    """Outcome and label of a decision on each bar: bought at the next bar's open.

    Args:
        open_, high, low: dollars, float64, shape (n,); bars of one group adjacent, oldest first.
        start: start of each bar, ns since 1970-01-01 UTC, int64 (n,).
        group: int64 (n,), one id for each symbol and session.
        flattening: bool (n,), the bar starts at or after its session's flatten instant.

    Returns:
        (outcome, label): outcome in per cent of the entry price after cost, NaN if unknown; label int8, `UNKNOWN` if
        unknown.
    """
    if rules.label == "profit":
        outcome, _ = outcomes(open_, high, low, group, flattening, rules.stop_loss, rules.take_profit)
        label = None
    else:
        outcome, label = outcomes_and_targets(
            open_, high, low, start, group, flattening, rules.stop_loss, rules.take_profit,
            rules.label_target, rules.spread_ticks, rules.label_within_minutes * _MINUTE_NS,
        )  # fmt: skip
    outcome[:-1] = rules.after_cost(outcome[:-1], open_[1:])
    return outcome, profit_labels(outcome, rules.label_min_profit) if label is None else label


def profit_labels(outcome: Floats, min_profit: float) -> Labels:
    """Labels of `profit`: 1 if the outcome (per cent, after cost) is above `min_profit` (fraction), else 0.

    An outcome that equals it to rounding is not above it.  An unknown outcome (NaN) has the label `UNKNOWN`.
    """
    label = (outcome > 100.0 * min_profit + ROUNDING_PCT).astype(np.int8)
    label[np.isnan(outcome)] = UNKNOWN
    return label


def target_first(
    open_: Floats, high: Floats, low: Floats, start: Ints, flatten_at: int, paid: float, rules: LabelRules
) -> int:
    """The answer of `target_first` for one position: 1, 0, or `UNKNOWN` while it is not decided.

    Args:
        open_, high, low, start: bars of one stock and session from the bar of the entry on, oldest first; units as in
            `outcomes_and_labels`.
        flatten_at: instant (ns) from which the position would be sold at the next open.
        paid: price paid for the position, dollars.
    """
    return decided(open_, high, low, start, flatten_at, paid, rules)[0]


def decided(
    open_: Floats, high: Floats, low: Floats, start: Ints, flatten_at: int, paid: float, rules: LabelRules
) -> tuple[int, int]:
    """(answer, instant): as `target_first`, and the start (ns) of the bar that decides it; 0 while none does."""
    if not len(start):
        return UNKNOWN, 0
    until = flatten_at
    if rules.label_within_minutes:
        until = min(until, int(start[0]) + rules.label_within_minutes * _MINUTE_NS)
    end = int(np.searchsorted(start, until))
    stop, target = levels(paid, rules.stop_loss, rules.label_target)
    k = int(first_touch(*extremes(open_, high, low), 0, end, stop, target))
    if k < end:
        return int(exit_in_bar(open_[k], high[k], low[k], stop, target)[0] == _TAKE_PROFIT), int(start[k])
    return (0, int(start[end])) if end < len(start) else (UNKNOWN, 0)
