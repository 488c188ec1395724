"""Volume profiles from the bars of a data folder, and the empty bar store of a session that uses them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from trading.dataset.dataset import READERS
from trading.dataset.manifest import SymbolRecord, read_manifest
from trading.features.session_bars import SessionBars
from trading.features.sets import volume_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config import FeatureSet
    from trading.base.arrays import Floats
    from trading.base.calendar import Session
    from trading.dataset.dataset import Dataset


def session_bars(dataset: Dataset, session: Session, symbols: Sequence[str], feature_set: FeatureSet) -> SessionBars:
    """An empty store for the bars of a session, with volume profiles if the features need them.

    Raises:
        DataError: a file of the data folder is malformed.
    """
    if feature_set == "document":
        return SessionBars(session, symbols)
    return SessionBars(session, symbols, volume_profiles(dataset, symbols, session))


def volume_profiles(dataset: Dataset, symbols: Sequence[str], session: Session) -> dict[str, Floats]:
    """Symbol -> volume profile for a coming session, from the bars before it.

    A stock without bars in the session before has no profile, and is left out.

    Raises:
        DataError: a file of the data folder is malformed.
    """
    manifest = read_manifest(dataset.folder)
    records = manifest.symbols if manifest else {}

    def profile_of(symbol: str) -> Floats:
        bars = dataset.recorded_bars(symbol, records.get(symbol, SymbolRecord()))
        return volume_profile(bars, session, dataset.calendar)

    with ThreadPoolExecutor(READERS) as pool:
        found = dict(zip(symbols, pool.map(profile_of, symbols), strict=True))
    return {symbol: profile for symbol, profile in found.items() if np.isfinite(profile).any()}
