"""Matching of one order against one bar: every case by example, and invariants over random bars."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_exchange.orders.matching import Bar, EntryPath, Match, Terms, match, match_exit

BAR = Bar(0, D("10.00"), D("10.50"), D("9.50"), D("10.20"))


def price(kind: str, side: str, limit: str | None = None, stop: str | None = None, bar: Bar = BAR) -> str | None:
    found = match(Terms(kind, side == "buy", D(limit) if limit else None, D(stop) if stop else None), bar)
    return None if found.price is None else str(found.price)


@pytest.mark.parametrize(
    ("kind", "side", "limit", "stop", "expected"),
    [
        ("market", "buy", None, None, "10.00"),
        ("market", "sell", None, None, "10.00"),
        ("limit", "buy", "10.10", None, "10.00"),  # the open is better
        ("limit", "buy", "10.00", None, "10.00"),
        ("limit", "buy", "9.80", None, "9.80"),
        ("limit", "buy", "9.50", None, "9.50"),  # a touch is enough
        ("limit", "buy", "9.49", None, None),
        ("limit", "sell", "9.90", None, "10.00"),
        ("limit", "sell", "10.30", None, "10.30"),
        ("limit", "sell", "10.50", None, "10.50"),
        ("limit", "sell", "10.51", None, None),
        ("stop", "sell", None, "10.10", "10.00"),  # opens beyond it
        ("stop", "sell", None, "9.60", "9.60"),
        ("stop", "sell", None, "9.50", "9.50"),
        ("stop", "sell", None, "9.49", None),
        ("stop", "buy", None, "9.90", "10.00"),
        ("stop", "buy", None, "10.40", "10.40"),
        ("stop", "buy", None, "10.51", None),
        ("stop_limit", "sell", "9.55", "9.60", "9.60"),
        ("stop_limit", "buy", "10.45", "10.40", "10.40"),
        ("stop_limit", "buy", "9.95", "9.90", None),  # triggered at the open, which is above the limit
    ],
)
def test_each_kind(kind: str, side: str, limit: str | None, stop: str | None, expected: str | None) -> None:
    assert price(kind, side, limit, stop) == expected


def test_a_stop_limit_that_misses_its_limit_becomes_a_limit_order() -> None:
    terms = Terms("stop_limit", buy=False, limit=D("10.05"), stop=D("10.10"))
    assert match(terms, BAR) == Match(None, triggered=True)
    resting = Terms("stop_limit", buy=False, limit=D("10.05"), stop=D("10.10"), triggered=True)
    assert match(resting, BAR).price == D("10.05")


STOP = Terms("stop", buy=False, stop=D("9.60"))
TARGET = Terms("limit", buy=False, limit=D("10.40"))


@pytest.mark.parametrize(
    ("bar", "entered", "expected"),
    [
        (BAR, None, ("stop", "9.60")),  # spans both: the stop comes first
        (BAR, EntryPath.AT_OPEN, ("stop", "9.60")),
        (Bar(0, D(10), D("10.5"), D("9.7"), D(10)), None, ("target", "10.40")),
        (Bar(0, D("10.6"), D("10.7"), D("9.5"), D(10)), None, ("target", "10.6")),  # opens beyond: comes first
        (Bar(0, D("9.4"), D("10.7"), D("9.3"), D(10)), None, ("stop", "9.4")),
        (Bar(0, D("9.4"), D("10.7"), D("9.3"), D(10)), EntryPath.AT_OPEN, ("stop", "9.4")),
        (Bar(0, D(10), D("10.1"), D("9.9"), D(10)), None, None),
        # Bought inside the bar on the way down: the high may have come before the entry, the close has not.
        (Bar(0, D("10.5"), D("10.6"), D("9.7"), D("10.1")), EntryPath.FALLING, None),
        (Bar(0, D("10.5"), D("10.6"), D("9.7"), D("10.45")), EntryPath.FALLING, ("target", "10.40")),
        (Bar(0, D("10.5"), D("10.6"), D("9.5"), D("10.45")), EntryPath.FALLING, ("stop", "9.60")),
        # Bought inside the bar on the way up: the high came after the entry.
        (Bar(0, D("9.9"), D("10.6"), D("9.7"), D("10.1")), EntryPath.RISING, ("target", "10.40")),
        (Bar(0, D("9.5"), D("10.6"), D("9.5"), D("10.1")), EntryPath.RISING, ("stop", "9.60")),
    ],
)
def test_a_stop_and_a_target_on_the_same_shares(
    bar: Bar, entered: EntryPath | None, expected: tuple[str, str] | None
) -> None:
    found = match_exit(STOP, TARGET, bar, entered)
    assert (None if found is None else (found[0], str(found[1].price))) == expected


cents = st.integers(100, 2000).map(lambda n: D(n) / 100)


@st.composite
def bars(draw: st.DrawFn) -> Bar:
    low, high = sorted((draw(cents), draw(cents)))
    inside = st.integers(int(low * 100), int(high * 100)).map(lambda n: D(n) / 100)
    return Bar(0, draw(inside), high, low, draw(inside))


@given(bars(), st.sampled_from(["market", "limit", "stop", "stop_limit"]), st.booleans(), cents, cents, st.booleans())
def test_a_fill_price_lies_in_the_bar_and_within_the_limit(
    bar: Bar, kind: str, buy: bool, limit: D, stop: D, triggered: bool
) -> None:
    found = match(Terms(kind, buy, limit, stop, triggered and kind == "stop_limit"), bar)
    if found.price is None:
        return
    assert bar.low <= found.price <= bar.high
    if kind in ("limit", "stop_limit"):
        assert found.price <= limit if buy else found.price >= limit
    if kind == "stop":
        assert found.price >= stop if buy else found.price <= stop


@given(bars(), cents, cents, st.sampled_from([None, *EntryPath]), st.booleans(), st.booleans())
def test_an_exit_price_lies_in_the_bar(
    bar: Bar, stop: D, target: D, entered: EntryPath | None, has_stop: bool, has_target: bool
) -> None:
    found = match_exit(
        Terms("stop", False, stop=stop) if has_stop else None,
        Terms("limit", False, limit=target) if has_target else None,
        bar,
        entered,
    )
    if found is not None and found[1].price is not None:
        assert bar.low <= found[1].price <= bar.high
        assert found[0] == "stop" or found[1].price >= target
