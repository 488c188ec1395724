"""A decorator that compiles a function with numba and caches the machine code on disk where possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

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
