"""Past trades as training rows: real fills replace simulated ones, as of an instant, never across markets."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.app.test_ml_trainer import MARKET, SESSIONS, evening, fill, settings
from tests.learning.learning_rows import FEW_TREES
from tests.settings import label_rules
from trading.app.learn.retrain import learning_settings, retrain
from trading.base.clock import NEW_YORK
from trading.base.files import compress_lines
from trading.base.market_folders import MarketId, claim
from trading.dataset.dataset import Dataset, Rows
from trading.learning.fitting import fit, probabilities
from trading.learning.rows import WeightedRows, rows_to_fit, thin, weights_of
from trading.learning.trades.past_trades import NOT_READ, PastTrade, PastTrades, past_trades, with_past_trades
from trading.learning.trades.trade_labels import TradeLabels
from trading.learning.train import train
from trading.market.bars import from_ns
from trading.records.journal import new_york_time
from trading.records.trade_log import Trade

if TYPE_CHECKING:
    from pathlib import Path

BUSHY = FEW_TREES.changed(N_ESTIMATORS=60, FOREST_MAX_SAMPLES=0.8, FOREST_MIN_SAMPLES_LEAF=10)
"""Trees deep enough for some thousand rows; the defaults are for a hundred times as many."""


def made_up(sessions: int = 6, symbols: int = 10, minutes: int = 120, seed: int = 3) -> Rows:
    """Stocks that differ in price and in nothing else; a third of the rows win, whatever the features."""
    random = np.random.default_rng(seed)
    n = sessions * symbols * minutes
    session = np.repeat(np.datetime64("2018-03-01") + np.arange(sessions), symbols * minutes)
    symbol = np.tile(np.repeat(np.arange(symbols, dtype=np.int32), minutes), sessions)
    start = session.astype("datetime64[ns]").astype(np.int64) + np.tile(
        (14 * 60 + 30 + np.arange(minutes)) * 60 * 10**9, sessions * symbols
    )
    X = random.normal(size=(n, 11))
    price = 2.0 + 1.5 * symbol + 0.2 * random.normal(size=n)
    X[:, [0, 1, 2, 3, 5, 10]] = price[:, None] + 0.01 * random.normal(size=(n, 6))
    label = (random.random(n) < 1 / 3).astype(np.int8)
    names = tuple(f"S{i:02}" for i in range(symbols))
    return Rows(names, symbol, session, start, X, np.where(label == 1, 4.0, -2.0), label)


def trades_on(rows: Rows, symbol: int, count: int, outcome: float, seed: int = 1) -> list[PastTrade]:
    """Trades on `count` random rows of a stock."""
    places = np.random.default_rng(seed).choice(np.flatnonzero(rows.symbol == symbol), count, replace=False)
    label = int(outcome > 0.0)
    return [PastTrade(rows.symbols[symbol], int(rows.start[i]), rows.X[i], outcome, label) for i in places]


# Among the rows


def test_a_trade_replaces_its_row_and_no_other_row_changes() -> None:
    rows = made_up()
    trades = trades_on(rows, 3, 7, 3.21)
    new, entered = with_past_trades(rows, PastTrades(tuple(trades)), 2.5)
    assert isinstance(new, WeightedRows)
    assert new.past.sum() == 7
    assert (new.weight[new.past] == 2.5).all() and (new.weight[~new.past] == 1.0).all()
    assert (new.outcome[new.past] == 3.21).all() and (new.label[new.past] == 1).all()
    assert {(int(s), int(t)) for s, t in zip(new.symbol[new.past], new.start[new.past], strict=True)} == {
        (3, trade.start) for trade in trades
    }
    assert np.array_equal(new.outcome[~new.past], rows.outcome[~new.past])
    assert np.array_equal(new.X, rows.X)
    changed = int((rows.label[new.past] == 0).sum())
    assert entered == {
        "weight": 2.5, "entered": 7, "replaced": 7, "added": 0, "labels_changed": changed, "left_out": {}
    }  # fmt: skip


def test_a_trade_without_a_simulated_outcome_is_added_as_a_row_in_order() -> None:
    rows = made_up()
    (trade,) = trades_on(rows, 3, 1, -1.0)
    missing = (rows.symbol == 3) & (rows.start == trade.start)
    new, entered = with_past_trades(rows.take(~missing), PastTrades((trade,)), 1.0)
    assert (entered["replaced"], entered["added"]) == (0, 1)
    assert np.array_equal(new.start, rows.start)
    assert np.array_equal(new.symbol, rows.symbol)
    assert new.outcome[missing] == -1.0


def test_rows_are_unchanged_with_weight_0_or_without_trades() -> None:
    rows = made_up()
    trades = PastTrades(tuple(trades_on(rows, 3, 7, 3.21)))
    assert with_past_trades(rows, trades, 0.0)[0] is rows
    assert with_past_trades(rows, PastTrades(), 1.0)[0] is rows


def test_trades_of_other_sessions_and_stocks_are_left_out_and_counted() -> None:
    rows = made_up()
    (trade,) = trades_on(rows, 3, 1, 1.0)
    others = PastTrades((replace(trade, start=trade.start - 40 * 86_400 * 10**9), replace(trade, symbol="ELSE")))
    same, entered = with_past_trades(rows, others, 1.0)
    assert same is rows
    assert entered["left_out"] == {"its session is not among the rows": 1, "its stock is not among the rows": 1}


# In fitting


def test_thinning_keeps_trades_and_their_weight_is_used() -> None:
    rows = made_up()
    new, _ = with_past_trades(rows, PastTrades(tuple(trades_on(rows, 3, 20, -2.0))), 5.0)
    assert isinstance(new, WeightedRows)
    chosen = rows_to_fit(new, 8)
    assert chosen[new.past].all()
    assert np.array_equal(chosen & ~new.past, thin(rows.symbol, rows.session, 8) & ~new.past)
    weight = weights_of(new, chosen)
    assert weight is not None and sorted(set(weight)) == [1.0, 5.0]
    one, _ = with_past_trades(rows, PastTrades(tuple(trades_on(rows, 3, 20, -2.0))), 1.0)
    assert weights_of(one, chosen) is None  # as any row: the very model that unweighted rows give


@pytest.mark.parametrize("kind", ["random_forest", "gradient_boosting"])
def test_a_weight_of_two_has_about_the_effect_of_a_repeated_row(kind: Any) -> None:
    """Not to the bit (bootstrap and bins differ), but the probabilities move the same way and about as far."""
    rows = made_up(symbols=3)
    chosen = BUSHY.changed(MODEL_KIND=kind, N_ESTIMATORS=10)
    heavy = np.where(rows.symbol == 1, 2.0, 1.0)
    twice = np.concatenate([np.arange(len(rows)), np.flatnonzero(rows.symbol == 1)])
    label = np.where(rows.symbol == 1, 0, rows.label).astype(np.int8)
    label[::5] = rows.label[::5]
    weighted = probabilities(*fit(rows.X, label, chosen.training, heavy), rows.X)
    repeated = probabilities(*fit(rows.X[twice], label[twice], chosen.training), rows.X)
    plain = probabilities(*fit(rows.X, label, chosen.training), rows.X)
    assert not np.array_equal(weighted, plain)
    inside = rows.symbol == 1
    assert weighted[inside].mean() == pytest.approx(repeated[inside].mean(), abs=0.02)


def mean_by_stock(rows: Rows, past: PastTrades, weight: float) -> np.ndarray:
    """Mean probability of each stock on the newest session, by a model of all before it."""
    new, _ = with_past_trades(rows, past, weight)
    earlier = rows.session < rows.session.max()
    chosen = rows_to_fit(new, 8) & earlier
    model = fit(new.X[chosen], new.label[chosen], BUSHY.training, weights_of(new, chosen))
    p = probabilities(*model, rows.X[~earlier])
    return np.array([p[rows.symbol[~earlier] == i].mean() for i in range(len(rows.symbols))])


def test_the_model_learns_to_avoid_a_stock_whose_fills_were_bad() -> None:
    """A stock that has a price range of its own; its trades all lost, where the simulation had a third of them win.

    The eleven features name a stock by its price alone: what is learnt is to avoid this price.
    """
    rows = made_up(sessions=8)
    bad = 4
    past = PastTrades(tuple(t for t in trades_on(rows, bad, 60, -2.3) if t.start < rows.start.max() - 86_400 * 10**9))
    without, light, heavy = (mean_by_stock(rows, past, weight) for weight in (0.0, 1.0, 10.0))
    others = np.arange(len(rows.symbols)) != bad
    assert light[bad] < without[bad] - 0.05
    assert heavy[bad] < light[bad] - 0.05
    assert heavy[bad] < 0.5 * heavy[others].mean()
    neighbours = np.isin(np.arange(len(rows.symbols)), [bad - 1, bad + 1])
    assert abs(light[others & ~neighbours] - without[others & ~neighbours]).max() < 0.1


# From the logs


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Path]:
    folders = {name: tmp_path / name for name in ("data", "models", "logs")}
    fill(folders["data"], SESSIONS[:6])
    claim(folders["logs"], MARKET)
    return folders


def write_trades(folder: Path, rows: Rows, places: list[int], **changes: Any) -> None:
    """Trades on these rows as the trader writes them, each with its prediction."""
    by_day: dict[date, list[Trade]] = {}
    for i in places:
        bar = from_ns(int(rows.start[i]))
        decided = bar + timedelta(minutes=1, seconds=2)
        trade = Trade(
            symbol=rows.symbols[rows.symbol[i]],
            qty=5,
            entry_price=Decimal("10.00"),
            entry_time=decided + timedelta(seconds=1),
            confidence=0.7,
            stop_loss=Decimal("9.80"),
            take_profit=Decimal("10.40"),
            exit_price=Decimal("9.70"),
            exit_time=decided + timedelta(minutes=5),
            exit_reason="STOP_LOSS",
            decision_time=decided,
            market=MARKET.slug,
        )
        trade = replace(trade, **changes)
        by_day.setdefault(trade.day, []).append(trade)
        line = {
            "symbol": trade.symbol,
            "timestamp": new_york_time(decided),
            "bar_time": new_york_time(bar),
            "features": rows.X[i].tolist(),
        }
        with open(folder / f"predictions_{trade.day}.jsonl", "a") as file:
            file.write(json.dumps({**line, "symbol": "ELSE"}) + "\n" + json.dumps(line) + "\n")
    for day, trades in by_day.items():
        (folder / f"trades_{day}.json").write_text(json.dumps([trade.as_json() for trade in trades]))


def labels_of(data: Path, **values: Any) -> TradeLabels:
    return TradeLabels(Dataset(data), label_rules(**values))


def test_trades_of_the_logs_enter_with_their_fills_and_are_counted_in_the_metrics(world: dict[str, Path]) -> None:
    rows = Dataset(world["data"]).load()
    places = [10, 500, 900]
    write_trades(world["logs"], rows, places)
    found = past_trades(world["logs"], MARKET.slug, evening(SESSIONS[5]), labels_of(world["data"]))
    assert [(t.symbol, t.start, t.outcome) for t in found.trades] == [
        (rows.symbols[rows.symbol[i]], int(rows.start[i]), pytest.approx(-3.0)) for i in places
    ]
    assert all(np.array_equal(t.X, rows.X[i]) for t, i in zip(found.trades, places, strict=True))
    chosen = settings(LOGS_DIR=world["logs"], TRAINING_REPORT=False)
    model, _ = retrain(world["data"], world["models"], chosen, evening(SESSIONS[5]))
    entered = model.metrics["past_trades"]
    assert (entered["entered"], entered["replaced"], entered["weight"]) == (3, 3, 1.0)
    assert model.metrics["rows"]["fitted"] <= int(thin(rows.symbol, rows.session, 2).sum()) + 3
    off, _ = retrain(
        world["data"],
        world["models"],
        settings(LOGS_DIR=world["logs"], PAST_TRADE_WEIGHT=0, TRAINING_REPORT=False),
        evening(SESSIONS[5]),
    )
    plain = train(rows, learning_settings(chosen))
    assert off.metrics["figures"] == plain.about["figures"]
    assert off.metrics["past_trades"]["entered"] == 0


@pytest.mark.parametrize("again", [False, True])
def test_compressed_predictions_teach_the_same(world: dict[str, Path], again: bool) -> None:
    rows = Dataset(world["data"]).load()
    write_trades(world["logs"], rows, [10, 500, 900])
    before = past_trades(world["logs"], MARKET.slug, evening(SESSIONS[5]), labels_of(world["data"]))
    assert len(before.trades) == 3
    for path in sorted(world["logs"].glob("predictions_*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(lines[0])  # compressed once, then lines were added, and perhaps compressed too
        compress_lines(path)
        path.write_bytes(b"".join(lines[1:]))
        if again:
            compress_lines(path)
    assert list(world["logs"].glob("predictions_*.jsonl")) == [] or not again
    after = past_trades(world["logs"], MARKET.slug, evening(SESSIONS[5]), labels_of(world["data"]))
    assert [(one.symbol, one.start, one.X.tolist()) for one in after.trades] == [
        (one.symbol, one.start, one.X.tolist()) for one in before.trades
    ]
    assert after.left_out == before.left_out


def test_future_and_open_trades_are_left_out(world: dict[str, Path]) -> None:
    rows = Dataset(world["data"]).load()
    i = int(np.flatnonzero(rows.session == rows.sessions[2])[100])
    write_trades(world["logs"], rows, [i])
    closed = from_ns(int(rows.start[i])) + timedelta(minutes=6, seconds=2)
    assert not past_trades(world["logs"], MARKET.slug, closed, labels_of(world["data"])).trades
    assert past_trades(world["logs"], MARKET.slug, closed, labels_of(world["data"])).left_out == {"not closed yet": 1}
    later = closed + timedelta(seconds=1)
    assert len(past_trades(world["logs"], MARKET.slug, later, labels_of(world["data"])).trades) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exit_price": None, "exit_time": None}, "not closed yet"),
        ({"market": "bars-other"}, "of another market"),
        ({"decision_time": None}, "without the time of its decision"),
        ({"decision_time": datetime(2018, 3, 19, 9, 31, tzinfo=NEW_YORK)}, "its prediction is not in the logs"),
        ({"exit_time": datetime(2018, 3, 20, 4, 0, tzinfo=NEW_YORK)}, "held overnight"),
    ],
)
def test_trades_that_are_left_out_are_counted_by_reason(
    world: dict[str, Path], changes: dict[str, Any], reason: str
) -> None:
    write_trades(world["logs"], Dataset(world["data"]).load(), [10], **changes)
    found = past_trades(world["logs"], MARKET.slug, evening(SESSIONS[5]), labels_of(world["data"]))
    assert not found.trades
    assert found.left_out == {reason: 1}


def test_logs_of_another_market_are_ignored(world: dict[str, Path], tmp_path: Path) -> None:
    write_trades(world["logs"], Dataset(world["data"]).load(), [10])
    now = evening(SESSIONS[5])
    assert not past_trades(world["logs"], "bars-other", now, labels_of(world["data"])).trades
    assert past_trades(tmp_path / "nowhere", MARKET.slug, now, labels_of(world["data"])) == PastTrades()
    other = tmp_path / "other"
    claim(other, MarketId("bars-other", "another"))
    write_trades(other, Dataset(world["data"]).load(), [10])
    assert not past_trades(other, MARKET.slug, now, labels_of(world["data"])).trades


def test_a_damaged_log_loses_only_its_own_trades(world: dict[str, Path]) -> None:
    rows = Dataset(world["data"]).load()
    write_trades(world["logs"], rows, [10])
    (world["logs"] / "trades_2018-03-20.json").write_text("[{")
    with open(world["logs"] / f"predictions_{SESSIONS[0].date}.jsonl", "a") as file:
        file.write('{"torn')
    found = past_trades(world["logs"], MARKET.slug, evening(SESSIONS[5]), labels_of(world["data"]))
    assert len(found.trades) == 1
    assert found.left_out == {"trades_2018-03-20.json is not a trade log": 1}


def test_trade_files_of_days_outside_the_rows_are_counted_and_not_read(world: dict[str, Path]) -> None:
    rows = Dataset(world["data"]).load()
    write_trades(world["logs"], rows, [10, 500, 900])
    for day in ("2016-01-04", "2016-01-05"):
        (world["logs"] / f"trades_{day}.json").write_text("not a trade log")
    given = (world["logs"], MARKET.slug, evening(SESSIONS[5]), labels_of(world["data"]))
    found = past_trades(*given, sessions=frozenset(rows.sessions.tolist()))
    assert len(found.trades) == 3 and found.left_out == {NOT_READ: 2}
    assert past_trades(*given).left_out == {
        f"trades_{day}.json is not a trade log": 1 for day in ("2016-01-04", "2016-01-05")
    }
