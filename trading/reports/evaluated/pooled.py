"""The table of the figures over all sessions: the model, its calibrated probability, and the base rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from trading.reports.page import NONE, Section, count, interval, level, per_cent, plain, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from trading.backtest.figures import Pooled, PooledScores
    from trading.learning.session_statistics import Estimate

BySession = Literal["roc_auc_within_minute", "roc_auc", "log_loss", "brier"]
Together = Literal["pooled_roc_auc", "pooled_log_loss", "pooled_brier"]


def pooled_section(pooled: Pooled, threshold: float) -> Section:
    """The table; `threshold` is that of a signal, a fraction."""
    base, row = pooled["base_rate"], _Rows(pooled["model"], pooled["calibrated"])
    return Section(
        title="All sessions",
        text="Scores are means over sessions, those within the minute over pairs of stocks. The base rate is the share "
        "of rows that came true in the history before each session; for signals the last column is the result of "
        "buying every row. Whether a signal comes true and what it earns are different figures.",
        head=("", "model", "interval", "calibrated", "interval", "base rate"),
        rows=[
            row.by_session("ROC-AUC within the minute", "roc_auc_within_minute", "0.5"),
            row.together("ROC-AUC pooled", "pooled_roc_auc", "0.5"),
            row.by_session("ROC-AUC by session", "roc_auc", "above 0.5 without skill"),
            row.by_session("log loss", "log_loss", plain(base["log_loss"]["value"], 4)),
            row.together("log loss, all rows together", "pooled_log_loss", plain(base["pooled_log_loss"], 4)),
            row.by_session("Brier score", "brier", plain(base["brier"]["value"], 4)),
            row.together("Brier score, all rows together", "pooled_brier", ""),
            row.texts("accuracy", lambda one: share(one["accuracy"]), _always_no(base["accuracy_of_always_no"])),
            row.texts(f"signals at {level(threshold)}", lambda one: count(one["signals"]), NONE),
            row.came_true(base["won"]),
            row.earned(base["outcome_pct"]),
        ],
        method="jackknife or Student's t",
    )


class _Rows(NamedTuple):
    """Makes the rows of the table: the figure and its interval for both probabilities, then the last cell."""

    model: PooledScores
    calibrated: PooledScores

    def by_session(self, name: str, key: BySession, last: str) -> list[str]:
        """A mean over sessions."""
        ratio = key.startswith("roc_auc")
        decimals = 3 if ratio else 4
        cells = [
            cell
            for one in self
            for cell in (plain(one[key]["value"], decimals), interval(one[key], decimals, fraction=ratio))
        ]
        return [name, *cells, last]

    def together(self, name: str, key: Together, last: str) -> list[str]:
        """A score of all rows together, as the console and the list of models show it."""
        return self.texts(name, lambda one: plain(one[key], 3 if key == "pooled_roc_auc" else 4), last)

    def texts(self, name: str, text: Callable[[PooledScores], str], last: str) -> list[str]:
        """A figure without an interval."""
        return [name, text(self.model), "", text(self.calibrated), "", last]

    def came_true(self, every: Estimate) -> list[str]:
        """The share of the signals that came true; `every`: of all rows."""
        cells = [
            cell for one in self for cell in (share(one["precision"]["value"]), interval(one["precision"], 1, unit="%"))
        ]
        return ["came true", *cells, share(every["value"])]

    def earned(self, every: Estimate) -> list[str]:
        """The mean outcome of the signals; `every`: of all rows."""
        found = [one["outcome_per_signal_pct"] for one in self]
        cells = [cell for one in found for cell in (per_cent(one["value"]), interval(one, 2, sign=True))]
        return ["earned each, %", *cells, per_cent(every["value"])]


def _always_no(accuracy: float | None) -> str:
    return f"{share(accuracy)} (always no)"
