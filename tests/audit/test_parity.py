"""Parity of training and trading: a replayed day is made again from `data/` by the training path, bit for bit."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.app.whole_day import Place, trade, write_bars
from tests.settings import label_rules
from trading.audit.data import DataFolder
from trading.audit.predictions import ChangedBars, Logged
from trading.base.arrays import Floats
from trading.base.calendar import new_york_calendar
from trading.dataset.dataset import Dataset, Rows
from trading.learning.calibration import win_probability
from trading.learning.fitting import probabilities
from trading.market.bars import MINUTE_NS, Bars, read_bars_file, to_ns
from trading.models.store import ModelStore
from trading.rules.costs import round_trip_cost_pct
from trading.rules.exits import levels
from trading.rules.labels import target_first
from trading.rules.outcomes import tick

if TYPE_CHECKING:
    from pathlib import Path

DAY = date(2025, 3, 7)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A day that was traded, with the evening's dataset."""
    root = tmp_path_factory.mktemp("parity")
    write_bars(root / "bars", date(2025, 3, 3), DAY)
    found = Place.make(root / "run")
    assert trade(found, "--bars", root / "bars", "--start", DAY) == 0
    return found


@pytest.fixture(scope="module")
def rows(place: Place) -> Rows:
    return Dataset(place.data).load()


def place_of(rows: Rows) -> dict[tuple[str, int], int]:
    """(symbol, start of the bar) -> row."""
    named = ((rows.symbols[symbol], int(start)) for symbol, start in zip(rows.symbol, rows.start, strict=True))
    return {key: row for row, key in enumerate(named)}


def key_of(line: dict) -> tuple[str, int]:
    return line["symbol"], to_ns(datetime.fromisoformat(line["bar_time"]))


def final(place: Place) -> list[dict]:
    """The predictions of bars that did not change afterwards."""
    changed = ChangedBars(place.logs)
    lines = place.predictions()
    made = [Logged(line, *key_of(line), datetime.fromisoformat(line["timestamp"])) for line in lines]
    found = [one.line for one in made if not changed.after(one)]
    assert 0.95 * len(lines) < len(found) < len(lines)  # one bar in fifty is completed half a minute later
    return found


def bits(numbers: list) -> bytes:
    return np.array(numbers, dtype=np.float64).tobytes()


def vectors(place: Place, lines: list[dict]) -> list[Floats]:
    """The features of the bar of each prediction; a bar whose trade would enter late has some, but no row."""
    data = DataFolder(Dataset(place.data))
    return [data.vectors(symbol)[start] for symbol, start in map(key_of, lines)]


def test_features_of_every_prediction_are_those_of_the_dataset_to_the_bit(place: Place, rows: Rows) -> None:
    lines = final(place)
    where = place_of(rows)
    assert len(lines) > 3000
    for line, vector in zip(lines, vectors(place, lines), strict=True):
        assert bits(line["features"]) == vector.tobytes(), line
        row = where.get(key_of(line))
        assert row is None or rows.X[row].tobytes() == vector.tobytes()
        assert bits([line["price"]]) == bits([line["features"][3]])


def test_probabilities_are_those_of_the_model_that_the_line_names_to_the_bit(place: Place) -> None:
    """One batch over the whole day, through the scaler and the model as they were published."""
    lines = final(place)
    for name in {line["model"] for line in lines}:
        model = ModelStore(place.models).load(name)
        mine = [line for line in lines if line["model"] == name]
        own = probabilities(model.scaler, model.model, np.array(vectors(place, mine)))
        assert bits([line["model_probability"] for line in mine]) == own.tobytes()
        calibrated = win_probability(own, model.calibration)
        assert bits([line["win_probability"] for line in mine]) == calibrated.tobytes()
        assert all(line["confidence"] == line["model_probability"] for line in mine)
        assert all(line["meets_threshold"] == (line["confidence"] >= 0.55 and not line["stale"]) for line in mine)


def test_every_minute_of_the_day_that_can_be_traded_was_predicted(place: Place, rows: Rows) -> None:
    """A row of that day without a prediction would be one that training knows and trading never sees."""
    predicted = {key_of(line) for line in place.predictions()}
    day = {key for key, row in place_of(rows).items() if rows.session[row] == np.datetime64(DAY)}
    assert day <= predicted
    assert len(day) > 3000


def test_labels_are_the_outcomes_of_the_trades(place: Place, rows: Rows) -> None:
    """The outcome of a row before cost is that of the trade which was made on it, less the tick of the spread.

    A row's levels are those of the printed price, a trade's those of the ask: they differ by a tick at most, and by one
    in which a trade ends that the row's does not.  The label asks from the ask, and agrees to the last digit.
    """
    where = place_of(rows)
    said = {(line["timestamp"], line["symbol"]): line for line in place.predictions()}
    asked, close, rules = 0, 0, label_rules()
    for one in place.trades():
        bars = read_bars_file(Dataset(place.data).bars_path(one["symbol"]))
        key = key_of(said[(one["decision_time"], one["symbol"])])
        entry = int(np.searchsorted(bars.start, key[1])) + 1
        flatten = to_ns(new_york_calendar().session(DAY).flatten_at(rules.flatten_minutes))
        if bars.start[entry] != key[1] + MINUTE_NS:  # a minute without a bar: live buys at once, a row at the next bar
            last = float(bars.close[entry - 1])
            assert one["entry_price"] == pytest.approx(last + tick(last), abs=1e-9)
            continue
        opened, step = float(bars.open[entry]), tick(float(bars.open[entry]))
        assert one["entry_price"] == pytest.approx(opened + step, abs=1e-9)
        assert 0 < to_ns(datetime.fromisoformat(one["entry_time"])) - bars.start[entry] < MINUTE_NS
        outcome = 100.0 * (one["exit_price"] / one["entry_price"] - 1.0)
        if not touched(bars, entry, one):
            gross = rows.outcome[where[key]] + round_trip_cost_pct(np.array([opened]), 0.001, 1)[0]
            share = 100.0 * step / opened
            close += bool(abs(outcome - (gross - share)) <= 1.05 * share)
            day = slice(entry, entry + int(np.searchsorted(bars.start[entry:], flatten + 1)))
            ask = one["entry_price"]
            first = target_first(bars.open[day], bars.high[day], bars.low[day], bars.start[day], flatten, ask, rules)
            assert rows.label[where[key]] == first
            asked += 1
    assert asked >= 20
    assert asked >= 0.7 * len(place.trades())
    assert close >= 0.9 * asked


def touched(bars: Bars, entry: int, one: dict) -> bool:
    """Whether the bar of entry reaches a level, as it was sent or as it was moved."""
    sent_stop, sent_target = levels(one["decision_price"], 0.02, 0.04)
    stop, target = max(sent_stop, one["stop_loss"]), min(sent_target, one["take_profit"])
    return bool(bars.low[entry] <= stop or bars.high[entry] >= target)


def test_the_recorded_bars_and_the_dataset_are_the_same(place: Place, tmp_path: Path) -> None:
    """What came through the exchange and its client is what lies in the folder: no price is changed on the way."""
    recorded = place.root.parent / "bars"
    for symbol in Dataset(place.data).symbols:
        assert Dataset(place.data).bars_path(symbol).is_file()
        served = read_bars_file(Dataset(place.data).bars_path(symbol))
        source = read_bars_file(recorded / f"{symbol}.csv")
        assert served.equals(source)
