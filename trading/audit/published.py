"""The check of the models: their sessions, and the scaler that their own rows give."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from trading.audit.check import Check, Step
from trading.base.errors import DataError, ModelError
from trading.features.sets import name_of
from trading.learning.rows import rows_to_fit
from trading.learning.trades.past_trades import past_trades, with_past_trades
from trading.learning.trades.trade_labels import TradeLabels
from trading.models.metrics_file import recorded_setting

if TYPE_CHECKING:
    from pathlib import Path

    from trading.audit.data import DataFolder
    from trading.base.arrays import Floats
    from trading.dataset.dataset import Rows
    from trading.models.metrics_file import ModelMetrics
    from trading.models.store import ModelStore


def published(data: DataFolder, store: ModelStore, logs: Path, step: Step) -> Check:
    """Check the sessions of every published model, and compare its scaler with one fitted again on its rows."""
    check = Check("split", "published models: training and test sessions, and the scaler of their rows, to the bit")
    for at in store.timestamps():
        step()
        try:
            model = store.load(at)
        except ModelError:
            check.leave_out("the model cannot be used any more")
            continue
        sessions = model.metrics["sessions"]
        train, test = sessions["train"], sessions["test"]
        check.expect(bool(train and test) and max(train) < min(test), f"{at}: training and test sessions overlap")
        check.expect(max(test) == str(model.trained_through), f"{at}: trained_through is not its newest session")
        rows = _rows_of_model(data, logs, model.metrics)
        if rows is None:
            same = name_of(model.metrics["features"]) == data.feature_set
            check.leave_out(
                "data/ or logs/ has changed since the model was made" if same else "data/ holds other features"
            )
            continue
        mean, scale = _scaling(rows, int(recorded_setting(model.metrics, "TRAIN_EVERY_NTH_ROW")))
        same = np.array_equal(mean, model.scaler.mean_) and np.array_equal(scale, model.scaler.scale_)
        check.expect(same, f"{at}: its scaler was not fitted on exactly its own rows")
    if not check.compared and not check.left_out:
        check.leave_out("no model was published yet")
    return check


def _rows_of_model(data: DataFolder, logs: Path, metrics: ModelMetrics) -> Rows | None:
    """The rows that a model was made of; None if data and logs do not give them any more."""
    if tuple(metrics["features"]) != data.manifest.features:
        return None
    days = np.array([*metrics["sessions"]["train"], *metrics["sessions"]["test"]], dtype="datetime64[D]")
    try:
        rows = data.dataset.load()
    except DataError:
        return None
    rows = rows.take(np.isin(rows.session, days))
    recorded = metrics.get("past_trades")
    if recorded is not None and recorded["entered"]:
        at = datetime.fromisoformat(metrics["trained_at"])
        labels = TradeLabels(data.dataset, data.rules)
        trades = past_trades(logs, metrics["market"]["slug"], at, labels, data.feature_set)
        rows, found = with_past_trades(rows, trades, recorded["weight"])
        if any(found[key] != recorded[key] for key in ("entered", "replaced", "added", "labels_changed")):
            return None  # trades have been removed from the logs, or added
    return rows if len(rows) == metrics["rows"]["all"] else None


def _scaling(rows: Rows, every: int) -> tuple[Floats, Floats]:
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        scaler = StandardScaler().fit(rows.X[rows_to_fit(rows, every)])
    return scaler.mean_, scaler.scale_
