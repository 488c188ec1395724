"""Fixtures of all tests: the settings of hypothesis, and default signal handlers.

Hypothesis draws the same examples in every run, so that a change fails or passes by itself;
`--hypothesis-profile=explore` draws new ones.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.browser import browser as browser

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")

# The hundreds of processes that tests start would compile the project's files each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True, scope="session")
def state_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of the tests for what a trader notes for its user (`trading.records.this_machine`)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def default_signals() -> Iterator[None]:
    """Restore SIGINT and SIGHUP, which a shell sets to be ignored for background jobs and under nohup.

    The programs, and the processes that tests start, would otherwise keep ignoring them.
    """
    usual: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in usual if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, usual[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
