"""The page Models: which serves, how each did in its test and what it bought, and the pages that were made of them."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from trading.dashboard.views.model_files import ModelFile, Models, read_models
from trading.dashboard.views.words import shown
from trading.reports.page import NONE, counted, per_cent, plain, share
from trading.reports.traded.words import dollars

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trading.dashboard.state.live import Live
    from trading.records.trade_log import Trade

STAMP: Final = r"\d{8}_\d{6}(?:_\d+)?"

PAGES: Final[dict[str, tuple[str, re.Pattern[str]]]] = {
    "training": ("models", re.compile(rf"report_{STAMP}\.html")),
    "backtest or sweep": ("models", re.compile(rf"(?:backtest|sweep)_{STAMP}\.html")),
    "walk-forward": ("models", re.compile(rf"walk_forward_{STAMP}\.html")),
    "comparison": ("models", re.compile(rf"comparison_{STAMP}\.html")),
    "report of the logs": ("logs", re.compile(r"report\.html")),
    "traded against backtest": ("logs", re.compile(r"against_backtest\.html")),
    "index of the logs": ("logs", re.compile(r"index\.html")),
    "index of the models": ("models", re.compile(r"index\.html")),
}
"""What a page is -> its folder, and the pattern of the names that are served; no other file is."""

MOST_PAGES: Final = 60


class PageLink(NamedTuple):
    """A page of a report: what it is, its folder and its name."""

    what: str
    folder: str
    name: str


class CameTrue(NamedTuple):
    """The trades of one model: how many are sold, are decided, and came true, and what was booked.

    Attributes:
        confidence: mean of the decided ones; None without one.
        win_probability: the same of the calibrated probability.
    """

    sold: int
    decided: int
    true: int
    confidence: float | None
    win_probability: float | None
    booked: float


class ModelRow(NamedTuple):
    """A model in the table, all text."""

    timestamp: str
    state: str
    kind: str
    through: str
    tested: str
    bought: str
    confidence: str
    win_probability: str
    booked: str
    auc: str
    log_loss: str
    reason: str
    duel: str
    page: PageLink | None


@dataclass(frozen=True)
class ModelsPage:
    """The content of the page."""

    serves: str
    rows: tuple[ModelRow, ...]
    pages: tuple[PageLink, ...]
    live_lines: tuple[str, ...]
    findings: tuple[str, ...]


def models_page(live: Live) -> ModelsPage:
    """The models and their pages."""
    models = read_models(live.places.models)
    trades = live.files.of_days(live.reader, live.reader.days("trades"))
    pages = report_pages(live.places.models, live.places.logs)
    lines = tuple(shown(words) for _, event, words in live.audit.events if event == "live_figures")
    return ModelsPage(
        serves=_serves(live, models),
        rows=tuple(_row(one, live, models, trades, pages) for one in models.known),
        pages=tuple(pages[:MOST_PAGES]),
        live_lines=lines,
        findings=models.findings,
    )


def report_pages(models: Path, logs: Path) -> list[PageLink]:
    """The pages that may be served, the newest first by the time in their names."""
    found = []
    for folder, path in (("models", models), ("logs", logs)):
        names: list[str] = []
        with suppress(OSError):
            names = [one.name for one in path.iterdir()]
        for what, (where, pattern) in PAGES.items():
            found += [PageLink(what, folder, name) for name in names if where == folder and pattern.fullmatch(name)]
    return sorted(found, key=lambda one: (re.sub(r"\D", "", one.name), one.name), reverse=True)


def servable(folder: str, name: str) -> bool:
    """Whether a file of this name is served from `models` or `logs`."""
    return any(where == folder and pattern.fullmatch(name) for where, pattern in PAGES.values())


def _serves(live: Live, models: Models) -> str:
    by_files = models.order[0] if models.order else ""
    if not by_files and not live.model:
        return "No model is in service."
    lines = f"{live.model or by_files} is in service"
    choice = models.choice
    if choice is not None and choice.timestamp == by_files:
        lines += f", chosen at {choice.time} by {shown(choice.who)} ({shown(choice.why)})"
    if live.model and by_files and live.model != by_files:
        return f"{live.model} is in service; {by_files} follows at 4 AM, or before the evening's training."
    return f"{lines}."


def _row(one: ModelFile, live: Live, models: Models, trades: Sequence[Trade], pages: Sequence[PageLink]) -> ModelRow:
    came = came_true(trades, one.timestamp)
    chosen = models.choice is not None and models.choice.timestamp == one.timestamp
    serving = live.model or (models.order[0] if models.order else "")
    state = "in service" if one.timestamp == serving else "chosen" if chosen else "" if one.promoted else "not promoted"
    page = next((link for link in pages if link.name == f"report_{one.timestamp}.html"), None)
    duel = ""
    if one.champion_log_loss is not None and one.challenger_log_loss is not None:
        duel = (
            f"against {one.champion}: log loss {plain(one.challenger_log_loss, 4)} and "
            f"{plain(one.champion_log_loss, 4)}, earned each {per_cent(one.challenger_outcome_pct)} and "
            f"{per_cent(one.champion_outcome_pct)}"
        )
    return ModelRow(
        one.timestamp, state, shown(one.kind.replace("_", " ")), shown(one.trained_through),
        _part(one.promised, one.signals),
        _part(came.true / came.decided if came.decided else None, came.decided), share(came.confidence),
        share(came.win_probability),
        f"{dollars(came.booked)} in {counted(came.sold, 'trade')}" if came.sold else NONE,
        plain(one.auc), plain(one.log_loss, 4),
        shown(one.reason), shown(duel), page,
    )  # fmt: skip


def _part(part: float | None, of: int | None) -> str:
    """`56.1% of 1,312`."""
    return NONE if part is None or not of else f"{share(part)} of {of:,}"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def came_true(trades: Sequence[Trade], model: str) -> CameTrue:
    """What came of the trades that a model decided."""
    own = [trade for trade in trades if trade.model == model]
    decided = [trade for trade in own if trade.reached_target_first is not None]
    calibrated = [trade.win_probability for trade in decided if trade.win_probability is not None]
    return CameTrue(
        sum(1 for trade in own if trade.pnl_amount is not None), len(decided),
        sum(1 for trade in decided if trade.reached_target_first),
        _mean([trade.confidence for trade in decided]), _mean(calibrated),
        sum(float(trade.pnl_amount or 0) for trade in own),
    )  # fmt: skip
