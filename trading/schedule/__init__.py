"""What is due at which time of the exchange's day, and the scheduler that calls it."""
