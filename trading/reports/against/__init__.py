"""Live against backtest: the trades of the logs beside those of a backtest of the same days, and why they differ."""
