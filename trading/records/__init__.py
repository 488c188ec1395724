"""The files written while the system runs: audit, predictions, trades."""
