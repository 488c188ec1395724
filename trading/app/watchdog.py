"""The command `watchdog.py`: is the trader of a logs folder alive, and an alert if it is not."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from config import load_settings
from trading.alerts.alerts import AGAIN_SECONDS, Alerts
from trading.alerts.kinds import Messages
from trading.app.live.outside import FAREWELL_SECONDS, SIMULATED, alert_services
from trading.base.clock import NEW_YORK
from trading.base.market_folders import WATCHDOG_FILE
from trading.records.heartbeat import BEAT_SECONDS, DEAD_AFTER_SECONDS, FILE, Heartbeat
from trading.records.trade_log import TradeLog
from trading.reports.page import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from config import Settings

LOOKS: Final = 2
"""Consecutive looks that must find an old beat before a trader is reported dead: after a sleep of the machine, the beat
is old for some seconds."""

TROUBLE: Final = "the newest trouble in its audit, which need not be the cause"

NEXT: Final = (
    "Next: see at the broker's page that each position has its stop (stops and targets end with the session), then "
    'start the trader. Steps: docs/operations.md, "When it is dead".'
)
NEXT_SIMULATED: Final = "Next: start it again. Its market is simulated: a real broker holds nothing of it."

Condition = Literal["alive", "stopped", "dead"]


@dataclass(frozen=True)
class Look:
    """What one look at a heartbeat found.

    Attributes:
        text: one line for people.
        simulated: whether the trader's clock is.
        trouble: the newest trouble of a dead trader's audit, with its time; empty if it had none.
    """

    condition: Condition
    text: str
    simulated: bool = False
    trouble: str = ""

    @property
    def in_full(self) -> str:
        """The text, and the newest trouble if there was one."""
        return f"{self.text}; {TROUBLE}: {self.trouble}" if self.trouble else self.text


def look(logs: Path, now: datetime, after: float = DEAD_AFTER_SECONDS) -> Look:
    """Judge the newest beat of a logs folder.

    Args:
        now: the machine's clock.
        after: seconds after which a beat is too old; one from the future is judged alike.
    """
    beat = Heartbeat.read(logs)
    if beat is None:
        return Look("dead", f"{logs.name}/{FILE} is missing or cannot be read: no trader is seen to live")
    try:
        age = beat.age(now)
        at = f"{beat.written.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S} New York"
    except (OverflowError, ValueError):  # the first or the last day that a date can be
        return Look("dead", f"{logs.name}/{FILE} cannot be read: no trader is seen to live")
    if beat.state == "stopped":
        return Look("stopped", f"it stopped in order at {at}", beat.simulated)
    if not beat.is_recent(now, after):
        text = f"no sign of life since {at} ({age:,.0f} s); it was in state {beat.state!r} on {beat.market}"
        return Look("dead", text, beat.simulated, beat.last_error or "")
    following = "" if beat.next_event is None else f", next: {beat.next_event}"
    return Look("alive", f"alive, {max(age, 0.0):.0f} s ago in state {beat.state!r}{following}", beat.simulated)


def watch(options: argparse.Namespace) -> int:
    """Look once, or until a signal; returns the exit code.

    Raises:
        UserError: a setting or an address of ALERT_URLS cannot be used.
        StopSignal: a signal ended it.
    """
    settings = load_settings(options.env_file, LOGS_DIR=options.logs_dir)
    logs, after = settings.folders.LOGS_DIR, float(options.after or DEAD_AFTER_SECONDS)
    if options.once:
        found = look(logs, datetime.now(UTC), after)
        print(f"{found.condition}: {found.in_full}" if found.condition != "alive" else found.text)
        return 0 if found.condition == "alive" else 1
    watchdog = Watchdog(settings, after)
    print(f"watching {logs}; {watchdog.where}", flush=True)
    with closing(watchdog):
        while True:
            watchdog.look()
            time.sleep(min(BEAT_SECONDS, after))


class Watchdog:
    """Looks at a heartbeat again and again, prints what changes, and tells when it is dead and when it lives again.

    Args:
        now: the machine's clock.
        say: prints one line.
    """

    def __init__(
        self,
        settings: Settings,
        after: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        say: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self._logs = settings.folders.LOGS_DIR
        self._settings = settings
        self._after = after
        self._now = now
        self._say = say
        services = alert_services(settings.alerts)
        self.where = f"alerts go to {', '.join(one.scheme for one in services)}" if services else "no ALERT_URLS is set"
        self._alerts = Alerts(services, self._messages(False), self._logs, told=self._logs / WATCHDOG_FILE)
        self._dead = 0
        self._before: Condition | None = None
        self._was_told = self._alerts.newest("dead", "alive") == "dead"
        """Whether the newest alert, also one of an earlier watchdog, says that the trader is dead."""
        self._revived: Look | None = None
        self._revived_at = self._now()
        self._held: str | None = None

    def close(self) -> None:
        """Send what waits."""
        self._alerts.close(FAREWELL_SECONDS)

    def look(self) -> Condition:
        """Look once; returns what is taken to be true."""
        found = look(self._logs, self._now(), self._after)
        self._dead = self._dead + 1 if found.condition == "dead" else 0
        if 0 < self._dead < LOOKS:
            return self._before or "alive"  # one more look
        if found.condition != self._before:
            self._before = found.condition
            self._say(f"{self._now().astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}  {found.condition}: {found.in_full}")
        messages = self._messages(found.simulated)
        if found.condition == "dead":
            self._was_told, self._revived = True, None
            self._held = self._held or _held(self._logs)  # a dead trader's log does not change
            text = _told(found, self._held)
            self._alerts.tell(messages.made("dead", "dead", "TRADER DEAD", text, undoes="alive"))
            return found.condition
        self._held = None
        if self._was_told:
            self._was_told, self._revived, self._revived_at = False, found, self._now()
        if self._revived is not None:
            self._tell_revived(self._revived, messages)
        return found.condition

    def _tell_revived(self, found: Look, messages: Messages) -> None:
        """Tell it at each look of an hour: it is sent once, when not too many were sent within the hour before."""
        if not timedelta() <= self._now() - self._revived_at < timedelta(seconds=AGAIN_SECONDS):
            self._revived = None
            return
        title = "trader alive again" if found.condition == "alive" else "trader stopped"
        self._alerts.tell(messages.made("dead", f"alive {found.condition}", title, found.text, serious=False,
                                        undoes="dead"))  # fmt: skip

    def _messages(self, simulated: bool) -> Messages:
        return Messages(self._settings.alerts.ALERT_ON, SIMULATED if simulated else "", self._settings.secrets())


def _told(found: Look, held: str) -> str:
    """The text of the alert: what is known, what is held, what to do next."""
    parts = [f"{found.text[:1].upper()}{found.text[1:]}.", held, NEXT_SIMULATED if found.simulated else NEXT]
    if found.trouble:
        parts.append(f"{TROUBLE[:1].upper()}{TROUBLE[1:]}: {found.trouble}")
    return " ".join(parts)


def _held(logs: Path) -> str:
    """What the trade log holds, as a sentence."""
    try:
        symbols = sorted({trade.symbol for trade in TradeLog(logs).open_trades})
    except OSError as error:
        return f"Its trade log cannot be read ({error.strerror or type(error).__name__}): it may hold positions."
    if not symbols:
        return "Its trade log holds no position."
    return f"Its trade log holds {counted(len(symbols), 'position')}: {', '.join(symbols)}."
