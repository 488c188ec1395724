"""Errors that are shown to the user as one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """An error that the user can fix.  Its text is one line: what is wrong, where, and what to do next."""


class DataError(UserError):
    """A data file is missing, malformed or empty."""


class ModelError(UserError):
    """No model can be used: there is none, it is damaged, or an incompatible library wrote it."""


class BrokerError(UserError):
    """The broker cannot be used: the keys are wrong, the account is blocked, or the address is not allowed."""
