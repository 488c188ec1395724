"""Which rows are trained on, and how much each of them counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trading.base.arrays import Days, Floats, Mask
from trading.base.errors import MORE_SESSIONS, DataError
from trading.dataset.dataset import Rows
from trading.dataset.rows import distinct_days

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class WeightedRows(Rows):
    """Rows, n of them; some hold the outcome of a real trade.

    Attributes:
        past: rows with a real trade's outcome, bool (n,); thinning keeps them.
        weight: weight of each row in fitting, float64 (n,).
    """

    past: Mask
    weight: Floats

    @classmethod
    def of(cls, rows: Rows, past: Mask, weight: Floats) -> WeightedRows:
        """`rows` with these columns added."""
        return cls(rows.symbols, rows.symbol, rows.session, rows.start, rows.X, rows.outcome, rows.label, past, weight)

    def take(self, which: slice | NDArray[Any]) -> WeightedRows:
        """As `Rows.take`."""
        return WeightedRows.of(super().take(which), self.past[which], self.weight[which])


def split_by_session(session: Days, test_size: float = 0.2) -> tuple[Mask, Mask]:
    """Split rows into the oldest sessions (training) and the newest (test), at least one session each.

    Every outcome ends with its session, so no outcome is known on both sides.

    Args:
        session: shape (n,).
        test_size: fraction of the sessions to test on.

    Returns:
        (train, test), bool masks of shape (n,).

    Raises:
        DataError: fewer than two sessions.
    """
    sessions = distinct_days(session)
    if len(sessions) < 2:
        raise DataError(f"training needs two sessions, and the data has {len(sessions)}; {MORE_SESSIONS}")
    tested = min(max(1, round(test_size * len(sessions))), len(sessions) - 1)
    test: Mask = session >= sessions[-tested]
    return ~test, test


def thin(symbol: NDArray[np.int32], session: Days, every: int) -> Mask:
    """Select every `every`-th row of each symbol and session.

    Rows of neighbouring minutes share most of their window and their label, so few of them carry most of the
    information; every stock is kept.  Each group starts one row later than the group before it, so that all minutes of
    the day stay represented.

    Args:
        symbol, session: shape (n,), the rows of one symbol and session adjacent.

    Returns:
        bool mask of shape (n,).
    """
    n = len(symbol)
    if n == 0 or every <= 1:
        return np.ones(n, dtype=np.bool_)
    begins = np.ones(n, dtype=np.bool_)
    begins[1:] = (symbol[1:] != symbol[:-1]) | (session[1:] != session[:-1])
    group = np.cumsum(begins) - 1
    position = np.arange(n) - np.flatnonzero(begins)[group]
    mask: Mask = (position - group) % every == 0
    return mask


def rows_to_fit(rows: Rows, every: int) -> Mask:
    """The rows that a model is fitted on: the thinned rows and every row of a past trade."""
    kept = thin(rows.symbol, rows.session, every)
    return kept | rows.past if isinstance(rows, WeightedRows) else kept


def weights_of(rows: Rows, chosen: Mask) -> Floats | None:
    """Weights of the chosen rows; None where all of them count the same."""
    if not isinstance(rows, WeightedRows) or np.all(rows.weight[chosen] == 1.0):
        return None
    return rows.weight[chosen]
