"""Puts the system together: one module a command, and the only room that knows `config` and `paper_exchange`."""
