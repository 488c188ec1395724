"""An ML day-trading system for US stocks, in rooms whose imports run one way (see docs/architecture.md)."""
