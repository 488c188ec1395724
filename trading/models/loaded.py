"""A model of the folder of models: its checked files, and what they hold once they are unpickled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from trading.base.errors import ModelError
from trading.features.sets import COLUMNS, name_of
from trading.learning.calibration import Calibration
from trading.learning.promotion import FittedModel
from trading.models.checks import unpickled
from trading.models.metrics_file import PARTS, ModelMetrics

if TYPE_CHECKING:
    from pathlib import Path

    from config import FeatureSet


@dataclass(frozen=True)
class LoadedModel(FittedModel):
    """A model that passed every check, ready to predict with one thread.

    Attributes:
        kind: "random_forest" or "gradient_boosting".
        metrics: all of `metrics_TIMESTAMP.json`.
        calibration: for `trading.learning.calibration.win_probability`.
    """

    kind: str
    metrics: ModelMetrics
    calibration: Calibration

    @property
    def feature_set(self) -> FeatureSet:
        """The name of its features."""
        name = name_of(self.features)
        assert name is not None  # `ModelStore.load` refuses other columns
        return name

    @property
    def in_service(self) -> bool:
        """Whether it was promoted when it was published."""
        return self.metrics["decision"]["in_service"]


@dataclass(frozen=True, eq=False)
class CheckedModel:
    """A model whose files passed every check of their bytes; `opened` unpickles them, which imports scikit-learn.

    Attributes:
        folder: the folder of models.
        timestamp, metrics: of the model.
        contents: the bytes of each part.
    """

    folder: Path
    timestamp: str
    metrics: ModelMetrics
    contents: dict[str, bytes]

    @property
    def feature_set(self) -> FeatureSet:
        """The name of its features."""
        name = name_of(self.metrics["features"])
        assert name is not None  # `ModelStore.checked` refuses other columns
        return name

    @property
    def trained_through(self) -> date:
        """The last session that it has seen."""
        return date.fromisoformat(self.metrics["trained_through"])

    @cached_property
    def opened(self) -> LoadedModel:
        """The model itself.

        Raises:
            ModelError: its files are damaged, or do not belong together.
        """
        metrics, columns = self.metrics, COLUMNS[self.feature_set]
        values = {part: unpickled(self.folder / metrics["files"][part]["name"], self.contents[part]) for part in PARTS}
        model, scaler = values["model"], values["scaler"]
        widths = {getattr(part, "n_features_in_", None) for part in (scaler, model)}
        if values["features"] != columns or widths != {len(columns)}:
            path = self.folder / f"metrics_{self.timestamp}.json"
            raise ModelError(f"{path}: its files do not belong together")
        if hasattr(model, "n_jobs"):
            model.n_jobs = 1
        return LoadedModel(
            timestamp=self.timestamp,
            kind=metrics["kind"],
            scaler=scaler,
            model=model,
            features=columns,
            settings=metrics["settings"],
            metrics=metrics,
            calibration=Calibration.from_json(metrics["calibration"]),
            trained_through=self.trained_through,
        )
