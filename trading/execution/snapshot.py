"""Snapshots of the account at the end of a minute, for the console."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from trading.broker.messages import Account
    from trading.records.trade_log import Trade


@dataclass(frozen=True)
class Row:
    """One open position as displayed.  Prices are dollars."""

    symbol: str
    qty: int
    entry: Decimal
    price: float | None
    stop: Decimal
    target: Decimal

    @property
    def pnl(self) -> float | None:
        """Unrealised profit in dollars at the newest close."""
        return None if self.price is None else (self.price - float(self.entry)) * self.qty


CURRENT_FOR: Final = timedelta(minutes=2)
"""How long an account that was read counts as the present one; a minute reads it once, at its end or the next one's."""


@dataclass(frozen=True)
class AccountReading:
    """The account, and when it was read."""

    account: Account
    at: datetime

    def as_of(self, now: datetime) -> datetime | None:
        """When it was read, if that is too long ago to call it the account of now."""
        return self.at if now - self.at > CURRENT_FOR else None


@dataclass(frozen=True)
class DayResult:
    """The trades that were sold on a day: how many, how many of them gained, and their profit in dollars."""

    trades: int
    won: int
    realised: Decimal

    @classmethod
    def of(cls, trades: Iterable[Trade]) -> DayResult:
        """The result of those among `trades` that were sold at a known price."""
        amounts = [trade.pnl_amount for trade in trades if trade.pnl_amount is not None]
        won = sum(1 for amount in amounts if amount > 0)
        return cls(trades=len(amounts), won=won, realised=sum(amounts, Decimal(0)))


@dataclass(frozen=True)
class NoTrade:
    """Why a day had no trade, from its audit, so that a restart during the day forgets nothing.

    Attributes:
        stocks: in the universe.
        best: symbol of the most confident prediction, its confidence, and the time.
        refused: what refused -> how many stocks; "threshold" for those that never reached MIN_CONFIDENCE.
    """

    stocks: int
    predictions: int
    best: tuple[str, float, str] | None
    refused: Mapping[str, int]

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> NoTrade:
        """The reasons in the audit events of a day."""
        stocks, predictions = 0, 0
        best: tuple[str, float, str] | None = None
        by_rule: dict[str, set[str]] = {}
        for event in events:
            name = event.get("event")
            if name == "day_started":
                stocks = int(event["stocks"])
            elif name == "minute":
                predictions += int(event["predictions"])
                if event.get("too_old"):
                    by_rule.setdefault("bar_age", set()).update(event["too_old"])
                if "best" in event and (best is None or event["best_confidence"] > best[1]):
                    best = (event["best"], event["best_confidence"], event["time"][11:16])
            elif name == "not_bought":
                by_rule.setdefault(event["rule"], set()).add(event.get("symbol", "every stock"))
            elif name in ("entry_refused", "entry_not_filled", "entry_never_arrived"):
                by_rule.setdefault(name, set()).add(event["symbol"])
        reached = set().union(*by_rule.values())
        refused = {rule: len(symbols) for rule, symbols in sorted(by_rule.items())}
        below = stocks - len(reached) if "every stock" not in reached else 0
        return cls(stocks, predictions, best, {"threshold": below, **refused} if below > 0 else refused)

    def in_words(self, threshold: float) -> str:
        """One line: the best confidence, the threshold, and how many stocks were refused by what."""
        if self.best is None:
            return f"no prediction was made for any of {self.stocks} stocks"
        symbol, confidence, at = self.best
        below = self.refused.get("threshold", 0)
        parts = [f"{'all ' if below == self.stocks else ''}{below} stayed below the threshold"] if below else []
        parts += [f"{count} refused by {rule}" for rule, count in self.refused.items() if rule != "threshold"]
        stocks = "1 stock was" if self.stocks == 1 else f"{self.stocks} stocks were"
        return (
            f"the best confidence was {confidence:.3f} ({symbol} at {at}), the threshold is {threshold:g}. "
            f"{stocks} considered; {', '.join(parts) or 'none was refused'}."
        )


@dataclass(frozen=True)
class Snapshot:
    """The account at the end of a minute.  It is immutable, so another thread can read it.

    Attributes:
        equity: dollars; None if unknown.
        in_flight: pending entries.
        equity_as_of: when the equity was read, if it is an older one, as under STOP, which reads nothing.
    """

    at: datetime
    equity: Decimal | None
    rows: tuple[Row, ...]
    in_flight: int
    trades: int
    won: int
    realised: Decimal
    equity_as_of: datetime | None = None

    @classmethod
    def of(
        cls,
        at: datetime,
        *,
        reading: AccountReading | None,
        held: Iterable[Trade],
        in_flight: int,
        sold: Iterable[Trade],
        price_of: Callable[[str], float | None],
    ) -> Snapshot:
        """Build a snapshot.

        Args:
            reading: the newest account; None if there is none.
            held: the open trades.
            sold: the trades that were sold today, on whatever day they were bought.
            price_of: the newest price of a stock in dollars.
        """
        result = DayResult.of(sold)
        rows = (Row(t.symbol, t.qty, t.entry_price, price_of(t.symbol), t.stop_loss, t.take_profit) for t in held)
        equity, as_of = (None, None) if reading is None else (reading.account.equity, reading.as_of(at))
        return cls(at, equity, tuple(rows), in_flight, result.trades, result.won, result.realised, as_of)
