"""Rows of a generated market in the pipeline's own format, with labels of which the best possible ROC-AUC is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from paper_exchange.market.generator.market import GeneratedMarket
from tests.settings import label_rules
from trading.base.calendar import Session, new_york_calendar
from trading.dataset.dataset import Rows
from trading.dataset.rows import rows_of
from trading.features.document import FEATURES
from trading.market.bars import Bars, join

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]


def generated_bars(seed: int, stocks: int, sessions: int, learnability: float) -> tuple[dict[str, Bars], list[Session]]:
    """Bars of every stock over the market's first sessions, and those sessions."""
    market = GeneratedMarket(seed, stocks, learnability=learnability)
    first = market.first_session
    days = new_york_calendar().between(first, first + timedelta(days=2 * sessions + 10))[:sessions]
    return {
        listing.symbol: join([_bars(market, listing.symbol, day) for day in days]) for listing in market.listings
    }, days


def _bars(market: GeneratedMarket, symbol: str, session: Session) -> Bars:
    one = market.session_bars(symbol, session.date)
    return Bars(one.start, one.open, one.high, one.low, one.close, one.volume.astype(np.float64))


def generated_rows(seed: int = 1, stocks: int = 40, sessions: int = 20, learnability: float = 0.5) -> Rows:
    """The rows that the pipeline makes of a generated market."""
    bars, _ = generated_bars(seed, stocks, sessions, learnability)
    names = tuple(sorted(bars))
    parts = [rows_of(bars[name], new_york_calendar(), label_rules()) for name in names]
    start = np.concatenate([part.start for part in parts])
    rows = Rows(
        names,
        np.repeat(np.arange(len(names), dtype=np.int32), [len(part) for part in parts]),
        start.astype("datetime64[ns]").astype("datetime64[D]"),
        start,
        np.concatenate([part.X for part in parts]),
        np.concatenate([part.outcome for part in parts]),
        np.concatenate([part.label for part in parts]),
    )
    return rows.take(np.argsort(rows.session, kind="stable"))


def nothing_to_learn(rows: Rows, seed: int) -> Rows:
    """The same features with outcomes that have nothing to do with them: the best possible ROC-AUC is exactly 0.5.

    A market of pure random walks will not do: whether a barrier is reached depends on the volatility and on the time
    left, both of which the past tells.  So the outcomes of each stock's session are turned round its day by a random
    number of minutes and given to the features of another stock's session.  Outcomes of neighbouring minutes stay as
    alike as they are, and days stay as different, so figures are as uncertain as real ones.
    """
    random = np.random.default_rng(seed)
    begins = np.flatnonzero(np.r_[True, (np.diff(rows.symbol) != 0) | (np.diff(rows.session).astype(int) != 0)])
    blocks = np.split(np.arange(len(rows)), begins[1:])
    order = np.concatenate(
        [np.roll(blocks[i], int(random.integers(len(blocks[i])))) for i in random.permutation(len(blocks))]
    )
    return replace(rows, outcome=rows.outcome[order], label=rows.label[order])


def planted(
    rows: Rows, seed: int, columns: Sequence[str] = ("VWAP_Deviation",), strength: float = 0.7
) -> tuple[Rows, Floats]:
    """The same features with labels that are drawn with a known probability, and that probability of every row.

    The log-odds of a win are linear in the ranks (as normal scores) of `columns`, signs alternating.  No model can rank
    better than the probability itself.
    """
    from scipy.special import expit, ndtri

    random = np.random.default_rng(seed)
    score = np.zeros(len(rows))
    for sign, name in zip((1.0, -1.0, 1.0, -1.0), columns, strict=False):
        rank = np.argsort(np.argsort(rows.X[:, FEATURES.index(name)], kind="stable"), kind="stable")
        score += sign * ndtri((rank + 0.5) / len(rows))
    p = expit(strength * score / np.sqrt(len(columns)) - 0.7)
    label = (random.random(len(rows)) < p).astype(np.int8)
    return replace(rows, label=label, outcome=np.where(label == 1, 4.0, -2.0)), p


def true_auc(scores: Floats, p: Floats) -> float:
    """Expected ROC-AUC of scores where row i wins with probability p[i]: no luck of the draw in it."""
    return float(
        roc_auc_score(np.repeat([1, 0], len(p)), np.tile(scores, 2), sample_weight=np.concatenate([p, 1.0 - p]))
    )


def independent_sessions(count: int, stocks: int = 40, learnability: float = 0.5, first: int = 1) -> Rows:
    """Rows of sessions that know nothing of each other: each is the first session of a market of its own.

    In one market the level of volatility lasts for days, so that its sessions are no independent draws.  The markets
    have the seeds from `first` on.
    """
    days = new_york_calendar().between(date(2025, 1, 2), date(2025, 1, 2) + timedelta(days=2 * count + 10))[:count]
    parts = [generated_rows(seed, stocks, 1, learnability) for seed in range(first, first + count)]
    moved = [np.datetime64(day.date) for day in days]
    return Rows(
        tuple(f"S{i:02}" for i in range(stocks)),
        np.concatenate([part.symbol for part in parts]),
        np.concatenate([np.full(len(part), day) for part, day in zip(parts, moved, strict=True)]),
        np.concatenate(
            [
                part.start
                - part.session.astype("datetime64[ns]").astype(np.int64)
                + day.astype("datetime64[ns]").astype(np.int64)
                for part, day in zip(parts, moved, strict=True)
            ]
        ),
        np.concatenate([part.X for part in parts]),
        np.concatenate([part.outcome for part in parts]),
        np.concatenate([part.label for part in parts]),
    )
