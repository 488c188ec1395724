"""What of the exchange's day is due, and when it is called."""
