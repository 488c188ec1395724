"""The content of `walk_forward_*.json` and `comparison_*.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from trading.backtest.figures import Probability, WalkFigures

if TYPE_CHECKING:
    from trading.backtest.random_split import RandomSplitFigures
    from trading.backtest.simulated_trades import WeekFigures
    from trading.learning.session_statistics import Estimate
    from trading.models.metrics_file import MarketRecord


class RunRecord(TypedDict):
    """When, on which market and with which settings and library versions the figures were made."""

    format: int
    at: str
    market: MarketRecord
    settings: dict[str, Any]
    versions: dict[str, str]


class WalkForwardResult(RunRecord, WalkFigures):
    """All of `walk_forward_*.json`.

    Attributes:
        trades_on: the probability that the trades were bought on.
        trades_against_minute: their mean outcome minus that of the minutes of their decisions.
        variants_tried: variants ever walked forward on any of these sessions.
        variants_unreadable: lines of `variants_tried.jsonl` that cannot be read and are not counted.
    """

    evolution: list[WeekFigures]
    trades_on: Probability
    trades_against_minute: Estimate
    random_split: RandomSplitFigures
    variants_tried: int
    variants_unreadable: int


class ComparisonResult(RunRecord):
    """All of `comparison_*.json`.

    Attributes:
        left_out: set of features -> rows that have no row in another set.
        verdicts: number of verdicts that were corrected together (Holm).
        variants_tried, variants_unreadable: as in `WalkForwardResult`.
    """

    left_out: dict[str, int]
    variants: list[WalkFigures]
    differences: list[dict[str, Any]]
    verdicts: int
    variants_tried: int
    variants_unreadable: int
