"""The figures of a walk-forward in plain sentences; `trading.backtest.yardstick.skill` decides what is claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trading.backtest.yardstick.skill import BEST_TENTH, SIGNIFICANT, Skill, measure_of
from trading.base.errors import as_started
from trading.learning.same_minute import ENOUGH_TO_PLAN
from trading.learning.session_statistics import Estimate, above, below, has_interval, interval_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.backtest.figures import PooledBaseRate, PooledScores, WalkFigures
    from trading.learning.same_minute import MinuteFigures, Needed

ENOUGH_TO_TELL: Final = 5
"""Fewest sessions on which probabilities are called better or worse than the base rate."""


def verdict(found: WalkFigures) -> list[str]:
    """What the figures show and what they do not, the most important first."""
    pooled = found["pooled"]
    model, calibrated = pooled["model"], pooled["calibrated"]
    return [
        skill_line(found["skill"]),
        _probability_line(model["log_loss_against_base"], calibrated["log_loss_against_base"], found),
        _signal_line(model, pooled["base_rate"], found["threshold"], found["skill"]),
        _power_line(model["against_minute"]),
    ]


def skill_line(skill: Skill) -> str:
    """Whether skill is claimed, and why or why not."""
    tenth = measure_of(skill, BEST_TENTH)
    real = tenth["real"]
    if skill["look_ahead"]:
        return as_started(
            "The controls themselves show skill, although direction is random in them: the evaluation looks ahead, and "
            "no figure of it can be trusted. Run python ml_trainer.py --audit."
        )
    if real["value"] is None or real["low"] is None:
        return "No evidence of skill: too few sessions to tell skill from luck."
    known = [value for value in tenth["controls"] if value is not None]
    if not known:
        return "No skill is claimed without controls (CONTROLS, EVENING_CONTROLS)."
    wide = interval_at(real, 1.0 - SIGNIFICANT)
    words = (
        f"the best tenth of each minute had {real['value']:+.2f}% before cost against all stocks of that minute, "
        f"{1.0 - SIGNIFICANT:.0%} interval over {real['sessions']} sessions {wide['low']:+.2f}% to {wide['high']:+.2f}%"
    )
    spread = f"on {_counted(len(known), 'coin-flipped copy', 'coin-flipped copies')} of the bars it had "
    spread += f"{known[0]:+.2f}%" if len(known) == 1 else f"{min(known):+.2f}% to {max(known):+.2f}%"
    if skill["claimed"]:
        return (
            f"It chose better than the same minute: {words}, outside the controls ({spread}). That is no promise of "
            "profit, and a look-ahead would show in the same way: ml_trainer.py --audit tells them apart."
        )
    copies = {1: "the only copy", 2: "both copies"}.get(len(known), f"all {len(known)} copies")
    why = {
        "above": f"it lies above {copies}, but the interval includes zero",
        "below": f"it lies below {copies}",
        None: "it lies inside the range of the copies" if len(known) > 1 else "it is that of the only copy",
    }
    return f"No evidence of skill: {words}; {why[tenth['outside']]} ({spread})."


def _power_line(minute: MinuteFigures) -> str:
    """After how many sessions an edge would show."""
    sessions = minute["best_tenth"]["sessions"]
    if sessions < ENOUGH_TO_PLAN:
        return f"Too few sessions ({sessions}) to say when an edge would show."
    few = minute["signals"]["sessions"] < ENOUGH_TO_PLAN
    tenth, signals = _needed(minute["best_tenth_needs"]), _needed([] if few else minute["signals_need"])
    return f"An edge over the same minute shows with 80% power: in the best tenth {tenth}; in the signals {signals}."


def _needed(needs: Sequence[Needed]) -> str:
    parts = []
    for one in needs:
        if one["sessions"] is None or one["missing"] is None:
            continue
        missing = f"{one['missing']:,} more" if one["missing"] else "these are enough"
        parts.append(f"{100.0 * one['edge_pct']:.0f} bp after {one['sessions']:,} sessions ({missing})")
    return ", ".join(parts) or "unknown, because too few sessions have any"


def _probability_line(raw: Estimate, calibrated: Estimate, found: WalkFigures) -> str:
    words = f"Its probabilities of “{found['question']}”"
    if raw["low"] is None or raw["sessions"] < ENOUGH_TO_TELL:
        return f"{words} were compared with the base rate of the history on {_few(raw['sessions'])}."
    knows = "which stocks move" if found["label"] == "target_first" else "when that comes true"
    so = f"So it is not shown that the model knows {'even ' if found['label'] == 'target_first' else ''}{knows}."
    if below(calibrated, 0.0):
        so = f"So it knows in part {knows}; that does not say that buying them earns."
    return (
        f"{words} were {_against_base(raw)} always predicting the base rate of the history "
        f"(log loss {raw['value']:+.4f}); calibrated, {_against_base(calibrated)} it ({calibrated['value']:+.4f}). {so}"
    )


def _few(sessions: int) -> str:
    return f"{_counted(sessions, 'session', 'sessions')}: too few to tell"


def _against_base(difference: Estimate) -> str:
    if below(difference, 0.0):
        return "better than"
    return "worse than" if above(difference, 0.0) else "not distinguishable from"


def _signal_line(model: PooledScores, base: PooledBaseRate, threshold: float, skill: Skill) -> str:
    if not model["signals"]:
        return f"No row reached {100 * threshold:g}%: nothing would have been bought."
    outcome, came_true = model["outcome_per_signal_pct"], model["precision"]["value"]
    words = (
        f"Of its {_counted(model['signals'], 'signal', 'signals')} at {100 * threshold:g}% (in "
        f"{_counted(model['sessions_with_signals'], 'session', 'sessions')}) {came_true:.1%} came true, of all rows "
        f"{base['won']['value']:.1%}. What they earned is another figure: {outcome['value']:+.2f}% each after cost, "
        f"buying every row {base['outcome_pct']['value']:+.2f}%{_against(model['against_minute']['signals'])}."
    )
    if not has_interval(outcome):
        few = "One session" if outcome["sessions"] == 1 else f"{outcome['sessions']} sessions"
        return f"{words} {few} with signals {'is' if outcome['sessions'] == 1 else 'are'} too few to judge."
    interval = f"{outcome['low']:+.2f}% to {outcome['high']:+.2f}%"
    if below(outcome, 0.0):
        return f"{words} The interval over sessions, {interval}, lies below zero: a loss."
    if above(outcome, 0.0) and skill["signals_claimed"]:
        return f"{words} The interval over sessions, {interval}, lies above zero."
    if above(outcome, 0.0):
        return (
            f"{words} The interval over sessions, {interval}, lies above zero, but the signals are not shown to be "
            "better than their minute: no evidence of profit."
        )
    return f"{words} The interval over sessions, {interval}, includes zero: no evidence of profit."


def _against(real: Estimate) -> str:
    if real["value"] is None:
        return ""
    interval = "" if not has_interval(real) else f" ({real['low']:+.2f}% to {real['high']:+.2f}%)"
    return f", against their minute {real['value']:+.2f}%{interval}"


def _counted(n: int, one: str, several: str) -> str:
    return f"{n:,} {one if n == 1 else several}"
