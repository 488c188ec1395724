"""The check of the logs: every logged prediction is made again from `data/` and the model that it names."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trading.audit.check import Check, Step, moment
from trading.base.errors import ModelError
from trading.base.files import is_damaged, line_files, packed_path, read_lines
from trading.learning.calibration import win_probability
from trading.market.bars import MINUTE_NS, to_ns

if TYPE_CHECKING:
    from pathlib import Path

    from trading.audit.data import DataFolder
    from trading.base.arrays import Floats
    from trading.models.store import LoadedModel, ModelStore


SESSION_NS = 12 * 60 * MINUTE_NS
"""Longer than a session, shorter than from one to the next."""


NEWEST_NS = 3 * MINUTE_NS
"""Bars that ended longer ago are taken as final."""


class LoggedSettings:
    """The settings in force at an instant, from the `started` events of the audit logs; before the first, the current.

    Args:
        current: the current prediction settings by name.
    """

    def __init__(self, logs: Path, current: dict[str, Any]) -> None:
        self._current = current
        self._starts: list[tuple[datetime, dict[str, Any]]] = []
        for path in line_files(logs, "audit"):
            for event in read_lines(path):
                if event.get("event") == "started" and isinstance(event.get("settings"), dict):
                    self._starts.append((datetime.fromisoformat(event["time"]), event["settings"]))
        self._starts.sort(key=lambda one: one[0])

    def at(self, instant: datetime) -> dict[str, Any]:
        """The settings of the last start at or before `instant`."""
        i = bisect_right(self._starts, instant, key=lambda one: one[0])
        return {**self._current, **(self._starts[i - 1][1] if i else {})}


class ChangedBars:
    """The bars that came late, or again with other values, from the `bars_changed` events of the audit logs.

    A trader that is started again does not know which of the newest bars have changed since its end.
    """

    def __init__(self, logs: Path) -> None:
        self._changes: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._ends: list[int] = []
        for path in line_files(logs, "audit"):
            last = 0
            for event in read_lines(path):
                with contextlib.suppress(KeyError, TypeError, ValueError):  # a line that somebody has changed
                    at = to_ns(datetime.fromisoformat(event["time"]))
                    if event["event"] == "started":
                        self._ends.append(last)
                    last = at
                    if event["event"] == "bars_changed":
                        for symbol, start in event["bars"]:
                            self._changes[symbol].append((to_ns(datetime.fromisoformat(start)), at))

    def after(self, logged: Logged) -> bool:
        """Whether a bar of its session that a prediction was made of changed after it, or may have."""
        now = to_ns(logged.now)
        changes = self._changes.get(logged.symbol, ())
        changed = any(at > now and 0 <= logged.start - start < SESSION_NS for start, at in changes)
        return changed or any(0 <= end - now < NEWEST_NS for end in self._ends)


class Logged(NamedTuple):
    """A logged prediction: its fields, symbol, start of its bar (ns), and its instant."""

    line: dict[str, Any]
    symbol: str
    start: int
    now: datetime


class Expected(NamedTuple):
    """What a prediction should be: features, price in dollars, the model's own and its calibrated probability."""

    X: Floats
    price: float
    own: float
    calibrated: float


def history(data: DataFolder, store: ModelStore, logs: Path, settings: LoggedSettings, step: Step) -> Check:
    """Compare every logged prediction with the training path and the model that it names, to the bit."""
    check = Check("parity", "logged predictions: features, probabilities and signals made again from data/, to the bit")
    models: dict[str, LoadedModel | str] = {}
    changed = ChangedBars(logs)
    for path in line_files(logs, "predictions"):
        step()
        for name, lines in _by_model(path, check).items():
            if name not in models:
                models[name] = _loaded(store, name, data)
            model = models[name]
            if isinstance(model, str):
                check.leave_out(model, len(lines))
            else:
                _compare_lines(check, data, model, lines, settings, changed)
    if not check.compared and not check.left_out:
        check.leave_out("no prediction was logged yet")
    return check


def _by_model(path: Path, check: Check) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    broken: list[int] = []
    for line in read_lines(path, broken=broken.append):
        found[str(line.get("model"))].append(line)
    check.leave_out("its line is not readable", len(broken))
    if is_damaged(packed_path(path)):
        check.find(f"{packed_path(path)}: it is damaged; the predictions after the damage are lost")
    return found


def _loaded(store: ModelStore, name: str, data: DataFolder) -> LoadedModel | str:
    """The model, or why its predictions cannot be made again."""
    if name not in store.timestamps():
        return "its model is gone (removed, or of other data)"
    try:
        model = store.load(name)
    except ModelError:
        return "its model cannot be used any more"
    if model.feature_set != data.feature_set:
        return f"its features are not the {data.feature_set} ones of data/"
    return model


def _compare_lines(
    check: Check,
    data: DataFolder,
    model: LoadedModel,
    lines: list[dict[str, Any]],
    settings: LoggedSettings,
    changed: ChangedBars,
) -> None:
    known: list[Logged] = []
    X: list[Floats] = []
    for line in lines:
        try:
            start, now = to_ns(datetime.fromisoformat(line["bar_time"])), datetime.fromisoformat(line["timestamp"])
            symbol = str(line["symbol"])
        except (KeyError, TypeError, ValueError):
            check.find(f"a prediction of {model.timestamp} without symbol, bar_time or timestamp")
            continue
        check.expect(start + MINUTE_NS <= to_ns(now), f"{symbol} {now}: predicted on an unfinished bar")
        vector = data.vectors(symbol).get(start)
        if vector is None:
            check.leave_out(_why_no_vector(data, symbol, start))
            continue
        known.append(Logged(line, symbol, start, now))
        X.append(vector)
    if not known:
        return
    own = model.scorer.probabilities(np.array(X))
    calibrated = win_probability(own, model.calibration)
    for i, one in enumerate(known):
        expected = Expected(X[i], data.close(one.symbol, one.start), float(own[i]), float(calibrated[i]))
        wrong = _differing_fields(one, expected, settings.at(one.now))
        if wrong and changed.after(one):
            check.leave_out("a bar of it came late, or was completed, after the prediction")
            continue
        check.expect(
            not wrong, f"{one.symbol} {moment(one.start)}: {', '.join(wrong)} differ from those of data/ and the model"
        )


def _why_no_vector(data: DataFolder, symbol: str, start: int) -> str:
    if symbol not in data.manifest.symbols:
        return "its stock is not in data/"
    day = str(np.datetime64(start, "ns").astype("datetime64[D]"))
    if day not in data.manifest.symbols[symbol].sessions:
        return "its session is not in data/"
    if not data.has_features(symbol, data.session_of(start), start):
        return "the session before it is not in data/"
    return "its bar is not in data/ (left out as implausible, or revised)"


def _differing_fields(logged: Logged, expected: Expected, settings: dict[str, Any]) -> list[str]:
    """The names of the logged fields that differ from what they should be."""
    age_ns = to_ns(logged.now) - logged.start - MINUTE_NS
    confidence = expected.calibrated if settings["CONFIDENCE"] == "calibrated" else expected.own
    stale = age_ns > settings["MAX_BAR_AGE_SECONDS"] * 1_000_000_000
    signal = int(confidence >= 0.5 and not stale)
    fields = {
        "features": expected.X.tolist(),
        "price": expected.price,
        "model_probability": expected.own,
        "win_probability": expected.calibrated,
        "confidence": confidence,
        "stale": stale,
        "signal": signal,
        "recommendation": "BUY" if signal else "HOLD",
        "meets_threshold": confidence >= settings["MIN_CONFIDENCE"] and not stale,
    }
    return [name for name, value in fields.items() if logged.line.get(name) != value]
