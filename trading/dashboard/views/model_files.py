"""The models as their metrics files have them.  Nothing is unpickled, so the library of the models is not loaded."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from trading.base.errors import UserError
from trading.base.files import read_regular
from trading.models.choice import Choice, read_choice, serving_order

if TYPE_CHECKING:
    from pathlib import Path

MOST: Final = 60
"""Newest models that are shown."""

LARGEST: Final = 4_000_000
"""Bytes of a metrics file; they have some 20 kB."""

_METRICS: Final = re.compile(r"metrics_(\d{8}_\d{6})\.json")


class ModelFile(NamedTuple):
    """What `metrics_TIMESTAMP.json` says of one model.

    Attributes:
        promised: share of its test signals that came true, and `signals` how many there were.
        earned_pct: mean outcome per test signal after cost, in per cent.
    """

    timestamp: str
    kind: str
    trained_through: str
    promoted: bool
    reason: str
    champion: str
    auc: float | None
    log_loss: float | None
    champion_log_loss: float | None
    challenger_log_loss: float | None
    champion_outcome_pct: float | None
    challenger_outcome_pct: float | None
    signals: int | None
    promised: float | None
    earned_pct: float | None


class Models(NamedTuple):
    """The models of a folder, the newest first.

    Attributes:
        order: promoted and chosen models in the order in which they are tried for service; the first one serves if
            it passes its checks.
    """

    known: tuple[ModelFile, ...]
    choice: Choice | None
    order: tuple[str, ...]
    findings: tuple[str, ...]


def read_models(folder: Path) -> Models:
    """The models of `models/`."""
    findings: list[str] = []
    stamps = sorted((found[1] for path in _files(folder) if (found := _METRICS.fullmatch(path.name))), reverse=True)
    known = []
    for at in stamps[:MOST]:
        try:
            known.append(_model(_content(folder / f"metrics_{at}.json"), at))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            findings.append(f"metrics_{at}.json: is damaged or cannot be read; it is left out")
    choice = None
    try:
        choice = read_choice(folder)
    except (UserError, OSError):
        findings.append("in_service.json: is damaged, or others may change it; it is left out")
    chosen = set() if choice is None else {choice.timestamp}
    order = serving_order([one.timestamp for one in known if one.promoted or one.timestamp in chosen], choice)
    return Models(tuple(known), choice, tuple(order), tuple(findings))


def _files(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(read_regular(path, LARGEST))
    return content


def _model(content: dict[str, Any], at: str) -> ModelFile:
    """A model from its metrics.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: they are not those of model `at`.
    """
    if content["timestamp"] != at:
        raise ValueError(at)
    decision, figures = content["decision"], content["figures"]
    minimum = figures.get("at_min_confidence") or {}
    signals = minimum.get("signals")
    return ModelFile(
        timestamp=at,
        kind=str(content["kind"]),
        trained_through=str(content["trained_through"]),
        promoted=decision["in_service"] is True,
        reason=str(decision["reason"]),
        champion=str(decision.get("champion") or ""),
        auc=_number(figures.get("roc_auc")),
        log_loss=_number(figures.get("log_loss")),
        champion_log_loss=_number(decision.get("champion_log_loss")),
        challenger_log_loss=_number(decision.get("challenger_log_loss")),
        champion_outcome_pct=_number(decision.get("champion_outcome_pct")),
        challenger_outcome_pct=_number(decision.get("challenger_outcome_pct")),
        signals=None if signals is None else int(signals),
        promised=_number(minimum.get("precision")),
        earned_pct=_number(minimum.get("mean_outcome_after_cost_pct")),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
