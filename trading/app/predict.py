"""The command of `ml_predictor.py`: predictions for the newest bars, as a table and in the history."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from config import Settings, load_settings
from trading.base.calendar import Session, new_york_calendar
from trading.base.clock import NEW_YORK, SystemClock
from trading.base.errors import DataError, UserError
from trading.base.market_folders import market_of
from trading.base.progress import standard_output
from trading.broker.client import connect, market_data
from trading.dataset.dataset import Dataset
from trading.execution.entries import signals_of
from trading.execution.live_feed import fetch
from trading.features.session_bars import SessionBars
from trading.market.bars import MINUTE_NS, from_ns, read_bars_file
from trading.models.predictor import Prediction, Predictor
from trading.models.store import LoadedModel, ModelStore
from trading.records.journal import Journal, new_york_time

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from trading.features.sets import FeatureSet


def run(options: argparse.Namespace) -> int:
    """Predict as the command line says; returns the exit code."""
    env_file = {} if options.env_file is None else {"env_file": options.env_file}
    settings = load_settings(
        **env_file, DATA_DIR=options.data_dir, MODELS_DIR=options.models_dir, LOGS_DIR=options.logs_dir
    )
    market = market_of(settings.MODELS_DIR)
    store = ModelStore(settings.MODELS_DIR, settings.FEATURE_SET)
    model = store.newest(warn=lambda line: print(f"warning: {line}", file=sys.stderr))
    dataset = Dataset(settings.DATA_DIR)
    clock = SystemClock()
    if settings.has_keys:
        bars, now = _from_alpaca(settings, dataset, options.symbols, clock.now())
    else:
        bars, now = _from_data(dataset, options.symbols, settings.FEATURE_SET)
    predictions = Predictor(model, settings).predict(bars.windows(), now)
    journal = Journal(settings.LOGS_DIR, clock)
    journal.predictions([prediction.as_json() for prediction in predictions])
    journal.close()
    if options.json:
        for prediction in predictions:
            print(json.dumps(prediction.as_json()))
    else:
        _print_table(predictions, model, now, settings, "" if market is None else market.description)
    missing = set(bars.symbols) - {prediction.symbol for prediction in predictions}
    if missing:
        why = "fewer than 20 bars in the session"
        if settings.FEATURE_SET == "relative":
            why += ", or no bars in data/ of the session before it"
        print(f"no prediction, {why}: {', '.join(sorted(missing))}", file=sys.stderr)
    if journal.fault:
        raise UserError(f"{journal.fault}; the predictions above were not written to the history")
    return 0


def _from_alpaca(
    settings: Settings, dataset: Dataset, symbols: list[str] | None, now: datetime
) -> tuple[SessionBars, datetime]:
    assert settings.APCA_API_KEY_ID is not None and settings.APCA_API_SECRET_KEY is not None
    keys = (settings.APCA_API_KEY_ID.get_secret_value(), settings.APCA_API_SECRET_KEY.get_secret_value())
    clients = connect(settings, keys, SystemClock())
    calendar = new_york_calendar()
    session = calendar.current_or_next(now)
    if session.open > now:
        session = calendar.preceding(session.date)
    bars = session_bars(dataset, session, symbols or newest_universe(dataset), settings.FEATURE_SET)
    market_data(lambda: fetch(clients.data, bars, now, settings.DATA_FEED))
    return bars, now


def session_bars(dataset: Dataset, session: Session, symbols: Sequence[str], feature_set: FeatureSet) -> SessionBars:
    """An empty store for the bars of a session, with what its stocks usually trade where the features need that.

    Raises:
        DataError: bars in `data/` cannot be read.
    """
    if feature_set == "document":
        return SessionBars(session, symbols)
    return SessionBars(session, symbols, dataset.habits(symbols, session))


def _from_data(dataset: Dataset, symbols: list[str] | None, feature_set: FeatureSet) -> tuple[SessionBars, datetime]:
    """The newest session that `data/` holds, as of its last bar."""
    wanted = symbols or dataset.symbols
    for symbol in wanted:
        if symbol not in dataset.symbols:
            raise DataError(f"--symbols: {symbol} is not in {dataset.folder}; it holds {_some(dataset.symbols)}")
    history = {symbol: read_bars_file(dataset.bars_path(symbol)) for symbol in wanted}
    newest = max((int(bars.start[-1]) for bars in history.values() if len(bars)), default=None)
    if newest is None:
        raise DataError(f"{dataset.folder} holds no bars of {_some(wanted)}; run python build_dataset.py first")
    now = from_ns(newest + MINUTE_NS)
    session = new_york_calendar().session(now.astimezone(NEW_YORK).date())
    bars = session_bars(dataset, session, wanted, feature_set)
    bars.take({symbol: _as_reply(found.since(session.open)) for symbol, found in history.items()}, now)
    return bars, now


def _as_reply(bars: Any) -> list[Mapping[str, Any]]:
    columns = zip(bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
    return [{"t": from_ns(t).isoformat(), "o": o, "h": h, "l": lo, "c": c, "v": v} for t, o, h, lo, c, v in columns]


def newest_universe(dataset: Dataset) -> list[str]:
    """The symbols of the newest universe that `data/` holds."""
    files = sorted(Path(dataset.folder).glob("universe_*.json"))
    if not files:
        raise DataError(f"{dataset.folder}: no universe there; run python build_dataset.py first, or name --symbols")
    try:
        return [str(entry["symbol"]) for entry in json.loads(files[-1].read_text(encoding="utf-8"))["symbols"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{files[-1]}: damaged ({error}); run python build_dataset.py again") from None


def _some(symbols: Sequence[str]) -> str:
    return ", ".join(symbols[:8]) + (f" and {len(symbols) - 8} more" if len(symbols) > 8 else "")


def _print_table(
    predictions: list[Prediction], model: LoadedModel, now: datetime, settings: Settings, market: str
) -> None:
    table = Table(
        title=f"Predictions as of {new_york_time(now)}, model {model.timestamp} ({model.kind})", caption=market
    )
    for name in ("symbol", "price", "confidence", "win probability", "recommendation", "meets threshold", "bar"):
        table.add_column(name, justify="left" if name == "symbol" else "right")
    for p in sorted(predictions, key=lambda p: (-p.confidence, p.symbol)):
        cells = (f"{p.price:.4g}", f"{p.confidence:.4f}", f"{p.win_probability:.4f}", p.recommendation)
        stale = " (stale)" if p.stale else ""
        table.add_row(p.symbol, *cells, "yes" if p.meets_threshold else "no", new_york_time(p.bar_time)[11:16] + stale)
    standard_output().print(table)
    print(f"{len(signals_of(predictions))} of {len(predictions)} reach MIN_CONFIDENCE={settings.MIN_CONFIDENCE:g}")
