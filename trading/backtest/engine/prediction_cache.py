"""Predictions on disk: `models/predictions/KEY.npz`, where KEY is a hash of all that they depend on.

A file begins with a hash of its content.  A missing, damaged or foreign file is a session to be predicted again.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from trading.backtest.engine.signals import Predictions
from trading.backtest.workers import identity
from trading.base.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trading.backtest.engine.predictions import SessionWindows

FOLDER: Final = "predictions"
MOST_BYTES: Final = 1_000_000_000
"""Bytes of all files that are kept, the most recently used; a session of 75 stocks has about half a megabyte."""

FORMAT: Final = 1
_DIGEST: Final = 32


class PredictionCache:
    """The predictions of backtests in the folder of models.

    Args:
        models_dir: `models/`.
        most: bytes of all files that `prune` keeps.
    """

    def __init__(self, models_dir: Path, most: int = MOST_BYTES) -> None:
        self.folder = models_dir / FOLDER
        self._most = most
        self._identity = identity()

    def key(self, windows: SessionWindows, model: Mapping[str, Any]) -> str:
        """The key of the predictions for these windows.

        Args:
            model: what the probabilities depend on beside the feature vectors: checksums of a model's files, or a
                digest of the rows and the settings that it is trained with.
        """
        found = hashlib.sha256(
            orjson.dumps(
                {"format": FORMAT, "model": model, "symbols": windows.symbols, **self._identity},
                option=orjson.OPT_SORT_KEYS,
            )
        )
        for column in (windows.stock, windows.minute, windows.price, windows.X):
            found.update(np.ascontiguousarray(column).tobytes())
        return found.hexdigest()[:40]

    def get(self, key: str, windows: SessionWindows, model: str) -> Predictions | None:
        """The predictions under a key, for the model with this TIMESTAMP; None if they are missing or damaged."""
        path = self.folder / f"{key}.npz"
        try:
            content = path.read_bytes()
            if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
                return None
            with np.load(io.BytesIO(content[_DIGEST:]), allow_pickle=False) as arrays:
                own, calibrated = arrays["own"], arrays["calibrated"]
            os.utime(path)  # the least recently used are removed first
        except (OSError, ValueError, KeyError):
            return None
        for p in (own, calibrated):
            if p.shape != windows.price.shape or p.dtype != np.float64 or not ((p >= 0.0) & (p <= 1.0)).all():
                return None
        return windows.predicted(model, own, calibrated)

    def put(self, key: str, found: Predictions) -> None:
        """Keep predictions; a folder that cannot be written only costs time later."""
        buffer = io.BytesIO()
        np.savez(buffer, own=found.own, calibrated=found.calibrated)
        content = buffer.getvalue()
        try:
            write_bytes(self.folder / f"{key}.npz", hashlib.sha256(content).digest() + content)
        except OSError:
            return

    def prune(self) -> None:
        """Remove the least recently used files beyond the limit, and what killed runs left."""
        try:
            for left in self.folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
            total = 0
            for path in sorted(self.folder.glob("*.npz"), key=lambda one: one.stat().st_mtime, reverse=True):
                total += path.stat().st_size
                if total > self._most:
                    path.unlink(missing_ok=True)
        except OSError:
            return
