"""The manifest of a data folder, `dataset.json`: its contents, and the rules that its rows were made with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from trading.base.errors import DataError
from trading.base.files import write_json
from trading.features.document import FEATURES, LOOKBACK_BARS
from trading.features.sets import COLUMNS, checked_name
from trading.rules.labels import KINDS, LabelRules

if TYPE_CHECKING:
    from pathlib import Path

    from config import FeatureSet

NAME: Final = "dataset.json"
FORMAT: Final = 1
WINDOW: Final = "minutes"
"""What a window of features holds: the last minutes, or in earlier versions the last bars."""
SPARSE_FEED: Final = "iex"
"""The feed that lacks most trades, so that another one can tell the outcomes (OUTCOME_FEED)."""


@dataclass(frozen=True)
class SymbolRecord:
    """What the folder holds of one symbol.

    Attributes:
        sessions: dates of the sessions that were fetched, oldest first; a session without bars counts.
        bars, rows: numbers of bars and rows in the files.
        bars_bytes, rows_bytes: sizes of the two files (0: no file).  A file of another size was replaced by a run that
            was killed before it wrote the manifest.
        left_out: reason -> number of bars of this symbol that the check left out.
        outcome_sessions, outcome_bars, outcome_bytes: the same of the bars of the outcome feed; empty without one.
        adjusted_through: the day through which splits are accounted for in all bars; empty: the newest session.
    """

    sessions: tuple[str, ...] = ()
    bars: int = 0
    rows: int = 0
    bars_bytes: int = 0
    rows_bytes: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    outcome_sessions: tuple[str, ...] = ()
    outcome_bars: int = 0
    outcome_bytes: int = 0
    adjusted_through: str = ""


@dataclass(frozen=True)
class Manifest:
    """The folder as a whole.

    Attributes:
        source, feed: the origin of the bars.
        stop_loss ... label_within_minutes, outcome_feed: as in `LabelRules`; the defaults are those of before version
            0.3.
        lookback: length of a feature window; window: of what.
        features: the features' names, in order.
        rebuilding: all rows are being made again; after a kill, the files may hold rows of two sets of rules.
        symbols: symbol -> record of its files.
        format: version of this layout.
    """

    source: str
    feed: str
    stop_loss: float
    take_profit: float
    round_trip_cost: float
    flatten_minutes: int
    lookback: int = LOOKBACK_BARS
    features: tuple[str, ...] = FEATURES
    rebuilding: bool = False
    symbols: dict[str, SymbolRecord] = field(default_factory=dict)
    format: int = FORMAT
    label_min_profit: float = 0.0
    spread_ticks: float = -1.0
    label: str = "profit"
    label_target: float = 0.0
    label_within_minutes: int = 0
    window: str = "bars"
    outcome_feed: str = "same"

    @property
    def rules(self) -> LabelRules:
        """The rules that the rows were made with.

        Raises:
            DataError: this version knows no such label.
        """
        if self.label not in KINDS:
            raise DataError(f"{NAME}: label is {self.label}, not one of {', '.join(KINDS)}; run build_dataset.py")
        return LabelRules(**{one.name: getattr(self, one.name) for one in fields(LabelRules)})

    @property
    def feature_set(self) -> FeatureSet:
        """The feature set of the rows.

        Raises:
            DataError: this version knows no such set.
        """
        return checked_name(self.features, NAME)

    def made_with(self, rules: LabelRules, feature_set: FeatureSet = "document") -> bool:
        """Whether the rows in the folder are what `rules` and this version of the features make."""
        known = (self.lookback, self.window, self.features)
        same_features = known == (LOOKBACK_BARS, WINDOW, COLUMNS[feature_set])
        return not self.differing(rules) and same_features and not self.rebuilding

    def differing(self, rules: LabelRules) -> str:
        """The settings whose value differs from that of `rules`, as `NAME=value of the folder`; empty if none does.

        OUTCOME_FEED counts only where the feed is one that lacks most trades: elsewhere one feed tells everything.
        """
        if self.feed != SPARSE_FEED:
            rules = replace(rules, outcome_feed=self.outcome_feed)
        return self.rules.differing(rules)


class OtherFormat(DataError):
    """The manifest is whole, but another version of this program wrote it."""


def new_manifest(
    rules: LabelRules,
    *,
    source: str,
    feed: str,
    symbols: dict[str, SymbolRecord],
    rebuilding: bool = False,
    feature_set: FeatureSet = "document",
) -> Manifest:
    """The manifest of rows that `rules` and `feature_set` make."""
    return Manifest(
        source=source,
        feed=feed,
        features=COLUMNS[feature_set],
        rebuilding=rebuilding,
        symbols=dict(sorted(symbols.items())),
        **asdict(rules),
        window=WINDOW,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of `folder` in one durable step."""
    write_json(folder / NAME, asdict(manifest))


_SCHEMA: Final[TypeAdapter[Manifest]] = TypeAdapter(Manifest)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of `folder`; None if there is none.

    Raises:
        DataError: it is damaged.
        OtherFormat: another version of this program wrote it; it is a `DataError`.
    """
    path = folder / NAME
    try:
        manifest = _SCHEMA.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataError(f"{path}: {_first(error)}; delete it and run python build_dataset.py") from None
    if manifest.format != FORMAT:
        raise OtherFormat(
            f"{path}: format is {manifest.format}, this program knows {FORMAT}; "
            "move the folder away and run python build_dataset.py"
        )
    return manifest


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where or 'the file'} is damaged ({problem['msg'][0].lower()}{problem['msg'][1:]})"
