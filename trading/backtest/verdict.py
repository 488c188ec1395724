"""The figures of a walk-forward in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading.learning.session_statistics import Estimate, above, below

if TYPE_CHECKING:
    from trading.backtest.figures import PooledBaseRate, PooledScores, WalkFigures


def verdict(found: WalkFigures) -> list[str]:
    """What the figures show and what they do not, the most important first."""
    pooled = found["pooled"]
    model, calibrated = pooled["model"], pooled["calibrated"]
    return [
        _ranking_line(model["roc_auc"]),
        _probability_line(model["log_loss_against_base"], calibrated["log_loss_against_base"]),
        _signal_line(model, pooled["base_rate"], found["threshold"]),
    ]


def _ranking_line(auc: Estimate) -> str:
    if auc["low"] is None:
        return "Too few sessions to tell skill from luck."
    words = f"ROC-AUC {auc['value']:.3f}, 95% interval over {auc['sessions']} sessions {auc['low']:.3f} to "
    words += f"{auc['high']:.3f}; 0.5 is chance"
    if above(auc, 0.5):
        return f"It ranked stocks better than chance ({words}). That is no promise of profit."
    if below(auc, 0.5):
        return f"It ranked stocks worse than chance ({words})."
    return f"No evidence that it ranks stocks better than chance ({words})."


def _probability_line(raw: Estimate, calibrated: Estimate) -> str:
    if raw["low"] is None:
        return "Too few sessions to judge its probabilities."
    return (
        f"Its probabilities were {_against_base(raw)} always predicting the base rate of the history (log loss "
        f"{raw['value']:+.4f}); calibrated, {_against_base(calibrated)} it ({calibrated['value']:+.4f})."
    )


def _against_base(difference: Estimate) -> str:
    if below(difference, 0.0):
        return "better than"
    return "worse than" if above(difference, 0.0) else "not distinguishable from"


def _signal_line(model: PooledScores, base: PooledBaseRate, threshold: float) -> str:
    if not model["signals"]:
        return f"No row reached {100 * threshold:g}%: nothing would have been bought."
    outcome, won = model["outcome_per_signal_pct"], model["precision"]["value"]
    words = (
        f"Its {_counted(model['signals'], 'signal')} at {100 * threshold:g}% (in "
        f"{_counted(model['sessions_with_signals'], 'session')}) won "
        f"{won:.1%} and earned {outcome['value']:+.2f}% each after cost; buying every row won "
        f"{base['won']['value']:.1%} and earned {base['outcome_pct']['value']:+.2f}%."
    )
    if outcome["low"] is None:
        return f"{words} One session with signals is too few to judge."
    interval = f"{outcome['low']:+.2f}% to {outcome['high']:+.2f}%"
    if above(outcome, 0.0):
        return f"{words} The interval over sessions, {interval}, lies above zero."
    if below(outcome, 0.0):
        return f"{words} The interval over sessions, {interval}, lies below zero: a loss."
    return f"{words} The interval over sessions, {interval}, includes zero: no evidence of profit."


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
