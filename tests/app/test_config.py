"""Settings: the order of their sources, and the one-line message about an invalid value."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import time
from pathlib import Path
from typing import Any

import pytest

from config import PROJECT, load_settings
from trading.base.errors import UserError


def refusal(text: str | bytes | None, tmp_path: Path, environment: dict[str, str] | None = None) -> str:
    """The message about a settings file with `text`."""
    file = Path(os.devnull)
    if text is not None:
        file = tmp_path / "my.env"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as caught:
        load_settings(file, environment or {})
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_the_defaults_are_the_numbers_of_the_specification() -> None:
    settings = load_settings(environment={}, env_file=Path(os.devnull))
    assert (settings.exits.STOP_LOSS_PCT, settings.exits.TAKE_PROFIT_PCT, settings.prediction.MIN_CONFIDENCE) == (
        0.02,
        0.04,
        0.65,
    )
    assert (settings.entry.RISK_PER_TRADE, settings.entry.MAX_POSITION_SIZE, settings.entry.MAX_OPEN_POSITIONS) == (
        0.01,
        5,
        10,
    )
    assert time(4) == settings.schedule.REBALANCE_TIME
    assert time(20) == settings.schedule.RETRAIN_TIME
    assert (settings.data.HISTORY_DAYS, settings.training.N_ESTIMATORS, settings.training.TEST_SIZE) == (30, 200, 0.2)
    assert (settings.data.MIN_PRICE, settings.data.MAX_PRICE) == (1.0, 20.0)
    assert settings.broker.credentials is None
    assert (settings.training.FEATURE_SET, settings.exits.LABEL_MIN_PROFIT) == ("document", 0.0)


def test_the_command_line_overrides_the_environment_the_file_and_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("SEED=2\nN_ESTIMATORS=20\nTOP_STOCKS=50\n")
    settings = load_settings(file, {"SEED": "3", "N_ESTIMATORS": "30", "HOME": "/x"}, SEED=4, MODELS_DIR=None)
    assert (
        settings.training.SEED,
        settings.training.N_ESTIMATORS,
        settings.data.TOP_STOCKS,
        settings.data.HISTORY_DAYS,
    ) == (4, 30, 50, 30)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n\n", "SEED=\n", "\ufeffSEED=1", 'export SEED="1"', "SEED=1 # one", " SEED = 1"]
)
def test_the_syntax_of_an_env_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "my.env").write_text(text, encoding="utf-8")
    assert load_settings(tmp_path / "my.env", {}).training.SEED == 1


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("MIN_CONFIDENCE", "65", "it is a fraction: did you mean 0.65?"),
        ("STOP_LOSS_PCT", "2", "did you mean 0.02?"),
        ("MIN_CONFIDENCE", "1.5", "input should be less than 1"),
        ("TEST_SIZE", "20", "did you mean 0.2?"),
        ("MIN_CONFIDENCE", "nan", "less than 1"),
        ("STOP_LOSS_PCT", "-0.02", "greater than 0"),
        ("STOP_LOSS_PCT", "2%", "valid number"),
        ("MAX_PRICE", "inf", "finite"),
        ("PAPER_CASH", "inf", "finite"),
        ("PAPER_CASH", "nan", "finite"),
        ("MIN_PRICE", "inf", "finite"),
        ("HISTORY_DAYS", "0", "greater than or equal to 1"),
        ("HISTORY_DAYS", "2.5", "valid integer"),
        ("N_ESTIMATORS", "9" * 300, "less than or equal to"),
        ("TOP_STOCKS", "501", "less than or equal to 500"),
        ("SEED", "-1", "greater than or equal to 0"),
        ("TICK_SECOND", "60", "less than or equal to 30"),
        ("MODEL_KIND", "forest", "'random_forest' or 'gradient_boosting'"),
        ("CONFIDENCE", "mine", "'model' or 'calibrated'"),
        ("FEATURE_SET", "both", "'document' or 'relative'"),
        ("LABEL_MIN_PROFIT", "-0.001", "greater than or equal to 0"),
        ("LABEL_MIN_PROFIT", "nan", "less than 1"),
        ("LABEL_TARGET_PCT", "0.05", "above TAKE_PROFIT_PCT=0.04"),
        ("TAKE_PROFIT_PCT", "0.001", "below LABEL_TARGET_PCT=0.005, which the label asks for"),
        ("LABEL", "target", "input should be"),
        ("LABEL_MIN_PROFIT", "0.2", "not below TAKE_PROFIT_PCT=0.04, so no trade could win"),
        ("SPREAD_TICKS", "50", "no trade up to MAX_PRICE=20 could win: it alone loses STOP_LOSS_PCT=0.02"),
        ("STOP_LOSS_PCT", "0.0004", "SPREAD_TICKS=1 no trade up to MAX_PRICE=20 could win"),
        ("OUTCOME_FEED", "iex", "'same' or 'sip'"),
        ("DATA_FEED", "otc", "'iex'"),
        ("REBALANCE_TIME", "4", "write it as 04:00"),
        ("REBALANCE_TIME", "14400", "write it as 04:00"),
        ("REBALANCE_TIME", "04:00Z", "write it as 04:00"),
        ("REBALANCE_TIME", "10:00", "before the open, 09:30"),
        ("RETRAIN_TIME", "8pm", "write it as 04:00"),
        ("RETRAIN_TIME", "25:00", "hour"),
        ("RETRAIN_TIME", "16:00", "after the close, 16:00"),
    ],
)
@pytest.mark.parametrize("where", ["file", "environment"])
def test_an_invalid_value_is_named_with_its_source_and_a_hint(
    name: str, value: str, hint: str, where: str, tmp_path: Path
) -> None:
    if where == "file":
        said = refusal(f"{name}={value}\n", tmp_path)
        place = str(tmp_path / "my.env")
    else:
        said, place = refusal(None, tmp_path, {name: value}), "the environment"
    assert said.startswith(f"{place}: {name}={value}: ")
    assert hint in said


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("MIN_CONFIDENC=0.7", "MIN_CONFIDENC is not a setting; did you mean MIN_CONFIDENCE?"),
        ("min_confidence=0.7", "did you mean MIN_CONFIDENCE?"),
        ("COLOUR=red", "COLOUR is not a setting; see docs/settings.md"),
        ("SEED=1\n\n# note\nMIN_CONFIDENCE 0.7\n", "line 4 is not an assignment; write it as NAME=value"),
        ("MIN_CONFIDENCE", "line 1 is not an assignment"),
        ("=3", "line 1 is not an assignment"),
        (b"SEED=\xff", "it is not UTF-8 text"),
    ],
)
def test_an_unknown_name_or_malformed_line_is_named(text: str | bytes, hint: str, tmp_path: Path) -> None:
    said = refusal(text, tmp_path)
    assert said.startswith(f"{tmp_path / 'my.env'}: ")
    assert hint in said


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MIN_CONFIDNECE", "MIN_CONFIDENCE"),
        ("MINCONFIDENCE", "MIN_CONFIDENCE"),
        ("STOP_LOSS_PC", "STOP_LOSS_PCT"),
        ("N_ESTIMATOR", "N_ESTIMATORS"),
        ("MIN_PRCIE", "MIN_PRICE"),
        ("LOGS_DRI", "LOGS_DIR"),
        ("APCA_API_KEYID", "APCA_API_KEY_ID"),
    ],
)
def test_a_misspelt_name_in_the_environment_is_named(name: str, meant: str, tmp_path: Path) -> None:
    said = refusal(None, tmp_path, {"PATH": "/bin", name: "very-secret"})
    assert said.startswith(f"the environment: {name} is not a setting; did you mean {meant}?")
    assert "very-secret" not in said


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LOG_DIR", "MODEL_DIR", "DATA_DIRS", "XDG_DATA_DIRS", "SPEED", "SEEDS", "DATA_SEED"),
        *("min_confidnece", "Min_Confidnece", "APCA_API_DATA_URL", "APCA_API_STREAM_URL", "PYTHONPATH", "MARKET"),
    ],
)
def test_other_names_in_the_environment_are_nobodys_business(name: str) -> None:
    load_settings(Path(os.devnull), {name: "x"})
    load_settings(Path(os.devnull), {"MIN_CONFIDNECE": ""})  # empty is not set, as everywhere
    load_settings(Path(os.devnull), {"APCA_API_KEY": "x", "APCA_API_KEY_ID": "a", "APCA_API_SECRET_KEY": "b"})


@pytest.mark.parametrize(
    ("data", "models", "logs", "words"),
    [
        ("one", "one", "logs", "MODELS_DIR=.*one are the same folder"),
        ("one", "models", "link", "LOGS_DIR=.*one are the same folder"),
        ("data", "logs/../one", "one", "MODELS_DIR=.*one and LOGS_DIR=.*one are the same folder"),
        ("data", "data/models", "logs", "lie one in the other"),
        ("deep/er/data", "models", "deep", "lie one in the other"),
    ],
)
def test_data_models_and_logs_have_a_folder_each(data: str, models: str, logs: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    given: dict[str, Any] = {"DATA_DIR": tmp_path / data, "MODELS_DIR": tmp_path / models, "LOGS_DIR": tmp_path / logs}
    with pytest.raises(UserError, match=f"^the command line: .*{words}; give each a folder of its own$"):
        load_settings(Path(os.devnull), {}, **given)
    load_settings(Path(os.devnull), {}, **{**given, "MODELS_DIR": tmp_path / "m", "LOGS_DIR": tmp_path / f"{data}s"})


def test_a_settings_file_that_cannot_be_read_is_a_file() -> None:
    """As another user, because root reads everything."""
    code = (
        "import os, pathlib; from config import load_settings; from trading.base.errors import UserError\n"
        "import tempfile; folder = tempfile.mkdtemp(); path = pathlib.Path(folder, 'my.env'); path.write_text('')\n"
        "os.chmod(folder, 0o755); os.chmod(path, 0)\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "try: load_settings(path, {})\n"
        "except UserError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert "my.env: the settings file cannot be read (permission denied); change its permissions" in said
    assert "folder" not in said


def test_a_settings_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such settings file"):
        load_settings(tmp_path / "no.env", {})
    with pytest.raises(UserError, match="is a folder, not a settings file"):
        load_settings(tmp_path, {})


def test_min_price_must_be_below_max_price(tmp_path: Path) -> None:
    assert refusal("MIN_PRICE=30", tmp_path).endswith("MIN_PRICE=30 must be below MAX_PRICE=20")
    assert "MAX_PRICE=1" in refusal("MAX_PRICE=1", tmp_path)


@pytest.mark.parametrize("name", ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"])
def test_one_key_alone_is_refused_without_showing_it(name: str, tmp_path: Path) -> None:
    said = refusal(f"{name}=very-secret", tmp_path)
    assert f"{name} is set but" in said
    assert "very-secret" not in said


@pytest.mark.parametrize(
    "text", ["APCA_API_SECRET_KEY 'very-secret", "APCA_API_SECRET_KEY:very-secret", "APCA_API_SECRET_KEY='very-secret"]
)
def test_a_malformed_line_does_not_show_its_key(text: str, tmp_path: Path) -> None:
    assert "very-secret" not in refusal(text, tmp_path)


def test_the_settings_do_not_show_the_keys() -> None:
    keys = {"APCA_API_KEY_ID": "PKVERYSECRET", "APCA_API_SECRET_KEY": "very-secret"}
    settings = load_settings(Path(os.devnull), keys)
    assert settings.broker.credentials
    assert "SECRET" not in repr(settings).replace("APCA_API_SECRET_KEY", "")
    assert "very-secret" not in settings.model_dump_json()


def test_a_folder_is_relative_to_the_project_or_to_home_or_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    given = {"DATA_DIR": "other", "MODELS_DIR": "~/models", "LOGS_DIR": "/var/logs"}
    settings = load_settings(Path(os.devnull), given)
    assert settings.folders.DATA_DIR == PROJECT / "other"
    assert Path("/somebody/models") == settings.folders.MODELS_DIR
    assert Path("/var/logs") == settings.folders.LOGS_DIR


def test_a_spread_is_refused_only_where_no_price_of_the_band_can_win(tmp_path: Path) -> None:
    assert load_settings(None, {"SPREAD_TICKS": "40"}).exits.SPREAD_TICKS == 40.0  # a stock of $20 can
    with pytest.raises(UserError, match=r"^the environment: SPREAD_TICKS=40: .* no trade up to MAX_PRICE=5 could win"):
        load_settings(None, {"SPREAD_TICKS": "40", "MAX_PRICE": "5"})
    penny = {"SPREAD_TICKS": "40", "MAX_PRICE": "0.9", "MIN_PRICE": "0.5"}  # a tick is a hundredth of a cent there
    assert load_settings(None, penny).exits.SPREAD_TICKS == 40.0
    with pytest.raises(UserError, match="a trade costs as much as it gains at TAKE_PROFIT_PCT"):
        load_settings(None, {"LABEL": "profit", "SPREAD_TICKS": "80"})
