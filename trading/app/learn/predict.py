"""The command of `ml_predictor.py`: predict from the newest bars, print the predictions and log them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.table import Table

from config import Settings, load_settings
from trading.app.learn.retrain import model_store
from trading.base.calendar import new_york_calendar
from trading.base.clock import NEW_YORK, SimulatedClock, SystemClock
from trading.base.errors import DataError, UserError
from trading.base.market_folders import MarketId, claim_logs, lock, market_of
from trading.base.progress import standard_output
from trading.broker.client import connect, market_data
from trading.dataset.dataset import Dataset
from trading.dataset.volume_profiles import session_bars
from trading.execution.entries import signals_of
from trading.execution.live_feed import fetch
from trading.features.session_bars import SessionBars, to_reply
from trading.market.bars import MINUTE_NS, from_ns, read_bars_file
from trading.market.source import newest_universe, shortened
from trading.models.predictor import Prediction, Predictor
from trading.models.store import LoadedModel
from trading.records.journal import Journal, new_york_time
from trading.reports.live import DIRECTION
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    import argparse
    from datetime import datetime
    from pathlib import Path

    from config import FeatureSet


def run(options: argparse.Namespace) -> int:
    """Predict, print and log; returns the exit code."""
    settings = load_settings(
        options.env_file, DATA_DIR=options.data_dir, MODELS_DIR=options.models_dir, LOGS_DIR=options.logs_dir
    )
    keys = settings.broker.credentials
    dataset = Dataset(settings.folders.DATA_DIR)
    store = model_store(settings)
    model = store.newest(market=None if keys else market_of(dataset.folder), warn=_warn)
    market = MarketId(**model.metrics["market"])
    if keys:
        bars, now = _from_alpaca(settings, keys, dataset, options.symbols, SystemClock().now())
    else:
        bars, now = _from_data(dataset, options.symbols, settings.training.FEATURE_SET)
    predictions = Predictor(model, settings.prediction).predict(bars.windows(), now)
    if options.json:
        for prediction in predictions:
            print(json.dumps(prediction.as_json()))
    else:
        _print_table(predictions, model, now, settings, market.description)
    missing = set(bars.symbols) - {prediction.symbol for prediction in predictions}
    if missing:
        reason = "fewer than 20 minutes since its first bar of the session"
        if settings.training.FEATURE_SET == "relative":
            reason += ", or no bars in data/ of the session before it"
        print(f"no prediction, {reason}: {', '.join(sorted(missing))}", file=sys.stderr)
    try:
        _log(predictions, settings.folders.LOGS_DIR, market)
    except UserError as error:
        raise UserError(f"{error}; the predictions above were not written to the history") from None
    return 0


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


def _log(predictions: list[Prediction], logs: Path, market: MarketId) -> None:
    """Write the predictions to the history, in the file of the day of their bars, which are of one session.

    Raises:
        UserError: they cannot be written, or the folder cannot be made one of `market`.
    """
    owner = market_of(logs)
    if owner is None or owner.slug != market.slug:  # otherwise a trader may be at work in it, and goes on
        held = lock(logs, "trader")
        try:
            if notice := claim_logs(logs, market):
                print(notice, file=sys.stderr)
        finally:
            held.release()
    if predictions:
        journal = Journal(logs, SimulatedClock(predictions[0].bar_time))
        journal.predictions([prediction.as_json() for prediction in predictions])
        journal.close()
        if journal.fault:
            raise UserError(journal.fault)


def _from_alpaca(
    settings: Settings, keys: tuple[str, str], dataset: Dataset, symbols: list[str] | None, now: datetime
) -> tuple[SessionBars, datetime]:
    """The bars of the current session, or of the newest one outside trading hours, and `now`."""
    clients = connect(settings.broker, keys, SystemClock())
    calendar = new_york_calendar()
    session = calendar.current_or_next(now)
    if session.open > now:
        session = calendar.preceding(session.date)
    chosen = symbols or newest_universe(dataset.folder).symbols
    bars = session_bars(dataset, session, chosen, settings.training.FEATURE_SET)
    market_data(lambda: fetch(clients.data, bars, now, settings.data.DATA_FEED))
    return bars, now


def _from_data(dataset: Dataset, symbols: list[str] | None, feature_set: FeatureSet) -> tuple[SessionBars, datetime]:
    """The bars of the newest session in `data/`, and the end of its last bar."""
    wanted = symbols or dataset.symbols
    for symbol in wanted:
        if symbol not in dataset.symbols:
            raise DataError(f"--symbols: {symbol} is not in {dataset.folder}; it holds {shortened(dataset.symbols)}")
    history = {symbol: read_bars_file(dataset.bars_path(symbol)) for symbol in wanted}
    newest = max((int(bars.start[-1]) for bars in history.values() if len(bars)), default=None)
    if newest is None:
        raise DataError(f"{dataset.folder} holds no bars of {shortened(wanted)}; run python build_dataset.py first")
    now = from_ns(newest + MINUTE_NS)
    session = new_york_calendar().session(now.astimezone(NEW_YORK).date())
    bars = session_bars(dataset, session, wanted, feature_set)
    bars.take({symbol: to_reply(found.since(session.open)) for symbol, found in history.items()}, now)
    return bars, now


def _question(model: LoadedModel, settings: Settings) -> str:
    """What the model predicts; a model without a recorded LABEL was trained before there was a choice: `profit`."""
    recorded = {"LABEL": "profit", "LABEL_MIN_PROFIT": 0.0, **model.metrics["settings"]}
    names = type(settings.exits).model_fields
    return LabelRules.of(settings.exits.model_copy(update={n: v for n, v in recorded.items() if n in names})).question


def _print_table(
    predictions: list[Prediction], model: LoadedModel, now: datetime, settings: Settings, market: str
) -> None:
    table = Table(
        title=f"Predictions as of {new_york_time(now)}, model {model.timestamp} ({model.kind})\n"
        f"question: {_question(model, settings)}",
        caption=market,
    )
    for name in ("symbol", "price", "confidence", "calibrated", "recommendation", "bar"):
        table.add_column(name, justify="left" if name == "symbol" else "right")
    for p in sorted(predictions, key=lambda p: (-p.confidence, p.symbol)):
        cells = (f"{p.price:.4g}", f"{p.confidence:.4f}", f"{p.win_probability:.4f}")
        stale = " (stale)" if p.stale else ""
        table.add_row(
            p.symbol, *cells, "BUY" if p.meets_threshold else "HOLD", new_york_time(p.bar_time)[11:16] + stale
        )
    standard_output().print(table)
    minimum = settings.prediction.MIN_CONFIDENCE
    signals = len(signals_of(predictions))
    reach = "reaches" if signals == 1 else "reach"
    print(
        f"{signals} of {len(predictions)} {reach} MIN_CONFIDENCE={minimum:g}, and only these say BUY here; in --json "
        "and logs/ `recommendation` is BUY from 0.5 on, and `meets_threshold` is the filter"
    )
    print(f"BUY says that the confidence reaches the threshold, not that it pays. {DIRECTION}")
