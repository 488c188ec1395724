"""`data/dataset.json`: what a data folder holds and with which rules its rows were made.  Written last."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from trading.base.errors import DataError
from trading.base.files import write_json
from trading.features.document import FEATURES, LOOKBACK_BARS
from trading.features.sets import COLUMNS, checked_name
from trading.rules.exits import won_above_pct

if TYPE_CHECKING:
    from pathlib import Path

    from config import ExitSettings, FeatureSet

NAME: Final = "dataset.json"
FORMAT: Final = 1


@dataclass(frozen=True)
class LabelRules:
    """The numbers that outcomes and labels were made with, as `dataset.json` stores them.

    Attributes:
        stop_loss, take_profit, round_trip_cost, label_min_profit: fractions of the entry price.
        flatten_minutes: minutes before the close at which positions are sold.
    """

    stop_loss: float
    take_profit: float
    flatten_minutes: int
    round_trip_cost: float
    label_min_profit: float

    @classmethod
    def of(cls, exits: ExitSettings) -> LabelRules:
        """The rules that the settings describe."""
        return cls(
            stop_loss=exits.STOP_LOSS_PCT,
            take_profit=exits.TAKE_PROFIT_PCT,
            flatten_minutes=exits.FLATTEN_MINUTES_BEFORE_CLOSE,
            round_trip_cost=exits.ROUND_TRIP_COST,
            label_min_profit=exits.LABEL_MIN_PROFIT,
        )

    @property
    def won_above_pct(self) -> float:
        """Outcome in per cent of the entry price, before cost, above which a trade counts as won."""
        return won_above_pct(self.round_trip_cost, self.label_min_profit)


@dataclass(frozen=True)
class SymbolRecord:
    """What the folder holds of one symbol.

    Attributes:
        sessions: dates of the sessions that were fetched, oldest first; one without bars counts.
        bars, rows: how many of each the files hold.
        bars_bytes, rows_bytes: sizes of the two files (0: no file).  A file of another size is one that a killed run
            had already replaced.
        left_out: reason -> how many bars of this symbol were left out by the check.
    """

    sessions: tuple[str, ...] = ()
    bars: int = 0
    rows: int = 0
    bars_bytes: int = 0
    rows_bytes: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The folder as a whole.

    Attributes:
        source, feed: where the bars came from.
        stop_loss, take_profit, round_trip_cost: the exit rules of outcomes and labels, as fractions.
        flatten_minutes: minutes before the close at which positions are sold.
        label_min_profit: fraction of the entry price above which an outcome after cost counts as won.
        lookback: bars a feature window has.
        features: the features' names, in order.
        rebuilding: a run was killed while it made all rows anew, so the files may hold rows of two sets of rules.
        symbols: what there is of each symbol, by symbol.
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

    @property
    def rules(self) -> LabelRules:
        """The rules that the rows were made with."""
        return LabelRules(
            self.stop_loss, self.take_profit, self.flatten_minutes, self.round_trip_cost, self.label_min_profit
        )

    @property
    def feature_set(self) -> FeatureSet:
        """The features that the rows hold.

        Raises:
            DataError: they are none that this version knows.
        """
        return checked_name(self.features, NAME)

    def made_with(self, rules: LabelRules, feature_set: FeatureSet = "document") -> bool:
        """Whether the rows in the folder are those that `rules` and this version's features make."""
        same_features = (self.lookback, self.features) == (LOOKBACK_BARS, COLUMNS[feature_set])
        return self.rules == rules and same_features and not self.rebuilding


def new_manifest(
    rules: LabelRules,
    *,
    source: str,
    feed: str,
    symbols: dict[str, SymbolRecord],
    rebuilding: bool = False,
    feature_set: FeatureSet = "document",
) -> Manifest:
    """The manifest of rows made with `rules`, with the columns of `feature_set`."""
    return Manifest(
        source=source,
        feed=feed,
        stop_loss=rules.stop_loss,
        take_profit=rules.take_profit,
        round_trip_cost=rules.round_trip_cost,
        flatten_minutes=rules.flatten_minutes,
        features=COLUMNS[feature_set],
        rebuilding=rebuilding,
        symbols=dict(sorted(symbols.items())),
        label_min_profit=rules.label_min_profit,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of `folder` in one durable step."""
    write_json(folder / NAME, asdict(manifest))


_SCHEMA: Final[TypeAdapter[Manifest]] = TypeAdapter(Manifest)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of `folder`; None where there is none.

    Raises:
        DataError: it is damaged, or of another version of this program.
    """
    path = folder / NAME
    try:
        manifest = _SCHEMA.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataError(f"{path}: {_first(error)}; delete it and run python build_dataset.py") from None
    if manifest.format != FORMAT:
        raise DataError(
            f"{path}: format is {manifest.format}, this program knows {FORMAT}; "
            "move the folder away and run python build_dataset.py"
        )
    return manifest


def _first(error: ValidationError) -> str:
    problem: Any = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where or 'the file'} is damaged ({problem['msg'][0].lower()}{problem['msg'][1:]})"
