"""Predictions on disk: `models/predictions/KEY.npz`, where KEY is a hash of all that they depend on.

A missing, damaged or foreign file is a session to be predicted again.
"""

from __future__ import annotations

import hashlib
import io
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from trading.backtest.engine.signals import Predictions
from trading.backtest.workers import identity
from trading.backtest.yardstick.control_cache import bars_digest
from trading.base.clock import to_ns
from trading.market.kept_files import KeptFiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trading.backtest.engine.predictions import SessionInput

FOLDER: Final = "predictions"
MOST_BYTES: Final = 1_000_000_000
"""Bytes of all files that are kept, the most recently used; a session of 75 stocks has about a megabyte."""

FORMAT: Final = 2
COLUMNS: Final = {
    "stock": np.int32, "minute": np.int32, "price": np.float64, "own": np.float64, "calibrated": np.float64,
}  # fmt: skip
"""Columns of `Predictions` that a file holds, with their types."""


class PredictionCache:
    """The predictions of backtests in the folder of models.

    Args:
        models_dir: `models/`.
        most: bytes of all files that `prune` keeps.
    """

    def __init__(self, models_dir: Path, most: int = MOST_BYTES) -> None:
        self.folder = models_dir / FOLDER
        self._kept = KeptFiles(self.folder, "npz", most)

    def key(self, given: SessionInput, model: Mapping[str, Any]) -> str:
        """The key of the predictions from these bars.

        Args:
            model: what the probabilities depend on beside the bars: checksums of a model's files, or a digest of the
                rows and the settings that it is trained with.
        """
        about = {
            "format": FORMAT,
            "model": model,
            "features": given.feature_set,
            "sessions": [(to_ns(one.open), to_ns(one.close)) for one in given.sessions],
            "bars": [bars_digest(given.today), bars_digest(given.before)],
            **self._libraries,
        }
        return hashlib.sha256(orjson.dumps(about, option=orjson.OPT_SORT_KEYS)).hexdigest()[:40]

    @cached_property
    def _libraries(self) -> dict[str, str]:
        return identity()

    def get(self, key: str, given: SessionInput, model: str) -> Predictions | None:
        """The predictions under a key, for the model with this TIMESTAMP; None if they are missing or damaged."""
        content = self._kept.get(key)
        if content is None:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found = Predictions(model, given.symbols, *(arrays[name] for name in COLUMNS))
        except (OSError, ValueError, KeyError):
            return None
        return found if _fits(found, given) else None

    def put(self, key: str, found: Predictions) -> None:
        """Keep predictions; a folder that cannot be written only costs time later."""
        buffer = io.BytesIO()
        np.savez(buffer, **{name: getattr(found, name) for name in COLUMNS})
        self._kept.put(key, buffer.getvalue())

    def prune(self) -> None:
        """Remove the least recently used files beyond the limit, and what killed runs left."""
        self._kept.prune()


def _fits(found: Predictions, given: SessionInput) -> bool:
    """Whether these can be predictions of this session."""
    for name, kind in COLUMNS.items():
        column = getattr(found, name)
        if column.dtype != kind or column.shape != found.price.shape or column.ndim != 1:
            return False
    within = (found.stock >= 0) & (found.stock < len(given.symbols)) & (found.price > 0.0)
    within &= (found.minute >= 0) & (found.minute < given.session.minutes)
    for p in (found.own, found.calibrated):
        within &= (p >= 0.0) & (p <= 1.0)
    return bool(within.all())
