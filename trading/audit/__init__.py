"""Checks of the user's data, logs and published models."""
