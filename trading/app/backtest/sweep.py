"""The combinations of `--set`: which settings may be swept, how many combinations there may be, and what they cost."""

from __future__ import annotations

import math
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from config import FIELDS, SECTION_OF, Settings, check_together, load_settings
from trading.app.backtest.swept_values import check_values
from trading.base.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

MOST_COMBINATIONS: Final = 100_000
"""Combinations of settings that one sweep may have."""

COPIES: Final = 3
"""Coin-flipped copies of the bars that a sweep is traded on, if `--flipped` says nothing else."""

SECONDS_A_SESSION: Final = 0.0009
"""CPU time of one combination on one session of 74 stocks: 27 s for 1,000 on 29, as docs/backtest.md has it."""

SWEPT: Final = frozenset(
    name for name, section in SECTION_OF.items() if section in ("prediction", "entry", "exits")
) - {
    *("LABEL", "LABEL_TARGET_PCT", "LABEL_WITHIN_MINUTES", "LABEL_MIN_PROFIT", "OUTCOME_FEED"),
    *("ROUND_TRIP_COST", "SPREAD_TICKS"),
} | {*("MIN_PRICE", "MAX_PRICE", "TOP_STOCKS", "PAPER_CASH", "TICK_SECOND")}
"""Settings that change which trades are made with given models."""

Values = dict[str, str]
"""Name of a setting -> its value, as the command line has it."""


def swept_values(options: argparse.Namespace) -> dict[str, list[str]]:
    """The values of `--set` by name.

    Raises:
        UserError: a name is unknown, given twice, or does not change what is traded, a value is not allowed, or there
            are too many.
    """
    swept: dict[str, list[str]] = {}
    for name, values in options.set:
        if name not in SWEPT:
            known = "is not a setting" if name not in FIELDS else "does not change the trades of given models"
            raise UserError(f"--set {name}: {known}; the names are {', '.join(sorted(SWEPT))}")
        if name in swept:
            raise UserError(f"--set {name}: given twice; name all its values once, as in {name}=1,2")
        check_values(name, values)
        swept[name] = values
    count = math.prod(map(len, swept.values()))
    if count > MOST_COMBINATIONS:
        raise UserError(f"--set: {count:,} combinations; at most {MOST_COMBINATIONS:,} are traded: name fewer values")
    return swept


def check_verdict(options: argparse.Namespace, swept: Mapping[str, Sequence[str]]) -> None:
    """Refuse options of the verdict on a sweep that would have no effect.

    Raises:
        UserError: there is no sweep, or no copies are traded.
    """
    if all(len(values) == 1 for values in swept.values()):
        for name, given in (("--flipped", options.flipped), ("--later", options.later)):
            if given:
                raise UserError(
                    f"{name}: needs several combinations of settings; add --set NAME=V1,V2, or leave it out"
                )
    if options.walk_forward and options.flipped:
        raise UserError(
            "--flipped: --walk-forward trades no coin-flipped copies, because each would train its models again; leave "
            "one of the two out"
        )


def announced(count: int, copied: int) -> str:
    """The size of a sweep, and an estimate of what it costs."""
    runs = count * (1 + copied)
    seconds = runs * SECONDS_A_SESSION
    least = f"at least about {seconds:.0f} s" if seconds < 120 else f"at least about {seconds / 60:,.0f} min"
    least = "less than a second" if seconds < 1 else least
    copies = f", {runs:,} backtests with {copied} coin-flipped cop{'y' if copied == 1 else 'ies'}" if copied else ""
    return (
        f"{count:,} combinations of settings{copies}: {least} of CPU time for each session of 74 "
        "stocks, and the predictions once."
    )


def every_combination(
    options: argparse.Namespace, swept: Mapping[str, Sequence[str]], given: Mapping[str, object]
) -> list[tuple[Values, Settings]]:
    """Every combination of the values of `--set`, each checked like a setting of its own.

    The label has no part in it: the models are given, or trained with the settings without `--set`.

    Raises:
        UserError: a value is not valid.
    """
    found: list[tuple[Values, Settings]] = []
    for values in product(*swept.values()):
        chosen = dict(zip(swept, values, strict=True))
        if found:
            with suppress(ValidationError, UserError):  # load_settings takes long, but names what is wrong
                one = found[0][1].changed(**chosen)
                check_together(one, {}, labels=False)
                found.append((chosen, one))
                continue
        found.append((chosen, load_settings(options.env_file, None, labels=False, **given, **chosen)))
    return found
