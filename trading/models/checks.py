"""What a model file must be before it is unpickled: of this shape, made with these libraries, writable by us alone."""

from __future__ import annotations

import io
import os
import platform
import stat
import warnings
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from trading.base.errors import ModelError
from trading.learning.calibration import Calibration

FORMAT: Final = 1
PARTS: Final = ("model", "scaler", "features")
LIBRARIES: Final = ("numpy", "scikit-learn", "scipy", "joblib")
MUST_MATCH: Final = ("python", "numpy", "scikit-learn")
"""Those of which major.minor must be as it was when the model was made: pickles promise nothing across them."""

OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def library_versions() -> dict[str, str]:
    """What this process would pickle with."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def check_shape(metrics: Any, at: str) -> None:
    """Raise KeyError, TypeError or ValueError unless everything that is read later is there."""
    if metrics["format"] != FORMAT or metrics["timestamp"] != at:
        raise ValueError("not the metrics of this model")
    for part in PARTS:
        entry = metrics["files"][part]
        if entry["name"] != Path(entry["name"]).name or not entry["name"].endswith(f"_{at}.pkl"):
            raise ValueError(f"names the file {entry['name']!r}")
        if not isinstance(entry["bytes"], int) or not isinstance(entry["sha256"], str):
            raise TypeError(f"size and checksum of {part}")
    if not isinstance(metrics["decision"]["in_service"], bool):
        raise TypeError("decision.in_service")
    date.fromisoformat(metrics["trained_through"])
    Calibration.from_json(metrics["calibration"])
    for group, names in (("market", ("slug",)), ("versions", MUST_MATCH), ("figures", ("roc_auc", "log_loss"))):
        for name in names:
            metrics[group][name]
    metrics["kind"], tuple(metrics["features"])


def check_versions(path: Path, made_with: dict[str, str]) -> None:
    here = library_versions()
    for name in MUST_MATCH:
        if made_with[name].split(".")[:2] != here[name].split(".")[:2]:
            raise ModelError(f"{path}: made with {name} {made_with[name]}, here is {here[name]}")


def refuse_if_open(path: Path) -> None:
    """Refuse what other users may write: who can change a pickle can run code as us."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ModelError(f"{path}: {os.strerror(error.errno or 0)}") from None
    if mode & OTHERS_MAY_WRITE:
        raise ModelError(f"{path}: other users may write it, so it cannot be trusted; check it and chmod go-w it")


def unpickled(path: Path, content: bytes) -> Any:
    import pickle

    import joblib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns of other patch versions, which are compatible
            return joblib.load(io.BytesIO(content))
    except (pickle.UnpicklingError, AttributeError, ImportError, EOFError, LookupError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read ({type(error).__name__}: {error})") from None
