#!/usr/bin/env python3
"""Stage 3: the last 20 bars of every stock -> the probability that buying it now wins.

    python ml_predictor.py                       every stock of the newest universe
    python ml_predictor.py --symbols AMD,F       these stocks
    python ml_predictor.py --json                one JSON object a line instead of a table

With Alpaca keys in the environment or in .env the bars are the market's newest.  Without, they are the newest that
`data/` holds, and the predictions are as of then.  One feature pass and one `predict_proba` serve all stocks; every
prediction, whether it reaches MIN_CONFIDENCE or not, goes to `logs/predictions_YYYY-MM-DD.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from trading import cli
from trading.errors import DataError, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from config import Settings
    from trading.bars import Ints
    from trading.dataset import Dataset
    from trading.feature_sets import FeatureSet
    from trading.live_bars import SessionBars, Windows
    from trading.model_store import LoadedModel
    from trading.sessions import Session


class Prediction(NamedTuple):
    """What the model says of one stock.  The first seven are the document's; prices in dollars, instants aware.

    `signal` is 1 where a win is likelier than not; `meets_threshold` says whether the confidence, the model's own
    probability or the calibrated one as CONFIDENCE chooses, reaches MIN_CONFIDENCE.  A stock whose newest bar is
    too old (`stale`) has neither.
    """

    symbol: str
    signal: int
    confidence: float
    price: float
    recommendation: str
    meets_threshold: bool
    timestamp: datetime
    win_probability: float
    model_probability: float
    bar_time: datetime
    stale: bool
    model: str
    features: tuple[float, ...]
    feature_set: FeatureSet = "document"

    def as_json(self) -> dict[str, Any]:
        """The document's dictionary, then ours; times in ISO 8601 with the New York offset."""
        from trading.journal import new_york_time

        record = self._asdict()
        record["timestamp"] = new_york_time(self.timestamp)
        record["bar_time"] = new_york_time(self.bar_time)
        if self.feature_set == "document":
            del record["feature_set"]  # goes without saying
        return record


class Predictor:
    """One model in service, asked about all stocks at once."""

    def __init__(self, model: LoadedModel, settings: Settings) -> None:
        self.model = model
        self._minimum = settings.MIN_CONFIDENCE
        self._calibrated = settings.CONFIDENCE == "calibrated"
        self._max_age = timedelta(seconds=settings.MAX_BAR_AGE_SECONDS)

    def predict(self, windows: Windows, now: datetime) -> list[Prediction]:
        """A prediction for every symbol of `windows`, in its order: one feature pass, one call of the model."""
        from trading.calibration import win_probability
        from trading.feature_sets import of_windows
        from trading.learning import probabilities

        if not len(windows):
            return []
        vectors = of_windows(windows, self.model.feature_set)
        own = probabilities(self.model.scaler, self.model.model, vectors)
        honest = win_probability(own, self.model.calibration)
        held = honest if self._calibrated else own
        bar_time, stale = self._ages(windows.start, now)
        signal = (held >= 0.5) & ~stale
        columns = (  # in the order of `Prediction`; by column, because ten thousand stocks are a minute's work
            windows.symbols,
            signal.astype(int).tolist(),
            held.tolist(),
            windows.ohlcv[3, -1].tolist(),
            ["BUY" if buy else "HOLD" for buy in signal.tolist()],
            ((held >= self._minimum) & ~stale).tolist(),
            repeat(now),
            honest.tolist(),
            own.tolist(),
            bar_time,
            stale.tolist(),
            repeat(self.model.timestamp),
            map(tuple, vectors.tolist()),
            repeat(self.model.feature_set),
        )
        return [Prediction(*fields) for fields in zip(*columns)]  # noqa: B905 - some of them have no end

    def _ages(self, start: Ints, now: datetime) -> tuple[list[datetime], NDArray[np.bool_]]:
        """When each newest bar began, and whether it is too old; most stocks share one instant."""
        import numpy as np

        from trading.bars import from_ns

        starts, which = np.unique(start, return_inverse=True)
        began = [from_ns(ns) for ns in starts]
        too_old = [now - (one + timedelta(minutes=1)) > self._max_age for one in began]
        return [began[i] for i in which.tolist()], np.array(too_old)[which]


def signals(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Those that reach the threshold, the most confident first."""
    return sorted((p for p in predictions if p.meets_threshold), key=lambda p: (-p.confidence, p.symbol))


class BarClient(Protocol):
    """What `fetch` needs of alpaca-py's StockHistoricalDataClient (raw)."""

    def get_stock_bars(self, request_params: Any) -> Any: ...


def fetch(client: BarClient, bars: SessionBars, now: datetime, feed: str) -> None:
    """Bring `bars` up to `now` with one multi-symbol request (alpaca-py follows its pages).

    Raises:
        alpaca-py's and requests' exceptions, as the call gives them.
    """
    from alpaca.data.enums import Adjustment, DataFeed
    from alpaca.data.requests import StockBarsRequest
    from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

    start, end = bars.next_request(now)
    request = StockBarsRequest(
        symbol_or_symbols=list(bars.symbols),
        timeframe=TimeFrame(1, TimeFrameUnit.Minute),
        start=start,
        end=end,
        feed=DataFeed(feed),
        adjustment=Adjustment.RAW,
    )
    bars.take(client.get_stock_bars(request), now)


def spread_of(client: Any, symbol: str, feed: str) -> float | None:
    """Bid-ask spread of a stock as a fraction of its price, by the latest quote; None where there is no such quote."""
    from alpaca.data.enums import DataFeed
    from alpaca.data.requests import StockLatestQuoteRequest

    from trading.broker import market_data

    request = StockLatestQuoteRequest(symbol_or_symbols=symbol, feed=DataFeed(feed))
    try:
        quote = market_data(lambda: client.get_stock_latest_quote(request))[symbol]
        bid, ask = float(quote["bp"]), float(quote["ap"])
    except (UserError, KeyError, TypeError, ValueError):
        return None
    return (ask - bid) / ((ask + bid) / 2.0) if 0.0 < bid <= ask else None


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    from config import load_settings
    from trading.clock import SystemClock
    from trading.dataset import Dataset
    from trading.folders import market_of
    from trading.journal import Journal
    from trading.model_store import ModelStore

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


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--symbols", type=cli.symbols, metavar="A,B", help="stocks to ask about (default: the universe)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    cli.add_folders(parser, "data", "models", "logs")
    return parser.parse_args(arguments)


def _from_alpaca(
    settings: Settings, dataset: Dataset, symbols: list[str] | None, now: datetime
) -> tuple[SessionBars, datetime]:
    from trading.broker import connect, market_data
    from trading.clock import SystemClock
    from trading.sessions import new_york_calendar

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
    from trading.live_bars import SessionBars

    if feature_set == "document":
        return SessionBars(session, symbols)
    return SessionBars(session, symbols, dataset.habits(symbols, session))


def _from_data(dataset: Dataset, symbols: list[str] | None, feature_set: FeatureSet) -> tuple[SessionBars, datetime]:
    """The newest session that `data/` holds, as of its last bar."""
    from trading.bars import MINUTE_NS, from_ns, read_bars_file
    from trading.clock import NEW_YORK
    from trading.sessions import new_york_calendar

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
    from trading.bars import from_ns

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
    from rich.table import Table

    from trading.journal import new_york_time
    from trading.progress import standard_output

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
    print(f"{len(signals(predictions))} of {len(predictions)} reach MIN_CONFIDENCE={settings.MIN_CONFIDENCE:g}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
