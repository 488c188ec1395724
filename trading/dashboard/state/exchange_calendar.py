"""The exchange calendar for pages that must not wait for it: computed once a month, in a process of its own."""

from __future__ import annotations

import logging
import threading
from datetime import date, datetime
from typing import TYPE_CHECKING

from trading.base.calendar import MarketCalendar
from trading.base.clock import NEW_YORK
from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


class ExchangeCalendar:
    """The calendar as of this month: it reaches a year beyond it, and a dashboard may run longer.

    Args:
        compute: returns the calendar; the default loads no pandas into this process.
    """

    def __init__(self, compute: Callable[[], MarketCalendar] = MarketCalendar.computed_apart) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._known: MarketCalendar | None = None
        self._month: date | None = None
        self._thread: threading.Thread | None = None

    def if_known(self) -> MarketCalendar | None:
        """The calendar; None for the second or two in which it is computed, which the first call begins."""
        self._begin()
        return self._known

    def wait(self) -> MarketCalendar:
        """The calendar, once it is computed.

        Raises:
            UserError: it cannot be computed.
        """
        self._begin().join()
        if self._known is None:
            raise UserError("the exchange calendar cannot be computed; the console of the dashboard says why")
        return self._known

    def _begin(self) -> threading.Thread:
        month = datetime.now(NEW_YORK).date().replace(day=1)
        with self._lock:
            if self._thread is None or self._month != month:
                self._month = month
                self._thread = threading.Thread(target=self._fill, name="exchange calendar", daemon=True)
                self._thread.start()
            return self._thread

    def _fill(self) -> None:
        try:
            self._known = self._compute()
        except OSError as error:
            logger.error("the exchange calendar cannot be computed (%s); sessions are taken to end at 16:00", error)
