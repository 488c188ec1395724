"""Which shares and orders of the account are ours, beyond the open trades of the log."""
