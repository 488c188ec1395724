"""The figures of controls on disk: `models/controls/KEY.json`, where KEY is a hash of all that they depend on."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, Final, get_args

import orjson

from trading.backtest.workers import identity
from trading.backtest.yardstick.skill import MeasureName, Measures
from trading.base.files import write_bytes
from trading.market.bars import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from config import TrainingSettings
    from trading.base.arrays import Mask
    from trading.dataset.dataset import Rows
    from trading.learning.fitting import LearningSettings
    from trading.market.bars import Bars

FOLDER: Final = "controls"
KEPT: Final = 400
"""Files that are kept, the newest; a file has about a kilobyte."""

FORMAT: Final = 1

_WITHOUT_EFFECT: Final = (
    *("CONTROLS", "EVENING_CONTROLS", "TRAINING_REPORT", "KEEP_MODELS", "PAST_TRADE_WEIGHT"),
    *("CONFIDENCE", "MAX_BAR_AGE_SECONDS"),
)
"""Settings of a training that change no model without past trades, and no figure of a control."""


class ControlCache:
    """The figures of controls in the folder of models.  A missing or damaged file is a control to be run again.

    Args:
        models_dir: `models/`.
    """

    def __init__(self, models_dir: Path) -> None:
        self.folder = models_dir / FOLDER

    def get(self, key: str) -> Measures | None:
        """The figures under this key; None if they are missing or damaged."""
        path = self._path(key)
        try:
            found = _checked(orjson.loads(path.read_bytes()))
            os.utime(path)  # the least recently used are removed first
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return found

    def put(self, key: str, figures: Measures) -> None:
        """Keep these figures; a folder that cannot be written only costs time later."""
        try:
            write_bytes(self._path(key), orjson.dumps(figures))
        except OSError:
            return

    def prune(self) -> None:
        """Remove all but the `KEPT` most recently used files, and what killed runs left."""
        try:
            for left in self.folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
            files = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in files[KEPT:]:
                path.unlink(missing_ok=True)
        except OSError:
            return

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _checked(content: Any) -> Measures:
    """The figures of a file.

    Raises:
        ValueError, TypeError, KeyError: they are not what `put` writes.
    """
    found: Measures = {}
    for name in get_args(MeasureName):
        value, low, high = (_number(content[name][key]) for key in ("value", "low", "high"))
        found[name] = {"value": value, "low": low, "high": high, "sessions": int(content[name]["sessions"])}
    return found


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def bars_digest(bars: Mapping[str, Bars]) -> str:
    """A hash of all bars."""
    found = hashlib.blake2b(digest_size=16)
    for symbol, one in sorted(bars.items()):
        for part in (one,) if one.for_outcomes is one else (one, one.for_outcomes):
            found.update(f"{symbol} {len(part)}\n".encode())
            for name in COLUMNS:
                found.update(getattr(part, name).tobytes())
    return found.hexdigest()


def rows_digest(rows: Rows, scored: Mask) -> str:
    """A hash that tells which bars have a row, and which rows are scored."""
    found = hashlib.blake2b("\n".join(rows.symbols).encode(), digest_size=16)
    for column in (rows.symbol, rows.start, scored):
        found.update(column.tobytes())
    return found.hexdigest()


def control_key(evaluation: Mapping[str, Any], settings: LearningSettings) -> str:
    """The key of a control: a hash of its evaluation, the settings that matter, the libraries and this project's code.

    Args:
        evaluation: the digests, the seed of the coins, and what else the evaluation depends on, ready for JSON.
    """
    about = {"format": FORMAT, "evaluation": evaluation, "settings": settings_of_a_result(settings), **identity()}
    return hashlib.sha256(orjson.dumps(about, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def settings_of_a_result(settings: LearningSettings) -> dict[str, object]:
    """The settings that the figures of an evaluation depend on, by name."""
    return _with_effect(settings.by_name())


def settings_of_a_model(training: TrainingSettings) -> dict[str, object]:
    """The settings that a model and its calibration depend on beside their rows, by name."""
    return _with_effect(training.model_dump(mode="json"))


def _with_effect(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name not in _WITHOUT_EFFECT}
