"""The first requests of a run, at a broker that limits the rate or fails for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.app.test_damaged_files import Account, audit
from tests.execution.trading_world import Fault, page
from trading.app.live.account_state import first_account, patiently
from trading.base.errors import BrokerError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.execution.trading_world import Act
    from trading.app.live.run import Run

LIMITED = page(429, '{"code": 42910000, "message": "rate limit exceeded"}')
FAILING = page(503, "<html>Service Unavailable</html>")


@pytest.fixture
def started(tmp_path: Path) -> tuple[Account, Run]:
    account = Account()
    return account, account.start(tmp_path)[0]


@pytest.mark.parametrize("reply", [LIMITED, FAILING], ids=["429", "503"])
def test_a_failure_that_passes_within_a_minute_is_said_once_and_ends_nothing(
    started: tuple[Account, Run], tmp_path: Path, reply: Act
) -> None:
    account, run = started
    account.wire.faults = [Fault("GET /v2/account", reply, times=12)]
    known = first_account(run.broker, run.log, run.journal, account.clock)
    assert known is not None and known.equity == 100_000
    assert [event["note"] for event in audit(tmp_path, "broker_unclear")] == ["it is asked again for a minute"]


@pytest.mark.parametrize(("reply", "said"), [(LIMITED, "rate limit was hit"), (FAILING, "see its status page")])
def test_one_that_lasts_ends_a_start_without_shares_after_a_minute_in_one_line(
    started: tuple[Account, Run], tmp_path: Path, reply: Act, said: str
) -> None:
    account, run = started
    account.wire.faults = [Fault("GET /v2/account", reply, times=None)]
    begun = account.clock.now()
    with pytest.raises(BrokerError, match=f"the trade log holds: nothing; .*{said}.* and run again") as caught:
        first_account(run.broker, run.log, run.journal, account.clock)
    assert timedelta(minutes=1) <= account.clock.now() - begun < timedelta(minutes=3)
    assert "\n" not in str(caught.value) and len(audit(tmp_path, "broker_unclear")) == 2  # at the first, and at the end


def test_shares_in_the_log_are_not_kept_waiting(tmp_path: Path) -> None:
    account = Account()
    run, trader = account.start(tmp_path)
    account.tick(trader, "10:31", "10:32")
    account.wire.faults = [Fault("GET /v2/account", LIMITED, times=None)]
    begun = account.clock.now()
    assert first_account(run.broker, run.log, run.journal, account.clock) is None
    assert account.clock.now() - begun < timedelta(seconds=30)


def test_market_data_is_asked_again_and_another_error_is_not(started: tuple[Account, Run]) -> None:
    account, run = started
    account.wire.faults = [Fault("GET /v2/assets", LIMITED, times=9)]
    universe = patiently(
        lambda: run.source.universe(account.clock.now(), run.settings.data), account.clock, run.journal
    )
    assert universe is not None
    asked = account.wire.count("GET")
    account.wire.faults = [Fault("GET /v2/assets", page(404, "{}"), times=None)]
    with pytest.raises(UserError):
        patiently(lambda: run.source.universe(account.clock.now(), run.settings.data), account.clock, run.journal)
    assert account.wire.count("GET") == asked + 1
