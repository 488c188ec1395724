"""The items of `live_trader.py --check`: the disk, and the account."""
