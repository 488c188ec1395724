"""Numbers and dates of the command lines and settings: plain digits, or one line and exit code 2."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

import backtest
import build_dataset
import dashboard
import live_trader
import market_scheduler
import ml_trainer
import report
import watchdog
from config import FIELDS, Settings
from paper_exchange import __main__ as exchange
from paper_exchange.start import parse_start
from trading.app import cli
from trading.broker.fields import number_of

if TYPE_CHECKING:
    from collections.abc import Callable

ODD = [
    "\uff11\uff12",
    "1_000",
    "\u00b2",
    "\u0663",
    "1\uff12",
    "+1",
    "-1",
    "-0",
    "0x10",
    "1e1",
    "1.0",
    " 1",
    "1 ",
    "",
    "nan",
    "inf",
    "9" * 5000,
]
"""Texts that `int`, `float`, `str.isdigit` or `str.isdecimal` may take, and that are no whole number."""

ODD_DAYS = [
    "20180326",
    "2018-W13-1",
    "2018-03-26T00:00",
    "\uff12\uff10\uff11\uff18-03-26",
    "2018-3-26",
    "2018-02-30",
    "0000-01-01",
]

WHOLE_OPTIONS: list[tuple[Callable[[], argparse.ArgumentParser], str]] = [
    (live_trader.parser, "--sessions"),
    (live_trader.parser, "--seed"),
    (ml_trainer.parser, "--seed"),
    (build_dataset.parser, "--days"),
    (build_dataset.parser, "--top"),
    (market_scheduler.parser, "--days"),
    (report.parser, "--days"),
    (watchdog.parser, "--after"),
    (dashboard.parser, "--port"),
    (backtest.parser, "--flipped"),
]

text = st.one_of(st.text(max_size=6), st.text("0123456789+-_.e\u00b2\uff11\u0663 ", max_size=6), st.sampled_from(ODD))


@pytest.mark.parametrize("odd", [one for one in ODD if one])
def test_an_odd_number_is_refused_in_one_line(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    for parser, option in WHOLE_OPTIONS:
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([f"{option}={odd}"])
        error = capsys.readouterr().err
        assert ended.value.code == 2 and error.count("\n") == 1 and option in error and len(error) < 300


@given(text)
@example("1_0")
@example("\uff10")
def test_only_plain_digits_are_whole_numbers(given_text: str) -> None:
    plain = re.fullmatch("[0-9]{1,15}", given_text) is not None
    for convert, least in ((cli.positive, 1), (cli.seed, 0)):
        try:
            assert convert(given_text) == int(given_text) and plain
        except argparse.ArgumentTypeError as error:
            assert not (plain and least <= int(given_text) <= cli.MOST) and "\n" not in str(error)


@given(text, st.sampled_from(sorted(name for name, one in FIELDS.items() if one.annotation in (int, float))))
@example("1_000", "SEED")
@example("-0.0", "SPREAD_TICKS")
@example("1e400", "PAPER_CASH")
@example("4294967296", "SEED")
def test_a_setting_is_a_plain_finite_number(given_text: str, name: str) -> None:
    try:
        value: Any = Settings.of(**{name: given_text}).by_name()[name]
    except ValidationError:
        return
    assert given_text.strip().isascii() and "_" not in given_text and not str(value).startswith("-")
    assert value < (2**32 if name == "SEED" else 1e308)


@pytest.mark.parametrize("odd", ODD_DAYS)
def test_an_odd_date_is_refused(odd: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write it as 2018-03-26"):
        cli.day(odd)
    if "T" not in odd:
        with pytest.raises(ValueError, match="not a date"):
            parse_start(odd)


@pytest.mark.parametrize("option", ["--later", "--set=MIN_CONFIDENCE"])
def test_shares_and_swept_values_of_a_backtest(option: str) -> None:
    for odd in ("\uff10.\uff15", "0_.5", "nan", "0.5_0"):
        if option == "--later":
            with pytest.raises(argparse.ArgumentTypeError):
                backtest.share(odd)
        else:
            _, [kept] = backtest.values(f"MIN_CONFIDENCE={odd}")
            with pytest.raises(ValidationError):
                Settings.of(MIN_CONFIDENCE=kept)
    assert backtest.values("MIN_CONFIDENCE=sNaN,0.6,0.60")[1] == ["sNaN", "0.6"]


@pytest.mark.parametrize("odd", [one for one in ODD if one not in ("-1", "-0")])
@pytest.mark.parametrize("option", ["--port", "--seed", "--rate-limit", "--chance-seed", "--spread-ticks"])
def test_the_exchange_takes_plain_digits_alone(option: str, odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        exchange.parser().parse_args([option, odd])
    assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1


@given(text)
def test_a_number_of_a_reply_is_plain(given_text: str) -> None:
    try:
        number = number_of(given_text)
    except (ValueError, ArithmeticError):
        return
    assert given_text.isascii() and "_" not in given_text and number.is_finite() and given_text == given_text.strip()
