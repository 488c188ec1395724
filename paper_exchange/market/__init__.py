"""Recorded and generated markets, and the tape through which the exchange reads their bars."""
