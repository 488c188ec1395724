"""The table of single sessions, of a walk-forward or of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trading.reports.page import NONE, Section, count, per_cent, plain, share

if TYPE_CHECKING:
    from trading.backtest.figures import ScoredSession, WalkFigures


class SessionRow(NamedTuple):
    """The figures of one session that the screen and the page show.

    Attributes:
        won, precision: share of the rows and of the signals that came true, fractions.
        earned, against_minute: mean outcome of a signal after cost, and the same against the stocks of its minute, per
            cent.
    """

    session: str
    rows: int
    won: float | None
    roc_auc: float | None
    log_loss: float | None
    signals: int
    precision: float | None
    earned: float | None
    against_minute: float | None

    def cells(self) -> dict[str, str]:
        """Column -> its text, in the order of the table."""
        return {
            "session": self.session,
            "rows": count(self.rows),
            "rows came true": share(self.won),
            "ROC-AUC": plain(self.roc_auc),
            "log loss": plain(self.log_loss, 4),
            "signals": count(self.signals),
            "signals came true": share(self.precision),
            "signals earned": per_cent(self.earned),
            "signals vs minute": per_cent(self.against_minute),
        }


PAGE: tuple[str, ...] = (
    *("session", "rows", "rows came true", "came true before", "ROC-AUC", "log loss", "calibrated", "base rate"),
    *("signals", "signals came true", "signals earned", "signals vs minute"),
    *("trades", "trades earned", "trades vs minute"),
)
"""Columns of the page: those of the screen, and the probabilities and simulated trades beside them."""


def sessions_section(found: WalkFigures) -> Section:
    """The table of the page."""
    rows = [_row(day).cells() | _beside(day) for day in found["by_session"]]
    return Section(
        title="Every session",
        text="Figures of all rows, of the signals and of the simulated trades. “Came true before” is the share of rows "
        "in the history before the session; “earned” is the mean outcome after cost, “vs minute” the same against "
        "the stocks of the same minute.",
        head=PAGE,
        rows=[[cells[name] for name in PAGE] for cells in rows],
    )


def _row(day: ScoredSession) -> SessionRow:
    model = day["model"]
    return SessionRow(
        day["session"], day["rows"], day["won"], model["roc_auc"], model["log_loss"], model["signals"],
        model["precision"], model["outcome_per_signal_pct"], model["against_minute_pct"],
    )  # fmt: skip


def _beside(day: ScoredSession) -> dict[str, str]:
    """Column -> its text, of those that the page alone has."""
    trades = day.get("trades")
    return {
        "came true before": share(day["base_rate"]["probability"]),
        "calibrated": plain(day["calibrated"]["log_loss"], 4),
        "base rate": plain(day["base_rate"]["log_loss"], 4),
        "trades": NONE if trades is None else count(trades["trades"]),
        "trades earned": NONE if trades is None else per_cent(trades["outcome_per_trade_pct"]),
        "trades vs minute": NONE if trades is None else per_cent(trades["against_minute_pct"]),
    }
