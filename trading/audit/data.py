"""What the audit of the pipeline is made of: the functions under audit, the data they are held against, a check."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trading.base.calendar import MarketCalendar, Session, new_york_calendar
from trading.dataset.manifest import SymbolRecord
from trading.dataset.rows import SymbolRows, rows_of, sessions_around
from trading.features.document import LOOKBACK_BARS
from trading.features.session_bars import SessionBars, to_reply
from trading.features.sets import SESSIONS_BEFORE, of_history, of_windows, volume_profile
from trading.learning.calibration import win_probability
from trading.learning.fitting import Floats, Mask, probabilities, split_by_session, thin
from trading.learning.train import train
from trading.market.bars import MINUTE_NS, Bars, from_ns, read_bars_file, session_numbers, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from config import FeatureSet
    from trading.dataset.dataset import Dataset
    from trading.dataset.manifest import LabelRules

MOST_FINDINGS: Final = 20
"""Findings of one check that are told in words; the rest is counted."""

Vectors = dict[int, NDArray[np.float64]]
"""Start of the bar (ns) -> its features (columns,)."""


def history_vectors(bars: Bars, calendar: MarketCalendar, feature_set: FeatureSet = "document") -> Vectors:
    """The features of every bar of one symbol that has some, its outcome known or not."""
    sessions = sessions_around(bars.start, calendar)
    X, usable = of_history(bars, sessions, session_numbers(bars.start, sessions), feature_set)
    starts = bars.start[LOOKBACK_BARS - 1 :].tolist()
    return {start: X[i] for i, start in enumerate(starts) if usable[i]}


def live_vectors(
    session: Session, bars: Mapping[str, Bars], now: datetime, feature_set: FeatureSet = "document"
) -> dict[str, tuple[int, Floats]]:
    """Symbol -> (start of the newest bar, its features), as a running trader has them at `now`.

    Args:
        bars: what the market has shown of the session; the minute that runs at `now` is there, as far as it went.
            Bars of the sessions before come first, where the features need them: they lie in `data/` by then.
        feature_set: which features.
    """
    profiles = None
    if feature_set == "relative":
        calendar = new_york_calendar()
        profiles = {symbol: volume_profile(one, session, calendar) for symbol, one in bars.items()}
    bars = {symbol: one.since(session.open) for symbol, one in bars.items()}
    store = SessionBars(session, sorted(bars), profiles)
    store.take({symbol: to_reply(one) for symbol, one in bars.items()}, now)
    windows = store.windows()
    if not len(windows):
        return {}
    vectors = of_windows(windows, feature_set)
    return {symbol: (int(windows.start[i]), vectors[i]) for i, symbol in enumerate(windows.symbols)}


def scores(model: Any, X: Floats) -> tuple[Floats, Floats]:
    """(own probability, calibrated probability) of a loaded model, each of shape (n,)."""
    own = probabilities(model.scaler, model.model, X)
    return own, win_probability(own, model.calibration)


@dataclass(frozen=True)
class Pipeline:
    """The functions under audit: those of the system, or others that are to be caught."""

    rows_of: Callable[[Bars, MarketCalendar, LabelRules], SymbolRows] = rows_of
    history_vectors: Callable[[Bars, MarketCalendar], Vectors] = history_vectors
    live_vectors: Callable[[Session, Mapping[str, Bars], datetime], dict[str, tuple[int, Floats]]] = live_vectors
    scores: Callable[[Any, Floats], tuple[Floats, Floats]] = scores
    split: Callable[[NDArray[Any], float], tuple[Mask, Mask]] = split_by_session
    thin: Callable[[NDArray[Any], NDArray[Any], int], Mask] = thin
    train: Callable[..., Any] = train

    @classmethod
    def of(cls, feature_set: FeatureSet) -> Pipeline:
        """The functions of the system, for rows of these features."""
        return cls(
            rows_of=partial(rows_of, feature_set=feature_set),
            history_vectors=partial(history_vectors, feature_set=feature_set),
            live_vectors=partial(live_vectors, feature_set=feature_set),
        )


@dataclass
class Check:
    """One line of the audit.

    Attributes:
        name: which part of the audit it belongs to.
        what: what was held against what.
        compared: how many comparisons were made.
        findings: how many of them failed.
        told: the first of those, in words.
        left_out: reason -> how many could not be compared.
    """

    name: str
    what: str
    compared: int = 0
    findings: int = 0
    told: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def hold(self, good: bool, finding: str) -> None:
        """Count one comparison, and a finding where it is not good."""
        self.compared += 1
        if not good:
            self.find(finding)

    def find(self, finding: str, count: int = 1) -> None:
        """Count findings that are told as one."""
        self.findings += count
        if len(self.told) < MOST_FINDINGS:
            self.told.append(finding)


class Material:
    """A data folder as the checks read it: bars of every symbol, each read once.

    Args:
        dataset: the data folder.
        pipeline: the functions under audit.
    """

    def __init__(self, dataset: Dataset, pipeline: Pipeline) -> None:
        self.dataset = dataset
        self.pipeline = pipeline
        self.calendar = dataset.calendar
        self.manifest = dataset.manifest
        self.rules = self.manifest.rules
        self.feature_set = self.manifest.feature_set
        self._bars: dict[str, Bars] = {}
        self._rows: dict[str, SymbolRows] = {}
        self._vectors: dict[str, Vectors] = {}
        self._minutes_known: dict[tuple[str, Session], int] = {}

    @cached_property
    def symbols(self) -> list[str]:
        """Those that have rows, sorted."""
        return list(self.dataset.symbols)

    def bars(self, symbol: str) -> Bars:
        """The bars of a symbol, of the sessions that the manifest knows; none for an unknown symbol."""
        if symbol not in self._bars:
            record = self.manifest.symbols.get(symbol, SymbolRecord())
            bars = read_bars_file(self.dataset.bars_path(symbol)) if record.bars else Bars.empty()
            days = np.array(record.sessions, dtype="datetime64[D]")
            known = np.isin(bars.start.astype("datetime64[ns]").astype("datetime64[D]"), days)
            self._bars[symbol] = bars if known.all() else bars.take(known)
        return self._bars[symbol]

    def rows(self, symbol: str) -> SymbolRows:
        """The rows that the pipeline makes of all bars of a symbol."""
        if symbol not in self._rows:
            self._rows[symbol] = self.pipeline.rows_of(self.bars(symbol), self.calendar, self.rules)
        return self._rows[symbol]

    def vectors(self, symbol: str) -> Vectors:
        """Features by start of the bar: of the training rows, and where a bar has no row, of its window."""
        if symbol not in self._vectors:
            rows = self.rows(symbol)
            found = dict(self.pipeline.history_vectors(self.bars(symbol), self.calendar))
            found.update(zip(rows.start.tolist(), rows.X, strict=True))
            self._vectors[symbol] = found
        return self._vectors[symbol]

    def session_of(self, start: int) -> Session:
        """The session in which a bar starts."""
        return self.calendar.session(from_ns(start).date())

    def of_session(self, symbol: str, session: Session) -> Bars:
        """The bars of a symbol in one session."""
        return self.bars(symbol).between(session.open, session.close)

    def before(self, symbol: str, session: Session) -> Bars:
        """The bars of the sessions before that the features of a session are made of, too."""
        first = session
        for _ in range(SESSIONS_BEFORE[self.feature_set]):
            first = self.calendar.preceding(first.date)
        return self.bars(symbol).between(first.open, session.open)

    def has_features(self, symbol: str, session: Session, start: int) -> bool:
        """Whether a bar with a whole window has features: relative features need a usual volume at each minute.

        Worked out in another way than the features do it.
        """
        if self.feature_set == "document":
            return True
        key = (symbol, session)
        if key not in self._minutes_known:
            self._minutes_known[key] = self._longest_before(symbol, session)
        return (start - to_ns(session.open)) // MINUTE_NS < self._minutes_known[key]

    def _longest_before(self, symbol: str, session: Session) -> int:
        """Minutes of the longest session of the volume profile; 0 where there is none."""
        if not len(self.of_session(symbol, self.calendar.preceding(session.date))):
            return 0
        days = np.unique(self.before(symbol, session).start.astype("datetime64[ns]").astype("datetime64[D]"))
        return max(self.calendar.session(day.item()).minutes for day in days)


def moment(start: int) -> str:
    """A bar's start for people: UTC."""
    return f"{from_ns(start):%Y-%m-%d %H:%M} UTC"


def over_by(bars: Bars, now: datetime) -> int:
    """How many of the bars (in order) are over at `now`."""
    return int(np.searchsorted(bars.start + MINUTE_NS, to_ns(now), side="right"))
