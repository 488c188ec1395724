"""The audit of what was traded: every written prediction made again from `data/`, and every model's scaler."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.audit.data import Check, Material, moment
from trading.base.errors import ModelError
from trading.base.files import read_lines
from trading.features.sets import name_of
from trading.learning.fitting import rows_to_fit
from trading.market.bars import MINUTE_NS, to_ns
from trading.models.store import recorded_setting

if TYPE_CHECKING:
    from pathlib import Path

    from trading.models.store import LoadedModel, ModelStore

Step = Callable[[], None]


class Rules:
    """The settings that signals were made with, as the audit logs of those days hold them, else those of now."""

    def __init__(self, logs: Path, now: dict[str, Any]) -> None:
        self._now = now
        self._starts: list[tuple[datetime, dict[str, Any]]] = []
        for path in sorted(logs.glob("audit_*.jsonl")):
            for event in read_lines(path):
                if event.get("event") == "started" and isinstance(event.get("settings"), dict):
                    self._starts.append((datetime.fromisoformat(event["time"]), event["settings"]))
        self._starts.sort(key=lambda one: one[0])

    def at(self, instant: datetime) -> dict[str, Any]:
        """Those of the last start at or before `instant`."""
        i = bisect_right(self._starts, instant, key=lambda one: one[0])
        return {**self._now, **(self._starts[i - 1][1] if i else {})}


def history(material: Material, store: ModelStore, logs: Path, rules: Rules, step: Step) -> Check:
    """(b) Every line of `predictions_*.jsonl` against the training path and the model that it names, bit for bit."""
    check = Check("parity", "written predictions: features, probabilities, signals made again from data/, to the bit")
    models: dict[str, LoadedModel | str] = {}
    for path in sorted(logs.glob("predictions_*.jsonl")):
        step()
        for name, lines in _by_model(path, check).items():
            if name not in models:
                models[name] = _loaded(store, name)
            model = models[name]
            if isinstance(model, str):
                check.left_out[model] += len(lines)
            elif model.feature_set != material.feature_set:
                check.left_out[f"its features are another set than the {material.feature_set} ones of data/"] += len(
                    lines
                )
            else:
                _hold_lines(check, material, model, lines, rules)
    if not check.compared and not check.left_out:
        check.left_out["no prediction was written yet"] += 1
    return check


def _by_model(path: Path, check: Check) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    broken: list[int] = []
    for line in read_lines(path, broken=broken.append):
        found[str(line.get("model"))].append(line)
    check.left_out["line is not readable"] += len(broken)
    check.left_out += type(check.left_out)()  # drops a reason that counts nothing
    return found


def _loaded(store: ModelStore, name: str) -> LoadedModel | str:
    if name not in store.timestamps():
        return "its model is gone (pruned, or of other data)"
    try:
        return store.load(name)
    except ModelError:
        return "its model cannot be used any more"


def _hold_lines(
    check: Check, material: Material, model: LoadedModel, lines: list[dict[str, Any]], rules: Rules
) -> None:
    known, X, prices = [], [], []
    for line in lines:
        try:
            start, now = to_ns(datetime.fromisoformat(line["bar_time"])), datetime.fromisoformat(line["timestamp"])
            symbol = str(line["symbol"])
        except (KeyError, TypeError, ValueError):
            check.find(f"a prediction of {model.timestamp} without symbol, bar_time or timestamp")
            continue
        check.hold(start + MINUTE_NS <= to_ns(now), f"{symbol} {now}: predicted on a bar that was not over")
        vector = material.vectors(symbol).get(start)
        if vector is None:
            check.left_out[_why_no_vector(material, symbol, start)] += 1
            continue
        known.append((line, symbol, start, now))
        X.append(vector)
        prices.append(_close(material, symbol, start))
    if not known:
        return
    made = np.array(X)
    own, honest = material.pipeline.scores(model, made)
    for i, (line, symbol, start, now) in enumerate(known):
        age = to_ns(now) - start - MINUTE_NS
        wrong = _differs(line, made[i], prices[i], float(own[i]), float(honest[i]), rules.at(now), age)
        check.hold(not wrong, f"{symbol} {moment(start)}: {', '.join(wrong)} differ from what data/ and the model give")


def _why_no_vector(material: Material, symbol: str, start: int) -> str:
    if symbol not in material.manifest.symbols:
        return "its stock is not in data/"
    day = str(np.datetime64(start, "ns").astype("datetime64[D]"))
    if day not in material.manifest.symbols[symbol].sessions:
        return "its session is not in data/"
    session = material.session_of(start)
    if not material.has_features(symbol, session, start):
        return "the session before it is not in data/"
    return "its bar is not in data/ (left out by the check, or revised)"


def _close(material: Material, symbol: str, start: int) -> float:
    bars = material.bars(symbol)
    return float(bars.close[np.searchsorted(bars.start, start)])


def _differs(
    line: dict[str, Any], X: Any, price: float, own: float, honest: float, rules: dict[str, Any], age_ns: int
) -> list[str]:
    """The fields of a written prediction that come out differently."""
    held = honest if rules["CONFIDENCE"] == "calibrated" else own
    stale = age_ns > rules["MAX_BAR_AGE_SECONDS"] * 1_000_000_000
    signal = int(held >= 0.5 and not stale)
    expected = {
        "features": X.tolist(),
        "price": price,
        "model_probability": own,
        "win_probability": honest,
        "confidence": held,
        "stale": stale,
        "signal": signal,
        "recommendation": "BUY" if signal else "HOLD",
        "meets_threshold": held >= rules["MIN_CONFIDENCE"] and not stale,
    }
    return [name for name, value in expected.items() if line.get(name) != value]


def published(material: Material, store: ModelStore, rows_of_model: Callable[[dict], Any], step: Step) -> Check:
    """(c) Every published model: its sessions, and its scaler fitted anew on the rows that it says it was fitted on."""
    check = Check("split", "published models: sessions apart, and the scaler that their rows give, to the bit")
    for at in store.timestamps():
        step()
        try:
            model = store.load(at)
        except ModelError:
            check.left_out["the model cannot be used any more"] += 1
            continue
        train, test = (model.metrics["sessions"][part] for part in ("train", "test"))
        check.hold(bool(train) and bool(test) and max(train) < min(test), f"{at}: training and test sessions overlap")
        check.hold(max(test) == str(model.trained_through), f"{at}: trained through another day than it says")
        rows = rows_of_model(model.metrics)
        if rows is None:
            same = name_of(model.metrics["features"]) == material.feature_set
            why = "data/ has changed since the model was made" if same else "data/ holds another set of features"
            check.left_out[why] += 1
            continue
        mean, scale = _scaling(rows, int(recorded_setting(model.metrics, "TRAIN_EVERY_NTH_ROW")))
        same = np.array_equal(mean, model.scaler.mean_) and np.array_equal(scale, model.scaler.scale_)
        check.hold(same, f"{at}: its scaler was not fitted on its own rows alone")
    if not check.compared and not check.left_out:
        check.left_out["no model was published yet"] += 1
    return check


def _scaling(rows: Any, every: int) -> tuple[Any, Any]:
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        scaler = StandardScaler().fit(rows.X[rows_to_fit(rows, every)])
    return scaler.mean_, scaler.scale_


def reasons(check: Check) -> Iterator[str]:
    """What could not be compared, in words."""
    for reason, count in sorted(check.left_out.items()):
        yield f"{count:,} not compared: {reason}"
