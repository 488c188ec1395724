"""The content of `walk_forward_*.json` and `comparison_*.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from trading.backtest.figures import Probability, WalkFigures

if TYPE_CHECKING:
    from trading.backtest.random_split import RandomSplitFigures
    from trading.backtest.simulated_trades import WeekFigures
    from trading.models.metrics_file import MarketRecord


class RunRecord(TypedDict):
    """When, on which market and with which settings and library versions the figures were made."""

    format: int
    at: str
    market: MarketRecord
    settings: dict[str, Any]
    versions: dict[str, str]


class WalkForwardResult(RunRecord, WalkFigures):
    """All of `walk_forward_*.json`; `trades_on` names the probability that the trades were bought on."""

    evolution: list[WeekFigures]
    trades_on: Probability
    random_split: RandomSplitFigures


class ComparisonResult(RunRecord):
    """All of `comparison_*.json`; `left_out`: set of features -> rows that have no row in another set."""

    left_out: dict[str, int]
    variants: list[WalkFigures]
    differences: list[dict[str, Any]]
