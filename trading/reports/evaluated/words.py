"""The headlines of trainings, walk-forwards and comparisons: what the figures come to, without a term of statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trading.backtest.compare import MEASURES
from trading.backtest.yardstick.skill import BEST_TENTH, measure_of
from trading.reports.page import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.backtest.compare import Comparison
    from trading.backtest.yardstick.skill import Skill
    from trading.models.metrics_file import DecisionRecord


PROMOTED: Final = "The new model was promoted: it trades from the next 4 AM on, until another goes into service."


def of_skill(skill: Skill) -> str:
    """Whether the model was shown to choose stocks better than luck."""
    real = measure_of(skill, BEST_TENTH)["real"]
    if skill["look_ahead"]:
        return "These figures cannot be trusted: the test sees what it could not have known."
    if real["value"] is None or real["low"] is None:
        return "Whether it chooses stocks better than luck cannot be said: too few sessions were tested."
    if not skill["controls"]:
        return "Whether it chooses stocks better than luck was not tested."
    if skill["claimed"]:
        return "It chose better among the stocks of the same minute than luck does; that is no promise of profit."
    return "It is not shown to choose stocks better than luck."


def of_training(decision: DecisionRecord, skill: Skill) -> str:
    """Whether the new model was promoted, and whether it was shown to choose better than luck."""
    trades = PROMOTED if decision["in_service"] else "The new model was not promoted: it does not trade."
    return f"{trades} {of_skill(skill)}"


def of_comparison(comparisons: Sequence[Comparison]) -> str:
    """Whether any variant was shown to be better than the first."""
    if not comparisons:
        return "There was no other variant to compare."
    first = comparisons[0].against.replace("_", " ")
    better, worse = (
        [one.variant.replace("_", " ") for one in comparisons if _any(one, verdict)] for verdict in ("better", "worse")
    )
    mixed = [name for name in better if name in worse]
    parts = []
    if only := [name for name in better if name not in mixed]:
        parts.append(f"{' and '.join(only)} did better than {first}")
    if only := [name for name in worse if name not in mixed]:
        parts.append(f"{' and '.join(only)} did worse than {first}")
    if mixed:
        parts.append(f"{' and '.join(mixed)} did better than {first} in some figures and worse in others")
    if parts:
        text = "; ".join(parts)
        return f"{text[:1].upper()}{text[1:]}."
    others = counted(len(comparisons), "other variant")
    return (
        f"None of {others} is shown to differ from {first}."
        if len(comparisons) > 1
        else (f"The other variant is not shown to differ from {first}.")
    )


def _any(one: Comparison, verdict: str) -> bool:
    return any(one.differences[measure.name].verdict == verdict for measure in MEASURES)
