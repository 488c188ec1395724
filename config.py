"""Every number of the system, under its document's name: typed, checked, from defaults < `.env` < the environment."""

from __future__ import annotations

import difflib
import io
import os
import re
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dotenv.parser import parse_stream
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).resolve().parent
ENV_FILE = PROJECT / ".env"

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Dollars = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Settings(BaseModel):
    """The settings of one run.  Fractions are fractions (0.65, not 65); prices are dollars; times are New York's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Data collection
    HISTORY_DAYS: Count = 30
    """Trading days of 1-minute history that a model learns from."""
    TOP_STOCKS: Annotated[int, Field(ge=1, le=100)] = 100
    """How many of the most active stocks are screened (Alpaca gives 100 at most)."""
    MIN_PRICE: Dollars = 1.0
    MAX_PRICE: Dollars = 20.0
    DATA_FEED: Literal["iex", "sip"] = "iex"
    """Feed of the history and of live trading alike: train on the feed you trade on."""

    # Label and exits
    STOP_LOSS_PCT: Fraction = 0.02
    TAKE_PROFIT_PCT: Fraction = 0.04
    ROUND_TRIP_COST: Annotated[float, Field(ge=0.0, lt=0.1)] = 0.001
    """What buying and selling cost together, as a fraction of the price; a trade is a win only above it."""
    LABEL_MIN_PROFIT: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """A trade counts as won only above this outcome after cost, as a fraction of the entry price; 0: any profit."""
    FLATTEN_MINUTES_BEFORE_CLOSE: Annotated[int, Field(ge=1, le=60)] = 5

    # Training
    FEATURE_SET: Literal["document", "relative"] = "document"
    """What a model learns from: the document's eleven features, or relative ones that hold for any stock."""
    MODEL_KIND: Literal["random_forest", "gradient_boosting"] = "random_forest"
    TEST_SIZE: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2
    N_ESTIMATORS: Count = 200
    TRAIN_EVERY_NTH_ROW: Count = 8
    FOREST_MIN_SAMPLES_LEAF: Count = 50
    FOREST_MAX_SAMPLES: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Share of the rows that each tree sees; but 100 leaves' worth (5,000 rows), or all there are, at least."""
    FOREST_MAX_FEATURES: Annotated[float, Field(gt=0.0, le=1.0)] = 0.65
    """Share of the features that each cut of a tree may choose from."""
    FOREST_MAX_DEPTH: Count = 10
    BOOSTING_LEARNING_RATE: Fraction = 0.05
    BOOSTING_MAX_LEAF_NODES: Annotated[int, Field(ge=2)] = 8
    BOOSTING_MIN_SAMPLES_LEAF: Count = 100
    PROMOTION_TOLERANCE: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.002
    """How much worse (log loss on the newest session) a new model may be and still go into service."""
    PROMOTION_OUTCOME_TOLERANCE: Annotated[float, Field(ge=0.0, le=1.0)] = 0.002
    """How much less (fraction of the price, mean per signal on that session) it may bring and still go into service."""
    TRAINING_REPORT: bool = True
    """Whether every training writes its page, models/report_TIMESTAMP.html, beside the model."""
    KEEP_MODELS: Annotated[int, Field(ge=2, le=100_000)] = 30
    """Models kept; older ones are removed, never the one in service, never the one that --rollback would return to."""
    PAST_TRADE_WEIGHT: Annotated[float, Field(ge=0.0, le=1000.0)] = 1.0
    """How much a closed trade of the logs counts in training, against 1 for any other row; 0: trades do not teach."""
    SEED: Annotated[int, Field(ge=0)] = 1

    # Prediction and entry
    MIN_CONFIDENCE: Fraction = 0.65
    CONFIDENCE: Literal["model", "calibrated"] = "model"
    """Which probability MIN_CONFIDENCE is held against: the model's own, or the calibrated win_probability."""
    MAX_BAR_AGE_SECONDS: Annotated[int, Field(ge=1)] = 90
    """A stock whose newest bar ended longer ago gets no signal."""

    # Risk
    RISK_PER_TRADE: Fraction = 0.01
    MAX_POSITION_SIZE: Count = 5
    MAX_OPEN_POSITIONS: Count = 10

    # Guards beside the document's rules; 0 switches one off
    MAX_DAILY_LOSS_PCT: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03
    """Nothing more is bought on a day that has lost this fraction of the equity; what is open is managed."""
    COOL_DOWN_MINUTES: Annotated[int, Field(ge=0, le=1440)] = 0
    """A stock is not bought again for so long after its stop was hit."""
    MAX_LOSSES_IN_A_ROW: Annotated[int, Field(ge=0)] = 0
    """Nothing more is bought on a day after so many losses in a row."""
    MAX_SPREAD_PCT: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """A stock whose bid and ask lie further apart than this fraction of its price is not bought."""
    CONTROL_DIR: Path = PROJECT
    """Folder of the files STOP and FLATTEN."""

    # Schedule, New York time
    REBALANCE_TIME: time = time(4, 0)
    RETRAIN_TIME: time = time(20, 0)
    TICK_SECOND: Annotated[int, Field(ge=0, le=30)] = 2
    """Second of the minute at which a tick runs: the bar that just ended needs a moment to arrive."""

    # The wire
    REQUESTS_PER_MINUTE: Annotated[int, Field(ge=10)] = 180
    """Alpaca allows 200; the rest is left for your own look-ups."""
    CONNECT_TIMEOUT_SECONDS: Dollars = 3.05
    TRADING_TIMEOUT_SECONDS: Annotated[float, Field(gt=0.0, le=60.0)] = 5.0
    """To an answer about orders, positions or the account; what comes later is looked up."""
    READ_TIMEOUT_SECONDS: Dollars = 15.0
    APCA_API_KEY_ID: SecretStr | None = None
    APCA_API_SECRET_KEY: SecretStr | None = None
    APCA_API_BASE_URL: str = "https://paper-api.alpaca.markets"
    """Alpaca paper, or a loopback address where `python -m paper_exchange` listens; nothing else is accepted."""

    # The embedded exchange
    PAPER_CASH: Dollars = 100_000.0
    MARKET_STOCKS: Annotated[int, Field(ge=40, le=500)] = 60
    LEARNABILITY: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """How much there is to learn in the generated market; 0 is a pure random walk."""

    # Folders
    DATA_DIR: Path = PROJECT / "data"
    MODELS_DIR: Path = PROJECT / "models"
    LOGS_DIR: Path = PROJECT / "logs"

    @field_validator("DATA_DIR", "MODELS_DIR", "LOGS_DIR", "CONTROL_DIR")
    @classmethod
    def _from_project(cls, folder: Path) -> Path:
        return PROJECT / folder.expanduser()

    @field_validator("REBALANCE_TIME", "RETRAIN_TIME", mode="before")
    @classmethod
    def _as_on_a_clock(cls, value: Any) -> Any:
        if isinstance(value, str) and not re.fullmatch(r"\d\d:\d\d(:\d\d)?", value.strip()):
            raise ValueError("write it as 04:00, New York time")
        return value

    @field_validator("REBALANCE_TIME")
    @classmethod
    def _before_the_open(cls, value: time) -> time:
        if value >= time(9, 30):
            raise ValueError("it must lie before the open, 09:30 New York time")
        return value

    @field_validator("RETRAIN_TIME")
    @classmethod
    def _after_the_close(cls, value: time) -> time:
        if value <= time(16, 0):
            raise ValueError("it must lie after the close, 16:00 New York time")
        return value

    @property
    def has_keys(self) -> bool:
        """Whether both Alpaca keys are there."""
        return bool(self.APCA_API_KEY_ID and self.APCA_API_SECRET_KEY)


def load_settings(
    env_file: Path = ENV_FILE,
    environment: Mapping[str, str] | None = None,
    **given: Any,
) -> Settings:
    """The settings of this run: `given` (the command line) over the environment over `env_file` over the defaults.

    Raises:
        UserError: `env_file` is named but not there, a line or a name in it is not understood, or a value is not what
            its setting takes.
    """
    environment = os.environ if environment is None else environment
    from_file = {k: v for k, v in _read(env_file).items() if v != ""}
    for name in from_file:
        if name not in Settings.model_fields:
            raise UserError(_unknown(name, env_file))
    from_environment = {k: v for k, v in environment.items() if k in Settings.model_fields and v != ""}
    from_command = {k: v for k, v in given.items() if v is not None}
    values = {**from_file, **from_environment, **from_command}
    sources = {
        **dict.fromkeys(from_file, str(env_file)),
        **dict.fromkeys(from_environment, "the environment"),
        **dict.fromkeys(from_command, "the command line"),
    }
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise UserError(_invalid(error, sources)) from None
    _check_together(settings, sources)
    return settings


def _read(env_file: Path) -> dict[str, str]:
    """The lines of `env_file` as they stand; nothing where the usual file is not there."""
    if not env_file.is_file() and not env_file.is_fifo():
        if env_file == ENV_FILE or env_file == Path(os.devnull):
            return {}
        raise UserError(f"{env_file}: there is no such file of settings; mend the name, or leave --env-file out")
    try:
        text = env_file.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark of its encoding
    except UnicodeDecodeError:
        raise UserError(f"{env_file}: it is not UTF-8 text; save it as UTF-8") from None
    found: dict[str, str] = {}
    for line in parse_stream(io.StringIO(text)):
        if line.key is not None and line.value is not None:
            found[line.key] = line.value
        elif line.key is not None or line.error:
            original = line.original.string  # which may hold a key, and begins with the blank lines before it
            number = line.original.line + original[: len(original) - len(original.lstrip())].count("\n")
            raise UserError(f"{env_file}: line {number} is not understood; write it as NAME=value")
    return found


def _unknown(name: str, env_file: Path) -> str:
    close = difflib.get_close_matches(name.upper(), Settings.model_fields, n=1)
    hint = f"did you mean {close[0]}?" if close else "see the settings table of README.md"
    return f"{env_file}: {name} is no setting; {hint}"


def _invalid(error: ValidationError, sources: Mapping[str, str]) -> str:
    problem = error.errors(include_url=False)[0]
    name = str(problem["loc"][0])
    value = problem["input"]
    hint = problem["msg"].removeprefix("Value error, ")
    hint = hint[0].lower() + hint[1:]
    if _is_percentage(name, value):
        hint = f"it is a fraction: did you mean {float(value) / 100:g}?"
    if Settings.model_fields[name].annotation == (SecretStr | None):
        value = "(secret)"
    return f"{sources.get(name, 'settings')}: {name}={value}: {hint}"


def _is_percentage(name: str, value: Any) -> bool:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    default = Settings.model_fields[name].default
    return isinstance(default, float) and 0.0 < default < 1.0 <= number <= 100.0


def _check_together(settings: Settings, sources: Mapping[str, str]) -> None:
    if settings.MIN_PRICE >= settings.MAX_PRICE:
        source = sources.get("MIN_PRICE") or sources.get("MAX_PRICE", "settings")
        raise UserError(f"{source}: MIN_PRICE={settings.MIN_PRICE:g} must be below MAX_PRICE={settings.MAX_PRICE:g}")
    needed = settings.ROUND_TRIP_COST + settings.LABEL_MIN_PROFIT
    if settings.LABEL_MIN_PROFIT and needed >= settings.TAKE_PROFIT_PCT:
        source = sources.get("LABEL_MIN_PROFIT") or sources.get("TAKE_PROFIT_PCT", "settings")
        raise UserError(
            f"{source}: LABEL_MIN_PROFIT={settings.LABEL_MIN_PROFIT:g}: with ROUND_TRIP_COST="
            f"{settings.ROUND_TRIP_COST:g} it is not below TAKE_PROFIT_PCT={settings.TAKE_PROFIT_PCT:g}, so no trade "
            "could win; it is a fraction, 0.002 for 0.2 per cent"
        )
    if bool(settings.APCA_API_KEY_ID) != bool(settings.APCA_API_SECRET_KEY):
        there, missing = "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"
        if not settings.APCA_API_KEY_ID:
            there, missing = missing, there
        raise UserError(f"{sources[there]}: {there} is set but {missing} is not: set both, or neither")
