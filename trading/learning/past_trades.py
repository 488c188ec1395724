"""Past trades teach: closed trades of the logs, with their real fills, among the rows that a model learns from.

A trade is matched to its row by symbol and bar time, which the prediction that led to it names; its features are those
that the prediction was made of.  Entry and exit at the prices that were really paid take the place of the simulated
ones.  `ROUND_TRIP_COST` is held against them as against every other row, so that labels stay comparable.

A trade is known from its exit on: one that was closed later than `now` does not exist yet.  Trades of another market,
of sessions that are not among the rows, and those that were held over night (their outcome would be known on both sides
of a split by session) do not teach.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from trading.base.arrays import Floats, Ints
from trading.base.clock import NEW_YORK
from trading.base.files import read_lines
from trading.base.market_folders import market_of
from trading.dataset.dataset import Rows
from trading.features.sets import COLUMNS
from trading.market.bars import to_ns
from trading.records.journal import new_york_time
from trading.records.trade_log import Trade
from trading.rules.exits import labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from config import FeatureSet


@dataclass(frozen=True)
class PastTrade:
    """One closed trade as a row: symbol, start of its bar (ns), features, outcome in per cent before cost."""

    symbol: str
    start: int
    X: Floats
    outcome: float


@dataclass(frozen=True)
class PastTrades:
    """The trades that may teach, and reason -> how many may not."""

    trades: tuple[PastTrade, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TaughtRows(Rows):
    """Rows with past trades among them; n of them.

    Attributes:
        past: rows whose outcome is a real trade's, bool (n,); thinning leaves them in.
        weight: how much each row counts in fitting, float64 (n,).
    """

    past: NDArray[np.bool_]
    weight: Floats

    def take(self, which: slice | NDArray[Any]) -> TaughtRows:
        """As `Rows.take`."""
        rows = Rows.take(self, which)
        return _taught(rows, self.past[which], self.weight[which])


def past_trades(logs: Path, market: str, now: datetime, feature_set: FeatureSet = "document") -> PastTrades:
    """The closed trades of a logs folder, as of `now`.

    Args:
        logs: folder of `trades_*.json` and `predictions_*.jsonl`; it need not exist.
        market: slug of the market that the rows are of.
        now: aware instant.
        feature_set: the features of the rows; a trade whose prediction was made of others does not teach.
    """
    owner = market_of(logs) if logs.is_dir() else None
    if owner is None or owner.slug != market:
        return PastTrades()
    found: list[PastTrade] = []
    left_out: Counter[str] = Counter()
    for path in sorted(logs.glob("trades_*.json")):
        closed = []
        for trade in _trades(path, left_out):
            reason = _why_not(trade, market, now)
            if reason is None:
                closed.append(trade)
            else:
                left_out[reason] += 1
        found.extend(_with_predictions(closed, logs, left_out, feature_set))
    return PastTrades(tuple(found), dict(sorted(left_out.items())))


def _trades(path: Path, left_out: Counter[str]) -> list[Trade]:
    try:
        return [Trade.from_json(record) for record in orjson.loads(path.read_bytes())]
    except (ValueError, KeyError, TypeError):
        left_out[f"{path.name} is no trade log"] += 1
        return []


def _why_not(trade: Trade, market: str, now: datetime) -> str | None:
    if trade.market != market:
        return "of another market"
    if trade.exit_price is None or trade.exit_time is None or trade.exit_time >= now:
        return "not closed yet"
    if trade.exit_time.astimezone(NEW_YORK).date() != trade.day:
        return "held over night"
    return "without the instant of its decision" if trade.decision_time is None else None


def _with_predictions(
    trades: Sequence[Trade], logs: Path, left_out: Counter[str], feature_set: FeatureSet
) -> Iterator[PastTrade]:
    """Each trade with the features of the prediction of its minute, which bears the instant of the decision."""
    wanted: dict[date, dict[tuple[str, str], Trade]] = {}
    for trade in trades:
        assert trade.decision_time is not None  # asked for before
        key = (trade.symbol, new_york_time(trade.decision_time)[:16])
        wanted.setdefault(trade.day, {})[key] = trade
    for day, by_key in wanted.items():
        for line in read_lines(logs / f"predictions_{day}.jsonl"):
            trade_of_line = by_key.pop((str(line.get("symbol")), str(line.get("timestamp"))[:16]), None)
            if trade_of_line is not None:
                one = _past_trade(trade_of_line, line, len(COLUMNS[feature_set]))
                if line.get("feature_set", "document") != feature_set:
                    left_out["its prediction was made of other features"] += 1
                elif one is None:
                    left_out["its prediction is not readable"] += 1
                else:
                    yield one
            if not by_key:
                break
        if by_key:
            left_out["its prediction is not in the logs"] += len(by_key)


def _past_trade(trade: Trade, line: dict[str, Any], columns: int) -> PastTrade | None:
    try:
        start = to_ns(datetime.fromisoformat(line["bar_time"]))
        X = np.array(line["features"], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    if X.shape != (columns,) or not np.isfinite(X).all() or trade.exit_price is None:
        return None
    return PastTrade(trade.symbol, start, X, 100.0 * (float(trade.exit_price / trade.entry_price) - 1.0))


def taught(rows: Rows, past: PastTrades, weight: float, above_pct: float) -> tuple[Rows, dict[str, Any]]:
    """The rows with the past trades in place of the simulated ones, and what of them entered, for the metrics.

    Where a trade has no row (its simulated outcome is not known), it becomes one.  With weight 0 the rows come back as
    they were.

    Args:
        weight: how much such a row counts in fitting, against 1 for any other.
        above_pct: outcome in per cent of the entry price, before cost, above which a trade counts as won.
    """
    if weight == 0.0:
        return rows, {"weight": 0.0, "entered": 0, "replaced": 0, "added": 0, "labels_changed": 0, "left_out": {}}
    number = {symbol: i for i, symbol in enumerate(rows.symbols)}
    left_out = Counter(past.left_out)
    sessions = set(rows.sessions.tolist())
    kept: dict[tuple[int, int], PastTrade] = {}
    for trade in past.trades:
        if np.datetime64(trade.start, "ns").astype("datetime64[D]").item() not in sessions:
            left_out["its session is not among the rows"] += 1
        elif trade.symbol not in number:
            left_out["its stock is not among the rows"] += 1
        else:
            kept[(number[trade.symbol], trade.start)] = trade
    if not kept:
        return rows, _entered(weight, 0, 0, 0, left_out)
    result, replaced, changed = _merged(rows, kept, weight, above_pct)
    return result, _entered(weight, len(kept), replaced, changed, left_out)


def _entered(weight: float, entered: int, replaced: int, changed: int, left_out: Counter[str]) -> dict[str, Any]:
    return {
        "weight": weight,
        "entered": entered,
        "replaced": replaced,
        "added": entered - replaced,
        "labels_changed": changed,
        "left_out": dict(sorted(left_out.items())),
    }


def _merged(
    rows: Rows, kept: dict[tuple[int, int], PastTrade], weight: float, above_pct: float
) -> tuple[TaughtRows, int, int]:
    """(rows, how many were replaced, how many of those have another label now)."""
    place = _places(rows, kept)
    X, outcome, label = rows.X.copy(), rows.outcome.copy(), rows.label.copy()
    past, weights = np.zeros(len(rows), dtype=np.bool_), np.ones(len(rows))
    changed = 0
    added: list[tuple[int, PastTrade]] = []
    for key, trade in kept.items():
        i = place.get(key)
        if i is None:
            added.append((key[0], trade))
            continue
        real = labels(np.array([trade.outcome]), above_pct)[0]
        changed += int(label[i] != real)
        X[i], outcome[i], label[i], past[i], weights[i] = trade.X, trade.outcome, real, True, weight
    merged = _taught(Rows(rows.symbols, rows.symbol, rows.session, rows.start, X, outcome, label), past, weights)
    return _with_added(merged, added, weight, above_pct), len(kept) - len(added), changed


def _places(rows: Rows, kept: dict[tuple[int, int], PastTrade]) -> dict[tuple[int, int], int]:
    """Where the rows of the trades stand."""
    starts: Ints = np.array(sorted({start for _, start in kept}), dtype=np.int64)
    candidates = np.flatnonzero(np.isin(rows.start, starts))
    keys = ((int(rows.symbol[i]), int(rows.start[i])) for i in candidates)
    return {key: int(i) for key, i in zip(keys, candidates, strict=True) if key in kept}


def _with_added(rows: TaughtRows, added: list[tuple[int, PastTrade]], weight: float, above_pct: float) -> TaughtRows:
    if not added:
        return rows
    start = np.array([trade.start for _, trade in added], dtype=np.int64)
    outcome = np.array([trade.outcome for _, trade in added])
    more = Rows(
        rows.symbols,
        np.concatenate([rows.symbol, np.array([symbol for symbol, _ in added], dtype=np.int32)]),
        np.concatenate([rows.session, start.astype("datetime64[ns]").astype("datetime64[D]")]),
        np.concatenate([rows.start, start]),
        np.concatenate([rows.X, np.array([trade.X for _, trade in added])]),
        np.concatenate([rows.outcome, outcome]),
        np.concatenate([rows.label, labels(outcome, above_pct)]),
    )
    past = np.concatenate([rows.past, np.ones(len(added), dtype=np.bool_)])
    weights = np.concatenate([rows.weight, np.full(len(added), weight)])
    order = np.lexsort((more.start, more.symbol, more.session))
    return _taught(more, past, weights).take(order)


def _taught(rows: Rows, past: NDArray[np.bool_], weight: Floats) -> TaughtRows:
    return TaughtRows(
        rows.symbols, rows.symbol, rows.session, rows.start, rows.X, rows.outcome, rows.label, past, weight
    )
