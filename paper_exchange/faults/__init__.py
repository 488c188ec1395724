"""Faults on demand: wrong replies, broken connections, halted stocks."""
