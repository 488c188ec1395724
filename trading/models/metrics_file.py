"""The content of `metrics_TIMESTAMP.json`: its keys, how it is made for a training, and how it is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict, cast

from trading.base.clock import NEW_YORK
from trading.features.sets import name_of
from trading.learning.calibration import Calibration
from trading.learning.train import TrainingRecord
from trading.models.checks import MUST_MATCH, library_versions

if TYPE_CHECKING:
    from trading.base.market_folders import MarketId
    from trading.learning.session_statistics import Estimate
    from trading.learning.train import TrainedModel

FORMAT: Final = 1
PARTS: Final = ("model", "scaler", "features")


class FileEntry(TypedDict):
    """A file of a model: its name, size and SHA-256."""

    name: str
    bytes: int
    sha256: str


class MarketRecord(TypedDict):
    """`trading.base.market_folders.MarketId` in JSON."""

    slug: str
    description: str
    generated: bool


class DecisionRecord(TypedDict):
    """`trading.learning.promotion.Decision` in JSON; older models hold other keys, and one date as `judged_on`."""

    in_service: bool
    reason: str
    judged_on: NotRequired[Sequence[str] | str | None]
    rows: NotRequired[int]
    champion: NotRequired[str | None]
    champion_log_loss: NotRequired[float | None]
    challenger_log_loss: NotRequired[float | None]
    log_loss_difference: NotRequired[Estimate | None]
    champion_signals: NotRequired[int | None]
    challenger_signals: NotRequired[int | None]
    champion_outcome_pct: NotRequired[float | None]
    challenger_outcome_pct: NotRequired[float | None]
    outcome_difference: NotRequired[Estimate | None]


class ModelMetrics(TrainingRecord):
    """All of `metrics_TIMESTAMP.json`; the inherited keys describe the training."""

    format: int
    timestamp: str
    trained_at: str
    kind: str
    market: MarketRecord
    trained_through: str
    decision: DecisionRecord
    calibration: dict[str, float]
    feature_set: NotRequired[str | None]
    features: list[str]
    versions: dict[str, str]
    files: dict[str, FileEntry]


def market_record(market: MarketId) -> MarketRecord:
    """The market as it stands in JSON."""
    return {"slug": market.slug, "description": market.description, "generated": market.generated}


def metrics_of(
    trained: TrainedModel, at: str, now: datetime, market: MarketId, files: dict[str, FileEntry]
) -> dict[str, Any]:
    """The metrics of a model that is published as TIMESTAMP `at`, ready for JSON."""
    return {
        "format": FORMAT,
        "timestamp": at,
        "trained_at": now.astimezone(NEW_YORK).isoformat(timespec="seconds"),
        "kind": trained.kind,
        "market": market_record(market),
        "trained_through": trained.trained_through.isoformat(),
        "decision": asdict(trained.decision),
        **trained.about,
        "calibration": asdict(trained.calibration),
        "feature_set": name_of(trained.features),
        "features": list(trained.features),
        "versions": library_versions(),
        "files": files,
    }


def checked_metrics(content: Any, at: str) -> ModelMetrics:
    """The parsed content of a metrics file, after checking every key that is read later.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not the metrics of model `at`.
    """
    if content["format"] != FORMAT or content["timestamp"] != at:
        raise ValueError("not the metrics of this model")
    for part in PARTS:
        entry = content["files"][part]
        if entry["name"] != Path(entry["name"]).name or not entry["name"].endswith(f"_{at}.pkl"):
            raise ValueError(f"names the file {entry['name']!r}")
        if not isinstance(entry["bytes"], int) or not isinstance(entry["sha256"], str):
            raise TypeError(f"size and checksum of {part}")
    if not isinstance(content["decision"]["in_service"], bool):
        raise TypeError("decision.in_service")
    date.fromisoformat(content["trained_through"])
    Calibration.from_json(content["calibration"])
    for group, names in (("market", ("slug",)), ("versions", MUST_MATCH), ("figures", ("roc_auc", "log_loss"))):
        for name in names:
            content[group][name]
    content["kind"], tuple(content["features"])
    return cast(ModelMetrics, content)


def recorded_setting(metrics: ModelMetrics, name: str) -> Any:
    """A setting that a model was trained with; metrics of before version 0.2 hold it under a lower-case name.

    Raises:
        KeyError: the metrics do not hold it.
    """
    settings: Mapping[str, Any] = metrics["settings"]
    return settings[name] if name in settings else settings[name.removeprefix("TRAIN_").lower()]
