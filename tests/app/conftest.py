"""Recorded bars, and a replay of two sessions that several test modules look at."""

from __future__ import annotations

import contextlib
import io
from datetime import date
from typing import TYPE_CHECKING

import pytest

from tests.app.whole_day import FRIDAY, MOST, Place, trade, write_bars

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded bars: four sessions of history before FRIDAY, and one session after MONDAY."""
    folder = tmp_path_factory.mktemp("recorded") / "bars"
    write_bars(folder, date(2025, 3, 3), date(2025, 3, 11))
    return folder


@pytest.fixture(scope="session")
def replayed(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Friday and Monday, traded from scratch."""
    place = Place.make(tmp_path_factory.mktemp("replayed"), MAX_OPEN_POSITIONS=MOST)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert trade(place, "--bars", bars, "--start", FRIDAY, "--sessions", 2) == 0
    assert said.getvalue().splitlines()[-1].startswith("2 sessions of recorded bars, at a spread of one tick")
    return place
