"""The command `live_trader.py --alert-test`: one test alert to each service, and a ping of HEARTBEAT_URL."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from config import load_settings
from trading.alerts.kinds import Alert
from trading.alerts.ping import ping
from trading.app.live.outside import alert_services
from trading.base.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from config import AlertSettings

TEST_ALERT = Alert("started", "test", "test alert", "This is a test: alerts of the ML day trader arrive here.")


def alert_test(options: argparse.Namespace) -> int:
    """Send the tests and say, by scheme only, which were taken; returns the exit code: 0, or 2 if one failed.

    Raises:
        UserError: neither ALERT_URLS nor HEARTBEAT_URL is set, or an address cannot be used.
    """
    settings = load_settings(options.env_file).alerts
    if settings.ALERT_URLS is None and settings.HEARTBEAT_URL is None:
        raise UserError("neither ALERT_URLS nor HEARTBEAT_URL is set: set one in .env, or run live_trader.py --setup")
    failed = False
    for name, failure in tests_of(settings):
        print(f"ok    {name}: taken" if failure is None else f"FAIL  {name}: {failure}", flush=True)
        failed |= failure is not None
    if failed:
        print("check the address (docs/operations.md), the network and the service's own page, and test again")
    return 2 if failed else 0


def tests_of(settings: AlertSettings) -> Iterator[tuple[str, str | None]]:
    """Name of each address, which shows its scheme only -> why the test failed; None if it was taken.

    Raises:
        UserError: an address cannot be used; nothing is sent then.
    """
    for number, service in enumerate(alert_services(settings), 1):
        with closing(service):
            yield f"ALERT_URLS {number} ({service.scheme})", service.send(TEST_ALERT)
    if settings.HEARTBEAT_URL is not None:
        yield "HEARTBEAT_URL", ping(settings.HEARTBEAT_URL.get_secret_value())
