"""The settings of the system, in sections: name, type, bounds, default and meaning of every number.

Code receives the sections that it needs, each as a whole.  Values come from the defaults, `.env`, the environment and
the command line, each overriding the one before; everywhere a setting has its plain name (`MIN_CONFIDENCE`).
"""

from __future__ import annotations

import os
import re
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from trading.base import written
from trading.base.env_file import Source, assigned
from trading.base.errors import UserError
from trading.base.folders import check_folders
from trading.rules.contradictions import check_label, check_spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

_HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = _HERE if (_HERE / "pyproject.toml").exists() else Path.cwd()
"""Base of relative folders: the checkout, or the working directory if the package is installed."""
ENV_FILE: Final = PROJECT / ".env"

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
StockPrice = Annotated[float, Field(gt=0.0, le=10_000_000.0, allow_inf_nan=False)]
"""Dollars; no US stock has ever cost more."""
Seconds = Annotated[float, Field(gt=0.0, le=60.0, allow_inf_nan=False)]

FeatureSet = Literal["document", "relative"]
ModelKind = Literal["random_forest", "gradient_boosting"]
LabelKind = Literal["target_first", "profit"]
AssetKind = Literal[
    "leveraged", "warrants", "units", "rights", "preferreds", "notes", "when_issued", "test", "partnerships", "funds"
]
"""Kinds of listed securities other than plain common stock; `trading.market.kinds` recognises them."""
AlertKind = Literal[
    "fill", "exit", "guard", "not_flat", "unprotected", "discrepancy", "trouble", "model", "retrain_failed", "started",
    "stopped", "dead", "summary",
]  # fmt: skip
"""What an alert is about; `trading.alerts.kinds` says which events are which."""


class Section(BaseModel):
    """A group of settings.  Rates are fractions (0.65, not 65); prices are in dollars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _is_plain(cls, value: object, info: ValidationInfo) -> object:
        """A number as it is written everywhere: ASCII digits without underscores; zero has no sign."""
        if not isinstance(value, str) or cls.model_fields[info.field_name or ""].annotation not in (int, float):
            return value
        if "_" in value or not value.isascii():
            raise ValueError("write it in plain digits, such as 12 or 0.5")
        return "0" if written.decimal(value.strip()) == 0.0 else value

    def changed(self, **values: object) -> Self:
        """A copy with other values, validated like the original.

        Raises:
            pydantic.ValidationError: the section has no such setting, or a value is invalid.
        """
        return type(self).model_validate({**vars(self), **values})


def _names_in(value: object) -> object:
    """The names of a list with commas; `none` is an empty one."""
    if not isinstance(value, str):
        return value
    names = [name.strip().lower().replace("-", "_") for name in value.split(",") if name.strip()]
    return () if names == ["none"] else tuple(names)


class DataSettings(Section):
    """The stocks, the feed and the length of the history."""

    HISTORY_DAYS: Count = 30
    """Trading days of 1-minute bars that a model is trained on."""
    TOP_STOCKS: Annotated[int, Field(ge=1, le=500)] = 100
    """Number of stocks of a day, the most active within the price band; one request a minute names them all."""
    EXCLUDED_KINDS: tuple[AssetKind, ...] = tuple(kind for kind in get_args(AssetKind) if kind != "funds")
    """Kinds of securities that are not picked, separated by commas; `none` for no kind."""
    KEEP_DAYS: Annotated[int, Field(ge=0, le=1_000_000)] = 120
    """Trading days of data and of logs that the evening keeps, at least HISTORY_DAYS; 0: everything."""
    MIN_PRICE: StockPrice = 1.0
    MAX_PRICE: StockPrice = 20.0
    DATA_FEED: Literal["iex", "sip"] = "iex"
    """Feed of the history and of live trading, so that a model trades on the feed that it was trained on."""

    @field_validator("EXCLUDED_KINDS", mode="before")
    @classmethod
    def _is_a_list(cls, value: object) -> object:
        return _names_in(value)


class ExitSettings(Section):
    """The exit rules, the cost of a trade, and the label: the question that a model answers."""

    STOP_LOSS_PCT: Fraction = 0.02
    """Fraction of the entry price at which a loss is taken."""
    TAKE_PROFIT_PCT: Fraction = 0.04
    """Fraction of the entry price at which a profit is taken."""
    ROUND_TRIP_COST: Annotated[float, Field(ge=0.0, lt=0.1)] = 0.001
    """Least cost of an entry and its exit together, as a fraction of the price."""
    SPREAD_TICKS: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    """Ticks between bid and ask: a round trip costs these, or ROUND_TRIP_COST where that is larger."""
    LABEL: LabelKind = "target_first"
    """What a model predicts: that the price gains LABEL_TARGET_PCT before it loses STOP_LOSS_PCT, or that the trade
    earns a profit after cost.  Exits are the same with both."""
    LABEL_TARGET_PCT: Fraction = 0.005
    """Gain of the label target_first, as a fraction of the price paid."""
    LABEL_WITHIN_MINUTES: Annotated[int, Field(ge=0, le=390)] = 0
    """Minutes from the entry within which target_first must gain LABEL_TARGET_PCT; 0: within the session."""
    LABEL_MIN_PROFIT: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Outcome after cost, as a fraction of the entry price, that the label profit must exceed."""
    OUTCOME_FEED: Literal["same", "sip"] = "sip"
    """Feed whose bars tell outcomes and labels where DATA_FEED is iex, which lacks most trades; features stay those of
    DATA_FEED.  SIP history older than 15 minutes is free."""
    FLATTEN_MINUTES_BEFORE_CLOSE: Annotated[int, Field(ge=1, le=60)] = 5
    """Minutes before the close at which entries stop and all positions are sold."""


class TrainingSettings(Section):
    """The training rows, the model and its parameters."""

    FEATURE_SET: FeatureSet = "document"
    """The eleven features of the specification, or relative features that are comparable between stocks."""
    MODEL_KIND: ModelKind = "random_forest"
    TEST_SIZE: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2
    """Fraction of the sessions, taken from the newest, on which a model is tested."""
    N_ESTIMATORS: Count = 200
    """Trees of the forest, or boosting iterations."""
    TRAIN_EVERY_NTH_ROW: Count = 8
    """Rows of neighbouring minutes are nearly the same, so training uses one in this many."""
    FOREST_MIN_SAMPLES_LEAF: Count = 50
    FOREST_MAX_SAMPLES: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Fraction of the rows that each tree is fitted on; never fewer than 100 x FOREST_MIN_SAMPLES_LEAF, or all rows."""
    FOREST_MAX_FEATURES: Annotated[float, Field(gt=0.0, le=1.0)] = 0.65
    """Fraction of the features that each split of a tree considers."""
    FOREST_MAX_DEPTH: Count = 10
    BOOSTING_LEARNING_RATE: Fraction = 0.05
    BOOSTING_MAX_LEAF_NODES: Annotated[int, Field(ge=2)] = 8
    BOOSTING_MIN_SAMPLES_LEAF: Count = 100
    TRAINING_REPORT: bool = True
    """Whether every training writes models/report_TIMESTAMP.html."""
    CONTROLS: Annotated[int, Field(ge=0, le=100)] = 5
    """Coin-flipped copies of the bars on which every judgement is repeated; 0: none, and no skill is ever claimed."""
    EVENING_CONTROLS: Literal["daily", "weekly", "never"] = "daily"
    """Evenings whose training report has controls; weekly: those of the last session of a week."""
    KEEP_MODELS: Annotated[int, Field(ge=2, le=100_000)] = 30
    """Number of models to keep; the one in service and the target of --rollback are never removed."""
    PAST_TRADE_WEIGHT: Annotated[float, Field(ge=0.0, le=1000.0)] = 1.0
    """Training weight of the row of a closed trade, against 1 for any other row; 0: trades are not used."""
    SEED: Annotated[int, Field(ge=0, le=4_294_967_295)] = 1
    """Seed of training and of the generated market."""


class PredictionSettings(Section):
    """The conditions under which a prediction is a signal."""

    MIN_CONFIDENCE: Fraction = 0.65
    """Minimum confidence of a signal."""
    CONFIDENCE: Literal["model", "calibrated"] = "model"
    """Probability that is compared with MIN_CONFIDENCE: the model's own, or the calibrated win_probability."""
    MAX_BAR_AGE_SECONDS: Annotated[int, Field(ge=1)] = 90
    """Maximum age of the newest bar, from its end, for a signal."""


class EntrySettings(Section):
    """Position size, and the guards that block entries; 0 disables a guard."""

    RISK_PER_TRADE: Fraction = 0.01
    """Fraction of the equity to invest in one position."""
    MAX_POSITION_SIZE: Count = 5
    """Maximum number of shares of one position."""
    MAX_OPEN_POSITIONS: Count = 10
    MAX_DAILY_LOSS_PCT: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03
    """Loss of the day, as a fraction of the equity, after which entries stop until the next day."""
    COOL_DOWN_MINUTES: Annotated[int, Field(ge=0, le=1440)] = 0
    """Minutes after a stop during which the stock is not bought again."""
    MAX_LOSSES_IN_A_ROW: Annotated[int, Field(ge=0)] = 0
    """Number of consecutive losses after which entries stop until the next day."""
    MAX_SPREAD_PCT: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Maximum spread, as a fraction of the price, at which a stock is bought."""


class ScheduleSettings(Section):
    """Times of the daily jobs, New York time."""

    REBALANCE_TIME: time = time(4, 0)
    RETRAIN_TIME: time = time(20, 0)
    TICK_SECOND: Annotated[int, Field(ge=0, le=30)] = 2
    """Second of the minute at which a tick runs; the bar that just ended takes a moment to arrive."""

    @field_validator("REBALANCE_TIME", "RETRAIN_TIME", mode="before")
    @classmethod
    def _is_written_as_a_time(cls, value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?", value.strip()):
            raise ValueError("write it as 04:00, New York time")
        return value

    @field_validator("REBALANCE_TIME")
    @classmethod
    def _is_before_the_open(cls, value: time) -> time:
        if value >= time(9, 30):
            raise ValueError("it must lie before the open, 09:30 New York time")
        return value

    @field_validator("RETRAIN_TIME")
    @classmethod
    def _is_after_the_close(cls, value: time) -> time:
        if value <= time(16, 0):
            raise ValueError("it must lie after the close, 16:00 New York time")
        return value


class BrokerSettings(Section):
    """Address, keys, rate limit and timeouts of the broker's interface."""

    REQUESTS_PER_MINUTE: Annotated[int, Field(ge=10)] = 180
    """Alpaca allows 200; the difference is left for other programs of the account."""
    CONNECT_TIMEOUT_SECONDS: Seconds = 3.05
    TRADING_TIMEOUT_SECONDS: Seconds = 5.0
    """Longest time from connecting to the last byte of a reply about orders, positions or the account; the outcome of
    a later one is looked up.  All attempts of a read together take at most twice as long."""
    READ_TIMEOUT_SECONDS: Seconds = 15.0
    """The same for a reply of market data."""
    APCA_API_KEY_ID: SecretStr | None = None
    APCA_API_SECRET_KEY: SecretStr | None = None
    APCA_API_BASE_URL: str = "https://paper-api.alpaca.markets"
    """Alpaca paper, or the loopback address of `python -m paper_exchange`; any other address is refused.  `/v2` at its
    end is left out."""

    @property
    def credentials(self) -> tuple[str, str] | None:
        """(key id, secret) in plain text; None unless both are set."""
        if not self.APCA_API_KEY_ID or not self.APCA_API_SECRET_KEY:
            return None
        return self.APCA_API_KEY_ID.get_secret_value(), self.APCA_API_SECRET_KEY.get_secret_value()


class ExchangeSettings(Section):
    """The embedded paper exchange and its generated market."""

    PAPER_CASH: Annotated[float, Field(gt=0.0, le=100_000_000_000.0, allow_inf_nan=False)] = 100_000.0
    """Dollars with which an account begins."""
    MARKET_STOCKS: Annotated[int, Field(ge=40, le=500)] = 60
    LEARNABILITY: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Strength of the predictable part of the generated market; 0 is a pure random walk."""
    EXCHANGE_BEHAVIOUR: Literal["calm", "mild", "drill"] = "mild"
    """How real the exchange's orders behave: pending requests, partial fills, late positions; calm has none of it."""
    BAR_DELAY_SECONDS: Annotated[float, Field(ge=0.0, le=60.0)] = 3.0
    """Market data shows a bar 1 s to so many seconds after its minute; 0: at once."""
    UPDATED_BARS: Annotated[float, Field(ge=0.0, le=1.0)] = 0.02
    """Fraction of the bars whose volume and close are completed half a minute after they are shown."""
    MARKET_COVERAGE: Literal["whole", "iex"] = "whole"
    """What the feed `iex` shows: every bar, or the bars of a venue with 2.5 % of the volume, as IEX."""


class AlertSettings(Section):
    """Which alerts are sent while a trader runs, and where."""

    ALERT_URLS: SecretStr | None = None
    """Addresses of services as Apprise writes them, separated by blanks."""
    ALERT_ON: tuple[AlertKind, ...] = tuple(kind for kind in get_args(AlertKind) if kind not in ("fill", "exit"))
    """Kinds of alerts that are sent, separated by commas; `none` for none.  A day has some twenty fills and exits."""
    HEARTBEAT_URL: SecretStr | None = None
    """Address of an outside monitor, which is requested every minute while a trader on the system clock lives."""

    @field_validator("ALERT_ON", mode="before")
    @classmethod
    def _is_a_list(cls, value: object) -> object:
        return _names_in(value)

    @field_validator("HEARTBEAT_URL")
    @classmethod
    def _is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/?#]+\S*", value.get_secret_value()):
            raise ValueError("write it as https://HOST/PATH")
        return value


class FolderSettings(Section):
    """Folders of files; a relative path starts at the project."""

    DATA_DIR: Path = PROJECT / "data"
    MODELS_DIR: Path = PROJECT / "models"
    LOGS_DIR: Path = PROJECT / "logs"
    CONTROL_DIR: Path = PROJECT
    """Folder of the files STOP, FLATTEN and PAUSED."""

    @field_validator("DATA_DIR", "MODELS_DIR", "LOGS_DIR", "CONTROL_DIR")
    @classmethod
    def _is_absolute(cls, folder: Path) -> Path:
        return PROJECT / folder.expanduser()


class Settings(BaseModel):
    """The settings of one run, in sections; `Settings.of(MIN_CONFIDENCE=0.7)` takes any setting by its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataSettings = DataSettings()
    exits: ExitSettings = ExitSettings()
    training: TrainingSettings = TrainingSettings()
    prediction: PredictionSettings = PredictionSettings()
    entry: EntrySettings = EntrySettings()
    schedule: ScheduleSettings = ScheduleSettings()
    broker: BrokerSettings = BrokerSettings()
    exchange: ExchangeSettings = ExchangeSettings()
    alerts: AlertSettings = AlertSettings()
    folders: FolderSettings = FolderSettings()

    @model_validator(mode="before")
    @classmethod
    def _into_sections(cls, values: object) -> object:
        """Move settings that are given by name into their sections."""
        if not isinstance(values, dict):
            return values
        nested: dict[str, object] = {}
        for name, value in values.items():
            section = SECTION_OF.get(name)
            if section is None:
                nested[name] = value
            else:
                inside = nested.setdefault(section, {})
                assert isinstance(inside, dict), f"{name} and its whole section {section} are both given"
                inside[name] = value
        return nested

    @classmethod
    def of(cls, **values: object) -> Settings:
        """The defaults with other values, by name.

        Raises:
            pydantic.ValidationError: there is no such setting, or a value is invalid.
        """
        return cls.model_validate(values)

    def changed(self, **values: object) -> Settings:
        """A copy with other values, by name, validated like the original.

        Raises:
            pydantic.ValidationError: there is no such setting, or a value is invalid.
        """
        return Settings.model_validate({**self.by_name(), **values})

    def secrets(self) -> list[str]:
        """The texts that no output may hold: keys, and the addresses of alerts one by one."""
        values = [value for name, value in self.by_name().items() if name in SECRETS]
        texts = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        return sorted({part for text in texts for part in (text, *text.split()) if part}, key=len, reverse=True)

    def by_name(self) -> dict[str, object]:
        """Setting -> value, in the order of the sections."""
        return {name: value for section in vars(self).values() for name, value in section}


def _settings() -> Iterator[tuple[str, str, FieldInfo]]:
    for section, about in Settings.model_fields.items():
        assert isinstance(about.annotation, type)
        assert issubclass(about.annotation, Section)
        for name, field in about.annotation.model_fields.items():
            yield section, name, field


SECTION_OF: Final[Mapping[str, str]] = {name: section for section, name, _ in _settings()}
"""Name of a setting -> name of its section."""
FIELDS: Final[Mapping[str, FieldInfo]] = {name: field for _, name, field in _settings()}
"""Name of a setting -> its type, bounds and default."""
SECRETS: Final = frozenset(name for name, field in FIELDS.items() if field.annotation == (SecretStr | None))


def load_settings(
    env_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    labels: bool = True,
    **given: object,
) -> Settings:
    """The settings of a run.  The command line overrides the environment, which overrides the file and the defaults.

    Args:
        env_file: file of settings; by default `.env` of the project, which need not exist.
        environment: variables to read instead of the process's own.
        labels: whether rows may be labelled with these settings; see `check_together`.
        given: settings by name, from the command line; None means not given.

    Raises:
        UserError: `env_file` does not exist, a line or a name in it is unknown, a name in the environment is misspelt,
            a value is invalid, or two folders are one.
    """
    values, sources = _assigned(env_file, environment, given)
    names = {name: source.name for name, source in sources.items()}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise UserError(_invalid(error, names)) from None
    check_together(settings, names, labels=labels)
    return settings


def setting_sources(
    env_file: Path | None = None, environment: Mapping[str, str] | None = None, **given: object
) -> dict[str, str]:
    """Setting -> where its value is from ("the environment"), for those that do not have their default.

    Raises:
        As `load_settings`, whose arguments these are.
    """
    _, sources = _assigned(env_file, environment, given)
    return {name: str(source) for name, source in sources.items()}


def _assigned(
    env_file: Path | None, environment: Mapping[str, str] | None, given: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, Source]]:
    """The values that are given for settings, and the source of each."""
    file, environment = env_file or ENV_FILE, os.environ if environment is None else environment
    return assigned(file, environment, given, FIELDS, may_be_missing=file == ENV_FILE)


def _invalid(error: ValidationError, sources: Mapping[str, str]) -> str:
    problem = error.errors(include_url=False)[0]
    name = str(problem["loc"][min(1, len(problem["loc"]) - 1)])
    value = problem["input"]
    hint = problem["msg"].removeprefix("Value error, ")
    hint = hint[0].lower() + hint[1:]
    if _is_percentage(name, value):
        hint = f"it is a fraction: did you mean {float(value) / 100:g}?"
    if name in SECRETS:
        value = "(secret)"
    return f"{sources.get(name, 'settings')}: {name}={value}: {hint}"


def _is_percentage(name: str, value: object) -> bool:
    """Whether a fraction seems to be given in per cent: a hundredth of it is of the order of the default."""
    try:
        number = float(str(value))
    except (TypeError, ValueError):
        return False
    default = FIELDS[name].default
    if not isinstance(default, float) or not 0.0 < default < 1.0 <= number <= 100.0:
        return False
    return default / 10.0 <= number / 100.0 <= default * 10.0


def check_together(settings: Settings, sources: Mapping[str, str], *, labels: bool = True) -> None:
    """Check what no setting shows alone, such as MIN_PRICE below MAX_PRICE.

    Args:
        sources: setting -> where its value is from, for the message.
        labels: whether rows may be labelled with these settings; if not, the label need not fit the exits.

    Raises:
        UserError: two settings contradict each other.
    """
    if labels:
        check_label(settings.exits, sources)
    data, broker = settings.data, settings.broker
    if data.MIN_PRICE >= data.MAX_PRICE:
        source = sources.get("MIN_PRICE") or sources.get("MAX_PRICE", "settings")
        raise UserError(f"{source}: MIN_PRICE={data.MIN_PRICE:g} must be below MAX_PRICE={data.MAX_PRICE:g}")
    check_spread(settings, sources)
    if bool(broker.APCA_API_KEY_ID) != bool(broker.APCA_API_SECRET_KEY):
        there, missing = "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"
        if not broker.APCA_API_KEY_ID:
            there, missing = missing, there
        raise UserError(f"{sources[there]}: {there} is set but {missing} is not: set both, or neither")
    check_folders(vars(settings.folders), sources)
