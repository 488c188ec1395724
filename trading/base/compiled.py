"""Decorators of functions that numba compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """Like `numba.njit(cache=True, **options)`, without the cache where neither project nor home directory is writable.

    There numba raises RuntimeError; without the cache each process spends a few seconds on compiling.
    """

    def decorate(function: F) -> F:
        decorated: F
        try:
            decorated = njit(cache=True, **options)(function)
        except RuntimeError:
            decorated = njit(**options)(function)
        return decorated

    return decorate


def compilable(function: F) -> F:
    """The same function: it stays plain Python for its callers, and compiled functions may call it too.

    Whole numbers of its compiled form have 64 bits, and wrap around without an error.
    """
    found: F = register_jitable(function)
    return found
