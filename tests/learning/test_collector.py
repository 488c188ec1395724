"""The garbage collector waits while a minute is worked on, and goes on after it, whatever became of the minute."""

from __future__ import annotations

import gc

import pytest

from trading.learning.collector import uncollected


def test_nothing_is_collected_within_and_collection_goes_on_after() -> None:
    collections: list[str] = []

    def watch(phase: str, info: dict[str, int]) -> None:
        collections.append(phase)

    gc.collect()
    gc.callbacks.append(watch)
    try:
        with uncollected():
            kept = [{"number": [number]} for number in range(50_000)]
            within = len(collections)
        more = [{"number": [number]} for number in range(5_000)]
    finally:
        gc.callbacks.remove(watch)
    assert within == 0
    assert collections
    assert len(kept) + len(more) == 55_000


def test_an_error_and_an_inner_one_leave_the_collector_as_it_was() -> None:
    @uncollected()
    def minute() -> None:
        with uncollected():
            pass
        assert not gc.isenabled()
        raise ValueError("a minute that failed")

    for _ in range(2):  # a decorated function can be called again
        with pytest.raises(ValueError, match="failed"):
            minute()
        assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled(), "whoever switched it off wants it off"
    finally:
        gc.enable()
