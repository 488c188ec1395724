"""Random numbers that depend on what they are for, and not on what was drawn before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
SECOND: Final = np.uint64(0x94D049BB133111EB)


def uniform(seed: int, purpose: str, symbol: str, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each of `numbers`, the same for the same four arguments.

    The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014), applied to the number after a key of seed, purpose and symbol.
    """
    return uniform_at(keys(seed, purpose, [symbol]), numbers)


def keys(seed: int, purpose: str, symbols: Sequence[str]) -> NDArray[np.uint64]:
    """The key of each symbol's draws for a purpose."""
    found = [(crc32(f"{purpose} {symbol}".encode()) << 32) ^ (seed & 0xFFFFFFFF) for symbol in symbols]
    return _mixed(np.array(found, dtype=np.uint64))


def uniform_at(key: NDArray[np.uint64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each of `numbers`, with one key for all or one for each."""
    mixed = _mixed(numbers.astype(np.uint64) + key)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values + GOLDEN  # arrays of unsigned integers wrap around, as the hash needs it
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    return values ^ (values >> np.uint64(31))
