"""What `backtest.py` does."""
