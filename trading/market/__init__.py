"""1-minute bars: their checks, their files, and the sources that they come from."""
