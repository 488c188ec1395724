"""The types of the columns of CSV files, as names: `trading.market.csv_files`, which reads them, imports pyarrow."""

from __future__ import annotations

from typing import Final, Literal

ColumnType = Literal["symbol", "instant", "number", "whole"]

SYMBOL: Final = "symbol"
INSTANT: Final = "instant"
NUMBER: Final = "number"
WHOLE: Final = "whole"
"""0 or 1."""
