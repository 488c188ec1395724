"""numba's compiler with its cache on the disk, where there is a place for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """As `numba.njit(cache=True, **options)`; without the cache where neither the project nor the home can be written.

    It costs such a process the seconds of compiling; numba alone would end it with a RuntimeError.
    """

    def decorate(function: F) -> F:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:
            return njit(**options)(function)

    return decorate
