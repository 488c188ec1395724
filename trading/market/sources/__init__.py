"""The sources of bars: Alpaca, Yahoo, and folders of recorded bars."""
