"""The page of a backtest, and the verdict on the best of many settings."""
