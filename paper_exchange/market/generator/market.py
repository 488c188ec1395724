"""A generated market: simulated regular sessions of fictitious stocks, reproducible from a seed.

    market = GeneratedMarket(seed=7)
    market.session_bars(market.listings[0].symbol, date(2025, 1, 3)).close

Profits on it show that a system works, not that its strategy is profitable.

The process (`generator_process.py`) follows the stylised facts of returns listed by Cont ("Empirical properties of
asset returns", Quantitative Finance 1, 2001) and of the trading day (Wood, McInish and Ord 1985; Jain and Joh 1988):

- *Heavy tails.*  Shocks are Student's t with 5 degrees of freedom, truncated at 12 standard deviations.
- *Volatility clustering.*  Log-volatility is AR(1) from minute to minute and from session to session (the stochastic
  volatility model of Taylor 1986), for each stock and for the market.
- *A U shape over the day* in volatility and volume; auctions in the first and the last bar.
- *A common factor* in all returns, with betas from 0.6 to 1.6.
- *Volume correlates with volatility* and with the size of the move (Karpoff 1987).
- *Thin trading.*  A minute has a bar if its Poisson number of trades is not 0; a fifth of the stocks miss many.
- *Overnight gaps*, with a mean that keeps the median price in place over the years.  A weak mean reversion, in the gaps
  only, acts on prices far outside $1 to $20, so stocks leave that band and some return.
- *Ticks.*  Prices are whole cents ($0.0001 below $1).  Each bar is rounded up or down at random, with probabilities
  that keep its mean at the efficient price, as trades alternate between bid and ask.

`learnability` is the size of a planted drift.  Each stock goes through episodes of 90 minutes on average, each with a
mean return other than 0 (Laplace distributed, in proportion to the stock's own volatility).  A price above its VWAP of
the last 20 minutes, with a MACD above 0, is probably in a rising episode that continues for a while: intraday momentum
(Gao, Han, Li and Zhou 2018), far stronger here than in any real market.

At learnability 0 the efficient price is a martingale within each session: the next return has mean 0 whatever came
before.  Three things remain predictable.  Volatility clusters, so the past predicts the size of the next move and the
probability that a stop or a target is reached, though not the mean outcome.  The last *price* differs from the
efficient price by up to a tick, so consecutive changes of the close are negatively correlated, strongly at $1 to $3
(the bid-ask bounce of Roll 1984); this earns nothing at the next open, which is rounded independently.  (Rounding to
the nearest tick would leave a profitable pattern.)  And overnight returns have a small positive mean.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from paper_exchange.base.calendar import session_times
from paper_exchange.base.session_cache import SESSIONS_BEHIND
from paper_exchange.base.wire import MINUTE
from paper_exchange.market.generator.named import named
from paper_exchange.market.generator.process import SessionPrices, State, first_state, night
from paper_exchange.market.generator.process import session as make_session
from paper_exchange.market.generator.stocks import draw_stocks
from paper_exchange.market.interface import BarColumns, Listing
from paper_exchange.market.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

DEFAULT_LEARNABILITY = 0.5
FIRST_SESSION = date(2025, 1, 2)
YEARS = 10
MAX_STOCKS = 5_000
KEPT_SESSIONS = 64  # about 1.5 MB each with 60 stocks; those that are dropped are generated again on demand
SUMMARY_BYTES = 128 * 2**20  # for summaries of sessions: all ten years with 900 stocks, a year with 5,000

NO_SUMMARY = (np.nan,) * len(Summary._fields)

# The universe, the first state and each session draw from random streams of their own.
UNIVERSE_STREAM, STATE_STREAM, SESSION_STREAM = 0, 1, 2


class GeneratedMarket:
    """A simulated `Market` of 1-minute bars; thread-safe.

    Args:
        seed: Not negative; the same arguments give the same market, whatever is requested first.
        stocks: The number of fictitious stocks, 1 to 5,000, or symbols of one's choice, such as SPY and AAPL.
        first_session: The XNYS session on which the market begins.
        learnability: How predictable returns are, from 0.0 (random walks) to 1.0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        seed: int = 1,
        stocks: int | Collection[str] = 60,
        first_session: date = FIRST_SESSION,
        learnability: float = DEFAULT_LEARNABILITY,
    ) -> None:
        count = stocks if isinstance(stocks, int) else len(stocks)
        _check(seed, count, learnability)
        self._seed = seed
        self._learnability = float(learnability)
        self._sessions = session_times(first_session, first_session + timedelta(days=round(365.25 * YEARS)))
        if self._sessions.dates[0] != first_session:
            following = self._sessions.dates[0]
            raise ValueError(
                f"first_session={first_session} is not a session of the XNYS calendar; the next one is {following}"
            )
        self._index = {day: i for i, day in enumerate(self._sessions.dates)}
        if not isinstance(stocks, int) and len(set(stocks)) < count:
            raise ValueError(f"stocks={', '.join(stocks)}: name each symbol once")
        drawn = draw_stocks(self._stream(UNIVERSE_STREAM), count)
        self._stocks = drawn if isinstance(stocks, int) else named(drawn, stocks)
        self._chosen = () if isinstance(stocks, int) else tuple(self.listings)
        self._columns = {listing.symbol: i for i, listing in enumerate(self._stocks.listings)}
        # The state at the open of session i; it is all that is needed to generate that session.
        self._states: list[State] = [first_state(self._stream(STATE_STREAM), self._stocks)]
        self._kept: OrderedDict[int, list[BarColumns]] = OrderedDict()
        # Rows of `Summary` of all stocks by session.
        self._summaries: OrderedDict[int, NDArray[np.float64]] = OrderedDict()
        self._lock = threading.Lock()  # of the three above; never held while a session is generated
        self._extending = threading.Lock()
        self._listeners: list[Callable[[date], object]] = []

    @property
    def description(self) -> str:
        """One line that says that the market is generated, and its parameters."""
        chosen = ", ".join(one.symbol for one in self._chosen)
        return (
            f"a generated market, not real prices (seed {self._seed}, {len(self._stocks)} stocks, "
            f"learnability {self._learnability:g})"
            + (f" of the size and under the symbols of {chosen}" if chosen else "")
        )

    @property
    def identity(self) -> str:
        """The description and the first session: all arguments."""
        return f"{self.description} from {self.first_session}"

    @property
    def listings(self) -> tuple[Listing, ...]:
        """Every stock, by symbol; from 10 fictitious ones on, one is not tradable and another is inactive."""
        return self._stocks.listings

    @property
    def first_session(self) -> date:
        """The first session."""
        return self._sessions.dates[0]

    @property
    def last_session(self) -> date:
        """The last session, about ten years after the first."""
        return self._sessions.dates[-1]

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        """The bars of one symbol in one session (read-only arrays); empty on days without a session.

        The first call for a session also generates all earlier ones that are missing, about 20 ms each.

        Raises:
            KeyError: `symbol` is not listed.
        """
        column = self._columns[symbol]
        i = self._index.get(session)
        if i is None:
            return _empty()
        with self._lock:
            if i in self._kept:
                self._kept.move_to_end(i)
                return self._kept[i][column]
        return self._make(i)[0][column]

    def summary(self, symbol: str, session: date) -> Summary | None:
        """The bars of one symbol in one session, aggregated; None if there are none.

        Summaries are kept far longer than bars.
        """
        column = self._columns[symbol]
        i = self._index.get(session)
        if i is None:
            return None
        with self._lock:
            rows = self._summaries.get(i)
            if rows is not None:
                self._summaries.move_to_end(i)
        if rows is None:
            rows = self._make(i)[1]
        opened, high, low, close, volume, trades, vwap, value, last = rows[column].tolist()
        if np.isnan(last):
            return None
        return Summary(opened, high, low, close, int(volume), int(trades), vwap, value, int(last))

    def call_with_sessions(self, listener: Callable[[date], object]) -> None:
        """Call `listener` with the date of every session that is made from now on, while its bars are kept."""
        self._listeners.append(listener)

    def _make(self, i: int) -> tuple[list[BarColumns], NDArray[np.float64]]:
        """The bars and the summaries of session i; generates all earlier sessions that were never generated."""
        if i >= len(self._states):
            with self._extending:
                for earlier in range(len(self._states) - 1, i):
                    self._make_from(self._states[earlier], earlier)
        return self._make_from(self._states[i], i)

    def _make_from(self, state: State, i: int) -> tuple[list[BarColumns], NDArray[np.float64]]:
        """Generate session i, and the state at the open of the next one, from the state at its open."""
        rng = self._stream(SESSION_STREAM, i)
        minutes = self._sessions.minutes(i)
        prices, after = make_session(rng, self._stocks, state, minutes, self._learnability)
        following = night(rng, self._stocks, after)
        start = self._sessions.opens[i] + MINUTE * np.arange(minutes, dtype=np.int64)
        bars = [_bars(start, prices, column) for column in range(len(self._stocks))]
        rows = np.array([summarise(one) or NO_SUMMARY for one in bars])
        with self._lock:
            if len(self._states) == i + 1:  # later than all before
                self._states.append(following)
                for past in [one for one in self._kept if one < i - SESSIONS_BEHIND]:
                    del self._kept[past]
            self._kept[i], self._summaries[i] = bars, rows
            while len(self._kept) > KEPT_SESSIONS:
                self._kept.popitem(last=False)
            while len(self._summaries) * rows.nbytes > SUMMARY_BYTES:
                self._summaries.popitem(last=False)
        for listener in self._listeners:
            listener(self._sessions.dates[i])
        return bars, rows

    def _stream(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *key])


def first_session_of(identity: str) -> date | None:
    """The first session that the identity of a generated market names; None for another market."""
    found = re.fullmatch(r"a generated market,.* from (\d{4}-\d\d-\d\d)", identity)
    return date.fromisoformat(found[1]) if found else None


def _check(seed: int, stocks: int, learnability: float) -> None:
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; give a whole number from 0 on")
    if not 1 <= stocks <= MAX_STOCKS:
        raise ValueError(f"stocks={stocks} is outside 1 to {MAX_STOCKS}; give a number between them")
    if not 0.0 <= learnability <= 1.0:
        raise ValueError(f"learnability={learnability} is outside 0.0 to 1.0; give a number between them")


def _bars(start: NDArray[np.int64], session: SessionPrices, column: int) -> BarColumns:
    """The bars of one stock: only the minutes in which it traded."""
    printed = session.printed[:, column]
    arrays = [session.open, session.high, session.low, session.close]
    prices = [array[printed, column] for array in arrays]
    bars = BarColumns(start[printed], prices[0], prices[1], prices[2], prices[3], session.volume[printed, column])
    for values in (bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume):
        values.flags.writeable = False
    return bars


def _empty() -> BarColumns:
    prices = np.empty(0)
    whole = np.empty(0, dtype=np.int64)
    return BarColumns(whole, prices, prices, prices, prices, whole)
