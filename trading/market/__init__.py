"""1-minute bars: checks, files, and the sources that bars come from."""
