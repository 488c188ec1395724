"""Past trades as training rows: closed trades of the logs replace the simulated rows, with the prices really paid.

A trade is matched to its row by symbol and bar time, which its prediction names; its features are those of that
prediction.  Its outcome and label are computed from its fills and its bars (`trading.learning.trades.trade_labels`),
after the cost that every other row is charged, so that labels stay comparable.

A trade is known from its exit on; one that was closed later than `now` is ignored.  Trades of another market, of
sessions that are not among the rows, and those held overnight (their outcome would be known on both sides of a split by
session) are left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np
import orjson

from trading.base import written
from trading.base.clock import NEW_YORK
from trading.base.files import read_lines
from trading.base.market_folders import market_of
from trading.dataset.dataset import Rows
from trading.features.sets import COLUMNS
from trading.learning.rows import WeightedRows
from trading.market.bars import to_ns
from trading.records.journal import new_york_time
from trading.records.trade_log import Trade
from trading.rules.labels import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from config import FeatureSet
    from trading.base.arrays import Floats, Ints
    from trading.learning.trades.trade_labels import TradeLabels


NOT_READ: Final = "days that are not among the rows: trade files not read"
"""Counts files, not trades."""


@dataclass(frozen=True)
class PastTrade:
    """One closed trade as a row: symbol, start of its bar (ns), features, outcome in per cent after cost, label."""

    symbol: str
    start: int
    X: Floats
    outcome: float
    label: int


@dataclass(frozen=True)
class PastTrades:
    """The trades that can be used, and reason -> how many cannot."""

    trades: tuple[PastTrade, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)


class PastTradesReport(TypedDict):
    """How many past trades are among the training rows, as `metrics_*.json` has it; `left_out`: reason -> count."""

    weight: float
    entered: int
    replaced: int
    added: int
    labels_changed: int
    left_out: dict[str, int]


def past_trades(
    logs: Path,
    market: str,
    now: datetime,
    labels: TradeLabels,
    feature_set: FeatureSet = "document",
    sessions: Collection[date] | None = None,
) -> PastTrades:
    """The closed trades of a logs folder, as of `now`.

    Args:
        logs: folder of `trades_*.json` and `predictions_*.jsonl`; it need not exist.
        market: slug of the market that the rows are of.
        now: aware instant.
        labels: gives outcomes and labels; a trade whose label is unknown is left out.
        feature_set: the features of the rows; a trade whose prediction used others is left out.
        sessions: those of the rows; trade files of other days are counted and not read, because no trade of theirs
            could be used.  None: every file is read.
    """
    owner = market_of(logs) if logs.is_dir() else None
    if owner is None or owner.slug != market:
        return PastTrades()
    found: list[PastTrade] = []
    left_out: Counter[str] = Counter()
    for path in sorted(logs.glob("trades_*.json")):
        if sessions is not None and _day_of(path) not in sessions:
            left_out[NOT_READ] += 1
            continue
        closed = []
        for trade in _trades(path, left_out):
            reason = _obstacle(trade, market, now)
            if reason is None:
                closed.append(trade)
            else:
                left_out[reason] += 1
        found.extend(_with_predictions(closed, logs, left_out, labels, feature_set))
    return PastTrades(tuple(found), dict(sorted(left_out.items())))


def _day_of(path: Path) -> date | None:
    return written.day(path.stem.removeprefix("trades_"))


def _trades(path: Path, left_out: Counter[str]) -> list[Trade]:
    try:
        return [Trade.from_json(record) for record in orjson.loads(path.read_bytes())]
    except (ValueError, KeyError, TypeError):
        left_out[f"{path.name} is not a trade log"] += 1
        return []


def _obstacle(trade: Trade, market: str, now: datetime) -> str | None:
    """Why a trade cannot be used; None if it can."""
    if trade.market != market:
        return "of another market"
    if trade.exit_price is None or trade.exit_time is None or trade.exit_time >= now:
        return "not closed yet"
    if trade.exit_time.astimezone(NEW_YORK).date() != trade.day:
        return "held overnight"
    if trade.exit_price_source is not None:
        return "sold at a price that is an estimate"
    return "without the time of its decision" if trade.decision_time is None else None


def _with_predictions(
    trades: Sequence[Trade], logs: Path, left_out: Counter[str], labels: TradeLabels, feature_set: FeatureSet
) -> Iterator[PastTrade]:
    """Each trade with the features of its prediction: that of its symbol in the minute of the decision."""
    wanted: dict[date, dict[tuple[str, str], Trade]] = {}
    for trade in trades:
        assert trade.decision_time is not None  # _obstacle has checked it
        key = (trade.symbol, new_york_time(trade.decision_time)[:16])
        wanted.setdefault(trade.day, {})[key] = trade
    for day, by_key in wanted.items():
        for line in read_lines(logs / f"predictions_{day}.jsonl"):
            trade_of_line = by_key.pop((str(line.get("symbol")), str(line.get("timestamp"))[:16]), None)
            if trade_of_line is not None:
                one = _past_trade(trade_of_line, line, labels, len(COLUMNS[feature_set]))
                if line.get("feature_set", "document") != feature_set:
                    left_out["its prediction used other features"] += 1
                elif one is None:
                    left_out["its prediction is not readable"] += 1
                elif one.label == UNKNOWN:
                    left_out["its bars do not tell its label"] += 1
                else:
                    yield one
            if not by_key:
                break
        if by_key:
            left_out["its prediction is not in the logs"] += len(by_key)


def _past_trade(trade: Trade, line: dict[str, Any], labels: TradeLabels, columns: int) -> PastTrade | None:
    try:
        start = to_ns(datetime.fromisoformat(line["bar_time"]))
        X = np.array(line["features"], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    if X.shape != (columns,) or not np.isfinite(X).all() or trade.exit_price is None:
        return None
    return PastTrade(trade.symbol, start, X, labels.outcome(trade), labels.label(trade))


def with_past_trades(rows: Rows, past: PastTrades, weight: float) -> tuple[Rows, PastTradesReport]:
    """The rows with the past trades in place of the simulated rows, and the report for the metrics.

    A trade without a row (its simulated outcome is unknown) is added as one.  With weight 0 the rows are returned
    unchanged.

    Args:
        weight: weight of a past trade in fitting; every other row has weight 1.
    """
    if weight == 0.0:
        return rows, _report(0.0, 0, 0, 0, {})
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
        return rows, _report(weight, 0, 0, 0, left_out)
    result, replaced, changed = _merged(rows, kept, weight)
    return result, _report(weight, len(kept), replaced, changed, left_out)


def _report(weight: float, entered: int, replaced: int, changed: int, left_out: Mapping[str, int]) -> PastTradesReport:
    return {
        "weight": weight,
        "entered": entered,
        "replaced": replaced,
        "added": entered - replaced,
        "labels_changed": changed,
        "left_out": dict(sorted(left_out.items())),
    }


def _merged(rows: Rows, kept: dict[tuple[int, int], PastTrade], weight: float) -> tuple[WeightedRows, int, int]:
    """(rows, number of rows replaced, number of replaced rows whose label changed)."""
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
        changed += int(label[i] != trade.label)
        X[i], outcome[i], label[i], past[i], weights[i] = trade.X, trade.outcome, trade.label, True, weight
    replaced = Rows(rows.symbols, rows.symbol, rows.session, rows.start, X, outcome, label)
    merged = WeightedRows.of(replaced, past, weights)
    return _with_added(merged, added, weight), len(kept) - len(added), changed


def _places(rows: Rows, kept: dict[tuple[int, int], PastTrade]) -> dict[tuple[int, int], int]:
    """(symbol number, start) -> position of its row, for the trades that have one."""
    starts: Ints = np.array(sorted({start for _, start in kept}), dtype=np.int64)
    candidates = np.flatnonzero(np.isin(rows.start, starts))
    keys = ((int(rows.symbol[i]), int(rows.start[i])) for i in candidates)
    return {key: int(i) for key, i in zip(keys, candidates, strict=True) if key in kept}


def _with_added(rows: WeightedRows, added: list[tuple[int, PastTrade]], weight: float) -> WeightedRows:
    if not added:
        return rows
    start = np.array([trade.start for _, trade in added], dtype=np.int64)
    more = Rows(
        rows.symbols,
        np.concatenate([rows.symbol, np.array([symbol for symbol, _ in added], dtype=np.int32)]),
        np.concatenate([rows.session, start.astype("datetime64[ns]").astype("datetime64[D]")]),
        np.concatenate([rows.start, start]),
        np.concatenate([rows.X, np.array([trade.X for _, trade in added])]),
        np.concatenate([rows.outcome, np.array([trade.outcome for _, trade in added])]),
        np.concatenate([rows.label, np.array([trade.label for _, trade in added], dtype=np.int8)]),
    )
    past = np.concatenate([rows.past, np.ones(len(added), dtype=np.bool_)])
    weights = np.concatenate([rows.weight, np.full(len(added), weight)])
    order = np.lexsort((more.start, more.symbol, more.session))
    return WeightedRows.of(more, past, weights).take(order)
