"""An ML day-trading system for US stocks, in packages whose imports run one way (see docs/architecture.md)."""

from typing import Final

__version__: Final = "0.4.0"
