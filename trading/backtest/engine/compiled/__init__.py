"""The minutes of a session, compiled: positions, fills and entries as arrays."""
