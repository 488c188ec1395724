"""Decorators of functions that numba compiles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

from numba import njit
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])

_BLAS: Final = "scipy.linalg.cython_blas"


def _load_without_scipy() -> None:
    """Load numba's array functions without SciPy, which they import to see whether it has a BLAS: 0.2 to 0.3 s of CPU.

    No compiled function here multiplies matrices; numba would refuse to compile one that does.
    """
    if _BLAS in sys.modules:
        return
    sys.modules[_BLAS] = None  # type: ignore[assignment]  # to import it is an ImportError, as without SciPy
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules[_BLAS]


_load_without_scipy()


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
