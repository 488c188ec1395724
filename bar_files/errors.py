"""The error of a file of bars that cannot be used."""

from __future__ import annotations


class BarFileError(ValueError):
    """A file or folder of bars that cannot be used; the message is one line with the file, the field and the remedy."""
