"""The figures of a walk-forward: by session and pooled, raw beside calibrated, against the base rate of the evening.

Everything is ready for JSON: plain numbers, None where undefined.  Outcomes are per cent of the entry price; after cost
unless said otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.learning.metrics import at_threshold, number, ranking, session_date
from trading.learning.session_statistics import (
    Figures,
    above,
    below,
    differences,
    mean_of_sessions,
    pooled_mean,
    sums,
)

if TYPE_CHECKING:
    from trading.backtest.walk_forward import Walk
    from trading.learning.fitting import Floats, Labels

BAND: Final = 0.05
"""Width of the bands of probability."""

POINTS: Final = 120
"""Points that a curve is thinned to."""

PROBABILITIES: Final = ("model", "calibrated")
SCORES: Final = ("roc_auc", "log_loss", "brier")


def figures(walked: Walk, *, min_confidence: float, cost: float) -> Figures:
    """Every figure of a walk-forward.

    Args:
        min_confidence: the threshold from which on a row is a signal.
        cost: round-trip cost, fraction of the price.
    """
    by_session = [_session(walked, i, min_confidence, cost) for i in range(len(walked.sessions))]
    pooled: Figures = {
        name: _pooled(walked, getattr(walked, attribute), name, by_session, min_confidence, cost)
        for name, attribute in (("model", "p"), ("calibrated", "calibrated"))
    }
    constant = walked.base_rate[walked.group]
    pooled["base_rate"] = {
        **{name: mean_of_sessions([day["base_rate"][name] for day in by_session]) for name in ("log_loss", "brier")},
        "won": _share_won(walked, np.ones(len(walked.p), dtype=bool)),
        "outcome_pct": _mean_outcome(walked, np.ones(len(walked.p), dtype=bool), cost),
        "accuracy_of_always_no": number(np.mean(walked.label == 0)),
        "pooled_log_loss": ranking(constant, walked.label)["log_loss"],
    }
    return {
        "variant": walked.variant.name,
        "kind": walked.variant.kind,
        "feature_set": walked.variant.feature_set,
        "label_min_profit": walked.variant.label_min_profit,
        "window": walked.window,
        "rows": len(walked.p),
        "threshold": min_confidence,
        "cost_pct": 100.0 * cost,
        "pooled": pooled,
        "reliability": {name: _bands(walked, _p(walked, name), cost) for name in PROBABILITIES},
        "curves": {name: _curves(_p(walked, name), walked.label) for name in PROBABILITIES},
        "importance": _importance(walked),
        "by_session": by_session,
    }


def _p(walked: Walk, name: str) -> Floats:
    return walked.p if name == "model" else walked.calibrated


def _session(walked: Walk, i: int, min_confidence: float, cost: float) -> Figures:
    inside = walked.group == i
    y, outcome = walked.label[inside], walked.outcome[inside]
    constant = ranking(np.full(len(y), walked.base_rate[i]), y)
    return {
        "session": session_date(walked.sessions[i]).isoformat(),
        "known_sessions": int(walked.known_sessions[i]),
        "known_rows": int(walked.known_rows[i]),
        "rows": int(np.sum(inside)),
        "won": number(np.mean(y)),
        "outcome_pct": number(np.mean(outcome) - 100.0 * cost),
        "base_rate": {"probability": number(walked.base_rate[i]), **constant},
        **{
            name: {
                **ranking(_p(walked, name)[inside], y),
                "accuracy": number(np.mean((_p(walked, name)[inside] >= 0.5) == (y == 1))),
                **_signals(_p(walked, name)[inside], y, outcome, min_confidence, cost),
            }
            for name in PROBABILITIES
        },
    }


def _signals(p: Floats, y: Labels, outcome: Floats, min_confidence: float, cost: float) -> Figures:
    found = at_threshold(p, y, outcome, min_confidence, cost)
    return {
        "signals": found["signals"],
        "signals_won": found["won"],
        "precision": found["precision"],
        "outcome_per_signal_pct": found["mean_outcome_after_cost_pct"],
    }


def _pooled(
    walked: Walk, p: Floats, name: str, by_session: list[Figures], min_confidence: float, cost: float
) -> Figures:
    """Means over sessions with intervals, differences to the base rate, and what the signals did."""
    values = {score: [day[name][score] for day in by_session] for score in SCORES}
    base = {score: [day["base_rate"][score] for day in by_session] for score in ("log_loss", "brier")}
    signal = p >= min_confidence
    whole = ranking(p, walked.label)
    half = at_threshold(p, walked.label, walked.outcome, 0.5, cost)
    return {
        **{score: mean_of_sessions(values[score]) for score in SCORES},
        **{f"{score}_against_base": mean_of_sessions(differences(values[score], base[score])) for score in base},
        **{f"pooled_{score}": whole[score] for score in SCORES},
        "accuracy": half["accuracy"],
        "precision_at_half": half["precision"],
        "recall_at_half": half["recall"],
        "signals": int(np.sum(signal)),
        "sessions_with_signals": len(np.unique(walked.group[signal])),
        "precision": _share_won(walked, signal),
        "outcome_per_signal_pct": _mean_outcome(walked, signal, cost),
    }


def _share_won(walked: Walk, chosen: Any) -> Figures:
    group, n = walked.group[chosen], len(walked.sessions)
    found = pooled_mean(sums(walked.label[chosen], group, n), sums(np.ones(len(group)), group, n))
    if found["low"] is not None:  # a share lies between 0 and 1, whatever Student's t says
        found = {**found, "low": max(0.0, found["low"]), "high": min(1.0, found["high"])}
    return found


def _mean_outcome(walked: Walk, chosen: Any, cost: float) -> Figures:
    group, n = walked.group[chosen], len(walked.sessions)
    return pooled_mean(sums(walked.outcome[chosen] - 100.0 * cost, group, n), sums(np.ones(len(group)), group, n))


def _bands(walked: Walk, p: Floats, cost: float) -> list[Figures]:
    """Each filled band of probability: what it really won and brought, with intervals over sessions."""
    last = round(1.0 / BAND) - 1
    band = np.minimum((p / BAND + 1e-9).astype(np.int64), last)
    table = []
    for index in np.unique(band):
        inside = band == index
        table.append(
            {
                "from": round(float(index) * BAND, 6),
                "to": round(float(index + 1) * BAND, 6),
                "rows": int(np.sum(inside)),
                "mean_probability": number(np.mean(p[inside])),
                "won": _share_won(walked, inside),
                "outcome_pct": _mean_outcome(walked, inside, cost),
            }
        )
    return table


def _curves(p: Floats, y: Labels) -> Figures | None:
    """ROC and precision-recall curves, thinned; None with one class."""
    if len(np.unique(y)) < 2:
        return None
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

    false_positive, true_positive, _ = roc_curve(y, p)
    precision, recall, _ = precision_recall_curve(y, p)
    return {
        "false_positive_rate": _thinned(false_positive),
        "true_positive_rate": _thinned(true_positive),
        # The end of few rows is noise that hides the curve: it starts where a thousandth of the winners is found.
        "recall": _thinned(recall[recall >= 0.001][::-1]),
        "precision": _thinned(precision[recall >= 0.001][::-1]),
        "average_precision": number(average_precision_score(y, p)),
    }


def _thinned(values: Floats) -> list[float]:
    return [float(values[i]) for i in np.unique(np.linspace(0, len(values) - 1, POINTS).astype(np.int64))]


def _importance(walked: Walk) -> list[Figures]:
    """How much ROC-AUC an unseen session loses when a feature is that of another row; most important first."""
    group, y = walked.group[walked.sample], walked.label[walked.sample]
    whole = _auc_by_session(walked.p[walked.sample], y, group)
    table: list[Figures] = []
    for i, name in enumerate(walked.importance_of):
        without = _auc_by_session(walked.permuted[i], y, group)
        table.append({"feature": name, "roc_auc_lost": mean_of_sessions(differences(whole, without))})
    return sorted(table, key=lambda entry: -(entry["roc_auc_lost"]["value"] or 0.0))


def _auc_by_session(p: Floats, y: Labels, group: Any) -> list[float | None]:
    from sklearn.metrics import roc_auc_score

    days = [(p[group == one], y[group == one]) for one in np.unique(group)]
    return [float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else None for scores, labels in days]


def verdict(found: Figures) -> list[str]:
    """The honest reading of the figures, in plain words, the most important first."""
    model, base = found["pooled"]["model"], found["pooled"]["base_rate"]
    calibrated = found["pooled"]["calibrated"]
    return [
        _ranking_line(model["roc_auc"]),
        _probability_line(model["log_loss_against_base"], calibrated["log_loss_against_base"]),
        _signal_line(model, base, found["threshold"]),
    ]


def _ranking_line(auc: Figures) -> str:
    if auc["low"] is None:
        return "Too few sessions to tell skill from luck."
    words = f"ROC-AUC {auc['value']:.3f}, 95% interval over {auc['sessions']} sessions {auc['low']:.3f} to "
    words += f"{auc['high']:.3f}; 0.5 is chance"
    if above(auc, 0.5):
        return f"It ranked stocks better than chance ({words}). That is no promise of profit."
    if below(auc, 0.5):
        return f"It ranked stocks worse than chance ({words})."
    return f"No evidence that it ranks stocks better than chance ({words})."


def _probability_line(raw: Figures, calibrated: Figures) -> str:
    def compared(difference: Figures) -> str:
        if below(difference, 0.0):
            return "better than"
        if above(difference, 0.0):
            return "worse than"
        return "not distinguishable from"

    if raw["low"] is None:
        return "Its probabilities cannot be judged on so few sessions."
    return (
        f"Its probabilities were {compared(raw)} always saying the base rate known the evening before (log loss "
        f"{raw['value']:+.4f}); calibrated, {compared(calibrated)} it ({calibrated['value']:+.4f})."
    )


def _signal_line(model: Figures, base: Figures, threshold: float) -> str:
    if not model["signals"]:
        return f"No row reached {threshold:.0%}: nothing would have been bought."
    outcome, won = model["outcome_per_signal_pct"], model["precision"]["value"]
    words = (
        f"Its {_counted(model['signals'], 'signal')} at {threshold:.0%} (in "
        f"{_counted(model['sessions_with_signals'], 'session')}) won "
        f"{won:.1%} and brought {outcome['value']:+.2f}% each after cost; buying every row won "
        f"{base['won']['value']:.1%} and brought {base['outcome_pct']['value']:+.2f}%."
    )
    if outcome["low"] is None:
        return f"{words} One session with signals tells nothing."
    interval = f"{outcome['low']:+.2f}% to {outcome['high']:+.2f}%"
    if above(outcome, 0.0):
        return f"{words} The interval over sessions, {interval}, lies above zero."
    if below(outcome, 0.0):
        return f"{words} That is a loss beyond doubt: {interval}."
    return f"{words} The interval over sessions, {interval}, includes zero: no evidence of profit."


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
