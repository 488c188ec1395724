"""Counts and ranges read as a person would write them, whatever their number."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.reports.backtested.words import of_seen
from trading.reports.page import per_cent


@pytest.mark.parametrize(("seen", "sessions", "words"), [
    (1, 1, "The only session trained the model: what it earned on it says nothing."),
    (1, 3, "1 of these 3 sessions trained the model: what it earned on it says nothing."),
    (3, 3, "All 3 sessions trained the model: what it earned on them says nothing."),
    (2, 3, "2 of these 3 sessions trained the model: what it earned on them says nothing."),
])  # fmt: skip
def test_sessions_that_trained_the_model(seen: int, sessions: int, words: str) -> None:
    assert of_seen(seen, sessions) == words


@given(value=st.floats(-1.0, 1.0), decimals=st.integers(0, 4))
def test_zero_has_one_sign(value: float, decimals: int) -> None:
    shown = per_cent(value, decimals)
    assert not re.fullmatch(r"-0(\.0*)?%", shown)
    assert float(shown.removesuffix("%")) == round(value, decimals)
