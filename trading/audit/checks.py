"""The audit from bars to rows: nothing looks ahead, files are what the code makes, labels are true, the split holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.audit.data import Check, Material, moment, over_by
from trading.audit.reference_labels import SlowOutcome, slow_bars, slow_outcome
from trading.base.errors import DataError
from trading.dataset.rows import SymbolRows, read_rows_file
from trading.features.document import LOOKBACK_BARS
from trading.market.bars import Bars, join, to_ns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trading.base.calendar import Session
    from trading.learning.fitting import LearningSettings

Step = Callable[[], None]

DAY_NS: Final = 86_400 * 1_000_000_000

AROUND_NS: Final = 5 * DAY_NS
"""How far from a cut bars are looked at: some sessions before and after, which costs less than all of them."""


@dataclass(frozen=True)
class Amount:
    """How many random samples each check takes: minutes to cut at, sessions to label, minutes to live through."""

    cuts: int = 60
    sessions: int = 40
    minutes: int = 30


PURGED_SYMBOLS: Final = 8
SMALL: Final = {"N_ESTIMATORS": 10, "TRAIN_EVERY_NTH_ROW": 4, "FOREST_MIN_SAMPLES_LEAF": 10}
"""The training that is repeated with another newest session: what counts is what changes, not how good it is."""

Rng = np.random.Generator


def look_ahead(material: Material, rng: Rng, step: Step, cuts: int) -> Check:
    """(a) Cut the bars at random minutes, and change all that comes after: what is dated before stays, to the bit."""
    check = Check("look-ahead", "bars cut, and the future changed, at random minutes: rows and features before stay")
    for _ in range(cuts):
        step()
        symbol = str(rng.choice(material.symbols))
        bars = material.bars(symbol)
        if len(bars) <= LOOKBACK_BARS + 1:
            check.left_out["too few bars of a stock"] += 1
            continue
        cut = int(bars.start[rng.integers(LOOKBACK_BARS, len(bars))])
        bars = bars.take(np.abs(bars.start - cut) < AROUND_NS)
        past, future = bars.take(bars.start < cut), bars.take(bars.start >= cut)
        known = _known_before(material, symbol, cut)
        full_rows = material.pipeline.rows_of(bars, material.calendar, material.rules)
        full_vectors = material.pipeline.history_vectors(bars, material.calendar)
        for what, other in (("cut", past), ("changed", join([past, _changed(future, rng)]))):
            rows = material.pipeline.rows_of(other, material.calendar, material.rules)
            vectors = material.pipeline.history_vectors(other, material.calendar)
            where = f"{symbol}, bars {what} at {moment(cut)}"
            _same_rows(check, where, full_rows, rows, cut, known, ends=what == "cut")
            _same_vectors(check, where, full_vectors, vectors, cut)
    return check


def _changed(future: Bars, rng: Rng) -> Bars:
    factor = float(rng.uniform(1.2, 1.6))
    prices = {name: getattr(future, name) * factor for name in ("open", "high", "low", "close")}
    return replace(future, volume=future.volume + 1234.0, **prices)


def _known_before(material: Material, symbol: str, cut: int) -> set[int]:
    """Starts of the bars of the cut's session whose outcome the slow version knows from bars before the cut."""
    session = material.session_of(cut)
    bars = material.of_session(symbol, session)
    slow = _slow(bars, session, material)
    return {start for start, one in slow.items() if one is not None and one.left_in < cut}


def _slow(bars: Bars, session: Session, material: Material) -> dict[int, SlowOutcome | None]:
    """Start of each bar of one session with a whole window -> its outcome by the slow version."""
    rules = material.rules
    flatten_at = to_ns(session.flatten_at(rules.flatten_minutes))
    listed = slow_bars(bars.start.tolist(), bars.open.tolist(), bars.high.tolist(), bars.low.tolist())
    return {
        listed[i].start: slow_outcome(listed, i, flatten_at, rules.stop_loss, rules.take_profit)
        for i in range(LOOKBACK_BARS - 1, len(listed))
    }


def _same_rows(
    check: Check, where: str, full: SymbolRows, other: SymbolRows, cut: int, known: set[int], *, ends: bool
) -> None:
    """Rows dated before the cut, of all bars against those of the changed ones.

    A row of an earlier session is known in full; one of the cut's session where the slow version says so (`known`).
    Where the bars end at the cut, no other outcome can be known.
    """
    day = cut // DAY_NS
    place = {start: i for i, start in enumerate(other.start.tolist())}
    for i in range(int(np.searchsorted(full.start, cut))):
        start = int(full.start[i])
        settled = start // DAY_NS < day or start in known
        j = place.pop(start, None)
        check.compared += 1
        if j is None:
            if settled:
                check.find(f"{where}: the row of {moment(start)} is gone, though its outcome was known")
            continue
        if full.X[i].tobytes() != other.X[j].tobytes():
            check.find(f"{where}: the features of {moment(start)} differ")
        if not settled and ends:
            check.find(f"{where}: the row of {moment(start)} has an outcome before it can be known")
        elif settled and (full.outcome[i] != other.outcome[j] or full.label[i] != other.label[j]):
            check.find(f"{where}: outcome or label of {moment(start)} differs")
    for start in place:
        if start < cut and (ends or start // DAY_NS < day):
            check.find(f"{where}: {moment(start)} has a row only when the bars are {'cut' if ends else 'changed'}")


def _same_vectors(check: Check, where: str, full: dict, other: dict, cut: int) -> None:
    before = {start for start in full if start < cut}
    differing = [s for s in before if s not in other or full[s].tobytes() != other[s].tobytes()]
    check.compared += len(before)
    if differing:
        check.find(f"{where}: the features of {moment(min(differing))} differ", len(differing))


def files(material: Material, step: Step) -> Check:
    """data/SYMBOL.csv is what the code makes of data/bars/SYMBOL.csv."""
    check = Check("look-ahead", "every row in data/ is what the code makes of data/bars/, to the bit")
    for symbol in material.symbols:
        step()
        if material.manifest.rebuilding:
            check.left_out["a rebuild of the rows was cut short"] += 1
            continue
        stored = read_rows_file(material.dataset.rows_path(symbol), material.feature_set)
        made = material.rows(symbol)
        if len(stored) != material.manifest.symbols[symbol].rows:
            check.left_out["a killed build went beyond the manifest"] += 1
            continue
        same = all(
            getattr(stored, n).tobytes() == getattr(made, n).tobytes() for n in ("start", "X", "outcome", "label")
        )
        check.compared += len(made)
        if not same:
            check.find(f"{material.dataset.rows_path(symbol)}: not the rows that its bars make; run build_dataset.py")
    return check


def labels(material: Material, rng: Rng, step: Step, sessions: int) -> Check:
    """(d) Outcome and label of whole sessions, by the slow version; what is not known has no row."""
    check = Check("labels", "outcomes and labels against a slow second version; what is not known has no row")
    for _ in range(sessions):
        step()
        symbol = str(rng.choice(material.symbols))
        start = int(rng.choice(material.bars(symbol).start))
        session = material.session_of(start)
        _label_session(check, material, symbol, session)
    return check


def _label_session(check: Check, material: Material, symbol: str, session: Session) -> None:
    slow = _slow(material.of_session(symbol, session), session, material)
    rows = material.rows(symbol)
    first, last = np.searchsorted(rows.start, [to_ns(session.open), to_ns(session.close)])
    found = {int(rows.start[i]): i for i in range(first, last)}
    for start, expected in slow.items():
        i = found.pop(start, None)
        where = f"{symbol} {moment(start)}"
        if expected is None:
            check.hold(i is None, f"{where}: its outcome is not known, yet it has a row")
        elif not material.has_features(symbol, session, start):
            check.hold(i is None, f"{where}: a row without bars of the session before")
        elif i is None:
            check.hold(False, f"{where}: its outcome is {expected.outcome:.4f}%, yet it has no row")
        else:
            label = int(expected.outcome > material.rules.won_above_pct)
            near = abs(expected.outcome - material.rules.won_above_pct) < 1e-9
            good = abs(rows.outcome[i] - expected.outcome) < 1e-9 and (near or int(rows.label[i]) == label)
            said = f"outcome {rows.outcome[i]:.4f}%, label {rows.label[i]}"
            check.hold(good, f"{where}: {said}; the slow version says {expected.outcome:.4f}%, {label}")
    for start in found:
        check.hold(False, f"{symbol} {moment(start)}: a row without 20 bars in its session")


def live(material: Material, rng: Rng, step: Step, minutes: int) -> Check:
    """(b) What a running trader computes at random minutes against the training path; the running bar is not used."""
    check = Check("parity", "live features at random minutes, the unfinished bar shown, against the training path")
    days = sorted({str(day) for one in material.manifest.symbols.values() for day in one.sessions})
    for _ in range(minutes):
        step()
        session = material.calendar.session(np.datetime64(rng.choice(days)).astype(object))
        minute = int(rng.integers(LOOKBACK_BARS, session.minutes))
        now = session.open + timedelta(minutes=minute, seconds=2)
        shown = {}
        for symbol in material.symbols:
            bars = material.of_session(symbol, session)
            over = over_by(bars, now)
            running = bars.take(slice(over, over + 1))
            running = running.take(running.start < to_ns(now))
            half = replace(running, close=running.open, high=running.open, low=running.open, volume=running.volume // 2)
            shown[symbol] = join([bars.take(slice(0, over)), half])
        _live_minute(check, material, session, shown, now)
    return check


def _live_minute(check: Check, material: Material, session: Session, shown: dict[str, Bars], now: Any) -> None:
    known = {symbol: join([material.before(symbol, session), bars]) for symbol, bars in shown.items()}
    found = material.pipeline.live_vectors(session, known, now)
    for symbol, bars in shown.items():
        over = over_by(bars, now)
        if over < LOOKBACK_BARS:
            check.hold(symbol not in found, f"{symbol} at {now}: a prediction before the 20th bar")
            continue
        newest = int(bars.start[over - 1])
        if not material.has_features(symbol, session, newest):
            check.hold(symbol not in found, f"{symbol} at {now}: a prediction without bars of the session before")
            continue
        start, vector = found.get(symbol, (0, None))
        if vector is None or start != newest:
            what = "no prediction" if vector is None else f"predicts on the bar of {moment(start)}"
            check.hold(
                False, f"{symbol} at {now:%Y-%m-%d %H:%M:%S} UTC: {what}; the newest whole bar is {moment(newest)}"
            )
            continue
        trained_on = material.vectors(symbol).get(newest)
        check.hold(
            trained_on is not None and vector.tobytes() == trained_on.tobytes(),
            f"{symbol} {moment(newest)}: live features differ from training",
        )


@dataclass(frozen=True)
class SplitRows:
    """Rows for a small training; as `trading.learning.train.Rows` wants them."""

    symbol: NDArray[Any]
    session: NDArray[Any]
    X: NDArray[np.float64]
    outcome: NDArray[np.float64]
    label: NDArray[np.int8]


def split(material: Material, settings: LearningSettings, rng: Rng, step: Step) -> Check:
    """(c) No session and no outcome on both sides; thinning keeps every stock; the newest sessions change nothing."""
    check = Check("split", "no session, outcome or scaling crosses from test to training; thinning keeps every stock")
    rows = material.dataset.load()
    step()
    if len(rows.sessions) < 2:
        check.left_out["fewer than two sessions"] += 1
        return check
    every = settings.training.TRAIN_EVERY_NTH_ROW
    training, testing = material.pipeline.split(rows.session, settings.training.TEST_SIZE)
    both = np.intersect1d(rows.session[training], rows.session[testing])
    check.hold(not len(both), f"{len(both)} session(s) on both sides, the first {both[:1]}")
    check.hold(bool((training ^ testing).all()), "rows on both sides or on none")
    check.hold(
        rows.session[training].max() < rows.session[testing].min(), "a tested session is older than a trained one"
    )
    kept = material.pipeline.thin(rows.symbol, rows.session, every)
    groups = rows.symbol.astype(np.int64) * 1_000_000 + rows.session.astype(np.int64)
    sizes = dict(zip(*np.unique(groups, return_counts=True), strict=True))
    left = set(np.unique(groups[kept]).tolist())
    lost = [group for group, size in sizes.items() if size >= every and int(group) not in left]
    check.hold(not lost, f"thinning leaves nothing of {len(lost)} stocks' sessions")
    _purged(check, material, rows.session[testing].min(), rng, step)
    _newest_changes_nothing(check, material, rows, settings, rng, step)
    return check


def _purged(check: Check, material: Material, first_tested: Any, rng: Rng, step: Step) -> None:
    """Training rows of the training sessions' bars alone: an outcome that ends in a tested session would differ."""
    boundary = first_tested.astype("datetime64[ns]").astype(np.int64)
    names = rng.choice(material.symbols, min(PURGED_SYMBOLS, len(material.symbols)), replace=False)
    for symbol in map(str, names):
        step()
        bars, full = material.bars(symbol), material.rows(symbol)
        alone = material.pipeline.rows_of(bars.take(bars.start < boundary), material.calendar, material.rules)
        n = int(np.searchsorted(full.start, boundary))
        same = n == len(alone) and all(
            getattr(full, name)[:n].tobytes() == getattr(alone, name).tobytes()
            for name in ("start", "X", "outcome", "label")
        )
        check.hold(same, f"{symbol}: rows of training sessions change with the bars of tested ones")


def _newest_changes_nothing(
    check: Check, material: Material, rows: Any, settings: LearningSettings, rng: Rng, step: Step
) -> None:
    """Train twice, the second time with another newest session: the figures of the other test sessions must agree."""
    days = rows.sessions[-10:]
    if len(days) < 4:
        check.left_out["fewer than four sessions: training not repeated"] += 1
        return
    names = rng.choice(len(rows.symbols), min(8, len(rows.symbols)), replace=False)
    few = rows.take(np.isin(rows.session, days) & np.isin(rows.symbol, names))
    newest = few.session == days[-1]
    settings = settings.changed(**SMALL, TEST_SIZE=2.0 / len(days) + 1e-9, FEATURE_SET=material.feature_set)
    one = SplitRows(few.symbol, few.session, few.X, few.outcome, few.label)
    other = replace(
        one,
        X=np.where(newest[:, None], few.X * 1e17, few.X),  # a scaler that sees it leaves nothing of the rest
        label=np.where(newest, 1 - few.label, few.label).astype(np.int8),
    )
    try:
        abouts = [material.pipeline.train(some, settings).about for some in (one, other)]
    except DataError:
        check.left_out["one label only: training not repeated"] += 1
        return
    step()
    tested, trained = (set(abouts[0]["sessions"][part]) for part in ("test", "train"))
    check.hold(not tested & trained, f"training and test share {len(tested & trained)} session(s)")
    figures = [[day for day in about["figures"]["by_session"] if day["session"] != str(days[-1])] for about in abouts]
    check.hold(
        figures[0] == figures[1],
        "what the newest session holds changes the figures of the other tested sessions: scaler or model has seen it",
    )
