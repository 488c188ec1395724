"""The command `live_trader.py --check`: what a run would find, item by item.  It changes nothing and orders nothing."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from config import ENV_FILE, SECRETS, Settings, load_settings, setting_sources
from trading.app.learn.retrain import model_store
from trading.app.live.check_items.account import AccountItems
from trading.app.live.check_items.disk import Files
from trading.app.live.check_items.findings import Checklist, Finding, fail, ok, warn
from trading.app.live.outside import alert_services
from trading.app.live.venues import choose_venue
from trading.base.calendar import MarketCalendar, new_york_calendar
from trading.base.errors import ModelError, UserError, as_started
from trading.broker.transport import without_password
from trading.models.serving import REMEDY
from trading.models.trust import UntrustedError
from trading.reports.console import Output
from trading.reports.page import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from trading.alerts.services import Service
    from trading.app.live.venues import OpenVenue
    from trading.base.market_folders import MarketId

STALE_SESSIONS: Final = 5
"""Sessions after which a model that was not retrained is worth a warning: a trader retrains every evening."""


def check(options: argparse.Namespace) -> int:
    """Check what a run with these options would find; returns the exit code: 0, or 2 if an item fails."""
    console = Output()
    checklist = Checklist(console)
    given = {"DATA_DIR": options.data_dir, "MODELS_DIR": options.models_dir, "LOGS_DIR": options.logs_dir}
    given |= {"SEED": options.seed}
    try:
        settings = load_settings(options.env_file, **given)
        services = alert_services(settings.alerts)
        calendar = new_york_calendar()
        chosen = choose_venue(options, settings, calendar)
    except UserError as error:
        checklist.add("settings", fail(str(error)))
        return checklist.end()
    sources = setting_sources(options.env_file, **given)
    files = Files(settings, chosen.market, options.env_file or ENV_FILE)
    for item in files.items():
        checklist.run(item)
    checklist.run(("market", partial(_market, chosen.market)))
    checklist.run(("alerts", partial(_alerts, settings, services)))
    if files.is_running and chosen.market.embedded:
        checklist.add("account", warn("a run uses it now, so it is not looked at: check again when that has ended"))
        return checklist.end()
    try:
        venue = chosen.look(files.logs)
    except UserError as error:
        checklist.add("account", fail(str(error)))
    else:
        with closing(_Closing(venue)):
            looked = AccountItems(venue, settings, calendar, files, sources)
            first, *others = looked.items()
            if checklist.run(first):
                for item in others:
                    checklist.run(item)
            else:
                checklist.add("the rest", warn("not asked while the account cannot be read: clock, feed, orders"))
            checklist.run(("model", partial(_model, venue, settings, calendar, files)))
    console.say("")
    for line in settings_in_force(settings, sources):
        console.say(line)
    console.say("")
    return checklist.end()


class _Closing:
    """A venue with a `close` that `contextlib.closing` calls."""

    def __init__(self, venue: OpenVenue) -> None:
        self.close = venue.close


def _market(market: MarketId) -> Iterator[Finding]:
    yield ok(market.description)


def _alerts(settings: Settings, services: Sequence[Service]) -> Iterator[Finding]:
    """Where alerts go, and what of; nothing is sent."""
    pinged = "" if settings.alerts.HEARTBEAT_URL is None else "; HEARTBEAT_URL is pinged"
    if services and settings.alerts.ALERT_ON:
        where = ", ".join(service.scheme for service in services)
        yield ok(f"go to {where}: {', '.join(settings.alerts.ALERT_ON)}{pinged}; --alert-test sends one")
    else:
        name = "ALERT_ON is none" if services else "ALERT_URLS is not set"
        yield ok(f"off: {name}{pinged}; see docs/operations.md")


def _model(venue: OpenVenue, settings: Settings, calendar: MarketCalendar, files: Files) -> Iterator[Finding]:
    if venue.is_replay:
        yield ok("a replay trains one of its own, of what lies before its first session")
        return
    refused: list[str] = []
    now = venue.clock.now()
    try:
        model = model_store(settings, files.models).newest(now=now, market=venue.market, warn=refused.append)
    except UntrustedError:
        raise
    except ModelError as error:
        reasons = "; ".join(refused) or str(error).removesuffix(as_started(f"; {REMEDY}"))
        yield warn(f"none serves ({reasons}): a run trains one first, which takes minutes")
        return
    newest = calendar.last_completed(now, 1)[0].date
    age = len(calendar.between(model.trained_through + timedelta(days=1), newest))
    text = f"{model.timestamp} ({model.kind}), trained through {model.trained_through}"
    behind = "the newest session" if not age else f"{counted(age, 'session')} before the newest"
    if age > STALE_SESSIONS:
        yield warn(f"{text}, {behind}: python build_dataset.py, then python ml_trainer.py, make a new one")
    else:
        yield ok(f"{text}, {behind}")
    for line in refused:
        yield warn(line)


def settings_in_force(settings: Settings, sources: Mapping[str, str]) -> list[str]:
    """The settings with the source of each, those that are given first; secrets are not shown."""
    values = settings.by_name()
    shown = {name: _shown(name, value) for name, value in values.items()}
    given = [f"  {name}={shown[name]}  ({sources[name]})" for name in values if name in sources]
    defaults = [f"{name}={shown[name]}" for name in values if name not in sources]
    lines = [
        f"{counted(len(given), 'setting')} given, the other {len(defaults)} have their default (docs/settings.md):"
    ]
    return [*lines, *given, *(f"  {one}  (default)" for one in defaults)]


def _shown(name: str, value: object) -> str:
    if name in SECRETS:
        return "(set, not shown)" if value else "(not set)"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return without_password(str(value))
