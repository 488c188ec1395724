"""Unpickling, and what made a model: library versions, its market; `trading.models.trust` checks who may write it."""

from __future__ import annotations

import io
import pickle
import platform
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from trading.base.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from trading.base.market_folders import MarketId

LIBRARIES: Final = ("numpy", "scikit-learn", "scipy", "joblib")
MUST_MATCH: Final = ("python", "numpy", "scikit-learn")
"""Major and minor version of these must be those that made the model: pickles are not portable across them."""


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that models and figures depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def check_versions(path: Path, made_with: dict[str, str]) -> None:
    """Raise ModelError if the model of the metrics file `path` was made with other library versions."""
    here = library_versions()
    for name in MUST_MATCH:
        if made_with[name].split(".")[:2] != here[name].split(".")[:2]:
            raise ModelError(f"{path}: made with {name} {made_with[name]}, this is {here[name]}")


def market_difference(own: MarketId, market: MarketId) -> str:
    """How the market `own` that a model was trained on differs from `market`, beginning with "trained on".

    The slug of recorded bars ends with a digest of the names and sizes of the files, and of how they are read.
    """
    slugs = f"({own.slug}, now {market.slug})"
    if own.description == market.description:
        if own.slug.startswith("bars-"):
            return (
                f"trained on another state of the {own.description} {slugs}: its files, or how they are read, changed"
            )
        return f"trained on another {own.description} {slugs}"
    if own.slug.startswith("bars-") and own.slug.rsplit("-", 1)[1:] == market.slug.rsplit("-", 1)[1:]:
        return f"trained on {own.description}, which has the same files, but the folder has another name now {slugs}"
    return f"trained on {own.description} ({own.slug}), not on {market.description} ({market.slug})"


def market_remedy(models: Path, market: MarketId | None) -> str:
    """What to do if the models of a folder were trained on another market than `market`."""
    if market is None:
        return "name another folder with --models-dir"
    aside = models.resolve().with_name(f"{models.resolve().name}.{market.slug}")
    if aside.is_dir():
        return f"its own models are in {aside}: name that folder with --models-dir"
    build = "python build_dataset.py --bars DIR, then " if market.slug.startswith("bars-") else ""
    return f"train again with {build}python ml_trainer.py, or name a folder with its models with --models-dir"


def unpickled(path: Path, content: bytes) -> Any:
    """The object in `content`, the bytes of `path`, which the caller has checked (`ModelStore.load`).

    Raises:
        ModelError: they cannot be unpickled.
    """
    import joblib  # with NumPy's pickling it costs start-up time

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns of other patch versions, which are compatible
            return joblib.load(io.BytesIO(content))
    except (pickle.UnpicklingError, AttributeError, ImportError, EOFError, LookupError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read ({type(error).__name__}: {error})") from None
