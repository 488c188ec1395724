"""What is written down while the system runs: the audit, the predictions, the trades."""
