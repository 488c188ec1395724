"""What `live_trader.py` and `--check` and `--setup` do."""
