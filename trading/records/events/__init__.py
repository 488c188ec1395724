"""What the events of the audit are."""
