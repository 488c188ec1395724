"""What can go wrong in words that a user can act on."""

from __future__ import annotations


class UserError(Exception):
    """A fault that the user can mend.  Its text is one line: what is wrong, where, and what to do next."""


class DataError(UserError):
    """A data file is missing, malformed or empty."""


class ModelError(UserError):
    """No model can be used: none there, damaged, or made by an incompatible library."""


class BrokerError(UserError):
    """The broker cannot be used at all: wrong keys, an account that is blocked, an address that is not allowed."""
