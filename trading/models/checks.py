"""Unpickling, and the library versions that made a model; `trading.models.trust` checks who may write its files."""

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
