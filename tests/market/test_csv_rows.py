"""Lines of data files, compared with a parse of each line."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.market.csv_files import format_rows

instants = st.integers(-300_000_000, 7_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@settings(deadline=None)
@given(st.lists(st.tuples(instants, st.floats(0.01, 1e6), st.integers(0, 1)), min_size=1, max_size=20))
def test_line_holds_symbol_instant_and_numbers(rows: list[tuple[datetime, float, int]]) -> None:
    start = np.array([int(instant.timestamp()) * 1_000_000_000 for instant, _, _ in rows])
    numbers = np.array([number for _, number, _ in rows])
    labels = np.array([label for _, _, label in rows], dtype=np.int8)
    lines = format_rows("BRK.B", start, [numbers, labels]).decode().splitlines()
    for line, (instant, number, label) in zip(lines, rows, strict=True):
        symbol, written, value, kind = line.split(",")
        assert (symbol, written, kind) == ("BRK.B", f"{instant:%Y-%m-%dT%H:%M:%S}Z", str(label))
        assert float(value) == number
