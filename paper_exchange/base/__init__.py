"""Wire format, clock and calendar: what every room of the exchange needs."""
