"""Feature vectors of 20-minute windows, computed by the same functions for history and for the live feed."""
