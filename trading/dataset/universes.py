"""The universes of past dates from the bars of a data folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from trading.dataset.dataset import READERS
from trading.market.universe import PastUniverses, evenings

if TYPE_CHECKING:
    from datetime import date

    from config import DataSettings
    from trading.dataset.dataset import Dataset
    from trading.market.source import Pick


def past_universes(dataset: Dataset, data: DataSettings) -> PastUniverses:
    """The universe of any date, chosen among all stocks that the folder has bars of.

        past_universes(dataset, data).universe_of(day).picks    # the most active first

    Reads every file of `data/bars/` once.  A stock that was never fetched cannot be chosen, and prices are on the scale
    of the stored bars, which are adjusted for splits.

    Raises:
        DataError: there is no dataset, or a file of it is damaged.
    """
    records = dataset.manifest.symbols

    def of(symbol: str) -> dict[date, Pick]:
        return evenings(symbol, dataset.recorded_bars(symbol, records[symbol]).for_outcomes)

    with ThreadPoolExecutor(READERS) as pool:
        return PastUniverses(list(pool.map(of, records)), dataset.calendar, data)
