"""The alpaca-py clients of one account, on the guarded transport."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.historical.screener import ScreenerClient
from alpaca.trading.client import TradingClient

from trading.base.errors import BrokerError
from trading.broker.transport import ALPACA_DATA, ALPACA_PAPER, RateLimit, Timeouts, allowed_origin, guard

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

    from config import BrokerSettings
    from trading.base.clock import Clock
    from trading.broker.transport import GuardedAdapter


@dataclass(frozen=True)
class Clients:
    """The alpaca-py clients of one account, returning raw JSON through the guarded transport."""

    trading: TradingClient
    data: StockHistoricalDataClient
    screener: ScreenerClient
    transport: GuardedAdapter
    """The transport of `trading`."""
    data_transport: GuardedAdapter
    """The transport of `data`."""
    corporate: CorporateActionsClient
    replies: Counter[str]
    """Kind of reply ("2xx", "4xx", "unclear" ...) -> how many all clients had.  Another thread may copy it."""


def connect(settings: BrokerSettings, keys: tuple[str, str], clock: Clock, inner: BaseAdapter | None = None) -> Clients:
    """Build the clients without sending anything.

    Args:
        settings: base URL, rate limit and timeouts.
        keys: API key id and secret.
        clock: the clock on which rate limit and backoff wait.
        inner: the transport below all clients (the embedded exchange); None for the network.

    Raises:
        UserError: the base URL is neither Alpaca paper nor a loopback address.
        BrokerError: a key holds characters that no key has.
    """
    for name, value in zip(("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"), keys, strict=True):
        if not re.fullmatch(r"[!-~]+", value):  # requests would quote such a header, key included, in its exception
            raise BrokerError(f"{name}: it holds a blank, a line break or a character that no key has; copy it again")
    origin = allowed_origin(settings.APCA_API_BASE_URL)
    data_origin = ALPACA_DATA if origin == ALPACA_PAPER else origin
    key, secret = keys
    trading = TradingClient(key, secret, paper=True, raw_data=True, url_override=origin)
    data = StockHistoricalDataClient(key, secret, raw_data=True, url_override=data_origin)
    screener = ScreenerClient(key, secret, raw_data=True, url_override=data_origin)
    # Alpaca limits the two separately.  Trading has the shorter timeout: while it waits, shares may have no stop.
    connect_timeout, read_timeout = settings.CONNECT_TIMEOUT_SECONDS, settings.READ_TIMEOUT_SECONDS
    trading_limit, data_limit = (RateLimit(settings.REQUESTS_PER_MINUTE, clock) for _ in range(2))
    timeouts = Timeouts(connect_timeout, settings.TRADING_TIMEOUT_SECONDS)
    replies: Counter[str] = Counter()
    transport = guard(trading, clock, trading_limit, timeouts, inner, replies)
    corporate = CorporateActionsClient(key, secret, raw_data=True, url_override=data_origin)
    data_transport, *_ = (
        guard(client, clock, data_limit, Timeouts(connect_timeout, read_timeout), inner, replies)
        for client in (data, screener, corporate)
    )
    return Clients(trading, data, screener, transport, data_transport, corporate, replies)
