"""The document's entry filters and position sizes, at their limits."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config import EntrySettings, Settings
from tests.exchange.exchange_world import HALF_DAY, MONDAY, ny
from trading.base.calendar import new_york_calendar
from trading.rules.entry import Candidate, EntryContext, cost_to_buy, document_rules, first_refusal, shares_to_buy

SESSION = new_york_calendar().session(MONDAY)
HALF = new_york_calendar().session(HALF_DAY)
SETTINGS = Settings()
RULES = document_rules(SETTINGS.prediction, SETTINGS.data, SETTINGS.entry)
GOOD = Candidate("AAA", 10.0, 0.8)
STANDING = EntryContext(
    now=ny(MONDAY, "10:31:02"),
    session=SESSION,
    flatten_at=SESSION.flatten_at(5),
    equity=D(100_000),
    buying_power=D(100_000),
    held=frozenset(),
)


def refused(candidate: Candidate = GOOD, **changes: Any) -> str | None:
    found = first_refusal(RULES, candidate, replace(STANDING, **changes))
    return None if found is None else found[0]


def test_rules_apply_in_the_documents_order() -> None:
    names = ["confidence", "market_open", "price", "not_owned", "positions", "size", "buying_power"]
    assert [rule.name for rule in RULES] == names
    everything_wrong = Candidate("AAA", 25.0, 0.1)
    assert refused(everything_wrong, now=ny(MONDAY, "09:00"), held=frozenset({"AAA"}), equity=D(1)) == "confidence"


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.65, None), (math.nextafter(0.65, 0), "confidence"), (1.0, None), (0.0, "confidence"), (math.nan, "confidence")],
)
def test_confidence(confidence: float, expected: str | None) -> None:
    assert refused(replace(GOOD, confidence=confidence)) == expected


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("09:29:59", "market_open"),
        ("09:30:00", None),
        ("15:54:59", None),
        ("15:55:00", "market_open"),
        ("16:00:00", "market_open"),
        ("04:00", "market_open"),
    ],
)
def test_market_must_be_open_and_not_about_to_close(clock: str, expected: str | None) -> None:
    assert refused(now=ny(MONDAY, clock)) == expected


@pytest.mark.parametrize(("clock", "expected"), [("12:54:59", None), ("12:55:00", "market_open")])
def test_half_day_ends_at_13_00(clock: str, expected: str | None) -> None:
    assert refused(now=ny(HALF_DAY, clock), session=HALF, flatten_at=HALF.flatten_at(5)) == expected


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (1.0, None),
        (math.nextafter(1.0, 0), "price"),
        (20.0, None),
        (math.nextafter(20.0, 21), "price"),
        (0.0, "price"),
        (-5.0, "price"),
        (math.nan, "price"),
        (math.inf, "price"),
    ],
)
def test_price(price: float, expected: str | None) -> None:
    assert refused(replace(GOOD, price=price)) == expected


def test_owned_stock_is_not_bought_again() -> None:
    assert refused(held=frozenset({"AAA"})) == "not_owned"
    assert refused(held=frozenset({"AAB"})) is None


@pytest.mark.parametrize(("count", "expected"), [(9, None), (10, "positions"), (11, "positions")])
def test_at_most_ten_positions(count: int, expected: str | None) -> None:
    assert refused(held=frozenset(f"X{n}" for n in range(count))) == expected


@pytest.mark.parametrize(("equity", "expected"), [(D("1000"), None), (D("999.99"), "size"), (D(0), "size")])
def test_risk_must_allow_at_least_one_share(equity: D, expected: str | None) -> None:
    assert refused(equity=equity) == expected


@pytest.mark.parametrize(
    ("power", "expected"), [(D("50.00"), None), (D("49.99"), "buying_power"), (D(-1), "buying_power")]
)
def test_buying_power(power: D, expected: str | None) -> None:
    assert refused(buying_power=power) == expected


@pytest.mark.parametrize(
    ("equity", "price", "shares"),
    [
        (D(100_000), 10.0, 5),
        (D("4999.99"), 10.0, 4),
        (D(5000), 10.0, 5),
        (D(1000), 10.0, 1),
        (D("999.99"), 10.0, 0),
        (D(100_000), 0.0, 0),
        (D(100_000), -1.0, 0),
        (D(100_000), math.nan, 0),
        (D(100_000), math.inf, 0),
        (D(-5), 10.0, 0),
        (D(0), 10.0, 0),
    ],
)
def test_size(equity: D, price: float, shares: int) -> None:
    assert shares_to_buy(equity, price, SETTINGS.entry) == shares


dollars = st.decimals(min_value=0, max_value=10**9, places=2)
prices = st.floats(min_value=1e-6, max_value=1e6)


@given(equity=dollars, price=prices, risk=st.floats(0.0001, 0.99), most=st.integers(1, 50))
@example(equity=D("1000"), price=10 / 3, risk=0.01, most=5)  # in floats 10 / (10/3) is 3, one share too many
@example(equity=D("210"), price=0.7, risk=0.01, most=5)  # in floats 2.1 / 0.7 is 3.0000000000000004
def test_size_is_the_largest_within_the_risk(equity: D, price: float, risk: float, most: int) -> None:
    sizing = EntrySettings(RISK_PER_TRADE=risk, MAX_POSITION_SIZE=most)
    shares = shares_to_buy(equity, price, sizing)
    exact, allowed = D(repr(price)), equity * D(repr(risk))
    assert 0 <= shares <= most
    assert shares * exact <= allowed
    assert shares == most or (shares + 1) * exact > allowed
    assert 0 <= cost_to_buy(equity, price, sizing) - shares * exact < D("0.01")


@given(equity=dollars, power=dollars, price=prices, held=st.sets(st.sampled_from("ABCDEFGHIJKL")))
def test_accepted_entry_satisfies_every_rule(equity: D, power: D, price: float, held: set[str]) -> None:
    if refused(replace(GOOD, price=price), equity=equity, buying_power=power, held=frozenset(held)) is None:
        shares = shares_to_buy(equity, price, SETTINGS.entry)
        assert 1 <= shares <= 5 and 1.0 <= price <= 20.0 and len(held) < 10
        assert shares * D(repr(price)) <= min(equity * D("0.01"), power)


@given(st.integers(0, 8 * 60 * 60))
def test_no_entry_outside_the_session(seconds: int) -> None:
    now = ny(MONDAY, "09:00") + timedelta(seconds=seconds)
    assert (refused(now=now) is None) == (SESSION.open <= now < SESSION.flatten_at(5))


def test_every_refusal_has_a_one_line_reason() -> None:
    for candidate, changes in (
        (replace(GOOD, confidence=0.5), {}),
        (GOOD, {"now": ny(MONDAY, "08:00")}),
        (replace(GOOD, price=30.0), {}),
        (GOOD, {"held": frozenset({"AAA"})}),
        (GOOD, {"held": frozenset("BCDEFGHIJK")}),
        (GOOD, {"equity": D(10)}),
        (GOOD, {"buying_power": D(10)}),
    ):
        found = first_refusal(RULES, candidate, replace(STANDING, **changes))
        assert found is not None and len(found[1]) > 15 and "\n" not in found[1]
