"""The figures of closed trades, shared by the backtest and by the report of the logs."""
