"""What a run tells the world outside: its heartbeat, alerts, pings of a monitor, and notes to systemd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from trading.alerts.alerts import TOLD_FILE, Alerts
from trading.alerts.kinds import Messages
from trading.alerts.ping import Pinger
from trading.alerts.services import Service, services_of
from trading.app.live.pulse import Pulse
from trading.app.live.signals import StopSignal
from trading.app.live.systemd import SystemdWatchdog, notify

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from config import AlertSettings, Settings
    from trading.app.live.venues import OpenVenue
    from trading.records.journal import Journal, Record

FAREWELL_SECONDS: Final = 3.0
"""Real time that the last alerts may take at the end of a run."""

LEAST_FAREWELL: Final = 0.5

SIMULATED: Final = "[simulated] "


def alert_services(settings: AlertSettings) -> tuple[Service, ...]:
    """The services of ALERT_URLS.

    Raises:
        UserError: an address cannot be used.
    """
    return () if settings.ALERT_URLS is None else services_of(settings.ALERT_URLS.get_secret_value())


class Outside:
    """A context around a run; none of it holds up a minute of the trader, or ends it.

    The pings of HEARTBEAT_URL are those of a trader on the system clock: a replay on the same machine must not hide
    that the trader is dead.
    """

    def __init__(self, settings: Settings, venue: OpenVenue, instance: str, services: Sequence[Service]) -> None:
        logs, simulated = settings.folders.LOGS_DIR, venue.clock.simulated
        self._messages = Messages(settings.alerts.ALERT_ON, SIMULATED if simulated else "", settings.secrets())
        self._alerts = Alerts(services, self._messages, logs, told=logs / TOLD_FILE) if services else None
        self._clock = venue.clock
        self._url = None if simulated else settings.alerts.HEARTBEAT_URL
        self._pinger: Pinger | None = None
        self._systemd: SystemdWatchdog | None = None
        self._journal: Journal | None = None
        self._said_end = False
        self.pulse = Pulse(logs, venue, instance)
        if self._alerts is not None:
            alerts = self._alerts
            self.pulse.alerts_dropped = lambda: alerts.dropped

    def about(self, journal: Journal) -> Self:
        """Tell of the run that writes this journal."""
        self._journal = journal
        self.pulse.about(journal)
        return self

    def event(self, record: Record) -> None:
        """Take an audit event; returns at once."""
        self.pulse.event(record)
        self._said_end = self._said_end or record["event"] == "stopped"
        if self._alerts is not None:
            self._alerts.event(record)

    def __enter__(self) -> Self:
        self.pulse.__enter__()
        notify("READY=1")
        self._systemd = SystemdWatchdog(lambda: not self.pulse.is_stuck)
        if self._url is not None:
            self._pinger = Pinger(self._url.get_secret_value(), lambda: not self.pulse.is_stuck)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        notify("STOPPING=1")
        for told in (self._pinger, self._systemd):
            if told is not None:
                told.close()
        if self._alerts is not None:
            self._end_alerts(self._alerts, error)
        self.pulse.__exit__(kind, error, trace)

    def _end_alerts(self, alerts: Alerts, error: BaseException | None) -> None:
        if error is not None and not (isinstance(error, StopSignal) and self._said_end):
            text = "a signal ended it" if isinstance(error, StopSignal) else f"{type(error).__name__}: {error}"
            told = self._messages.made("stopped", f"stopped {text}", "trader stopped", text, undoes="started")
            alerts.tell(told)
        left = self._clock.time_left()
        most = FAREWELL_SECONDS if left is None else min(FAREWELL_SECONDS, left.total_seconds())
        alerts.close(max(LEAST_FAREWELL, most))
        if alerts.dropped and self._journal is not None:
            self._journal.event("alerts_dropped", count=alerts.dropped)
            self._journal.close()
