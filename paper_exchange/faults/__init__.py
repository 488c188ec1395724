"""Fault injection: wrong replies, broken connections, halted stocks."""
